//! Reading a request: head, then a body of known length or in chunks, both bounded.

use std::io::{self, BufRead, Read};

const MAX_HEAD: u64 = 16 * 1024;
const MAX_BODY: u64 = 8 * 1024 * 1024;

/// A request, read whole.
#[derive(Debug, Default)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// The path without its query.
    pub path: String,
    query: String,
    headers: Vec<(String, String)>,
    /// The body, empty when there is none.
    pub body: Vec<u8>,
    /// Whether the connection ends after the answer.
    pub close: bool,
}

/// Why there is no request.
#[derive(Debug)]
pub enum ReadError {
    /// The peer closed the connection between two requests.
    Closed,
    /// The connection broke.
    Broken,
    /// It is none that this server understands: the status and the words to answer with.
    Refused(u16, &'static str),
}

impl From<io::Error> for ReadError {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

impl Request {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// All headers, names in lower case.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Whether a header that lists words holds this one.
    pub fn lists(&self, header: &str, word: &str) -> bool {
        let values = self.headers.iter().filter(|(name, _)| name == header).map(|(_, value)| value);
        values.flat_map(|value| value.split(',')).any(|own| own.trim().eq_ignore_ascii_case(word))
    }

    /// A value of the query, percent-decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
            (own == name).then(|| decoded(value))
        })
    }

    /// A number of the query.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.parameter(name)?.parse().ok()
    }
}

/// Reads the next request. `go_on` is called when the client waits for leave to send its body.
pub fn read_request(
    input: &mut impl BufRead,
    go_on: impl FnOnce() -> io::Result<()>,
) -> Result<Request, ReadError> {
    let mut head = input.by_ref().take(MAX_HEAD);
    let first = loop {
        match line(&mut head)? {
            None => return Err(ReadError::Closed),
            Some(empty) if empty.is_empty() => {}
            Some(first) => break first,
        }
    };
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(ReadError::Refused(400, "the request line is not METHOD TARGET VERSION"));
    };
    let keeps = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return Err(ReadError::Refused(505, "only HTTP/1.1 is spoken here")),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: decoded(path),
        query: query.to_owned(),
        ..Request::default()
    };
    loop {
        match line(&mut head)? {
            None if head.limit() == 0 => return Err(ReadError::Refused(431, "the head is too long")),
            None => return Err(ReadError::Broken),
            Some(empty) if empty.is_empty() => break,
            Some(field) => {
                let Some((name, value)) = field.split_once(':') else {
                    return Err(ReadError::Refused(400, "a header has no colon"));
                };
                request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
    }
    request.close =
        if keeps { request.lists("connection", "close") } else { !request.lists("connection", "keep-alive") };
    if request.lists("expect", "100-continue") {
        go_on()?;
    }
    request.body = body(input, &request)?;
    Ok(request)
}

fn body(input: &mut impl BufRead, request: &Request) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    if request.lists("transfer-encoding", "chunked") {
        loop {
            let size = line(&mut input.by_ref().take(1024))?.ok_or(ReadError::Broken)?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size =
                u64::from_str_radix(size, 16).map_err(|_| ReadError::Refused(400, "a chunk has no size"))?;
            if size == 0 {
                while line(&mut input.by_ref().take(1024))?.is_some_and(|trailer| !trailer.is_empty()) {}
                return Ok(body);
            }
            append(input, size, &mut body)?;
            line(&mut input.by_ref().take(2))?;
        }
    }
    let Some(length) = request.header("content-length") else {
        return Ok(body);
    };
    let length = length.parse().map_err(|_| ReadError::Refused(400, "content-length is no number"))?;
    append(input, length, &mut body)?;
    Ok(body)
}

fn append(input: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> Result<(), ReadError> {
    if length > MAX_BODY.saturating_sub(body.len() as u64) {
        return Err(ReadError::Refused(413, "the body is longer than 8 MiB"));
    }
    let read = input.by_ref().take(length).read_to_end(body)?;
    if read as u64 == length { Ok(()) } else { Err(ReadError::Broken) }
}

/// The next line without its end; `None` at the end of the input.
fn line(input: &mut impl BufRead) -> Result<Option<String>, ReadError> {
    let mut bytes = Vec::new();
    input.read_until(b'\n', &mut bytes)?;
    if bytes.pop() != Some(b'\n') {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map(Some).map_err(|_| ReadError::Refused(400, "the head is not text"))
}

/// Undoes percent-encoding; what is none stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.as_bytes().get(at) {
        let digits = text.get(at + 1..at + 3).filter(|_| byte == b'%');
        if let Some(value) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(value);
            at += 3;
        } else {
            bytes.push(byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, ReadError> {
        read_request(&mut text.as_bytes(), || Ok(()))
    }

    #[test]
    fn two_requests_on_one_connection_are_read_one_after_the_other() {
        let mut input =
            &b"POST /a%20b?x=1&y=%2F HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n"[..];
        let first = read_request(&mut input, || Ok(())).expect("a request");
        assert_eq!(
            (first.method.as_str(), first.path.as_str(), first.body.as_slice()),
            ("POST", "/a b", &b"abc"[..])
        );
        assert_eq!(
            (first.number("x"), first.parameter("y").as_deref(), first.close),
            (Some(1), Some("/"), false)
        );
        let second = read_request(&mut input, || Ok(())).expect("a request");
        assert!(second.close, "HTTP/1.0 closes");
        assert!(matches!(read_request(&mut input, || Ok(())), Err(ReadError::Closed)));
    }

    #[test]
    fn a_body_in_chunks_is_put_together() {
        let text = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n";
        assert_eq!(read(text).expect("a request").body, b"abcde");
    }

    #[test]
    fn what_is_no_request_is_refused_with_a_status() {
        let status = |text: &str| match read(text) {
            Err(ReadError::Refused(status, _)) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(status("nonsense\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/3\r\n\r\n"), 505);
        assert_eq!(status("GET / HTTP/1.1\r\nno colon\r\n\r\n"), 400);
        assert_eq!(status("PUT / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"), 413);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20_000))), 431);
    }
}
