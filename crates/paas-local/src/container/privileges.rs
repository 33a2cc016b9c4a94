//! Giving up every right that container engines do not leave to a program.

use rustix::{
    fs::{Gid, Uid},
    io::Errno,
    thread::{CapabilitySet, CapabilitySets},
};

use super::{seccomp, user::Identity};
use crate::{
    Failure,
    error::{ErrorKind, Step},
};

/// What container engines keep: enough for entry points that change their user or their files' owner, and none that
/// reaches beyond the container. Opening device files, which `MKNOD` allows to make, is forbidden by mount flags.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Becomes the user, with the kept capabilities if that is root and none otherwise; nothing can be won back.
pub(crate) fn drop_privileges(identity: &Identity, user_namespace: bool) -> Result<(), Failure> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if KEPT.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last one that the kernel knows.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(Failure::io("drop a capability from the bounding set", errno)),
        }
    }
    rustix::thread::clear_ambient_capability_set().step("clear the ambient capabilities")?;
    become_user(identity, user_namespace)?;
    // The kernel cleared the effective and the permitted set if the user is not root.
    let had = rustix::thread::capabilities(None).step("read the capabilities")?;
    let sets = CapabilitySets {
        effective: had.effective & KEPT,
        permitted: had.permitted & KEPT,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).step("drop capabilities")?;
    rustix::thread::set_no_new_privs(true).step("forbid new privileges")?;
    seccomp::apply()
}

fn become_user(identity: &Identity, user_namespace: bool) -> Result<(), Failure> {
    let unmapped = |what: &str, id: u32, errno: Errno| {
        if user_namespace && errno == Errno::INVAL {
            Failure::new(
                ErrorKind::BadUser,
                format!(
                    "{what} {id} of the image cannot be had: the server runs as an ordinary user without enough \
                     subordinate ids; give it a range in /etc/subuid and /etc/subgid (usermod --add-subuids \
                     100000-165535 --add-subgids 100000-165535 USER) and install newuidmap (package uidmap), or run \
                     it as root"
                ),
            )
        } else {
            Failure::io(format_args!("become {what} {id}"), errno)
        }
    };
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // A user namespace with one id only forbids to change groups; there are none to change to either.
        Err(Errno::PERM) if user_namespace => {}
        Err(errno) => {
            return Err(unmapped(
                "a supplementary group, the first of which is",
                identity.groups.first().copied().unwrap_or(0),
                errno,
            ));
        }
        Ok(()) => {}
    }
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .map_err(|errno| unmapped("group", identity.gid, errno))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|errno| unmapped("user", identity.uid, errno))
}
