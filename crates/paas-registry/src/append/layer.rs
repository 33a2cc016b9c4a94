//! Packing files into a reproducible layer.

use std::collections::BTreeMap;
use std::io::{self, Write};

use bytes::Bytes;

use super::OPERATION;
use crate::digest::Hasher;
use crate::{Digest, Error, Result};

/// What is at a path.
#[derive(Debug, Clone)]
pub(super) enum Node {
    File { mode: u32, content: Bytes },
    Directory { mode: u32 },
    Symlink { target: String },
}

pub(super) struct Packed {
    pub(super) bytes: Bytes,
    pub(super) diff_id: Digest,
}

/// A path without leading slash, `.` and empty parts; `None` if it is none of a file.
pub(super) fn normalise(path: &str) -> Option<Vec<u8>> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let ok = !parts.is_empty()
        && parts.iter().all(|part| {
            *part != ".." && part.len() <= 255 && !part.contains('\0') && !part.starts_with(".wh.")
        });
    ok.then(|| parts.join("/").into_bytes())
}

/// Finds paths that go through files or links.
pub(super) fn check(nodes: &BTreeMap<Vec<u8>, Node>, faults: &mut Vec<String>) {
    for path in nodes.keys() {
        for parent in parents(path) {
            if matches!(nodes.get(parent), Some(Node::File { .. } | Node::Symlink { .. })) {
                let show = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
                faults.push(format!("/{} is below /{}, which is no directory", show(path), show(parent)));
            }
        }
    }
    for node in nodes.values() {
        if let Node::Symlink { target } = node
            && (target.is_empty() || target.contains('\0') || target.len() > 4095)
        {
            faults.push("a symbolic link has an impossible target".to_owned());
        }
    }
}

fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

/// The mode of a directory that was not named: what it has in every distribution.
fn implied_mode(path: &[u8]) -> u32 {
    match path {
        b"tmp" | b"var/tmp" | b"dev/shm" => 0o1777,
        b"root" => 0o700,
        _ => 0o755,
    }
}

pub(super) fn pack(nodes: &BTreeMap<Vec<u8>, Node>) -> Result<Packed> {
    let mut all = nodes.clone();
    for path in nodes.keys() {
        for parent in parents(path) {
            all.entry(parent.to_owned()).or_insert_with(|| Node::Directory { mode: implied_mode(parent) });
        }
    }
    write(&all).map_err(|error| Error::io(OPERATION, error))
}

fn write(nodes: &BTreeMap<Vec<u8>, Node>) -> io::Result<Packed> {
    // The operating system is "unknown", so that the result does not depend on where it is built.
    let gzip = flate2::GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), flate2::Compression::default());
    let mut tar = tar::Builder::new(Hashed { writer: gzip, hasher: Hasher::default() });
    // Sorted by bytes, a directory comes before what is in it.
    for (path, node) in nodes {
        let path = std::str::from_utf8(path).map_err(io::Error::other)?;
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        match node {
            Node::File { mode, content } => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, path, content.as_ref())?;
            }
            Node::Directory { mode } => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                tar.append_data(&mut header, format!("{path}/"), io::empty())?;
            }
            Node::Symlink { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                tar.append_link(&mut header, path, target)?;
            }
        }
    }
    let Hashed { writer, hasher } = tar.into_inner()?;
    let bytes = writer.finish()?;
    Ok(Packed { bytes: bytes.into(), diff_id: hasher.finish().0 })
}

struct Hashed<W> {
    writer: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.writer.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
