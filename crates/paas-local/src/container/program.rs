//! Becoming the image's program, and saying clearly why that failed.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs::{self, File},
    io::{self, Read},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process,
};

use super::user::Identity;
use crate::{Failure, InstanceSpec, error::ErrorKind};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables that a program gets.
#[derive(Debug, Clone)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// In rising order of precedence: defaults, the addresses of dependencies, the specification, the secrets.
    pub(crate) fn of_instance(
        spec: &InstanceSpec,
        secrets: BTreeMap<String, String>,
        identity: &Identity,
    ) -> Self {
        let mut all = BTreeMap::from([
            ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
            ("HOME".to_owned(), identity.home.clone()),
            ("HOSTNAME".to_owned(), spec.id.to_string()),
        ]);
        all.extend(spec.endpoints().iter().flat_map(crate::Endpoint::env));
        all.extend(spec.env.clone());
        all.extend(secrets);
        Self(all)
    }

    /// Adds a variable, if it is missing.
    #[must_use]
    pub(crate) fn or(mut self, name: &str, value: &str) -> Self {
        self.0.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        self
    }

    fn path(&self) -> &str {
        self.0.get("PATH").map_or(DEFAULT_PATH, String::as_str)
    }
}

/// Becomes the program; returns only if that failed.
pub(crate) fn execute(args: &[String], environment: &Environment) -> Result<Infallible, Failure> {
    let Some((name, rest)) = args.split_first().filter(|(name, _)| !name.is_empty()) else {
        let message = "the image names no entry point, and no command was given";
        return Err(Failure::new(ErrorKind::EntryPointMissing, message));
    };
    let program = find(name, environment.path())?;
    let error = process::Command::new(&program).arg0(name).args(rest).env_clear().envs(&environment.0).exec();
    Err(explain(&program, &error))
}

/// A name without a slash is searched for as execvp(3) does.
fn find(name: &str, path: &str) -> Result<PathBuf, Failure> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let mut denied = None;
    for folder in path.split(':') {
        let candidate = Path::new(if folder.is_empty() { "." } else { folder }).join(name);
        if let Ok(found) = fs::metadata(&candidate) {
            if found.is_file() && found.permissions().mode() & 0o111 != 0 {
                return Ok(candidate);
            }
            denied = Some(candidate);
        }
    }
    Err(match denied {
        Some(file) => not_executable(&file),
        None => Failure::new(
            ErrorKind::EntryPointMissing,
            format!("the program {name:?} is not in the image (looked in PATH {path})"),
        ),
    })
}

fn not_executable(program: &Path) -> Failure {
    let why = match fs::metadata(program) {
        Ok(found) if found.is_dir() => "it is a folder".to_owned(),
        Ok(found) => format!(
            "its permissions are {:o}, its owner is {}:{}",
            found.mode() & 0o7777,
            found.uid(),
            found.gid()
        ),
        Err(error) => error.to_string(),
    };
    Failure::new(
        ErrorKind::EntryPointNotExecutable,
        format!("the program {} may not be executed: {why}", program.display()),
    )
}

fn explain(program: &Path, error: &io::Error) -> Failure {
    let shown = program.display();
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
            if fs::symlink_metadata(program).is_err() {
                return Failure::new(
                    ErrorKind::EntryPointMissing,
                    format!("the program {shown} is not in the image"),
                );
            }
            if is_foreign(program) {
                return wrong_architecture(program);
            }
            let wants = match interpreter(program) {
                Some(interpreter) => format!("its interpreter {interpreter:?} is not"),
                None => "what it needs to run (a dynamic loader, or the target of a link) is not".to_owned(),
            };
            Failure::new(
                ErrorKind::EntryPointMissing,
                format!("the program {shown} is in the image, but {wants}"),
            )
        }
        Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM | rustix::io::Errno::ISDIR) => {
            not_executable(program)
        }
        Some(rustix::io::Errno::NOEXEC | rustix::io::Errno::LIBBAD) => wrong_architecture(program),
        _ => Failure::io(format_args!("execute {shown}"), error),
    }
}

fn wrong_architecture(program: &Path) -> Failure {
    Failure::new(
        ErrorKind::WrongArchitecture,
        format!(
            "the program {} cannot run on this machine ({}): {}",
            program.display(),
            std::env::consts::ARCH,
            what_is(program)
        ),
    )
}

/// Whether the kernel does not know the program. The C library then tries to run it by the image's shell, as execvp(3)
/// says, and tells only that there is none.
fn is_foreign(program: &Path) -> bool {
    let bytes = head(program);
    match machine(&bytes) {
        Some(machine) => native().is_some_and(|native| !native.contains(&machine)),
        None => !bytes.starts_with(b"#!"),
    }
}

/// The machines whose programs run here, as far as they are known (`e_machine` of ELF).
fn native() -> Option<&'static [u16]> {
    match std::env::consts::ARCH {
        "x86_64" => Some(&[62, 3]),
        "aarch64" => Some(&[183, 40]),
        "riscv64" => Some(&[243]),
        "powerpc64" => Some(&[21]),
        "s390x" => Some(&[22]),
        _ => None,
    }
}

/// The machine of an ELF program (System V ABI, `e_machine`).
fn machine(bytes: &[u8]) -> Option<u16> {
    bytes.strip_prefix(b"\x7fELF")?;
    let two = [*bytes.get(18)?, *bytes.get(19)?];
    Some(if bytes.get(5) == Some(&2) { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
}

fn head(program: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(program) {
        let _ = file.take(256).read_to_end(&mut bytes);
    }
    bytes
}

/// Of a script: what its first line names.
fn interpreter(program: &Path) -> Option<String> {
    let bytes = head(program);
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    line.split_whitespace().next().map(str::to_owned)
}

/// What a program is, in words.
fn what_is(program: &Path) -> String {
    let bytes = head(program);
    let Some(machine) = machine(&bytes) else {
        return if bytes.is_empty() {
            "it is empty".into()
        } else {
            "it is neither an ELF program nor a script with #! and an interpreter".into()
        };
    };
    let name = match machine {
        3 => "x86",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv",
        21 => "powerpc64",
        22 => "s390x",
        _ => return format!("it is an ELF program for machine {machine}"),
    };
    let bits = if bytes.get(4) == Some(&1) { 32 } else { 64 };
    format!("it is an ELF program for {name} ({bits} bits)")
}
