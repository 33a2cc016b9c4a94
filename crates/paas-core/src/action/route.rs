//! Access points. They are in force at once.

use std::collections::BTreeSet;

use async_trait::async_trait;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::deploy::hosts;
use super::{Action, Effect, Work};
use crate::engine::{EventKind, RoutesRecord, Stored};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::{AppSpec, RouteSpec, Validate};
use crate::name::{AppEnv, RouteName};
use crate::port::{ClusterPorts, DocumentKey, Permission, Revision, Scope};
use crate::tenancy::permissions;

/// The access points in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoutesView {
    /// How often they were changed.
    pub version: u64,
    /// The access points.
    pub routes: Vec<RouteSpec>,
    /// The commit that last changed them.
    pub revision: Revision,
}

pub(super) async fn load(work: &mut Work<'_>, at: &AppEnv) -> Result<Stored<RoutesRecord>> {
    let stored = work.get::<RoutesRecord>(&RoutesRecord::key_of(at)).await?;
    Ok(stored.unwrap_or_else(|| Stored::new(RoutesRecord { at: at.clone(), version: 0, routes: Vec::new() })))
}

/// Checks access points against the specification that they lead into.
fn check(spec: &AppSpec, routes: &[RouteSpec], faults: &mut Vec<Fault>) {
    let with_routes = AppSpec { routes: routes.to_vec(), ..spec.clone() };
    let mut all = Vec::new();
    with_routes.faults("", &mut all);
    faults.extend(all.into_iter().filter(|fault| fault.path.starts_with("routes")));
}

async fn change(
    work: &mut Work<'_>,
    at: &AppEnv,
    edit: impl FnOnce(&mut Vec<RouteSpec>) -> Result<String>,
) -> Result<RoutesView> {
    let place = work.live_place(at).await?;
    let mut routes = load(work, at).await?;
    let before = routes.value.routes.clone();
    let message = edit(&mut routes.value.routes)?;
    let Some(spec) = &place.value.spec else {
        return Err(Error::new(
            ErrorKind::Conflict,
            "change the access points of an application without a release",
        )
        .with_context("application", at)
        .with_remedy("Deploy it first; access points lead to its components."));
    };
    let mut faults = Vec::new();
    check(spec, &routes.value.routes, &mut faults);
    if !faults.is_empty() {
        return Err(Error::invalid("change the access points", faults).with_context("application", at));
    }
    let env = work.env(&at.env_ref()).await?.value;
    let changed = &routes.value.routes;
    let brought = |ports: &ClusterPorts| hosts::of_routes(ports, at, &before, changed, changed);
    hosts::check(work, at, &env.targets, brought).await?;
    routes.value.version += 1;
    work.changes().update(&routes)?;
    work.event(EventKind::Routed, Scope::AppEnv(at.clone()), message);
    Ok(RoutesView { version: routes.value.version, routes: routes.value.routes, revision: Revision(0) })
}

/// What the three changes of access points have in common.
macro_rules! route_action {
    ($name:ident, $text:literal, $self:ident, $detail:expr, $edit:expr) => {
        #[async_trait]
        impl Action for $name {
            type Output = RoutesView;
            const NAME: &'static str = $text;
            const EFFECT: Effect = Effect::Change;

            fn permission(&self) -> Permission {
                permissions::ROUTE_WRITE
            }

            fn scope(&self) -> Scope {
                Scope::AppEnv(self.at.clone())
            }

            fn detail(&$self) -> Value {
                $detail
            }

            fn target(&self) -> Option<DocumentKey> {
                Some(RoutesRecord::key_of(&self.at))
            }

            fn committed(&self, output: &mut Self::Output, revision: Revision) {
                output.revision = revision;
            }

            async fn run(&$self, work: &mut Work<'_>) -> Result<Self::Output> {
                change(work, &$self.at, $edit).await
            }
        }
    };
}

/// Replaces all access points.
#[derive(Debug, Clone)]
pub struct SetRoutes {
    /// Where.
    pub at: AppEnv,
    /// The access points.
    pub routes: Vec<RouteSpec>,
}

route_action!(SetRoutes, "route.set", self, json!({ "routes": self.routes }), |routes| {
    routes.clone_from(&self.routes);
    Ok("the access points were replaced".to_owned())
});

/// Adds an access point, in place of the one of this name.
#[derive(Debug, Clone)]
pub struct AddRoute {
    /// Where.
    pub at: AppEnv,
    /// The access point.
    pub route: RouteSpec,
}

