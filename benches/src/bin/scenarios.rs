//! `scenarios PAAS SAMPLE`: measurements of the whole, with the real binary and real containers.
//!
//! Each figure is the wall-clock time of one command line, so it holds what a user waits for: the client's start, the
//! request, the work, and the wait until everything is ready. Prints a table in Markdown.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Result, bail, ensure};
use paas_benches::{BOUND, Backend, Platform, RUNS, measure, megabytes, proportional_kilobytes, row};

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(paas), Some(sample), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        bail!("usage: scenarios PAAS SAMPLE (the binary `paas` and the sample's static binary)");
    };
    let mut platform = Machine::start(&paas, &sample)?;
    let rows = [
        ("`paas deploy` to all ready, 3 instances", platform.deploy()?),
        ("`paas rollback` to all ready, 3 instances", platform.rollback()?),
        ("`paas scale` 1 to 10, to all ready", platform.scale()?),
        ("kill -9 of the server, to its next answer", platform.restart()?),
    ];
    println!("| what | median of {RUNS} | least | most |\n|---|---|---|---|");
    for (what, times) in &rows {
        println!("{}", row(what, times));
    }
    println!("\n{}", platform.memory()?);
    platform.end()
}

/// What is measured.
struct Machine {
    platform: Platform,
}

impl Machine {
    fn start(paas: &Path, sample: &Path) -> Result<Self> {
        let platform = Platform::start(paas, Backend::Machine)?;
        sample_images::write_layout(sample, &platform.folder().join("images"))?;
        platform.run(&["env", "create", "bench"])?;
        Ok(Self { platform })
    }

    fn run(&self, arguments: &[&str]) -> Result<Duration> {
        self.platform.run(arguments)
    }

    fn specification(&self, instances: u32) -> Result<String> {
        let file = self.platform.folder().join(format!("{instances}.yaml"));
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
        format!("oci:{}:{version}", self.platform.folder().join("images").display())
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
        measure(|_| self.platform.restart())
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
        let folder = self.platform.folder().to_string_lossy().into_owned();
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
    fn end(self) -> Result<()> {
        self.run(&["delete", "scale", "--yes", "--wait"])?;
        self.platform.end()
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
