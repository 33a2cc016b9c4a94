//! What an action works with: guarded reads, and the changes that it prepares.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use super::{ListPage, PageOptions, Versioned};
use crate::engine::{
    AppEnvRecord, AppRecord, Changes, ClusterRecord, Collections, EventKind, EventRecord, Record,
    RolloutView, Services, Stored,
};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Environment, Organization};
use crate::name::{AppEnv, AppRef, ClusterName, EnvRef, OrgName};
use crate::port::{AccessRequest, Decision, DocumentKey, Expect, ListOptions, Permission, Revision, Scope};
use crate::tenancy::Actor;

/// What an action works with.
///
/// Documents that are read with [`Work::get`] and its like must be unchanged when the changes are committed; if they are
/// not, the action runs again. Lists are not guarded.
#[derive(Debug)]
pub struct Work<'a> {
    services: &'a Services,
    actor: &'a Actor,
    now: Timestamp,
    reads: BTreeMap<DocumentKey, Expect>,
    changes: Changes,
    events: Vec<EventRecord>,
    refusal: Option<String>,
}

impl<'a> Work<'a> {
    pub(super) fn new(services: &'a Services, actor: &'a Actor) -> Self {
        Self {
            services,
            actor,
            now: services.now(),
            reads: BTreeMap::new(),
            changes: Changes::new(),
            events: Vec::new(),
            refusal: None,
        }
    }

