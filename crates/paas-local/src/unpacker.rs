//! How layers are unpacked: in this process as root, and inside a user namespace as an ordinary user, so that files belong
//! to the ids that containers have there.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use paas_registry::{
    Error, ErrorKind, InProcess, LayerUnpacker, Limits, Result, StoreOptions, UnpackOptions, Unpacked,
    unpack_layer,
};
use serde::{Deserialize, Serialize};

use crate::{Failure, Host, IdMap};

const UNPACK: &str = "unpack layer";

/// How the image store of this host works.
pub(crate) fn options(host: &Arc<Host>) -> StoreOptions {
    let mut options = StoreOptions::default();
    // With a single id there is nobody else whom files could belong to: the default gives them all to that one.
    if let Some(map @ IdMap::Subordinate { .. }) = host.id_map() {
        options.unpacker = Arc::new(InNamespace(map.clone()));
    }
    options
}

/// Unpacks and removes in a helper inside a user namespace with these ids.
#[derive(Debug)]
struct InNamespace(IdMap);

/// What came of it, as the helper says it.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Unpacked(Unpacked),
    Failed { kind: ErrorKind, message: String },
}

impl LayerUnpacker for InNamespace {
    fn unpack(&self, layer: File, root: &Path, limits: &Limits) -> Result<Unpacked> {
        let limits = serde_json::to_string(limits).map_err(|error| {
            Error::new(ErrorKind::Invalid, UNPACK, "bounds cannot be written down").with_source(error)
        })?;
        let words = ["unpack".into(), root.into(), limits.into()];
        let said = self.0.run_inside_with(&words, Some(layer)).map_err(|error| in_helper(UNPACK, error))?;
        match serde_json::from_value(said) {
            Ok(Outcome::Unpacked(unpacked)) => Ok(unpacked),
            Ok(Outcome::Failed { kind, message }) => Err(Error::new(kind, UNPACK, message)),
            Err(error) => {
                Err(Error::new(ErrorKind::Io, UNPACK, "the helper does not say what it did")
                    .with_source(error))
            }
        }
    }

    fn remove(&self, directory: &Path) -> Result<()> {
        // What the user owns needs no helper, and most often there is nothing.
        if InProcess(UnpackOptions::detect()).remove(directory).is_ok() {
            return Ok(());
        }
        let words = ["remove".into(), directory.into()];
        self.0.run_inside(&words).map_err(|error| in_helper("remove layer", error))
    }
}

fn in_helper(operation: &'static str, error: crate::Error) -> Error {
    Error::new(ErrorKind::Io, operation, "the work inside a user namespace failed").with_source(error)
}

/// `__userns unpack ROOT LIMITS`: the work itself, inside. The layer is standard output, which is the descriptor that a
/// helper has left.
pub(crate) fn unpack_inside(
    root: &Path,
    limits: &OsString,
) -> std::result::Result<serde_json::Value, Failure> {
    use crate::error::Step as _;
    let limits = limits.to_str().and_then(|text| serde_json::from_str(text).ok());
    let limits = limits.ok_or_else(|| {
        Failure::new(crate::ErrorKind::Protocol, "the bounds of unpacking are not understood")
    })?;
    let layer = File::from(rustix::io::dup(rustix::stdio::stdout()).step("take the layer")?);
    let folder = File::open(root).step(format_args!("open {}", root.display()))?;
    let outcome = match unpack_layer(layer, folder, &UnpackOptions { limits, ..UnpackOptions::detect() }) {
        Ok(unpacked) => Outcome::Unpacked(unpacked),
        Err(error) => Outcome::Failed { kind: error.kind(), message: said(&error) },
    };
    serde_json::to_value(outcome).map_err(std::io::Error::from).step("say what was unpacked")
}

/// The whole chain, as the causes stay behind in the helper.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
