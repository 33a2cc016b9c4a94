//! The program of the images, built once for each change of its source.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where it is.
pub(crate) fn path() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture/app.rs");
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let age = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified()).ok();
    let program = target.join("paas-local-fixture");
    if age(&program) > age(&source) {
        return program;
    }
    let fresh = target.join(format!("paas-local-fixture.{}", std::process::id()));
    let status = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition=2024", "-O", "-Ctarget-feature=+crt-static", "-Cstrip=symbols", "-o"])
        .args([&fresh, &source])
        .status()
        .expect("rustc runs");
    assert!(status.success(), "the fixture must compile");
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    std::fs::rename(&fresh, &program).expect("it is put in place");
    program
}
