use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use paas_core::Actor;
use paas_core::action::{
    AddCluster, ClusterChange, Deploy, NewCluster, PageOptions, RequestOptions, RollbackTarget, SetSecret,
};
use paas_core::memory::{Images, SimulatedCluster, SimulatedDriver};
use paas_core::model::Keep;
use paas_core::port::{Role, Scope, SecretValue};
use serde_json::json;

use crate::support::{Lab, at, name, one};

const CANARY: &str = "c4nary/+?&=%~ value";

/// The forms under which a secret might appear.
fn forms() -> Vec<String> {
    let url: String = CANARY
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect();
    let hex = hex::encode(CANARY);
    let json = serde_json::to_string(CANARY).unwrap().trim_matches('"').to_owned();
    let bytes = format!("{:?}", CANARY.as_bytes()).trim_matches(['[', ']']).to_owned();
    vec![
        CANARY.to_owned(),
        STANDARD.encode(CANARY),
        STANDARD.encode(CANARY).trim_end_matches('=').to_owned(),
        URL_SAFE.encode(CANARY),
        url.to_lowercase(),
        url,
        hex,
        json,
        bytes,
    ]
}

fn assert_clean(what: &str, text: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "{what} holds {form:?}: {text}");
    }
}

/// Adds and changes a cluster whose credentials are the secret, and fails to add another.
async fn add_a_cluster(lab: &Lab) {
    let new = |cluster: &str, address: &str| NewCluster {
        name: name(cluster),
        kind: "simulated".to_owned(),
        region: None,
        labels: BTreeMap::new(),
        config: json!({ "address": address }),
    };
    let password = || Some(SecretValue::new(CANARY));
    let add = AddCluster { new: new("east", "east.example"), credentials: password(), unreachable: false };
    assert_clean("the action", &format!("{add:?}"));
    let options = RequestOptions { request_id: Some("add-it".to_owned()), ..RequestOptions::default() };
    let added = lab.session.perform_with(add, options).await.unwrap();
    let change = ClusterChange { region: Some("east".to_owned()), ..ClusterChange::default() };
    let changed = lab.session.update_cluster(&name("east"), change, password()).await.unwrap();
    let shown = lab.session.get_cluster(&name("east")).await.unwrap();
    assert_clean("a cluster", &format!("{added:?}{changed:?}{shown:?}{}", json!([added, changed, shown])));
    let error = lab.session.add_cluster(new("west", "nowhere"), password()).await.unwrap_err();
    assert_clean("an error", &format!("{error:?}{}", error.report()));
}

/// Somebody with a role on each kind of scope sets a secret, if they may, and reads all that there is to read.
async fn act_at_every_scope(lab: &Lab) {
    let scopes = [
        (Scope::Platform, Role::PlatformAdmin, true),
        (Scope::Cluster { cluster: name("east") }, Role::Owner, false),
        (Scope::Org { org: at().org }, Role::Owner, true),
        (Scope::Env(at().env_ref()), Role::Owner, true),
        (Scope::App(at().app_ref()), Role::Owner, true),
        (Scope::AppEnv(at()), Role::Owner, true),
    ];
    for (index, (scope, role, may)) in scopes.into_iter().enumerate() {
        let actor = Actor::user(format!("actor-{index}"));
        lab.session.grant(&actor, role, scope.clone()).await.unwrap();
        let session = lab.platform.session(actor);
        let secret = format!("TOKEN_{index}");
        let set = session.set_secret(&at(), &secret, SecretValue::new(CANARY)).await;
        assert_eq!(set.is_ok(), may, "{scope}: {set:?}");
        assert_clean("an answer", &format!("{set:?}"));
        let audit = session.audit(scope.clone(), PageOptions::default()).await.unwrap();
        assert!(!audit.items.is_empty(), "{scope} has a trail");
        let events = session.events(scope.clone(), PageOptions::default()).await.unwrap();
        let grants = session.list_grants(scope.clone(), PageOptions::default()).await.unwrap();
        for (what, text) in [
            ("the audit trail", format!("{audit:?}{}", json!(audit))),
            ("events", format!("{events:?}{}", json!(events))),
            ("roles", format!("{grants:?}{}", json!(grants))),
        ] {
            assert_clean(&format!("{what} of {scope}"), &text);
        }
    }
}

#[tokio::test]
async fn a_secret_is_nowhere_but_where_the_application_reads_it() {
    let driver = SimulatedDriver::new();
    driver.add("east.example", CANARY, SimulatedCluster::new(Images::any()).ports());
    let mut lab = Lab::with(|builder| builder.driver(Arc::new(driver))).await;
    lab.populate().await;
    let set = SetSecret { at: at(), name: "TOKEN".to_owned(), value: SecretValue::new(CANARY) };
    assert_clean("the action", &format!("{set:?}"));
    let options = RequestOptions { request_id: Some("set-it".to_owned()), ..RequestOptions::default() };
    let written = lab.session.perform_with(set, options).await.unwrap();
    assert_clean("the answer", &format!("{written:?}{}", json!(written)));
    let uses = json!({
        "env": { "T": { "secret": "TOKEN" } },
        "files": [{ "path": "/run/token", "secret": "TOKEN", "mode": "0400" }]
    });
    lab.release(one(&uses)).await;
    let started = lab.session.restart(&at(), None).await.unwrap();
    lab.settle().await;
    assert_clean("a release", &format!("{started:?}{}", json!(started)));
    lab.session.rollback(&at(), RollbackTarget::Previous, Keep::Config).await.unwrap();
    lab.settle().await;

    // What people are answered.
    let page = PageOptions::default;
    let config = lab.session.get_config(&at(), None).await.unwrap();
    let status = lab.session.status(&at()).await.unwrap();
    let releases = lab.session.releases(&at(), page()).await.unwrap();
    let preview = lab.session.preview_delete(&at()).await.unwrap();
    for release in &releases.items {
        let release = lab.session.release(&at(), release.number).await.unwrap();
        assert_clean("a release", &format!("{release:?}{}", json!(release)));
    }
    for (what, text) in [
        ("the configuration", format!("{config:?}{}", json!(config))),
        ("the status", format!("{status:?}{}", json!(status))),
        ("the history", format!("{releases:?}{}", json!(releases))),
        ("the preview of a deletion", format!("{preview:?}{}", json!(preview))),
    ] {
        assert_clean(what, &text);
    }

    add_a_cluster(&lab).await;
    act_at_every_scope(&lab).await;

    // Errors on the way.
    lab.session.revoke_secret(&at(), "TOKEN", 1).await.unwrap();
    let again = lab.session.set_secret(&at(), "TOKEN", SecretValue::new(CANARY)).await.unwrap_err();
    assert_clean("an error", &format!("{again:?}{}", again.report()));
    let error = lab.session.deploy(&at(), Deploy::current()).await.unwrap_err();
    assert_clean("an error", &format!("{error:?}{}", error.report()));

    // Everything that is stored, and what prints itself.
    for document in lab.store.dump() {
        assert_clean(&document.key.to_string(), &format!("{document:?}{}", document.body));
    }
    assert_clean("debug output", &format!("{:?}{:?}", lab.platform, lab.session));
}
