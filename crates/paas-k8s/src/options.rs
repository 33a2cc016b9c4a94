//! What the operator says about a cluster.

use std::time::Duration;

use paas_core::{Bytes, ClusterName, Cpu};

use crate::scheme::Installation;

/// How a cluster is used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KubernetesOptions {
    /// Whose objects they are.
    pub installation: Installation,
    /// The cluster's name on the platform.
    pub cluster: ClusterName,
    /// The gateway that access points attach to. Without one, traffic is divided by counts of instances behind one
    /// service, and only TCP ports can be access points.
    pub gateway: Option<GatewayOptions>,
    /// What volumes are made of. Without it, volumes are refused.
    pub volumes: Option<VolumeOptions>,
    /// What instances may do.
    pub security: SecurityLevel,
    /// The names of secrets in each namespace with the credentials of registries.
    pub image_pull_secrets: Vec<String>,
    /// The bounds of each environment's namespace.
    pub space: SpaceOptions,
    /// How long an instance that goes is still served before its stop signal: as long as it takes until every node and
    /// gateway knows that it goes. The component's own `drain_seconds` bounds it.
    pub settle: Duration,
    /// The registry in front of images whose name has none.
    pub default_registry: Option<String>,
}

impl KubernetesOptions {
    /// A cluster without a gateway and volumes, with restricted instances.
    pub fn new(installation: Installation, cluster: ClusterName) -> Self {
        Self {
            installation,
            cluster,
            gateway: None,
            volumes: None,
            security: SecurityLevel::default(),
            image_pull_secrets: Vec::new(),
            space: SpaceOptions::default(),
            settle: Duration::from_secs(5),
            default_registry: None,
        }
    }

    /// Attaches access points to a gateway.
    #[must_use]
    pub fn with_gateway(mut self, gateway: GatewayOptions) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Allows volumes.
    #[must_use]
    pub fn with_volumes(mut self, volumes: VolumeOptions) -> Self {
        self.volumes = Some(volumes);
        self
    }

    /// Says what instances may do.
    #[must_use]
    pub fn with_security(mut self, security: SecurityLevel) -> Self {
        self.security = security;
        self
    }

    /// Names secrets with credentials of registries.
    #[must_use]
    pub fn with_image_pull_secrets(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.image_pull_secrets = names.into_iter().collect();
        self
    }

    /// Bounds each environment.
    #[must_use]
    pub fn with_space(mut self, space: SpaceOptions) -> Self {
        self.space = space;
        self
    }

    /// Says how long it takes until everybody knows that an instance goes.
    #[must_use]
    pub fn with_settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }
}

/// The gateway that access points attach to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayOptions {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The domain below which access points without a host of their own lie.
    pub domain: String,
    /// How long the gateway may take from accepting a route until every proxy follows it. If absent, a second, or what its
    /// implementation is known to need: 250 ms for Contour.
    pub grace: Option<Duration>,
    /// `http` or `https`.
    pub scheme: String,
    /// The port at which users reach it, if it is not the scheme's own.
    pub port: Option<u16>,
    /// The host or address at which users reach its TCP ports.
    pub address: String,
}

impl GatewayOptions {
    /// A gateway that is reached at `domain` and below by HTTP at port 80.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, domain: impl Into<String>) -> Self {
        let domain = domain.into();
        Self {
            namespace: namespace.into(),
            name: name.into(),
            address: domain.clone(),
            domain,
            grace: None,
            scheme: "http".to_owned(),
            port: None,
        }
    }

    /// Says how long every proxy takes to follow.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }
}

/// What volumes are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeOptions {
    /// The storage class; the cluster's default if absent.
    pub storage_class: Option<String>,
    /// The size of each.
    pub size: Bytes,
    /// Whether instances on different nodes share a volume (`ReadWriteMany`), which not every class can do.
    pub shared: bool,
}

impl VolumeOptions {
    /// Volumes of the default class, for instances on one node.
    pub fn new(size: Bytes) -> Self {
        Self { storage_class: None, size, shared: false }
    }

    /// Takes another class.
    #[must_use]
    pub fn with_storage_class(mut self, class: impl Into<String>) -> Self {
        self.storage_class = Some(class.into());
        self
    }

    /// Lets instances on different nodes share a volume.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }
}

/// What instances may do, by the Pod Security Standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SecurityLevel {
    /// As an ordinary user without capabilities; images that run as root are refused.
    #[default]
    Restricted,
    /// Images may run as root of their container; nothing of the host is reachable.
    Baseline,
}

impl SecurityLevel {
    /// Its name in labels of namespaces.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Restricted => "restricted",
            Self::Baseline => "baseline",
        }
    }
}

/// The bounds of an environment's namespace: the second fence, behind the platform's own quota.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SpaceOptions {
    /// How many instances may exist at once.
    pub instances: Option<u32>,
    /// How much processor time they may use in all.
    pub cpu: Option<Cpu>,
    /// How much memory they may use in all.
    pub memory: Option<Bytes>,
    /// What an instance gets that declares no processor time.
    pub default_cpu: Option<Cpu>,
    /// What an instance gets that declares no memory.
    pub default_memory: Option<Bytes>,
    /// Whether traffic that nobody declared is denied. Needs a network that enforces policies.
    pub isolate: bool,
    /// Groups of the cluster's users that may look at every environment.
    pub viewers: Vec<String>,
}

impl SpaceOptions {
    /// Bounds the number of instances.
    #[must_use]
    pub fn with_instances(mut self, instances: u32) -> Self {
        self.instances = Some(instances);
        self
    }

    /// Bounds processor time and memory in all.
    #[must_use]
    pub fn with_totals(mut self, cpu: Cpu, memory: Bytes) -> Self {
        (self.cpu, self.memory) = (Some(cpu), Some(memory));
        self
    }

    /// What instances get that declare nothing.
    #[must_use]
    pub fn with_defaults(mut self, cpu: Cpu, memory: Bytes) -> Self {
        (self.default_cpu, self.default_memory) = (Some(cpu), Some(memory));
        self
    }

    /// Denies traffic that nobody declared.
    #[must_use]
    pub fn isolated(mut self) -> Self {
        self.isolate = true;
        self
    }

    /// Lets groups of the cluster's users look at every environment.
    #[must_use]
    pub fn with_viewers(mut self, groups: impl IntoIterator<Item = String>) -> Self {
        self.viewers = groups.into_iter().collect();
        self
    }
}
