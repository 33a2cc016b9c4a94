//! The access points of an application, on every cluster of its environment.

use std::collections::BTreeSet;

use super::cache::{self, AppDocuments};
use super::context::Context;
use crate::error::{Error, Fault, Result};
use crate::model::{AppSpec, Release, RouteSpec};
use crate::name::{AppEnv, ClusterName};
use crate::port::{RouteBinding, Router};

/// The clusters on which an application has, or had, access points: those where it has tracks. They go before its tracks do.
pub(super) fn clusters(documents: &AppDocuments) -> BTreeSet<ClusterName> {
    documents.tracks.keys().map(|track| track.cluster.clone()).collect()
}

/// Tells a router the access points, unless it was told the same already. They are in force at once; one that leads to a
/// component that does not serve yet answers so. Where the application does not belong any more there are none.
pub(super) async fn reconcile(context: &Context, at: &AppEnv, cluster: &ClusterName) -> Result<()> {
    let Some(documents) = context.cache.app(at) else { return Ok(()) };
    // What a deleted application has left there is removed first; then this is looked at again.
    if !clusters(&documents).contains(cluster) || context.cache.tombstone(at, cluster).is_some() {
        return Ok(());
    }
    if !context.cache.belongs(at, cluster) {
        return withdraw(context, at, cluster).await;
    }
    let Some(declared) = &documents.routes else { return Ok(()) };
    let Some(spec) = spec(context, &documents).await? else { return Ok(()) };
    let router = context.ports(cluster)?.router;
    let (bound, faults) = bind(router.as_ref(), at, cluster, &spec, &declared.value.routes);
    tell(context, at, cluster, bound).await?;
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::invalid("put access points in force", faults).with_context("application", at))
}

/// Takes all access points of an application away from a cluster.
pub(super) async fn withdraw(context: &Context, at: &AppEnv, cluster: &ClusterName) -> Result<()> {
    tell(context, at, cluster, Vec::new()).await
}

async fn tell(
    context: &Context,
    at: &AppEnv,
    cluster: &ClusterName,
    bindings: Vec<RouteBinding>,
) -> Result<()> {
    if context.told_routes(cluster, at).as_ref() == Some(&bindings) {
        return Ok(());
    }
    let router = context.ports(cluster)?.router;
    let call = router.apply_routes(context.epoch, at, &bindings);
    context.call("apply access points", cluster, call).await?;
    context.set_told_routes(cluster, at, Some(bindings));
    Ok(())
}

/// What says which ports components have: the current release, or before the first commit the newest one.
async fn spec(context: &Context, documents: &AppDocuments) -> Result<Option<AppSpec>> {
    let Some(place) = documents.place.as_ref().map(|place| &place.value) else { return Ok(None) };
    let Some(current) = place.current else { return Ok(place.spec.clone()) };
    let key = Release::key_of(&place.at, current);
    let release = cache::read::<Release>(context.services.collections(), &key).await?;
    Ok(release.map(|release| release.version.spec))
}

fn bind(
    router: &dyn Router,
    at: &AppEnv,
    cluster: &ClusterName,
    spec: &AppSpec,
    declared: &[RouteSpec],
) -> (Vec<RouteBinding>, Vec<Fault>) {
    let mut bindings = Vec::new();
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for route in declared {
        let component = spec.components.iter().find(|component| component.name == route.component);
        let port = component.and_then(|component| match &route.port {
            Some(name) => component.ports.iter().find(|port| port.name == *name),
            None => component.ports.first(),
        });
        let Some(port) = port else {
            let message = format!(
                "leads to {}, which has no such port in the current release; release one that has it, or remove the route",
                route.component
            );
            faults.push(Fault::new(format!("routes.{}", route.name), message));
            continue;
        };
        if !seen.insert(&route.name) {
            continue;
        }
        let host = match (route.tcp_port, &route.host) {
            (Some(_), _) => None,
            (None, Some(host)) => Some(host.clone()),
            (None, None) => Some(router.default_host(at)),
        };
        bindings.push(RouteBinding {
            name: route.name.clone(),
            host,
            path: route.path.clone().unwrap_or_else(|| "/".to_owned()),
            tcp_port: route.tcp_port,
            track: at.component(route.component.clone()).on(cluster.clone()),
            port: port.clone(),
        });
    }
    (bindings, faults)
}
