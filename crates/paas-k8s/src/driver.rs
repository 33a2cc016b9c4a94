//! Opens a cluster from a configuration.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kube::config::{KubeConfigOptions, Kubeconfig};
use paas_core::port::{ClusterPorts, Driver, SecretSource};
use paas_core::{Bytes, ClusterName, Cpu, Error, ErrorKind, Fault, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::{CallLimits, connect};
use crate::cluster::KubernetesCluster;
use crate::options::{GatewayOptions, KubernetesOptions, SecurityLevel, SpaceOptions, VolumeOptions};
use crate::scheme::Installation;

const OPERATION: &str = "open a cluster";

/// Opens Kubernetes clusters for one installation of a platform.
#[derive(Debug, Clone)]
pub struct KubernetesDriver {
    installation: Installation,
    limits: CallLimits,
}

impl KubernetesDriver {
    /// A driver for an installation.
    pub fn new(installation: Installation) -> Self {
        Self { installation, limits: CallLimits::default() }
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
    /// [`ErrorKind::Invalid`] if the configuration cannot be used, [`ErrorKind::Unavailable`] if the cluster does not answer.
    pub async fn open_cluster(
        &self,
        cluster: &ClusterName,
        config: KubernetesConfig,
        secrets: Arc<dyn SecretSource>,
    ) -> Result<KubernetesCluster> {
        let client = connect(credentials(&config).await?, self.limits.clone())
            .map_err(|error| error.with_context("cluster", cluster))?;
        let options = config.options(self.installation.clone(), cluster.clone());
        KubernetesCluster::open(client, options, secrets).await
    }
}

#[async_trait]
impl Driver for KubernetesDriver {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(KubernetesConfig)
    }

    async fn open(
        &self,
        cluster: &ClusterName,
        config: serde_json::Value,
        secrets: Arc<dyn SecretSource>,
    ) -> Result<ClusterPorts> {
        let config: KubernetesConfig = serde_json::from_value(config).map_err(|error| {
            let fault = Fault::new("", error.to_string());
            Error::invalid(OPERATION, vec![fault]).with_context("cluster", cluster)
        })?;
        Ok(self.open_cluster(cluster, config, secrets).await?.ports())
    }
}

/// How a cluster is reached and used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// A kubeconfig as text; without one, the credentials of the pod that the platform itself runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
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
    /// How long its proxies take to follow, in milliseconds.
    #[serde(default = "default_grace")]
    pub grace_milliseconds: u64,
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

fn default_grace() -> u64 {
    1000
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
            grace: Duration::from_millis(it.grace_milliseconds),
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

async fn credentials(config: &KubernetesConfig) -> Result<kube::Config> {
    let Some(text) = &config.kubeconfig else {
        return kube::Config::incluster().map_err(|error| {
            Error::new(ErrorKind::Invalid, OPERATION)
                .with_source(error)
                .with_remedy("Give a kubeconfig, or run the platform in the cluster.")
        });
    };
    let invalid = |path: &str, message: String| Error::invalid(OPERATION, vec![Fault::new(path, message)]);
    let parsed = Kubeconfig::from_yaml(text).map_err(|error| invalid("kubeconfig", error.to_string()))?;
    // A configuration is data of a user: what it names on this machine is neither run nor read.
    for user in parsed.auth_infos.iter().filter_map(|user| user.auth_info.as_ref().map(|it| (&user.name, it)))
    {
        let (name, info) = user;
        let runs = info.exec.is_some() || info.auth_provider.is_some();
        let reads =
            info.token_file.is_some() || info.client_certificate.is_some() || info.client_key.is_some();
        if runs || reads {
            let message = format!("user {name:?} refers to a program or file; put the credentials inside");
            return Err(invalid("kubeconfig", message));
        }
    }
    let options = KubeConfigOptions { context: config.context.clone(), ..KubeConfigOptions::default() };
    kube::Config::from_custom_kubeconfig(parsed, &options)
        .await
        .map_err(|error| invalid("kubeconfig", error.to_string()))
}
