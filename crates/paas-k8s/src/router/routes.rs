//! The routes of the Gateway API, derived from what is declared.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use paas_core::model::{Port, RevisionId};
use paas_core::port::{RouteBinding, RouterEvent, ServiceState, ServiceTraffic, SetKey};
use paas_core::{AppEnv, Error, ErrorKind, Result, TrackKey};

use super::introduce::Route;
use super::places::bindings_of;
use crate::build::{NOBODY, nobody_service};
use crate::cluster::{Shared, exactly, meets};
use crate::error::{failed, foreign, is_conflict, is_missing};
use crate::gateway_api::{
    BackendRef, Gateway, HTTPRoute, HttpMatch, HttpRouteSpec, HttpRule, ParentRef, PathMatch, TCPRoute,
    TcpRouteSpec, TcpRule,
};
use crate::mirror::{Labels, Source};
use crate::options::GatewayOptions;
use crate::runtime::ATTEMPTS;
use crate::runtime::instance::is_ready;
use crate::scheme::{keys, roles, route_name, routes_name, set_name};

const OPERATION: &str = "write an application's routes";

/// What an application's routes are derived from.
struct Declared {
    bindings: Vec<RouteBinding>,
    traffic: BTreeMap<TrackKey, ServiceTraffic>,
    /// The revisions that have a ready instance, for tracks where it matters.
    ready: BTreeMap<TrackKey, BTreeSet<RevisionId>>,
    /// The revisions that have a set, whole, and so a service.
    sets: BTreeMap<TrackKey, BTreeSet<RevisionId>>,
}

impl Shared {
    /// Writes the routes of an application as they follow from what is declared, until they do, or until the gateway has to
    /// know a service before it is given its share. Equal routes are not written: whether they are equal the mirror tells,
    /// what is written follows from what the API server says.
    pub(super) async fn write_routes(&self, at: &AppEnv) -> Result<()> {
        // One at a time: what one has read would be old when another has written, and a route be made that is to go.
        let _turn = self.turns.of(at).await;
        let Some(gateway) = &self.options.gateway else { return self.write_l4(at).await };
        for source in std::iter::once(Source::Mirror).chain([Source::Server; ATTEMPTS]) {
            let declared = self.declared(source, at).await?;
            let leads_nowhere = self.ensure_nobody(source, at, &declared).await?;
            let http: Vec<HTTPRoute> = declared
                .bindings
                .iter()
                .filter(|route| route.tcp_port.is_none())
                .map(|route| self.http_route(at, gateway, route, &declared))
                .collect();
            let mut look = self.write_kind(source, at, gateway, http).await?;
            if self.features.tcp_routes {
                let mut tcp = Vec::new();
                for route in declared.bindings.iter().filter(|route| route.tcp_port.is_some()) {
                    let listener = self.listener(gateway, route.tcp_port.unwrap_or_default()).await?;
                    tcp.push(self.tcp_route(at, gateway, route, &declared, &listener));
                }
                look |= self.write_kind(source, at, gateway, tcp).await?;
            }
            if !look.wrote && leads_nowhere {
                if self.introductions.written(at, !look.holds) && !look.holds {
                    for track in declared.traffic.into_keys() {
                        self.events.tell_router(RouterEvent::Service(track));
                    }
                }
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Unavailable, OPERATION)
            .with_context("application", at)
            .with_source("somebody else changed its routes again and again"))
    }

