use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use paas_core::action::{Deploy, PageOptions, RequestOptions, RollbackTarget, SetSecret};
use paas_core::model::Keep;
use paas_core::port::{Scope, SecretValue};
use serde_json::json;

use crate::support::{Lab, at, one};

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

#[tokio::test]
async fn a_secret_is_nowhere_but_where_the_application_reads_it() {
    let mut lab = Lab::ready().await;
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
    let scope = Scope::AppEnv(at());
    let config = lab.session.get_config(&at(), None).await.unwrap();
    let audit = lab.session.audit(Scope::Org { org: at().org }, page()).await.unwrap();
    let events = lab.session.events(scope, page()).await.unwrap();
    let status = lab.session.status(&at()).await.unwrap();
    let releases = lab.session.releases(&at(), page()).await.unwrap();
    let preview = lab.session.preview_delete(&at()).await.unwrap();
    for release in &releases.items {
        let release = lab.session.release(&at(), release.number).await.unwrap();
        assert_clean("a release", &format!("{release:?}{}", json!(release)));
    }
    for (what, text) in [
        ("the configuration", format!("{config:?}{}", json!(config))),
        ("the audit trail", format!("{audit:?}{}", json!(audit))),
        ("events", format!("{events:?}{}", json!(events))),
        ("the status", format!("{status:?}{}", json!(status))),
        ("the history", format!("{releases:?}{}", json!(releases))),
        ("the preview of a deletion", format!("{preview:?}{}", json!(preview))),
    ] {
        assert_clean(what, &text);
    }

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
