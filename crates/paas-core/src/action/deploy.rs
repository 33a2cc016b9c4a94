//! Deploying: from what a team declares to a numbered release that is being carried out.
//!
//! The whole specification is checked and admitted, images are resolved to digests, the configuration is pinned,
//! templates are rendered and get their revisions; then one transaction stores release, templates and rollout. Nothing
//! else has been touched by then.

mod admission;
pub(super) mod hosts;
pub(crate) mod images;
pub(crate) mod render;
pub(crate) mod rollout;

use std::collections::BTreeMap;

use async_trait::async_trait;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Action, Effect, Work};
use crate::engine::{AppEnvRecord, Stored};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::{
    AppSpec, AppVersion, ClusterOrder, OnClusterFailure, Release, ReleaseNumber, ReleaseOrigin, ReleaseState,
    RevisionId, StrategySpec, Validate,
};
use crate::name::{AppEnv, ComponentName};
use crate::port::{DocumentKey, Permission, Revision, Scope};
use crate::tenancy::permissions;

use rollout::Draft;

/// The longest remark on a release, in characters.
pub(super) const NOTE_MAX: usize = 1_000;

/// A release to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// What is released.
    pub change: DeployChange,
    /// How it proceeds, this time, instead of as declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategySpec>,
    /// How the clusters follow each other, this time, instead of as the environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_order: Option<ClusterOrder>,
    /// What a cluster on which it fails means for the others, this time, instead of as the environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_cluster_failure: Option<OnClusterFailure>,
    /// A remark, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The release is refused unless this one is the newest; 0 stands for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<ReleaseNumber>,
}

impl Deploy {
    /// A whole specification.
    pub fn spec(spec: AppSpec) -> Self {
        Self::new(DeployChange::Spec(spec))
    }

    /// What was declared last, with another image for one component.
    pub fn image(component: ComponentName, image: impl Into<String>) -> Self {
        Self::new(DeployChange::Images(BTreeMap::from([(component, image.into())])))
    }

    /// What was declared last, with today's configuration.
    pub fn current() -> Self {
        Self::new(DeployChange::Current)
    }

    /// A change, as declared, without a remark.
    pub fn new(change: DeployChange) -> Self {
        Self {
            change,
            strategy: None,
            cluster_order: None,
            on_cluster_failure: None,
            note: String::new(),
            expected: None,
        }
    }
}

/// What is released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeployChange {
    /// A whole specification; its images are resolved anew.
    Spec(AppSpec),
    /// What was declared last, with other images for some components; the other components keep their digests.
    Images(BTreeMap<ComponentName, String>),
    /// What was declared last, with the digests that it has and today's configuration.
    Current,
}

/// A release that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseStarted {
    /// The application in its environment.
    pub at: AppEnv,
    /// The release's number.
    pub number: ReleaseNumber,
    /// Whether it waits for another one to end before it begins.
    pub queued: bool,
    /// The components by name.
    pub components: BTreeMap<ComponentName, StartedComponent>,
    /// What the user should know, such as an interruption that the strategy brings with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The commit.
    pub revision: Revision,
}

/// A component of a release that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartedComponent {
    /// Its revision.
    pub revision: RevisionId,
    /// Whether it differs from the current release's.
    pub changed: bool,
}

/// Releases a specification, images, or what was declared last.
#[derive(Debug, Clone)]
pub struct DeployApp {
    /// Where.
    pub at: AppEnv,
    /// What.
    pub deploy: Deploy,
}

#[async_trait]
impl Action for DeployApp {
    type Output = ReleaseStarted;
    const NAME: &'static str = "app.deploy";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::APP_DEPLOY
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        if let Some(strategy) = &self.deploy.strategy {
            strategy.faults("strategy", faults);
        }
        check_note(&self.deploy.note, faults);
        match &self.deploy.change {
            DeployChange::Spec(spec) => spec.faults("", faults),
            DeployChange::Images(images) if images.is_empty() => {
                faults.push(Fault::new("change.images", "name at least one component and its image"));
            }
            _ => {}
        }
    }

    /// The images only: a specification may hold values that somebody should have made secrets.
    fn detail(&self) -> Value {
        let images: BTreeMap<&ComponentName, &str> = match &self.deploy.change {
            DeployChange::Spec(spec) => {
                let with_images = spec.components.iter().filter(|component| !component.image.is_empty());
                with_images.map(|component| (&component.name, component.image.as_str())).collect()
            }
            DeployChange::Images(images) => {
                images.iter().map(|(name, image)| (name, image.as_str())).collect()
            }
            DeployChange::Current => BTreeMap::new(),
        };
        json!({ "images": images, "note": self.deploy.note })
    }

    fn input(&self) -> Value {
        json!(self.deploy)
    }

    fn target(&self) -> Option<DocumentKey> {
        Some(AppEnvRecord::key_of(&self.at))
    }

    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        output.revision = revision;
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let place = work.place_or_new(&self.at).await?;
        check_expected(&place, self.deploy.expected)?;
        let newest = newest(work, &place).await?;
        let spec = self.admitted(work, newest.as_ref()).await?;
        let pinned = self.pinned(&spec, newest.as_ref());
        let digests = images::resolve(work.services(), &self.at, &spec, pinned).await?;
        let config = super::config::load(work, &self.at, place.value.config).await?;
        let templates =
            render::templates(work, &self.at, &spec, &digests, &config, &place.value.restarts).await?;
        let origin = match &self.deploy.change {
            DeployChange::Current => ReleaseOrigin::Configure,
            _ => ReleaseOrigin::Deploy,
        };
        let draft = Draft {
            version: AppVersion { spec, digests },
            config: config.number,
            templates,
            strategy: self.deploy.strategy.clone(),
            cluster_order: self.deploy.cluster_order,
            on_cluster_failure: self.deploy.on_cluster_failure,
            counts: BTreeMap::new(),
            origin,
            note: self.deploy.note.clone(),
            notes: Vec::new(),
        };
        Box::pin(draft.start(work, place)).await
    }
}

