//! `scenarios PAAS SAMPLE`: measurements of the whole, with the real binary and real containers.
//!
//! Each figure is the wall-clock time of one command line, so it holds what a user waits for: the client's start, the
//! request, the work, and the wait until everything is ready. Prints a table in Markdown.

use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

const RUNS: usize = 9;
const BOUND: Duration = Duration::from_mins(1);

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(paas), Some(sample), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        bail!("usage: scenarios PAAS SAMPLE (the binary `paas` and the sample's static binary)");
    };
    let mut platform = Platform::start(&paas, &sample)?;
    let rows = [
        ("`paas deploy` to all ready, 3 instances", platform.deploy()?),
        ("`paas rollback` to all ready, 3 instances", platform.rollback()?),
        ("`paas scale` 1 to 10, to all ready", platform.scale()?),
        ("kill -9 of the server, to its next answer", platform.restart()?),
    ];
    println!("| what | median of {RUNS} | least | most |\n|---|---|---|---|");
    for (what, times) in &rows {
        let [least, median, most] = [0, RUNS / 2, RUNS - 1].map(|index| times[index].as_millis());
        println!("| {what} | {median} ms | {least} ms | {most} ms |");
    }
    println!("\n{}", platform.memory()?);
    platform.end()
}

/// A server in a folder of its own, with an organisation and an environment.
struct Platform {
    folder: TempDir,
    paas: PathBuf,
    server: Child,
    api: String,
    token: String,
}

impl Platform {
    fn start(paas: &Path, sample: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("paas-scenarios").tempdir()?;
        sample_images::write_layout(sample, &folder.path().join("images"))?;
        let server = spawn(paas, folder.path())?;
        let mut platform =
            Self { folder, paas: paas.to_path_buf(), server, api: String::new(), token: String::new() };
        platform.api = platform.announced()?;
        let greeting = fs::read_to_string(platform.folder.path().join("greeting"))?;
        let mut words = greeting.split_whitespace();
        let token = words.find(|word| word.starts_with("paas_"));
        token.context("the first start printed no administrator's token")?.clone_into(&mut platform.token);
        platform.run(&["org", "create", "bench"])?;
        platform.run(&["env", "create", "bench"])?;
        Ok(platform)
    }

