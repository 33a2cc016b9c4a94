//! How platform ids become names, labels and annotations.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use paas_core::port::{InstanceId, SetKey};
use paas_core::{AppEnv, ComponentKey, EnvRef, Fault, TrackKey};
use sha2::{Digest as _, Sha256};

/// The longest name of an object from which a controller derives names of its own: a hash and a random suffix follow.
const DERIVED_FROM: usize = 47;
/// The longest name that is a DNS label.
const LABEL: usize = 63;

/// What tells the objects of one installation of a platform from all others.
///
/// Both parts are the embedder's, are on every object made, and must never change while objects exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    id: String,
    domain: String,
}

impl Installation {
    /// An installation by its id, a DNS label of at most 20 characters, and the domain that prefixes labels and
    /// annotations, such as `paas.example.org`.
    ///
    /// # Errors
    /// A [`Fault`] that says which rule a part breaks.
    pub fn new(id: impl Into<String>, domain: impl Into<String>) -> Result<Self, Fault> {
        let (id, domain) = (id.into(), domain.into());
        if id.len() > 20 || !is_label(&id) {
            let message =
                format!("{id:?} is not an installation id: 1 to 20 lower-case letters, digits and hyphens");
            return Err(Fault::new("installation", message));
        }
        if domain.len() > 253 || domain.is_empty() || !domain.split('.').all(is_label) {
            return Err(Fault::new("label_domain", format!("{domain:?} is not a domain name")));
        }
        Ok(Self { id, domain })
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The domain of its labels and annotations.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The one field manager that writes its objects.
    pub(crate) fn field_manager(&self) -> String {
        format!("{}/{}", self.domain, self.id)
    }

    /// The key of a label or annotation of the platform.
    pub(crate) fn key(&self, name: impl fmt::Display) -> String {
        format!("{}/{name}", self.domain)
    }

    /// The selector of everything that belongs to this installation.
    pub(crate) fn selector(&self) -> String {
        format!("{}={}", self.key(keys::INSTALLATION), self.id)
    }

    /// The namespace of an organisation's environment.
    pub(crate) fn namespace(&self, at: &EnvRef) -> String {
        bounded(&[&self.id, at.org.as_str(), at.env.as_str()], &format!("{}:{at}", self.id), LABEL)
    }

    /// The labels that every object of an environment has.
    pub(crate) fn space_labels(&self, at: &EnvRef) -> BTreeMap<String, String> {
        BTreeMap::from([
            (self.key(keys::INSTALLATION), self.id.clone()),
            (self.key(keys::ORG), at.org.to_string()),
            (self.key(keys::ENV), at.env.to_string()),
            ("app.kubernetes.io/managed-by".to_owned(), self.id.clone()),
        ])
    }

    /// The labels that every object of an application has.
    pub(crate) fn app_labels(&self, at: &AppEnv) -> BTreeMap<String, String> {
        let mut labels = self.space_labels(&at.env_ref());
        labels.insert(self.key(keys::APP), at.app.to_string());
        labels.insert("app.kubernetes.io/part-of".to_owned(), at.app.to_string());
        labels
    }

    /// The labels that every object of a component has.
    pub(crate) fn component_labels(&self, component: &ComponentKey) -> BTreeMap<String, String> {
        let mut labels = self.app_labels(&component.at);
        labels.insert(self.key(keys::COMPONENT), component.component.to_string());
        labels.insert("app.kubernetes.io/name".to_owned(), component.component.to_string());
        labels
    }

    /// The labels that every object of a track has.
    pub(crate) fn track_labels(&self, track: &TrackKey) -> BTreeMap<String, String> {
        let mut labels = self.component_labels(&track.component);
        labels.insert(self.key(keys::CLUSTER), track.cluster.to_string());
        labels
    }

    /// The labels that every object of a set has.
    pub(crate) fn set_labels(&self, set: &SetKey) -> BTreeMap<String, String> {
        let mut labels = self.track_labels(&set.track);
        labels.insert(self.key(keys::REVISION), set.revision.to_string());
        labels
    }

    /// The labels by which the instances of a component are found. Part of immutable selectors: never extended.
    pub(crate) fn component_selector(&self, component: &ComponentKey) -> BTreeMap<String, String> {
        BTreeMap::from([
            (self.key(keys::INSTALLATION), self.id.clone()),
            (self.key(keys::APP), component.at.app.to_string()),
            (self.key(keys::COMPONENT), component.component.to_string()),
            (self.key(keys::ROLE), roles::INSTANCE.to_owned()),
        ])
    }

    /// The labels by which the instances of a set are found. Part of immutable selectors: never extended.
    pub(crate) fn set_selector(&self, set: &SetKey) -> BTreeMap<String, String> {
        let mut labels = self.component_selector(&set.track.component);
        labels.insert(self.key(keys::REVISION), set.revision.to_string());
        labels
    }

    /// The track that labels name, if they are a track's and of this installation.
    pub(crate) fn track_of(&self, labels: &BTreeMap<String, String>) -> Option<TrackKey> {
        let component = self.app_of(labels)?.component(self.read(labels, keys::COMPONENT)?);
        Some(component.on(self.read(labels, keys::CLUSTER)?))
    }

    /// The application in its environment that labels name.
    pub(crate) fn app_of(&self, labels: &BTreeMap<String, String>) -> Option<AppEnv> {
        Some(AppEnv {
            org: self.read(labels, keys::ORG)?,
            env: self.read(labels, keys::ENV)?,
            app: self.read(labels, keys::APP)?,
        })
    }

    /// A value of the platform among labels or annotations.
    pub(crate) fn read<T: std::str::FromStr>(
        &self,
        values: &BTreeMap<String, String>,
        name: &str,
    ) -> Option<T> {
        values.get(&self.key(name)).and_then(|value| value.parse().ok())
    }

    /// Whether an object was made by this installation.
    pub(crate) fn owns(&self, meta: &ObjectMeta) -> bool {
        let labels = meta.labels.as_ref();
        labels.and_then(|labels| labels.get(&self.key(keys::INSTALLATION))) == Some(&self.id)
    }

    /// An annotation of the platform on an object.
    pub(crate) fn annotation<'a>(&self, meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
        meta.annotations.as_ref()?.get(&self.key(name)).map(String::as_str)
    }
}

