//! A config made ready for use: what each request is looked up in. It never changes; a new config makes a new one.

mod routes;
mod service;

use std::{collections::HashMap, sync::Arc};

use crate::{
    config::{
        Config, Instance as InstanceConfig, InstanceId, Limits, ListenerId, PathPrefix, Protocol, Serves,
    },
    handover,
    stats::{Counters, Key, Registry, Source},
    upstream::Instance,
};

pub(crate) use routes::Routes;
pub(crate) use service::{Choice, Chosen, Member, Service};

/// Everything that the config says about requests.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) limits: Limits,
    pub(crate) routes: Routes,
    listeners: HashMap<ListenerId, ListenerTable>,
    dependencies: HashMap<InstanceId, HashMap<handover::Listener, Arc<Target>>>,
    services: HashMap<crate::config::ServiceId, Arc<Service>>,
}

/// What a listener of the world does.
#[derive(Debug, Clone)]
pub(crate) enum ListenerTable {
    Http {
        trust_forwarded: bool,
        /// Of requests that no route takes.
        unrouted: Arc<Counters>,
    },
    Tcp(Arc<Target>),
}

/// A port of a service, as reached from somewhere.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) service: Arc<Service>,
    pub(crate) protocol: Protocol,
    /// The prefix to be taken off.
    pub(crate) strip: Option<PathPrefix>,
    port: crate::config::PortName,
    number: u16,
    /// One for each revision of the service, in its order.
    revisions: Vec<Arc<Counters>>,
    /// Of requests that reach no revision.
    unserved: Arc<Counters>,
}

impl Target {
    /// The number of the port at an instance.
    pub(crate) fn number(&self, member: &Member) -> u16 {
        member.ports.get(&self.port).copied().unwrap_or(self.number)
    }

    /// The counters of a revision of the service, or of none.
    pub(crate) fn counters(&self, revision: Option<usize>) -> &Arc<Counters> {
        revision.and_then(|revision| self.revisions.get(revision)).unwrap_or(&self.unserved)
    }
}

impl Table {
    /// Makes the table of a valid config. Turns go on where those of the table before stood.
    pub(crate) fn new(
        config: &Config,
        instances: &HashMap<InstanceId, Arc<Instance>>,
        before: Option<&Self>,
        registry: &Registry,
    ) -> Self {
        let mut ready: HashMap<&str, Vec<(&InstanceConfig, &Arc<Instance>)>> = HashMap::new();
        for instance in config.instances.iter().filter(|instance| instance.ready && !instance.draining) {
            if let Some(live) = instances.get(&instance.id) {
                ready.entry(instance.service.as_str()).or_default().push((instance, live));
            }
        }
        let services = config
            .services
            .iter()
            .map(|service| {
                let ready = ready.remove(service.id.as_str()).unwrap_or_default();
                let before = before.and_then(|before| before.services.get(&service.id));
                (service.id.clone(), Arc::new(Service::new(service, &ready, before.map(Arc::as_ref))))
            })
            .collect();
        let mut table = Self {
            limits: config.limits.clone(),
            routes: Routes::default(),
            listeners: HashMap::new(),
            dependencies: HashMap::new(),
            services,
        };
        let targets = Targets { config, registry, services: table.services.clone() };
        for listener in &config.listeners {
            let source = Source::Listener(listener.id.clone());
            let what = match &listener.serves {
                Serves::Http { trust_forwarded } => {
                    let key = Key { source, service: None, revision: None };
                    let unrouted = registry.counters(key);
                    Some(ListenerTable::Http { trust_forwarded: *trust_forwarded, unrouted })
                }
                Serves::Tcp { service, port } => {
                    targets.target(&source, service, port, None).map(ListenerTable::Tcp)
                }
            };
            table.listeners.extend(what.map(|what| (listener.id.clone(), what)));
        }
        for route in &config.routes {
            let strip = route.strip_prefix.then(|| route.path.clone());
            let source = Source::Route(route.id.clone());
            if let Some(target) = targets.target(&source, &route.service, &route.port, strip) {
                table.routes.add(&route.host, route.path.clone(), target);
            }
        }
        table.routes.sort();
        for caller in &config.callers {
            let dependencies = caller
                .dependencies
                .iter()
                .filter_map(|dependency| {
                    let source = Source::Component(caller.component.clone());
                    let target = targets.target(&source, &dependency.service, &dependency.port, None)?;
                    Some((dependency.listener.clone(), target))
                })
                .collect();
            table.dependencies.insert(caller.instance.clone(), dependencies);
        }
        table
    }

    /// A table of nothing.
    pub(crate) fn empty() -> Self {
        Self {
            limits: Limits::default(),
            routes: Routes::default(),
            listeners: HashMap::new(),
            dependencies: HashMap::new(),
            services: HashMap::new(),
        }
    }

    pub(crate) fn listener(&self, id: &ListenerId) -> Option<&ListenerTable> {
        self.listeners.get(id)
    }

    pub(crate) fn dependency(
        &self,
        caller: &InstanceId,
        listener: &handover::Listener,
    ) -> Option<&Arc<Target>> {
        self.dependencies.get(caller)?.get(listener)
    }
}

struct Targets<'a> {
    config: &'a Config,
    registry: &'a Registry,
    services: HashMap<crate::config::ServiceId, Arc<Service>>,
}

impl Targets<'_> {
    /// `None` only if the config is not valid.
    fn target(
        &self,
        source: &Source,
        service: &crate::config::ServiceId,
        port: &crate::config::PortName,
        strip: Option<PathPrefix>,
    ) -> Option<Arc<Target>> {
        let live = self.services.get(service)?.clone();
        let found = live.ports.iter().find(|candidate| candidate.name == *port)?.clone();
        debug_assert!(self.config.services.iter().any(|candidate| candidate.id == *service));
        let counters = |revision| {
            let (source, service) = (source.clone(), Some(service.clone()));
            self.registry.counters(Key { source, service, revision })
        };
        let revisions = live.revisions().map(|revision| counters(Some(revision.clone()))).collect();
        Some(Arc::new(Target {
            protocol: found.protocol,
            strip,
            port: found.name,
            number: found.number,
            revisions,
            unserved: counters(None),
            service: live,
        }))
    }
}
