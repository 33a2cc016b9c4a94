//! The lives of pods: what their images do.

use std::time::Duration;

use paas_core::memory::{Ending, Image, Images};
use serde_json::{Value, json};

use super::controllers::{key_of, stands};
use super::objects::Key;
use super::{State, Timer, kinds};

/// The first pause of a container that ended early a second time; it doubles, as the kubelet's.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// How long an exit takes to be noticed and a container to be started.
const SOON: Duration = Duration::from_millis(10);

/// What is known of a pod beyond its object.
#[derive(Debug)]
pub(super) struct PodLife {
    pub(super) key: Key,
    /// Which life of its container it is: steps of an earlier one no longer concern it.
    life: u64,
    ends: u32,
}

/// What happens to a pod by itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    Pulled,
    Ready,
    Ends(Ending),
    /// It has ended once more, and nobody has started it again.
    BackOff,
    Restart,
    Gone,
}

impl State {
    /// Takes every new pod to the node.
    pub(super) fn begin_pods(&mut self, images: &Images) {
        let new: Vec<Value> = self
            .objects
            .of(kinds::POD)
            .map(|(_, pod)| pod)
            .filter(|pod| stands(pod) && !self.lives.contains_key(uid_of(pod)))
            .cloned()
            .collect();
        for mut pod in new {
            if !self.settings.has_node {
                let message = "0/1 nodes are available: 1 node(s) were unschedulable.";
                if condition(&pod, "PodScheduled")["message"] != message {
                    set_condition(&mut pod, "PodScheduled", false, &self.time(), "Unschedulable", message);
                    let _ = self.replace(&key_of(&pod), pod);
                }
                continue;
            }
            let uid = uid_of(&pod).to_owned();
            self.lives.insert(uid.clone(), PodLife { key: key_of(&pod), life: 0, ends: 0 });
            set_condition(&mut pod, "PodScheduled", true, &self.time(), "", "");
            set_condition(&mut pod, "Ready", false, &self.time(), "ContainersNotReady", "");
            pod["spec"]["nodeName"] = json!("node-0");
            pod["status"]["containerStatuses"] = json!([status(
                &pod,
                &json!({
                "waiting": { "reason": "ContainerCreating" } })
            )]);
            let pull = image_of(images, &pod).map_or(Duration::ZERO, |image| image.pull());
            let _ = self.replace(&key_of(&pod), pod);
            self.after(SOON + pull, Timer::Pod { uid, life: 0, stage: Stage::Pulled });
        }
    }

    pub(super) fn pod_step(&mut self, images: &Images, uid: &str, life: u64, stage: Stage) {
        let Some(known) = self.lives.get(uid).filter(|known| known.life == life) else { return };
        let key = known.key.clone();
        let Some(pod) = self.objects.get(&key).cloned() else { return };
        match stage {
            Stage::Pulled => self.pulled(images, pod),
            Stage::Restart => self.start(images, pod),
            Stage::Ready => self.set_ready(pod, true),
            Stage::Ends(ending) => self.end(pod, ending),
            Stage::BackOff => self.back_off(pod),
            Stage::Gone => self.forget_and_take(&key),
        }
    }

    fn pulled(&mut self, images: &Images, mut pod: Value) {
        if image_of(images, &pod).is_some() {
            return self.start(images, pod);
        }
        let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned();
        let message = format!(
            "Back-off pulling image {image:?}: ErrImagePull: rpc error: code = NotFound desc = failed to pull and \
             unpack image {image:?}: failed to resolve reference {image:?}: {image}: not found"
        );
        pod["status"]["containerStatuses"] = json!([status(
            &pod,
            &json!({ "waiting": { "reason": "ImagePullBackOff", "message": message } })
        )]);
        let uid = uid_of(&pod).to_owned();
        let life = self.lives.get(&uid).map_or(0, |known| known.life);
        let _ = self.replace(&key_of(&pod), pod);
        self.after(FIRST_PAUSE, Timer::Pod { uid, life, stage: Stage::Pulled });
    }

