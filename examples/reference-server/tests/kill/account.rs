//! As whom servers run.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::user;

/// As whom servers run, and the file of their program.
#[derive(Debug, Clone)]
pub struct Account {
    program: PathBuf,
    /// User and group, when they are not those of this program.
    ids: Option<(u32, u32)>,
}

impl Default for Account {
    /// The user who runs this program.
    fn default() -> Self {
        Self { program: "/proc/self/exe".into(), ids: None }
    }
}

impl Account {
    /// An ordinary user, for whom `folder` is opened, and the program put there: one of its own when root runs this program, else
    /// the one who does.
    pub fn ordinary(folder: &Path) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::default());
        }
        let ids = user::ids()?;
        let program = folder.join("server");
        let prepare = || {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
            fs::copy("/proc/self/exe", &program)
        };
        prepare().map_err(|error| format!("failed to prepare {}: {error}", folder.display()))?;
        Ok(Self { program, ids: Some(ids) })
    }

    /// Gives a file or folder to the user.
    pub fn give(&self, path: &Path) {
        if let Some((user, group)) = self.ids {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// The program, to be started by the user.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        command
    }
}
