//! Services: one per component, which other components call, and one per revision, which routes point to.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use paas_core::model::{Port, Protocol, RevisionId};
use paas_core::{ComponentKey, EnvRef, TrackKey};

use super::{Builder, metadata};
use crate::scheme::{component_name, keys, roles};

/// The service that nobody is behind: routes to what does not answer lead there, and gateways say 503.
pub(crate) const NOBODY: &str = "nobody";

/// Which instances a component's service leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// None.
    Nobody,
    /// Those of one revision.
    Revision(RevisionId),
    /// Those of every revision: shares follow the counts.
    All,
}

/// The service of a component. Its address never changes while the component lives.
pub(crate) fn component_service(
    builder: &Builder<'_>,
    track: &TrackKey,
    ports: &[Port],
    selection: &Selection,
) -> Service {
    let installation = builder.installation();
    let namespace = installation.namespace(&track.component.at.env_ref());
    let labels = builder.labels(installation.track_labels(track), &BTreeMap::new(), roles::SERVICE);
    let name = component_name(&track.component);
    let selector = selector(builder, &track.component, selection);
    Service { metadata: metadata(&namespace, &name, labels), spec: Some(spec(ports, selector)), status: None }
}

/// The service that nobody is behind.
pub(crate) fn nobody_service(builder: &Builder<'_>, at: &EnvRef, ports: &[Port]) -> Service {
    let installation = builder.installation();
    let labels = builder.labels(installation.space_labels(at), &BTreeMap::new(), NOBODY);
    let selector = BTreeMap::from([(installation.key(keys::ROLE), NOBODY.to_owned())]);
    Service {
        metadata: metadata(&installation.namespace(at), NOBODY, labels),
        spec: Some(spec(ports, selector)),
        status: None,
    }
}

pub(super) fn spec(ports: &[Port], selector: BTreeMap<String, String>) -> ServiceSpec {
    ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        // Only a service without an address may have no ports.
        cluster_ip: ports.is_empty().then(|| "None".to_owned()),
        selector: Some(selector),
        ports: Some(ports.iter().map(service_port).collect()),
        ..ServiceSpec::default()
    }
}

fn service_port(port: &Port) -> ServicePort {
    ServicePort {
        name: Some(port.name.to_string()),
        port: i32::from(port.number),
        target_port: Some(IntOrString::Int(i32::from(port.number))),
        protocol: Some("TCP".to_owned()),
        app_protocol: (port.protocol == Protocol::Http).then(|| "http".to_owned()),
        ..ServicePort::default()
    }
}

fn selector(
    builder: &Builder<'_>,
    component: &ComponentKey,
    selection: &Selection,
) -> BTreeMap<String, String> {
    let installation = builder.installation();
    let mut selector = installation.component_selector(component);
    match selection {
        Selection::All => {}
        Selection::Revision(revision) => {
            selector.insert(installation.key(keys::REVISION), revision.to_string());
        }
        Selection::Nobody => {
            selector.insert(installation.key(keys::ROLE), NOBODY.to_owned());
        }
    }
    selector
}
