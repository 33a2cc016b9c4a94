//! From a release that is ready to be made to its record and its rollout, in one transaction.

pub(crate) mod plan;
mod steer;

use std::collections::{BTreeMap, BTreeSet};

use super::render::Rendered;
use super::{ReleaseStarted, StartedComponent, hosts};
use crate::action::{Work, route, scale};
use crate::engine::{
    AppEnvRecord, ConfigRecord, EventKind, RolloutView, RoutesRecord, ScaleRecord, Stored, TemplateRecord,
};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    AppVersion, ClusterOrder, Environment, OnClusterFailure, OnRunning, Release, ReleaseNumber,
    ReleaseOrigin, ReleaseState, ReleasedComponent, RevisionId, StrategySpec, Template,
};
use crate::name::{AppEnv, ComponentKey, ComponentName};
use crate::port::{ClusterPorts, Expect, HostPath, Revision, Scope};
use crate::release::{Rollout, RolloutId};

pub(in crate::action) use steer::{Steer, steer};

/// How many releases may wait.
const QUEUE_MAX: usize = 10;

/// A release that is ready to be made.
pub(in crate::action) struct Draft {
    pub(in crate::action) version: AppVersion,
    pub(in crate::action) config: u64,
    pub(in crate::action) templates: BTreeMap<ComponentName, Rendered>,
    /// How it proceeds, this time.
    pub(in crate::action) strategy: Option<StrategySpec>,
    /// How the clusters follow each other, this time.
    pub(in crate::action) cluster_order: Option<ClusterOrder>,
    /// What a cluster on which it fails means for the others, this time.
    pub(in crate::action) on_cluster_failure: Option<OnClusterFailure>,
    /// The numbers of instances that take effect with the commit; the live ones stay for components not named.
    pub(in crate::action) counts: BTreeMap<ComponentName, u32>,
    pub(in crate::action) origin: ReleaseOrigin,
    pub(in crate::action) note: String,
    pub(in crate::action) notes: Vec<String>,
}

/// What a draft is released on top of.
struct Base {
    env: Environment,
    current: Option<Release>,
    /// The components of releases that are under way or wait.
    under_way: BTreeSet<ComponentName>,
    view: RolloutView,
}

impl Draft {
    /// Prepares the release's record, its templates, counts and rollout.
    pub(in crate::action) async fn start(
        mut self,
        work: &mut Work<'_>,
        mut place: Stored<AppEnvRecord>,
    ) -> Result<ReleaseStarted> {
        let at = place.value.at.clone();
        let number = ReleaseNumber(place.value.last + 1);
        let mut base = Base::load(work, &place).await?;
        if self.config > 0 {
            // It may be removed as one that no release uses until this one is stored.
            work.need::<ConfigRecord>(&ConfigRecord::key_of(&at, self.config), "configuration", self.config)
                .await?;
        }
        self.check_hosts(work, &at, &base).await?;
        let live = self.scale(work, &base).await?;
        let (tracks, mut notes) = plan::tracks(work.services(), &at, number, &self, &base, &live)?;
        self.notes.append(&mut notes);
        for component in self.version.spec.components.iter().filter(|it| !it.kind.runs_to_completion()) {
            if let Some(count) = live.get(&component.name) {
                self.notes.extend(scale::bounded(
                    &at.component(component.name.clone()),
                    *count,
                    &base.env.targets,
                ));
            }
        }
        for (component, count) in &live {
            base.view.declare(component.clone(), *count);
        }
        let id = RolloutId::new(work.services().next_id().simple().to_string());
        let rollout = Rollout {
            lockstep: true,
            order: self.order(&base.env).0,
            on_failure: self.order(&base.env).1,
            actor: work.actor().id().to_owned(),
            reason: self.note.clone(),
            ..Rollout::new(id.clone(), number, tracks)
        };
        base.submit(rollout)?;
        let queued = base.view.active().is_none_or(|active| active.id != id);
        if !queued {
            base.view.follow_scale();
            base.view.coordinate();
        }
        let release = self.release(work, &at, number, &base, &live, queued);
        self.store_templates(work).await?;
        work.changes().create(&release)?;
        if place.value.current.is_none() {
            self.first_routes(work, &at).await?;
        }
        let started = self.started(&release, &base, queued);
        work.store_view(base.view).await?;
        place.value.last = number.0;
        place.value.spec = Some(self.version.spec);
        work.changes().update(&place)?;
        let message = describe(&release, queued);
        work.event(EventKind::ReleaseStarted, Scope::AppEnv(at), message).release = Some(number);
        Ok(started)
    }

