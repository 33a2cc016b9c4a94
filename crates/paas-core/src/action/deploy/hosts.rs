//! That no other application has a host that a release, or a change of access points, brings.

use std::time::Duration;

use tokio::time::timeout;

use crate::action::Work;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::{RouteSpec, Target};
use crate::name::AppEnv;
use crate::port::{ClusterPorts, HostPath, Scope};
use crate::tenancy::permissions;

/// How long a cluster may take to tell. One that does not looks again itself, before anything is made there.
const PATIENCE: Duration = Duration::from_secs(5);

/// A host, with the path of the field that names it.
pub(in crate::action) type Named = (String, HostPath);

/// Refuses what another application has on one of the clusters. What is brought there `brought` tells.
pub(in crate::action) async fn check(
    work: &Work<'_>,
    at: &AppEnv,
    targets: &[Target],
    brought: impl Fn(&ClusterPorts) -> Vec<Named> + Send + Sync,
) -> Result<()> {
    let clusters = work.services().clusters();
    let mut faults: Vec<Fault> = Vec::new();
    for target in targets.iter().filter(|it| !work.services().outages().is_silent(&it.cluster)) {
        let Some(ports) = clusters.get(&target.cluster) else { continue };
        let named = brought(ports);
        if named.is_empty() {
            continue;
        }
        let wanted: Vec<HostPath> = named.iter().map(|(_, host)| host.clone()).collect();
        let answer = timeout(PATIENCE, ports.router.holders(at, &wanted)).await;
        let Ok(Ok(holders)) = answer else {
            tracing::debug!(cluster = %target.cluster, "a cluster does not tell who has which hosts");
            continue;
        };
        for ((path, host), owner) in named.into_iter().zip(holders) {
            let Some(owner) = owner.filter(|_| faults.iter().all(|fault| fault.path != path)) else {
                continue;
            };
            let who = if work.may(permissions::APP_READ, &Scope::AppEnv(owner.clone())).await? {
                format!("the application {owner}")
            } else {
                "another application".to_owned()
            };
            let message = format!(
                "{host} belongs to {who} on cluster {}; choose another host or path, or remove it there first",
                target.cluster
            );
            faults.push(Fault::new(path, message));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, "use a host that another application has")
        .with_context("application", at)
        .with_faults(faults))
}

/// The hosts of the access points that are in `routes` and not in `before`; each is named by its index in `declared`, or by its name.
pub(in crate::action) fn of_routes(
    ports: &ClusterPorts,
    at: &AppEnv,
    before: &[RouteSpec],
    routes: &[RouteSpec],
    declared: &[RouteSpec],
) -> Vec<Named> {
    let host = |route: &RouteSpec| {
        let host = route.host.clone().unwrap_or_else(|| ports.router.default_host(at));
        let is_http = route.tcp_port.is_none();
        is_http.then(|| HostPath::new(host, route.path.as_deref().unwrap_or("/")))
    };
    let had: Vec<HostPath> = before.iter().filter_map(host).collect();
    let mut named = Vec::new();
    for route in routes {
        let Some(host) = host(route).filter(|host| !had.contains(host)) else { continue };
        let index = declared.iter().position(|it| it.name == route.name);
        let path = match index {
            Some(index) => format!("routes[{index}].host"),
            None => format!("routes[{}].host", route.name),
        };
        named.push((path, host));
    }
    named
}
