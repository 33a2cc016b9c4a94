//! Access points where there is no gateway: a service of the kind `LoadBalancer` for each TCP port.
//!
//! It leads to what the component's own service leads to, so shares follow the counts of instances.

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::ListParams;
use paas_core::{AppEnv, Error, ErrorKind, Result};

use super::places::bindings_of;
use crate::cluster::{Shared, exactly};
use crate::error::{failed, is_conflict, is_missing};
use crate::runtime::ATTEMPTS;
use crate::scheme::{component_name, keys, roles, routes_name};

const OPERATION: &str = "write an application's access points";

impl Shared {
    /// Writes the services until they follow from what is declared.
    pub(super) async fn write_l4(&self, at: &AppEnv) -> Result<()> {
        for _ in 0..ATTEMPTS {
            if self.settle_l4(at).await? {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Unavailable, OPERATION)
            .with_context("application", at)
            .with_source("somebody else changed its access points again and again"))
    }

    /// Writes the services; true if there was nothing to write. Whoever writes looks again: what was written may follow from
    /// declarations that somebody has changed since they were read.
    async fn settle_l4(&self, at: &AppEnv) -> Result<bool> {
        let error = |error| failed(OPERATION, error).with_context("application", at);
        let namespace = self.namespace(&at.env_ref());
        let (maps, services): (Api<ConfigMap>, Api<Service>) = (self.api(&namespace), self.api(&namespace));
        let map = maps.get_opt(&routes_name(at)).await.map_err(error)?;
        let bindings = map.as_ref().map(bindings_of).unwrap_or_default();
        let mut wanted = Vec::new();
        for route in &bindings {
            let component = services.get_opt(&component_name(&route.track.component)).await.map_err(error)?;
            let selector = component.and_then(|it| it.spec?.selector);
            let metadata = self.route_metadata(at, route);
            let mut service = Service { metadata, ..Service::default() };
            let mut port = k8s_openapi::api::core::v1::ServicePort {
                name: Some(route.port.name.to_string()),
                port: i32::from(route.tcp_port.unwrap_or(route.port.number)),
                ..Default::default()
            };
            port.target_port = Some(IntOrString::Int(route.port.number.into()));
            port.protocol = Some("TCP".to_owned());
            service.spec = Some(k8s_openapi::api::core::v1::ServiceSpec {
                type_: Some("LoadBalancer".to_owned()),
                selector,
                ports: Some(vec![port]),
                ..Default::default()
            });
            wanted.push(service);
        }
        let installation = self.installation();
        let selector = format!(
            "{},{}={},{}={}",
            installation.selector(),
            installation.key(keys::APP),
            at.app,
            installation.key(keys::ROLE),
            roles::ROUTES
        );
        let found = services.list(&ListParams::default().labels(&selector)).await.map_err(error)?.items;
        let mut settled = true;
        for service in &wanted {
            let existing = found.iter().find(|it| it.metadata.name == service.metadata.name);
            let spec = |it: &Service| {
                let spec = it.spec.clone().unwrap_or_default();
                let ports: Vec<_> =
                    spec.ports.into_iter().flatten().map(|it| (it.port, it.target_port)).collect();
                (spec.selector, ports)
            };
            if existing.is_none_or(|existing| spec(existing) != spec(service)) {
                settled = false;
                self.declare(OPERATION, service.clone()).await?;
            }
        }
        for old in found.iter().filter(|old| !wanted.iter().any(|it| it.metadata.name == old.metadata.name)) {
            settled = false;
            let name = old.metadata.name.clone().unwrap_or_default();
            match services.delete(&name, &exactly(old.metadata.clone())).await {
                // Who changed it since looks, too.
                Err(refused) if !is_missing(&refused) && !is_conflict(&refused) => {
                    return Err(error(refused));
                }
                _ => {}
            }
        }
        Ok(settled)
    }
}
