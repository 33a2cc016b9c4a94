//! The file itself: JSON, readable by its owner only, replaced as a whole.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::Key;
use chacha20poly1305::aead::Generate;
use paas_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of the file's format.
const FORMAT: u32 = 1;

/// A key of 256 bits, in base64 where it is written. It never prints itself.
#[derive(Clone)]
struct Secret([u8; 32]);

impl Secret {
    fn generate() -> Self {
        Self(Key::generate().into())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(|_| serde::de::Error::custom("a key is not base64"))?;
        let bytes = bytes.try_into().map_err(|_| serde::de::Error::custom("a key has not 32 bytes"))?;
        Ok(Self(bytes))
    }
}

/// What the file holds.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names in the file")]
pub(super) struct Keys {
    format: u32,
    current: String,
    keys: BTreeMap<String, Secret>,
    fingerprint: Secret,
}

impl Keys {
    fn generate() -> Self {
        let first = name(1);
        Self {
            format: FORMAT,
            keys: BTreeMap::from([(first.clone(), Secret::generate())]),
            current: first,
            fingerprint: Secret::generate(),
        }
    }

    /// The key that seals, with its name.
    pub(super) fn current(&self) -> (&str, &[u8; 32]) {
        let key =
            self.keys.get(&self.current).expect("a file without its current key is refused when it is read");
        (&self.current, &key.0)
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8; 32]> {
        self.keys.get(name).map(|key| &key.0)
    }

    pub(super) fn fingerprint_key(&self) -> &[u8; 32] {
        &self.fingerprint.0
    }

    /// These keys and a new one that seals.
    pub(super) fn rotated(&self) -> Self {
        let mut keys = self.clone();
        keys.current = name(self.keys.len() + 1);
        keys.keys.insert(keys.current.clone(), Secret::generate());
        keys
    }
}

fn name(number: usize) -> String {
    format!("k{number:04}")
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, operation).with_context("file", path.display()).with_source(source)
}

/// The keys in the file at `path`, or nothing if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Keys>> {
    const OPERATION: &str = "read the key file";
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(OPERATION, path, error)),
    };
    let invalid = || Error::new(ErrorKind::Invalid, OPERATION).with_context("file", path.display());
    let metadata = file.metadata().map_err(|error| failed(OPERATION, path, error))?;
    let mode = metadata.mode() & 0o777;
    if !is_private(mode, metadata.uid(), rustix::process::geteuid().as_raw()) {
        return Err(invalid()
            .with_source(format!("others than its owner may open it (mode {mode:04o})"))
            .with_remedy(format!("Run: chmod 600 {}", path.display())));
    }
    let keys: Keys = serde_json::from_reader(io::BufReader::new(file)).map_err(|error| {
        invalid().with_source(error).with_remedy("Restore the file; without it no stored secret can be read.")
    })?;
    if keys.format != FORMAT {
        return Err(invalid()
            .with_source(format!("its format is {}, and this version knows {FORMAT}", keys.format))
            .with_remedy("Run the version of the platform that wrote it, or a newer one."));
    }
    if !keys.keys.contains_key(&keys.current) {
        return Err(invalid().with_source(format!("its current key {:?} is missing", keys.current)));
    }
    Ok(Some(keys))
}

/// Whether a file of this mode and owner is for `me` alone. One that somebody else hands to a group of mine, as a secret is handed
/// to a pod of Kubernetes, may be read by that group.
fn is_private(mode: u32, owner: u32, me: u32) -> bool {
    let others = if owner == me { 0o077 } else { 0o037 };
    mode & others == 0
}

/// Makes a key file with fresh keys. Who comes second reads what the first one made.
pub(super) fn create(path: &Path) -> Result<Keys> {
    let keys = Keys::generate();
    write(path, &keys, |draft| match fs::hard_link(draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    })?;
    Ok(read(path)?.unwrap_or(keys))
}

/// Replaces the content of the file, whole or not at all.
pub(super) fn replace(path: &Path, keys: &Keys) -> Result<()> {
    write(path, keys, |draft| fs::rename(draft, path))
}

/// Writes a draft beside `path`, makes it durable, and lets `publish` put it in place.
fn write(path: &Path, keys: &Keys, publish: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let text = serde_json::to_vec_pretty(keys).expect("keys are strings and numbers");
    let result = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&text)?;
        file.sync_all()?;
        publish(&draft)?;
        File::open(folder)?.sync_all()
    })();
    let _ = fs::remove_file(&draft);
    result.map_err(|error| failed("write the key file", path, error))
}

#[cfg(test)]
mod tests {
    use super::is_private;

    #[test]
    fn a_group_may_read_what_somebody_else_hands_to_it_and_nothing_more() {
        assert!(is_private(0o600, 1000, 1000) && is_private(0o400, 1000, 1000));
        assert!(!is_private(0o640, 1000, 1000), "the group of one's own file");
        assert!(is_private(0o440, 0, 1000), "the secret of a pod");
        for mode in [0o444, 0o460, 0o604] {
            assert!(!is_private(mode, 0, 1000), "{mode:o}");
        }
    }
}
