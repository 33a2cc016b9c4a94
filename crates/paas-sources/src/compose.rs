//! Docker Compose files as applications.
//!
//! Read is the Compose Specification as of 2025: variables, `env_file`, `extends`, anchors and merge keys, profiles, short and
//! long forms. YAML is read by a library; what the tree means is decided here, because the libraries of Compose's types
//! drop what they do not know, and here nothing may be dropped.
//!
//! A service with ports becomes a service, one that others wait for to complete becomes a job, any other a worker. What the
//! platform cannot give is refused, all of it in one error; what has no meaning for it is noted.

mod deploy;
mod extends;
mod health;
mod keys;
mod measure;
mod mounts;
mod node;
mod ports;
mod report;
mod service;
mod settings;
mod variables;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use paas_core::model::{AppSpec, Validate as _};
use paas_core::{Error, Fault, Result};
use serde_json::Value;

use extends::Bases;
use node::Node;
use report::Report;

/// The files that a Compose file names, by the paths that are written there.
pub trait Files: fmt::Debug {
    /// The text of a file.
    ///
    /// # Errors
    /// Whatever kept it from being read.
    fn read(&self, path: &str) -> std::io::Result<String>;
}

/// The files of a folder: paths are counted from it.
#[derive(Debug, Clone)]
pub struct Folder(pub PathBuf);

impl Files for Folder {
    fn read(&self, path: &str) -> std::io::Result<String> {
        std::fs::read_to_string(self.0.join(path))
    }
}

/// No files: each one that is named is missing.
#[derive(Debug, Clone, Copy)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> std::io::Result<String> {
        Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no files come with this text"))
    }
}

/// A Compose file with what its reading depends on.
///
/// ```
/// use paas_sources::compose::Compose;
///
/// let text = "services: { web: { image: 'nginx:${VERSION:-1.27}', ports: ['8080:80'] } }";
/// let read = Compose::new(text).convert()?;
/// assert_eq!(read.spec.components[0].image, "nginx:1.27");
/// assert_eq!(read.spec.routes.len(), 1);
/// # Ok::<(), paas_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Compose<'a> {
    text: &'a str,
    variables: BTreeMap<String, String>,
    profiles: Vec<String>,
    files: &'a dyn Files,
}

/// An application read from a Compose file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Converted {
    /// The application, which is valid.
    pub spec: AppSpec,
    /// What its users should know: what was left out, taken for something, or has to be done before.
    pub notes: Vec<String>,
}

impl<'a> Compose<'a> {
    /// The text of a Compose file, without variables, profiles and files.
    pub fn new(text: &'a str) -> Self {
        Self { text, variables: BTreeMap::new(), profiles: Vec::new(), files: &NoFiles }
    }

    /// With the variables that its values may name; later ones win.
    #[must_use]
    pub fn with_variables(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.variables.extend(variables);
        self
    }

    /// With the variables of the text of a `.env` file, where none of the same name are known yet.
    ///
    /// # Errors
    /// [`Invalid`](paas_core::ErrorKind::Invalid) with the line that cannot be read.
    pub fn with_env_file(mut self, text: &str) -> Result<Self> {
        let read = variables::read_lines(text, false, &self.variables, &mut Report::default());
        let read = read.map_err(|message| {
            Error::invalid("read the variables of a Compose file", vec![Fault::new(".env", message)])
        })?;
        for (name, value) in read {
            self.variables.entry(name).or_insert(value.unwrap_or_default());
        }
        Ok(self)
    }

    /// With the profiles that are active; `*` stands for all.
    #[must_use]
    pub fn with_profiles(mut self, profiles: impl IntoIterator<Item = String>) -> Self {
        self.profiles.extend(profiles);
        self
    }

    /// With the files that it names.
    #[must_use]
    pub fn with_files(mut self, files: &'a dyn Files) -> Self {
        self.files = files;
        self
    }

