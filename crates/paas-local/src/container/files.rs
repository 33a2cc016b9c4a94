//! Files of the configuration and of secrets, on a file system in memory.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::OwnedFd,
};

use rustix::{
    fs::{CWD, Gid, Mode, Uid},
    mount::{MountFlags, OpenTreeFlags, UnmountFlags},
};

use super::{mounts, user::Identity};
use crate::{Failure, error::Step, spec::FileSpec, state::InstanceDir};

/// Files that are written, but not yet where they belong: that is inside the image, and the image's user is not known
/// before.
pub(super) struct HeldFiles {
    files: Vec<Held>,
}

struct Held {
    file: File,
    tree: OwnedFd,
    path: String,
    mode: u32,
}

impl HeldFiles {
    /// Writes the files. The file system that holds them is never seen outside of this mount namespace, and each file
    /// is mounted alone: nothing leads from one to another.
    pub(super) fn create<'a>(
        dir: &InstanceDir,
        specs: impl Iterator<Item = &'a FileSpec>,
    ) -> Result<Self, Failure> {
        let mut specs = specs.peekable();
        let mut files = Vec::new();
        if specs.peek().is_none() {
            return Ok(Self { files });
        }
        let folder = dir.sub("files");
        fs::create_dir_all(&folder).step("make the folder of files")?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        // Without swapping where the kernel knows that (6.4, not in user namespaces).
        rustix::mount::mount("tmpfs", &folder, "tmpfs", flags, c"mode=0700,size=64m,noswap")
            .or_else(|_| rustix::mount::mount("tmpfs", &folder, "tmpfs", flags, c"mode=0700,size=64m"))
            .step("mount a file system in memory for files")?;
        for (i, spec) in specs.enumerate() {
            let name = folder.join(i.to_string());
            let mut file = File::create(&name).step(format_args!("make the file {}", spec.path))?;
            file.write_all(&spec.content).step(format_args!("write the file {}", spec.path))?;
            let tree = rustix::mount::open_tree(
                CWD,
                &name,
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
            )
            .step(format_args!("hold the file {}", spec.path))?;
            files.push(Held { file, tree, path: spec.path.clone(), mode: spec.mode });
        }
        // The files are held by their own mounts; the folder is seen by nobody any more.
        rustix::mount::unmount(&folder, UnmountFlags::DETACH).step("hide the folder of files")?;
        Ok(Self { files })
    }

    /// Gives the files to the user, and puts them where they belong.
    pub(super) fn place(self, identity: &Identity) -> Result<(), Failure> {
        for Held { file, tree, path, mode } in self.files {
            rustix::fs::fchown(&file, Some(Uid::from_raw(identity.uid)), Some(Gid::from_raw(identity.gid)))
                .step(format_args!("give the file {path} to the user"))?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
                .step(format_args!("set the permissions of {path}"))?;
            drop(file);
            mounts::make_file(&path)?;
            mounts::attach(&tree, &path)?;
            let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mounts::remount(&path, flags)?;
        }
        Ok(())
    }
}
