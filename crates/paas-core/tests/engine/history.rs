use paas_core::ErrorKind;
use paas_core::action::{ConfigChange, Deploy, PageOptions, RollbackTarget};
use paas_core::engine::{ConfigRecord, EventRecord, Record, SecretRecord, TemplateRecord};
use paas_core::model::{Keep, Release, ReleaseNumber};
use paas_core::port::SecretValue;
use serde_json::json;

use crate::support::{Lab, at, one, web};

async fn count<T: Record>(lab: &Lab) -> usize {
    lab.services().collections().children::<T>(at().to_string()).await.unwrap().len()
}

#[tokio::test]
async fn ten_committed_releases_besides_the_current_are_kept_whole() {
    let mut lab = Lab::ready().await;
    lab.release_up_to(15).await;
    let page = lab.session.releases(&at(), PageOptions::default()).await.unwrap();
    let numbers: Vec<u64> = page.items.iter().map(|release| release.number.0).collect();
    assert_eq!(numbers, (5..=15).rev().collect::<Vec<_>>());
    assert_eq!(count::<TemplateRecord>(&lab).await, 11, "templates that no release uses are gone");
    let oldest = RollbackTarget::Number(ReleaseNumber(5));
    lab.session.rollback(&at(), oldest, Keep::Nothing).await.unwrap();
    lab.settle().await;
    assert_eq!(lab.current().await, Some(16));
    let gone = RollbackTarget::Number(ReleaseNumber(4));
    let error = lab.session.rollback(&at(), gone, Keep::Nothing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn aborted_attempts_displace_no_committed_release_and_are_bounded() {
    let mut lab = Lab::ready().await;
    lab.release_up_to(3).await;
    for n in 0..30 {
        let deploy = Deploy::spec(one(&json!({ "env": { "BAD": n.to_string() } })));
        let bad = lab.session.deploy(&at(), deploy).await.unwrap();
        lab.broken.insert(bad.components[&web()].revision.clone());
        lab.session.abort(&at(), "").await.unwrap();
        lab.settle().await;
        lab.clock.advance(jiff::SignedDuration::from_secs(60));
        lab.settle().await;
    }
    let releases = lab.services().collections().children::<Release>(at().to_string()).await.unwrap();
    assert_eq!(releases.len(), 3 + 20);
    let numbers: Vec<u64> = releases.iter().take(3).map(|release| release.value.number.0).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(lab.current().await, Some(3));
}

#[tokio::test]
async fn configurations_and_secrets_of_kept_releases_are_kept_and_others_go() {
    let mut lab = Lab::ready().await;
    let uses = json!({ "env": { "T": { "secret": "TOKEN" } } });
    for n in 0..30 {
        lab.session.set_secret(&at(), "TOKEN", SecretValue::new(format!("value {n}"))).await.unwrap();
        let set = [("N".to_owned(), n.to_string())].into();
        lab.session.set_config(&at(), ConfigChange { set, ..ConfigChange::default() }).await.unwrap();
        if n % 2 == 0 {
            lab.release(one(&uses)).await;
        }
    }
    let releases = lab.services().collections().children::<Release>(at().to_string()).await.unwrap();
    assert_eq!(releases.len(), 11);
    for release in &releases {
        let config = lab.session.get_config(&at(), Some(release.value.config)).await.unwrap();
        assert!(
            matches!(&config.items["TOKEN"], paas_core::action::ConfigItem::Secret(view) if !view.revoked)
        );
    }
    assert!(count::<ConfigRecord>(&lab).await <= 35, "{}", count::<ConfigRecord>(&lab).await);
    assert!(count::<SecretRecord>(&lab).await <= 25, "{}", count::<SecretRecord>(&lab).await);
}

#[tokio::test]
async fn events_are_bounded_for_each_application() {
    let mut lab = Lab::ready().await;
    lab.release(one(&json!({}))).await;
    for n in 0..400 {
        lab.session.scale(&at(), &web(), 1 + n % 3).await.unwrap();
        lab.session.stop(&at(), None).await.unwrap();
        lab.session.start(&at(), None).await.unwrap();
    }
    let events = count::<EventRecord>(&lab).await;
    assert!((500..=560).contains(&events), "{events}");
    let scope = paas_core::port::Scope::AppEnv(at());
    let newest = lab.session.events(scope, PageOptions::default()).await.unwrap();
    assert_eq!(newest.items[0].kind, paas_core::engine::EventKind::Started, "the newest comes first");
}
