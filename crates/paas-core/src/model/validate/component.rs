//! Rules of one component.

use super::text::{absolute_path, is_setting, is_user, is_variable, mount_path};
use super::{Checker, manifest, probe, schedule, strategy};
use crate::error::Fault;
use crate::model::{
    Component, ComponentKind, EnvVar, FileMount, FileSource, Resources, RestartPolicy, Validate, ValueSource,
};

const MAX_PORTS: usize = 20;
const MAX_FILES: usize = 50;
const MAX_VOLUMES: usize = 20;
const MAX_VARIABLES: usize = 500;
/// Arguments and environment together stay below what the kernel takes for one `execve` (`execve(2)`: 128 KiB a string).
const MAX_ARGUMENTS: usize = 100 * 1024;
const MAX_CONTENT: usize = 256 * 1024;
/// The most instances that a specification may ask for; the environment's targets set the bound in force.
const MAX_INSTANCES: u64 = 1000;
const DAY: u64 = 86_400;

impl Validate for Component {
    fn faults(&self, path: &str, faults: &mut Vec<Fault>) {
        let mut check = Checker::new(path, faults);
        manifest::manifests(&mut check, self);
        schedule::schedule(&mut check, self);
        if self.kind == ComponentKind::Manifests {
            return;
        }
        image(&mut check.field("image"), &self.image);
        command(&mut check.field("command"), self.command.as_deref(), true);
        command(&mut check.field("args"), self.args.as_deref(), false);
        if let Some(fault) = self.working_dir.as_deref().and_then(absolute_path) {
            check.field("working_dir").fault(fault);
        }
        self.check_ports(&mut check.field("ports"));
        self.check_env(&mut check.field("env"));
        self.check_files(&mut check);
        resources(&mut check.field("resources"), &self.resources);
        probe::probes(&mut check.field("probes"), self);
        self.check_restart(&mut check.field("restart"));
        self.check_instances(&mut check.field("instances"));
        let mut termination = check.field("termination");
        termination.field("drain_seconds").range(self.termination.drain_seconds.into(), 0, DAY, " s");
        termination.field("grace_seconds").range(self.termination.grace_seconds.into(), 0, 3600, " s");
        if let Some(user) = &self.security.user {
            check.field("security").field("user").require(is_user(user), || {
                format!("{user:?} is not a user; write a uid, uid:gid, or names that the image knows")
            });
        }
        if let Some(spec) = &self.strategy {
            strategy::strategy(&mut check.field("strategy"), spec);
        }
    }
}

impl Component {
    fn check_ports(&self, check: &mut Checker<'_>) {
        check.at_most(self.ports.len(), MAX_PORTS, "ports");
        check.unique("name", self.ports.iter().map(|port| &port.name));
        check.unique("number", self.ports.iter().map(|port| port.number));
        for (index, port) in self.ports.iter().enumerate() {
            check.item(index).field("number").range(port.number.into(), 1, 65535, "");
        }
        match self.kind {
            ComponentKind::Service => check.require(!self.ports.is_empty(), || {
                "a service needs a port; add one, or make the component a worker".to_owned()
            }),
            ComponentKind::Worker | ComponentKind::Stateful | ComponentKind::Manifests => {}
            ComponentKind::Job | ComponentKind::ScheduledJob => {
                check.require(self.ports.is_empty(), || "a job has no ports; remove them".to_owned());
            }
        }
    }

    fn check_env(&self, check: &mut Checker<'_>) {
        check.at_most(self.env.len(), MAX_VARIABLES, "variables");
        let mut size = 0;
        for (name, value) in &self.env {
            let mut check = check.entry(name);
            check.require(is_variable(name), || {
                "is not the name of a variable; use letters, digits and underscores, no digit first"
                    .to_owned()
            });
            check.require(!name.starts_with("PAAS_"), || {
                "names that begin with PAAS_ are the platform's".to_owned()
            });
            match value {
                EnvVar::Value(value) => {
                    size += name.len() + value.len();
                    check.require(!value.contains('\0'), || "a value cannot hold a NUL character".to_owned());
                }
                EnvVar::From(ValueSource::Config(name) | ValueSource::Secret(name)) => {
                    setting(&mut check, name);
                }
            }
        }
        check.require(size <= MAX_ARGUMENTS, || {
            format!(
                "the variables have {size} bytes; at most {MAX_ARGUMENTS} are allowed, put more into a file"
            )
        });
    }

    fn check_files(&self, check: &mut Checker<'_>) {
        let mut files = check.field("files");
        files.at_most(self.files.len(), MAX_FILES, "files");
        for (index, file) in self.files.iter().enumerate() {
            file_mount(&mut files.item(index), file);
        }
        let mut volumes = check.field("volumes");
        volumes.at_most(self.volumes.len(), MAX_VOLUMES, "volumes");
        volumes.unique("name", self.volumes.iter().map(|volume| &volume.name));
        for (index, volume) in self.volumes.iter().enumerate() {
            if let Some(fault) = mount_path(&volume.path) {
                volumes.item(index).field("path").fault(fault);
            }
        }
        // Files come after volumes, so that a path used by both is named at the file.
        let paths = || self.volumes.iter().map(|volume| &volume.path);
        for (index, path) in paths().enumerate() {
            let taken = paths().take(index).any(|other| other == path);
            volumes.item(index).field("path").require(!taken, || format!("{path} is used by another volume"));
        }
        let mut files = check.field("files");
        for (index, file) in self.files.iter().enumerate() {
            let others = self.files.iter().take(index).map(|other| &other.path);
            let taken = others.chain(paths()).any(|other| *other == file.path);
            files
                .item(index)
                .field("path")
                .require(!taken, || format!("{} is used by another mount", file.path));
        }
    }

