//! The spaces of environments: restored where others changed them, removed with their environments.

use super::context::{Context, Key};
use crate::engine::{Changes, EventKind, EventRecord};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Environment;
use crate::name::{ClusterName, EnvRef};
use crate::port::{ClusterPorts, Drift, Scope, Spaces};
use crate::tenancy::Actor;

/// Looks at the space of every environment on a cluster.
pub(super) async fn sweep(context: &Context, cluster: &ClusterName) -> Result<()> {
    // A cluster that was removed meanwhile has nothing to sweep.
    let Some(ports) = context.services.clusters().get(cluster).cloned() else { return Ok(()) };
    let Some(spaces) = &ports.spaces else { return Ok(()) };
    let mut failure: Option<Error> = None;
    for env in context.call("list the spaces of a cluster", cluster, spaces.list()).await? {
        if let Err(error) = settle(context, cluster, &ports, spaces.as_ref(), &env).await {
            failure = Some(error.with_context("environment", &env));
        }
    }
    failure.map_or(Ok(()), Err)
}

async fn settle(
    context: &Context,
    cluster: &ClusterName,
    ports: &ClusterPorts,
    spaces: &dyn Spaces,
    env: &EnvRef,
) -> Result<()> {
    let key = Environment::key_of(env);
    let declared = context.services.collections().get::<Environment>(&key).await?;
    let targets = declared.iter().flat_map(|env| &env.value.targets);
    if targets.into_iter().any(|target| target.cluster == *cluster) {
        let drift = context.call("restore a space", cluster, spaces.ensure(context.epoch, env)).await?;
        return report(context, cluster, env, &drift).await;
    }
    // An environment goes after its applications, and leaves a cluster after them; what still runs there goes first.
    let tracks = context.call("list the tracks of a cluster", cluster, ports.runtime.tracks()).await?;
    if context.cache.has_tracks_of(env, cluster)
        || tracks.iter().any(|track| track.component.at.env_ref() == *env)
    {
        return Ok(());
    }
    tracing::info!(%cluster, %env, "the space of an environment that is not there any more is removed");
    match context.call("remove a space", cluster, spaces.remove(context.epoch, env)).await {
        // What it holds is nobody's to remove but a person's.
        Err(error) if error.kind() == ErrorKind::Conflict => {
            tracing::warn!(%cluster, %env, error = %error.report(), "the space of an unknown environment stays");
            Ok(())
        }
        done => done,
    }
}

/// Tells what was restored, as events of the environment.
async fn report(context: &Context, cluster: &ClusterName, env: &EnvRef, drift: &[Drift]) -> Result<()> {
    if drift.is_empty() {
        return Ok(());
    }
    let events: Vec<EventRecord> = drift
        .iter()
        .map(|drift| EventRecord {
            id: String::new(),
            scope: Scope::Env(env.clone()),
            kind: EventKind::SpaceRestored,
            at: context.services.now(),
            actor: Actor::SYSTEM.to_owned(),
            message: format!("the space on {cluster}: {drift}"),
            release: None,
            component: None,
            cluster: Some(cluster.clone()),
        })
        .collect();
    context.commit(Changes::new(), &events, &Key::Spaces(cluster.clone())).await
}
