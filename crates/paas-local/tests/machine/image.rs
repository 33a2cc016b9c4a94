//! The image of these tests, in a layout: the program, users and groups.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use paas_registry::{FileMode, ImageBuilder, Platform};

use crate::support::program;

/// An image in a layout.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) location: String,
    pub(crate) digest: String,
}

/// The image, built once for each change of the program.
pub(crate) fn of_the_tests() -> Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(make).clone()
}

fn make() -> Made {
    let program = program::path();
    let changed = std::fs::metadata(&program).and_then(|found| found.modified()).expect("it was just built");
    let age = changed.duration_since(UNIX_EPOCH).expect("clocks are right").as_nanos();
    let layout = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("machine-image-{age}"));
    if !layout.join("digest").exists() {
        build(&program, &layout);
    }
    Made {
        location: format!("oci:{}:1", layout.display()),
        digest: std::fs::read_to_string(layout.join("digest")).expect("it was written with the layout"),
    }
}

fn build(program: &Path, layout: &Path) {
    let users = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
    let image = ImageBuilder::scratch(Platform::host())
        .with_file("/app", FileMode::PROGRAM, std::fs::read(program).expect("the program"))
        .with_file("/etc/passwd", FileMode::DATA, users.as_bytes().to_vec())
        .with_file("/etc/group", FileMode::DATA, b"root:x:0:\napp:x:1001:\n".to_vec())
        .with_entrypoint(["/app"])
        .build()
        .expect("the image");
    let draft = layout.with_extension(format!("draft-{}", std::process::id()));
    image.write_layout(&draft, &["1".parse().expect("a tag")]).expect("the layout");
    std::fs::write(draft.join("digest"), image.digest().to_string()).expect("the digest");
    if std::fs::rename(&draft, layout).is_err() {
        // Another process was faster.
        std::fs::remove_dir_all(&draft).expect("the draft goes");
    }
}

/// An image with what this program needs to be run in a container: the loader and the libraries of the host.
pub(crate) fn with_a_loader(layout: &Path) -> Made {
    let program = std::env::current_exe().expect("it is there");
    let listed = std::process::Command::new("ldd").arg(program).output().expect("ldd runs");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut image = ImageBuilder::scratch(Platform::host())
        .with_file("/app", FileMode::PROGRAM, std::fs::read(program::path()).expect("the program"))
        .with_entrypoint(["/app"]);
    // `name => /path (address)`, or the loader: `/path (address)`.
    for path in listed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))) {
        image = image.with_file(path, FileMode::PROGRAM, std::fs::read(path).expect("a library"));
    }
    let image = image.build().expect("the image");
    image.write_layout(layout, &["1".parse().expect("a tag")]).expect("the layout");
    Made { location: format!("oci:{}:1", layout.display()), digest: image.digest().to_string() }
}
