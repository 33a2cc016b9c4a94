use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::testing::{HostileTar, gzip};

fn options() -> UnpackOptions {
    UnpackOptions { ownership: Ownership::Squash, whiteouts: WhiteoutForm::User, limits: Limits::default() }
}

/// Unpacks into `root` within a directory whose other contents must stay as they are.
struct Place {
    outer: TempDir,
}

impl Place {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("root")).unwrap();
        fs::write(outer.path().join("secret"), "untouched").unwrap();
        fs::create_dir(outer.path().join("beside")).unwrap();
        Self { outer }
    }

    fn root(&self) -> std::path::PathBuf {
        self.outer.path().join("root")
    }

    fn unpack_with(&self, layer: &[u8], options: &UnpackOptions) -> Result<Unpacked> {
        let result = unpack_layer(layer, fs::File::open(self.root()).unwrap(), options);
        assert_eq!(fs::read(self.outer.path().join("secret")).unwrap(), b"untouched", "wrote outside");
        assert_eq!(fs::metadata(self.outer.path().join("secret")).unwrap().nlink(), 1, "linked to outside");
        assert_eq!(fs::read_dir(self.outer.path().join("beside")).unwrap().count(), 0, "wrote beside");
        assert_eq!(fs::read_dir(self.outer.path()).unwrap().count(), 3, "wrote outside");
        result
    }

    fn unpack(&self, layer: &[u8]) -> Result<Unpacked> {
        self.unpack_with(layer, &options())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let outer = fs::File::open(self.outer.path()).unwrap();
        remove_tree(outer, "root").unwrap();
    }
}

fn refused(layer: HostileTar, kind: ErrorKind) -> Error {
    let place = Place::new();
    let error = place.unpack(&layer.finish()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(!text.contains('\n') && text.starts_with("failed to unpack layer"), "one clear line: {text}");
    error
}

#[test]
fn an_honest_layer_is_unpacked_with_modes_times_and_links() {
    let place = Place::new();
    let layer = HostileTar::default()
        .dir("./", 0o750)
        .dir("bin/", 0o555)
        .raw(b'0', b"bin/su", b"", 0o4755, 3, b"elf")
        .symlink("bin/sh", "/bin/su")
        .hard_link("bin/sudo", "bin/su")
        .dir("tmp/", 0o1777)
        .raw(b'6', b"tmp/fifo", b"", 0o620, 0, b"")
        .file("deep/er/file", b"hello")
        .finish();
    let unpacked = place.unpack(&layer).unwrap();
    assert_eq!(unpacked.diff_id, Digest::of(&layer));
    assert_eq!(unpacked.entries, 8);
    let root = place.root();
    let mode = |path: &str| fs::symlink_metadata(root.join(path)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode(""), mode("bin"), mode("bin/su"), mode("tmp"), mode("tmp/fifo"), mode("deep")),
        (0o750, 0o555, 0o4755, 0o1777, 0o620, 0o755)
    );
    assert_eq!(fs::read_link(root.join("bin/sh")).unwrap(), Path::new("/bin/su"));
    let (one, other) =
        (fs::metadata(root.join("bin/su")).unwrap(), fs::metadata(root.join("bin/sudo")).unwrap());
    assert_eq!((one.ino(), one.nlink()), (other.ino(), 2));
    assert_eq!(one.mtime(), 1_000_000_000);
    assert_eq!(fs::metadata(root.join("bin")).unwrap().mtime(), 1_000_000_000);
    assert!(fs::symlink_metadata(root.join("tmp/fifo")).unwrap().file_type().is_fifo());
    assert_eq!(fs::read(root.join("deep/er/file")).unwrap(), b"hello");
}

#[test]
fn all_compressions_give_the_same_diff_id() {
    let layer = HostileTar::default().file("a", b"a").finish();
    let zstd = zstd::encode_all(layer.as_slice(), 3).unwrap();
    let two_members = [gzip(&layer[..700]), gzip(&layer[700..])].concat();
    for packed in [layer.clone(), gzip(&layer), zstd, two_members] {
        assert_eq!(Place::new().unpack(&packed).unwrap().diff_id, Digest::of(&layer));
    }
}

#[test]
fn what_follows_the_end_mark_belongs_to_the_diff_id() {
    let mut layer = HostileTar::default().file("a", b"a").finish();
    layer.extend_from_slice(&[0; 8192]);
    let unpacked = Place::new().unpack(&layer).unwrap();
    assert_eq!((unpacked.diff_id, unpacked.bytes), (Digest::of(&layer), layer.len() as u64));
}

