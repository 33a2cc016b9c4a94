//! Images as they are typed: paths are meant from where they are written, and the server has another current folder.

use std::path::{Path, PathBuf};

use paas_registry::Location;

/// The image with its path made absolute, counted from `folder`. What is no path, or cannot be read, stays as it is: the
/// server says what is wrong with it.
pub fn seen_from(folder: &Path, image: &str) -> String {
    let absolute = |path: &Path| -> Option<PathBuf> {
        if path.is_absolute() {
            return None;
        }
        let path = std::path::absolute(folder.join(path)).ok()?;
        // `..` reads better resolved; what is not there is told by the server as it was written.
        Some(path.canonicalize().unwrap_or(path))
    };
    let changed = match image.parse::<Location>() {
        Ok(Location::Layout { directory, reference }) => {
            absolute(&directory).map(|directory| Location::Layout { directory, reference })
        }
        Ok(Location::Archive { file, reference }) => {
            absolute(&file).map(|file| Location::Archive { file, reference })
        }
        _ => None,
    };
    changed.map_or_else(|| image.to_owned(), |changed| changed.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_counted_from_the_folder_and_nothing_else_changes() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        std::fs::create_dir(folder.join("images")).unwrap();
        let shown = folder.display();
        let seen = |image: &str| seen_from(&folder, image);
        assert_eq!(seen("oci:images:1"), format!("oci:{shown}/images:1"));
        assert_eq!(seen("oci:./images"), format!("oci:{shown}/images"));
        assert_eq!(seen("oci:images/../images:1"), format!("oci:{shown}/images:1"));
        assert_eq!(seen("oci-archive:web.tar:2"), format!("oci-archive:{shown}/web.tar:2"));
        for same in ["oci:/srv/images:1", "example.org/shop/web:1", "shop/web", "oci:", "oci-archive::1"] {
            assert_eq!(seen(same), same);
        }
    }
}