    async fn declared(&self, source: Source, at: &AppEnv) -> Result<Declared> {
        let error = |error| failed(OPERATION, error).with_context("application", at);
        let namespace = self.namespace(&at.env_ref());
        let routes = routes_name(at);
        let (service_labels, set_labels) =
            (self.labels_of_app(at, roles::SERVICE), self.labels_of_app(at, roles::SET));
        let (map, services) = futures::join!(
            self.get::<ConfigMap>(source, &namespace, &routes),
            self.list::<Service>(source, &namespace, &service_labels)
        );
        let map = map.map_err(error)?.filter(|map| self.installation().owns(&map.metadata));
        let bindings = map.as_deref().map(bindings_of).unwrap_or_default();
        let mut traffic = BTreeMap::new();
        for service in services.map_err(error)? {
            if let Some(it) = self.traffic_of(&service.metadata) {
                traffic.insert(it.track.clone(), it);
            }
        }
        let mut ready: BTreeMap<TrackKey, BTreeSet<RevisionId>> = BTreeMap::new();
        let shares = |it: &ServiceTraffic| it.backends.iter().filter(|it| it.weight > 0).count() > 1;
        if bindings.iter().any(|route| traffic.get(&route.track).is_some_and(shares)) {
            let labels = self.labels_of_app(at, roles::INSTANCE);
            for pod in self.list::<Pod>(source, &namespace, &labels).await.map_err(error)? {
                let labels = pod.metadata.labels.clone().unwrap_or_default();
                if let (true, Some(track), Some(revision)) = (
                    is_ready(&pod),
                    self.installation().track_of(&labels),
                    self.installation().read(&labels, keys::REVISION),
                ) {
                    ready.entry(track).or_default().insert(revision);
                }
            }
        }
        let sets = if bindings.is_empty() {
            BTreeMap::new()
        } else {
            let found = self.list::<Deployment>(source, &namespace, &set_labels).await.map_err(error)?;
            self.whole_sets(found.iter().map(|it| &it.metadata))
        };
        Ok(Declared { bindings, traffic, ready, sets })
    }

    /// The labels of an application's objects in one role.
    pub(super) fn labels_of_app(&self, at: &AppEnv, role: &str) -> Labels {
        let installation = self.installation();
        Labels::from([
            (installation.key(keys::INSTALLATION), installation.id().to_owned()),
            (installation.key(keys::APP), at.app.to_string()),
            (installation.key(keys::ROLE), role.to_owned()),
        ])
    }

    /// The labels of every application's objects in one role.
    pub(crate) fn labels_of(&self, role: &str) -> Labels {
        let installation = self.installation();
        Labels::from([
            (installation.key(keys::INSTALLATION), installation.id().to_owned()),
            (installation.key(keys::ROLE), role.to_owned()),
        ])
    }

