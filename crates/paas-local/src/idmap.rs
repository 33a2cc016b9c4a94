//! User namespaces of an ordinary user: which ids there are, and work done inside.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use serde_json::Value;

use crate::{
    Error, ErrorKind, Failure, Result,
    boot::{self, BootReply, Mapped},
    error::Step,
    shim::enter_user_namespace,
    unpacker::unpack_inside,
};

/// How ids inside are mapped to ids of the host. Id 0 inside is the ordinary user always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMap {
    /// Ids from 1 up are the user's subordinate ones: (first, count) of users and of groups.
    Subordinate {
        /// The range of user ids.
        users: (u32, u32),
        /// The range of group ids.
        groups: (u32, u32),
    },
    /// There is id 0 only.
    Single,
}

impl IdMap {
    /// What this user may have, and why it is no more than that.
    pub(crate) fn detect() -> (Self, Option<String>) {
        let uid = rustix::process::getuid().as_raw();
        let name = user_name(uid);
        let shown = name.clone().unwrap_or_else(|| uid.to_string());
        let range =
            |file: &str| subordinate(&fs::read_to_string(file).unwrap_or_default(), name.as_deref(), uid);
        let (Some(users), Some(groups)) = (range("/etc/subuid"), range("/etc/subgid")) else {
            let why = format!(
                "images that run as another user than root cannot be run: {shown} has no range in /etc/subuid and \
                 /etc/subgid (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {shown})"
            );
            return (Self::Single, Some(why));
        };
        for tool in ["newuidmap", "newgidmap"] {
            if !in_path(tool) {
                let why = format!(
                    "images that run as another user than root cannot be run: {tool} is not installed (package uidmap)"
                );
                return (Self::Single, Some(why));
            }
        }
        (Self::Subordinate { users, groups }, None)
    }

    /// Writes the maps of a process that has just made a user namespace.
    pub(crate) fn apply(&self, pid: u32) -> Mapped {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        match self {
            Self::Subordinate { users, groups } => {
                map_with("newuidmap", pid, uid, *users)?;
                map_with("newgidmap", pid, gid, *groups)
            }
            Self::Single => {
                let write = |file: &str, text: String| {
                    fs::write(format!("/proc/{pid}/{file}"), text)
                        .step(format_args!("write /proc/{pid}/{file}"))
                };
                write("setgroups", "deny".into())?;
                write("uid_map", format!("0 {uid} 1"))?;
                write("gid_map", format!("0 {gid} 1"))
            }
        }
    }

    /// Runs a helper in a user namespace with these maps.
    pub(crate) fn run_inside(&self, args: &[OsString]) -> Result<()> {
        self.run_inside_with(args, None).map(drop)
    }

    /// Runs a helper in a user namespace with these maps, with an open file as its standard output. Gives what it says.
    pub(crate) fn run_inside_with(&self, args: &[OsString], file: Option<File>) -> Result<Value> {
        let operation = "work in a user namespace";
        let fail = |source: io::Error| Error::io(operation, source);
        let (mut channel, theirs) = boot::pair().map_err(fail)?;
        let mut child = Command::new("/proc/self/exe")
            .arg("__userns")
            .args(args)
            .stdin(Stdio::from(theirs))
            .stdout(file.map_or_else(Stdio::null, Stdio::from))
            .spawn()
            .map_err(fail)?;
        let mut talk = || -> io::Result<std::result::Result<Value, Failure>> {
            loop {
                match boot::receive::<BootReply>(&mut channel)? {
                    Some(BootReply::NeedsMaps) => boot::send(&mut channel, &self.apply(child.id()))?,
                    Some(BootReply::Done(said)) => return Ok(Ok(said)),
                    Some(BootReply::Started { .. }) => return Err(io::ErrorKind::InvalidData.into()),
                    Some(BootReply::Failed(failure)) => return Ok(Err(failure)),
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        };
        let talked = talk();
        drop(channel);
        let _ = child.wait();
        talked
            .map_err(fail)?
            .map_err(|failure| Error::new(failure.kind, operation).with_detail(failure.message))
    }
}

/// `__userns remove DIR`, `__userns unpack DIR LIMITS`: the work itself, inside.
pub(crate) fn helper_main(args: Vec<OsString>) -> ExitCode {
    let Ok(mut channel) = boot::take_stdin() else { return ExitCode::FAILURE };
    let reply = match enter_user_namespace(&mut channel).and_then(|()| work(&args)) {
        Ok(said) => BootReply::Done(said),
        Err(failure) => BootReply::Failed(failure),
    };
    match send_reply(&mut channel, &reply) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn send_reply(channel: &mut UnixStream, reply: &BootReply) -> io::Result<()> {
    boot::send(channel, reply)
}

fn work(args: &[OsString]) -> std::result::Result<Value, Failure> {
    match args {
        [verb, folder] if verb == "remove" => {
            let removed = remove_tree(Path::new(folder));
            removed.map(|()| Value::Null).step(format_args!("remove {}", Path::new(folder).display()))
        }
        [verb, root, limits] if verb == "unpack" => unpack_inside(Path::new(root), limits),
        [verb] if verb == "probe" => Ok(Value::Null),
        _ => Err(Failure::new(ErrorKind::Unsupported, "unknown work for a user namespace")),
    }
}

/// Removes a folder with everything in it. Folders that may not be entered, as overlay file systems leave them, are
/// opened first. A folder that is not there is removed.
pub(crate) fn remove_tree(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_folders(folder);
            fs::remove_dir_all(folder)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn open_folders(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_folders(&entry.path());
        }
    }
}

fn map_with(tool: &str, pid: u32, own: u32, (first, count): (u32, u32)) -> Mapped {
    let output = Command::new(tool)
        .args([pid.to_string(), "0".into(), own.to_string(), "1".into()])
        .args(["1".to_owned(), first.to_string(), count.to_string()])
        .stdin(Stdio::null())
        .output()
        .step(format_args!("run {tool}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(ErrorKind::Unsupported, format!("{tool} refused: {}", said.trim())))
}

/// The first range of a user in subuid(5): `name-or-number:first:count`.
fn subordinate(text: &str, name: Option<&str>, id: u32) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        if Some(owner) != name && owner.parse() != Ok(id) {
            return None;
        }
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (range.1 > 0).then_some(range)
    })
}

fn user_name(uid: u32) -> Option<String> {
    fs::read_to_string("/etc/passwd").ok()?.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

fn in_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&path).any(|folder: PathBuf| folder.join(tool).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_range_of_a_user_is_found_by_name_or_number() {
        let text = "root:1:2\nann:100000:65536\nann:300000:5\n1001:200000:65536\nempty:5:0\n";
        assert_eq!(subordinate(text, Some("ann"), 1000), Some((100_000, 65536)));
        assert_eq!(subordinate(text, Some("bob"), 1001), Some((200_000, 65536)));
        assert_eq!(subordinate(text, None, 1002), None);
        assert_eq!(subordinate(text, Some("empty"), 1003), None);
    }

    #[test]
    fn folders_without_permissions_are_removed() {
        let root = tempfile::tempdir().expect("a folder");
        let deep = root.path().join("work/work");
        fs::create_dir_all(deep.join("more")).expect("folders");
        fs::set_permissions(&deep, fs::Permissions::from_mode(0o0)).expect("permissions");
        remove_tree(&root.path().join("work")).expect("it is removed");
        assert!(!root.path().join("work").exists());
        remove_tree(&root.path().join("work")).expect("removing nothing is fine");
    }
}
