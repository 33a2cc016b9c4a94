use std::time::Duration;

use wiremock::matchers::{header, header_exists, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::testing::{HostileTar, TestImage};
use crate::{Image, ImageStore, PullOptions, StoreOptions};

fn image() -> TestImage {
    TestImage::of_layer(&HostileTar::default().file("hello", b"world").finish())
}

fn registries() -> Registries {
    Registries::default().without_docker_config().with_retries(3, Duration::from_millis(5))
}

fn reference(server: &MockServer) -> Reference {
    format!("{}/shop/web:1", server.address()).parse().unwrap()
}

async fn pull(registries: &Registries, reference: &Reference) -> Result<Image> {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { sync: false, ..StoreOptions::default() };
    let store = ImageStore::open_with(directory.path(), options).unwrap();
    let pulled = store.pull(&*registries.source(reference)?, reference, &PullOptions::default()).await;
    if let Ok(image) = &pulled {
        assert_eq!(std::fs::read(image.layers()[0].join("hello")).unwrap(), b"world");
    }
    pulled
}

fn manifest_answer(image: &TestImage) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(image.manifest.clone(), MediaType::OCI_MANIFEST)
}

async fn serve_manifest(server: &MockServer, image: &TestImage) {
    Mock::given(path("/v2/shop/web/manifests/1")).respond_with(manifest_answer(image)).mount(server).await;
}

async fn serve_blob(server: &MockServer, bytes: &[u8]) {
    let at = format!("/v2/shop/web/blobs/{}", crate::Digest::of(bytes));
    Mock::given(path(at)).respond_with(ResponseTemplate::new(200).set_body_bytes(bytes)).mount(server).await;
}

async fn serve(server: &MockServer, image: &TestImage) {
    serve_manifest(server, image).await;
    serve_blob(server, &image.config).await;
    serve_blob(server, &image.layers[0]).await;
}

/// Refuses everything without this `Authorization`; mounted before the rest, so that it goes first.
async fn require(server: &MockServer, authorization: &'static str, challenge: String) {
    Mock::given(move |request: &wiremock::Request| {
        request.url.path().starts_with("/v2/")
            && request.headers.get("authorization").is_none_or(|given| given != authorization)
    })
    .respond_with(ResponseTemplate::new(401).insert_header("www-authenticate", challenge))
    .mount(server)
    .await;
}

#[tokio::test]
async fn an_image_is_pulled_anonymously() {
    let server = MockServer::start().await;
    let image = image();
    serve(&server, &image).await;
    assert_eq!(pull(&registries(), &reference(&server)).await.unwrap().digest(), image.digest());
}

