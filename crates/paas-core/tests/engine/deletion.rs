use paas_core::ErrorKind;
use paas_core::action::Deploy;
use paas_core::engine::AppState;
use paas_core::port::SecretValue;
use serde_json::json;

use crate::support::{Lab, at, one, spec};

fn below(lab: &Lab) -> Vec<String> {
    let documents = lab.store.dump().into_iter().map(|document| document.key);
    let at = at();
    let here = documents.filter(|key| key.parent.starts_with(&at.to_string()) || key.kind == "app_env");
    here.map(|key| key.to_string()).collect()
}

#[tokio::test]
async fn a_deletion_names_what_is_lost_and_leaves_nothing() {
    let mut lab = Lab::ready().await;
    lab.session.set_secret(&at(), "TOKEN", SecretValue::new("s")).await.unwrap();
    let mut with_volume = one(&json!({ "volumes": [{ "name": "data", "path": "/data" }] }));
    with_volume.routes = spec().routes;
    lab.release(with_volume).await;
    let preview = lab.session.preview_delete(&at()).await.unwrap();
    assert_eq!(preview.volumes.iter().collect::<Vec<_>>(), ["web/data"]);
    assert_eq!((preview.releases, preview.config_versions), (1, 1));
    assert_eq!((preview.secrets.len(), preview.routes.len(), preview.instances.len()), (1, 1, 1));
    let error = lab.session.delete_app_env(&at(), "other").await.unwrap_err();
    assert_eq!(error.faults()[0].path, "confirm");
    lab.session.delete_app_env(&at(), "shop").await.unwrap();
    assert_eq!(lab.session.status(&at()).await.unwrap().state, AppState::Deleting);
    let error = lab.session.deploy(&at(), Deploy::spec(spec())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    lab.settle().await;
    assert_eq!(below(&lab), Vec::<String>::new());
    assert_eq!(lab.count("web"), 0);
    // The application is still there, and can be deployed anew.
    assert_eq!(lab.session.status(&at()).await.unwrap().state, AppState::NotDeployed);
    lab.release(spec()).await;
    assert_eq!(lab.current().await, Some(1));
}

#[tokio::test]
async fn deleting_an_application_deletes_it_everywhere_and_then_itself() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    let lost = lab.session.delete_app(&at().app_ref(), "shop").await.unwrap();
    assert_eq!(lost.len(), 1);
    lab.settle().await;
    let error = lab.session.get_app(&at().app_ref()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    lab.session.delete_env(&at().env_ref()).await.unwrap();
    lab.session.delete_org(&at().org).await.unwrap();
}

#[tokio::test]
async fn what_is_not_empty_is_not_deleted() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    let error = lab.session.delete_env(&at().env_ref()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("shop"), "{error}");
    let error = lab.session.delete_org(&at().org).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_deletion_in_the_middle_of_a_release_completes() {
    let mut lab = Lab::ready().await;
    lab.release(one(&json!({}))).await;
    let deploy = Deploy::spec(one(&json!({ "env": { "N": "bad" } })));
    let bad = lab.session.deploy(&at(), deploy).await.unwrap();
    lab.broken.extend(bad.components.values().map(|component| component.revision.clone()));
    lab.settle().await;
    lab.session.delete_app_env(&at(), "shop").await.unwrap();
    lab.settle().await;
    assert_eq!(below(&lab), Vec::<String>::new());
}