/// The names of labels and annotations, without the domain.
pub(crate) mod keys {
    pub(crate) const INSTALLATION: &str = "installation";
    pub(crate) const ORG: &str = "org";
    pub(crate) const ENV: &str = "env";
    pub(crate) const APP: &str = "app";
    pub(crate) const COMPONENT: &str = "component";
    pub(crate) const CLUSTER: &str = "cluster";
    pub(crate) const REVISION: &str = "revision";
    /// What an object is for: one of [`roles`](super::roles).
    pub(crate) const ROLE: &str = "role";
    /// The hash of a run's id.
    pub(crate) const RUN: &str = "run";

    // annotations
    /// The highest epoch that changed an object.
    pub(crate) const EPOCH: &str = "epoch";
    /// The template of a set, its files by digest.
    pub(crate) const TEMPLATE: &str = "template";
    /// One making of a set: a set that was removed and made again has another.
    pub(crate) const INCARNATION: &str = "incarnation";
    /// The ordinals that an ordered set was told, as `first+count`.
    pub(crate) const ORDINALS: &str = "ordinals";
    /// The count of a set whose other objects are not all there yet.
    pub(crate) const PREPARING: &str = "preparing";
    /// An instance that is about to be taken out of service.
    pub(crate) const CONDEMNED: &str = "condemned";
    /// The id of a run.
    pub(crate) const RUN_ID: &str = "run-id";
    /// How many instances a set of manifests shall have.
    pub(crate) const COUNT: &str = "count";
    /// How often manifests were restarted.
    pub(crate) const RESTART: &str = "restart";
    /// What a router was told about a service.
    pub(crate) const TRAFFIC: &str = "traffic";
}

/// What an object is for.
pub(crate) mod roles {
    pub(crate) const INSTANCE: &str = "instance";
    pub(crate) const RUN: &str = "run";
    pub(crate) const SET: &str = "set";
    pub(crate) const SERVICE: &str = "service";
    pub(crate) const ROUTES: &str = "routes";
    pub(crate) const VOLUME: &str = "volume";
    /// The stateful set of a track, and the service of its instances.
    pub(crate) const ORDERED: &str = "ordered";
    /// A set of manifests.
    pub(crate) const MANIFESTS: &str = "manifests";
    /// One of its objects.
    pub(crate) const MANIFEST: &str = "manifest";
}

