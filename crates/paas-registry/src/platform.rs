//! Operating system and architecture.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// For which operating system and processor an image is, in Go's words: `linux/amd64`, `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// The operating system: `linux`.
    pub os: String,
    /// The processor: `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// The processor's variant: `v7`, `v8`.
    pub variant: Option<String>,
}

impl Platform {
    /// What this program runs on.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self {
            os: std::env::consts::OS.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// How well an image for `offered` runs here: `None` not at all, else the higher the better.
    pub(crate) fn rank(&self, offered: &OfferedPlatform) -> Option<u8> {
        if offered.os != self.os || offered.architecture != self.architecture {
            return None;
        }
        let wanted = normalise(&self.architecture, self.variant.as_deref());
        let offered = normalise(&offered.architecture, offered.variant.as_deref());
        match (wanted, offered) {
            (wanted, offered) if wanted == offered => Some(u8::MAX),
            // A 32-bit ARM runs what was built for an older variant; of several, the newest is best.
            (Some(wanted), offered) if self.architecture == "arm" => {
                let level = |variant: &str| variant.strip_prefix('v').and_then(|v| v.parse::<u8>().ok());
                let offered = offered.map_or(Some(7), level)?;
                (offered <= level(wanted)?).then_some(offered)
            }
            // An image without a variant is for any; one with a variant is for nobody who did not ask for it.
            (Some(_), None) => Some(1),
            _ => None,
        }
    }
}

/// `arm64` and `arm64/v8` are the same, as are `amd64` and `amd64/v1`.
fn normalise<'a>(architecture: &str, variant: Option<&'a str>) -> Option<&'a str> {
    match (architecture, variant) {
        ("arm64", Some("v8")) | ("amd64", Some("v1")) | (_, Some("")) => None,
        (_, variant) => variant,
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self::host()
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let ok = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [os, architecture] if ok(os) && ok(architecture) => {
                Ok(Self { os: (*os).to_owned(), architecture: (*architecture).to_owned(), variant: None })
            }
            [os, architecture, variant] if ok(os) && ok(architecture) && ok(variant) => Ok(Self {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: Some((*variant).to_owned()),
            }),
            _ => Err(Error::new(
                ErrorKind::Invalid,
                "parse platform",
                "it is not of the form os/architecture[/variant], such as linux/amd64",
            )
            .with("platform", text.chars().take(80).collect::<String>().escape_debug())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// The platform as an image index or a configuration states it; anything may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfferedPlatform {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
}

impl fmt::Display for OfferedPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { os, architecture, variant } = self;
        write!(f, "{}/{}", os.escape_debug(), architecture.escape_debug())?;
        match variant {
            Some(variant) => write!(f, "/{}", variant.escape_debug()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(wanted: &str, offered: &str) -> Option<u8> {
        let Platform { os, architecture, variant } = offered.parse().unwrap();
        wanted.parse::<Platform>().unwrap().rank(&OfferedPlatform { architecture, os, variant })
    }

    #[test]
    fn the_same_platform_matches_and_others_do_not() {
        assert!(rank("linux/amd64", "linux/amd64").is_some());
        assert!(rank("linux/amd64", "linux/arm64").is_none());
        assert!(rank("linux/amd64", "windows/amd64").is_none());
        assert!(rank("linux/arm64", "linux/arm64/v8").is_some());
        assert!(rank("linux/amd64", "linux/amd64/v3").is_none());
    }

    #[test]
    fn an_arm_takes_the_newest_variant_that_it_runs() {
        assert!(rank("linux/arm/v7", "linux/arm/v7") > rank("linux/arm/v7", "linux/arm/v6"));
        assert!(rank("linux/arm/v7", "linux/arm/v6") > rank("linux/arm/v7", "linux/arm/v5"));
        assert!(rank("linux/arm/v6", "linux/arm/v7").is_none());
        assert!(rank("linux/arm/v6", "linux/arm").is_none());
    }
}
