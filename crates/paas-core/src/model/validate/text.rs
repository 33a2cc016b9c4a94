//! Rules of texts: paths, hosts, names of variables, users.

/// What is wrong with an absolute path in an instance, if anything.
pub(super) fn absolute_path(path: &str) -> Option<String> {
    let fault = |rule: &str| Some(format!("{path:?} {rule}"));
    if !path.starts_with('/') {
        return fault("is not an absolute path; begin it with /");
    }
    if path.len() > 1024 {
        return Some(format!("the path has {} characters; at most 1024 are allowed", path.len()));
    }
    if path.chars().any(char::is_control) {
        return fault("has control characters");
    }
    if path.split('/').any(|part| part == ".." || part == ".") {
        return fault("has . or .. as a part; write it without");
    }
    None
}

/// As [`absolute_path`], for something that is placed into the instance's file system.
pub(super) fn mount_path(path: &str) -> Option<String> {
    if let Some(fault) = absolute_path(path) {
        return Some(fault);
    }
    let below = |dir: &str| path == dir || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
    let trimmed = path.trim_matches('/');
    if trimmed.is_empty() {
        return Some("/ is the whole file system; name a path below it".to_owned());
    }
    if path.ends_with('/') || path.contains("//") {
        return Some(format!("{path:?} has an empty part; write it without doubled or trailing slashes"));
    }
    ["/proc", "/sys", "/dev"]
        .into_iter()
        .find(|dir| below(dir))
        .map(|dir| format!("{path:?} lies below {dir}, which belongs to the system; choose another path"))
}

/// What is wrong with a route's path prefix, if anything.
pub(super) fn url_path(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return Some(format!("{path:?} does not begin with /"));
    }
    if path.len() > 1024 {
        return Some(format!("the path has {} characters; at most 1024 are allowed", path.len()));
    }
    // RFC 3986, section 3.3: pchar, here with every percent-encoding written out.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&b);
    if !path.bytes().all(allowed) {
        return Some(format!(
            "{path:?} has characters that a path of a URL may not have, such as spaces, ? or #"
        ));
    }
    if path.split('/').any(|part| part == ".." || part == ".") {
        return Some(format!("{path:?} has . or .. as a part; write it without"));
    }
    None
}

/// What is wrong with a host, if anything. One `*` may stand for the first label.
pub(super) fn host(host: &str) -> Option<String> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    if host.len() > 253 || name.is_empty() {
        return Some(format!("{host:?} is not a host; use 1 to 253 characters"));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.split('.').all(label) {
        return None;
    }
    Some(format!(
        "{host:?} is not a host; use labels of lower-case letters, digits and hyphens, with * as the first one at most"
    ))
}

/// Whether a text is the name of an environment variable (POSIX.1-2017, section 8.1, lower case allowed).
pub(super) fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 256
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a text is the name of a setting or a secret.
pub(super) fn is_setting(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.')
}

/// Whether a text names a user: `uid`, `uid:gid`, or names of the image.
pub(super) fn is_user(user: &str) -> bool {
    let part = |part: &str| {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            return part.parse::<u32>().is_ok_and(|id| id < u32::MAX);
        }
        part.len() <= 64
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.')
    };
    let mut parts = user.split(':');
    parts.next().is_some_and(part) && parts.next().is_none_or(part) && parts.next().is_none()
}