    /// Refuses a host that another application has and this one has not. What it has had before stays, so that an old quarrel keeps
    /// nobody from returning.
    async fn check_hosts(&self, work: &mut Work<'_>, at: &AppEnv, base: &Base) -> Result<()> {
        let current = base.current.as_ref();
        let live = route::load(work, at).await?.value.routes;
        let spec = &self.version.spec;
        let routes = route::merged(&live, current.map(|release| &release.version.spec), spec);
        let mut manifests = Vec::new();
        for (index, component) in spec.components.iter().enumerate() {
            let rendered = self.templates.get(&component.name).filter(|it| !it.template.manifests.is_empty());
            let Some(rendered) = rendered else { continue };
            let before = match current.and_then(|release| release.components.get(&component.name)) {
                Some(before) => {
                    Some(template(work, &at.component(component.name.clone()), &before.revision).await?)
                }
                None => None,
            };
            manifests.push((index, &rendered.template, before));
        }
        let brought = |ports: &ClusterPorts| {
            let mut named = hosts::of_routes(ports, at, &live, &routes, &spec.routes);
            for (index, template, before) in &manifests {
                let had = before.as_ref().map(|before| ports.runtime.hosts(before)).unwrap_or_default();
                let is_new = |host: &HostPath| had.iter().all(|(_, before)| before != host);
                let new = ports.runtime.hosts(template).into_iter().filter(|(_, host)| is_new(host));
                named.extend(new.map(|(path, host)| (format!("components[{index}].{path}"), host)));
            }
            named
        };
        hosts::check(work, at, &base.env.targets, brought).await
    }

    /// How the clusters follow each other, and what one that fails means for the others.
    fn order(&self, env: &Environment) -> (ClusterOrder, OnClusterFailure) {
        (
            self.cluster_order.unwrap_or(env.cluster_order),
            self.on_cluster_failure.unwrap_or(env.on_cluster_failure),
        )
    }

    /// The live number of instances of each component; new components get the declared one.
    async fn scale(&self, work: &mut Work<'_>, base: &Base) -> Result<BTreeMap<ComponentName, u32>> {
        let mut live = BTreeMap::new();
        for component in &self.version.spec.components {
            let Some(rendered) = self.templates.get(&component.name) else { continue };
            let key = rendered.template.component.clone();
            if component.kind.runs_to_completion() {
                // Nothing of it is kept running.
                live.insert(component.name.clone(), 1);
                continue;
            }
            let (least, most) = scale::bounds(component, &base.env.targets);
            let within = |count: u32| count.min(most).max(least.min(most));
            let stored = work.get::<ScaleRecord>(&ScaleRecord::key_of(&key)).await?;
            let count = if let Some(mut scale) = stored {
                // Bounds that became narrower bind the live number too.
                let count = within(scale.value.count);
                if count != scale.value.count {
                    scale.value.count = count;
                    scale.value.version += 1;
                    work.changes().update(&scale)?;
                }
                count
            } else {
                let declared = self.counts.get(&component.name).copied().unwrap_or(component.instances.count);
                let scale = ScaleRecord { component: key, count: within(declared), version: 1 };
                work.changes().create(&scale)?;
                scale.count
            };
            live.insert(component.name.clone(), count);
        }
        Ok(live)
    }

    fn release(
        &self,
        work: &Work<'_>,
        at: &AppEnv,
        number: ReleaseNumber,
        base: &Base,
        live: &BTreeMap<ComponentName, u32>,
        queued: bool,
    ) -> Release {
        let components = self.templates.iter().map(|(name, rendered)| {
            let instances = self.counts.get(name).or_else(|| live.get(name)).copied().unwrap_or(1);
            (name.clone(), ReleasedComponent { revision: rendered.revision.clone(), instances })
        });
        Release {
            at: at.clone(),
            number,
            version: self.version.clone(),
            config: self.config,
            components: components.collect(),
            strategy: plan::release_strategy(self, &base.env),
            origin: self.origin,
            created_by: work.actor().id().to_owned(),
            created_at: work.now(),
            note: self.note.clone(),
            state: if queued { ReleaseState::Queued } else { ReleaseState::Running },
        }
    }

    /// Stores the templates that are not stored yet. Those that are must be the same and must stay until the commit.
    async fn store_templates(&self, work: &mut Work<'_>) -> Result<()> {
        for rendered in self.templates.values() {
            let key = TemplateRecord::key_of(&rendered.template.component, &rendered.revision);
            match work.get::<TemplateRecord>(&key).await? {
                None => work.changes().create(&TemplateRecord {
                    revision: rendered.revision.clone(),
                    template: rendered.template.clone(),
                })?,
                Some(stored) => {
                    let same = super::render::same_content(&stored.value.template, &rendered.template)?;
                    if !same {
                        return Err(Error::new(
                            ErrorKind::Conflict,
                            "store a template under a revision that is taken",
                        )
                        .with_context("component", &rendered.template.component)
                        .with_context("revision", &rendered.revision)
                        .with_remedy("Change anything in the component, such as an environment variable."));
                    }
                    work.changes().expect(Expect::Modified(key, stored.modified));
                }
            }
        }
        Ok(())
    }

