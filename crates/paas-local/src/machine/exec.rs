//! The machine as an [`Exec`].

use async_trait::async_trait;
use paas_core::port::{Exec, ExecOptions, ExecSession, ExecTarget};
use paas_core::{Error, ErrorKind, Result};

use super::LocalMachine;
use crate::Instance;

/// Whether a command in an instance ends with 0; else what it said.
pub(super) async fn succeeds(container: &Instance, words: &[String]) -> std::result::Result<(), String> {
    let _ = (container, words);
    Err("exec".into())
}

#[async_trait]
impl Exec for LocalMachine {
    async fn exec(&self, _: &ExecTarget, _: &ExecOptions) -> Result<ExecSession> {
        Err(Error::new(ErrorKind::Unsupported, "run a command in an instance"))
    }
}
