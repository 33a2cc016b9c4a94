//! Kubernetes YAML as a component of the kind `manifests`.
//!
//! Objects stay as they are, but for two things. What a cluster writes into its objects is left out, so that the output of
//! `kubectl get -o yaml` can be read. And values of `Secret` objects are taken out: each becomes a secret of the platform,
//! which the object names, so that no record has it in plain.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use paas_core::model::{AppSpec, Component, Manifest};
use paas_core::{ComponentName, Error, Fault, Result};
use serde_json::{Map, Value, json};

/// What a cluster writes into the metadata of objects.
const WRITTEN: [&str; 6] =
    ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"];
/// What tools write into annotations; the first has a whole object, secrets included.
const REMARKS: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision"];

/// Objects read from texts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Manifests {
    /// The objects, in the order of the texts.
    pub objects: Vec<Manifest>,
    /// The values of their secrets, which have to be set before they are released.
    pub secrets: Vec<FoundSecret>,
    /// What its users should know.
    pub notes: Vec<String>,
}

/// A value that was taken out of an object.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundSecret {
    /// The platform's secret that the object names now: `OBJECT.KEY`.
    pub name: String,
    /// The value.
    pub value: Vec<u8>,
}

impl fmt::Debug for FoundSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FoundSecret").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Manifests {
    /// An application that consists of the objects.
    pub fn into_spec(self, component: &ComponentName) -> AppSpec {
        // Every other field has its default, which only reading knows.
        let declared = json!({ "name": component, "kind": "manifests" });
        let mut component: Component =
            serde_json::from_value(declared).expect("a name and a kind are enough");
        component.manifests = self.objects;
        AppSpec { components: vec![component], routes: Vec::new(), strategy: None }
    }
}

/// Reads documents, each with the name of its text. Lists of objects are read as their items.
///
/// # Errors
/// [`Invalid`](paas_core::ErrorKind::Invalid) with every document that is no object of Kubernetes.
pub fn read<'a>(documents: impl IntoIterator<Item = (&'a str, Value)>) -> Result<Manifests> {
    let mut reader =
        Reader { objects: Vec::new(), secrets: Vec::new(), notes: Vec::new(), faults: Vec::new() };
    for (index, (name, document)) in documents.into_iter().enumerate() {
        reader.document(&format!("{name}[{index}]"), document);
    }
    let Reader { objects, secrets, notes, faults } = reader;
    if faults.is_empty() {
        Ok(Manifests { objects, secrets, notes })
    } else {
        Err(Error::invalid("read objects of Kubernetes", faults))
    }
}

struct Reader {
    objects: Vec<Manifest>,
    secrets: Vec<FoundSecret>,
    notes: Vec<String>,
    faults: Vec<Fault>,
}

impl Reader {
    fn document(&mut self, path: &str, document: Value) {
        let Value::Object(mut fields) = document else {
            return self.fault(path, "is no object of Kubernetes; it needs apiVersion, kind and metadata");
        };
        let text = |field: &str| fields.get(field).and_then(Value::as_str).map(str::to_owned);
        let (Some(version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            return self.fault(path, "is no object of Kubernetes; it needs apiVersion, kind and metadata");
        };
        if let Some(item) = kind.strip_suffix("List")
            && let Some(Value::Array(items)) = fields.remove("items")
        {
            for (index, mut value) in items.into_iter().enumerate() {
                if let Some(fields) = value.as_object_mut().filter(|_| !item.is_empty()) {
                    // Lists of one kind say it once.
                    fields.entry("apiVersion").or_insert_with(|| json!(version));
                    fields.entry("kind").or_insert_with(|| json!(item));
                }
                self.document(&format!("{path}.items[{index}]"), value);
            }
            return;
        }
        let mut object = Manifest(fields);
        self.clean(&mut object);
        if object.is_secret() {
            self.seal(path, &mut object);
        }
        self.objects.push(object);
    }

    /// Leaves out what a cluster wrote.
    fn clean(&mut self, object: &mut Manifest) {
        let mut left = Vec::new();
        if object.0.remove("status").is_some_and(|status| !is_empty(&status)) {
            left.push("status");
        }
        if let Some(meta) = object.0.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in WRITTEN {
                if meta.remove(field).is_some_and(|value| !is_empty(&value)) {
                    left.push(field);
                }
            }
            if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
                left.extend(REMARKS.iter().filter(|remark| annotations.remove(**remark).is_some()));
            }
        }
        if !left.is_empty() {
            self.notes.push(format!("{object}: {} left out: a cluster wrote it", left.join(", ")));
        }
    }

    /// Takes the values of a secret out, and names them.
    fn seal(&mut self, path: &str, object: &mut Manifest) {
        let label = object.to_string();
        let name = object.name().to_owned();
        let mut named = Map::new();
        for field in ["data", "stringData"] {
            let Some(Value::Object(values)) = object.0.remove(field) else { continue };
            for (key, value) in values {
                let bytes = match &value {
                    // It names a source already.
                    Value::Object(_) => {
                        named.insert(key, value);
                        continue;
                    }
                    Value::Null => Ok(Vec::new()),
                    Value::String(text) if field == "data" => {
                        let plain: String = text.split_whitespace().collect();
                        STANDARD.decode(plain).map_err(|error| format!("is not base64: {error}"))
                    }
                    Value::String(text) => Ok(text.clone().into_bytes()),
                    other => Err(format!("is no text: {}", kind_of(other))),
                };
                match bytes {
                    Ok(value) => {
                        let secret = format!("{name}.{key}");
                        self.notes
                            .push(format!("{label}: the value of {key} is kept as the secret {secret}"));
                        named.insert(key, json!({ "secret": secret }));
                        // Of two values for a key the plain one is meant, as on a cluster.
                        self.secrets.retain(|known| known.name != secret);
                        self.secrets.push(FoundSecret { name: secret, value });
                    }
                    Err(message) => self.fault(&format!("{path} {label}.{field}.{key}"), message),
                }
            }
        }
        if !named.is_empty() {
            object.0.insert("stringData".to_owned(), Value::Object(named));
        }
    }

    fn fault(&mut self, path: &str, message: impl Into<String>) {
        self.faults.push(Fault::new(path, message));
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
