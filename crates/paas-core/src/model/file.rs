//! Files placed into an instance's file system.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A file placed into an instance's file system, read-only.
///
/// Written with exactly one of `content`, `config` and `secret` beside its `path`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
#[schemars(with = "Written")]
pub struct FileMount {
    /// The absolute path.
    pub path: String,
    /// What is in it.
    pub source: FileSource,
    /// The permission bits, such as `"0440"` in octal; `0444` if absent.
    pub mode: Option<String>,
}

/// Where the content of a file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileSource {
    /// The text itself.
    Content(String),
    /// The setting of this name.
    Config(String),
    /// The secret of this name; kept in memory only.
    Secret(String),
}

/// A file placed into an instance's file system, with exactly one of `content`, `config` and `secret`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FileMount")]
struct Written {
    /// The absolute path.
    path: String,
    /// The text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    /// The setting of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<String>,
    /// The secret of this name; kept in memory only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// The permission bits, such as `"0440"` in octal; `0444` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
}

impl TryFrom<Written> for FileMount {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let source = match (written.content, written.config, written.secret) {
            (Some(content), None, None) => FileSource::Content(content),
            (None, Some(config), None) => FileSource::Config(config),
            (None, None, Some(secret)) => FileSource::Secret(secret),
            _ => {
                return Err(format!(
                    "file {:?} needs exactly one of content, config and secret",
                    written.path
                ));
            }
        };
        Ok(Self { path: written.path, source, mode: written.mode })
    }
}

impl From<FileMount> for Written {
    fn from(file: FileMount) -> Self {
        let mut written =
            Self { path: file.path, content: None, config: None, secret: None, mode: file.mode };
        match file.source {
            FileSource::Content(content) => written.content = Some(content),
            FileSource::Config(config) => written.config = Some(config),
            FileSource::Secret(secret) => written.secret = Some(secret),
        }
        written
    }
}
