//! The cluster as [`Exec`]: commands inside instances through the API server.
//!
//! Kubernetes can start a command, pass bytes, and tell its exit code; it cannot signal a command, and does not end one
//! whose caller is gone. Where the image has a shell, the command is therefore started with a mark in its environment, by
//! which a second command finds and signals it.

mod interactive;
mod marked;
mod run;
mod session;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use paas_core::port::{Exec, ExecOptions, ExecSession, ExecTarget};
use paas_core::{Error, ErrorKind, Fault, Result};

use crate::cluster::KubernetesCluster;
use crate::runtime::instance::meant;
use crate::runtime::instances_of;

const OPERATION: &str = "run a command in an instance";

#[async_trait]
impl Exec for KubernetesCluster {
    async fn exec(&self, target: &ExecTarget, options: &ExecOptions) -> Result<ExecSession> {
        match target {
            ExecTarget::Instance(track, wanted) => {
                if options.command.is_empty() {
                    let fault = Fault::new("command", "it needs at least one word");
                    return Err(Error::invalid(OPERATION, vec![fault]).with_context("track", track));
                }
                let pods = instances_of(&self.shared, OPERATION, track).await?;
                let found = match wanted {
                    Some(id) => {
                        pods.iter().find(|pod| is_running(pod) && pod.metadata.name.as_ref() == Some(&id.0))
                    }
                    None => pods.iter().find(|pod| is_running(pod) && is_ready(pod)),
                };
                let named = found.and_then(|pod| Some((pod.metadata.name.clone()?, meant(pod).to_owned())));
                let Some((name, container)) = named else {
                    let error = Error::new(ErrorKind::NotFound, OPERATION).with_context("track", track);
                    return Err(match wanted {
                        Some(id) => error.with_context("instance", id),
                        None => error.with_remedy("Wait until an instance is ready, or name one that runs."),
                    });
                };
                let namespace = self.shared.namespace(&track.component.at.env_ref());
                let pods: Api<Pod> = self.shared.api(&namespace);
                session::open(pods, name, container, options).await
            }
            ExecTarget::Run(id) => run::attach(&self.shared, id, options).await,
            _ => Err(Error::new(ErrorKind::Unsupported, OPERATION)),
        }
    }
}

pub(super) fn is_running(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.is_some_and(|all| {
        all.iter()
            .any(|it| it.name == meant(pod) && it.state.as_ref().is_some_and(|state| state.running.is_some()))
    })
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|all| all.iter().any(|it| it.type_ == "Ready" && it.status == "True"))
}