#[tokio::test]
async fn a_token_is_fetched_once_for_a_scope_with_the_credentials() {
    let server = MockServer::start().await;
    let challenge = format!(
        r#"Bearer realm="{}/token",service="shop registry",scope="repository:shop/web:pull""#,
        server.uri()
    );
    require(&server, "Bearer secret-token", challenge).await;
    Mock::given(path("/token"))
        .and(query_param("service", "shop registry"))
        .and(query_param("scope", "repository:shop/web:pull"))
        .and(header("authorization", "Basic YW5uOnB3"))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_json(serde_json::json!({ "token": "secret-token", "expires_in": 300 })),
        )
        .expect(1)
        .mount(&server)
        .await;
    serve(&server, &image()).await;
    let credentials = Credentials::Password { user: "ann".into(), password: "pw".into() };
    let registries = registries().with_credentials(server.address().to_string(), credentials);
    pull(&registries, &reference(&server)).await.unwrap();
    pull(&registries, &reference(&server)).await.unwrap();
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let server = MockServer::start().await;
    require(&server, "Bearer t", format!(r#"Bearer realm="{}/token",service="s""#, server.uri())).await;
    Mock::given(method("POST"))
        .and(path("/token"))
        .and(wiremock::matchers::body_string_contains("grant_type=refresh_token"))
        .and(wiremock::matchers::body_string_contains("refresh_token=identity"))
        .respond_with(ResponseTemplate::new(200).set_body_json(serde_json::json!({ "access_token": "t" })))
        .expect(1)
        .mount(&server)
        .await;
    serve(&server, &image()).await;
    let credentials = Credentials::IdentityToken("identity".into());
    let registries = registries().with_credentials(server.address().to_string(), credentials);
    pull(&registries, &reference(&server)).await.unwrap();
}

#[tokio::test]
async fn basic_authentication_works_and_wrong_credentials_are_denied() {
    let server = MockServer::start().await;
    require(&server, "Basic YW5uOnB3", r#"Basic realm="x""#.to_owned()).await;
    serve(&server, &image()).await;
    let with = |password: &str| {
        let credentials = Credentials::Password { user: "ann".into(), password: password.into() };
        registries().with_credentials(server.address().to_string(), credentials)
    };
    pull(&with("pw"), &reference(&server)).await.unwrap();
    for registries in [with("wrong"), registries()] {
        let error = pull(&registries, &reference(&server)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("shop/web:1") && error.remedy().is_some(), "{error}");
        assert!(!format!("{error} {error:?}").contains("wrong"), "{error:?}");
    }
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let (server, store) = (MockServer::start().await, MockServer::start().await);
    let image = image();
    require(&server, "Basic YW5uOnB3", r#"Basic realm="x""#.to_owned()).await;
    serve_manifest(&server, &image).await;
    serve_blob(&server, &image.config).await;
    let at = format!("/v2/shop/web/blobs/{}", crate::Digest::of(&image.layers[0]));
    let to = format!("{}/bucket/layer?signature=x", store.uri());
    Mock::given(path(at))
        .respond_with(ResponseTemplate::new(307).insert_header("location", to))
        .mount(&server)
        .await;
    Mock::given(header_exists("authorization"))
        .respond_with(ResponseTemplate::new(400))
        .expect(0)
        .mount(&store)
        .await;
    Mock::given(path("/bucket/layer"))
        .respond_with(ResponseTemplate::new(200).set_body_bytes(image.layers[0].clone()))
        .expect(1)
        .mount(&store)
        .await;
    let credentials = Credentials::Password { user: "ann".into(), password: "pw".into() };
    let registries = registries().with_credentials(server.address().to_string(), credentials);
    pull(&registries, &reference(&server)).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_is_busy_is_asked_again() {
    for status in [429, 500, 503] {
        let server = MockServer::start().await;
        Mock::given(path("/v2/shop/web/manifests/1"))
            .respond_with(ResponseTemplate::new(status).insert_header("retry-after", "0"))
            .up_to_n_times(2)
            .expect(2)
            .mount(&server)
            .await;
        serve(&server, &image()).await;
        pull(&registries(), &reference(&server)).await.unwrap();
    }
}

#[tokio::test]
async fn what_lasts_is_told_by_its_kind() {
    for (status, kind, requests) in [
        (404, ErrorKind::NotFound, 1),
        (403, ErrorKind::Denied, 1),
        (429, ErrorKind::RateLimited, 3),
        (503, ErrorKind::Unavailable, 3),
        (400, ErrorKind::Unsupported, 1),
    ] {
        let server = MockServer::start().await;
        let body = serde_json::json!({ "errors": [{ "code": "CODE", "message": "as\nsaid" }] });
        Mock::given(method("GET"))
            .respond_with(ResponseTemplate::new(status).set_body_json(body))
            .expect(requests)
            .mount(&server)
            .await;
        let error = pull(&registries(), &reference(&server)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("CODE as\\nsaid"), "{error}");
    }
}

#[tokio::test]
async fn a_registry_that_wants_a_long_pause_is_not_waited_for() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(429).insert_header("retry-after", "3600"))
        .expect(1)
        .mount(&server)
        .await;
    assert_eq!(pull(&registries(), &reference(&server)).await.unwrap_err().kind(), ErrorKind::RateLimited);
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let reference: Reference = format!("{}/a:1", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let error = pull(&registries(), &reference).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn blobs_that_are_cut_off_or_wrong_are_refused() {
    let image = image();
    let layer = &image.layers[0];
    for wrong in [&layer[..layer.len() / 2], &[&layer[..], b"more"].concat(), &vec![7; layer.len()]] {
        let server = MockServer::start().await;
        serve_manifest(&server, &image).await;
        serve_blob(&server, &image.config).await;
        let at = format!("/v2/shop/web/blobs/{}", crate::Digest::of(layer));
        let answer = ResponseTemplate::new(200).set_body_bytes(wrong);
        Mock::given(path(at)).respond_with(answer).expect(3).mount(&server).await;
        let error = pull(&registries(), &reference(&server)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[tokio::test]
async fn a_blob_that_came_wrong_once_is_fetched_again() {
    let server = MockServer::start().await;
    let image = image();
    let at = format!("/v2/shop/web/blobs/{}", crate::Digest::of(&image.layers[0]));
    let half = image.layers[0][..20].to_vec();
    let answer = ResponseTemplate::new(200).set_body_bytes(half);
    Mock::given(path(at)).respond_with(answer).up_to_n_times(1).mount(&server).await;
    serve(&server, &image).await;
    pull(&registries(), &reference(&server)).await.unwrap();
}

#[tokio::test]
async fn documents_of_other_kinds_or_without_bounds_are_refused() {
    let image = image();
    let huge = vec![b' '; 5 * 1024 * 1024];
    let schema1 = br#"{"schemaVersion":1,"name":"x"}"#.to_vec();
    for (body, media_type, kind) in [
        (image.manifest.clone(), "application/vnd.example.artifact+json", None),
        (huge, MediaType::OCI_MANIFEST, Some(ErrorKind::TooLarge)),
        (schema1, "application/vnd.docker.distribution.manifest.v1+prettyjws", Some(ErrorKind::Unsupported)),
        (b"<html>".to_vec(), "text/html", Some(ErrorKind::Invalid)),
    ] {
        let server = MockServer::start().await;
        Mock::given(path("/v2/shop/web/manifests/1"))
            .respond_with(ResponseTemplate::new(200).set_body_raw(body, media_type))
            .mount(&server)
            .await;
        serve(&server, &image).await;
        let pulled = pull(&registries(), &reference(&server)).await;
        assert_eq!(pulled.err().map(|error| error.kind()), kind, "{media_type}");
    }
}

#[tokio::test]
async fn tags_are_read_over_pages_of_the_same_registry() {
    let server = MockServer::start().await;
    let page = |tags: &[&str]| {
        ResponseTemplate::new(200).set_body_json(serde_json::json!({ "name": "shop/web", "tags": tags }))
    };
    let at = "/v2/shop/web/tags/list";
    Mock::given(path(at))
        .and(query_param("last", "b"))
        .respond_with(page(&["c", "not a tag"]))
        .mount(&server)
        .await;
    let first = page(&["b", "a"]).insert_header("link", r#"</v2/shop/web/tags/list?last=b&n=2>; rel="next""#);
    Mock::given(path(at)).and(query_param("n", "1000")).respond_with(first).mount(&server).await;
    let reference = reference(&server);
    let tags = registries().source(&reference).unwrap().tags(&reference).await.unwrap();
    assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
    let away = Url::parse("http://127.0.0.1:1/v2/x/tags/list").unwrap();
    assert_eq!(next_page(&away, r#"<http://127.0.0.2:1/x>; rel="next""#), None);
}

#[test]
fn only_loopback_and_what_is_allowed_is_spoken_to_without_encryption() {
    let remote = |registries: &Registries, text: &str| {
        format!("{:?}", registries.source(&text.parse().unwrap()).unwrap())
    };
    let registries = registries();
    assert!(remote(&registries, "registry.example.com/a").contains("scheme: \"https\""));
    assert!(remote(&registries, "localhost:5000/a").contains("scheme: \"http\""));
    assert!(remote(&registries, "nginx").contains("registry-1.docker.io"));
    assert!(
        remote(&registries.with_plain_http("registry.example.com"), "registry.example.com/a")
            .contains("scheme: \"http\"")
    );
}