route_action!(AddRoute, "route.add", self, json!({ "route": self.route }), |routes| {
    routes.retain(|route| route.name != self.route.name);
    routes.push(self.route.clone());
    Ok(format!("access point {} was added", self.route.name))
});

/// Removes an access point.
#[derive(Debug, Clone)]
pub struct RemoveRoute {
    /// Where.
    pub at: AppEnv,
    /// Its name.
    pub route: RouteName,
}

route_action!(RemoveRoute, "route.remove", self, json!({ "route": self.route }), |routes| {
    let before = routes.len();
    routes.retain(|route| route.name != self.route);
    if routes.len() == before {
        return Err(Error::not_found("access point", &self.route).with_context("application", &self.at));
    }
    Ok(format!("access point {} was removed", self.route))
});

/// Shows the access points in force.
#[derive(Debug, Clone)]
pub struct GetRoutes {
    /// Where.
    pub at: AppEnv,
}

#[async_trait]
impl Action for GetRoutes {
    type Output = RoutesView;
    const NAME: &'static str = "route.get";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::APP_READ
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        work.place(&self.at).await?;
        let routes = load(work, &self.at).await?;
        Ok(RoutesView {
            version: routes.value.version,
            revision: routes.modified,
            routes: routes.value.routes,
        })
    }
}

/// The access points in force once a release with the specification `to` takes the place of one with `from`: what the
/// specifications differ in is applied to those in force now, so that access points added by hand survive releases.
/// What leads to a component or port that `to` does not have is left out.
pub(crate) fn merged(live: &[RouteSpec], from: Option<&AppSpec>, to: &AppSpec) -> Vec<RouteSpec> {
    let before =
        |name: &RouteName| from.and_then(|spec| spec.routes.iter().find(|route| route.name == *name));
    let declared: BTreeSet<&RouteName> = to.routes.iter().map(|route| &route.name).collect();
    let mut routes: Vec<RouteSpec> = live
        .iter()
        .filter(|route| before(&route.name).is_none() || declared.contains(&route.name))
        .cloned()
        .collect();
    for route in &to.routes {
        if before(&route.name) == Some(route) {
            continue;
        }
        match routes.iter_mut().find(|existing| existing.name == route.name) {
            Some(existing) => existing.clone_from(route),
            None => routes.push(route.clone()),
        }
    }
    routes.retain(|route| leads_somewhere(route, to));
    routes
}

fn leads_somewhere(route: &RouteSpec, spec: &AppSpec) -> bool {
    spec.components.iter().filter(|component| component.name == route.component).any(|component| match &route
        .port
    {
        Some(name) => component.ports.iter().any(|port| port.name == *name),
        None => !component.ports.is_empty(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(routes: &[(&str, &str)]) -> AppSpec {
        let component = |name: &str| {
            serde_json::from_value(
                json!({ "name": name, "image": "x", "ports": [{ "name": "http", "number": 80 }] }),
            )
            .unwrap()
        };
        AppSpec {
            components: vec![component("web"), component("api")],
            routes: routes.iter().map(|(name, host)| route(name, host)).collect(),
            strategy: None,
        }
    }

    fn route(name: &str, host: &str) -> RouteSpec {
        serde_json::from_value(json!({ "name": name, "host": host, "component": "web" })).unwrap()
    }

    #[test]
    fn access_points_added_by_hand_survive_and_declared_changes_apply() {
        let from = spec(&[("main", "a.example"), ("old", "old.example")]);
        let live =
            [route("main", "changed.example"), route("old", "old.example"), route("hand", "hand.example")];
        let same = merged(&live, Some(&from), &spec(&[("main", "a.example"), ("old", "old.example")]));
        assert_eq!(same, live, "equal declarations change nothing");
        let changed = merged(&live, Some(&from), &spec(&[("main", "b.example"), ("new", "new.example")]));
        let hosts: Vec<_> = changed.iter().filter_map(|route| route.host.as_deref()).collect();
        assert_eq!(hosts, ["b.example", "hand.example", "new.example"]);
        let without = AppSpec { components: Vec::new(), ..spec(&[]) };
        assert_eq!(merged(&live, Some(&from), &without), [], "nothing leads to what is gone");
    }

    #[test]
    fn the_first_release_takes_its_access_points_as_declared() {
        let to = spec(&[("main", "a.example")]);
        assert_eq!(merged(&[], None, &to), to.routes);
    }
}