    /// The address of the interface, once it answers.
    fn announced(&self) -> Result<String> {
        let file = self.folder.path().join("server/server.json");
        let started = Instant::now();
        while started.elapsed() < BOUND {
            let server: Option<Value> =
                fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
            if let Some(server) = server.filter(|server| server["pid"] == self.server.id()) {
                let api = server["api"].as_str().context("server.json names no address")?;
                if healthy(api) {
                    return Ok(api.to_owned());
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        bail!("the server does not answer: {}", fs::read_to_string(self.folder.path().join("log"))?)
    }

    /// Runs a verb and returns how long it took.
    fn run(&self, arguments: &[&str]) -> Result<Duration> {
        let mut command = Command::new(&self.paas);
        command.args(arguments).env("PAAS_CONFIG", self.folder.path().join("login.json"));
        command.env("PAAS_SERVER", &self.api).env("PAAS_TOKEN", &self.token);
        command.env("PAAS_ORG", "bench").env("PAAS_ENV", "bench");
        let started = Instant::now();
        let output = command.output().context("failed to start the command line")?;
        let took = started.elapsed();
        ensure!(
            output.status.success(),
            "`paas {}` ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(took)
    }

    fn specification(&self, instances: u32) -> Result<String> {
        let file = self.folder.path().join(format!("{instances}.yaml"));
        let image = self.image(1);
        let text = format!(
            "components:\n  - name: web\n    image: {image}\n    args: [web]\n    ports: [{{ name: http, number: 8080 }}]\n    \
             env: {{ READY_DELAY_MS: \"20\" }}\n    instances: {{ count: {instances} }}\n    \
             probes: {{ readiness: {{ http: {{ path: /readyz }} }} }}\nroutes: [{{ name: web, component: web }}]\n"
        );
        fs::write(&file, text)?;
        Ok(file.to_string_lossy().into_owned())
    }

    fn image(&self, version: u32) -> String {
        format!("oci:{}:{version}", self.folder.path().join("images").display())
    }

    /// A new application each time; the image is unpacked by one that comes before.
    fn deploy(&self) -> Result<Vec<Duration>> {
        let file = self.specification(3)?;
        measure(|index| {
            let app = format!("deploy{index}");
            let took = self.run(&["deploy", &app, "--create", "--file", &file, "--wait"])?;
            self.run(&["delete", &app, "--yes", "--wait"])?;
            Ok(took)
        })
    }

    fn rollback(&self) -> Result<Vec<Duration>> {
        let file = self.specification(3)?;
        let next = format!("web={}", self.image(2));
        self.run(&["deploy", "rollback", "--create", "--file", &file, "--wait"])?;
        let times = measure(|_| {
            self.run(&["deploy", "rollback", "--image", &next, "--wait"])?;
            self.run(&["rollback", "rollback", "--wait"])
        })?;
        self.run(&["delete", "rollback", "--yes", "--wait"])?;
        Ok(times)
    }

    fn scale(&self) -> Result<Vec<Duration>> {
        let file = self.specification(1)?;
        self.run(&["deploy", "scale", "--create", "--file", &file, "--wait"])?;
        let times = measure(|_| {
            let took = self.run(&["scale", "scale", "web=10", "--wait"])?;
            self.run(&["scale", "scale", "web=1", "--wait"])?;
            Ok(took)
        })?;
        self.run(&["scale", "scale", "web=3", "--wait"])?;
        Ok(times)
    }

    fn restart(&mut self) -> Result<Vec<Duration>> {
        measure(|_| {
            self.server.kill()?;
            self.server.wait()?;
            let started = Instant::now();
            self.server = spawn(&self.paas, self.folder.path())?;
            self.api = self.announced()?;
            Ok(started.elapsed())
        })
    }

    /// What the platform's processes hold, shared pages by their share; and what one more instance adds to the sum, which
    /// is what it costs: the pages that all processes share are paid for once.
    fn memory(&self) -> Result<String> {
        let sample = self.memory_with(3)?;
        let (few, many) = (self.memory_with(1)?, self.memory_with(10)?);
        let more = many.sum().saturating_sub(few.sum()) / 9;
        self.run(&["scale", "scale", "web=3", "--wait"])?;
        Ok(format!(
            "Memory (PSS) with 3 instances: server {:.1} MB, gateway {:.1} MB. One more instance adds {:.2} MB to the sum of all \
             processes of ours (10 instances against 1).",
            megabytes(sample.server),
            megabytes(sample.gateway),
            megabytes(more)
        ))
    }

    /// Waits for the shims of instances that still drain.
    fn memory_with(&self, instances: u32) -> Result<Memory> {
        self.run(&["scale", "scale", &format!("web={instances}"), "--wait"])?;
        let started = Instant::now();
        loop {
            let (memory, shims) = self.memory_now()?;
            ensure!(
                memory.server > 0 && memory.gateway > 0,
                "the server or the gateway is not among the processes"
            );
            if shims == instances {
                return Ok(memory);
            }
            ensure!(started.elapsed() < BOUND, "{shims} shims run for {instances} instances");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn memory_now(&self) -> Result<(Memory, u32)> {
        let mut memory = Memory::default();
        let folder = self.folder.path().to_string_lossy().into_owned();
        let mut shims = 0;
        for entry in fs::read_dir("/proc")? {
            let process = entry?.path();
            let command = fs::read(process.join("cmdline")).unwrap_or_default();
            let words: Vec<String> = command
                .split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            if !words.iter().any(|word| word.contains(&folder)) {
                continue;
            }
            let role = words.get(1).map(String::as_str).unwrap_or_default();
            let Some(kilobytes) = proportional_kilobytes(&process) else { continue };
            match role {
                "server" => memory.server += kilobytes,
                "__gateway" => memory.gateway += kilobytes,
                "__shim" => {
                    memory.shims += kilobytes;
                    shims += 1;
                }
                _ => {}
            }
        }
        Ok((memory, shims))
    }

    /// Takes everything down that was started.
    fn end(mut self) -> Result<()> {
        self.run(&["delete", "scale", "--yes", "--wait"])?;
        Command::new("kill").arg(self.server.id().to_string()).status()?;
        self.server.wait()?;
        end_gateway(self.folder.path())
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // After a failure too; a second kill of a dead process is an error that says nothing.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = end_gateway(self.folder.path());
    }
}

/// Kilobytes, by what the processes are.
#[derive(Debug, Default)]
struct Memory {
    server: u64,
    gateway: u64,
    shims: u64,
}

impl Memory {
    fn sum(&self) -> u64 {
        self.server + self.gateway + self.shims
    }
}

fn spawn(paas: &Path, folder: &Path) -> Result<Child> {
    let append = |name: &str| File::options().create(true).append(true).open(folder.join(name));
    let mut command = Command::new(paas);
    command
        .args(["server", "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0", "--dir"])
        .arg(folder.join("server"));
    command.stdin(Stdio::null()).stdout(append("greeting")?).stderr(append("log")?);
    command.spawn().context("failed to start the server")
}

/// The gateway outlives its server, and the folder is about to go.
fn end_gateway(folder: &Path) -> Result<()> {
    let folder = folder.to_string_lossy();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid != std::process::id() && String::from_utf8_lossy(&command).contains(&*folder) {
            Command::new("kill").arg(pid.to_string()).status()?;
        }
    }
    Ok(())
}

/// One run that does not count, then the runs that do, sorted.
fn measure(mut run: impl FnMut(usize) -> Result<Duration>) -> Result<Vec<Duration>> {
    run(0)?;
    let mut times = (1..=RUNS).map(run).collect::<Result<Vec<_>>>()?;
    times.sort();
    Ok(times)
}

fn healthy(api: &str) -> bool {
    let Some(authority) = api.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) else {
        return false;
    };
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(authority)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn proportional_kilobytes(process: &Path) -> Option<u64> {
    let rollup = fs::read_to_string(process.join("smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "kilobytes of a process are far below 2^52")]
fn megabytes(kilobytes: u64) -> f64 {
    kilobytes as f64 / 1000.0
}
