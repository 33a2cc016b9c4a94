//! Looking for tools on this machine.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest Go that builds `tests/cluster`: as its `go.mod` says.
const GO: (u32, u32) = (1, 26);

/// Whether this user is root.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// The first executable of that name; system folders count even when PATH leaves them out.
pub fn on_path(name: &str) -> Option<PathBuf> {
    within(&env::var_os("PATH").unwrap_or_default(), name)
}

/// The same on a given PATH.
fn within(path: &OsStr, name: &str) -> Option<PathBuf> {
    env::split_paths(path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// Whether a cluster is given.
pub fn has_kubeconfig() -> bool {
    env::var_os("KUBECONFIG").is_some_and(|paths| !paths.is_empty())
}

/// PostgreSQL's server: on the path, or where Debian keeps it by version.
pub fn has_postgres() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    on_path("initdb").is_some()
        || versions.into_iter().any(|version| version.path().join("bin/initdb").is_file())
}

/// Go, where it is new enough; the usual folder counts even when PATH leaves it out.
pub fn go() -> Option<PathBuf> {
    let usual = PathBuf::from("/usr/local/go/bin/go");
    let found = on_path("go").or_else(|| usual.is_file().then_some(usual))?;
    let output = Command::new(&found).args(["env", "GOVERSION"]).output().ok()?;
    go_version(&String::from_utf8_lossy(&output.stdout)).is_some_and(|version| version >= GO).then_some(found)
}

/// The first two numbers of a version of Go, as in `go1.26.8`.
fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().strip_prefix("go")?.split(['.', '-', 'r', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Python with `pip`.
pub fn has_pip() -> bool {
    let probe = Command::new("python3").args(["-m", "pip", "--version"]).output();
    probe.is_ok_and(|output| output.status.success())
}

/// A static C library, where the C compiler looks for it.
pub fn has_static_libc() -> bool {
    let Ok(output) = Command::new("cc").arg("-print-file-name=libc.a").output() else {
        return false;
    };
    // When there is none, the compiler answers the bare name.
    Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_absolute()
}

/// A Python whose `venv` works; Debian splits `ensurepip` off.
pub fn debian_python() -> Option<PathBuf> {
    let works = |python: &PathBuf| {
        let probe = Command::new(python).args(["-c", "import venv, ensurepip"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    [PathBuf::from("/usr/bin/python3")].into_iter().chain(on_path("python3")).find(works)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_read_and_compared_by_number() {
        assert_eq!(go_version("go1.26.8\n"), Some((1, 26)));
        assert_eq!(go_version("go1.27rc1"), Some((1, 27)));
        assert!(go_version("go1.9").is_some_and(|version| version < GO));
        assert_eq!(go_version("devel"), None);
    }

    #[test]
    fn a_tool_is_found_on_the_path_and_not_without_it() {
        let own = env::current_exe().expect("this program has a path");
        let (folder, name) = (own.parent().expect("a folder"), own.file_name().expect("a name"));
        let name = name.to_str().expect("text");
        assert_eq!(within(folder.as_os_str(), name).as_deref(), Some(&*own));
        assert_eq!(within(OsStr::new("/nonexistent"), name), None);
        assert_eq!(within(OsStr::new(""), name), None);
    }
}
