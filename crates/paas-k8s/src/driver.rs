//! Opens a cluster from a configuration.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use paas_core::port::{ClusterPorts, ClusterReport, Driver, OpenCluster, SecretValue};
use paas_core::{Bytes, ClusterName, Cpu, Error, Fault, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{CallLimits, connect};
use crate::cluster::KubernetesCluster;
use crate::options::{GatewayOptions, KubernetesOptions, SecurityLevel, SpaceOptions, VolumeOptions};
use crate::probe::{Uses, probe};
use crate::scheme::Installation;

const OPERATION: &str = "open a cluster";

/// Opens Kubernetes clusters.
#[derive(Debug, Clone)]
pub struct KubernetesDriver {
    domain: String,
    limits: CallLimits,
}

impl KubernetesDriver {
    /// A driver whose labels and annotations have this domain, such as `paas.example.org`. It must never change while
    /// objects exist.
    ///
    /// # Errors
    /// A [`Fault`] if it is no domain name.
    pub fn new(domain: impl Into<String>) -> Result<Self, Fault> {
        let domain = domain.into();
        Installation::new("paas", &domain)?;
        Ok(Self { domain, limits: CallLimits::default() })
    }

    /// Bounds the calls to each cluster.
    #[must_use]
    pub fn with_limits(mut self, limits: CallLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Opens a cluster, with more in hand than its ports.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](paas_core::ErrorKind::Invalid) if the configuration cannot be used,
    /// [`ErrorKind::Unavailable`](paas_core::ErrorKind::Unavailable) if the cluster does not answer.
    pub async fn open_cluster(&self, cluster: &OpenCluster) -> Result<KubernetesCluster> {
        let (client, config) = self.connect(cluster).await?;
        let installation = Installation::new(&cluster.installation, &self.domain)
            .map_err(|fault| Error::invalid(OPERATION, vec![fault]))?;
        let options = config.options(installation, cluster.name.clone());
        KubernetesCluster::open(client, options, Arc::clone(&cluster.secrets)).await
    }

    async fn connect(&self, cluster: &OpenCluster) -> Result<(Client, KubernetesConfig)> {
        let invalid =
            |fault: Fault| Error::invalid(OPERATION, vec![fault]).with_context("cluster", &cluster.name);
        let config = read(&cluster.config).map_err(invalid)?;
        let access = access(&config, cluster.credentials.as_ref()).await.map_err(invalid)?;
        let limits = config.calls.clone().unwrap_or_default().over(self.limits.clone());
        let client = connect(access, limits);
        Ok((client.map_err(|error| error.with_context("cluster", &cluster.name))?, config))
    }
}

#[async_trait]
impl Driver for KubernetesDriver {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn schema(&self) -> Value {
        schemars::schema_for!(KubernetesConfig).to_value()
    }

    fn validate(&self, config: &Value, credentials: Option<&SecretValue>, faults: &mut Vec<Fault>) {
        faults.extend(read(config).err());
        if let Some(credentials) = credentials {
            faults.extend(kubeconfig(credentials).err());
        }
    }

    async fn open(&self, cluster: &OpenCluster) -> Result<ClusterPorts> {
        Ok(self.open_cluster(cluster).await?.ports())
    }

    async fn probe(&self, cluster: &OpenCluster) -> Result<ClusterReport> {
        let (client, config) = self.connect(cluster).await?;
        let viewers = config.space.is_some_and(|space| !space.viewers.is_empty());
        probe(&client, Uses { routes: config.gateway.is_some(), viewers }).await
    }
}

/// How a cluster is used. What gives access to it, a kubeconfig, is its credentials; without them it is the cluster in which the
/// platform itself runs, by the account of its pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// The context of the kubeconfig; its current one if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The gateway that access points attach to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayConfig>,
    /// What volumes are made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<VolumeConfig>,
    /// Whether images may run as root of their container (`baseline`) or not (`restricted`, the default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<SecurityConfig>,
    /// The names of secrets in each namespace with the credentials of registries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// The registry in front of images whose name has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_registry: Option<String>,
    /// The bounds of each environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space: Option<SpaceConfig>,
    /// How patient the platform is with the API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<CallConfig>,
}

/// How patient the platform is with an API server; what is absent is as the driver's own limits are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CallConfig {
    /// How long one call may take, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub timeout_milliseconds: Option<NonZeroU64>,
    /// How long a watch may be silent before it is opened anew, in milliseconds. The server sends a sign of life about every minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub watch_silence_milliseconds: Option<NonZeroU64>,
    /// How many calls may begin in a second, in the long run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub per_second: Option<NonZeroU32>,
    /// How many calls may begin at once after a pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub burst: Option<NonZeroU32>,
}

impl CallConfig {
    fn over(&self, mut limits: CallLimits) -> CallLimits {
        let time = |milliseconds: NonZeroU64| Duration::from_millis(milliseconds.get());
        limits.timeout = self.timeout_milliseconds.map_or(limits.timeout, time);
        limits.watch_silence = self.watch_silence_milliseconds.map_or(limits.watch_silence, time);
        limits.per_second = self.per_second.map_or(limits.per_second, NonZeroU32::get);
        limits.burst = self.burst.map_or(limits.burst, NonZeroU32::get);
        limits
    }
}

