//! What a server needs before its first start where it cannot keep it itself: keys that several servers share, and the
//! administrator's token.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use paas_adapters::KeyFile;
use serde::Serialize;

use super::token::Token;

/// The file with the keys that seal secrets.
pub const KEYS: &str = "keys.json";
/// The file with the administrator's token.
pub const TOKEN: &str = "admin-token";

/// What is in the folder now.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Whether the keys are new.
    pub keys: bool,
    /// Whether the token is new.
    pub token: bool,
}

/// Makes the files that are missing in `folder`. What is there stays: other keys could not open what these have sealed.
///
/// # Errors
/// If a file cannot be written, or one that is there holds no keys.
pub fn init(folder: &Path) -> Result<Made> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("failed to make the directory {}", folder.display()))?;
    let keys = folder.join(KEYS);
    let are_new = !keys.exists();
    KeyFile::open(keys)?;
    let token = Token::generate().map_err(|error| anyhow!("failed to draw random bits: {error}"))?;
    Ok(Made { keys: are_new, token: write(&folder.join(TOKEN), &token.reveal())? })
}

/// Writes a file for its owner alone; false if it is there.
fn write(file: &Path, text: &str) -> Result<bool> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut out) => {
            let written = out.write_all(text.as_bytes()).and_then(|()| out.sync_all());
            written.with_context(|| format!("failed to write {}", file.display()))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("failed to make {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_files_are_for_their_owner_and_stay_as_they_were_made() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("paas");
        assert_eq!(init(&place).unwrap(), Made { keys: true, token: true });
        let content = |name: &str| fs::read_to_string(place.join(name)).unwrap();
        let before = [content(KEYS), content(TOKEN)];
        for name in [KEYS, TOKEN] {
            assert_eq!(fs::metadata(place.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        assert!(Token::parse(&before[1]).is_some());
        assert_eq!(init(&place).unwrap(), Made { keys: false, token: false });
        assert_eq!([content(KEYS), content(TOKEN)], before);
    }
}
