//! Deleting applications: what will be lost is named first, then tracks are taken down, then documents are removed.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::app::places;
use super::deploy::rollout;
use super::{Action, Effect, Work};
use crate::engine::{
    AppEnvRecord, ConfigRecord, Deleting, EventKind, Grant, RolloutView, RoutesRecord, ScaleRecord,
    SecretRecord, Stored,
};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::name::{AppEnv, AppName, AppRef, ComponentName};
use crate::port::{DocumentKey, ListOptions, Permission, Scope};
use crate::tenancy::permissions;

/// What a deletion takes away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeletionPreview {
    /// The application in its environment.
    pub at: AppEnv,
    /// The declared number of instances of each component, on each cluster.
    pub instances: BTreeMap<ComponentName, u32>,
    /// The volumes, with everything in them, as `COMPONENT/VOLUME`.
    pub volumes: BTreeSet<String>,
    /// How many releases are kept.
    pub releases: usize,
    /// How many versions of the configuration are kept.
    pub config_versions: usize,
    /// The secrets by name.
    pub secrets: BTreeSet<String>,
    /// The access points by name.
    pub routes: BTreeSet<String>,
    /// What must be passed to confirm the deletion: the application's name.
    pub confirm: String,
}

async fn preview(work: &mut Work<'_>, at: &AppEnv) -> Result<DeletionPreview> {
    let below = at.to_string();
    let releases = rollout::history(work, at).await?;
    let scales = work.collections().children::<ScaleRecord>(below.as_str()).await?;
    let mut volumes = BTreeSet::new();
    for component in releases.iter().flat_map(|release| &release.version.spec.components) {
        for volume in &component.volumes {
            volumes.insert(format!("{}/{}", component.name, volume.name));
        }
        for object in component.manifests.iter().filter(|object| object.keeps_data()) {
            volumes.insert(format!("{}/{object}", component.name));
        }
    }
    let secrets = work.collections().children::<SecretRecord>(below.as_str()).await?;
    let routes = work.get::<RoutesRecord>(&RoutesRecord::key_of(at)).await?;
    Ok(DeletionPreview {
        at: at.clone(),
        instances: scales.into_iter().map(|it| (it.value.component.component, it.value.count)).collect(),
        volumes,
        releases: releases.len(),
        config_versions: work.collections().children::<ConfigRecord>(below.as_str()).await?.len(),
        secrets: secrets.into_iter().map(|secret| secret.value.name).collect(),
        routes: routes.iter().flat_map(|it| &it.value.routes).map(|route| route.name.to_string()).collect(),
        confirm: at.app.to_string(),
    })
}

/// Stores that the deletion has begun, and takes the tracks out of management.
async fn begin(work: &mut Work<'_>, place: Stored<AppEnvRecord>) -> Result<()> {
    work.changes().update(&place)?;
    let mut view = RolloutView::of(work.services(), place).await?;
    view.detach();
    work.store_view(view).await
}

fn check_confirm(confirm: &str, app: &AppName, faults: &mut Vec<Fault>) {
    if confirm != app.as_str() {
        faults.push(Fault::new(
            "confirm",
            format!("must be the application's name, {app}, to confirm the deletion"),
        ));
    }
}

/// Shows what deleting an application from an environment takes away.
#[derive(Debug, Clone)]
pub struct PreviewDelete {
    /// Which.
    pub at: AppEnv,
}

#[async_trait]
impl Action for PreviewDelete {
    type Output = DeletionPreview;
    const NAME: &'static str = "app.preview_delete";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::APP_READ
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        work.place(&self.at).await?;
        preview(work, &self.at).await
    }
}

/// Deletes an application from an environment, with everything that [`PreviewDelete`] names. It answers as soon as the
/// deletion is certain; the reconcilers take instances and access points down, then all documents go.
#[derive(Debug, Clone)]
pub struct DeleteAppEnv {
    /// Which.
    pub at: AppEnv,
    /// The application's name.
    pub confirm: String,
}

#[async_trait]
impl Action for DeleteAppEnv {
    type Output = DeletionPreview;
    const NAME: &'static str = "app.delete_from_env";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::APP_DELETE
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        check_confirm(&self.confirm, &self.at.app, faults);
    }

    fn detail(&self) -> Value {
        json!({ "at": self.at })
    }

    fn target(&self) -> Option<DocumentKey> {
        Some(AppEnvRecord::key_of(&self.at))
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let mut place = work.place(&self.at).await?;
        let lost = preview(work, &self.at).await?;
        if place.value.deleting.is_none() {
            place.value.deleting = Some(Deleting { at: work.now(), by: work.actor().id().to_owned() });
            begin(work, place).await?;
            work.event(EventKind::Deleted, self.scope(), format!("the deletion of {} began", self.at));
        }
        Ok(lost)
    }
}

/// Deletes an application from all its environments, and then itself.
#[derive(Debug, Clone)]
pub struct DeleteApp {
    /// Which.
    pub app: AppRef,
    /// The application's name.
    pub confirm: String,
}

#[async_trait]
impl Action for DeleteApp {
    type Output = Vec<DeletionPreview>;
    const NAME: &'static str = "app.delete";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::APP_DELETE
    }

    fn scope(&self) -> Scope {
        Scope::App(self.app.clone())
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        check_confirm(&self.confirm, &self.app.app, faults);
    }

    fn detail(&self) -> Value {
        json!({ "app": self.app })
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let mut app = work.app(&self.app).await?;
        let deleting = Deleting { at: work.now(), by: work.actor().id().to_owned() };
        let mut lost = Vec::new();
        for place in places(work, &self.app).await? {
            let mut place = work.place(&place.at).await?;
            lost.push(preview(work, &place.value.at).await?);
            if place.value.deleting.is_none() {
                place.value.deleting = Some(deleting.clone());
                begin(work, place).await?;
            }
        }
        if lost.is_empty() {
            work.changes().remove(&app);
            let options = ListOptions {
                index: Some(("scope".to_owned(), Grant::scope_name(&self.scope()))),
                ..ListOptions::default()
            };
            for grant in work.collections().all::<Grant>(options).await? {
                work.changes().remove(&grant);
            }
        } else if app.value.deleting.is_none() {
            app.value.deleting = Some(deleting);
            work.changes().update(&app)?;
        } else {
            return Err(Error::new(ErrorKind::Conflict, "delete an application that is being deleted")
                .with_context("application", &self.app)
                .with_remedy("Wait until the deletion is complete."));
        }
        work.event(EventKind::Deleted, self.scope(), format!("the deletion of {} began", self.app));
        Ok(lost)
    }
}
