use paas_core::action::{ConfigChange, ConfigItem, PageOptions};
use paas_core::port::SecretValue;
use paas_core::{ErrorKind, Session};
use serde_json::json;

use crate::support::{Lab, at, one};

fn set(pairs: &[(&str, &str)]) -> ConfigChange {
    let set = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ConfigChange { set, ..ConfigChange::default() }
}

async fn secret(session: &Session, value: &str) -> paas_core::action::ConfigWritten {
    session.set_secret(&at(), "TOKEN", SecretValue::new(value)).await.unwrap()
}

#[tokio::test]
async fn every_change_makes_a_version_and_no_change_makes_none() {
    let lab = Lab::ready().await;
    assert_eq!(lab.session.get_config(&at(), None).await.unwrap().version, 0);
    let first = lab.session.set_config(&at(), set(&[("A", "1"), ("B", "2")])).await.unwrap();
    let same = lab.session.set_config(&at(), set(&[("A", "1")])).await.unwrap();
    assert_eq!((first.version, first.changed, same.version, same.changed), (1, true, 1, false));
    let unset = ConfigChange { unset: ["B".to_owned()].into(), ..ConfigChange::default() };
    assert_eq!(lab.session.set_config(&at(), unset).await.unwrap().version, 2);
    let old = lab.session.get_config(&at(), Some(1)).await.unwrap();
    assert_eq!(old.items["B"], ConfigItem::Setting { value: "2".to_owned() });
    assert!(!old.latest);
    let history = lab.session.config_history(&at(), PageOptions::default()).await.unwrap();
    assert_eq!(history.items.iter().map(|it| it.version).collect::<Vec<_>>(), [2, 1]);
    let page = PageOptions { limit: Some(1), after: None };
    let page = lab.session.config_history(&at(), page).await.unwrap();
    let next = PageOptions { after: page.next, limit: None };
    assert_eq!(lab.session.config_history(&at(), next).await.unwrap().items[0].version, 1);
}

#[tokio::test]
async fn every_fault_of_a_change_is_told() {
    let lab = Lab::ready().await;
    secret(&lab.session, "s").await;
    let change = ConfigChange {
        set: [("TOKEN".to_owned(), "x".to_owned())].into(),
        unset: ["MISSING".to_owned()].into(),
    };
    let error = lab.session.set_config(&at(), change).await.unwrap_err();
    let paths: Vec<&str> = error.faults().iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(paths, [r#"set["TOKEN"]"#, r#"unset["MISSING"]"#]);
    let error = lab.session.set_config(&at(), set(&[("no spaces", "1")])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_secret_shows_its_name_version_and_time_and_its_value_to_runtimes_only() {
    let mut lab = Lab::ready().await;
    let written = secret(&lab.session, "first").await;
    assert_eq!(written.secret_version, Some(1));
    assert!(!secret(&lab.session, "first").await.changed, "the same value again changes nothing");
    let view = lab.session.get_config(&at(), None).await.unwrap();
    let ConfigItem::Secret(shown) = &view.items["TOKEN"] else { panic!("a secret") };
    assert_eq!((shown.version, shown.revoked, shown.set_by.as_deref()), (1, false, Some("user:root")));
    lab.release(one(&json!({ "env": { "T": { "secret": "TOKEN" } } }))).await;
    let release = lab.session.release(&at(), paas_core::model::ReleaseNumber(1)).await.unwrap();
    let config = lab.session.get_config(&at(), Some(release.config)).await.unwrap();
    assert_eq!(config.items.len(), 1);
    let reference = secret_ref(&lab).await;
    let source = lab.platform.secret_source();
    assert_eq!(source.reveal(&at(), &reference).await.unwrap().reveal(), b"first");
    let elsewhere = "acme/prod/other".parse().unwrap();
    assert_eq!(source.reveal(&elsewhere, &reference).await.unwrap_err().kind(), ErrorKind::NotFound);
    lab.session.revoke_secret(&at(), "TOKEN", 1).await.unwrap();
    assert_eq!(source.reveal(&at(), &reference).await.unwrap_err().kind(), ErrorKind::Denied);
}

async fn secret_ref(lab: &Lab) -> paas_core::model::SecretRef {
    let secrets =
        lab.services().collections().children::<paas_core::engine::SecretRecord>(at().to_string()).await;
    secrets.unwrap()[0].value.reference()
}

#[tokio::test]
async fn a_revoked_value_cannot_be_set_again() {
    let lab = Lab::ready().await;
    secret(&lab.session, "leaked").await;
    secret(&lab.session, "better").await;
    lab.session.revoke_secret(&at(), "TOKEN", 1).await.unwrap();
    let error = lab.session.set_secret(&at(), "TOKEN", SecretValue::new("leaked")).await.unwrap_err();
    assert!(error.faults()[0].message.contains("was revoked"), "{}", error.report());
    assert!(!error.report().contains("leaked"));
}