    fn check_restart(&self, check: &mut Checker<'_>) {
        let allowed: &[RestartPolicy] = match self.kind {
            ComponentKind::Job | ComponentKind::ScheduledJob => &[RestartPolicy::Never],
            _ => &[RestartPolicy::Always, RestartPolicy::OnFailure],
        };
        if let Some(policy) = self.restart {
            check.require(allowed.contains(&policy), || match self.kind {
                ComponentKind::Job | ComponentKind::ScheduledJob => {
                    "a job runs once; write never, or leave it out".to_owned()
                }
                _ => "what is kept running is restarted always or on_failure, so that its count is kept"
                    .to_owned(),
            });
        }
    }

    fn check_instances(&self, check: &mut Checker<'_>) {
        let instances = &self.instances;
        check.field("min").range(instances.min.into(), 1, MAX_INSTANCES, "");
        check.field("max").range(instances.max.into(), 1, MAX_INSTANCES, "");
        if instances.min > instances.max {
            check.field("min").fault(format!("{} is more than the maximum {}", instances.min, instances.max));
        } else {
            check.field("count").range(
                instances.count.into(),
                instances.min.into(),
                instances.max.into(),
                "",
            );
        }
        if self.kind.runs_to_completion() {
            check
                .field("count")
                .require(instances.count == 1, || "a job runs once; leave instances out".to_owned());
        }
    }
}

/// The rules that hold for every image reference; its registry checks the rest when the release is made.
fn image(check: &mut Checker<'_>, image: &str) {
    if image.is_empty() {
        check.fault("an image is needed, such as docker.io/library/nginx:1.27 or oci-archive:image.tar");
    } else if image.len() > 1024 || image.chars().any(|c| c.is_whitespace() || c.is_control()) {
        check.fault("an image reference has no spaces and at most 1024 characters");
    } else if let Some(path) = image.strip_prefix("oci:").or_else(|| image.strip_prefix("oci-archive:")) {
        check.require(!path.is_empty() && !path.starts_with(':'), || {
            format!("{image:?} names no path; write oci:DIRECTORY or oci-archive:FILE, with :TAG if it holds several")
        });
    }
}

fn command(check: &mut Checker<'_>, words: Option<&[String]>, needs_first: bool) {
    let Some(words) = words else { return };
    if needs_first {
        check.require(words.first().is_some_and(|word| !word.is_empty()), || {
            "the command is empty; name a program, or leave it out to use the image's".to_owned()
        });
    }
    let size: usize = words.iter().map(String::len).sum();
    check.require(size <= MAX_ARGUMENTS, || {
        format!("the words have {size} bytes; at most {MAX_ARGUMENTS} are allowed")
    });
    for (index, word) in words.iter().enumerate() {
        check.item(index).require(!word.contains('\0'), || "a word cannot hold a NUL character".to_owned());
    }
}

fn setting(check: &mut Checker<'_>, name: &str) {
    check.require(is_setting(name), || {
        format!("{name:?} is not the name of a setting; use letters, digits, _, - and .")
    });
}

fn file_mount(check: &mut Checker<'_>, file: &FileMount) {
    if let Some(fault) = mount_path(&file.path) {
        check.field("path").fault(fault);
    }
    match &file.source {
        FileSource::Content(content) => check.field("content").require(content.len() <= MAX_CONTENT, || {
            format!(
                "the file has {} bytes; at most {MAX_CONTENT} are allowed, use a volume for more",
                content.len()
            )
        }),
        FileSource::Config(name) => setting(&mut check.field("config"), name),
        FileSource::Secret(name) => setting(&mut check.field("secret"), name),
    }
    if let Some(mode) = &file.mode {
        let valid = u32::from_str_radix(mode, 8).is_ok_and(|mode| mode <= 0o777) && !mode.starts_with('+');
        check
            .field("mode")
            .require(valid, || format!("{mode:?} is not a mode; write permission bits in octal: 0440"));
    }
}

fn resources(check: &mut Checker<'_>, resources: &Resources) {
    if let Some(cpu) = resources.cpu {
        check.field("cpu").range(cpu.milli(), 10, 1_024_000, "m");
    }
    if let Some(memory) = resources.memory {
        check.field("memory").range(memory.get() >> 20, 4, 16 << 20, "Mi");
    }
    if let Some(storage) = resources.storage {
        check.field("storage").range(storage.get() >> 20, 1, 1 << 30, "Mi");
    }
    if let Some(pids) = resources.pids {
        check.field("pids").range(pids.into(), 1, 1 << 20, "");
    }
}