/// The gateway that access points attach to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The domain below which access points without a host of their own lie.
    pub domain: String,
    /// How long its proxies take to follow what it has accepted, in milliseconds. If absent, 1000, or what its implementation
    /// is known to need: 250 for Contour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_milliseconds: Option<u64>,
    /// `http` or `https`.
    #[serde(default = "default_scheme")]
    pub scheme: String,
    /// The port at which users reach it, if it is not the scheme's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The host or address of its TCP ports; the domain if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

fn default_scheme() -> String {
    "http".to_owned()
}

/// What volumes are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeConfig {
    /// The size of each.
    pub size: Bytes,
    /// The storage class; the cluster's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Whether instances on different nodes share a volume.
    #[serde(default)]
    pub shared: bool,
}

/// What instances may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecurityConfig {
    /// As an ordinary user without capabilities.
    Restricted,
    /// Images may run as root of their container.
    Baseline,
}

/// The bounds of each environment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SpaceConfig {
    /// How many instances may exist at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// How much processor time they may use in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// How much memory they may use in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// What an instance gets that declares no processor time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_cpu: Option<Cpu>,
    /// What an instance gets that declares no memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_memory: Option<Bytes>,
    /// Whether traffic that nobody declared is denied.
    pub isolate: bool,
    /// Groups of the cluster's users that may look at every environment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub viewers: Vec<String>,
}

impl KubernetesConfig {
    fn options(self, installation: Installation, cluster: ClusterName) -> KubernetesOptions {
        let mut options = KubernetesOptions::new(installation, cluster);
        options.gateway = self.gateway.map(|it| GatewayOptions {
            address: it.address.unwrap_or_else(|| it.domain.clone()),
            namespace: it.namespace,
            name: it.name,
            domain: it.domain,
            grace: it.grace_milliseconds.map(Duration::from_millis),
            scheme: it.scheme,
            port: it.port,
        });
        options.volumes = self.volumes.map(|it| VolumeOptions {
            storage_class: it.storage_class,
            size: it.size,
            shared: it.shared,
        });
        options.security = match self.security {
            Some(SecurityConfig::Baseline) => SecurityLevel::Baseline,
            Some(SecurityConfig::Restricted) | None => SecurityLevel::Restricted,
        };
        let space = self.space.unwrap_or_default();
        options.space = SpaceOptions {
            instances: space.instances,
            cpu: space.cpu,
            memory: space.memory,
            default_cpu: space.default_cpu,
            default_memory: space.default_memory,
            isolate: space.isolate,
            viewers: space.viewers,
        };
        options.image_pull_secrets = self.image_pull_secrets;
        options.default_registry = self.default_registry;
        options
    }
}

/// A configuration, or what is wrong with it.
fn read(config: &Value) -> Result<KubernetesConfig, Fault> {
    if config.is_null() {
        return Ok(KubernetesConfig::default());
    }
    serde_json::from_value(config.clone()).map_err(|error| Fault::new("config", error.to_string()))
}

/// A kubeconfig that holds everything itself. It is data of a user: what it names on this machine is neither run nor read.
fn kubeconfig(credentials: &SecretValue) -> Result<Kubeconfig, Fault> {
    const PATH: &str = "credentials";
    let text = std::str::from_utf8(credentials.reveal())
        .map_err(|_| Fault::new(PATH, "is no text; pass the content of a kubeconfig"))?;
    // What is wrong is not told in the parser's words, which may quote the text.
    let parsed = Kubeconfig::from_yaml(text).map_err(|_| {
        Fault::new(
            PATH,
            "is no kubeconfig; pass the content of one, as `kubectl config view --flatten --raw` shows it",
        )
    })?;
    for user in &parsed.auth_infos {
        let Some(info) = &user.auth_info else { continue };
        let runs = info.exec.is_some() || info.auth_provider.is_some();
        let reads =
            info.token_file.is_some() || info.client_certificate.is_some() || info.client_key.is_some();
        if runs || reads {
            let message = format!(
                "refers to a program or a file for the user {:?}; put the credentials inside: kubectl config view --flatten --raw",
                user.name
            );
            return Err(Fault::new(PATH, message));
        }
    }
    let reads = |cluster: &kube::config::Cluster| cluster.certificate_authority.is_some();
    if parsed.clusters.iter().filter_map(|cluster| cluster.cluster.as_ref()).any(reads) {
        let message = "refers to a file for the authority of a cluster; put it inside: kubectl config view --flatten --raw";
        return Err(Fault::new(PATH, message));
    }
    Ok(parsed)
}

async fn access(config: &KubernetesConfig, credentials: Option<&SecretValue>) -> Result<kube::Config, Fault> {
    let Some(credentials) = credentials else {
        return kube::Config::incluster().map_err(|_| {
            Fault::new("credentials", "are missing, and the platform runs in no cluster; pass a kubeconfig")
        });
    };
    let parsed = kubeconfig(credentials)?;
    let options = KubeConfigOptions { context: config.context.clone(), ..KubeConfigOptions::default() };
    kube::Config::from_custom_kubeconfig(parsed, &options).await.map_err(|_| {
        let message = match &config.context {
            Some(context) => format!("has no usable context {context:?}"),
            None => "has no usable current context; name one as config.context".to_owned(),
        };
        Fault::new("credentials", message)
    })
}
