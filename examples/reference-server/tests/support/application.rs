//! An application as its users see it: through the gateway.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// What the instance calls itself.
    pub version: String,
    pub body: String,
}

/// Asks for `path` of `host`, on a connection of its own.
pub fn get(address: SocketAddr, host: &str, path: &str) -> std::io::Result<Answer> {
    get_with(address, host, path, "")
}

/// Asks with more headers, each with its line end.
pub fn get_with(address: SocketAddr, host: &str, path: &str, headers: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let header = |name: &str| {
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let chunked = header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    Ok(Answer {
        status: status.ok_or(ErrorKind::InvalidData)?,
        version: header("x-version").unwrap_or_default().to_owned(),
        body: if chunked { unchunk(body) } else { body.to_owned() },
    })
}

/// The content of a chunked body (RFC 9112, section 7.1).
fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        text.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    text
}

/// One version only.
pub fn only(version: &str) -> BTreeSet<String> {
    BTreeSet::from([version.to_owned()])
}
