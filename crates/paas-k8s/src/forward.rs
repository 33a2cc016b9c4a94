//! Connections to a port of an instance, through the API server.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use paas_core::port::InstanceId;
use paas_core::{Error, ErrorKind, Result, TrackKey};
use tokio::io::DuplexStream;

use crate::cluster::KubernetesCluster;
use crate::error::failed;
use crate::runtime::instances_of;

const OPERATION: &str = "connect to a port of an instance";

impl KubernetesCluster {
    /// Connects to a port of an instance; to the first of the track that is ready if none is named.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if no such instance runs.
    pub async fn forward(
        &self,
        track: &TrackKey,
        instance: Option<&InstanceId>,
        port: u16,
    ) -> Result<DuplexStream> {
        let pods = instances_of(&self.shared, OPERATION, track).await?;
        let found = pods.iter().find(|pod| match instance {
            Some(id) => pod.metadata.name.as_ref() == Some(&id.0),
            None => crate::exec::is_ready(pod),
        });
        let Some(name) = found.and_then(|pod| pod.metadata.name.clone()) else {
            return Err(Error::new(ErrorKind::NotFound, OPERATION).with_context("track", track));
        };
        let api: Api<Pod> = self.shared.api(&self.shared.namespace(&track.component.at.env_ref()));
        let mut forwarded = api
            .portforward(&name, &[port])
            .await
            .map_err(|error| failed(OPERATION, error).with_context("instance", &name))?;
        forwarded.take_stream(port).ok_or_else(|| {
            Error::new(ErrorKind::Internal, OPERATION)
                .with_context("instance", name)
                .with_context("port", port)
        })
    }
}
