//! Stateful sets: pods with names that stay, two templates at a time, and a partition between them.
//!
//! Of the real controller it does what this crate relies on: a pod below the partition is made of the current template and
//! one above it of the newest; pods above it are exchanged one by one from the highest, and one that is not ready is waited
//! for; a pod below it that is of the newest template is left as it is; the newest becomes current when all pods are of it and
//! ready. Pods do not wait for each other to be made, as with the policy `Parallel`.

use serde_json::{Value, json};

use super::{Key, State, is_ready, stands};
use crate::fake::kinds;
use crate::scheme::hash;

const REVISION: &str = "controller-revision-hash";

impl State {
    pub(super) fn keep_stateful_sets(&mut self) {
        let kept = self.objects.of(kinds::STATEFUL_SET);
        let sets: Vec<(Key, Value)> = kept.map(|(key, object)| (key.clone(), object.clone())).collect();
        for (key, set) in sets {
            self.keep_stateful_set(&key, &set);
        }
    }

    fn keep_stateful_set(&mut self, key: &Key, set: &Value) {
        let replicas = set["spec"]["replicas"].as_u64().unwrap_or(1);
        let partition = set["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_u64().unwrap_or(0);
        let update = format!("{}-{}", key.name, hash(&set["spec"]["template"].to_string(), 10));
        self.templates.entry(update.clone()).or_insert_with(|| set["spec"]["template"].clone());
        let current = set["status"]["currentRevision"].as_str().unwrap_or(&update).to_owned();
        for ordinal in 0..replicas {
            match self.pod_of(key, ordinal) {
                None => {
                    let revision = if ordinal < partition { &current } else { &update };
                    self.make_ordinal(key, set, ordinal, revision);
                }
                // One that has ended gives its name to another.
                Some((pod, seen)) if !stands(&seen) => drop(self.delete(&pod, None)),
                Some(_) => {}
            }
        }
        let uid = set["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let surplus = |pod: &Value| ordinal_of(&key.name, pod).is_some_and(|ordinal| ordinal >= replicas);
        let surplus: Vec<Key> = self.pods_of(&uid).filter(|pod| surplus(pod)).map(super::key_of).collect();
        for pod in surplus {
            let _ = self.delete(&pod, None);
        }
        for ordinal in (partition..replicas).rev() {
            let Some((pod, seen)) = self.pod_of(key, ordinal) else { break };
            let goes = !seen["metadata"]["deletionTimestamp"].is_null();
            if seen["metadata"]["labels"][REVISION] != json!(update) && !goes {
                let _ = self.delete(&pod, None);
                break;
            }
            if !is_ready(&seen) {
                break;
            }
        }
        self.tell_stateful_set(key, &uid, replicas, &current, &update);
    }

    fn pod_of(&self, set: &Key, ordinal: u64) -> Option<(Key, Value)> {
        let key = Key::new(kinds::POD, set.namespace.as_deref(), &format!("{}-{ordinal}", set.name));
        self.objects.get(&key).cloned().map(|pod| (key, pod))
    }

    fn make_ordinal(&mut self, key: &Key, set: &Value, ordinal: u64, revision: &str) {
        let name = format!("{}-{ordinal}", key.name);
        for claim in set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
            let claim_name = format!("{}-{name}", claim["metadata"]["name"].as_str().unwrap_or_default());
            let kind = kinds::CLAIM;
            if self.objects.get(&Key::new(kind, key.namespace.as_deref(), &claim_name)).is_none() {
                let mut claim = claim.clone();
                for (label, value) in set["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten()
                {
                    claim["metadata"]["labels"][label] = value.clone();
                }
                self.put_new(kind, key.namespace.as_deref(), &claim_name, claim);
            }
        }
        let mut template = self.templates.get(revision).cloned().unwrap_or_default();
        template["metadata"]["labels"][REVISION] = json!(revision);
        template["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = json!(ordinal.to_string());
        let _ = self.make_named_pod(&name, key, set, &template);
    }

    fn tell_stateful_set(&mut self, key: &Key, uid: &str, replicas: u64, current: &str, update: &str) {
        let standing: Vec<&Value> = self.pods_of(uid).filter(|pod| stands(pod)).collect();
        let count = |is: &dyn Fn(&Value) -> bool| standing.iter().filter(|pod| is(pod)).count() as u64;
        let of = |pod: &Value, revision: &str| pod["metadata"]["labels"][REVISION] == json!(revision);
        let (ready, updated) = (count(&is_ready), count(&|pod| of(pod, update)));
        let current = if updated == replicas && ready == replicas { update } else { current };
        let status = json!({
            "observedGeneration": Value::Null,
            "replicas": standing.len(), "readyReplicas": ready, "availableReplicas": ready,
            "currentReplicas": count(&|pod| of(pod, current)), "updatedReplicas": updated,
            "currentRevision": current, "updateRevision": update,
        });
        let Some(mut set) = self.objects.get(key).cloned() else { return };
        set["status"] = status;
        set["status"]["observedGeneration"] = set["metadata"]["generation"].clone();
        let _ = self.replace(key, set);
    }
}

fn ordinal_of(set: &str, pod: &Value) -> Option<u64> {
    pod["metadata"]["name"].as_str()?.strip_prefix(set)?.strip_prefix('-')?.parse().ok()
}