#[test]
fn an_empty_layer_is_a_layer() {
    assert_eq!(Place::new().unpack(&HostileTar::default().finish()).unwrap().entries, 0);
}

#[test]
fn paths_out_of_the_layer_are_refused() {
    for path in [
        "/etc/passwd",
        "../secret",
        "../beside/x",
        "a/../../beside/x",
        "..",
        "a/..",
        "./../secret",
        "//beside",
    ] {
        refused(HostileTar::default().file(path, b"evil"), ErrorKind::Hostile);
        refused(HostileTar::default().symlink(path, "x"), ErrorKind::Hostile);
        refused(
            HostileTar::default().pax(&[("path", path.as_bytes())]).file("a", b"evil"),
            ErrorKind::Hostile,
        );
        refused(HostileTar::default().gnu_long(b'L', path.as_bytes()).file("a", b"evil"), ErrorKind::Hostile);
        if !path.ends_with("..") {
            refused(HostileTar::default().dir(path, 0o755), ErrorKind::Hostile);
        }
        refused(HostileTar::default().file("own", b"").hard_link("a", path), ErrorKind::Hostile);
    }
}

#[test]
fn nothing_is_written_through_symbolic_links() {
    for target in ["../beside", "/tmp", ".", "real", "../secret"] {
        let link = || HostileTar::default().dir("real", 0o755).symlink("link", target);
        refused(link().file("link/x", b"evil"), ErrorKind::Hostile);
        refused(link().dir("link/x", 0o755), ErrorKind::Hostile);
        refused(link().symlink("link/x", "y"), ErrorKind::Hostile);
        refused(link().file("link/x/y/z", b"evil"), ErrorKind::Hostile);
        refused(link().file("link/.wh.x", b""), ErrorKind::Hostile);
        refused(link().file("link/.wh..wh..opq", b""), ErrorKind::Hostile);
        refused(link().file("own", b"").hard_link("link/x", "own"), ErrorKind::Hostile);
        refused(link().hard_link("x", "link/secret"), ErrorKind::Hostile);
    }
    // Through a chain, and through a hard link to a symbolic link.
    let chain = HostileTar::default().symlink("a", "../beside").symlink("b", "a").hard_link("c", "b");
    refused(chain.file("c/x", b"evil"), ErrorKind::Hostile);
}

#[test]
fn a_file_in_the_place_of_a_symbolic_link_replaces_the_link() {
    let place = Place::new();
    let layer = HostileTar::default()
        .symlink("a", "../secret")
        .file("a", b"own")
        .symlink("d", "../beside")
        .dir("d", 0o755)
        .file("d/x", b"own")
        .finish();
    place.unpack(&layer).unwrap();
    assert_eq!(fs::read(place.root().join("a")).unwrap(), b"own");
    assert_eq!(fs::read(place.root().join("d/x")).unwrap(), b"own");
}

#[test]
fn a_hard_link_to_a_symbolic_link_is_the_link_itself() {
    let place = Place::new();
    place.unpack(&HostileTar::default().symlink("a", "../secret").hard_link("b", "a").finish()).unwrap();
    assert_eq!(fs::read_link(place.root().join("b")).unwrap(), Path::new("../secret"));
}

#[test]
fn hard_links_to_anything_but_own_files_are_refused() {
    for layer in [
        HostileTar::default().hard_link("a", "missing"),
        HostileTar::default().hard_link("a", "a"),
        HostileTar::default().dir("d", 0o755).hard_link("a", "d"),
        HostileTar::default().hard_link("a", "./"),
        HostileTar::default().file("f", b"").hard_link("a", "f/x"),
        HostileTar::default().file(".wh.f", b"").hard_link("a", "f"),
        HostileTar::default().file("d/f", b"").hard_link("d", "d/f"),
        HostileTar::default().hard_link("a", ""),
    ] {
        refused(layer, ErrorKind::Hostile);
    }
}

#[test]
fn paths_through_files_are_refused() {
    refused(HostileTar::default().file("a", b"").file("a/b", b""), ErrorKind::Hostile);
    refused(HostileTar::default().raw(b'6', b"a", b"", 0o644, 0, b"").file("a/b/c", b""), ErrorKind::Hostile);
}

