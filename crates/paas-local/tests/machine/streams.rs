//! The machine under the suites of [`Exec`], [`Logs`] and what surrounds instances.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use paas_core::conformance::exec::{Command, ExecFixture};
use paas_core::conformance::logs::LogsFixture;
use paas_core::conformance::surroundings::SurroundingsFixture;
use paas_core::port::{
    ClusterPorts, Exec, InstanceId, Logs, RunInput, RunObservation, RunSpec, Runtime as _,
};
use paas_core::{EnvRef, TrackKey};

use super::fixture::{EPOCH, Fixture, get_from, ok, plain, processes};

#[async_trait]
impl ExecFixture for Fixture {
    fn exec(&self) -> Arc<dyn Exec> {
        Arc::new(self.machine())
    }

    async fn start(&self, track: &TrackKey) -> InstanceId {
        let mut template = self.web(&track.component);
        template.env.insert("CONFORMANCE".to_owned(), plain("yes"));
        self.one_more(track, template).await
    }

    async fn run(&self, track: &TrackKey, command: Command, input: RunInput) -> Option<InstanceId> {
        let words = self.words(&command);
        let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let spec = RunSpec {
            id: InstanceId(format!("run-of-{}", track.component.at.app)),
            track: track.clone(),
            template: self.template(&track.component, &words),
            command: None,
            env: BTreeMap::new(),
            input,
            labels: BTreeMap::new(),
        };
        ok(self.machine().start_run(EPOCH, &spec).await);
        Some(spec.id)
    }

    async fn observe_run(&self, run: &InstanceId) -> Option<RunObservation> {
        ok(self.machine().observe_run(run).await)
    }

    fn words(&self, command: &Command) -> Vec<String> {
        let words = match command {
            Command::Echo(text) => vec!["/app", "say", text],
            Command::Warn(text) => vec!["/app", "warn", text],
            Command::Cat => vec!["/app", "copy"],
            Command::Env => vec!["/app", "env"],
            Command::Exit(code) => return ["/app", "exit", &code.to_string()].map(str::to_owned).to_vec(),
            Command::Sleep => vec!["/app", "sleep"],
            Command::Size => vec!["/app", "size"],
            Command::AskedSize => vec!["/app", "asked-size"],
            Command::Missing => vec!["no-such-command"],
            other => unimplemented!("{other:?}"),
        };
        words.into_iter().map(str::to_owned).collect()
    }

    async fn still_runs(&self, instance: &InstanceId, command: &Command) -> Option<bool> {
        Some(processes(self, instance).contains(&self.words(command).join(" ")))
    }
}

#[async_trait]
impl LogsFixture for Fixture {
    fn logs(&self) -> Arc<dyn Logs> {
        Arc::new(self.machine())
    }

    async fn start(&self, track: &TrackKey) -> InstanceId {
        self.one_more(track, self.web(&track.component)).await
    }

    async fn print(&self, instance: &InstanceId, text: &str) {
        get_from(self, instance, &format!("/print/{}", text.replace(' ', "%20"))).await;
        let line = format!(" stdout F {text}\n");
        until(self, "the line is in the log", || {
            let end = end_of_log(self, instance);
            std::future::ready(if end.ends_with(&line) { Ok(()) } else { Err(end) })
        })
        .await;
    }

    async fn restart(&self, instance: &InstanceId) {
        let before = self.seen(instance).await.expect("the instance is there").restarts;
        self.kill_process(instance);
        until(self, "it runs again", || async {
            match self.seen(instance).await {
                Some(seen) if seen.restarts > before && seen.ready_since.is_some() => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
}

/// As [`super::fixture::eventually`], in a form that may be sent.
async fn until<S: Debug + Send, F: Future<Output = Result<(), S>> + Send>(
    fixture: &Fixture,
    what: &str,
    ask: impl Fn() -> F + Send + Sync,
) {
    let end = Instant::now() + ExecFixture::patience(fixture);
    while let Err(seen) = ask().await {
        assert!(Instant::now() < end, "waited for: {what}; last seen: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The last bytes of the last file of an instance's log.
fn end_of_log(fixture: &Fixture, instance: &InstanceId) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let folder = fixture.folder(instance).join("log");
    let files = std::fs::read_dir(folder).expect("the log").flatten().map(|entry| entry.path());
    let last: PathBuf = files.max().expect("it has a file");
    let mut file = std::fs::File::open(last).expect("it is there");
    let length = file.metadata().expect("it is there").len();
    file.seek(SeekFrom::Start(length.saturating_sub(4096))).expect("it can be read");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("it can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[async_trait]
impl SurroundingsFixture for Fixture {
    fn ports(&self) -> ClusterPorts {
        self.machine().ports()
    }

    /// One machine has no spaces: its instances see each other in no case.
    fn required(&self) -> [bool; 3] {
        [true, true, false]
    }

    fn moves(&self) -> bool {
        false
    }

    async fn start(&self, track: &TrackKey) -> InstanceId {
        self.one_more(track, self.web(&track.component)).await
    }

    async fn disturb(&self, _: &EnvRef) {}
}
