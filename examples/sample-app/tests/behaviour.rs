//! The sample behaves as applications on a platform should: it says when it is ready, and it stops without dropping
//! anything.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BOUND: Duration = Duration::from_secs(10);

/// A component that runs and is ended with the test.
struct Sample {
    child: Child,
    port: u16,
}

impl Sample {
    /// Starts it on a free port and waits until it says that it listens.
    fn start(component: &str, knobs: &[(&str, &str)]) -> Self {
        let mut child =
            command(component).env("PORT", "0").envs(knobs.iter().copied()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let line = lines.next().expect("a line").expect("text");
        let port =
            line.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        Self { child, port }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(BOUND)).expect("a time-out");
        stream
    }

    fn get(&self, path: &str) -> String {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("a signal");
    }

    /// Its exit code, within a bound.
    fn exit_code(&mut self) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < BOUND {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status.code();
            }
            thread::sleep(Duration::from_millis(2));
        }
        panic!("it did not end within {BOUND:?}");
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(component: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sample-app"));
    command.arg(component).env_clear().stdout(Stdio::piped());
    command
}

/// Reads one answer with a content length and leaves the connection open.
fn read_answer(input: &mut impl BufRead) -> (String, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(input.read_line(&mut head).expect("a head"), 0, "the connection ended in {head:?}");
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    input.read_exact(&mut body).expect("a body");
    (head, String::from_utf8(body).expect("text"))
}

#[test]
fn a_connection_serves_request_after_request() {
    let sample = Sample::start("web", &[("VERSION", "7")]);
    let mut stream = sample.connect();
    let mut input = BufReader::new(stream.try_clone().expect("a second handle"));
    for _ in 0..3 {
        stream.write_all(b"GET /api/info HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
        let (head, body) = read_answer(&mut input);
        assert!(head.contains("Connection: keep-alive"), "{head}");
        assert!(body.contains("\"version\":\"7\""), "{body}");
    }
}

#[test]
fn the_page_shows_what_the_api_component_answers() {
    let api = Sample::start("api", &[("VERSION", "3")]);
    let url = format!("http://127.0.0.1:{}", api.port);
    let web = Sample::start("web", &[("API_URL", &url)]);
    assert!(web.get("/").contains("Hello from the API"));
    drop(api);
    assert!(web.get("/").contains("failed to get"), "a missing API is said on the page");
    assert!(web.get("/api/greeting").starts_with("HTTP/1.1 502"));
}

#[test]
fn a_request_under_way_is_answered_before_the_end_and_idle_connections_delay_nothing() {
    let mut sample = Sample::start("web", &[]);
    let idle = sample.connect();
    let mut busy = sample.connect();
    busy.write_all(b"GET /slow?ms=300 HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
    // Requests are counted as they begin: once there is one more than was made here, the slow one is under way.
    let under_way = |made: u32| sample.get("/api/info").contains(&format!("\"requests\":{},", made + 1));
    assert!((1..1000).any(under_way), "the slow request never begins");
    sample.terminate();
    let (head, body) = read_answer(&mut BufReader::new(busy));
    assert!(head.contains("200 OK") && head.contains("Connection: close"), "{head}");
    assert_eq!(body, "slow\n");
    assert_eq!(sample.exit_code(), Some(0));
    drop(idle);
}

#[test]
fn an_idle_instance_stops_within_a_moment() {
    let mut sample = Sample::start("web", &[]);
    let _idle = sample.connect();
    sample.get("/healthz");
    let started = Instant::now();
    sample.terminate();
    assert_eq!(sample.exit_code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn readiness_and_health_are_told_apart() {
    let never = Sample::start("web", &[("NEVER_READY", "1")]);
    assert!(never.get("/readyz").starts_with("HTTP/1.1 503"));
    assert!(never.get("/healthz").starts_with("HTTP/1.1 200"));
    let late = Sample::start("web", &[("READY_DELAY_MS", "100")]);
    let started = Instant::now();
    while !late.get("/readyz").starts_with("HTTP/1.1 200") {
        assert!(started.elapsed() < BOUND, "it never becomes ready");
    }
}

#[test]
fn crashes_have_the_code_that_was_asked_for() {
    let mut on_request = Sample::start("web", &[]);
    assert!(on_request.get("/crash?code=42").contains("crashing with 42"));
    assert_eq!(on_request.exit_code(), Some(42));
    let mut later = Sample::start("api", &[("CRASH_AFTER_MS", "20")]);
    assert_eq!(later.exit_code(), Some(1));
    let at_start = command("web").env("CRASH_AT_START", "9").status().expect("it runs");
    assert_eq!(at_start.code(), Some(9));
    let nonsense = command("web").env("PORT", "many").output().expect("it runs");
    assert_eq!(nonsense.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&nonsense.stdout), "error: PORT=many is not a number that fits\n");
}

#[test]
fn a_websocket_echoes_ticks_and_ends_with_going_away() {
    let mut sample = Sample::start("web", &[]);
    let mut stream = sample.connect();
    let handshake = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).expect("a handshake");
    let mut input = BufReader::new(stream.try_clone().expect("a second handle"));
    let (head, _) = read_answer(&mut input);
    assert!(head.contains("101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    let mut frame = || {
        let mut start = [0; 2];
        input.read_exact(&mut start).expect("a frame");
        let mut payload = vec![0; usize::from(start[1])];
        input.read_exact(&mut payload).expect("a payload");
        (start[0] & 0x0f, payload)
    };
    let (_, tick) = frame();
    assert!(String::from_utf8_lossy(&tick).contains("\"tick\":1"));
    stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).expect("a message");
    assert_eq!(frame(), (1, b"hi".to_vec()));
    sample.terminate();
    assert_eq!(frame(), (8, 1001_u16.to_be_bytes().to_vec()));
    assert_eq!(sample.exit_code(), Some(0));
}

#[test]
fn the_worker_reports_its_work_and_stops_when_asked() {
    let mut child = command("worker").env("WORK_INTERVAL_MS", "10").spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let begun: Vec<String> = lines.by_ref().take(3).map(|line| line.expect("text")).collect();
    assert!(begun[2].starts_with("job 2: 2262 primes below 20000"), "{begun:?}");
    let mut sample = Sample { child, port: 0 };
    sample.terminate();
    assert_eq!(sample.exit_code(), Some(0));
    assert!(lines.last().expect("a last line").expect("text").starts_with("stopped after"));
}

#[test]
fn the_tools_of_the_image_do_what_they_say() {
    let sample = Sample::start("api", &[("NEVER_READY", "1")]);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sample-app"));
        let output = command.args(arguments).env_clear().env("A", "b").output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let address = |path: &str| format!("http://127.0.0.1:{}{path}", sample.port);
    assert_eq!(run(&["get", &address("/healthz")]), (Some(0), "alive\n".to_owned()));
    assert_eq!(run(&["get", &address("/readyz")]), (Some(1), "not ready\n".to_owned()));
    assert_eq!(run(&["env"]), (Some(0), "A=b\n".to_owned()));
    assert_eq!(run(&["print", "a", "b"]), (Some(0), "a b\n".to_owned()));
    assert_eq!(run(&["exit", "7"]).0, Some(7));
    assert_eq!(run(&["nonsense"]).0, Some(2));
}