    fn start(&mut self, images: &Images, mut pod: Value) {
        let uid = uid_of(&pod).to_owned();
        let image = image_of(images, &pod).unwrap_or_default();
        let before = pod["status"]["containerStatuses"][0].clone();
        let started = before["state"]["running"].is_object()
            || before["state"]["terminated"].is_object()
            || before["lastState"]["terminated"].is_object();
        let mut now = status(&pod, &json!({ "running": { "startedAt": self.time() } }));
        if started {
            now["restartCount"] = json!(before["restartCount"].as_u64().unwrap_or_default() + 1);
            now["lastState"] = before["lastState"].clone();
            if before["state"]["terminated"].is_object() {
                now["lastState"] = json!({ "terminated": before["state"]["terminated"] });
            }
        }
        pod["status"]["phase"] = json!("Running");
        pod["status"]["podIP"] = json!("10.244.0.2");
        pod["status"]["containerStatuses"] = json!([now]);
        let key = key_of(&pod);
        let is_run = pod["spec"]["restartPolicy"] == "Never";
        let command = pod["spec"]["containers"][0]["command"].clone();
        let _ = self.replace(&key, pod.clone());
        self.begin_printing(&uid);
        for line in image.lines() {
            self.print(&uid, line);
        }
        let Some(known) = self.lives.get_mut(&uid) else { return };
        known.life += 1;
        let life = known.life;
        let mut then = |after, stage| self.timers.push((after, Timer::Pod { uid: uid.clone(), life, stage }));
        if let Some(ready_after) = image.ready_after() {
            then(ready_after.max(SOON), Stage::Ready);
        }
        if is_run && command.is_array() {
            let words: Vec<&str> =
                command.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if reads_input(&pod).is_some() {
                return;
            }
            if let Some((after, text, code)) = program(&words) {
                then(after, Stage::Ends(Ending::Exit(code)));
                if let Some(text) = text {
                    self.print(&uid, &text);
                }
                return;
            }
        }
        if let Some((after, ending)) = image.ends() {
            then((*after).max(SOON), Stage::Ends(*ending));
        }
    }

    pub(super) fn set_ready(&mut self, mut pod: Value, ready: bool) {
        let running = pod["status"]["containerStatuses"][0]["state"]["running"].is_object();
        if !running || !pod["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        let reason = if ready { "" } else { "ContainersNotReady" };
        set_condition(&mut pod, "Ready", ready, &self.time(), reason, "");
        pod["status"]["containerStatuses"][0]["ready"] = json!(ready);
        let _ = self.replace(&key_of(&pod), pod);
    }

    /// The container of a pod ended.
    pub(super) fn end(&mut self, mut pod: Value, ending: Ending) {
        let uid = uid_of(&pod).to_owned();
        let before = pod["status"]["containerStatuses"][0].clone();
        if !before["state"]["running"].is_object() {
            return;
        }
        let key = key_of(&pod);
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            return self.forget_and_take(&key);
        }
        let (code, reason) = match ending {
            Ending::Exit(0) => (0, "Completed"),
            Ending::Exit(code) => (code, "Error"),
            Ending::Signal(signal) => (128 + signal, "Error"),
            Ending::OutOfMemory => (137, "OOMKilled"),
            _ => (1, "Error"),
        };
        let message = if code == 0 { String::new() } else { self.last_lines(&uid) };
        let terminated = json!({ "terminated": { "exitCode": code, "reason": reason, "message": message,
            "startedAt": before["state"]["running"]["startedAt"], "finishedAt": self.time() } });
        let mut now = status(&pod, &terminated);
        now["restartCount"] = before["restartCount"].clone();
        now["lastState"] = before["lastState"].clone();
        pod["status"]["containerStatuses"] = json!([now]);
        set_condition(&mut pod, "Ready", false, &self.time(), "ContainersNotReady", "");
        let again = match pod["spec"]["restartPolicy"].as_str() {
            Some("Never") => false,
            Some("OnFailure") => code != 0,
            _ => true,
        };
        if !again {
            pod["status"]["phase"] = json!(if code == 0 { "Succeeded" } else { "Failed" });
        }
        let _ = self.replace(&key, pod);
        let Some(known) = self.lives.get_mut(&uid) else { return };
        known.life += 1;
        known.ends += 1;
        let (life, ends) = (known.life, known.ends);
        if again {
            // The first restart comes at once, the others after growing pauses.
            let stage = if ends == 1 { Stage::Restart } else { Stage::BackOff };
            self.after(SOON, Timer::Pod { uid, life, stage });
        }
    }

    fn back_off(&mut self, mut pod: Value) {
        let uid = uid_of(&pod).to_owned();
        let Some(known) = self.lives.get(&uid) else { return };
        let (life, ends) = (known.life, known.ends);
        let pause = FIRST_PAUSE.saturating_mul(1 << ends.saturating_sub(2).min(10)).min(LONGEST_PAUSE);
        let before = pod["status"]["containerStatuses"][0].clone();
        let message = format!("back-off {}s restarting failed container=main", pause.as_secs());
        let mut now =
            status(&pod, &json!({ "waiting": { "reason": "CrashLoopBackOff", "message": message } }));
        now["restartCount"] = before["restartCount"].clone();
        now["lastState"] = before["state"].clone();
        pod["status"]["containerStatuses"] = json!([now]);
        let _ = self.replace(&key_of(&pod), pod);
        self.after(pause, Timer::Pod { uid, life, stage: Stage::Restart });
    }