#[test]
fn impossible_names_are_refused() {
    refused(HostileTar::default().pax(&[("path", b"a\0b")]).file("a", b""), ErrorKind::Hostile);
    refused(HostileTar::default().pax(&[("linkpath", b"a\0b")]).symlink("a", "x"), ErrorKind::Hostile);
    refused(HostileTar::default().pax(&[("linkpath", b"")]).symlink("a", ""), ErrorKind::Hostile);
    refused(HostileTar::default().pax(&[("path", b"")]).file("a", b""), ErrorKind::Hostile);
    refused(HostileTar::default().gnu_long(b'L', &[b'a'; 256]).file("a", b""), ErrorKind::TooLarge);
    refused(HostileTar::default().pax(&[("path", &b"a/".repeat(3000))]).file("a", b""), ErrorKind::TooLarge);
    refused(HostileTar::default().pax(&[("path", &b"a/".repeat(300))]).file("a", b""), ErrorKind::TooLarge);
    refused(
        HostileTar::default().raw(b'0', b"./", b"", 0o644, 0, b"").symlink("./", "x"),
        ErrorKind::Hostile,
    );
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..."] {
        refused(HostileTar::default().file(name, b""), ErrorKind::Hostile);
    }
}

#[test]
fn long_names_of_both_kinds_are_read() {
    let place = Place::new();
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(255));
    let layer = HostileTar::default()
        .gnu_long(b'L', long.as_bytes())
        .file("short", b"gnu")
        .pax(&[("path", format!("pax/{long}").as_bytes())])
        .file("short", b"pax")
        .pax(&[("linkpath", long.as_bytes())])
        .hard_link("linked", "x")
        .gnu_long(b'K', &[b't'; 3000])
        .symlink("far", "x")
        .finish();
    place.unpack(&layer).unwrap();
    assert_eq!(fs::read(place.root().join(&long)).unwrap(), b"gnu");
    assert_eq!(fs::read(place.root().join("pax").join(&long)).unwrap(), b"pax");
    assert_eq!(fs::read(place.root().join("linked")).unwrap(), b"gnu");
    assert_eq!(fs::read_link(place.root().join("far")).unwrap().as_os_str().len(), 3000);
}

