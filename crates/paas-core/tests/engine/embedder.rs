//! What embedders add: actions of their own, admission, and events to follow.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use paas_core::action::{Action, Deploy, Effect, PageOptions, Work};
use paas_core::engine::{EventKind, Record};
use paas_core::model::AppSpec;
use paas_core::port::{Admission, AdmissionRequest, DocumentKey, Permission, Role, Scope};
use paas_core::{Actor, Error, ErrorKind, Fault, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::{Lab, at, spec};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    text: String,
}

impl Record for Note {
    const KIND: &'static str = "note";

    fn key(&self) -> DocumentKey {
        DocumentKey::new(Self::KIND, at().to_string(), "note")
    }
}

/// An embedder's own action.
struct WriteNote(&'static str);

#[async_trait]
impl Action for WriteNote {
    type Output = String;
    const NAME: &'static str = "note.write";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        Permission("note.write")
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(at())
    }

    fn detail(&self) -> Value {
        json!({ "text": self.0 })
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<String> {
        work.changes().put(&Note { text: self.0.to_owned() })?;
        Ok(self.0.to_owned())
    }
}

#[tokio::test]
async fn an_embedders_own_action_is_authorised_and_audited_as_the_platforms_are() {
    let lab = Lab::ready().await;
    lab.session.perform(WriteNote("hello")).await.unwrap();
    let developer = Actor::user("dev");
    lab.session.grant(&developer, Role::Developer, Scope::AppEnv(at())).await.unwrap();
    let denied = lab.platform.session(developer).perform(WriteNote("no")).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied, "a permission that the table lacks belongs to owners");
    let trail = lab.session.audit(Scope::AppEnv(at()), PageOptions::default()).await.unwrap();
    assert_eq!(trail.items.iter().filter(|record| record.action == "note.write").count(), 2);
}

/// Refuses images from elsewhere, and says where the rest comes from.
#[derive(Debug)]
struct OwnImages;

#[async_trait]
impl Admission for OwnImages {
    async fn admit(&self, _: &AdmissionRequest<'_>, mut spec: AppSpec) -> Result<AppSpec> {
        let mut faults = Vec::new();
        for (i, component) in spec.components.iter_mut().enumerate() {
            if component.image.starts_with("shop/") {
                component.image = format!("registry.example/{}", component.image);
            } else if !component.image.starts_with("registry.example/") {
                faults.push(Fault::new(format!("components[{i}].image"), "is not ours"));
            }
        }
        if faults.is_empty() { Ok(spec) } else { Err(Error::invalid("admit images", faults)) }
    }
}

#[tokio::test]
async fn admission_amends_or_refuses_a_specification() {
    let lab = Lab::with(|builder| builder.admission(Arc::new(OwnImages))).await;
    lab.populate().await;
    let started = lab.session.deploy(&at(), Deploy::spec(spec())).await.unwrap();
    let release = lab.session.release(&at(), started.number).await.unwrap();
    assert_eq!(release.version.spec.components[0].image, "registry.example/shop/web:1");
    let mut foreign = spec();
    foreign.components[1].image = "elsewhere/api:1".to_owned();
    let error = lab.session.deploy(&at(), Deploy::spec(foreign)).await.unwrap_err();
    assert_eq!(error.faults()[0].path, "components[1].image");
}

#[tokio::test]
async fn events_are_followed_from_where_a_reader_left_off() {
    let mut lab = Lab::ready().await;
    let scope = Scope::AppEnv(at());
    let mut live = lab.session.events_stream(scope.clone(), None).await.unwrap();
    lab.release(spec()).await;
    let first = live.next().await.unwrap().unwrap();
    assert_eq!(first.event.kind, EventKind::ReleaseStarted);
    let mut resumed = lab.session.events_stream(scope.clone(), Some(first.revision)).await.unwrap();
    let second = resumed.next().await.unwrap().unwrap();
    assert_eq!(second.event.kind, EventKind::ReleaseCommitted);
    assert_eq!(live.next().await.unwrap().unwrap(), second);
    // Changes are not kept for ever; events are kept for longer.
    let store = lab.platform.services().store();
    store.compact(store.revision().await.unwrap()).await.unwrap();
    let mut late = lab.session.events_stream(scope, Some(first.revision)).await.unwrap();
    assert_eq!(late.next().await.unwrap().unwrap().event, second.event);
}
