//! Rules of components that are made of manifests. Which kinds a cluster takes, and what may be in them, is its backend's to
//! say.

use std::collections::BTreeMap;

use super::Checker;
use super::text::is_setting;
use crate::model::{Component, ComponentKind, Instances, Manifest, Probes, Resources, Security, ValueSource};

const MAX_OBJECTS: usize = 100;
/// The most bytes of all objects of a component, as JSON: a cluster keeps them in one object of its own.
const MAX_BYTES: usize = 256 * 1024;

/// Checks the objects, and that there is nothing beside them.
pub(super) fn manifests(check: &mut Checker<'_>, component: &Component) {
    if component.kind != ComponentKind::Manifests {
        check.field("manifests").require(component.manifests.is_empty(), || {
            "only a component of the kind manifests has objects; write `kind: manifests`".to_owned()
        });
        return;
    }
    let nothing_else = [
        ("image", component.image.is_empty()),
        ("command", component.command.is_none()),
        ("args", component.args.is_none()),
        ("working_dir", component.working_dir.is_none()),
        ("ports", component.ports.is_empty()),
        ("env", component.env.is_empty()),
        ("files", component.files.is_empty()),
        ("volumes", component.volumes.is_empty()),
        ("resources", component.resources == Resources::default()),
        ("probes", component.probes == Probes::default()),
        ("restart", component.restart.is_none()),
        ("instances", component.instances == Instances::default()),
        ("security", component.security == Security::default()),
        ("strategy", component.strategy.is_none()),
    ];
    for (field, absent) in nothing_else {
        check.field(field).require(absent, || {
            "a component of manifests says this in its objects; remove it here".to_owned()
        });
    }
    let mut list = check.field("manifests");
    list.require(!component.manifests.is_empty(), || "a component of manifests needs an object".to_owned());
    list.at_most(component.manifests.len(), MAX_OBJECTS, "objects");
    let size = serde_json::to_vec(&component.manifests).unwrap_or_default().len();
    list.require(size <= MAX_BYTES, || {
        format!("the objects have {size} bytes as JSON; at most {MAX_BYTES} are allowed, make several applications of them")
    });
    let mut seen = BTreeMap::new();
    for (index, object) in component.manifests.iter().enumerate() {
        let path = format!("{}[{index}] {object}", list.path);
        let mut check = Checker::new(&path, list.faults);
        for (field, value) in [("apiVersion", object.api_version()), ("kind", object.kind())] {
            check.field(field).require(!value.is_empty(), || "is missing; every object has one".to_owned());
        }
        check
            .field("metadata.name")
            .require(is_object_name(object.name()), || object_name_fault(object.name()));
        if let Some(first) = seen.insert((object.group(), object.kind(), object.name()), index) {
            check.fault(format!("is already object {first} of the list; remove one of them"));
        }
        if object.is_secret() {
            secret(&mut check, object);
        }
    }
}

/// A `Secret` names where its values come from, and holds none.
fn secret(check: &mut Checker<'_>, object: &Manifest) {
    let suggested = |key: &str| format!("{}.{key}", object.name());
    if let Some(data) = object.0.get("data").filter(|data| !data.is_null()) {
        let keys: Vec<&str> = data.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        let first = keys.first().copied().unwrap_or("KEY");
        check.field("data").fault(format!(
            "holds values ({}); set each by `paas secret set APP {}` and write `stringData: {{{first}: {{secret: {}}}}}`",
            keys.join(", "),
            suggested(first),
            suggested(first)
        ));
    }
    for (key, source) in object.secret_values() {
        let mut check = check.field("stringData");
        let mut check = check.field(key);
        match source {
            None => check.fault(format!(
                "holds a value; set it by `paas secret set APP {0}` and write {{secret: {0}}}",
                suggested(key)
            )),
            Some(ValueSource::Config(name) | ValueSource::Secret(name)) => check
                .require(is_setting(&name), || {
                    format!("{name:?} is not the name of a setting; use letters, digits, _, - and .")
                }),
        }
    }
}

/// Names as DNS has them, in labels of lower-case letters, digits and hyphens (RFC 1123, section 2.1).
fn is_object_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

fn object_name_fault(name: &str) -> String {
    if name.is_empty() {
        return "is missing; every object has one".to_owned();
    }
    format!("{name:?} is not a name; use lower-case letters, digits, hyphens and dots, at most 253")
}