impl DeployApp {
    /// The specification to release, checked by everybody who has a say in it.
    async fn admitted(&self, work: &mut Work<'_>, newest: Option<&Release>) -> Result<AppSpec> {
        let spec = match (&self.deploy.change, newest) {
            (DeployChange::Spec(spec), _) => spec.clone(),
            (DeployChange::Images(images), Some(newest)) => with_images(&newest.version.spec, images)?,
            (DeployChange::Current, Some(newest)) => newest.version.spec.clone(),
            (_, None) => {
                return Err(Error::new(ErrorKind::Conflict, "release again what was never released")
                    .with_context("application", &self.at)
                    .with_remedy("Deploy a whole specification first."));
            }
        };
        let spec = admission::admit(work, &self.at, spec).await?;
        spec.validate("validate the specification")
            .map_err(|error| error.with_context("application", &self.at))?;
        Ok(spec)
    }

    /// The digests that are kept as they are.
    fn pinned(&self, spec: &AppSpec, newest: Option<&Release>) -> BTreeMap<ComponentName, String> {
        let Some(newest) = newest.filter(|_| !matches!(self.deploy.change, DeployChange::Spec(_))) else {
            return BTreeMap::new();
        };
        let named = |name: &ComponentName| matches!(&self.deploy.change, DeployChange::Images(images) if images.contains_key(name));
        let same_image = |name: &ComponentName| {
            let image = |spec: &AppSpec| {
                spec.components.iter().find(|component| component.name == *name).map(|it| it.image.clone())
            };
            image(spec) == image(&newest.version.spec)
        };
        let mut pinned = newest.version.digests.clone();
        pinned.retain(|name, _| !named(name) && same_image(name));
        pinned
    }
}

/// The release that counts as declared: the newest one, unless it was aborted and there is a current one.
pub(super) async fn newest(work: &mut Work<'_>, place: &Stored<AppEnvRecord>) -> Result<Option<Release>> {
    if place.value.last == 0 {
        return Ok(None);
    }
    let at = &place.value.at;
    let newest = work.get::<Release>(&Release::key_of(at, ReleaseNumber(place.value.last))).await?;
    match (newest, place.value.current) {
        (Some(newest), None) => Ok(Some(newest.value)),
        (Some(newest), _) if !matches!(newest.value.state, ReleaseState::Aborted { .. }) => {
            Ok(Some(newest.value))
        }
        (_, Some(current)) => rollout::load(work, at, current).await.map(Some),
        (None, None) => Ok(None),
    }
}

pub(super) fn check_expected(place: &Stored<AppEnvRecord>, expected: Option<ReleaseNumber>) -> Result<()> {
    match expected {
        Some(expected) if expected.0 != place.value.last => {
            Err(Error::new(ErrorKind::Conflict, "release on top of a release that is not the newest")
                .with_context("application", &place.value.at)
                .with_context("expected", expected)
                .with_context("newest", place.value.last)
                .with_remedy("Look at what the newer release changed, then release on top of it."))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_note(note: &str, faults: &mut Vec<Fault>) {
    if note.chars().count() > NOTE_MAX {
        faults.push(Fault::new("note", format!("has more than {NOTE_MAX} characters")));
    }
}

fn with_images(spec: &AppSpec, images: &BTreeMap<ComponentName, String>) -> Result<AppSpec> {
    let mut spec = spec.clone();
    let mut faults = Vec::new();
    for (name, image) in images {
        match spec.components.iter_mut().find(|component| component.name == *name) {
            Some(component) => component.image.clone_from(image),
            None => faults.push(Fault::new(
                format!("change.images[{:?}]", name.as_str()),
                format!("there is no component {name}"),
            )),
        }
    }
    if faults.is_empty() { Ok(spec) } else { Err(Error::invalid("change images", faults)) }
}
