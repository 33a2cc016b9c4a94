use proptest::prelude::*;

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn short_names_are_completed_as_docker_does() {
    for (text, full) in [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1", "docker.io/library/nginx:1"),
        ("shop/web", "docker.io/shop/web:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("localhost/web:1", "localhost/web:1"),
        ("localhost:5000/web", "localhost:5000/web:latest"),
        ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("[::1]/a", "[::1]/a:latest"),
        ("ghcr.example.com/a/b", "ghcr.example.com/a/b:latest"),
        ("Host/a", "Host/a:latest"),
        ("a__b/c-d.e_f--g", "docker.io/a__b/c-d.e_f--g:latest"),
    ] {
        assert_eq!(text.parse::<Reference>().unwrap().to_string(), full, "{text}");
    }
}

#[test]
fn a_digest_decides_and_the_tag_is_remembered() {
    let reference: Reference = format!("web:1@sha256:{HEX}").parse().unwrap();
    assert_eq!(reference.tag().unwrap().as_str(), "1");
    assert_eq!(reference.identifier(), format!("sha256:{HEX}"));
    let reference: Reference = format!("web@sha256:{HEX}").parse().unwrap();
    assert_eq!(reference.tag(), None);
}

#[test]
fn malformed_references_are_refused() {
    let long = format!("localhost/{}", "a".repeat(250));
    let long_tag = format!("web:{}", "t".repeat(129));
    let short_digest = format!("web@sha256:{}", &HEX[1..]);
    for text in [
        "",
        " ",
        "Nginx",
        "a/Nginx",
        "web:",
        "web:-x",
        "web:.x",
        "web:a b",
        "/web",
        "web/",
        "a//b",
        "web@",
        "web@sha256:xyz",
        "a___b",
        "a..b",
        "-a",
        "a-",
        "localhost:0/web",
        "localhost:99999/web",
        "localhost:/web",
        "[::1/web",
        "[zz]/web",
        "-host.example.com/web",
        "host..com/web",
        "a/../b",
        "web:1:2",
        "we\0b",
        "wéb",
        "http://localhost/web",
        &long,
        &long_tag,
        &short_digest,
        HEX,
    ] {
        assert_eq!(text.parse::<Reference>().unwrap_err().kind(), ErrorKind::Invalid, "{text:?}");
    }
}

#[test]
fn loopback_registries_are_known() {
    for (text, loopback) in [
        ("localhost/a", true),
        ("localhost:5000/a", true),
        ("registry.localhost:5000/a", true),
        ("127.0.0.1:5000/a", true),
        ("127.8.8.8/a", true),
        ("[::1]:5000/a", true),
        ("10.0.0.1:5000/a", false),
        ("localhost.example.com/a", false),
        ("nginx", false),
    ] {
        assert_eq!(text.parse::<Reference>().unwrap().is_loopback(), loopback, "{text}");
    }
}

#[test]
fn familiar_names_parse_to_the_same_reference() {
    for text in ["nginx", "shop/web:1", "localhost:5000/a:b", "docker.io/library/x/y"] {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
    }
}

proptest! {
    #[test]
    fn any_well_formed_reference_survives_a_round_trip(
        registry in prop_oneof![Just(String::new()), "[a-z]{1,8}\\.[a-z]{2,4}(:[1-9][0-9]{0,3})?/", Just("localhost:5000/".to_owned())],
        path in "[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,4})?(/[a-z0-9]{1,6}){0,3}",
        tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
        digest in proptest::option::of(any::<[u8; 32]>()),
    ) {
        let mut text = format!("{registry}{path}");
        if let Some(tag) = &tag { text.push(':'); text.push_str(tag); }
        if let Some(digest) = digest { text.push_str("@sha256:"); text.push_str(&hex::encode(digest)); }
        let parsed: Reference = text.parse().unwrap();
        prop_assert_eq!(parsed.tag().is_some(), tag.is_some() || digest.is_none());
        prop_assert_eq!(&parsed.to_string().parse::<Reference>().unwrap(), &parsed);
        prop_assert_eq!(&parsed.familiar().parse::<Reference>().unwrap(), &parsed);
        let json = serde_json::to_string(&parsed).unwrap();
        prop_assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), parsed);
    }

    #[test]
    fn no_text_makes_the_parser_panic_or_yields_an_unsafe_name(text in "\\PC{0,80}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert!(!reference.repository().contains(".."));
            prop_assert!(!reference.repository().starts_with('/'));
            prop_assert!(reference.to_string().is_ascii());
        }
    }
}
