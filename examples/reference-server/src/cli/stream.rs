//! Server-sent events, as the WHATWG's HTML standard defines them (section 9.2.6), read from an answer.

use bytes::BytesMut;
use futures::{Stream, StreamExt as _, stream};
use reqwest::Response;

use super::failure::{Exit, Failure};

/// The largest event that is read.
const MAX_EVENT: usize = 4 << 20;

/// One event. One without a kind and content only tells where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The id to resume after.
    pub id: Option<String>,
    /// The kind.
    pub kind: String,
    /// The content.
    pub data: String,
}

/// Reads events from the pieces of a body.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    event: Event,
    data: bool,
    after_return: bool,
}

impl Decoder {
    /// Takes a piece of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event.
    pub fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if self.after_return && self.buffer.first() == Some(&b'\n') {
                let _ = self.buffer.split_to(1);
            }
            if !self.buffer.is_empty() {
                self.after_return = false;
            }
            let Some(end) = self.buffer.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
                if self.buffer.len() + self.event.data.len() > MAX_EVENT {
                    return Err(Failure::new(Exit::Error, "the server sent an event that is too large"));
                }
                return Ok(None);
            };
            let line = self.buffer.split_to(end + 1);
            self.after_return = line.last() == Some(&b'\r');
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if std::mem::take(&mut self.data) || event.id.is_some() {
                    return Ok(Some(event));
                }
                continue;
            }
            self.field(&line);
        }
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                if self.data {
                    self.event.data.push('\n');
                }
                self.data = true;
                self.event.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event.kind),
            "id" => self.event.id = Some(value.to_owned()),
            _ => {}
        }
    }
}

/// The events of an answer, until it ends.
pub fn events(response: Response) -> impl Stream<Item = Result<Event, Failure>> {
    let body = response.bytes_stream().boxed();
    stream::try_unfold((body, Decoder::default()), |(mut body, mut decoder)| async move {
        loop {
            if let Some(event) = decoder.next()? {
                return Ok(Some((event, (body, decoder))));
            }
            match body.next().await {
                Some(Ok(bytes)) => decoder.push(&bytes),
                // A connection that breaks ends the stream; who wants more resumes after the last id.
                Some(Err(_)) | None => return Ok(None),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&str]) -> Vec<Event> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for piece in pieces {
            decoder.push(piece.as_bytes());
            while let Some(event) = decoder.next().unwrap() {
                events.push(event);
            }
        }
        events
    }

    fn event(id: Option<&str>, kind: &str, data: &str) -> Event {
        Event { id: id.map(Into::into), kind: kind.into(), data: data.into() }
    }

    #[test]
    fn events_are_read_however_the_body_is_cut() {
        let text = ": hello\n\nid: 7\nevent: status\ndata: {\"a\":1}\n\ndata: one\ndata: two\n\n";
        let expected = [event(Some("7"), "status", "{\"a\":1}"), event(None, "", "one\ntwo")];
        assert_eq!(decode(&[text]), expected);
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        assert_eq!(decode(&letters), expected);
    }

    #[test]
    fn every_kind_of_line_end_is_understood() {
        assert_eq!(decode(&["data: a\r\n\r\ndata: b\r\rdata: c\n\n"]).len(), 3);
        assert_eq!(decode(&["data: a\r", "\n\r", "\n"]), [event(None, "", "a")]);
    }

    #[test]
    fn an_event_without_its_end_is_not_told() {
        assert!(decode(&["data: half\n"]).is_empty());
    }

    #[test]
    fn an_id_alone_tells_where_to_go_on() {
        assert_eq!(decode(&["id: 3\n\n"]), [event(Some("3"), "", "")]);
        assert!(decode(&[": a comment\n\nevent: nothing\n\n"]).is_empty());
    }
}
