//! The controllers: deployments and jobs get pods, what has no owner any more goes.

mod stateful;

use std::collections::BTreeSet;
use std::sync::Weak;
use std::time::Duration;

use serde_json::{Value, json};

use super::objects::Key;
use super::{Inner, State, Timer, kinds};

/// Looks at everything after every change, a little later, as long as the cluster exists.
pub(super) async fn run(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let (lag, images) = (strong.lock().settings.controller_lag, strong.images.clone());
        {
            let woken = strong.work.notified();
            tokio::pin!(woken);
            // The cluster must not live for its own controllers: they look now and then whether it still does.
            if tokio::time::timeout(Duration::from_mins(10), woken).await.is_err() {
                continue;
            }
        }
        drop(strong);
        tokio::time::sleep(lag).await;
        let Some(strong) = inner.upgrade() else { return };
        strong.with(|state| {
            state.collect_garbage();
            state.keep_deployments();
            state.keep_stateful_sets();
            state.keep_jobs();
            state.begin_pods(&images);
            if state.settings.has_gateway_api {
                let lag = state.settings.gateway_lag;
                state.after(lag, Timer::Gateway);
            }
        });
    }
}

impl State {
    /// Deletes what names only owners that are gone.
    fn collect_garbage(&mut self) {
        let uids: BTreeSet<&str> =
            self.objects.all().filter_map(|(_, object)| object["metadata"]["uid"].as_str()).collect();
        let orphaned = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| {
                !owners.is_empty()
                    && owners.iter().all(|owner| owner["uid"].as_str().is_none_or(|uid| !uids.contains(uid)))
            })
        };
        let lost: Vec<Key> = self
            .objects
            .all()
            .filter(|(_, object)| orphaned(object) && object["metadata"]["deletionTimestamp"].is_null())
            .map(|(key, _)| key.clone())
            .collect();
        for key in lost {
            let _ = self.delete(&key, None);
        }
    }

    fn keep_deployments(&mut self) {
        let kept = self.objects.of(kinds::DEPLOYMENT);
        let deployments: Vec<(Key, Value)> =
            kept.map(|(key, object)| (key.clone(), object.clone())).collect();
        for (key, deployment) in deployments {
            let uid = deployment["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let wanted = usize::try_from(deployment["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap_or(0);
            let mut standing: Vec<Value> = self.pods_of(&uid).filter(|pod| stands(pod)).cloned().collect();
            let mut refused = None;
            if standing.len() > wanted {
                standing.sort_by_key(goes_first);
                let surplus: Vec<Key> = standing[..standing.len() - wanted].iter().map(key_of).collect();
                for pod in surplus {
                    let _ = self.delete(&pod, None);
                }
            }
            for _ in standing.len()..wanted {
                if let Err(message) = self.make_pod(&key, &deployment, &deployment["spec"]["template"]) {
                    refused = Some(message);
                    break;
                }
            }
            self.tell_deployment(&key, &uid, refused);
        }
    }

    fn tell_deployment(&mut self, key: &Key, uid: &str, refused: Option<String>) {
        let standing: Vec<&Value> = self.pods_of(uid).filter(|pod| stands(pod)).collect();
        let ready = standing.iter().filter(|pod| is_ready(pod)).count();
        let replicas = standing.len();
        let Some(mut deployment) = self.objects.get(key).cloned() else { return };
        let before = deployment["status"].clone();
        let mut conditions = Vec::new();
        if let Some(message) = refused {
            let same = before["conditions"]
                .as_array()
                .and_then(|all| all.iter().find(|it| it["type"] == "ReplicaFailure"));
            let at = same.map_or_else(|| self.time(), |it| it["lastTransitionTime"].clone());
            conditions.push(json!({ "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
                "message": message, "lastTransitionTime": at, "lastUpdateTime": at }));
        }
        deployment["status"] = json!({
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": replicas, "updatedReplicas": replicas,
            "readyReplicas": ready, "availableReplicas": ready,
            "unavailableReplicas": replicas - ready,
            "conditions": conditions,
        });
        let _ = self.replace(key, deployment);
    }

    fn keep_jobs(&mut self) {
        let jobs: Vec<(Key, Value)> =
            self.objects.of(kinds::JOB).map(|(key, object)| (key.clone(), object.clone())).collect();
        for (key, mut job) in jobs {
            if job["spec"]["suspend"] == json!(true) {
                continue;
            }
            let uid = job["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let pods: Vec<Value> = self.pods_of(&uid).cloned().collect();
            let begun = job["status"]["startTime"].is_string();
            if !begun {
                if self.make_pod(&key, &job, &job["spec"]["template"]).is_ok() {
                    job["status"] = json!({ "startTime": self.time(), "active": 1 });
                    let _ = self.replace(&key, job);
                }
                continue;
            }
            let phase = |phase: &str| pods.iter().any(|pod| pod["status"]["phase"] == phase);
            let ended = |state: &mut Self, kind: &str, reason: &str, field: &str| {
                let mut job = job.clone();
                let at = state.time();
                job["status"] = json!({ "startTime": job["status"]["startTime"], field: 1, "conditions": [
                    { "type": kind, "status": "True", "reason": reason, "message": "",
                      "lastTransitionTime": at, "lastProbeTime": at }] });
                let _ = state.replace(&key, job);
            };
            let over = job["status"]["conditions"].as_array().is_some_and(|all| !all.is_empty());
            if over {
            } else if phase("Succeeded") {
                ended(self, "Complete", "CompletionsReached", "succeeded");
            } else if phase("Failed") || pods.is_empty() {
                ended(self, "Failed", "BackoffLimitExceeded", "failed");
            }
        }
    }

    /// Makes a pod of a template under a name that nobody has yet, unless there is no room.
    fn make_pod(&mut self, owner: &Key, object: &Value, template: &Value) -> Result<(), String> {
        let name = format!("{}-{}", owner.name, random(self.objects.newest()));
        self.make_named_pod(&name, owner, object, template)
    }

    /// Makes a pod of a template, unless there is no room.
    pub(super) fn make_named_pod(
        &mut self,
        name: &str,
        owner: &Key,
        object: &Value,
        template: &Value,
    ) -> Result<(), String> {
        let used = self.objects.of(kinds::POD).count();
        let namespace = owner.namespace.clone().unwrap_or_default();
        if let Some(room) = self.settings.pods.filter(|room| used >= *room) {
            return Err(format!(
                "pods {name:?} is forbidden: exceeded quota: paas-space, requested: pods=1, used: pods={used}, \
                 limited: pods={room}"
            ));
        }
        let mut pod = json!({
            "metadata": template["metadata"].clone(),
            "spec": template["spec"].clone(),
            "status": { "phase": "Pending", "conditions": [] },
        });
        if !pod["metadata"].is_object() {
            pod["metadata"] = json!({});
        }
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": owner.kind.api_version(), "kind": owner.kind.kind, "name": owner.name,
            "uid": object["metadata"]["uid"], "controller": true,
        }]);
        self.put_new(kinds::POD, Some(&namespace), name, pod);
        Ok(())
    }

    pub(super) fn pods_of<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a Value> + 'a {
        self.objects
            .of(kinds::POD)
            .map(|(_, pod)| pod)
            .filter(move |pod| pod["metadata"]["ownerReferences"][0]["uid"].as_str() == Some(uid))
    }

    /// Deletes a pod if the budgets that cover it allow it.
    pub(super) fn evict(&mut self, key: &Key) -> Result<(), super::answer::Refused> {
        let Some(pod) = self.objects.get(key).cloned() else {
            return Err(super::answer::Refused::missing(key));
        };
        let budgets: Vec<Value> = self.objects.of(kinds::BUDGET).map(|(_, budget)| budget.clone()).collect();
        for budget in budgets.iter().filter(|it| it["metadata"]["namespace"] == pod["metadata"]["namespace"])
        {
            let selector = &budget["spec"]["selector"]["matchLabels"];
            if !selected(selector, &pod) {
                continue;
            }
            let covered: Vec<&Value> = self
                .objects
                .of(kinds::POD)
                .map(|(_, pod)| pod)
                .filter(|pod| selected(selector, pod))
                .collect();
            let away = covered.iter().filter(|pod| !is_ready(pod) || !stands(pod)).count();
            let allowed = budget["spec"]["maxUnavailable"].as_u64().unwrap_or(u64::MAX);
            if is_ready(&pod) && away as u64 >= allowed {
                return Err(super::answer::Refused::new(
                    429,
                    "TooManyRequests",
                    "Cannot evict pod as it would violate the pod's disruption budget.",
                ));
            }
        }
        self.delete(key, None).map(drop)
    }
}

