//! The access points of an application: declared in a config map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use paas_core::port::{Epoch, HostPath, RouteBinding};
use paas_core::{AppEnv, Error, ErrorKind, Fault, Result};

use crate::cluster::{Shared, meets};
use crate::error::{failed, foreign, is_conflict, is_missing};
use crate::mirror::Source;
use crate::runtime::ATTEMPTS;
use crate::scheme::{keys, roles, routes_name};

const FIELD: &str = "routes.json";
const OPERATION: &str = "apply access points";

impl Shared {
    pub(super) async fn apply_bindings(
        &self,
        epoch: Epoch,
        at: &AppEnv,
        routes: &[RouteBinding],
    ) -> Result<()> {
        self.check_places(at, routes).await?;
        let error = |error| failed(OPERATION, error).with_context("application", at);
        let name = routes_name(at);
        let text = serde_json::to_string(routes)
            .map_err(|source| Error::new(ErrorKind::Internal, OPERATION).with_source(source))?;
        for _ in 0..ATTEMPTS {
            let namespace = self.namespace(&at.env_ref());
            let api: Api<ConfigMap> = self.api(&namespace);
            let existing = api.get_opt(&name).await.map_err(error)?;
            if let Some(existing) = &existing {
                if !self.installation().owns(&existing.metadata) {
                    return Err(foreign(OPERATION, "ConfigMap", &namespace, &name));
                }
                self.fence(OPERATION, &existing.metadata, epoch)?;
            } else if routes.is_empty() {
                return Ok(());
            }
            let before = existing.as_ref().and_then(|it| it.data.as_ref()?.get(FIELD));
            let same_epoch = existing.as_ref().is_some_and(|it| self.epoch_of(&it.metadata) == epoch);
            if before == Some(&text) && same_epoch {
                return self.write_routes(at).await;
            }
            let namespace = self.space_for(&at.env_ref()).await?;
            let mut labels = self.installation().app_labels(at);
            labels.insert(self.installation().key(keys::ROLE), roles::ROUTES.to_owned());
            let mut config_map = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    namespace: Some(namespace),
                    labels: Some(labels),
                    annotations: Some(BTreeMap::from([self.builder().epoch(epoch)])),
                    ..ObjectMeta::default()
                },
                data: Some(BTreeMap::from([(FIELD.to_owned(), text.clone())])),
                ..ConfigMap::default()
            };
            meets(&mut config_map.metadata, existing.as_ref().map(|it| &it.metadata));
            match self.apply(&api, &name, &config_map).await {
                Ok(_) => {
                    self.introductions.declared(at);
                    for route in routes {
                        self.confirmations.changed(&route.track);
                    }
                    return self.write_routes(at).await;
                }
                Err(refused) if is_conflict(&refused) => {}
                Err(refused) if is_missing(&refused) => self.forget_space(&at.env_ref()),
                Err(refused) => return Err(error(refused)),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, OPERATION)
            .with_context("application", at)
            .with_source("somebody else changed its access points again and again"))
    }

    pub(super) async fn observe_bindings(&self, at: &AppEnv) -> Result<Vec<RouteBinding>> {
        let error = |error| failed("observe access points", error).with_context("application", at);
        let namespace = self.namespace(&at.env_ref());
        let found =
            self.get::<ConfigMap>(Source::Mirror, &namespace, &routes_name(at)).await.map_err(error)?;
        let found = found.filter(|found| self.installation().owns(&found.metadata));
        Ok(found.as_deref().map(bindings_of).unwrap_or_default())
    }

    /// Refuses what the cluster cannot do, what is said twice, and what another application has.
    async fn check_places(&self, at: &AppEnv, routes: &[RouteBinding]) -> Result<()> {
        let mut faults = Vec::new();
        let mut said_twice = Vec::new();
        let mut places = BTreeSet::new();
        for (index, route) in routes.iter().enumerate() {
            let mut fault = |message: &str| faults.push(Fault::new(format!("routes[{index}]"), message));
            if route.tcp_port.is_none() && !self.features.http_routes {
                fault("without a gateway only TCP ports can be access points; configure a gateway");
            }
            if route.tcp_port.is_some() && self.features.http_routes && !self.features.tcp_routes {
                fault("the cluster has no TCPRoute; install the experimental channel of the Gateway API");
            }
            if !places.insert(self.place(at, route)) {
                let message = "its place is taken by another access point of the same application";
                said_twice.push(Fault::new(format!("routes[{index}]"), message));
            }
        }
        if !said_twice.is_empty() {
            return Err(Error::invalid(OPERATION, said_twice).with_context("application", at));
        }
        if !faults.is_empty() {
            return Err(Error::new(ErrorKind::Unsupported, OPERATION)
                .with_context("application", at)
                .with_faults(faults));
        }
        if routes.is_empty() {
            return Ok(());
        }
        let taken = |place: String, owner: &AppEnv| {
            Error::new(ErrorKind::Conflict, OPERATION)
                .with_context("application", at)
                .with_context("place", place)
                .with_context("owner", owner)
                .with_source("another application has this place")
        };
        for (owner, bindings) in self.bindings_of_others(Source::Server, at).await? {
            for other in &bindings {
                let place = self.place(&owner, other);
                if places.contains(&place) {
                    return Err(taken(place, &owner));
                }
            }
        }
        let hosts: BTreeSet<HostPath> = routes.iter().filter_map(|route| self.host_path(at, route)).collect();
        let others = self.hosts_of_others(OPERATION, at).await?;
        match others.iter().find(|(host, _)| hosts.contains(host)) {
            Some((host, owner)) => Err(taken(host.to_string(), owner)),
            None => Ok(()),
        }
    }

    /// Which other application has each host and path, by an access point or in its manifests.
    pub(crate) async fn holders(&self, at: &AppEnv, wanted: &[HostPath]) -> Result<Vec<Option<AppEnv>>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut taken = self.hosts_of_others("find out who has a host", at).await?;
        for (owner, bindings) in self.bindings_of_others(Source::Mirror, at).await? {
            let hosts = bindings.iter().filter_map(|route| self.host_path(&owner, route));
            taken.extend(hosts.map(|host| (host, owner.clone())));
        }
        Ok(wanted.iter().map(|host| taken.get(host).cloned()).collect())
    }

    /// The access points of every other application.
    async fn bindings_of_others(
        &self,
        source: Source,
        at: &AppEnv,
    ) -> Result<Vec<(AppEnv, Vec<RouteBinding>)>> {
        let all = self.list_everywhere::<ConfigMap>(source, &self.labels_of(roles::ROUTES)).await;
        let all = all.map_err(|error| failed(OPERATION, error).with_context("application", at))?;
        let of = |map: &Arc<ConfigMap>| {
            let owner = self.installation().app_of(map.metadata.labels.as_ref()?)?;
            (owner != *at).then(|| (owner, bindings_of(map)))
        };
        Ok(all.iter().filter_map(of).collect())
    }

    fn host_path(&self, at: &AppEnv, route: &RouteBinding) -> Option<HostPath> {
        let host = route.host.clone().unwrap_or_else(|| self.default_host(at));
        route.tcp_port.is_none().then(|| HostPath::new(host, &route.path))
    }

    /// What only one application can have: a host and path, or a port.
    fn place(&self, at: &AppEnv, route: &RouteBinding) -> String {
        match route.tcp_port {
            Some(port) if self.features.http_routes => format!("port {port}"),
            // Without a gateway every access point has an address of its own.
            Some(port) => format!("port {port} of {at}/{}", route.name),
            None => {
                let host = route.host.clone().unwrap_or_else(|| self.default_host(at));
                format!("{host}{}", route.path)
            }
        }
    }
}

/// The access points that a config map declares.
pub(super) fn bindings_of(config_map: &ConfigMap) -> Vec<RouteBinding> {
    let text = config_map.data.as_ref().and_then(|data| data.get(FIELD));
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