    /// The access points of a first release are in force at once: nobody uses them yet. Later ones take effect with
    /// the commit.
    async fn first_routes(&self, work: &mut Work<'_>, at: &AppEnv) -> Result<()> {
        let key = RoutesRecord::key_of(at);
        let mut routes = work
            .get::<RoutesRecord>(&key)
            .await?
            .unwrap_or_else(|| Stored::new(RoutesRecord { at: at.clone(), version: 0, routes: Vec::new() }));
        let merged = route::merged(&routes.value.routes, None, &self.version.spec);
        if !routes.exists() || merged != routes.value.routes {
            routes.value.routes = merged;
            routes.value.version += 1;
            work.changes().update(&routes)?;
        }
        Ok(())
    }

    fn started(&mut self, release: &Release, base: &Base, queued: bool) -> ReleaseStarted {
        let before = |name: &ComponentName| {
            base.current.as_ref().and_then(|current| current.components.get(name)).map(|it| &it.revision)
        };
        let components = release.components.iter().map(|(name, component)| {
            let changed = before(name) != Some(&component.revision);
            (name.clone(), StartedComponent { revision: component.revision.clone(), changed })
        });
        ReleaseStarted {
            at: release.at.clone(),
            number: release.number,
            queued,
            components: components.collect(),
            notes: std::mem::take(&mut self.notes),
            revision: Revision(0),
        }
    }
}

impl Base {
    async fn load(work: &mut Work<'_>, place: &Stored<AppEnvRecord>) -> Result<Self> {
        let at = &place.value.at;
        let env = work.env(&at.env_ref()).await?.value;
        let current = match place.value.current {
            Some(number) => Some(load(work, at, number).await?),
            None => None,
        };
        let view = RolloutView::of(work.services(), place.clone()).await?;
        let coordinator = view.coordinator();
        let under_way =
            coordinator.active.iter().chain(&coordinator.queue).flat_map(|rollout| &rollout.tracks);
        let under_way = under_way.map(|track| track.track.component.component.clone()).collect();
        Ok(Self { env, current, under_way, view })
    }

    /// The components that have tracks now, or will before this release begins.
    fn components(&self) -> impl Iterator<Item = &ComponentName> {
        let current: BTreeSet<&ComponentName> =
            self.current.iter().flat_map(|release| release.components.keys()).collect();
        let others: Vec<&ComponentName> =
            self.under_way.iter().filter(|name| !current.contains(name)).collect();
        current.into_iter().chain(others)
    }

    /// Takes the rollout in as the environment's policy says.
    fn submit(&mut self, rollout: Rollout) -> Result<()> {
        let at = &self.view.at().clone();
        let waiting = self.view.coordinator().queue.len();
        if self.env.on_running == OnRunning::Queue && waiting >= QUEUE_MAX {
            return Err(Error::new(ErrorKind::QuotaExceeded, "let one more release wait")
                .with_context("application", at)
                .with_context("waiting", waiting)
                .with_remedy("Wait until some have been carried out."));
        }
        self.view.submit(rollout, self.env.on_running).map_err(|refused| {
            let remedy = match &self.current {
                Some(current) => {
                    format!("Wait for it, or abort it, which returns to release {}.", current.number)
                }
                None => "Wait for it, or abort it.".to_owned(),
            };
            Error::new(ErrorKind::Conflict, "make a release while another one is under way")
                .with_context("application", at)
                .with_source(refused)
                .with_remedy(remedy)
        })
    }
}

fn describe(release: &Release, queued: bool) -> String {
    let what = match release.origin {
        ReleaseOrigin::Rollback { to, .. } => {
            format!("release {}, a return to release {to},", release.number)
        }
        ReleaseOrigin::Restart => format!("release {}, a restart,", release.number),
        ReleaseOrigin::Configure => format!("release {}, a change of configuration,", release.number),
        ReleaseOrigin::Deploy => format!("release {}", release.number),
    };
    if queued { format!("{what} waits for the one under way") } else { format!("{what} began") }
}

/// A release by its number.
pub(in crate::action) async fn load(work: &Work<'_>, at: &AppEnv, number: ReleaseNumber) -> Result<Release> {
    let found = work.collections().get::<Release>(&Release::key_of(at, number)).await?;
    found.map(|release| release.value).ok_or_else(|| {
        Error::not_found("release", number)
            .with_context("application", at)
            .with_remedy("Only the newest releases are kept; list them to see which.")
    })
}

/// Every release that is kept, in ascending order.
pub(in crate::action) async fn history(work: &Work<'_>, at: &AppEnv) -> Result<Vec<Release>> {
    let releases = work.collections().children::<Release>(at.to_string()).await?;
    Ok(releases.into_iter().map(|release| release.value).collect())
}

/// A stored template.
pub(in crate::action) async fn template(
    work: &Work<'_>,
    component: &ComponentKey,
    revision: &RevisionId,
) -> Result<Template> {
    let found =
        work.collections().get::<TemplateRecord>(&TemplateRecord::key_of(component, revision)).await?;
    found.map(|it| it.value.template).ok_or_else(|| {
        Error::new(ErrorKind::Internal, "find the template of a kept release")
            .with_context("component", component)
            .with_context("revision", revision)
            .with_remedy("Deploy the specification again.")
    })
}