#[test]
fn what_is_no_tar_or_is_damaged_is_refused() {
    let good = HostileTar::default().file("a", &[7; 2000]).finish();
    let corrupt = |bytes: &[u8]| {
        let error = Place::new().unpack(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    };
    corrupt(b"this is no tar");
    corrupt(&[b'x'; 4096]);
    corrupt(&good[..300]);
    corrupt(&good[..1000]);
    corrupt(&gzip(&good)[..60]);
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    corrupt(&flipped);
    let zstd = zstd::encode_all(good.as_slice(), 3).unwrap();
    corrupt(&zstd[..zstd.len() - 5]);
    let trailing = [&gzip(&good)[..], b"garbage"].concat();
    corrupt(&trailing);
    refused(HostileTar::default().bytes_as_they_are(&[0; 512]).file("late", b""), ErrorKind::Corrupt);
    for record in
        [&b"9999 path=a\n"[..], b"x path=a\n", b"10 path=a", b"3 \n", b"12 path~aaa\n", b"0 path=a\n"]
    {
        let layer =
            HostileTar::default().raw(b'x', b"p", b"", 0o644, record.len() as u64, record).file("a", b"");
        refused(layer, ErrorKind::Corrupt);
    }
}

#[test]
fn unusual_entries_are_refused_or_left_out() {
    refused(HostileTar::default().raw(b'S', b"sparse", b"", 0o644, 0, b""), ErrorKind::Unsupported);
    refused(HostileTar::default().pax(&[("GNU.sparse.major", b"1")]).file("a", b""), ErrorKind::Unsupported);
    refused(HostileTar::default().raw(b'M', b"multi", b"", 0o644, 0, b""), ErrorKind::Unsupported);
    let place = Place::new();
    let layer = HostileTar::default()
        .raw(b'3', b"dev/null", b"", 0o666, 0, b"")
        .raw(b'4', b"dev/sda", b"", 0o660, 0, b"")
        .file("a", b"")
        .finish();
    assert_eq!(place.unpack(&layer).unwrap().skipped_devices, 2);
    assert!(!place.root().join("dev").exists());
    assert!(place.root().join("a").exists());
}

#[test]
fn attributes_of_overlayfs_are_refused_and_foreign_ones_left_out() {
    for name in
        ["user.overlay.opaque", "trusted.overlay.opaque", "user.overlay.whiteout", "trusted.overlay.redirect"]
    {
        let layer = HostileTar::default().pax(&[(&format!("SCHILY.xattr.{name}"), b"y")]);
        refused(layer.dir("d", 0o755), ErrorKind::Hostile);
    }
    let place = Place::new();
    let layer = HostileTar::default()
        .pax(&[
            ("SCHILY.xattr.security.capability", b"\x01\n\0\0"),
            ("SCHILY.xattr.trusted.x", b"1"),
            ("SCHILY.xattr.user.kept", b"line\nbreak"),
        ])
        .file("f", b"x")
        .finish();
    assert_eq!(place.unpack(&layer).unwrap().skipped_xattrs, 2);
    let mut value = [0; 32];
    let length = rustix::fs::getxattr(place.root().join("f"), "user.kept", &mut value).unwrap();
    assert_eq!(&value[..length], b"line\nbreak");
}

#[test]
fn bombs_are_stopped() {
    let limits = |change: fn(&mut Limits)| {
        let mut options = options();
        change(&mut options.limits);
        options
    };
    let too_large = |layer: &[u8], options: &UnpackOptions| {
        let error = Place::new().unpack_with(layer, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    };
    let zeros = HostileTar::default().file("zeros", &vec![0; 8 << 20]).finish();
    too_large(&gzip(&zeros), &limits(|limits| (limits.expansion, limits.expansion_floor) = (100, 1 << 20)));
    too_large(
        &zstd::encode_all(zeros.as_slice(), 3).unwrap(),
        &limits(|l| (l.expansion, l.expansion_floor) = (100, 1 << 20)),
    );
    too_large(&zeros, &limits(|limits| limits.unpacked_bytes = 1 << 20));
    // Zeros behind the end mark count too.
    let behind = [HostileTar::default().finish(), vec![0; 8 << 20]].concat();
    too_large(&gzip(&behind), &limits(|limits| limits.unpacked_bytes = 1 << 20));
    let many = (0..100).fold(HostileTar::default(), |tar, n| tar.file(&format!("f{n}"), b"")).finish();
    too_large(&many, &limits(|limits| limits.entries = 99));
    let names =
        (0..100).fold(HostileTar::default(), |tar, n| tar.dir(&format!("directory{n}"), 0o755)).finish();
    too_large(&names, &limits(|limits| limits.directory_name_bytes = 500));
    // Headers that state sizes which nobody could hold in memory.
    refused(HostileTar::default().raw(b'L', b"l", b"", 0o644, 1 << 33, b""), ErrorKind::TooLarge);
    refused(HostileTar::default().raw(b'x', b"x", b"", 0o644, 1 << 33, b""), ErrorKind::TooLarge);
    refused(HostileTar::default().raw(b'0', b"f", b"", 0o644, u64::MAX, b""), ErrorKind::Corrupt);
    refused(
        HostileTar::default().pax(&[("size", b"18446744073709551615")]).file("f", b""),
        ErrorKind::Corrupt,
    );
    let many_headers = (0..20).fold(HostileTar::default(), |tar, _| tar.pax(&[("comment", b"x")]));
    refused(many_headers.file("a", b""), ErrorKind::Hostile);
}

#[test]
fn what_comes_twice_is_replaced_by_the_later_one() {
    let place = Place::new();
    let layer = HostileTar::default()
        .file("a", b"first")
        .file("a", b"second")
        .dir("d", 0o700)
        .file("d/kept", b"1")
        .dir("d", 0o755)
        .file("e/sub/gone", b"1")
        .file("e", b"now a file")
        .file("f", b"was a file")
        .file("g/x", b"1")
        .symlink("g", "a")
        .dir("f", 0o711)
        .file("f/new", b"2")
        .finish();
    place.unpack(&layer).unwrap();
    let root = place.root();
    assert_eq!(fs::read(root.join("a")).unwrap(), b"second");
    assert_eq!(fs::metadata(root.join("d")).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(root.join("d/kept").exists());
    assert_eq!(fs::read(root.join("e")).unwrap(), b"now a file");
    assert!(fs::symlink_metadata(root.join("g")).unwrap().is_symlink());
    assert!(root.join("f/new").exists());
}

#[test]
fn a_directory_that_is_not_empty_is_refused() {
    let place = Place::new();
    fs::write(place.root().join("x"), "").unwrap();
    let error = place.unpack(&HostileTar::default().finish()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn deletions_become_marks_of_overlayfs() {
    let place = Place::new();
    let layer = HostileTar::default()
        .file("d/.wh.gone", b"")
        .file("o/.wh..wh..opq", b"")
        .file("o/own", b"")
        .file(".wh..wh.plnk", b"")
        .file(".wh.again", b"")
        .dir("again", 0o755)
        .file(".wh.implied", b"")
        .file("implied/x", b"")
        .dir("both", 0o755)
        .file(".wh.both", b"")
        .file("file", b"stays")
        .file(".wh.file", b"")
        .finish();
    let unpacked = place.unpack(&layer).unwrap();
    assert!(!unpacked.opaque_root);
    let root = place.root();
    let gone = fs::symlink_metadata(root.join("d/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let opaque = |path: &str| {
        let mut value = [0; 4];
        rustix::fs::getxattr(root.join(path), "user.overlay.opaque", &mut value)
            .map(|length| value[..length].to_vec())
    };
    for path in ["o", "again", "implied", "both"] {
        assert_eq!(opaque(path).unwrap(), b"y", "{path}");
    }
    assert!(opaque("d").is_err());
    assert_eq!(fs::read(root.join("file")).unwrap(), b"stays");
    assert!(!root.join(".wh..wh.plnk").exists());
}

#[test]
fn a_layer_that_hides_all_below_says_so() {
    assert!(
        Place::new().unpack(&HostileTar::default().file(".wh..wh..opq", b"").finish()).unwrap().opaque_root
    );
}

#[test]
fn deep_and_locked_trees_are_removed() {
    let outer = tempfile::tempdir().unwrap();
    let top = outer.path().join("top");
    fs::create_dir(&top).unwrap();
    let mut current = fs::File::open(&top).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&current, "d", rustix::fs::Mode::RWXU).unwrap();
        current = rustix::fs::openat(&current, "d", DIRECTORY, rustix::fs::Mode::empty()).unwrap().into();
    }
    fs::create_dir(top.join("locked")).unwrap();
    fs::write(top.join("locked/f"), "").unwrap();
    fs::set_permissions(top.join("locked"), fs::Permissions::from_mode(0o0)).unwrap();
    fs::write(outer.path().join("beside"), "").unwrap();
    std::os::unix::fs::symlink("../beside", top.join("link")).unwrap();
    let parent = fs::File::open(outer.path()).unwrap();
    remove_tree(&parent, "top").unwrap();
    remove_tree(&parent, "top").unwrap();
    assert!(!top.exists() && outer.path().join("beside").exists());
}

/// A small language of entries, so that combinations nobody thought of are tried.
#[derive(Debug, Clone)]
enum Piece {
    File(String),
    Dir(String),
    Symlink(String, String),
    HardLink(String, String),
}

fn piece() -> impl Strategy<Value = Piece> {
    let part = || {
        prop_oneof![
            Just("a"),
            Just("b"),
            Just("c"),
            Just(".."),
            Just("."),
            Just(".wh.a"),
            Just(".wh..wh..opq")
        ]
    };
    let path = move || {
        (proptest::bool::weighted(0.03), proptest::collection::vec(part(), 1..4)).prop_map(
            |(absolute, parts)| {
                let slash = if absolute { "/" } else { "" };
                format!("{slash}{}", parts.join("/"))
            },
        )
    };
    let target = move || {
        prop_oneof![path(), Just("../beside".to_owned()), Just("../secret".to_owned()), Just("/".to_owned())]
    };
    prop_oneof![
        path().prop_map(Piece::File),
        path().prop_map(Piece::Dir),
        (path(), target()).prop_map(|(a, b)| Piece::Symlink(a, b)),
        (path(), target()).prop_map(|(a, b)| Piece::HardLink(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_combination_of_entries_touches_anything_outside(pieces in proptest::collection::vec(piece(), 1..12)) {
        let layer = pieces.iter().fold(HostileTar::default(), |tar, piece| match piece {
            Piece::File(path) => tar.file(path, b"evil"),
            Piece::Dir(path) => tar.dir(path, 0o700),
            Piece::Symlink(path, target) => tar.symlink(path, target),
            Piece::HardLink(path, target) => tar.hard_link(path, target),
        });
        // `Place` checks what is outside; the outcome itself may be either.
        if let Err(error) = Place::new().unpack(&layer.finish()) {
            prop_assert!(matches!(error.kind(), ErrorKind::Hostile | ErrorKind::TooLarge), "{}", error);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(position in 0_usize..2048, value in any::<u8>(), cut in 0_usize..4096) {
        let mut layer = HostileTar::default()
            .pax(&[("path", b"some/long/path"), ("mtime", b"1.5")])
            .file("x", b"content")
            .dir("d", 0o755)
            .finish();
        layer[position] = value;
        layer.truncate(cut.max(1));
        let _ = Place::new().unpack(&layer);
    }
}

/// Owner, mode and kind of everything in a tree.
#[allow(dead_code)]
fn listing(root: &Path) -> BTreeMap<String, (u32, u32, u32)> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, (metadata.uid(), metadata.gid(), metadata.mode()));
            if metadata.is_dir() {
                left.push(path);
            }
        }
    }
    found
}
