//! What is seen of sets of manifests: an instance that is ready when every object is.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::DynamicObject;
use paas_core::model::{RevisionId, Template};
use paas_core::port::{InstanceFailure, InstanceId, InstanceObservation, InstancePhase, SetObservation};
use paas_core::{Result, TrackKey};
use serde_json::Value;

use super::apply::kept;
use super::kinds::{self, Kind, Place};
use crate::cluster::Shared;
use crate::error::{failed, is_missing};
use crate::runtime::{failure, instance};
use crate::scheme::{keys, roles};

/// What an object that runs something has come to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Progress {
    Ready,
    /// It goes on, and what it waits for.
    Waits(String),
    /// It will not become ready by itself.
    Failed(InstanceFailure),
}

impl Shared {
    /// Sets of manifests of a track as they are. `pods` are those of the track.
    pub(crate) async fn observe_manifests(
        &self,
        operation: &'static str,
        track: &TrackKey,
        sets: &[Arc<ConfigMap>],
        pods: &[Arc<Pod>],
    ) -> Result<Vec<SetObservation>> {
        let mut seen = Vec::new();
        for set in sets {
            let labels = set.metadata.labels.as_ref();
            let revision = labels.and_then(|labels| self.installation().read(labels, keys::REVISION));
            let (Some(revision), Some(template)) = (revision, kept(set.data.as_ref())) else { continue };
            seen.push(self.observe_one(operation, track, set, revision, &template, pods).await?);
        }
        Ok(seen)
    }

    async fn observe_one(
        &self,
        operation: &'static str,
        track: &TrackKey,
        set: &ConfigMap,
        revision: RevisionId,
        template: &Template,
        pods: &[Arc<Pod>],
    ) -> Result<SetObservation> {
        let desired = self.count_of(&set.metadata);
        let mut observation =
            SetObservation { revision, desired, first: 0, instances: Vec::new(), failure: None };
        if desired == 0 {
            return Ok(observation);
        }
        let mut waits: Option<String> = None;
        let mut failed: Option<InstanceFailure> = None;
        for (label, progress) in self.progress(operation, track, template).await? {
            match progress {
                Progress::Ready => {}
                Progress::Waits(what) => drop(waits.get_or_insert(format!("{label}: {what}"))),
                Progress::Failed(failure) => drop(failed.get_or_insert(failure)),
            }
        }
        let ready = waits.is_none() && failed.is_none();
        let standing = || pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let since = standing().filter_map(|pod| instance::ready_since(pod)).max();
        let made = set.metadata.creation_timestamp.as_ref().map(|at| at.0);
        // A pod says more than the object that made it.
        let of_pods = standing().filter(|pod| !instance::is_ready(pod)).find_map(|pod| {
            let mut failure = failure::of_pod(pod, instance::container(pod))?;
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            failure.message = format!("{name}: {}", failure.message);
            Some(failure)
        });
        let failure = if ready {
            None
        } else {
            of_pods.or(failed).or_else(|| waits.map(|what| failure::failure("not_ready", what)))
        };
        let name = set.metadata.name.clone().unwrap_or_default();
        for number in 1..=desired {
            let id = if number == 1 { name.clone() } else { format!("{name}-{number}") };
            observation.instances.push(InstanceObservation {
                ordinal: None,
                id: InstanceId(id),
                phase: if ready { InstancePhase::Ready } else { InstancePhase::Starting },
                ready_since: if ready { since.or(made) } else { None },
                started_at: made,
                restarts: standing().map(|pod| instance::restarts(pod)).sum(),
                last_exit: None,
                failure: failure.clone(),
                pull: None,
            });
        }
        Ok(observation)
    }