    fn whole_sets<'a>(
        &self,
        deployments: impl Iterator<Item = &'a ObjectMeta>,
    ) -> BTreeMap<TrackKey, BTreeSet<RevisionId>> {
        let mut sets: BTreeMap<TrackKey, BTreeSet<RevisionId>> = BTreeMap::new();
        for meta in deployments.filter(|it| it.deletion_timestamp.is_none() && !self.is_preparing(it)) {
            let Some(labels) = &meta.labels else { continue };
            let track = self.installation().track_of(labels);
            if let (Some(track), Some(revision)) = (track, self.installation().read(labels, keys::REVISION)) {
                sets.entry(track).or_default().insert(revision);
            }
        }
        sets
    }

    /// The service that nobody is behind, with every port that a route may name; false if that has to be looked at again.
    async fn ensure_nobody(&self, source: Source, at: &AppEnv, declared: &Declared) -> Result<bool> {
        if declared.bindings.is_empty() {
            return Ok(true);
        }
        let namespace = self.namespace(&at.env_ref());
        let api: Api<Service> = self.api(&namespace);
        let error = |error| failed(OPERATION, error).with_context("application", at);
        let wanted: BTreeSet<u16> = declared.bindings.iter().map(|route| route.port.number).collect();
        let existing = self.get::<Service>(source, &namespace, NOBODY).await.map_err(error)?;
        let ports = existing.as_ref().and_then(|it| it.spec.as_ref()?.ports.clone()).unwrap_or_default();
        let have: BTreeSet<u16> = ports.iter().filter_map(|it| u16::try_from(it.port).ok()).collect();
        if wanted.is_subset(&have) {
            return Ok(true);
        }
        if source == Source::Mirror {
            return Ok(false);
        }
        let ports: Vec<Port> = have
            .union(&wanted)
            .filter_map(|number| {
                let name = format!("port-{number}").parse().ok()?;
                Some(Port { name, number: *number, protocol: paas_core::model::Protocol::Tcp })
            })
            .collect();
        let mut service = nobody_service(&self.builder(), &at.env_ref(), &ports);
        if let Some(existing) = existing {
            if !self.installation().owns(&existing.metadata) {
                return Err(foreign(OPERATION, "Service", &namespace, NOBODY));
            }
            meets(&mut service.metadata, Some(&existing.metadata));
        }
        match self.apply(&api, NOBODY, &service).await {
            Ok(_) => Ok(true),
            Err(refused) if is_conflict(&refused) => Ok(false),
            Err(refused) => Err(error(refused)),
        }
    }

    fn http_route(
        &self,
        at: &AppEnv,
        gateway: &GatewayOptions,
        route: &RouteBinding,
        declared: &Declared,
    ) -> HTTPRoute {
        let host = route.host.clone().unwrap_or_else(|| self.default_host(at));
        let path = PathMatch { kind: "PathPrefix".to_owned(), value: route.path.clone() };
        let spec = HttpRouteSpec {
            parent_refs: vec![parent(gateway, None)],
            hostnames: vec![host],
            rules: vec![HttpRule {
                matches: vec![HttpMatch { path: Some(path) }],
                backend_refs: backends(route, declared),
            }],
        };
        HTTPRoute::new(self.route_metadata(at, route), spec)
    }

    fn tcp_route(
        &self,
        at: &AppEnv,
        gateway: &GatewayOptions,
        route: &RouteBinding,
        declared: &Declared,
        listener: &str,
    ) -> TCPRoute {
        let spec = TcpRouteSpec {
            parent_refs: vec![parent(gateway, Some(listener.to_owned()))],
            rules: vec![TcpRule { backend_refs: backends(route, declared) }],
        };
        TCPRoute::new(self.route_metadata(at, route), spec)
    }

    pub(super) fn route_metadata(&self, at: &AppEnv, route: &RouteBinding) -> ObjectMeta {
        let installation = self.installation();
        let mut labels = installation.track_labels(&route.track);
        labels.insert(installation.key(keys::ROLE), roles::ROUTES.to_owned());
        ObjectMeta {
            name: Some(route_name(at, route.name.as_str())),
            namespace: Some(self.namespace(&at.env_ref())),
            labels: Some(labels),
            ..ObjectMeta::default()
        }
    }

    /// The listener of a TCP port.
    async fn listener(&self, gateway: &GatewayOptions, port: u16) -> Result<String> {
        let api: Api<Gateway> = self.api(&gateway.namespace);
        let found = api.get(&gateway.name).await.map_err(|error| {
            failed(OPERATION, error)
                .with_context("gateway", format!("{}/{}", gateway.namespace, gateway.name))
        })?;
        let listener = found.spec.listeners.iter().find(|it| it.port == port && it.protocol == "TCP");
        listener.map(|it| it.name.clone()).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, OPERATION)
                .with_context("gateway", format!("{}/{}", gateway.namespace, gateway.name))
                .with_context("port", port)
                .with_source("the gateway has no TCP listener on this port")
                .with_remedy("Add the listener to the gateway, or choose a port that it has.")
        })
    }

    /// Makes the routes of one kind equal to the wanted ones. Whoever writes looks again: what was written may follow from
    /// declarations that somebody has changed since they were read.
    async fn write_kind<K: Route>(
        &self,
        source: Source,
        at: &AppEnv,
        gateway: &GatewayOptions,
        wanted: Vec<K>,
    ) -> Result<Look> {
        let error = |error| failed(OPERATION, error).with_context("application", at);
        let namespace = self.namespace(&at.env_ref());
        let api: Api<K> = self.api(&namespace);
        let installation = self.installation();
        let labels = self.labels_of_app(at, roles::ROUTES);
        let found = self.list::<K>(source, &namespace, &labels).await.map_err(error)?;
        let name = |object: &K| object.meta().name.clone().unwrap_or_default();
        let mut look = Look::default();
        for mut object in wanted.iter().cloned() {
            let existing = found.iter().find(|it| name(it) == name(&object));
            if let Some(existing) = existing {
                look.holds |= self.introduce(at, gateway, &**existing, &mut object);
                if existing.declares_the_same(&object) {
                    continue;
                }
                if source == Source::Mirror {
                    look.wrote = true;
                    continue;
                }
                meets(object.meta_mut(), Some(existing.meta()));
            } else if source == Source::Mirror {
                look.wrote = true;
                continue;
            } else if let Some(found) = api.get_metadata_opt(&name(&object)).await.map_err(error)? {
                if !installation.owns(&found.metadata) {
                    let kind = <K as k8s_openapi::Resource>::KIND;
                    return Err(foreign(OPERATION, kind, &namespace, &name(&object)));
                }
                // It was made since the list was read, by another look at the same declarations.
                look.wrote = true;
                continue;
            }
            look.wrote = true;
            match self.apply(&api, &name(&object), &object).await {
                Err(refused) if !is_conflict(&refused) => return Err(error(refused)),
                _ => {}
            }
        }
        for old in found.iter().filter(|old| !wanted.iter().any(|it| name(it) == name(old))) {
            look.wrote = true;
            if source == Source::Mirror {
                continue;
            }
            self.introductions.forget(old.meta().uid.as_deref().unwrap_or_default());
            match api.delete(&name(old), &exactly(old.meta().clone())).await {
                Err(refused) if !is_missing(&refused) && !is_conflict(&refused) => {
                    return Err(error(refused));
                }
                _ => {}
            }
        }
        Ok(look)
    }
}

