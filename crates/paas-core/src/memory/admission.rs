//! An admission whose rules live in memory.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::{AppSpec, Component, ComponentKind, EnvVar, Resources};
use crate::name::EnvRef;
use crate::port::{Admission, AdmissionRequest};

const OPERATION: &str = "admit the specification";

/// Admits by rules about images, environment variables and limits, and refuses everything in an environment that is frozen.
///
/// ```
/// use paas_core::memory::MemoryAdmission;
/// use paas_core::model::Resources;
///
/// let admission = MemoryAdmission::new()
///     .with_mirror("docker.io/", "registry.example/docker/")
///     .with_image_prefix("registry.example/")
///     .with_default_resources(Resources { pids: Some(200), ..Resources::default() })
///     .with_default_env("STAGE", "production");
/// admission.freeze("acme/prod".parse()?, "no changes over the holidays");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryAdmission {
    mirrors: Vec<(String, String)>,
    image_prefixes: Vec<String>,
    required_limits: bool,
    defaults: Resources,
    env: BTreeMap<String, EnvVar>,
    now: RwLock<Now>,
}

#[derive(Debug, Default)]
struct Now {
    frozen: BTreeMap<EnvRef, String>,
    unavailable: bool,
}

impl MemoryAdmission {
    /// One that admits everything as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads images whose name begins with `from` from `to` instead. The first mirror that fits is taken, and an image that
    /// comes from a mirror stays as it is.
    #[must_use]
    pub fn with_mirror(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.mirrors.push((from.into(), to.into()));
        self
    }

    /// Refuses images, after mirrors, whose name begins with neither this nor another prefix given so: the rule
    /// `allowed_images`.
    #[must_use]
    pub fn with_image_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.image_prefixes.push(prefix.into());
        self
    }

    /// Gives components the limits that they do not declare.
    #[must_use]
    pub fn with_default_resources(mut self, resources: Resources) -> Self {
        self.defaults = resources;
        self
    }

    /// Refuses components that have no limit of processor time or of memory, after defaults: the rule `required_limits`.
    #[must_use]
    pub fn with_required_limits(mut self) -> Self {
        self.required_limits = true;
        self
    }

    /// Gives components an environment variable, unless they declare it.
    #[must_use]
    pub fn with_default_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), EnvVar::Value(value.into()));
        self
    }

    /// Denies everything in an environment, with this reason, until [`MemoryAdmission::thaw`].
    pub fn freeze(&self, env: EnvRef, reason: impl Into<String>) {
        self.now.write().unwrap_or_else(PoisonError::into_inner).frozen.insert(env, reason.into());
    }

    /// Ends a freeze.
    pub fn thaw(&self, env: &EnvRef) {
        self.now.write().unwrap_or_else(PoisonError::into_inner).frozen.remove(env);
    }

    /// Makes every answer fail, as if the place where rules are kept could not be reached, or no longer.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.now.write().unwrap_or_else(PoisonError::into_inner).unavailable = unavailable;
    }

    fn amend(&self, component: &mut Component) {
        // Objects of manifests are applied as they are.
        if component.kind == ComponentKind::Manifests {
            return;
        }
        let mirrored = self.mirrors.iter().any(|(_, to)| component.image.starts_with(to));
        let mirror = self.mirrors.iter().find(|(from, _)| component.image.starts_with(from));
        if let Some((from, to)) = mirror.filter(|_| !mirrored) {
            component.image.replace_range(..from.len(), to);
        }
        let (limits, defaults) = (&mut component.resources, &self.defaults);
        limits.cpu = limits.cpu.or(defaults.cpu);
        limits.memory = limits.memory.or(defaults.memory);
        limits.storage = limits.storage.or(defaults.storage);
        limits.pids = limits.pids.or(defaults.pids);
        for (name, value) in &self.env {
            component.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }

    fn check(&self, path: &str, component: &Component, faults: &mut Vec<Fault>) {
        if component.kind == ComponentKind::Manifests {
            return;
        }
        let image = &component.image;
        let prefixes = &self.image_prefixes;
        if !prefixes.is_empty() && !prefixes.iter().any(|prefix| image.starts_with(prefix)) {
            let allowed = prefixes.join(", ");
            let message =
                format!("image {image:?} breaks the rule allowed_images; use one that begins with {allowed}");
            faults.push(Fault::new(format!("{path}.image"), message));
        }
        let limits = &component.resources;
        for (name, lacks) in [("cpu", limits.cpu.is_none()), ("memory", limits.memory.is_none())] {
            if self.required_limits && lacks {
                let message = format!("is absent, which breaks the rule required_limits; declare {name}");
                faults.push(Fault::new(format!("{path}.resources.{name}"), message));
            }
        }
    }
}

#[async_trait]
impl Admission for MemoryAdmission {
    async fn admit(&self, request: &AdmissionRequest<'_>, mut spec: AppSpec) -> Result<AppSpec> {
        {
            let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
            let error = |kind| Error::new(kind, OPERATION).with_context("application", request.at);
            if now.unavailable {
                return Err(error(ErrorKind::Unavailable));
            }
            if let Some(reason) = now.frozen.get(&request.at.env_ref()) {
                return Err(error(ErrorKind::Denied)
                    .with_source(format!("the environment is frozen: {reason}"))
                    .with_remedy(
                        "Wait until the freeze is over, or ask those who look after the platform.",
                    ));
            }
        }
        let mut faults = Vec::new();
        for (index, component) in spec.components.iter_mut().enumerate() {
            self.amend(component);
            self.check(&format!("components[{index}]"), component, &mut faults);
        }
        if faults.is_empty() { Ok(spec) } else { Err(Error::invalid(OPERATION, faults)) }
    }
}