    /// How far each object of a template is; the kinds that run nothing are ready when they are there.
    async fn progress(
        &self,
        operation: &'static str,
        track: &TrackKey,
        template: &Template,
    ) -> Result<Vec<(String, Progress)>> {
        let namespace = self.namespace(&track.component.at.env_ref());
        let mut progress = Vec::new();
        for kind in super::KINDS.iter().filter(|kind| kind.place == Place::Workload) {
            let names: Vec<&str> = template
                .manifests
                .iter()
                .filter(|object| kinds::of(object) == Some(kind))
                .map(paas_core::model::Manifest::name)
                .collect();
            if names.is_empty() {
                continue;
            }
            let found = self.objects_of(operation, track, &namespace, kind).await?;
            for name in names {
                let object = found.iter().find(|object| object.metadata.name.as_deref() == Some(name));
                let value = object.and_then(|object| serde_json::to_value(object).ok());
                let come = value.map_or_else(
                    || Progress::Waits("is missing, and will be made again".to_owned()),
                    |value| progress_of(kind.kind, &value),
                );
                progress.push((format!("{}/{name}", kind.kind), come));
            }
        }
        Ok(progress)
    }

    async fn objects_of(
        &self,
        operation: &'static str,
        track: &TrackKey,
        namespace: &str,
        kind: &Kind,
    ) -> Result<Vec<DynamicObject>> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind.newest());
        match api.list(&self.track_selector(track, roles::MANIFEST)).await {
            Ok(found) => Ok(found.items),
            Err(missing) if is_missing(&missing) => Ok(Vec::new()),
            Err(refused) => Err(failed(operation, refused).with_context("track", track)),
        }
    }
}

/// How far a workload is, by the rules of `kubectl rollout status`.
pub(super) fn progress_of(kind: &str, object: &Value) -> Progress {
    let (spec, status) = (&object["spec"], &object["status"]);
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let observed = number(&status["observedGeneration"]) >= number(&object["metadata"]["generation"]);
    if !observed && matches!(kind, "Deployment" | "StatefulSet") {
        return Progress::Waits("its controller has not seen it yet".to_owned());
    }
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    match kind {
        "Deployment" => {
            let refused =
                condition(status, "ReplicaFailure").filter(|_| number(&status["availableReplicas"]) < wanted);
            if let Some(refused) = refused {
                return Progress::Failed(failure::refused(&refused));
            }
            let (updated, available) =
                (number(&status["updatedReplicas"]), number(&status["availableReplicas"]));
            if updated < wanted {
                Progress::Waits(format!("{updated} of {wanted} pods are new"))
            } else if number(&status["replicas"]) > updated {
                Progress::Waits(format!("{} old pods still run", number(&status["replicas"]) - updated))
            } else if available < updated.max(wanted) {
                Progress::Waits(format!("{available} of {wanted} pods are ready"))
            } else {
                Progress::Ready
            }
        }
        "StatefulSet" => {
            let rolls = spec["updateStrategy"]["type"] != "OnDelete";
            let partition = number(&spec["updateStrategy"]["rollingUpdate"]["partition"]);
            let (updated, ready) = (number(&status["updatedReplicas"]), number(&status["readyReplicas"]));
            if ready < wanted {
                Progress::Waits(format!("{ready} of {wanted} pods are ready"))
            } else if rolls
                && status["currentRevision"] != status["updateRevision"]
                && updated < wanted - partition
            {
                Progress::Waits(format!("{updated} of {wanted} pods are new"))
            } else {
                Progress::Ready
            }
        }
        "Job" => match (condition(status, "Complete"), condition(status, "Failed")) {
            (Some(_), _) => Progress::Ready,
            (None, Some(why)) => Progress::Failed(failure::failure(
                "start_failed",
                format!("Job {} failed: {why}", object["metadata"]["name"].as_str().unwrap_or_default()),
            )),
            (None, None) if spec["suspend"] == Value::Bool(true) => Progress::Ready,
            (None, None) => Progress::Waits("it has not ended".to_owned()),
        },
        _ => Progress::Ready,
    }
}

/// What a condition that holds says.
fn condition(status: &Value, name: &str) -> Option<String> {
    let mut all = status["conditions"].as_array()?.iter();
    let found = all.find(|it| it["type"] == name && it["status"] == "True")?;
    let text = |field: &str| found[field].as_str().filter(|text| !text.is_empty());
    Some(text("message").or(text("reason")).unwrap_or(name).to_owned())
}
