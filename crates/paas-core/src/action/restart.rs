//! Renewing instances: a release whose templates differ in nothing but a counter.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::deploy::render::Rendered;
use super::deploy::rollout::Draft;
use super::deploy::{self, ReleaseStarted};
use super::{Action, Effect, Work};
use crate::error::{Error, ErrorKind, Result};
use crate::model::ReleaseOrigin;
use crate::name::{AppEnv, ComponentName};
use crate::port::{Permission, Revision, Scope};
use crate::tenancy::permissions;

/// Replaces the instances of an application, or of one component, by new ones of the same release content.
#[derive(Debug, Clone)]
pub struct RestartApp {
    /// Where.
    pub at: AppEnv,
    /// Which component; all but jobs if absent.
    pub component: Option<ComponentName>,
}

#[async_trait]
impl Action for RestartApp {
    type Output = ReleaseStarted;
    const NAME: &'static str = "app.restart";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::APP_DEPLOY
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        json!({ "component": self.component })
    }

    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        output.revision = revision;
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let mut place = work.live_place(&self.at).await?;
        let Some(current) = place.value.current else {
            return Err(Error::new(ErrorKind::Conflict, "restart an application without a current release")
                .with_context("application", &self.at)
                .with_remedy("Deploy it first, or wait until its first release is done."));
        };
        let release = deploy::rollout::load(work, &self.at, current).await?;
        let mut templates = BTreeMap::new();
        let mut found = false;
        for (name, component) in &release.components {
            let mut template =
                deploy::rollout::template(work, &self.at.component(name.clone()), &component.revision)
                    .await?;
            let wanted = match &self.component {
                Some(wanted) => wanted == name,
                None => !template.kind.runs_to_completion(),
            };
            if wanted {
                found = true;
                let nonce = place.value.restarts.entry(name.clone()).or_insert(0);
                *nonce = (*nonce).max(template.restart_nonce) + 1;
                template.restart_nonce = *nonce;
            }
            templates.insert(name.clone(), Rendered::new(template)?);
        }
        if !found {
            let names: Vec<&str> = release.components.keys().map(ComponentName::as_str).collect();
            return Err(Error::not_found("component", self.component.as_ref().map_or("", AsRef::as_ref))
                .with_context("application", &self.at)
                .with_remedy(format!("It has {}.", names.join(", "))));
        }
        let draft = Draft {
            version: release.version,
            config: release.config,
            templates,
            strategy: None,
            cluster_order: None,
            on_cluster_failure: None,
            counts: BTreeMap::new(),
            origin: ReleaseOrigin::Restart,
            note: String::new(),
            notes: Vec::new(),
        };
        Box::pin(draft.start(work, place)).await
    }
}
