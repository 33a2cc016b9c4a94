//! What is asked of instances and of their traffic, with interceptors.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Intercepted;
use crate::error::Result;
use crate::name::TrackKey;
use crate::port::{
    BoxStream, Exec, ExecOptions, ExecSession, ExecTarget, InstanceId, LogLine, LogOptions, Logs, Metrics,
    Traffic, TrafficCount, Usage,
};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Logs for Intercepted<dyn Logs> {
    async fn logs(&self, track: &TrackKey, options: &LogOptions) -> Result<BoxStream<LogLine>> {
        self.around("logs", "logs", track.to_string(), false, self.inner.logs(track, options)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Exec for Intercepted<dyn Exec> {
    async fn exec(&self, target: &ExecTarget, options: &ExecOptions) -> Result<ExecSession> {
        let object = match target {
            ExecTarget::Instance(track, None) => track.to_string(),
            ExecTarget::Instance(track, Some(id)) => format!("{id} of {track}"),
            ExecTarget::Run(id) => id.to_string(),
        };
        self.around("exec", "exec", object, true, self.inner.exec(target, options)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Metrics for Intercepted<dyn Metrics> {
    async fn usage(&self, track: &TrackKey) -> Result<BTreeMap<InstanceId, Usage>> {
        self.around("metrics", "usage", track.to_string(), false, self.inner.usage(track)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Traffic for Intercepted<dyn Traffic> {
    async fn counted(&self) -> Result<Vec<TrafficCount>> {
        self.around("traffic", "counted", String::new(), false, self.inner.counted()).await
    }
}
