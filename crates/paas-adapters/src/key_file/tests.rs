use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn value(text: &str) -> SecretValue {
    SecretValue::new(text)
}

#[tokio::test]
async fn what_was_sealed_opens_with_the_same_context_only() {
    let folder = tempfile::tempdir().unwrap();
    let ring = KeyFile::open(folder.path().join("keys")).unwrap();
    let sealed = ring.seal("secret/shop/PASSWORD/1", &value("hunter2")).await.unwrap();
    assert_eq!(ring.open("secret/shop/PASSWORD/1", &sealed).await.unwrap().reveal(), b"hunter2");
    let error = ring.open("secret/shop/PASSWORD/2", &sealed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let again = ring.seal("secret/shop/PASSWORD/1", &value("hunter2")).await.unwrap();
    assert_ne!(sealed.sealed, again.sealed, "equal values give different bytes");
}

#[tokio::test]
async fn every_altered_byte_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let ring = KeyFile::open(folder.path().join("keys")).unwrap();
    let sealed = ring.seal("c", &value("v")).await.unwrap();
    let bytes = STANDARD.decode(&sealed.sealed).unwrap();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        let altered = SealedSecret { sealed: STANDARD.encode(altered), ..sealed.clone() };
        assert_eq!(ring.open("c", &altered).await.unwrap_err().kind(), ErrorKind::Invalid, "byte {at}");
    }
    let short = SealedSecret { sealed: STANDARD.encode(&bytes[..NONCE - 1]), ..sealed };
    assert_eq!(ring.open("c", &short).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_rotation_seals_with_a_new_key_and_old_values_open_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let ring = KeyFile::open(&path).unwrap();
    let old = ring.seal("c", &value("v")).await.unwrap();
    let print = ring.fingerprint(&value("v")).await.unwrap();
    ring.rotate().await.unwrap();
    let new = ring.seal("c", &value("v")).await.unwrap();
    assert_ne!(old.key_id, new.key_id);
    drop(ring);
    let ring = KeyFile::open(&path).unwrap();
    for sealed in [&old, &new] {
        assert_eq!(ring.open("c", sealed).await.unwrap().reveal(), b"v");
    }
    assert_eq!(ring.fingerprint(&value("v")).await.unwrap(), print);
}

#[tokio::test]
async fn fingerprints_differ_between_installations() {
    let folder = tempfile::tempdir().unwrap();
    let one = KeyFile::open(folder.path().join("one")).unwrap();
    let two = KeyFile::open(folder.path().join("two")).unwrap();
    assert_ne!(one.fingerprint(&value("v")).await.unwrap(), two.fingerprint(&value("v")).await.unwrap());
}

#[test]
fn the_file_is_its_owners_alone_and_leaves_no_draft() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    KeyFile::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = KeyFile::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.remedy().unwrap().contains("chmod 600"));
}

#[test]
fn a_damaged_file_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    KeyFile::open(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(KeyFile::open(&path).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(fs::read(&path).unwrap(), &whole[..whole.len() / 2]);
}

#[tokio::test]
async fn a_value_sealed_with_an_unknown_key_names_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let ring = KeyFile::open(folder.path().join("keys")).unwrap();
    let sealed = SealedSecret { key_id: "k9999".into(), sealed: String::new() };
    let error = ring.open("c", &sealed).await.unwrap_err();
    assert!(error.to_string().contains("k9999"), "{error}");
}