/// Whether labels of a selector are all on an object.
pub(super) fn selected(selector: &Value, object: &Value) -> bool {
    let Some(selector) = selector.as_object() else { return false };
    !selector.is_empty()
        && selector.iter().all(|(label, value)| object["metadata"]["labels"][label.as_str()] == *value)
}

/// Whether a pod counts: it does not go and has not ended.
pub(super) fn stands(pod: &Value) -> bool {
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    pod["metadata"]["deletionTimestamp"].is_null() && !ended
}

pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    stands(pod) && conditions.into_iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
}

/// The order in which a replica set lets pods go: not ready, then the lower deletion cost, then whatever it likes; here the
/// oldest, so that nobody relies on it.
fn goes_first(pod: &Value) -> (bool, i64, u64) {
    let cost = pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"].as_str();
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let number = uid.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or_default();
    (is_ready(pod), cost.and_then(|cost| cost.parse().ok()).unwrap_or_default(), number)
}

pub(super) fn key_of(pod: &Value) -> Key {
    Key::new(
        kinds::POD,
        pod["metadata"]["namespace"].as_str(),
        pod["metadata"]["name"].as_str().unwrap_or_default(),
    )
}

/// Five characters that differ from call to call, as Kubernetes appends them.
fn random(seed: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let base = LETTERS.len() as u64;
    let mut number = seed;
    let mut text = String::new();
    for _ in 0..5 {
        text.push(char::from(LETTERS[usize::try_from(number % base).unwrap_or_default()]));
        number /= base;
    }
    text
}
