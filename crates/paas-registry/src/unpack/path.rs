//! Paths of entries, checked.

use super::OPERATION;
use crate::{Error, ErrorKind, Result};

/// The longest name of a file that Linux has.
const NAME_MAX: usize = 255;
/// The longest path that Linux takes, without the closing NUL.
const PATH_MAX: usize = 4095;
/// The deepest path that is accepted: what unpacks must be removable without running out of descriptors.
const DEPTH_MAX: usize = 256;

/// A relative path without `.`, `..`, empty parts and NUL: the parent (empty for the root) and the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryPath {
    whole: Vec<u8>,
    name_start: usize,
}

impl EntryPath {
    /// Checks a path of a tar entry; `None` is the root itself (`./` or `/`).
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let hostile = |message: &str| Err(Error::new(ErrorKind::Hostile, OPERATION, message));
        if bytes.contains(&0) {
            return hostile("a path has a NUL byte");
        }
        if bytes.starts_with(b"/") && bytes.iter().any(|byte| *byte != b'/') {
            return hostile("a path is absolute");
        }
        if bytes.is_empty() {
            return hostile("a path is empty");
        }
        let mut whole = Vec::with_capacity(bytes.len());
        let mut name_start = 0;
        let mut depth = 0;
        for part in bytes.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return hostile("a path leads out of the layer"),
                part if part.len() > NAME_MAX => {
                    return Err(Error::new(
                        ErrorKind::TooLarge,
                        OPERATION,
                        "a file name is longer than 255 bytes",
                    ));
                }
                part => {
                    if !whole.is_empty() {
                        whole.push(b'/');
                    }
                    name_start = whole.len();
                    whole.extend_from_slice(part);
                    depth += 1;
                }
            }
        }
        if whole.len() > PATH_MAX || depth > DEPTH_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                OPERATION,
                "a path is longer than 4095 bytes or deeper than 256 directories",
            ));
        }
        Ok((!whole.is_empty()).then_some(Self { whole, name_start }))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.whole
    }

    pub(super) fn parent(&self) -> &[u8] {
        &self.whole[..self.name_start.saturating_sub(1)]
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.whole[self.name_start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised() {
        let path = EntryPath::parse(b"./usr//bin/./sh/").unwrap().unwrap();
        assert_eq!(
            (path.as_bytes(), path.parent(), path.name()),
            (&b"usr/bin/sh"[..], &b"usr/bin"[..], &b"sh"[..])
        );
        let path = EntryPath::parse(b"etc").unwrap().unwrap();
        assert_eq!((path.parent(), path.name()), (&b""[..], &b"etc"[..]));
        for root in [&b"./"[..], b".", b"/", b"//"] {
            assert_eq!(EntryPath::parse(root).unwrap(), None);
        }
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for path in [&b"/etc/passwd"[..], b"../x", b"a/../b", b"a/..", b"..", b"a\0b", b""] {
            assert_eq!(EntryPath::parse(path).unwrap_err().kind(), ErrorKind::Hostile);
        }
        assert_eq!(EntryPath::parse(&[b'a'; 256]).unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(EntryPath::parse(&b"a/".repeat(257)).unwrap_err().kind(), ErrorKind::TooLarge);
        let long = format!("{}x", format!("{}/", "a".repeat(254)).repeat(17));
        assert_eq!(EntryPath::parse(long.as_bytes()).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
