//! A WebSocket (RFC 6455) that sends back what it gets, and a tick every second.

mod accept;
mod frame;

use std::io::{self, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use frame::{Frame, Opcode};

use crate::http::{Request, Response};
use crate::instance::Instance;
use crate::json::Object;

const TICK: Duration = Duration::from_secs(1);
/// How soon a stop is noticed.
const LOOK: Duration = Duration::from_millis(50);
/// Close code of an endpoint that goes away (section 7.4.1).
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// Whether the client asks for one.
pub fn is_wanted(request: &Request) -> bool {
    request.path == "/ws" && request.lists("upgrade", "websocket")
}

/// The answer to the client's handshake (section 4.2.2).
pub fn handshake(request: &Request) -> Response {
    match request.header("sec-websocket-key") {
        Some(key)
            if request.lists("connection", "upgrade")
                && request.header("sec-websocket-version") == Some("13") =>
        {
            Response::switching(accept::accept(key))
        }
        _ => Response::text(426, "a WebSocket of version 13 is spoken here")
            .with_header("Sec-WebSocket-Version", "13"),
    }
}

/// Talks until the client ends it or this instance stops.
pub fn converse(stream: &TcpStream, instance: &Instance) -> io::Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    let mut input = BufReader::with_capacity(4096, stream);
    let mut output = stream;
    let mut ticks = 0_u64;
    let mut next = Instant::now();
    loop {
        if instance.is_stopping() {
            return output.write_all(&Frame::new(Opcode::Close, GOING_AWAY.to_vec()).encode());
        }
        if Instant::now() >= next {
            next += TICK;
            ticks += 1;
            output.write_all(&Frame::new(Opcode::Text, tick(instance, ticks).into_bytes()).encode())?;
        }
        // The time-out applies to the wait for a frame, not to its inside.
        match io::BufRead::fill_buf(&mut input) {
            Ok([]) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => return Err(error),
        }
        stream.set_read_timeout(None)?;
        let frame = Frame::read(&mut input)?;
        stream.set_read_timeout(Some(LOOK))?;
        match frame.opcode {
            Opcode::Text | Opcode::Binary | Opcode::Continuation => output.write_all(&frame.encode())?,
            Opcode::Ping => output.write_all(&Frame::new(Opcode::Pong, frame.payload).encode())?,
            Opcode::Pong => {}
            Opcode::Close => return output.write_all(&frame.encode()),
        }
    }
}

fn tick(instance: &Instance, number: u64) -> String {
    let tick = Object::default().number("tick", number).text("version", &instance.settings.version);
    tick.text("instance", &instance.settings.instance).finish().trim_end().to_owned()
}
