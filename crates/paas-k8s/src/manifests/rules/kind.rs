//! Rules of single kinds.

use serde_json::Value;

use super::Rules;
use crate::manifests::kinds::{Kind, Place};

impl Rules<'_> {
    pub(super) fn kind(&mut self, kind: &Kind, value: &Value) {
        let spec = &value["spec"];
        match kind.kind {
            "Service" => self.service(spec),
            "HorizontalPodAutoscaler" => self.autoscaler(spec),
            "HTTPRoute" | "GRPCRoute" => self.route(spec),
            "Ingress" => {
                for (index, tls) in spec["tls"].as_array().into_iter().flatten().enumerate() {
                    self.secret(&format!("spec.tls[{index}].secretName"), &tls["secretName"]);
                }
            }
            "Job" if !spec["ttlSecondsAfterFinished"].is_null() => {
                self.fault(
                    "spec.ttlSecondsAfterFinished",
                    "a Job that went would be made and run again; remove it",
                );
            }
            "ServiceAccount"
                if value["metadata"]["annotations"].as_object().is_some_and(|all| !all.is_empty()) =>
            {
                self.fault("metadata.annotations", "could give rights outside the cluster; remove them");
            }
            "Secret" if value["type"] == "kubernetes.io/service-account-token" => {
                self.fault("type", "tokens of service accounts are the cluster's; remove the object");
            }
            _ => {}
        }
        let claims = kind.place == Place::Volume || !spec["volumeClaimTemplates"].is_null();
        if claims && self.options.volumes.is_none() {
            self.fault("spec", "this cluster has no volumes; configure a storage class");
        }
    }

    fn service(&mut self, spec: &Value) {
        if let Some(kind) = spec["type"].as_str().filter(|kind| *kind != "ClusterIP") {
            let message = format!("{kind} would open the cluster to the outside; use ClusterIP and a route");
            self.fault("spec.type", message);
        }
        for field in ["externalIPs", "loadBalancerIP", "externalName"] {
            if spec[field].as_array().map_or(!spec[field].is_null(), |list| !list.is_empty()) {
                self.fault(
                    &format!("spec.{field}"),
                    "would take over addresses outside the application; remove it",
                );
            }
        }
    }

    /// It scales what the application has, and nothing of anybody else.
    fn autoscaler(&mut self, spec: &Value) {
        let target = &spec["scaleTargetRef"];
        let text = |field: &str| target[field].as_str().unwrap_or_default();
        let known =
            matches!(text("kind"), "Deployment" | "StatefulSet") && self.has(text("kind"), text("name"));
        if !known {
            let message =
                format!("{}/{} is not among the objects; name one that is", text("kind"), text("name"));
            self.fault("spec.scaleTargetRef", message);
        }
    }

    fn route(&mut self, spec: &Value) {
        let Some(gateway) = &self.options.gateway else {
            return self.fault("kind", "this cluster has no gateway; configure one, or write an Ingress");
        };
        let (namespace, name) = (gateway.namespace.clone(), gateway.name.clone());
        for (index, parent) in spec["parentRefs"].as_array().into_iter().flatten().enumerate() {
            if parent["namespace"] != namespace.as_str() || parent["name"] != name.as_str() {
                let message =
                    format!("is not the platform's gateway; write namespace: {namespace}, name: {name}");
                self.fault(&format!("spec.parentRefs[{index}]"), message);
            }
        }
        self.backends("spec.rules", &spec["rules"]);
    }

    /// Backends are services of the environment.
    fn backends(&mut self, path: &str, value: &Value) {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.backends(&format!("{path}[{index}]"), item);
                }
            }
            Value::Object(fields) => {
                let namespace = fields.get("namespace").and_then(Value::as_str);
                if let Some(other) = namespace.filter(|other| *other != self.namespace) {
                    self.fault(
                        &format!("{path}.namespace"),
                        format!("{other} is another namespace; remove it"),
                    );
                }
                for (key, field) in fields {
                    self.backends(&format!("{path}.{key}"), field);
                }
            }
            _ => {}
        }
    }
}
