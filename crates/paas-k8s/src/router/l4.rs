//! Access points where there is no gateway: a service of the kind `LoadBalancer` for each TCP port.
//!
//! It leads to what the component's own service leads to, so shares follow the counts of instances.

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use paas_core::{AppEnv, Error, ErrorKind, Result};

use super::places::bindings_of;
use crate::cluster::{Shared, exactly};
use crate::error::{failed, is_conflict, is_missing};
use crate::mirror::Source;
use crate::runtime::ATTEMPTS;
use crate::scheme::{component_name, roles, routes_name};

const OPERATION: &str = "write an application's access points";

impl Shared {
    /// Writes the services until they follow from what is declared.
    pub(super) async fn write_l4(&self, at: &AppEnv) -> Result<()> {
        for source in std::iter::once(Source::Mirror).chain([Source::Server; ATTEMPTS]) {
            if self.settle_l4(source, at).await? {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Unavailable, OPERATION)
            .with_context("application", at)
            .with_source("somebody else changed its access points again and again"))
    }

    /// Writes the services; true if there was nothing to write. Whoever writes looks again: what was written may follow from
    /// declarations that somebody has changed since they were read.
    async fn settle_l4(&self, source: Source, at: &AppEnv) -> Result<bool> {
        let error = |error| failed(OPERATION, error).with_context("application", at);
        let namespace = self.namespace(&at.env_ref());
        let map = self.get::<ConfigMap>(source, &namespace, &routes_name(at)).await.map_err(error)?;
        let bindings = map.as_deref().map(bindings_of).unwrap_or_default();
        let mut wanted = Vec::new();
        for route in &bindings {
            let name = component_name(&route.track.component);
            let component = self.get::<Service>(source, &namespace, &name).await.map_err(error)?;
            let selector = component.and_then(|it| it.spec.as_ref()?.selector.clone());
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
        let labels = self.labels_of_app(at, roles::ROUTES);
        let found = self.list::<Service>(source, &namespace, &labels).await.map_err(error)?;
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
                if source == Source::Mirror {
                    return Ok(false);
                }
                self.declare(OPERATION, service.clone()).await?;
            }
        }
        for old in found.iter().filter(|old| !wanted.iter().any(|it| it.metadata.name == old.metadata.name)) {
            settled = false;
            if source == Source::Mirror {
                return Ok(false);
            }
            let name = old.metadata.name.clone().unwrap_or_default();
            match self.api::<Service>(&namespace).delete(&name, &exactly(old.metadata.clone())).await {
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
