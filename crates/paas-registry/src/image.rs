//! An image that is in the store.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::spec::Config;
use crate::{Digest, Error, ErrorKind, Reference, Result};

/// An image whose layers are unpacked in an [`ImageStore`](crate::ImageStore).
#[derive(Debug, Clone)]
pub struct Image {
    pub(crate) digest: Digest,
    pub(crate) config_digest: Digest,
    pub(crate) references: Vec<Reference>,
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) size: u64,
    pub(crate) config: ImageConfig,
}

impl Image {
    /// The digest of the image's own manifest (not of an index that led to it).
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest of the configuration, which Docker calls the image's id.
    pub fn config_digest(&self) -> Digest {
        self.config_digest
    }

    /// The references by which it was pulled.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The directories of the layers, lowest first; overlayfs wants them the other way round in `lowerdir`.
    ///
    /// They are shared by all images and must not be written to.
    pub fn layers(&self) -> &[PathBuf] {
        &self.layers
    }

    /// Bytes of the layers as they were transferred.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What a container of this image runs.
    pub fn config(&self) -> &ImageConfig {
        &self.config
    }
}

/// What a container of an image runs, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageConfig {
    /// The command that is always run.
    pub entrypoint: Vec<String>,
    /// Its arguments, or the command if there is no entry point; what a user gives replaces them.
    pub cmd: Vec<String>,
    /// The environment, in the image's order; of a name given twice the last is kept.
    pub env: Vec<(String, String)>,
    /// `user`, `uid`, `user:group` or `uid:gid`; empty is root.
    pub user: String,
    /// The working directory, absolute; `/` if the image states none.
    pub working_dir: String,
    /// The ports that the image says it listens on.
    pub exposed_ports: Vec<ExposedPort>,
    /// The paths that want a volume, absolute.
    pub volumes: Vec<String>,
    /// The signal that asks the process to stop, as the image writes it: `SIGQUIT`, `3`.
    pub stop_signal: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl ImageConfig {
    /// What is run if the user gives nothing: entry point and command.
    pub fn command(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).cloned().collect()
    }

    pub(crate) fn from_spec(config: &Config) -> Result<Self> {
        let invalid = |field: &'static str, message: String| {
            Error::new(
                ErrorKind::Invalid,
                "read image",
                format!("its configuration is not usable: {message}"),
            )
            .with("field", field)
        };
        let inner = &config.config;
        for (field, texts) in [("Entrypoint", &inner.entrypoint), ("Cmd", &inner.cmd), ("Env", &inner.env)] {
            if texts.iter().any(|text| text.contains('\0')) {
                return Err(invalid(field, "a value has a NUL byte".to_owned()));
            }
        }
        let mut env: Vec<(String, String)> = Vec::with_capacity(inner.env.len());
        let mut positions = BTreeMap::new();
        for entry in &inner.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            if name.is_empty() {
                return Err(invalid("Env", "a variable has no name".to_owned()));
            }
            match positions.get(name) {
                Some(&position) => {
                    let slot: &mut (String, String) = &mut env[position];
                    value.clone_into(&mut slot.1);
                }
                None => {
                    positions.insert(name, env.len());
                    env.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        let absolute = |field, path: &str| {
            if path.contains('\0') || path.split('/').any(|part| part == "..") || path.len() > 4095 {
                return Err(invalid(
                    field,
                    format!("{:?} is not a usable path", path.chars().take(200).collect::<String>()),
                ));
            }
            Ok(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
        };
        let exposed_ports = inner
            .exposed_ports
            .keys()
            .map(|text| text.parse())
            .collect::<Result<Vec<ExposedPort>>>()
            .map_err(|error| invalid("ExposedPorts", error.message().to_owned()))?;
        Ok(Self {
            entrypoint: inner.entrypoint.clone(),
            cmd: inner.cmd.clone(),
            env,
            user: inner.user.clone(),
            working_dir: absolute("WorkingDir", &inner.working_dir)?,
            exposed_ports,
            volumes: inner.volumes.keys().map(|path| absolute("Volumes", path)).collect::<Result<_>>()?,
            stop_signal: Some(inner.stop_signal.clone()).filter(|signal| !signal.is_empty()),
            labels: inner.labels.clone(),
        })
    }
}

/// A port that an image listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExposedPort {
    /// The number, never 0.
    pub port: u16,
    /// Over which protocol.
    pub protocol: Protocol,
}