    /// What the platform is made of.
    pub fn services(&self) -> &'a Services {
        self.services
    }

    /// Typed reads that guard nothing.
    pub fn collections(&self) -> &'a Collections {
        self.services.collections()
    }

    /// Who acts.
    pub fn actor(&self) -> &'a Actor {
        self.actor
    }

    /// The time of this attempt.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The changes prepared so far.
    pub fn changes(&mut self) -> &mut Changes {
        &mut self.changes
    }

    /// A document, or nothing; either must still be so at the commit.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn get<T: Record>(&mut self, key: &DocumentKey) -> Result<Option<Stored<T>>> {
        let stored = self.collections().get::<T>(key).await?;
        let expect = stored.as_ref().map_or_else(|| Expect::Absent(key.clone()), Stored::unchanged);
        self.reads.insert(key.clone(), expect);
        Ok(stored)
    }

    /// A document that must exist.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not, and those of the store.
    pub async fn need<T: Record>(
        &mut self,
        key: &DocumentKey,
        noun: &'static str,
        name: impl fmt::Display,
    ) -> Result<Stored<T>> {
        self.get(key).await?.ok_or_else(|| Error::not_found(noun, name))
    }

    /// Stores a new document.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if there is one, and those of the store.
    pub async fn create<T: Record>(
        &mut self,
        noun: &'static str,
        name: impl fmt::Display,
        value: &T,
    ) -> Result<()> {
        if self.get::<T>(&value.key()).await?.is_some() {
            return Err(
                Error::new(ErrorKind::AlreadyExists, format!("create the {noun}")).with_context(noun, name)
            );
        }
        self.changes.create(value)
    }

    /// The clusters that there are: those that the platform was built with, and those that were added, open or not.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn cluster_names(&self) -> Result<BTreeSet<ClusterName>> {
        let added = self.collections().all::<ClusterRecord>(ListOptions::default()).await?;
        let added = added.into_iter().map(|record| record.value.name);
        Ok(self.services.built_in_clusters().into_iter().chain(added).collect())
    }

    /// Whether there is such a cluster, open or not.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn knows_cluster(&self, cluster: &ClusterName) -> Result<bool> {
        let key = ClusterRecord::key_of(cluster);
        Ok(self.services.is_built_in(cluster)
            || self.collections().get::<ClusterRecord>(&key).await?.is_some())
    }

    /// An organisation.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of the store.
    pub async fn org(&mut self, org: &OrgName) -> Result<Stored<Organization>> {
        self.need(&Organization::key_of(org), "organisation", org).await
    }

    /// An environment.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of the store.
    pub async fn env(&mut self, env: &EnvRef) -> Result<Stored<Environment>> {
        self.need(&Environment::key_of(env), "environment", env).await
    }

    /// An application.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of the store.
    pub async fn app(&mut self, app: &AppRef) -> Result<Stored<AppRecord>> {
        self.need(&AppRecord::key_of(app), "application", app).await
    }

    /// An application in an environment that has been configured or deployed there.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of the store.
    pub async fn place(&mut self, at: &AppEnv) -> Result<Stored<AppEnvRecord>> {
        if let Some(place) = self.get::<AppEnvRecord>(&AppEnvRecord::key_of(at)).await? {
            return Ok(place);
        }
        self.app(&at.app_ref()).await?;
        self.env(&at.env_ref()).await?;
        Err(Error::new(ErrorKind::NotFound, "find the application in the environment")
            .with_context("application", at)
            .with_remedy("It has not been deployed there yet: deploy it first."))
    }

    /// An application in an environment that is to be changed: not while it is being deleted.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Conflict`] during a deletion, and those of the store.
    pub async fn live_place(&mut self, at: &AppEnv) -> Result<Stored<AppEnvRecord>> {
        let place = self.place(at).await?;
        refuse_deleting(&place)?;
        Ok(place)
    }

    /// An application in an environment, which an update creates if this is the first that is done to it there.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such application or environment, [`ErrorKind::Conflict`] during a
    /// deletion, and those of the store.
    pub async fn place_or_new(&mut self, at: &AppEnv) -> Result<Stored<AppEnvRecord>> {
        let app = self.app(&at.app_ref()).await?;
        self.env(&at.env_ref()).await?;
        let place = match self.get::<AppEnvRecord>(&AppEnvRecord::key_of(at)).await? {
            Some(place) => place,
            None => Stored::new(AppEnvRecord::new(at.clone())),
        };
        refuse_deleting(&place)?;
        if app.value.deleting.is_some() {
            return Err(Error::new(ErrorKind::Conflict, "change an application that is being deleted")
                .with_context("application", at));
        }
        Ok(place)
    }

    /// Tells of something that happens with the commit.
    pub fn event(&mut self, kind: EventKind, scope: Scope, message: impl Into<String>) -> &mut EventRecord {
        self.events.push(EventRecord {
            id: String::new(),
            scope,
            kind,
            at: self.now,
            actor: self.actor.id().to_owned(),
            message: message.into(),
            release: None,
            component: None,
            cluster: None,
        });
        self.events.last_mut().expect("an event was just added")
    }

    /// Notes that a rule refuses the action, which then fails: the reason goes to the audit trail.
    pub fn refuse(&mut self, reason: impl Into<String>) {
        self.refusal = Some(reason.into());
    }

    /// Why a rule refuses the action, if one does.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Stores the rollouts and tracks of a view as they are now, with what that means for the releases' records.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn store_view(&mut self, view: RolloutView) -> Result<()> {
        let mut events = view.store(self.services, &mut self.changes).await?;
        for event in &mut events {
            self.actor.id().clone_into(&mut event.actor);
        }
        self.events.append(&mut events);
        Ok(())
    }

    /// Whether the actor may do something else than what this action needs.
    ///
    /// # Errors
    /// Those of the authorizer.
    pub async fn may(&self, permission: Permission, scope: &Scope) -> Result<bool> {
        let request = AccessRequest { actor: self.actor.id(), permission, scope };
        Ok(self.services.authorizer().authorize(&request).await? == Decision::Allow)
    }

    /// The answer about an object that is stored by this action; its revision is filled in after the commit.
    pub fn versioned<T>(&self, value: T) -> Versioned<T> {
        Versioned { value, revision: Revision(0) }
    }

    /// A page of the documents below `parent` that the actor may see. A page may be short of its limit, and there is
    /// more as long as it names a next one.
    pub(super) async fn visible_page<T: Record>(
        &self,
        parent: &str,
        page: &PageOptions,
        permission: Permission,
        scope: impl Fn(&T) -> Scope + Send + Sync,
    ) -> Result<ListPage<Versioned<T>>> {
        let found = self.collections().page::<T>(page.list(T::KIND, parent, false)?).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for item in found.items {
            if self.may(permission, &scope(&item.value)).await? {
                items.push(Versioned { value: item.value, revision: item.modified });
            }
        }
        Ok(ListPage { items, next: found.next.map(|key| key.name) })
    }

    /// The changes with the expectations that everything read is unchanged, and the events.
    pub(super) fn into_parts(self) -> (Changes, Vec<EventRecord>) {
        let mut changes = self.changes;
        for expect in self.reads.into_values() {
            changes.expect(expect);
        }
        (changes, self.events)
    }
}

fn refuse_deleting(place: &Stored<AppEnvRecord>) -> Result<()> {
    if place.value.deleting.is_none() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, "change an application that is being deleted")
        .with_context("application", &place.value.at)
        .with_remedy("Wait until the deletion is complete."))
}
