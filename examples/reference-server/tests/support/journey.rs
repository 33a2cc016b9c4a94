//! What a journey is, and as whom it is made.

use std::fmt;

use rustix::mount::{MountPropagationFlags, mount_change};

/// As whom the server and the command line run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// As root.
    Root,
    /// As an ordinary user: of its own when root runs the journeys, else the one who runs them.
    User,
}

impl Who {
    pub const ALL: [Self; 2] = [Self::Root, Self::User];
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::User => "user",
        })
    }
}

/// A journey, by the name of its function.
#[derive(Debug, Clone, Copy)]
pub struct Journey {
    pub name: &'static str,
    pub ignored: bool,
    only_root: bool,
    prepared: bool,
    pub run: fn(Who),
}

impl Journey {
    /// A journey with the attributes that it is listed with.
    pub fn new(name: &'static str, attributes: &[&str], run: fn(Who)) -> Self {
        let ignored = attributes.iter().any(|attribute| attribute.starts_with("ignore"));
        let has = |attribute: &str| attributes.contains(&attribute);
        Self { name, ignored, only_root: has("root"), prepared: has("prepared"), run }
    }

    /// Whether it is made as `who`.
    pub fn is_for(&self, who: Who) -> bool {
        who == Who::Root || !self.only_root
    }

    /// Whether only root can make it as `who`.
    pub fn needs_root(&self, who: Who) -> bool {
        who == Who::Root || self.prepared
    }
}

/// The journeys of a module, by their functions. `#[root]` says that an ordinary user cannot make one, `#[prepared]` that root
/// has to prepare something for whoever makes it, `#[ignore = "…"]` that it needs something which `tests/ignored.toml` names.
macro_rules! journeys {
    ($($(#[$($attribute:tt)*])* fn $name:ident();)*) => {
        pub fn journeys() -> Vec<$crate::journey::Journey> {
            vec![$($crate::journey::Journey::new(
                stringify!($name),
                &[$(stringify!($($attribute)*)),*],
                $name,
            )),*]
        }
    };
}
pub(crate) use journeys;

/// Moves this process, which has one thread yet, into a mount namespace of its own: what a journey mounts goes with the
/// last process of the journeys, however they end.
pub fn keep_mounts_private() -> std::io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(())
}
