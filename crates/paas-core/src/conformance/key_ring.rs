//! The promises of [`KeyRing`].

use std::sync::Arc;

use async_trait::async_trait;

use super::{expect_kind, ok};
use crate::error::ErrorKind;
use crate::port::{KeyRing, SecretValue};

/// A key ring under test.
#[async_trait]
pub trait KeyRingFixture: Send + Sync {
    /// The key ring.
    fn key_ring(&self) -> Arc<dyn KeyRing>;

    /// The same keys, as after a restart.
    async fn reopened(&self) -> Arc<dyn KeyRing>;

    /// The key ring of another installation.
    async fn elsewhere(&self) -> Arc<dyn KeyRing>;
}

/// Defines a test for each promise of [`KeyRing`](crate::port::KeyRing): attributes of the tests, then an expression for the
/// fixture.
#[macro_export]
macro_rules! key_ring_conformance {
    ($($form:tt)*) => {
        $crate::conformance_tests! { key_ring, [$($form)*],
            what_was_sealed_opens,
            another_context_opens_nothing,
            altered_bytes_open_nothing,
            sealing_twice_gives_different_bytes,
            old_values_open_after_a_rotation,
            fingerprints_are_stable_and_tell_values_apart,
            fingerprints_differ_between_installations,
            nothing_printed_holds_the_value,
        }
    };
}

const CONTEXT: &str = "secret/shop/prod/web/DB_PASSWORD/3";
const CANARY: &[u8] = b"canary-5e1f\x00\xff";

fn value(bytes: &[u8]) -> SecretValue {
    SecretValue::new(bytes)
}

/// `open` of what `seal` made with the same context gives the value back, also after a restart.
pub async fn what_was_sealed_opens(fixture: &dyn KeyRingFixture) {
    let ring = fixture.key_ring();
    let large = vec![7; 100_000];
    for bytes in [CANARY, b"", &large] {
        let sealed = ok(ring.seal(CONTEXT, &value(bytes)).await);
        assert_eq!(ok(ring.open(CONTEXT, &sealed).await).reveal(), bytes);
        assert_eq!(ok(fixture.reopened().await.open(CONTEXT, &sealed).await).reveal(), bytes);
    }
}

/// With another context, or with the keys of another installation, nothing opens.
pub async fn another_context_opens_nothing(fixture: &dyn KeyRingFixture) {
    let ring = fixture.key_ring();
    let sealed = ok(ring.seal(CONTEXT, &value(CANARY)).await);
    for context in ["secret/shop/prod/web/DB_PASSWORD/4", "", "secret/shop/prod/web/DB_PASSWORD/3 "] {
        expect_kind(ring.open(context, &sealed).await, ErrorKind::Invalid, "another context opens nothing");
    }
    let answer = fixture.elsewhere().await.open(CONTEXT, &sealed).await;
    expect_kind(answer, ErrorKind::Invalid, "another installation opens nothing");
}

/// Altered, nothing opens.
pub async fn altered_bytes_open_nothing(fixture: &dyn KeyRingFixture) {
    let ring = fixture.key_ring();
    let sealed = ok(ring.seal(CONTEXT, &value(CANARY)).await);
    for place in [0, sealed.sealed.len() / 2, sealed.sealed.len() - 5] {
        let mut altered = sealed.clone();
        let old = altered.sealed.as_bytes()[place];
        altered.sealed.replace_range(place..=place, if old == b'A' { "B" } else { "A" });
        expect_kind(ring.open(CONTEXT, &altered).await, ErrorKind::Invalid, "altered bytes open nothing");
    }
    for text in ["", "AAAA", "no base64 !"] {
        let mut altered = sealed.clone();
        text.clone_into(&mut altered.sealed);
        expect_kind(ring.open(CONTEXT, &altered).await, ErrorKind::Invalid, "cut bytes open nothing");
    }
    let mut other_key = sealed;
    other_key.key_id.push('x');
    expect_kind(ring.open(CONTEXT, &other_key).await, ErrorKind::Invalid, "an unknown key opens nothing");
}

/// Sealing equal values twice gives different bytes.
pub async fn sealing_twice_gives_different_bytes(fixture: &dyn KeyRingFixture) {
    let ring = fixture.key_ring();
    let first = ok(ring.seal(CONTEXT, &value(CANARY)).await);
    let second = ok(ring.seal(CONTEXT, &value(CANARY)).await);
    assert_ne!(first.sealed, second.sealed);
}

/// After a rotation new values are sealed with a new key, and old ones still open.
pub async fn old_values_open_after_a_rotation(fixture: &dyn KeyRingFixture) {
    let ring = fixture.key_ring();
    let old = ok(ring.seal(CONTEXT, &value(CANARY)).await);
    let fingerprint = ok(ring.fingerprint(&value(CANARY)).await);
    ok(ring.rotate().await);
    let new = ok(ring.seal(CONTEXT, &value(CANARY)).await);
    assert_ne!(new.key_id, old.key_id);
    for ring in [ring, fixture.reopened().await] {
        for sealed in [&old, &new] {
            assert_eq!(ok(ring.open(CONTEXT, sealed).await).reveal(), CANARY);
        }
        assert_eq!(
            ok(ring.fingerprint(&value(CANARY)).await),
            fingerprint,
            "it stays through rotations and restarts"
        );
    }
}

/// Fingerprints are equal for equal values, through restarts, and different for different ones.
pub async fn fingerprints_are_stable_and_tell_values_apart(fixture: &dyn KeyRingFixture) {
    let ring = fixture.key_ring();
    let fingerprint = ok(ring.fingerprint(&value(CANARY)).await);
    assert_eq!(ok(ring.fingerprint(&value(CANARY)).await), fingerprint);
    assert_eq!(ok(fixture.reopened().await.fingerprint(&value(CANARY)).await), fingerprint);
    assert_ne!(ok(ring.fingerprint(&value(b"another")).await), fingerprint);
}

/// Fingerprints differ between installations.
pub async fn fingerprints_differ_between_installations(fixture: &dyn KeyRingFixture) {
    let here = ok(fixture.key_ring().fingerprint(&value(CANARY)).await);
    let there = ok(fixture.elsewhere().await.fingerprint(&value(CANARY)).await);
    assert_ne!(here, there);
}

/// Neither the sealed form, the fingerprint nor anything that prints itself holds the value.
pub async fn nothing_printed_holds_the_value(fixture: &dyn KeyRingFixture) {
    let ring = fixture.key_ring();
    let text = "canary-in-plain-text";
    let secret = value(text.as_bytes());
    let sealed = ok(ring.seal(CONTEXT, &secret).await);
    let fingerprint = ok(ring.fingerprint(&secret).await);
    let printed = format!("{ring:?} {secret:?} {sealed:?} {} {fingerprint:?}", sealed.sealed);
    let hex = hex::encode(text);
    for form in [text, hex.as_str(), "Y2FuYXJ5LWluLXBsYWluLXRleH"] {
        assert!(!printed.contains(form), "the value shows as {form} in {printed}");
    }
}
