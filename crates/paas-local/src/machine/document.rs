//! What is declared, on disk: one file for each set, one for each run, one for the router.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use paas_core::port::{Epoch, InstanceId, RunSpec, SetSpec};
use paas_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::gateway::RouterState;
use crate::Exit;

/// A set as declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SetDocument {
    pub(super) spec: SetSpec,
    /// How many instances there shall be now.
    pub(super) count: u32,
    /// The ordinal of the first one now, in an ordered set.
    #[serde(default)]
    pub(super) first: u32,
    /// The highest epoch seen.
    pub(super) epoch: Epoch,
    /// Whether it shall go.
    pub(super) removed: bool,
    /// The instances in the order of their making.
    pub(super) instances: Vec<InstanceDocument>,
}

/// An instance of a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct InstanceDocument {
    pub(super) id: InstanceId,
    /// Its ordinal, in an ordered set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ordinal: Option<u32>,
    /// Whether it shall go.
    pub(super) going: bool,
}

/// A run to completion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RunDocument {
    pub(super) spec: RunSpec,
    pub(super) epoch: Epoch,
    /// Whether somebody was attached to one with input or a terminal, which begins its command, once.
    #[serde(default)]
    pub(super) begun: bool,
    /// How that command ended. It is not the first process of the container, whose exit is recorded there.
    #[serde(default)]
    pub(super) exit: Option<Exit>,
}

/// The files.
#[derive(Debug)]
pub(super) struct Documents {
    sets: PathBuf,
    runs: PathBuf,
    router: PathBuf,
}

impl Documents {
    pub(super) fn open(directory: PathBuf) -> Result<Self> {
        let documents = Self {
            sets: directory.join("sets"),
            runs: directory.join("runs"),
            router: directory.join("router.json"),
        };
        super::make_private(&documents.sets)?;
        super::make_private(&documents.runs)?;
        Ok(documents)
    }

    pub(super) fn sets(&self) -> Result<Vec<SetDocument>> {
        read_all(&self.sets)
    }

    pub(super) fn runs(&self) -> Result<Vec<RunDocument>> {
        read_all(&self.runs)
    }

    pub(super) fn router(&self) -> Result<RouterState> {
        Ok(read(&self.router)?.unwrap_or_default())
    }

    pub(super) fn put_set(&self, set: &SetDocument) -> Result<()> {
        write(&self.set_file(set), set)
    }

    pub(super) fn remove_set(&self, set: &SetDocument) -> Result<()> {
        remove(&self.set_file(set))
    }

    pub(super) fn put_run(&self, run: &RunDocument) -> Result<()> {
        write(&self.run_file(&run.spec.id), run)
    }

    pub(super) fn remove_run(&self, id: &InstanceId) -> Result<()> {
        remove(&self.run_file(id))
    }

    pub(super) fn put_router(&self, router: &RouterState) -> Result<()> {
        write(&self.router, router)
    }

    /// Names have no underscore, so that the file name is unique.
    fn set_file(&self, set: &SetDocument) -> PathBuf {
        let key = &set.spec.key;
        let at = &key.track.component.at;
        let component = &key.track.component.component;
        self.sets.join(format!("{}_{}_{}_{component}_{}.json", at.org, at.env, at.app, key.revision))
    }

    fn run_file(&self, id: &InstanceId) -> PathBuf {
        self.runs.join(format!("{id}.json"))
    }
}

fn failed(operation: &'static str, path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, operation).with_context("file", path.display()).with_source(error)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read what is declared", path, error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Error::new(ErrorKind::Internal, "read what is declared")
            .with_context("file", path.display())
            .with_source(error)
    })
}

fn read_all<T: DeserializeOwned>(directory: &Path) -> Result<Vec<T>> {
    let entries =
        fs::read_dir(directory).map_err(|error| failed("read what is declared", directory, error))?;
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed("read what is declared", directory, error))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            all.extend(read(&path)?);
        }
    }
    Ok(all)
}

/// Replaces a file whole, so that it survives a loss of power in one form or the other.
fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let fail = |error| failed("write what is declared", path, error);
    let bytes = serde_json::to_vec(value).map_err(|error| fail(error.into()))?;
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft).map_err(fail)?;
    file.write_all(&bytes).and_then(|()| file.sync_data()).map_err(fail)?;
    fs::rename(&draft, path).map_err(fail)?;
    sync_folder(path).map_err(fail)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("forget what was declared", path, error))
        }
        _ => sync_folder(path).map_err(|error| failed("forget what was declared", path, error)),
    }
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
