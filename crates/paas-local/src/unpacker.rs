//! How layers are unpacked: in this process as root, and inside a user namespace as an ordinary user, so that files belong
//! to the ids that containers have there.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use paas_registry::{Limits, StoreOptions};

use crate::Host;

/// How the image store of this host works.
pub(crate) fn options(host: &Arc<Host>) -> StoreOptions {
    let _ = host;
    StoreOptions::default()
}
