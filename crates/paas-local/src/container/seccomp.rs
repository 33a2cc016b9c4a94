//! The filter of system calls: everything is allowed but what reaches beyond a container.
//!
//! Three programs are put on, and the strictest answer of all counts (seccomp(2)). The capabilities that most of these
//! calls need are gone already; the filter is the second fence, in front of the kernel's less travelled paths.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, sock_filter,
};

use crate::{Failure, error::Step};

/// Refused with `EPERM`, whatever the arguments.
const DENIED: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[i64] = &[
    libc::SYS__sysctl,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_modify_ldt,
    libc::SYS_sysfs,
    libc::SYS_uselib,
    libc::SYS_ustat,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[i64] = &[];

/// Answered with `ENOSYS`, which makes programs use the older call. The flags of `clone3` are behind a pointer, where
/// no filter sees them; `io_uring` does its work past the filter.
const UNKNOWN: &[i64] =
    &[libc::SYS_clone3, libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_io_uring_setup];

/// Flags that make namespaces. (`CLONE_NEWTIME` is no flag of `clone`: its bit belongs to the exit signal there.)
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];
const CLONE_NEWTIME: i32 = 0x80;

/// The execution domains that container engines allow: Linux, with and without the mark of 32 bits or of old versions,
/// and the question which one it is.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Puts the filter on the calling thread, for ever. New privileges must be forbidden before.
pub(super) fn apply() -> Result<(), Failure> {
    let Some(arch) = TARGET else {
        // The caller's host report says that there is no filter.
        return Ok(());
    };
    for program in programs(arch).step("build the filter of system calls")? {
        apply_filter(&program).step("put on the filter of system calls")?;
    }
    Ok(())
}

/// `None` where this build knows no filter.
pub(crate) const TARGET: Option<TargetArch> = if cfg!(target_arch = "x86_64") {
    Some(TargetArch::x86_64)
} else if cfg!(target_arch = "aarch64") {
    Some(TargetArch::aarch64)
} else {
    None
};

fn programs(arch: TargetArch) -> Result<Vec<BpfProgram>, seccompiler::Error> {
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let enosys = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let unknown: BTreeMap<_, _> = UNKNOWN.iter().map(|call| (*call, Vec::new())).collect();
    let mut programs = vec![
        SeccompFilter::new(denied()?, SeccompAction::Allow, eperm, arch)?.try_into()?,
        SeccompFilter::new(unknown, SeccompAction::Allow, enosys, arch)?.try_into()?,
    ];
    if arch == TargetArch::x86_64 {
        programs.push(no_x32());
    }
    Ok(programs)
}

fn denied() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        DENIED.iter().chain(DENIED_HERE).map(|call| (*call, Vec::new())).collect();
    let has_flag = |flag: i32| {
        let flag = u64::from(flag.unsigned_abs());
        SeccompRule::new(vec![SeccompCondition::new(
            0,
            SeccompCmpArgLen::Qword,
            SeccompCmpOp::MaskedEq(flag),
            flag,
        )?])
    };
    let clone = NAMESPACES.into_iter().map(has_flag).collect::<Result<Vec<_>, _>>()?;
    let unshare =
        NAMESPACES.into_iter().chain([CLONE_NEWTIME]).map(has_flag).collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_clone, clone);
    rules.insert(libc::SYS_unshare, unshare);
    let other_personality = PERSONALITIES
        .iter()
        .map(|allowed| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *allowed))
        .collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_personality, vec![SeccompRule::new(other_personality)?]);
    // Sockets to the hypervisor.
    let vsock = u64::from(libc::AF_VSOCK.unsigned_abs());
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, vsock)?;
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![condition])?]);
    Ok(rules)
}

/// The x32 interface of `x86_64` has the same calls under other numbers, from 2³⁰ up; all of it is unknown here.
fn no_x32() -> BpfProgram {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_GREATER_OR_EQUAL: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    let instruction = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        // The number of the call is the first member of `struct seccomp_data`.
        instruction(LOAD_WORD, 0, 0, 0),
        instruction(JUMP_IF_GREATER_OR_EQUAL, 0, 1, 0x4000_0000),
        instruction(RETURN, 0, 0, ERRNO | libc::ENOSYS.unsigned_abs()),
        instruction(RETURN, 0, 0, ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_compile_for_every_architecture() {
        for arch in [TargetArch::x86_64, TargetArch::aarch64] {
            for program in programs(arch).expect("the filter is well-formed") {
                assert!(program.len() < 4096, "the kernel takes no longer programs");
            }
        }
    }
}