/// The name of a set's objects.
pub(crate) fn set_name(set: &SetKey) -> String {
    let component = &set.track.component;
    let parts = [component.at.app.as_str(), component.component.as_str(), set.revision.as_str()];
    bounded(&parts, &set.to_string(), DERIVED_FROM)
}

/// The name of a component's service and of what else it has once.
pub(crate) fn component_name(component: &ComponentKey) -> String {
    bounded(&[component.at.app.as_str(), component.component.as_str()], &component.to_string(), DERIVED_FROM)
}

/// The name of the service by which the instances of a stateful component find each other.
pub(crate) fn peers_name(component: &ComponentKey) -> String {
    format!("{}-peers", component_name(component))
}

/// The name of an application's list of access points.
pub(crate) fn routes_name(at: &AppEnv) -> String {
    bounded(&[at.app.as_str(), "routes"], &format!("routes:{at}"), DERIVED_FROM)
}

/// The name of an access point.
pub(crate) fn route_name(at: &AppEnv, route: &str) -> String {
    bounded(&[at.app.as_str(), route], &format!("route:{at}/{route}"), DERIVED_FROM)
}

/// The name of a volume of a component.
pub(crate) fn volume_name(component: &ComponentKey, volume: &str) -> String {
    let parts = [component.at.app.as_str(), component.component.as_str(), volume];
    bounded(&parts, &format!("{component}:{volume}"), DERIVED_FROM)
}

/// The name of a run.
pub(crate) fn run_name(id: &InstanceId) -> String {
    let words: String = id.0.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    bounded(&["run", words.to_ascii_lowercase().trim_matches('-')], &format!("run:{id}"), DERIVED_FROM)
}

/// The label value of a run, whose id may be anything.
pub(crate) fn run_label(id: &InstanceId) -> String {
    hash(&id.0, 24)
}

/// The first hexadecimal digits of a SHA-256.
pub(crate) fn hash(text: &str, digits: usize) -> String {
    let mut hash = hex::encode(Sha256::digest(text.as_bytes()));
    hash.truncate(digits);
    hash
}

/// A DNS label that begins with a letter, made of parts for people and a hash of the identity, so that different
/// identities never share a name, whatever was cut off and wherever hyphens stand.
fn bounded(parts: &[&str], identity: &str, longest: usize) -> String {
    const DIGITS: usize = 8;
    let mut name = parts.join("-");
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        name.insert_str(0, "x-");
    }
    name.truncate(longest - DIGITS - 1);
    format!("{}-{}", name.trim_end_matches('-'), hash(identity, DIGITS))
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= LABEL
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation() -> Installation {
        Installation::new("acme", "paas.example.org").expect("it is valid")
    }

    fn track() -> TrackKey {
        "org/env/shop/web@local".parse().expect("it is valid")
    }

    #[test]
    fn names_are_bounded_and_differ_where_identities_differ() {
        let long = "a".repeat(40);
        let key = |app: &str, component: &str| -> ComponentKey {
            format!("org/env/{app}/{component}").parse().expect("it is valid")
        };
        let name = component_name(&key(&long, &long));
        assert!(name.len() <= DERIVED_FROM, "{name}");
        assert_ne!(component_name(&key("a-b", "c")), component_name(&key("a", "b-c")));
        assert!(component_name(&key("7up", "web")).starts_with("x-7up"));
    }

    #[test]
    fn labels_name_the_track_again() {
        let installation = installation();
        assert_eq!(installation.track_of(&installation.track_labels(&track())), Some(track()));
        let other = Installation::new("acme", "other.example.org").expect("it is valid");
        assert_eq!(other.track_of(&installation.track_labels(&track())), None);
    }

    #[test]
    fn a_bad_installation_is_refused_with_its_rule() {
        assert!(Installation::new("Acme", "paas.example.org").is_err());
        assert!(Installation::new("acme", "paas..org").is_err());
    }
}
