//! Rules of pods: those of Kubernetes' Pod Security Standards that an object can break by what it says, and what would reach
//! the objects of others.

use serde_json::Value;

use super::Rules;
use crate::options::SecurityLevel;

/// Volumes that stay within the application.
const VOLUMES: [&str; 7] =
    ["configMap", "secret", "projected", "downwardAPI", "emptyDir", "persistentVolumeClaim", "ephemeral"];
/// Capabilities that the level `baseline` allows to be added.
const BASELINE: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

impl Rules<'_> {
    pub(super) fn pod(&mut self, path: &str, pod: &Value) {
        for field in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
            if pod[field] == Value::Bool(true) {
                self.fault(
                    &format!("{path}.{field}"),
                    "instances share nothing with their node or each other; remove it",
                );
            }
        }
        for field in ["nodeName", "priorityClassName", "runtimeClassName", "hostUsers"] {
            if !pod[field].is_null() {
                self.fault(&format!("{path}.{field}"), "is for the cluster's operator to say; remove it");
            }
        }
        if pod["securityContext"]["sysctls"].as_array().is_some_and(|all| !all.is_empty()) {
            self.fault(
                &format!("{path}.securityContext.sysctls"),
                "parameters of the kernel are the cluster's; remove it",
            );
        }
        self.user(&format!("{path}.securityContext"), &pod["securityContext"]);
        for field in ["serviceAccountName", "serviceAccount"] {
            let account = pod[field].as_str().unwrap_or("default");
            if account != "default" && !self.has("ServiceAccount", account) {
                let message = format!(
                    "{account:?} is not among the objects; add the ServiceAccount, which has no rights"
                );
                self.fault(&format!("{path}.{field}"), message);
            }
        }
        let secrets = pod["imagePullSecrets"].as_array();
        for (index, secret) in secrets.into_iter().flatten().enumerate() {
            self.secret(&format!("{path}.imagePullSecrets[{index}].name"), &secret["name"]);
        }
        for (index, volume) in pod["volumes"].as_array().into_iter().flatten().enumerate() {
            self.volume(&format!("{path}.volumes[{index}]"), volume);
        }
        for list in ["initContainers", "containers"] {
            for (index, container) in pod[list].as_array().into_iter().flatten().enumerate() {
                self.container(&format!("{path}.{list}[{index}]"), container);
            }
        }
    }

    fn container(&mut self, path: &str, container: &Value) {
        let context = &container["securityContext"];
        let at = format!("{path}.securityContext");
        if context["privileged"] == Value::Bool(true) {
            self.fault(&format!("{at}.privileged"), "instances never have the node's rights; remove it");
        }
        if !context["procMount"].is_null() && context["procMount"] != "Default" {
            self.fault(&format!("{at}.procMount"), "the system's files stay masked; remove it");
        }
        let restricted = self.options.security == SecurityLevel::Restricted;
        if restricted && context["allowPrivilegeEscalation"] == Value::Bool(true) {
            self.fault(&format!("{at}.allowPrivilegeEscalation"), "is not possible here; remove it");
        }
        for added in context["capabilities"]["add"].as_array().into_iter().flatten().filter_map(Value::as_str)
        {
            let allowed = if restricted { added == "NET_BIND_SERVICE" } else { BASELINE.contains(&added) };
            if !allowed {
                self.fault(
                    &format!("{at}.capabilities.add"),
                    format!("{added} is not given to instances; remove it"),
                );
            }
        }
        self.user(&at, context);
        for (index, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
            if port["hostPort"].as_u64().is_some_and(|port| port > 0) {
                self.fault(
                    &format!("{path}.ports[{index}].hostPort"),
                    "ports of nodes are not given; use a Service",
                );
            }
        }
        for (index, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
            let name = &variable["valueFrom"]["secretKeyRef"]["name"];
            self.secret(&format!("{path}.env[{index}].valueFrom.secretKeyRef.name"), name);
        }
        for (index, from) in container["envFrom"].as_array().into_iter().flatten().enumerate() {
            self.secret(&format!("{path}.envFrom[{index}].secretRef.name"), &from["secretRef"]["name"]);
        }
    }

    /// What the level `restricted` asks of users; where nothing is said, the platform says it.
    fn user(&mut self, path: &str, context: &Value) {
        let profile = &context["seccompProfile"]["type"];
        if *profile == "Unconfined" {
            self.fault(
                &format!("{path}.seccompProfile.type"),
                "calls of the system are always confined; remove it",
            );
        }
        if self.options.security != SecurityLevel::Restricted {
            return;
        }
        if context["runAsNonRoot"] == Value::Bool(false) {
            self.fault(&format!("{path}.runAsNonRoot"), "instances never run as root here; remove it");
        }
        if context["runAsUser"].as_i64() == Some(0) {
            self.fault(&format!("{path}.runAsUser"), "instances never run as root here; use another user");
        }
    }

    fn volume(&mut self, path: &str, volume: &Value) {
        let source = volume.as_object().into_iter().flatten().find(|(key, _)| *key != "name");
        let Some((kind, source)) = source else { return };
        if !VOLUMES.contains(&kind.as_str()) {
            let message = format!(
                "volumes of this kind lead out of the application; use one of {}",
                VOLUMES.join(", ")
            );
            return self.fault(&format!("{path}.{kind}"), message);
        }
        match kind.as_str() {
            "secret" => self.secret(&format!("{path}.secret.secretName"), &source["secretName"]),
            "persistentVolumeClaim" => {
                let claim = source["claimName"].as_str().unwrap_or_default();
                if !self.has("PersistentVolumeClaim", claim) {
                    let message =
                        format!("{claim:?} is not among the objects; add the PersistentVolumeClaim");
                    self.fault(&format!("{path}.persistentVolumeClaim.claimName"), message);
                }
            }
            "projected" => {
                for (index, part) in source["sources"].as_array().into_iter().flatten().enumerate() {
                    self.secret(
                        &format!("{path}.projected.sources[{index}].secret.name"),
                        &part["secret"]["name"],
                    );
                }
            }
            _ => {}
        }
    }

    /// A secret is one of the application's own, so that nobody reads those of others.
    pub(super) fn secret(&mut self, path: &str, name: &Value) {
        let Some(name) = name.as_str() else { return };
        if !self.has("Secret", name) && !self.options.image_pull_secrets.iter().any(|known| known == name) {
            let message = format!(
                "{name:?} is not among the objects; add the Secret with `stringData: {{KEY: {{secret: NAME}}}}`"
            );
            self.fault(path, message);
        }
    }
}
