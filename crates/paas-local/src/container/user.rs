//! The user that an image names, looked up in the image's own `/etc/passwd` and `/etc/group`.

use std::{fs::File, io::Read, os::unix::fs::OpenOptionsExt};

use rustix::fs::{FileType, Gid, OFlags, Uid};

use crate::{Failure, error::ErrorKind};

/// No sane image has more; a bigger file is not read to its end.
const MAX_BYTES: u64 = 4 << 20;

/// Who the program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    pub home: String,
}

impl Identity {
    /// Lets the program open `/dev/stdout` and `/dev/stderr`, as many images do for their log files, and `/dev/stdin` if
    /// that is a pipe too.
    pub(super) fn own_standard_streams(&self) {
        let (uid, gid) = (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)));
        for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
            // A device of the host keeps its owner.
            let is_pipe = rustix::fs::fstat(stream)
                .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo);
            if is_pipe {
                let _ = rustix::fs::fchown(stream, uid, gid);
            }
        }
    }
}

/// Resolves `user[:group]` against the files of the image, which must be the root file system by now.
pub(crate) fn resolve(user: Option<&str>) -> Result<Identity, Failure> {
    resolve_in(user, &read("/etc/passwd"), &read("/etc/group"))
}

/// The rules are those of container engines: a number need not be in the files; a name must. With a group given, there
/// are no supplementary ones; without, the user's own and those that list the user.
fn resolve_in(user: Option<&str>, passwd: &str, group: &str) -> Result<Identity, Failure> {
    let user = user.filter(|user| !user.is_empty()).unwrap_or("0");
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let number = user.parse::<u32>().ok();
    let entry = passwd.lines().filter_map(Account::parse).find(|entry| match number {
        Some(uid) => entry.uid == uid,
        None => entry.name == user,
    });
    let (uid, default_gid, name, home) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, Some(entry.name), entry.home),
        (None, Some(uid)) => (uid, 0, None, "/"),
        (None, None) => return Err(bad(&format!("the image has no user {user:?} in /etc/passwd"))),
    };
    let groups: Vec<Group<'_>> = group.lines().filter_map(Group::parse).collect();
    let (gid, supplementary) = if let Some(wanted) = wanted_group {
        let gid = groups
            .iter()
            .find(|group| group.name == wanted)
            .map(|group| group.gid)
            .or_else(|| wanted.parse().ok())
            .ok_or_else(|| bad(&format!("the image has no group {wanted:?} in /etc/group")))?;
        (gid, Vec::new())
    } else {
        let member =
            |group: &&Group<'_>| name.is_some_and(|name| group.members.split(',').any(|m| m == name));
        (default_gid, groups.iter().filter(member).map(|group| group.gid).collect())
    };
    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity { uid, gid, groups: supplementary, home: home.to_owned() })
}

fn bad(message: &str) -> Failure {
    Failure::new(ErrorKind::BadUser, message)
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Account<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or("/") })
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Self { name, gid, members: fields.next().unwrap_or("").trim() })
    }
}

/// What cannot be read is empty: many images have neither file. Devices and pipes are not waited for.
fn read(path: &str) -> String {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let open = File::options().read(true).custom_flags(i32::try_from(flags).unwrap_or(0)).open(path);
    let mut bytes = Vec::new();
    if let Ok(file) = open
        && file.metadata().is_ok_and(|found| found.is_file())
    {
        let _ = file.take(MAX_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,app\ndata:x:33:app\nother:x:44:apple\n";

    fn identity(user: &str) -> Identity {
        resolve_in(Some(user), PASSWD, GROUP).expect("it resolves")
    }

    #[test]
    fn a_name_brings_its_group_home_and_supplementary_groups() {
        let expected = Identity { uid: 1000, gid: 1001, groups: vec![10, 33], home: "/home/app".into() };
        assert_eq!(identity("app"), expected);
        assert_eq!(identity("1000"), expected);
    }

    #[test]
    fn a_given_group_replaces_all_others() {
        let expected = Identity { uid: 1000, gid: 33, groups: vec![], home: "/home/app".into() };
        assert_eq!(identity("app:data"), expected);
        assert_eq!(identity("app:33"), expected);
    }

    #[test]
    fn a_number_need_not_be_known() {
        let expected = Identity { uid: 4711, gid: 0, groups: vec![], home: "/".into() };
        assert_eq!(identity("4711"), expected);
        assert_eq!(identity("4711:99").gid, 99);
    }

    #[test]
    fn no_user_is_root() {
        assert_eq!(resolve_in(None, "", "").expect("root").uid, 0);
        assert_eq!(identity("").groups, vec![10]);
    }

    #[test]
    fn unknown_names_are_named() {
        let failure = resolve_in(Some("nobody"), PASSWD, GROUP).expect_err("unknown");
        assert_eq!(failure.kind, ErrorKind::BadUser);
        assert!(failure.message.contains("\"nobody\""), "{failure}");
        assert!(resolve_in(Some("app:nogroup"), PASSWD, GROUP).is_err());
    }
}
