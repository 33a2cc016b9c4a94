//! The promises of [`Registry`].

use std::sync::Arc;

use async_trait::async_trait;

use super::ok;
use crate::error::{ErrorKind, Result};
use crate::port::{ImageQuery, Registry};

/// A registry under test.
#[async_trait]
pub trait RegistryFixture: Send + Sync {
    /// The registry.
    fn registry(&self) -> Arc<dyn Registry>;

    /// A name without tag under which images can be pushed.
    fn name(&self) -> String;

    /// Pushes an image whose content is its own under a tag and returns its digest.
    async fn push(&self, tag: &str) -> String;

    /// A reference of an image that access is refused to, if there can be one.
    async fn denied(&self) -> Option<String>;

    /// A reference to a registry that cannot be reached, if there can be one.
    async fn unreachable(&self) -> Option<String>;

    /// Whether tags can be listed, as they cannot for a single archive.
    fn lists(&self) -> bool {
        true
    }
}

/// Defines a test for each promise of [`Registry`](crate::port::Registry): attributes of the tests, then an expression for the
/// fixture.
#[macro_export]
macro_rules! registry_conformance {
    ($($form:tt)*) => {
        $crate::conformance_tests! { registry, [$($form)*],
            a_tag_resolves_to_the_digest_it_has_now,
            a_digest_resolves_to_itself,
            failures_are_told_apart_and_name_the_reference,
            tags_come_in_order_and_in_pages,
        }
    };
}

fn query(reference: impl Into<String>) -> ImageQuery {
    ImageQuery { reference: reference.into(), org: None }
}

/// `resolve` tells the digest that a reference has now.
pub async fn a_tag_resolves_to_the_digest_it_has_now(fixture: &dyn RegistryFixture) {
    let registry = fixture.registry();
    let first = fixture.push("moving").await;
    let reference = format!("{}:moving", fixture.name());
    let resolved = ok(registry.resolve(&query(&reference)).await);
    assert_eq!((resolved.digest.as_str(), resolved.reference.as_str()), (first.as_str(), reference.as_str()));
    assert!(first.starts_with("sha256:") && first.len() == 71, "{first}");
    let second = fixture.push("moving").await;
    assert_ne!(second, first);
    assert_eq!(ok(registry.resolve(&query(&reference)).await).digest, second);
}

/// A reference with a digest resolves to that digest.
pub async fn a_digest_resolves_to_itself(fixture: &dyn RegistryFixture) {
    let digest = fixture.push("pinned").await;
    let reference = format!("{}@{digest}", fixture.name());
    assert_eq!(ok(fixture.registry().resolve(&query(reference)).await).digest, digest);
}

/// A missing image, refused access, an unreachable registry and a malformed reference are told apart; each error names
/// the reference.
pub async fn failures_are_told_apart_and_name_the_reference(fixture: &dyn RegistryFixture) {
    fixture.push("present").await;
    let mut cases = vec![
        (format!("{}:absent", fixture.name()), ErrorKind::NotFound),
        (format!("{}@sha256:{}", fixture.name(), "0".repeat(64)), ErrorKind::NotFound),
        (format!("{}@sha256:short", fixture.name()), ErrorKind::Invalid),
        ("not an image".to_owned(), ErrorKind::Invalid),
        (String::new(), ErrorKind::Invalid),
    ];
    cases.extend(fixture.denied().await.map(|reference| (reference, ErrorKind::Denied)));
    cases.extend(fixture.unreachable().await.map(|reference| (reference, ErrorKind::Unavailable)));
    for (reference, kind) in cases {
        let error = fixture.registry().resolve(&query(&reference)).await;
        let error = error.err().unwrap_or_else(|| panic!("{reference:?} resolved, but should be {kind}"));
        assert_eq!(error.kind(), kind, "{}", error.report());
        assert!(error.report().contains(&reference), "{:?} is not named: {}", reference, error.report());
    }
}

/// `list` gives tags in ascending order, in pages.
pub async fn tags_come_in_order_and_in_pages(fixture: &dyn RegistryFixture) {
    if !fixture.lists() {
        return;
    }
    for tag in ["c", "a", "d", "b"] {
        fixture.push(tag).await;
    }
    let (registry, query) = (fixture.registry(), query(format!("{}:a", fixture.name())));
    let page = async |after: Option<&str>, limit| -> Result<Vec<String>> {
        registry.list(&query, after, limit).await
    };
    assert_eq!(ok(page(None, 3).await), ["a", "b", "c"]);
    assert_eq!(ok(page(Some("c"), 3).await), ["d"]);
    assert!(ok(page(Some("d"), 3).await).is_empty());
}
