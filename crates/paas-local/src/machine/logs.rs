//! The machine as [`Logs`].

use async_trait::async_trait;
use paas_core::port::{BoxStream, LogLine, LogOptions, Logs};
use paas_core::{Error, ErrorKind, Result, TrackKey};

use super::LocalMachine;

#[async_trait]
impl Logs for LocalMachine {
    async fn logs(&self, _: &TrackKey, _: &LogOptions) -> Result<BoxStream<LogLine>> {
        Err(Error::new(ErrorKind::Unsupported, "read logs"))
    }
}
