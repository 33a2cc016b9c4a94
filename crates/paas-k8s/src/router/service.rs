//! The traffic of a track: declared in its component's service.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use paas_core::port::{Epoch, ServiceObservation, ServiceState, ServiceTraffic};
use paas_core::{Error, ErrorKind, Result, TrackKey};

use crate::build::{Selection, component_service};
use crate::cluster::{Shared, meets};
use crate::error::{failed, foreign, is_conflict, is_missing};
use crate::mirror::Source;
use crate::runtime::ATTEMPTS;
use crate::scheme::{component_name, keys};

impl Shared {
    pub(super) async fn apply_traffic(&self, epoch: Epoch, traffic: &ServiceTraffic) -> Result<()> {
        const OPERATION: &str = "apply traffic";
        let selection =
            self.selection(traffic).map_err(|error| error.with_context("track", &traffic.track))?;
        self.declare_traffic(OPERATION, epoch, &traffic.track, Some((traffic, selection))).await?;
        self.write_routes(&traffic.track.component.at).await
    }

    pub(super) async fn remove_traffic(&self, epoch: Epoch, track: &TrackKey) -> Result<()> {
        const OPERATION: &str = "remove traffic";
        self.declare_traffic(OPERATION, epoch, track, None).await?;
        self.write_routes(&track.component.at).await
    }

    /// Writes what is declared, whole and by one write. The service itself stays: other components have its address.
    async fn declare_traffic(
        &self,
        operation: &'static str,
        epoch: Epoch,
        track: &TrackKey,
        wanted: Option<(&ServiceTraffic, Selection)>,
    ) -> Result<()> {
        let at = track.component.at.env_ref();
        let error = |error| failed(operation, error).with_context("track", track);
        let name = component_name(&track.component);
        for _ in 0..ATTEMPTS {
            let namespace = if wanted.is_some() { self.space_for(&at).await? } else { self.namespace(&at) };
            let api: Api<Service> = self.api(&namespace);
            let existing = api.get_opt(&name).await.map_err(error)?;
            if let Some(existing) = &existing {
                if !self.installation().owns(&existing.metadata) {
                    return Err(foreign(operation, "Service", &namespace, &name));
                }
                self.fence(operation, &existing.metadata, epoch)?;
            }
            let before = existing.as_ref().and_then(|it| self.traffic_of(&it.metadata));
            let (traffic, selection) = match (&wanted, &existing) {
                (None, None) => return Ok(()),
                (None, Some(_)) if before.is_none() => return Ok(()),
                (None, Some(_)) => (None, Selection::Nobody),
                (Some((traffic, selection)), _) => (Some(*traffic), selection.clone()),
            };
            let same_epoch = existing.as_ref().is_some_and(|it| self.epoch_of(&it.metadata) == epoch);
            if before.is_some() && before.as_ref() == traffic && same_epoch {
                return Ok(());
            }
            let ports = traffic.map(|it| it.ports.clone()).or_else(|| before.map(|it| it.ports));
            let mut service =
                component_service(&self.builder(), track, &ports.unwrap_or_default(), &selection);
            let mut annotations = BTreeMap::from([self.builder().epoch(epoch)]);
            if let Some(traffic) = traffic {
                let text = serde_json::to_string(traffic)
                    .map_err(|source| Error::new(ErrorKind::Internal, operation).with_source(source))?;
                annotations.insert(self.installation().key(keys::TRAFFIC), text);
            }
            service.metadata.annotations = Some(annotations);
            meets(&mut service.metadata, existing.as_ref().map(|it| &it.metadata));
            match self.apply(&api, &name, &service).await {
                Ok(made) => {
                    self.note_traffic(track, &made.metadata);
                    self.confirmations.changed(track);
                    self.introductions.declared(&track.component.at);
                    return Ok(());
                }
                Err(refused) if is_conflict(&refused) => {}
                Err(refused) if is_missing(&refused) && wanted.is_none() => return Ok(()),
                Err(refused) if is_missing(&refused) => self.forget_space(&at),
                Err(refused) => return Err(error(refused)),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, operation)
            .with_context("track", track)
            .with_source("somebody else changed its service again and again"))
    }

    pub(super) async fn observe_traffic(&self, track: &TrackKey) -> Result<Option<ServiceObservation>> {
        let error = |error| failed("observe traffic", error).with_context("track", track);
        let namespace = self.namespace(&track.component.at.env_ref());
        let name = component_name(&track.component);
        let found = self.get::<Service>(Source::Mirror, &namespace, &name).await.map_err(error)?;
        let Some(found) = found.filter(|found| self.installation().owns(&found.metadata)) else {
            return Ok(None);
        };
        let Some(traffic) = self.traffic_of(&found.metadata) else { return Ok(None) };
        let confirmed = self.is_confirmed(&traffic).await?;
        let weights = traffic.backends.into_iter().map(|backend| (backend.revision, backend.weight));
        Ok(Some(ServiceObservation { weights: weights.collect(), state: traffic.state, confirmed }))
    }

    /// What a service's annotation declares.
    pub(super) fn traffic_of(&self, meta: &ObjectMeta) -> Option<ServiceTraffic> {
        serde_json::from_str(self.installation().annotation(meta, keys::TRAFFIC)?).ok()
    }

    /// Remembers whether several revisions share a track's requests: only then may a pod that is lost change its routes.
    pub(crate) fn note_traffic(&self, track: &TrackKey, meta: &ObjectMeta) {
        let traffic = self.traffic_of(meta);
        let shares = traffic.is_some_and(|it| it.backends.iter().filter(|it| it.weight > 0).count() > 1);
        let mut shared = Self::lock(&self.shared_traffic);
        if shares {
            shared.insert(track.clone());
        } else {
            shared.remove(track);
        }
    }

    /// Which instances the component's own service leads to.
    fn selection(&self, traffic: &ServiceTraffic) -> Result<Selection> {
        if traffic.state != ServiceState::Serving {
            return Ok(Selection::Nobody);
        }
        let shares: Vec<_> = traffic.backends.iter().filter(|backend| backend.weight > 0).collect();
        match shares.as_slice() {
            [] => Ok(Selection::Nobody),
            [one] => Ok(Selection::Revision(one.revision.clone())),
            // By counts every revision of the component would have a share.
            _ if !self.features.http_routes && shares.len() < traffic.backends.len() => {
                Err(Error::new(ErrorKind::Unsupported, "apply traffic")
                    .with_source(
                        "without a gateway, a revision without a share cannot run beside several with one",
                    )
                    .with_remedy("Configure a gateway for the cluster."))
            }
            _ => Ok(Selection::All),
        }
    }
}