    /// The application.
    ///
    /// # Errors
    /// [`Invalid`](paas_core::ErrorKind::Invalid) with everything that the platform cannot do or that is wrong, each with its path in the file.
    pub fn convert(&self) -> Result<Converted> {
        let mut report = Report::default();
        let spec = match parse(self.text) {
            Ok(tree) => Some(self.read(tree, &mut report)),
            Err(error) => {
                report.fault("", error);
                None
            }
        };
        match spec {
            Some(spec) if report.faults.is_empty() => Ok(Converted { spec, notes: report.notes }),
            _ => Err(Error::invalid("read the Compose file", report.faults)),
        }
    }

    fn read(&self, mut tree: Value, report: &mut Report) -> AppSpec {
        variables::interpolate(&mut tree, "", &self.variables, report);
        let top = Node::new("", &tree);
        Self::check_top(&top, report);
        let none = serde_json::Map::new();
        let services = tree.get("services").and_then(Value::as_object).unwrap_or(&none);
        let bases = Bases { services, variables: &self.variables, files: self.files };
        let whole: BTreeMap<&str, Value> =
            services.keys().map(|name| (name.as_str(), bases.resolved(name, report))).collect();
        let active = |service: &Value| match service.get("profiles").and_then(Value::as_array) {
            None => true,
            Some(of) => of
                .iter()
                .filter_map(Value::as_str)
                .any(|profile| self.profiles.iter().any(|active| active == profile || active == "*")),
        };
        let mut left: BTreeMap<&str, &Value> = BTreeMap::new();
        for (name, service) in &whole {
            if active(service) {
                left.insert(name, service);
            } else {
                report.note(&format!("services.{name}"), "is left out: none of its profiles is active");
            }
        }
        if left.is_empty() {
            report.fault("services", "there is no service to run; name one, or a profile that has one");
        }
        let mut spec =
            service::Reader { top: &top, variables: &self.variables, files: self.files, services: &left }
                .read(report);
        ports::default_host(&mut spec.routes, &spec.components, report);
        rules(&spec, report);
        spec
    }

    fn check_top(top: &Node<'_>, report: &mut Report) {
        for (key, node) in top.entries(report) {
            match key {
                "services" | "volumes" | "configs" | "secrets" => {}
                "version" => report.note(key, "is left out: the newest specification is read"),
                "name" => report.note(key, "is left out: the application is named when it is deployed"),
                "networks" => report.note(
                    key,
                    "are left out: a service reaches those that it names in depends_on, and no others",
                ),
                "include" => report.fault(
                    key,
                    "other files are not taken in; write them into one by `docker compose config`",
                ),
                _ if key.starts_with("x-") || node.value.is_null() => {}
                _ => report
                    .fault(key, "is no key of the Compose Specification that the platform knows; remove it"),
            }
        }
    }
}

/// Whether a document is a Compose file.
pub fn is_compose(document: &Value) -> bool {
    document.get("services").is_some_and(Value::is_object) && document.get("components").is_none()
}

fn parse(text: &str) -> Result<Value, String> {
    // As Docker reads it: `0440` is a mode.
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// The rules of the platform, with the paths of the Compose file.
fn rules(spec: &AppSpec, report: &mut Report) {
    let mut faults = Vec::new();
    spec.faults("", &mut faults);
    for fault in faults {
        let path = compose_path(&fault.path, spec);
        let known =
            report.faults.iter().any(|known| path.starts_with(&known.path) || known.path.starts_with(&path));
        if !known {
            report.fault(&path, fault.message);
        }
    }
}

/// `components[0].ports[1].number` is `services.web.ports[1].number`.
fn compose_path(path: &str, spec: &AppSpec) -> String {
    let service = || {
        let (index, rest) = path.strip_prefix("components[")?.split_once(']')?;
        let component = spec.components.get(index.parse::<usize>().ok()?)?;
        Some(format!("services.{}{rest}", component.name))
    };
    service().unwrap_or_else(|| path.replace("components", "services"))
}
