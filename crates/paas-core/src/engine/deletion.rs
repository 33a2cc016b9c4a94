//! Removing the documents of an application in an environment, once nothing of it runs.

use super::{
    AppEnvRecord, AppRecord, Changes, ConfigRecord, EventKind, EventRecord, Grant, Record, RolloutRecord,
    RoutesRecord, RunRecord, ScaleRecord, ScheduleRecord, SecretRecord, Services, TemplateRecord,
    TrackRecord,
};
use crate::error::Result;
use crate::model::Release;
use crate::name::AppEnv;
use crate::port::{Expect, ListOptions, Scope, Store};
use crate::tenancy::Actor;

/// How many documents go in one transaction.
const BATCH: usize = 200;

/// The kinds below an application in an environment, in the order in which they go. Tracks went before, each with its
/// instances.
const KINDS: &[&str] = &[
    RolloutRecord::KIND,
    TrackRecord::KIND,
    ScheduleRecord::KIND,
    RunRecord::KIND,
    RoutesRecord::KIND,
    ScaleRecord::KIND,
    Release::KIND,
    TemplateRecord::KIND,
    ConfigRecord::KIND,
    SecretRecord::KIND,
    EventRecord::KIND,
];

/// Removes every document of an application that is being deleted from an environment; the one that says so goes last, so
/// that a removal that is cut short is taken up again. Goes with it: the application itself, if it is being deleted and
/// this was its last environment. `guard` is expected in every transaction. Repeating it is harmless.
///
/// # Errors
/// Those of the store.
pub async fn remove_documents(services: &Services, at: &AppEnv, guard: Option<&Expect>) -> Result<()> {
    let place_key = AppEnvRecord::key_of(at);
    let Some(place) = services.collections().get::<AppEnvRecord>(&place_key).await? else { return Ok(()) };
    if place.value.deleting.is_none() {
        return Ok(());
    }
    for kind in KINDS {
        remove_all(services.store().as_ref(), kind, &at.to_string(), guard).await?;
    }
    let mut changes = Changes::new();
    changes.remove(&place);
    remove_grants(services, &mut changes, &Scope::AppEnv(at.clone())).await?;
    let app_key = AppRecord::key_of(&at.app_ref());
    if let Some(app) = services.collections().get::<AppRecord>(&app_key).await?
        && app.value.deleting.is_some()
    {
        let options = ListOptions {
            index: Some(("app".to_owned(), at.app_ref().to_string())),
            ..ListOptions::default()
        };
        let places = services.collections().all::<AppEnvRecord>(options).await?;
        if places.iter().all(|other| other.value.at == *at) {
            changes.remove(&app);
            remove_grants(services, &mut changes, &Scope::App(at.app_ref())).await?;
        } else {
            // Whoever goes last must see that it does.
            changes.expect(Expect::Modified(app_key, app.modified));
            for other in places.iter().filter(|other| other.value.at != *at) {
                changes.expect(other.unchanged());
            }
        }
    }
    if let Some(guard) = guard {
        changes.expect(guard.clone());
    }
    let event = EventRecord {
        id: String::new(),
        scope: Scope::App(at.app_ref()),
        kind: EventKind::Deleted,
        at: services.now(),
        actor: Actor::SYSTEM.to_owned(),
        message: format!("{at} was deleted"),
        release: None,
        component: None,
        cluster: None,
    };
    services.events().add(services, &mut changes, std::slice::from_ref(&event)).await?;
    services.store().commit(changes.into_txn()).await?;
    services.events().trim(services, &[event]).await;
    Ok(())
}

async fn remove_all(store: &dyn Store, kind: &str, parent: &str, guard: Option<&Expect>) -> Result<()> {
    let options = ListOptions {
        kind: kind.to_owned(),
        parent: Some(parent.to_owned()),
        limit: Some(BATCH),
        ..ListOptions::default()
    };
    loop {
        let page = store.list(&options).await?;
        if page.documents.is_empty() {
            return Ok(());
        }
        let mut changes = Changes::new();
        for key in page.documents.into_iter().map(|document| document.key) {
            changes.delete(key);
        }
        if let Some(guard) = guard {
            changes.expect(guard.clone());
        }
        store.commit(changes.into_txn()).await?;
    }
}

async fn remove_grants(services: &Services, changes: &mut Changes, scope: &Scope) -> Result<()> {
    let options =
        ListOptions { index: Some(("scope".to_owned(), Grant::scope_name(scope))), ..ListOptions::default() };
    for grant in services.collections().all::<Grant>(options).await?.into_iter().take(BATCH) {
        changes.remove(&grant);
    }
    Ok(())
}
