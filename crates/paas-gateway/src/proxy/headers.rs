//! What is changed in the headers on their way. Hop-by-hop fields: RFC 9110 section 7.6.1.

use std::net::SocketAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
        TE, TRANSFER_ENCODING, UPGRADE,
    },
};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What a client may say about where its request came from, when it is not believed.
const CLAIMS: [HeaderName; 6] = [
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
];

/// How far the peer of a connection is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claims {
    /// What it says is replaced.
    Replace,
    /// What it says is extended.
    Extend,
    /// What it says is passed on: a component that calls another on behalf of somebody.
    Keep,
}

/// The host that a request names, with its port and without, in lower case; `None` if it is missing, ambiguous or no
/// host at all (RFC 9112 section 3.2).
pub(super) fn host(uri: &Uri, headers: &HeaderMap, version: Version) -> Option<(String, String)> {
    let mut fields = headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return None;
    }
    let authority = match (uri.authority(), field) {
        // The target of the request counts, in HTTP/2 and in the absolute form of HTTP/1.1; the field must be good still.
        (Some(authority), field) => {
            if let Some(field) = field {
                let field = field.to_str().ok()?;
                if version == Version::HTTP_2 && !field.eq_ignore_ascii_case(authority.as_str()) {
                    return None;
                }
                parse_host(field)?;
            }
            authority.as_str().to_owned()
        }
        (None, Some(field)) => field.to_str().ok()?.to_owned(),
        (None, None) => return None,
    };
    let name = parse_host(&authority)?;
    Some((authority, name))
}

fn parse_host(text: &str) -> Option<String> {
    let authority: http::uri::Authority = text.parse().ok()?;
    if text.contains('@') || authority.host().is_empty() {
        return None;
    }
    // A port that is empty or no number is refused by `port_u16`, not by the parser.
    let rest = &text[authority.host().len()..];
    if !rest.is_empty() && authority.port_u16().is_none() {
        return None;
    }
    let mut name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    if let Some(inner) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        inner.parse::<std::net::Ipv6Addr>().ok()?;
        name = inner.into();
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')) {
        return None;
    }
    (!name.is_empty()).then_some(name)
}

/// The id of a request: the client's, if it is fit to be written anywhere, or a new one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let fit = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:=+/@".contains(&byte);
        ((1..=128).contains(&text.len()) && text.bytes().all(good)).then(|| text.to_owned())
    };
    headers.get(X_REQUEST_ID).and_then(fit).unwrap_or_else(|| uuid::Uuid::now_v7().to_string())
}

/// The protocol that a client wants to change to, if its request says so properly. `h2c` is not passed on: it would
/// hide requests from the gateway.
pub(super) fn upgrade(headers: &HeaderMap, version: Version) -> Option<HeaderValue> {
    let wants = version == Version::HTTP_11
        && headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")));
    let value = headers.get(UPGRADE).filter(|_| wants)?;
    let http2 =
        value.to_str().ok()?.split(',').any(|token| token.trim().to_ascii_lowercase().starts_with("h2c"));
    (!http2).then(|| value.clone())
}

/// Takes away what is meant for this hop only.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| token.trim().parse().ok())
        // A client must not take away what frames or routes the message.
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH && *name != COOKIE && *name != X_REQUEST_ID)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// Makes the headers of a request ready for an instance, which speaks HTTP/1.1.
pub(super) fn prepare_request(
    headers: &mut HeaderMap,
    authority: &str,
    peer: Option<SocketAddr>,
    claims: Claims,
    request_id: &str,
) {
    let trailers = headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case("trailers")));
    strip_hop_by_hop(headers);
    headers.remove(TE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // The gateway has already said "continue", or will when the instance reads.
    headers.remove(EXPECT);
    join_cookies(headers);
    set(headers, HOST, authority);
    set(headers, X_REQUEST_ID, request_id);
    if claims == Claims::Replace {
        for name in CLAIMS {
            headers.remove(name);
        }
    }
    if claims != Claims::Keep
        && let Some(peer) = peer
    {
        let address = peer.ip().to_canonical().to_string();
        let before: Vec<_> =
            headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
        let chain = if before.is_empty() { address } else { format!("{}, {address}", before.join(", ")) };
        set(headers, X_FORWARDED_FOR, &chain);
    }
    for (name, value) in [(X_FORWARDED_HOST, authority), (X_FORWARDED_PROTO, "http")] {
        if !headers.contains_key(&name) {
            set(headers, name, value);
        }
    }
}