    /// Takes a pod out of service; it goes after its hook and its own time.
    pub(super) fn end_pod(&mut self, key: &Key, grace: Option<u64>) -> Value {
        let Some(mut pod) = self.objects.get(key).cloned() else { return Value::Null };
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            return pod;
        }
        let uid = uid_of(&pod).to_owned();
        let grace = grace.or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_u64()).unwrap_or(30);
        pod["metadata"]["deletionTimestamp"] = self.time();
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        let hook = &pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"];
        let hook = Duration::from_secs(hook.as_u64().unwrap_or_default());
        let running = pod["status"]["containerStatuses"][0]["state"]["running"].is_object();
        let rest = if running { hook.min(Duration::from_secs(grace)) + SOON } else { SOON };
        // `replace` keeps the server's own fields as they were; this is the server.
        let pod = self.objects.store(key.clone(), pod);
        let known =
            self.lives.entry(uid.clone()).or_insert_with(|| PodLife { key: key.clone(), life: 0, ends: 0 });
        known.life += 1;
        let life = known.life;
        self.after(rest, Timer::Pod { uid, life, stage: Stage::Gone });
        pod
    }

    fn forget_and_take(&mut self, key: &Key) {
        self.forget_pod(key);
        self.objects.take(key);
    }

    /// Forgets what is known of a pod that goes.
    pub(super) fn forget_pod(&mut self, key: &Key) {
        if key.kind == kinds::POD
            && let Some(pod) = self.objects.get(key)
        {
            let uid = uid_of(pod).to_owned();
            self.lives.remove(&uid);
            self.printed.remove(&uid);
            // Their ends close, which ends them.
            self.commands.retain(|command| command.uid != uid);
        }
    }
}

/// What the programs of simulated images do as runs: how long they take, what they print, how they end.
fn program(words: &[&str]) -> Option<(Duration, Option<String>, i32)> {
    let number = || words.get(1).and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
    match *words.first()? {
        "echo" | "warn" => Some((SOON, Some(words[1..].join(" ")), 0)),
        "sleep" => Some((Duration::from_secs(number().into()), None, 0)),
        // Without input they read its end.
        "cat" | "asked-size" => Some((SOON, None, 0)),
        "exit" => Some((SOON, None, i32::try_from(number()).unwrap_or(255))),
        _ => None,
    }
}

/// The program of a run's pod, if it does what its input says.
pub(super) fn reads_input(pod: &Value) -> Option<&str> {
    let container = &pod["spec"]["containers"][0];
    let program = container["command"][0].as_str().filter(|word| matches!(*word, "cat" | "asked-size"));
    program.filter(|_| container["stdin"] == true)
}

pub(super) fn has_terminal(pod: &Value) -> bool {
    pod["spec"]["containers"][0]["tty"] == true
}

pub(super) fn uid_of(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// The image of a pod's container by its digest.
fn image_of(images: &Images, pod: &Value) -> Option<Image> {
    let reference = pod["spec"]["containers"][0]["image"].as_str()?;
    images.behavior(reference.rsplit('@').next()?)
}

fn status(pod: &Value, state: &Value) -> Value {
    let container = &pod["spec"]["containers"][0];
    json!({ "name": container["name"], "image": container["image"], "imageID": "", "ready": false,
        "restartCount": 0, "state": state, "lastState": {} })
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|it| it["type"] == kind)).unwrap_or(&Value::Null)
}

fn set_condition(pod: &mut Value, kind: &str, holds: bool, at: &Value, reason: &str, message: &str) {
    let wanted = if holds { "True" } else { "False" };
    let before = condition(pod, kind).clone();
    let at = if before["status"] == wanted { before["lastTransitionTime"].clone() } else { at.clone() };
    let mut made = json!({ "type": kind, "status": wanted, "lastTransitionTime": at });
    if !reason.is_empty() {
        made["reason"] = json!(reason);
        made["message"] = json!(message);
    }
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    if let Some(all) = pod["status"]["conditions"].as_array_mut() {
        all.retain(|it| it["type"] != kind);
        all.push(made);
    }
}
