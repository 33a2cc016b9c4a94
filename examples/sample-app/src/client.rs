//! A GET request to another component.

use std::fmt;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(2);
const MAX_ANSWER: u64 = 1024 * 1024;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct GetError {
    url: String,
    reason: String,
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to get {}: {}", self.url, self.reason)
    }
}

/// Gets a `http://` address, within two seconds for each part of the work.
pub fn get(url: &str) -> Result<Answer, GetError> {
    fetch(url).map_err(|reason| GetError { url: url.to_owned(), reason })
}

fn fetch(url: &str) -> Result<Answer, String> {
    let rest = url.strip_prefix("http://").ok_or("only http:// is spoken here")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let words = |error: std::io::Error| error.to_string();
    let address = address.to_socket_addrs().map_err(words)?.next().ok_or("the name has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(words)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(words)?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(words)?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(words)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).map_err(words)?;
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| "the answer is not HTTP".to_owned())
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.lines().any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked"));
    let body = if chunked { dechunked(body)? } else { body.to_owned() };
    Some(Answer { status, body })
}

fn dechunked(mut rest: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_chunked_answers_are_read() {
        let plain = parse("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").expect("an answer");
        assert_eq!((plain.status, plain.body.as_str()), (200, "hi"));
        let chunked = "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
        let chunked = parse(chunked).expect("an answer");
        assert_eq!((chunked.status, chunked.body.as_str()), (503, "hi!"));
        assert!(parse("nonsense").is_none());
    }
}
