//! A machine for one test: a state directory, an image, and the proof that nothing is left afterwards.

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use libtest_mimic::Failed;
use paas_local::{
    Command, Found, Host, Instance, InstanceId, InstanceSpec, Instances, LogOptions, LogRecord, Result,
    Secrets,
};
use tempfile::TempDir;

use crate::support::{leftovers, program};

pub(crate) type Run = fn(Arc<Machine>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: Run,
}

/// Lists async functions of one module as cases.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn cases() -> Vec<$crate::containers::machine::Case> {
            vec![$($crate::containers::machine::Case {
                name: stringify!($name),
                run: |machine| Box::pin($name(machine)),
            }),*]
        }
    };
}

pub(crate) fn run(case: Case) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let machine = Arc::new(Machine::new());
        let work = (case.run)(Arc::clone(&machine));
        let outcome = tokio::spawn(tokio::time::timeout(Duration::from_mins(1), work)).await;
        // Whatever happened, everything is removed; but the test's own failure is the one to be told.
        let left = machine.close().await;
        match outcome {
            Ok(Ok(())) => left.map_err(Failed::from),
            Ok(Err(_)) => Err(Failed::from("it took longer than 60 s")),
            Err(panic) => match panic.into_panic().downcast::<String>() {
                Ok(text) => Err(Failed::from(*text)),
                Err(other) => Err(Failed::from(*other.downcast::<&str>().unwrap_or(Box::new("it panicked")))),
            },
        }
    })
}

pub(crate) struct Machine {
    pub(crate) dir: TempDir,
    pub(crate) instances: Instances,
    pub(crate) host: Arc<Host>,
    layer: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let name = dir.path().file_name().expect("it has a name").to_string_lossy().to_lowercase();
        let host = Arc::new(Host::probe(&format!("test{}", name.replace('.', "-"))));
        let instances =
            Instances::open(dir.path().join("instances"), Arc::clone(&host)).expect("a directory");
        let layer = dir.path().join("layer");
        std::fs::create_dir_all(layer.join("etc")).expect("a layer");
        std::fs::copy(program::path(), layer.join("app")).expect("the program of the image");
        std::fs::write(
            layer.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
        )
        .expect("passwd");
        std::fs::write(layer.join("etc/group"), "root:x:0:\napp:x:1001:\ndata:x:33:app\n").expect("group");
        Self { dir, instances, host, layer }
    }

    /// The image's only layer; a test may change it before it starts anything.
    pub(crate) fn layer(&self) -> &Path {
        &self.layer
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn spec(&self, id: &str, args: &[&str]) -> InstanceSpec {
        let program = std::iter::once("/app").chain(args.iter().copied()).map(str::to_owned).collect();
        InstanceSpec::new(self::id(id), vec![self.layer.clone()], Command::Program(program))
    }

    pub(crate) async fn start(&self, spec: &InstanceSpec) -> Instance {
        self.instances.start(spec, Secrets::default()).await.expect("it starts")
    }

    /// Runs to its end, and returns what it said on standard output.
    pub(crate) async fn output(&self, spec: &InstanceSpec) -> String {
        self.output_with(spec, Secrets::default()).await
    }

    pub(crate) async fn output_with(&self, spec: &InstanceSpec, secrets: Secrets) -> String {
        let instance = self.instances.start(spec, secrets).await.expect("it starts");
        instance.wait().await;
        let text = text(&instance).await;
        self.instances.remove(&spec.id).await.expect("it is removed");
        text
    }

    pub(crate) async fn attach(&self, id: &str) -> Found {
        self.instances.attach(&self::id(id)).await.expect("it is there")
    }

    /// Removes everything, and says what could not be.
    async fn close(&self) -> Result<(), String> {
        let mut left = Vec::new();
        for id in self.instances.list().map_err(|error| error.chain())? {
            if let Err(error) = self.instances.remove(&id).await {
                left.push(error.chain());
            }
        }
        self.instances.sweep(&std::collections::BTreeSet::new()).await.map_err(|error| error.chain())?;
        left.extend(leftovers::of(self.dir.path()));
        if !self.host.release() {
            left.push("control groups are left".into());
        }
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    }
}

pub(crate) fn id(text: &str) -> InstanceId {
    text.parse().expect("a name")
}

pub(crate) async fn records(instance: &Instance, options: LogOptions) -> Vec<LogRecord> {
    let mut stream = instance.logs(options).expect("the log is there");
    let mut records = Vec::new();
    while let Some(record) = stream.next_record().await {
        records.push(record.expect("the log can be read"));
    }
    records
}

/// What it said on standard output so far.
pub(crate) async fn text(instance: &Instance) -> String {
    let mut text = String::new();
    for record in records(instance, LogOptions::all()).await {
        if record.stream == "stdout" {
            text.push_str(&record.text);
            if !record.partial {
                text.push('\n');
            }
        }
    }
    text
}

/// Waits until it has said a line.
pub(crate) async fn said(instance: &Instance, line: &str) {
    let mut stream = instance.logs(LogOptions::all().following()).expect("the log is there");
    let mut before = Vec::new();
    while let Some(record) = stream.next_record().await {
        let record = record.expect("the log can be read");
        if record.text == line {
            return;
        }
        before.push(record.text);
    }
    panic!("it never said {line:?}, but {before:?}, and {:?}", instance.exited());
}

/// Waits for a condition that nothing tells of.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(tokio::time::Instant::now() < until, "{what} did not come about within 20 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
