//! What a template names that lies outside of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use paas_core::model::{Port, ResolvedValue, Template};
use paas_core::{ComponentName, Result, TrackKey};

use crate::build::{Inputs, Selection, component_service};
use crate::cluster::Shared;
use crate::error::failed;
use crate::scheme::component_name;

impl Shared {
    /// What a template names that lies outside of it: the values of secrets, the addresses of components.
    pub(crate) async fn inputs(
        &self,
        track: &TrackKey,
        template: &Template,
        more: &BTreeMap<String, ResolvedValue>,
    ) -> Result<Inputs> {
        let mut inputs = Inputs::default();
        let files = template.files.iter().map(|file| &file.content);
        for value in template.env.values().chain(more.values()).chain(files) {
            if let ResolvedValue::Secret(secret) = value
                && !inputs.secrets.contains_key(secret)
            {
                let revealed = self.secrets.reveal(&template.component.at, secret).await?;
                inputs.secrets.insert(secret.clone(), revealed);
            }
        }
        let mut called: BTreeMap<ComponentName, Vec<_>> = BTreeMap::new();
        for call in &template.calls {
            called.entry(call.component.component.clone()).or_default().push(call);
        }
        for (name, calls) in called {
            let Some(first) = calls.first() else { continue };
            let other = first.component.on(track.cluster.clone());
            let ports: Vec<_> = calls.iter().map(|call| call.port.clone()).collect();
            inputs.hosts.insert(name, self.address_of(&other, &ports).await?);
        }
        Ok(inputs)
    }

    /// The address of a component's service, which is made if it does not exist yet: it then leads to nobody, until its
    /// component's traffic is applied. It stays the same as long as the component lives.
    async fn address_of(&self, track: &TrackKey, ports: &[Port]) -> Result<String> {
        const OPERATION: &str = "make a component's service";
        let error = |error| failed(OPERATION, error).with_context("component", &track.component);
        let namespace = self.space_for(&track.component.at.env_ref()).await?;
        let api: Api<Service> = self.api(&namespace);
        let name = component_name(&track.component);
        let address = |service: Service| service.spec.and_then(|spec| spec.cluster_ip).unwrap_or_default();
        if let Some(found) = api.get_opt(&name).await.map_err(error)? {
            self.is_ours(OPERATION, "Service", &found.metadata)?;
            return Ok(address(found));
        }
        let service = component_service(&self.builder(), track, ports, &Selection::Nobody);
        match self.apply(&api, &name, &service).await {
            Ok(made) => Ok(address(made)),
            Err(refused) => Err(error(refused)),
        }
    }
}
