//! A thread per connection, and a stop that drops nothing: what was accepted is answered, what is idle is closed.

use std::collections::HashMap;
use std::io::{self, BufReader};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{ReadError, Request, Response, read_request};
use crate::instance::Instance;
use crate::log;
use crate::signals::{StopSignal, Woken};
use crate::websocket;

/// Enough for a request on its way; the platform's own grace is as long, and kills what is left.
const DRAIN: Duration = Duration::from_secs(9);
/// A connection's thread needs little, and a hundred of them should need little too.
const STACK: usize = 128 * 1024;

/// What a component answers.
pub type Handler = fn(&Instance, &Request) -> Response;

/// Serves until asked to stop.
pub fn serve(name: &str, instance: &'static Instance, stop: &StopSignal, handler: Handler) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, instance.settings.port))?;
    listener.set_nonblocking(true)?;
    let connections: &'static Connections = Box::leak(Box::default());
    let version = &instance.settings.version;
    log::line(format!("{name} {version} listens on {}", listener.local_addr()?));
    loop {
        match stop.wait(Some(&listener), None)? {
            Woken::Readable => accept(&listener, connections, instance, handler),
            Woken::Timeout => {}
            Woken::Stop if instance.settings.ignore_sigterm => {
                log::line("asked to stop, and going on, because IGNORE_SIGTERM says so");
            }
            Woken::Stop => break,
        }
    }
    let started = Instant::now();
    instance.stop();
    // Whoever was in the queue of the listener was accepted by the kernel: they get their answer.
    accept(&listener, connections, instance, handler);
    drop(listener);
    let left = connections.drain();
    log::line(format!("stopped after {} ms, {left} connections cut", started.elapsed().as_millis()));
    Ok(())
}

fn accept(
    listener: &TcpListener,
    connections: &'static Connections,
    instance: &'static Instance,
    handler: Handler,
) {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                // No descriptors left, most likely: without a pause the loop would only burn the processor.
                log::line(format!("failed to accept a connection: {error}"));
                return thread::sleep(Duration::from_millis(10));
            }
        };
        let Ok(guard) = connections.add(&stream) else { continue };
        let spawned = thread::Builder::new().stack_size(STACK).spawn(move || {
            let outcome = converse(&stream, &guard, instance, handler);
            if let (Err(error), true) = (outcome, instance.settings.log_requests) {
                log::line(format!("a connection broke: {error}"));
            }
        });
        if let Err(error) = spawned {
            log::line(format!("failed to start a thread: {error}"));
        }
    }
}

/// One connection, request by request.
fn converse(
    stream: &TcpStream,
    guard: &Guard,
    instance: &'static Instance,
    handler: Handler,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let mut input = BufReader::with_capacity(4096, stream);
    let mut output = stream;
    loop {
        guard.idle(instance);
        let go_on = || io::Write::write_all(&mut &*stream, b"HTTP/1.1 100 Continue\r\n\r\n");
        let request = match read_request(&mut input, go_on) {
            Ok(request) => request,
            Err(ReadError::Closed | ReadError::Broken) => return Ok(()),
            Err(ReadError::Refused(status, words)) => {
                return Response::text(status, words).write(&mut output, true, false);
            }
        };
        guard.busy();
        let started = Instant::now();
        let response = if websocket::is_wanted(&request) {
            websocket::handshake(&request)
        } else {
            // Whoever counts answers by version need not read the page.
            handler(instance, &request).with_header("X-Version", instance.settings.version.as_str())
        };
        let close = request.close || instance.is_stopping();
        response.write(&mut output, close, request.method == "HEAD")?;
        if instance.settings.log_requests {
            let took = started.elapsed().as_micros();
            log::line(format!("{} {} {} {took} us", request.method, request.path, response.status));
        }
        if let Some(code) = response.exit {
            log::line(format!("crashing with {code}, because a request said so"));
            std::process::exit(i32::from(code));
        }
        if response.status == 101 {
            return websocket::converse(stream, instance);
        }
        if close {
            return Ok(());
        }
    }
}

/// The open connections, and whether a request is on its way in each.
#[derive(Debug, Default)]
struct Connections {
    open: Mutex<Open>,
    fewer: Condvar,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    streams: HashMap<u64, (TcpStream, bool)>,
}

/// One open connection; it is forgotten when the guard goes.
#[derive(Debug)]
struct Guard {
    id: u64,
    connections: &'static Connections,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&'static self, stream: &TcpStream) -> io::Result<Guard> {
        let stream = stream.try_clone()?;
        let mut open = self.lock();
        let id = open.next;
        open.next += 1;
        open.streams.insert(id, (stream, false));
        Ok(Guard { id, connections: self })
    }

    /// Ends the idle ones, waits for the others. Returns how many are still open when the time is over.
    ///
    /// Only the reading half is shut: a request that has arrived meanwhile is still read and answered.
    fn drain(&self) -> usize {
        let deadline = Instant::now() + DRAIN;
        let mut open = self.lock();
        for (stream, _) in open.streams.values().filter(|(_, busy)| !busy) {
            let _ = stream.shutdown(Shutdown::Read);
        }
        while !open.streams.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            open = self.fewer.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        open.streams.len()
    }
}

impl Guard {
    fn busy(&self) {
        if let Some((_, busy)) = self.connections.lock().streams.get_mut(&self.id) {
            *busy = true;
        }
    }

    /// Between two requests. When the stop came while it was busy, nobody else would end it.
    fn idle(&self, instance: &Instance) {
        if let Some((stream, busy)) = self.connections.lock().streams.get_mut(&self.id) {
            *busy = false;
            if instance.is_stopping() {
                let _ = stream.shutdown(Shutdown::Read);
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.connections.lock().streams.remove(&self.id);
        self.connections.fewer.notify_all();
    }
}
