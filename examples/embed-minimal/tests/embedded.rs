//! The same few lines on one machine, with real containers: as root and as an ordinary user.

#![allow(clippy::unwrap_used, reason = "what cannot go on fails")]

#[path = "../../reference-server/tests/support/application.rs"]
#[allow(dead_code, reason = "the journeys use the rest")]
mod application;
#[path = "../../reference-server/tests/support/leftovers.rs"]
#[allow(dead_code, reason = "the journeys use the rest")]
mod leftovers;
#[path = "../../../crates/paas-local/tests/support/user.rs"]
mod user;
#[path = "../../reference-server/tests/support/wait.rs"]
mod wait;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

#[test]
fn it_deploys_releases_and_goes_back_on_this_machine() {
    runs_as(None);
    // Where root runs the tests there is an ordinary user to become.
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        runs_as(Some(user::ids().unwrap()));
    }
}

fn runs_as(ids: Option<(u32, u32)>) {
    let folder = tempfile::Builder::new().prefix("paas-embedded-").tempdir().unwrap();
    let images = folder.path().join("images");
    let sample = fs::read(sample_images::binary().unwrap()).unwrap();
    for version in ["1", "2"] {
        let image = sample_images::image(&sample, version).build().unwrap();
        image.write_layout(&images, &[version.parse().unwrap()]).unwrap();
    }
    // An ordinary user may not enter the folder in which it was built.
    let program = folder.path().join("embed-minimal");
    fs::copy(env!("CARGO_BIN_EXE_embed-minimal"), &program).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let machine = folder.path().join("machine");
    fs::create_dir(&machine).unwrap();
    let mut command = Command::new(program);
    command.arg(&machine).args(["1", "2"].map(|version| format!("oci:{}:{version}", images.display())));
    if let Some((user, group)) = ids {
        chown(&machine, Some(user), Some(group)).unwrap();
        command.uid(user).gid(group);
    }
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let seen = Seen::of(folder.path(), &printed);
    let left = take_down(folder.path());

    let told = format!("as {ids:?}: {printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    for (number, version) in [(1, "1"), (2, "2")] {
        let line = format!("release {number} of oci:{}:{version}: Succeeded", images.display());
        assert!(printed.contains(&line), "{told}");
    }
    assert!(printed.contains("release 3, a rollback: Succeeded"), "{told}");
    assert_eq!(seen.instances, 3, "the instances outlive the program: {told}");
    assert_eq!(seen.version.as_deref(), Ok("1"), "and so does the gateway: {told}");
    assert_eq!(left, Vec::<String>::new());
}

/// What there is when the program has ended.
struct Seen {
    instances: usize,
    /// Which version answers.
    version: Result<String, String>,
}

impl Seen {
    fn of(folder: &Path, printed: &str) -> Self {
        let version = || -> Result<String, Box<dyn std::error::Error>> {
            let address =
                printed.split_once("http://shop-prod-acme.localhost:").ok_or("no address is printed")?.1;
            let port: u16 = address.split('/').next().unwrap_or_default().parse()?;
            let address = ([127, 0, 0, 1], port).into();
            Ok(application::get(address, "shop-prod-acme.localhost", "/healthz")?.version)
        };
        Self {
            instances: leftovers::processes(folder, "__shim").len(),
            version: version().map_err(|error| error.to_string()),
        }
    }
}

/// Ends everything that outlives the program; tells what cannot be ended.
fn take_down(folder: &Path) -> Vec<String> {
    let states = leftovers::states(folder);
    leftovers::kill_everything(folder);
    leftovers::remove_groups(&states);
    leftovers::of(folder)
}
