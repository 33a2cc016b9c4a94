use paas_core::ErrorKind;
use paas_core::action::Deploy;
use paas_core::engine::AppState;
use serde_json::json;

use crate::support::{Lab, at, name, one, spec, web};

#[tokio::test]
async fn a_scale_is_in_force_at_once_and_makes_no_release() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    let scaled = lab.session.scale(&at(), &web(), 6).await.unwrap();
    assert_eq!((scaled.from, scaled.to), (2, 6));
    lab.settle().await;
    assert_eq!(lab.count("web"), 6);
    assert_eq!(lab.current().await, Some(1));
}

#[tokio::test]
async fn a_count_out_of_bounds_is_refused_with_the_bounds() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    for count in [0, 11] {
        let error = lab.session.scale(&at(), &web(), count).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(error.faults()[0].path, "count");
        assert!(error.faults()[0].message.contains("from 1 to 10"), "{}", error.faults()[0]);
    }
    let error = lab.session.scale(&at(), &name("nothing"), 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_release_under_way_follows_a_scale() {
    let mut lab = Lab::ready().await;
    lab.release(one(&json!({ "instances": { "count": 2 } }))).await;
    lab.session.deploy(&at(), Deploy::spec(one(&json!({ "env": { "N": "2" } })))).await.unwrap();
    lab.session.scale(&at(), &web(), 4).await.unwrap();
    lab.settle().await;
    assert_eq!((lab.count("web"), lab.current().await), (4, Some(2)));
    let release = lab.session.release(&at(), paas_core::model::ReleaseNumber(2)).await.unwrap();
    assert_eq!(release.components[&web()].instances, 4);
}

#[tokio::test]
async fn narrower_bounds_of_a_new_specification_bind_the_live_count() {
    let mut lab = Lab::ready().await;
    lab.release(one(&json!({}))).await;
    lab.session.scale(&at(), &web(), 9).await.unwrap();
    lab.release(one(&json!({ "instances": { "count": 1, "min": 1, "max": 3 } }))).await;
    assert_eq!(lab.count("web"), 3);
}

#[tokio::test]
async fn offline_keeps_everything_but_the_instances() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    lab.session.stop(&at(), None).await.unwrap();
    lab.settle().await;
    assert_eq!((lab.count("web"), lab.count("api")), (0, 0));
    assert_eq!(lab.session.status(&at()).await.unwrap().state, AppState::Stopped);
    lab.session.start(&at(), Some(&web())).await.unwrap();
    lab.settle().await;
    assert_eq!((lab.count("web"), lab.count("api")), (2, 0));
    lab.session.start(&at(), None).await.unwrap();
    lab.settle().await;
    assert_eq!((lab.count("web"), lab.count("api")), (2, 1));
}
