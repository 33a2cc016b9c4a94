//! Specifications as people write them.

use std::io::Read as _;
use std::path::Path;

use paas_core::model::AppSpec;

use super::failure::{Exit, Failure};
use super::image;

/// The largest specification in bytes.
const MAX: u64 = 1 << 20;

/// Reads a specification from a file, or from the standard input for `-`. JSON is YAML too. Paths of images are meant from
/// the file's folder, or the current one.
pub fn read(file: &Path) -> Result<AppSpec, Failure> {
    let is_stdin = file == Path::new("-");
    let name = if is_stdin { "the standard input".to_owned() } else { file.display().to_string() };
    let source: Box<dyn std::io::Read> = if is_stdin {
        Box::new(std::io::stdin())
    } else {
        let opened = std::fs::File::open(file);
        Box::new(
            opened.map_err(|error| Failure::new(Exit::Error, format!("failed to read {name}: {error}")))?,
        )
    };
    let mut text = String::new();
    source
        .take(MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(Exit::Error, format!("failed to read {name}: {error}")))?;
    if text.len() as u64 > MAX {
        return Err(Failure::new(Exit::Error, format!("{name} is larger than {MAX} bytes")));
    }
    let mut spec: AppSpec = serde_saphyr::from_str(&text).map_err(|error| {
        Failure::new(Exit::Error, format!("{name} is not a specification: {error}"))
            .with_remedy("The fields are described by the schema AppSpec at /openapi.json of the server.")
    })?;
    let folder = file.parent().filter(|_| !is_stdin).unwrap_or(Path::new("."));
    for component in &mut spec.components {
        component.image = image::seen_from(folder, &component.image);
    }
    Ok(spec)
}
