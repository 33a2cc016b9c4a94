//! Writing an answer.

use std::io::{self, Write};

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Whether the process ends with this code once the answer is written.
    pub exit: Option<u8>,
}

impl Response {
    /// JSON.
    pub fn json(status: u16, body: String) -> Self {
        Self::new(status, "application/json", body.into_bytes())
    }

    /// Plain text, with a line end.
    pub fn text(status: u16, body: impl AsRef<str>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{}\n", body.as_ref()).into_bytes())
    }

    /// A page.
    pub fn html(body: String) -> Self {
        Self::new(200, "text/html; charset=utf-8", body.into_bytes())
    }

    /// Bytes.
    pub fn bytes(body: Vec<u8>) -> Self {
        Self::new(200, "application/octet-stream", body)
    }

    /// The answer that turns the connection into a WebSocket.
    pub fn switching(accept: String) -> Self {
        let mut response = Self::new(101, "", Vec::new());
        response.headers = vec![("Upgrade", "websocket".to_owned()), ("Sec-WebSocket-Accept", accept)];
        response
    }

    fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status, content_type, headers: Vec::new(), body, exit: None }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Writes it in one piece, without the body for a `HEAD`.
    pub fn write(&self, output: &mut impl Write, close: bool, head_only: bool) -> io::Result<()> {
        let mut whole = Vec::with_capacity(256 + self.body.len());
        write!(whole, "HTTP/1.1 {} {}\r\n", self.status, reason(self.status))?;
        for (name, value) in &self.headers {
            write!(whole, "{name}: {value}\r\n")?;
        }
        if self.status == 101 {
            write!(whole, "Connection: Upgrade\r\n\r\n")?;
        } else {
            let connection = if close { "close" } else { "keep-alive" };
            write!(whole, "Content-Type: {}\r\nContent-Length: {}\r\n", self.content_type, self.body.len())?;
            write!(whole, "Cache-Control: no-store\r\nConnection: {connection}\r\n\r\n")?;
            if !head_only {
                whole.extend_from_slice(&self.body);
            }
        }
        output.write_all(&whole)?;
        output.flush()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}