/// What came of a look at the routes.
#[derive(Debug, Default, Clone, Copy)]
struct Look {
    /// Something was written, or has to be looked at again.
    wrote: bool,
    /// A service waits for its share.
    holds: bool,
}

impl std::ops::BitOrAssign for Look {
    fn bitor_assign(&mut self, other: Self) {
        self.wrote |= other.wrote;
        self.holds |= other.holds;
    }
}

fn parent(gateway: &GatewayOptions, listener: Option<String>) -> ParentRef {
    ParentRef {
        group: crate::gateway_api::GROUP.to_owned(),
        kind: "Gateway".to_owned(),
        namespace: Some(gateway.namespace.clone()),
        name: gateway.name.clone(),
        section_name: listener,
    }
}

/// The shares of a route: those declared, without the ones of revisions that have no ready instance while others have.
/// Where nobody answers, the service that nobody is behind does, so that the gateway says 503. Every other set of the track is
/// named without a share: the gateway knows its service by the time that it is given one.
fn backends(route: &RouteBinding, declared: &Declared) -> Vec<BackendRef> {
    let reference = |name: String, weight: u32| BackendRef {
        group: String::new(),
        kind: "Service".to_owned(),
        name,
        port: route.port.number,
        weight,
    };
    let nobody = || vec![reference(NOBODY.to_owned(), 1)];
    let Some(traffic) = declared.traffic.get(&route.track) else { return nobody() };
    let total: u32 = traffic.backends.iter().map(|backend| backend.weight).sum();
    if traffic.state != ServiceState::Serving || total == 0 {
        return nobody();
    }
    let ready = declared.ready.get(&route.track);
    let serves = |revision: &RevisionId| ready.is_some_and(|ready| ready.contains(revision));
    let some_serve = traffic.backends.iter().any(|it| it.weight > 0 && serves(&it.revision));
    let share = |backend: &paas_core::port::Backend| {
        if some_serve && !serves(&backend.revision) { 0 } else { backend.weight }
    };
    let named = |revision: &RevisionId, weight: u32| {
        let set = SetKey { track: route.track.clone(), revision: revision.clone() };
        reference(set_name(&set), weight)
    };
    let sets = declared.sets.get(&route.track);
    // Where no instance more than declared may run, traffic is told of a revision before its set is made. A gateway refuses
    // a service that is not there, be it without a share.
    let is_there = |revision: &RevisionId| sets.is_some_and(|sets| sets.contains(revision));
    let shares = traffic.backends.iter().filter(|it| it.weight > 0 || is_there(&it.revision));
    let shares = shares.map(|backend| named(&backend.revision, share(backend)));
    let declared_one = |revision: &&RevisionId| traffic.backends.iter().any(|it| it.revision == **revision);
    let sets = sets.into_iter().flatten();
    let others = sets.filter(|revision| !declared_one(revision)).map(|revision| named(revision, 0));
    shares.chain(others).collect()
}
