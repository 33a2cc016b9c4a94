//! The checks of a specification: all faults at once, each with its path.

use std::path::{Component, Path};

use super::{Command, FileSpec, InstanceSpec, SPEC_VERSION, Secrets};
use crate::{Error, ErrorKind, Result};

/// The bytes that may travel into one instance as environment and files.
const MAX_PAYLOAD: usize = 8 << 20;

impl InstanceSpec {
    /// Checks the specification together with its secrets.
    ///
    /// # Errors
    /// `InvalidSpec` with every fault in the detail.
    pub fn validate(&self, secrets: &Secrets) -> Result<()> {
        let mut faults = Vec::new();
        if self.version == 0 || self.version > SPEC_VERSION {
            faults
                .push(format!("version: {} is unknown, this build knows up to {SPEC_VERSION}", self.version));
        }
        if self.layers.is_empty() {
            faults.push("layers: an image has one layer at least".into());
        }
        match &self.command {
            Command::Program(args) if args.first().is_none_or(String::is_empty) => {
                faults.push("command: there is neither an entry point nor a command".into());
            }
            Command::Program(args) if args.iter().any(|arg| arg.contains('\0')) => {
                faults.push("command: an argument holds a NUL".into());
            }
            _ => {}
        }
        for (name, value) in self.env.iter().chain(&secrets.env) {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                faults.push(format!(
                    "env[{name:?}]: a name is not empty and without =, and neither holds a NUL"
                ));
            }
        }
        if let Some(folder) = &self.working_dir {
            path("working_dir", folder, &mut faults);
        }
        for (i, volume) in self.volumes.iter().enumerate() {
            mount_point(&format!("volumes[{i}].target"), &volume.target, &mut faults);
            if !volume.source.is_absolute() {
                faults.push(format!("volumes[{i}].source: {} is not absolute", volume.source.display()));
            }
        }
        files("files", &self.files, &mut faults);
        files("secrets.files", &secrets.files, &mut faults);
        if self.dependencies.len() > 64 {
            faults.push(format!("dependencies: {} are more than 64", self.dependencies.len()));
        }
        for (i, dependency) in self.dependencies.iter().enumerate() {
            if dependency.name.is_empty() || dependency.name.contains(|c: char| c.is_whitespace() || c == '#')
            {
                faults.push(format!("dependencies[{i}].name: {:?} is not a host name", dependency.name));
            }
            if dependency.port == 0 {
                faults.push(format!("dependencies[{i}].port: 0 is not a port"));
            }
        }
        if self.log.file_bytes < 4096 || self.log.files == 0 {
            faults.push("log: at least one file of 4096 bytes".into());
        }
        let payload = self.files.iter().chain(&secrets.files).map(|file| file.content.len()).sum::<usize>()
            + self
                .env
                .iter()
                .chain(&secrets.env)
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>();
        if payload > MAX_PAYLOAD {
            faults.push(format!("files and env: {payload} bytes are more than {MAX_PAYLOAD}"));
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidSpec, "check a specification")
            .with("instance", &self.id)
            .with_detail(faults.join("; ")))
    }
}

fn files(what: &str, files: &[FileSpec], faults: &mut Vec<String>) {
    for (i, file) in files.iter().enumerate() {
        mount_point(&format!("{what}[{i}].path"), &file.path, faults);
        if file.mode & !0o777 != 0 {
            faults.push(format!("{what}[{i}].mode: {:o} is more than 777", file.mode));
        }
    }
}

fn path(what: &str, text: &str, faults: &mut Vec<String>) {
    let path = Path::new(text);
    if !path.is_absolute()
        || text.contains('\0')
        || path.components().any(|part| part == Component::ParentDir)
    {
        faults.push(format!("{what}: {text:?} is not an absolute path without .."));
    }
}

/// Nothing may cover what the runtime itself mounts.
fn mount_point(what: &str, text: &str, faults: &mut Vec<String>) {
    path(what, text, faults);
    let mut parts = Path::new(text).components().skip(1);
    match (parts.next(), parts.next()) {
        (None, _) => faults.push(format!("{what}: / cannot be covered")),
        (Some(first), second) => {
            let first = first.as_os_str();
            if first == "proc" || first == "sys" || (first == "dev" && second.is_none()) {
                faults.push(format!("{what}: {text:?} belongs to the system"));
            }
        }
    }
}