impl ExposedPort {
    /// A TCP port.
    pub const fn tcp(port: u16) -> Self {
        Self { port, protocol: Protocol::Tcp }
    }
}

impl std::str::FromStr for ExposedPort {
    type Err = Error;

    /// Parses `8080`, `8080/tcp` or `53/udp`.
    fn from_str(text: &str) -> Result<Self> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            "sctp" => Some(Protocol::Sctp),
            _ => None,
        };
        match (number.parse::<u16>(), protocol) {
            (Ok(port), Some(protocol)) if port > 0 => Ok(Self { port, protocol }),
            _ => {
                let shown: String = text.chars().take(40).collect();
                Err(Error::new(
                    ErrorKind::Invalid,
                    "parse exposed port",
                    format!("{shown:?} is not of the form number[/tcp|udp|sctp]"),
                ))
            }
        }
    }
}

impl fmt::Display for ExposedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names say it
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<ImageConfig> {
        ImageConfig::from_spec(&crate::spec::parse("configuration", json.as_bytes())?)
    }

    #[test]
    fn nulls_and_missing_fields_are_defaults() {
        let config = read(
            r#"{"rootfs":{"type":"layers","diff_ids":null},
                "config":{"Env":null,"Entrypoint":null,"Volumes":null,"ExposedPorts":null,"Labels":null,"OnBuild":null,"User":null}}"#,
        )
        .unwrap();
        assert_eq!(config, ImageConfig { working_dir: "/".to_owned(), ..ImageConfig::default() });
        assert_eq!(read(r#"{"rootfs":{"type":"layers"},"config":null}"#).unwrap(), config);
    }

    #[test]
    fn a_full_configuration_is_read() {
        let config = read(
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"history":[{}],
                "config":{"Env":["A=1","B=x=y","A=2"],"Entrypoint":["/web"],"Cmd":["-v"],"User":"1000:1000","WorkingDir":"srv",
                "ExposedPorts":{"8080/tcp":{},"53/udp":{},"9000":{}},"Volumes":{"/data":{}},"StopSignal":"SIGQUIT","Labels":{"k":"v"}}}"#,
        )
        .unwrap();
        assert_eq!(config.command(), ["/web", "-v"]);
        assert_eq!(config.env, [("A".to_owned(), "2".to_owned()), ("B".to_owned(), "x=y".to_owned())]);
        assert_eq!(config.working_dir, "/srv");
        assert!(config.exposed_ports.contains(&ExposedPort { port: 53, protocol: Protocol::Udp }));
        assert!(config.exposed_ports.contains(&ExposedPort::tcp(9000)));
        assert_eq!(config.volumes, ["/data"]);
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(config.labels["k"], "v");
    }

    #[test]
    fn absurd_configurations_are_refused() {
        for json in [
            "",
            "[]",
            "null",
            "{}",
            r#"{"rootfs":7}"#,
            r#"{"rootfs":{"type":"layers","diff_ids":["sha256:x"]}}"#,
            r#"{"rootfs":{"type":"layers"},"config":{"Env":["=x"]}}"#,
            r#"{"rootfs":{"type":"layers"},"config":{"Env":"A=1"}}"#,
            r#"{"rootfs":{"type":"layers"},"config":{"ExposedPorts":{"0/tcp":{}}}}"#,
            r#"{"rootfs":{"type":"layers"},"config":{"ExposedPorts":{"99999":{}}}}"#,
            r#"{"rootfs":{"type":"layers"},"config":{"WorkingDir":"/a/../../b"}}"#,
            r#"{"rootfs":{"type":"layers"},"config":{"Volumes":{"/a\u0000":{}}}}"#,
            r#"{"rootfs":{"type":"layers"},"config":{"Cmd":["a\u0000b"]}}"#,
        ] {
            assert_eq!(read(json).unwrap_err().kind(), ErrorKind::Invalid, "{json}");
        }
        let deep =
            format!(r#"{{"rootfs":{{"type":"layers"}},"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&deep).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
