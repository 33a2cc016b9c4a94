//! What is deployed: the platform's own specification, a Compose file, or objects of Kubernetes; told by its content.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use paas_core::model::AppSpec;
use paas_core::{ComponentName, Error};
use paas_sources::compose::{Compose, Folder};
use paas_sources::kubernetes::{self, FoundSecret};
use paas_sources::{SourceKind, documents};
use serde_json::Value;

use super::failure::{Exit, Failure};
use super::image;

/// The most bytes of a file, and of all files of a folder.
const MAX: u64 = 1 << 20;
/// What files of a folder are read.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// An application to deploy.
#[derive(Debug)]
pub struct Source {
    pub spec: AppSpec,
    /// What was left out, taken for something, or has to be done before.
    pub notes: Vec<String>,
    /// Values that must be set as secrets first.
    pub secrets: Vec<FoundSecret>,
}

/// How a source is read.
#[derive(Debug)]
pub struct Reading<'a> {
    pub file: &'a Path,
    /// The active profiles of a Compose file.
    pub profiles: &'a [String],
    /// The name of the component that objects of Kubernetes become.
    pub component: &'a ComponentName,
}

/// Reads a file, a folder, or the standard input for `-`.
pub fn read(reading: &Reading<'_>) -> Result<Source, Failure> {
    let file = reading.file;
    if file.is_dir() {
        return folder(reading);
    }
    let (name, text) = text_of(file)?;
    let all = documents(&name, &text).map_err(refused)?;
    let mut source = match SourceKind::of(&all) {
        SourceKind::Compose => compose(reading, &text)?,
        SourceKind::Manifests => objects(reading, all.into_iter().map(|document| (name.clone(), document)))?,
        _ => Source { spec: specification(&name, &text)?, notes: Vec::new(), secrets: Vec::new() },
    };
    let folder = file.parent().filter(|_| !is_stdin(file)).unwrap_or(Path::new("."));
    for component in source.spec.components.iter_mut().filter(|component| !component.image.is_empty()) {
        component.image = image::seen_from(folder, &component.image);
    }
    Ok(source)
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// A text with its name.
fn text_of(file: &Path) -> Result<(String, String), Failure> {
    let name = if is_stdin(file) { "the standard input".to_owned() } else { file.display().to_string() };
    let failed = |error: std::io::Error| Failure::new(Exit::Error, format!("failed to read {name}: {error}"));
    let source: Box<dyn std::io::Read> = if is_stdin(file) {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(failed)?)
    };
    let mut text = String::new();
    source.take(MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX {
        return Err(Failure::new(Exit::Error, format!("{name} is larger than {MAX} bytes")));
    }
    Ok((name, text))
}

fn specification(name: &str, text: &str) -> Result<AppSpec, Failure> {
    serde_saphyr::from_str(text).map_err(|error| {
        Failure::new(Exit::Error, format!("{name} is not a specification: {error}")).with_remedy(
            "The fields are described by the schema AppSpec at /openapi.json of the server. A Compose file has `services` at \
             the top, an object of Kubernetes `apiVersion` and `kind`.",
        )
    })
}

/// A Compose file; its variables are those of the process, then those of `.env` beside it.
fn compose(reading: &Reading<'_>, text: &str) -> Result<Source, Failure> {
    let folder = reading.file.parent().filter(|_| !is_stdin(reading.file)).unwrap_or(Path::new("."));
    let files = Folder(folder.to_owned());
    let asked = std::env::var("COMPOSE_PROFILES").unwrap_or_default();
    let asked = asked.split(',').filter(|profile| !profile.is_empty()).map(str::to_owned);
    // What is not UTF-8 cannot stand in a specification.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut compose = Compose::new(text)
        .with_files(&files)
        .with_variables(variables)
        .with_profiles(reading.profiles.iter().cloned().chain(asked));
    match std::fs::read_to_string(folder.join(".env")) {
        Ok(text) => compose = compose.with_env_file(&text).map_err(refused)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::new(Exit::Error, format!("failed to read .env: {error}"))),
    }
    let read = compose.convert().map_err(refused)?;
    Ok(Source { spec: read.spec, notes: read.notes, secrets: Vec::new() })
}

/// Every file of a folder that holds objects, in the order of their names.
fn folder(reading: &Reading<'_>) -> Result<Source, Failure> {
    let shown = reading.file.display();
    let failed =
        |error: std::io::Error| Failure::new(Exit::Error, format!("failed to read {shown}: {error}"));
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(reading.file).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let ending = path.extension().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        if ENDINGS.contains(&ending) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let mut all = Vec::new();
    let mut size = 0;
    for file in files {
        let (name, text) = text_of(&file)?;
        size += text.len() as u64;
        if size > MAX {
            return Err(Failure::new(
                Exit::Error,
                format!("the files of {shown} are larger than {MAX} bytes"),
            ));
        }
        let read = documents(&name, &text).map_err(refused)?;
        if SourceKind::of(&read) == SourceKind::Compose {
            return Err(Failure::new(Exit::Error, format!("{name} is a Compose file among others"))
                .with_remedy(format!("Name it: --file {name}")));
        }
        all.extend(read.into_iter().map(|document| (name.clone(), document)));
    }
    if all.is_empty() {
        return Err(Failure::new(
            Exit::Error,
            format!("{shown} has no file that ends with .yaml, .yml or .json"),
        ));
    }
    objects(reading, all.into_iter())
}

fn objects(reading: &Reading<'_>, all: impl Iterator<Item = (String, Value)>) -> Result<Source, Failure> {
    let all: Vec<(String, Value)> = all.collect();
    let read = kubernetes::read(all.iter().map(|(name, document)| (name.as_str(), document.clone())));
    let mut read = read.map_err(refused)?;
    let (notes, secrets) = (std::mem::take(&mut read.notes), std::mem::take(&mut read.secrets));
    Ok(Source { spec: read.into_spec(reading.component), notes, secrets })
}

fn refused(error: Error) -> Failure {
    Failure::new(Exit::Error, error.report())
}
