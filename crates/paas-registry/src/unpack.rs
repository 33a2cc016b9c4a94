//! Unpacking a layer into a directory, whatever the layer tries.
//!
//! Everything is resolved by the kernel beneath the root of the layer, through no symbolic link
//! (`openat2(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)`); a path string is never joined to another.
//! Sources: OCI image specification `layer.md`, the kernel's `filesystems/overlayfs.rst`.

mod path;
mod remove;
mod stream;
mod tree;
mod whiteout;

use std::io::Read;
use std::os::fd::AsFd;

use rustix::fs::{OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

pub use remove::remove_tree;
pub use whiteout::WhiteoutForm;

use crate::tarball::{EntryKind, TarReader};
use crate::{Digest, Error, ErrorKind, Limits, Result};
use path::EntryPath;
use tree::Tree;

const OPERATION: &str = "unpack layer";

/// How every path of a layer is resolved.
const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_SYMLINKS);
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whose the unpacked files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ownership {
    /// As the layer says. Needs root, or a user namespace into which all ids of the layer are mapped.
    Keep,
    /// Everything belongs to the user who unpacks.
    Squash,
}

/// How a layer is unpacked.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// Whose the files are.
    pub ownership: Ownership,
    /// How deletions are written for overlayfs.
    pub whiteouts: WhiteoutForm,
    /// Bounds.
    pub limits: Limits,
}

impl UnpackOptions {
    /// What this process may do: root of the machine keeps owners and writes `trusted.*` attributes; root of a user
    /// namespace keeps owners; anybody else squashes them.
    pub fn detect() -> Self {
        let root = rustix::process::geteuid().is_root();
        Self {
            ownership: if root { Ownership::Keep } else { Ownership::Squash },
            whiteouts: WhiteoutForm::detect(),
            limits: Limits::default(),
        }
    }
}

/// What came of unpacking a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Unpacked {
    /// The digest of the uncompressed layer, to be compared with the image's configuration.
    pub diff_id: Digest,
    /// Bytes of the uncompressed layer.
    pub bytes: u64,
    /// Entries of the layer.
    pub entries: u64,
    /// Device nodes that were left out.
    pub skipped_devices: u64,
    /// Extended attributes that were left out.
    pub skipped_xattrs: u64,
    /// Whether the layer hides all layers below it. Overlayfs has no mark for this; leave the lower layers out.
    pub opaque_root: bool,
}

/// Unpacks a layer (tar, plain or compressed by gzip or zstd) into an empty directory.
///
/// The caller compares [`Unpacked::diff_id`] with the image's configuration before it uses the result, makes the
/// directory visible under its final name only then, and removes it after an error.
///
/// - *Refused* as [`ErrorKind::Hostile`]: absolute paths, `..`, paths through symbolic links or files, NUL bytes, hard
///   links to what is not a plain file or link of the same layer, overlayfs' own attributes, ids above 2³²−2.
/// - *Refused* as [`ErrorKind::TooLarge`]: whatever exceeds the [`Limits`], names above 255 and paths above 4095 bytes.
/// - *Left out* and counted: device nodes (a runtime makes its own `/dev`), and extended attributes but `user.*`
///   (`security.capability` would have no effect without new privileges).
/// - *Kept*: modes with setuid bits, owners if so wished, times, FIFOs. What comes twice is replaced by the later one.
/// - Whiteouts become overlayfs' own; see [`WhiteoutForm`].
///
/// A directory that the layer implies without an entry of its own gets mode 0755 and belongs to root.
///
/// # Errors
/// See above; [`ErrorKind::Corrupt`] if the stream is no tar, damaged or cut off.
pub fn unpack_layer(reader: impl Read, root: impl AsFd, options: &UnpackOptions) -> Result<Unpacked> {
    remove::require_empty(root.as_fd())?;
    let stream = stream::open(reader, &options.limits)?;
    let mut tar = TarReader::new(stream, OPERATION);
    let mut tree = Tree::new(root.as_fd(), options)?;
    let mut entries = 0;
    while let Some(entry) = tar.next_entry()? {
        entries += 1;
        if entries > options.limits.entries {
            return Err(Error::new(
                ErrorKind::TooLarge,
                OPERATION,
                format!("more than {} entries", options.limits.entries),
            ));
        }
        let shown = String::from_utf8_lossy(&entry.path).chars().take(300).collect::<String>();
        let placed = EntryPath::parse(&entry.path)
            .and_then(|path| place(&mut tree, &mut tar, &entry, path.as_ref()))
            .map_err(|error| error.with("entry", shown.escape_debug()));
        placed?;
    }
    let (diff_id, bytes) = tar.into_inner().finish()?;
    let outcome = tree.finish()?;
    Ok(Unpacked {
        diff_id,
        bytes,
        entries,
        skipped_devices: outcome.skipped_devices,
        skipped_xattrs: outcome.skipped_xattrs,
        opaque_root: outcome.opaque_root,
    })
}

fn place<R: Read>(
    tree: &mut Tree<'_>,
    tar: &mut TarReader<R>,
    entry: &crate::tarball::Entry,
    path: Option<&EntryPath>,
) -> Result<()> {
    let Some(path) = path else {
        // The root itself: only its attributes can be given.
        return match entry.kind {
            EntryKind::Directory => tree.root_directory(entry),
            _ => {
                Err(Error::new(ErrorKind::Hostile, OPERATION, "the root is something else than a directory"))
            }
        };
    };
    if let Some(whiteout) = whiteout::parse(path.name())? {
        return tree.whiteout(path, whiteout);
    }
    match entry.kind {
        EntryKind::Directory => tree.directory(path, entry),
        EntryKind::File => tree.file(path, entry, tar),
        EntryKind::Symlink => tree.symlink(path, entry),
        EntryKind::HardLink => {
            let target = EntryPath::parse(&entry.link)
                .map_err(|error| error.with("hard link to", show(&entry.link)))?;
            let target = target.ok_or_else(|| {
                Error::new(ErrorKind::Hostile, OPERATION, "a hard link points to the root of the layer")
            })?;
            tree.hard_link(path, &target)
        }
        EntryKind::Fifo => tree.fifo(path, entry),
        EntryKind::Device => {
            tree.skip_device();
            Ok(())
        }
    }
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(300).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests;