/// HTTP/2 may send a cookie in crumbs; HTTP/1.1 has one field (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn host_of(text: &str) -> Option<String> {
        host(&Uri::from_static("/"), &map(&[("host", text)]), Version::HTTP_11).map(|(_, name)| name)
    }

    #[test]
    fn a_host_is_read_without_port_dot_and_case() {
        assert_eq!(host_of("Shop.Example.COM:8080").as_deref(), Some("shop.example.com"));
        assert_eq!(host_of("shop.localhost.").as_deref(), Some("shop.localhost"));
        assert_eq!(host_of("[::1]:80").as_deref(), Some("::1"));
        for bad in ["", ":80", "a b", "a@b", "a:b", "a/b", "a,b", "a:", "[::1", "ä"] {
            assert_eq!(host_of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_host_that_is_missing_or_said_twice_is_refused() {
        let uri = Uri::from_static("/");
        assert_eq!(host(&uri, &map(&[]), Version::HTTP_11), None);
        assert_eq!(host(&uri, &map(&[("host", "a"), ("host", "a")]), Version::HTTP_11), None);
        let absolute = Uri::from_static("http://target/");
        assert_eq!(host(&absolute, &map(&[("host", "other")]), Version::HTTP_11).unwrap().1, "target");
        assert_eq!(host(&absolute, &map(&[("host", "other")]), Version::HTTP_2), None);
    }

    #[test]
    fn what_is_meant_for_this_hop_stays_here() {
        let mut headers = map(&[
            ("connection", "close, X-Private, host"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers, deflate"),
            ("proxy-authorization", "secret"),
            ("upgrade", "h2c"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("x-forwarded-for", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ]);
        let peer = Some("[::ffff:10.0.0.1]:5".parse().unwrap());
        prepare_request(&mut headers, "shop:80", peer, Claims::Replace, "id-1");
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "cookie",
                "host",
                "te",
                "traceparent",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-request-id"
            ]
        );
        assert_eq!(headers["cookie"], "a=1; b=2");
        assert_eq!(headers["te"], "trailers");
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1");
        assert_eq!(headers["host"], "shop:80");
    }

    #[test]
    fn a_proxy_that_is_trusted_is_extended() {
        let mut headers = map(&[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")]);
        prepare_request(&mut headers, "a", Some("10.0.0.1:5".parse().unwrap()), Claims::Extend, "id");
        assert_eq!(headers["x-forwarded-for"], "1.2.3.4, 10.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn a_request_id_is_kept_only_if_it_is_harmless() {
        assert_eq!(request_id(&map(&[("x-request-id", "abc-1")])), "abc-1");
        for bad in ["", "a b", "\"x\"", "<script>", &"x".repeat(129)] {
            let id = request_id(&map(&[("x-request-id", bad)]));
            assert!(id.parse::<uuid::Uuid>().is_ok(), "{bad:?} gave {id}");
        }
    }

    #[test]
    fn an_upgrade_is_passed_on_unless_it_hides_requests() {
        let wants = |fields: &[(&'static str, &str)]| upgrade(&map(fields), Version::HTTP_11).is_some();
        assert!(wants(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]));
        assert!(!wants(&[("upgrade", "websocket")]));
        assert!(!wants(&[("connection", "Upgrade"), ("upgrade", "h2c")]));
    }
}
