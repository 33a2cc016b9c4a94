//! What `paas login` keeps: server, token, organisation, environment. The file is its owner's alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use paas_core::{AppEnv, AppName, EnvName, EnvRef, OrgName};
use serde::{Deserialize, Serialize};

use super::args::Common;
use super::failure::{Exit, Failure};

/// What is kept.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Login {
    /// The server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The organisation to work in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org: Option<OrgName>,
    /// The environment to work in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvName>,
}

/// Where a command works: what was typed, else the environment's variables, else the login.
pub struct Context {
    file: PathBuf,
    login: Login,
    server: Option<String>,
    org: Option<OrgName>,
    env: Option<EnvName>,
}

impl Context {
    /// Reads the login and what was typed.
    pub fn load(common: &Common) -> Result<Self, Failure> {
        let file = match &common.config {
            Some(file) => file.clone(),
            None => default_file()?,
        };
        let login = read(&file)?;
        Ok(Self {
            file,
            server: common.server.clone().or_else(|| login.server.clone()),
            org: common.org.clone().or_else(|| login.org.clone()),
            env: common.env.clone().or_else(|| login.env.clone()),
            login,
        })
    }

    /// Where the login is kept.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The server's address.
    pub fn server(&self) -> Result<&str, Failure> {
        self.server.as_deref().ok_or_else(|| {
            Failure::usage("no server is known").with_remedy("Log in with `paas login`, or set PAAS_SERVER.")
        })
    }

    /// The token. One that was kept goes to the server that it was made by and to no other.
    pub fn token(&self) -> Option<String> {
        if let Some(token) = std::env::var("PAAS_TOKEN").ok().filter(|token| !token.is_empty()) {
            return Some(token);
        }
        self.login.token.clone().filter(|_| self.server == self.login.server)
    }

    /// The organisation.
    pub fn org(&self) -> Result<OrgName, Failure> {
        self.org.clone().ok_or_else(|| {
            Failure::usage("no organisation is named")
                .with_remedy("Name it with --org or PAAS_ORG, or keep one: paas login --org ORG --env ENV")
        })
    }

    /// The environment, with its organisation.
    pub fn env(&self) -> Result<EnvRef, Failure> {
        let env = self.env.clone().ok_or_else(|| {
            Failure::usage("no environment is named")
                .with_remedy("Name it with --env or PAAS_ENV, or keep one: paas login --org ORG --env ENV")
        })?;
        Ok(EnvRef::new(self.org()?, env))
    }

    /// An application in the environment.
    pub fn app(&self, app: &AppName) -> Result<AppEnv, Failure> {
        let EnvRef { org, env } = self.env()?;
        Ok(AppEnv { org, env, app: app.clone() })
    }

    /// Keeps a login.
    pub fn keep(&self, login: &Login) -> Result<(), Failure> {
        write(&self.file, login).map_err(|error| failed("write", &self.file, &error))
    }

    /// Forgets the login.
    pub fn forget(&self) -> Result<(), Failure> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &self.file, &error))
            }
            _ => Ok(()),
        }
    }

    /// What is kept now.
    pub fn login(&self) -> &Login {
        &self.login
    }
}

fn failed(verb: &str, file: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Error, format!("failed to {verb} {}: {error}", file.display()))
}

fn default_file() -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config"))).ok_or_else(|| {
        Failure::usage("there is no place for the login: HOME is not set")
            .with_remedy("Set HOME or PAAS_CONFIG.")
    })?;
    Ok(folder.join("paas").join("login.json"))
}

fn read(file: &Path) -> Result<Login, Failure> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Login::default());
        }
        Err(error) => return Err(failed("read", file, &error)),
    };
    let mode = fs::metadata(file).map_err(|error| failed("read", file, &error))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure::new(
            Exit::Error,
            format!("{} holds a token and others may open it (mode {mode:04o})", file.display()),
        )
        .with_remedy(format!("Run: chmod 600 {}", file.display())));
    }
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(Exit::Error, format!("{} is damaged: {error}", file.display()))
            .with_remedy("Log in again with `paas login`.")
    })
}

fn write(file: &Path, login: &Login) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let draft = file.with_extension(format!("draft-{}", std::process::id()));
    let text = serde_json::to_vec_pretty(login)?;
    let result = (|| {
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        out.write_all(&text)?;
        out.sync_all()?;
        fs::rename(&draft, file)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&draft);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_reads_back_and_its_file_is_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/login.json");
        let login =
            Login { server: Some("http://127.0.0.1:1".into()), token: Some("t".into()), ..Login::default() };
        write(&file, &login).unwrap();
        assert!(read(&file).unwrap_or_default() == login);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("login.json");
        write(&file, &Login::default()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let failure = read(&file).err().unwrap();
        assert!(failure.remedy.unwrap().contains("chmod 600"));
    }
}
