//! A process of the server, from its start to its end by the killer.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use paas_core::port::Document;
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::account::Account;
use crate::killer::Order;
use crate::serve::{ANSWER, KEYS, Question, RESYNC, STORE, WORD};
use crate::world::{PATIENCE, eventually};

/// A store that several servers share.
#[derive(Debug, Clone)]
pub struct SharedStore {
    /// The database.
    pub url: String,
    /// The file with the keys.
    pub keys: PathBuf,
}

/// A server that runs, or that was killed and is not known to be yet.
pub struct Process {
    child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// The address of its interface.
    pub api: String,
    /// The address of the gateway, if the server has one of its own.
    pub gateway: Option<String>,
}

/// The server was killed before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Killed;

/// How servers are started, again and again.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// Where applications run.
    pub backend: &'static str,
    /// A store that servers share, instead of one in the server's directory.
    pub shared: Option<SharedStore>,
    /// As whom the server runs.
    pub account: Account,
    /// How often everything is looked at, in seconds, if not as usual.
    pub resync: Option<u32>,
}

impl Process {
    /// Starts a server in `home`, where it keeps everything in `data`, and waits until it serves.
    pub async fn start(home: &Path, launch: &Launch) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(home.join("log")).unwrap();
        let shared = launch.shared.as_ref();
        let shared =
            shared.map(|it| [(STORE, it.url.clone()), (KEYS, it.keys.to_string_lossy().into_owned())]);
        let mut child = launch
            .account
            .command()
            .envs(shared.into_iter().flatten())
            .envs(launch.resync.map(|seconds| (RESYNC, seconds.to_string())))
            .arg(WORD)
            .args([home.join("data"), home.join("journal")])
            .arg(launch.backend)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = child.id();
        let questions = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = eventually("the server tells where it is", async || {
            if let Some(status) = child.try_wait().unwrap() {
                let log = std::fs::read_to_string(home.join("log")).unwrap_or_default();
                panic!("the server ended with {status} while it started:\n{log}");
            }
            let file = std::fs::read(home.join("data/server.json")).map_err(|error| error.to_string())?;
            let address: Value = serde_json::from_slice(&file).map_err(|error| error.to_string())?;
            if address["pid"] == pid.unwrap_or_default() { Ok(address) } else { Err(address.to_string()) }
        })
        .await;
        let text = |name: &str| address[name].as_str().map(str::to_owned);
        Self { child, questions, answers, api: text("api").unwrap(), gateway: text("gateway") }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("nobody has waited for its end")
    }

    /// The administrator's token, which a first start prints.
    pub async fn token(&mut self) -> String {
        let line = timeout(PATIENCE, self.answers.next_line()).await.unwrap().unwrap().unwrap();
        line.split_once("(shown once): ").unwrap().1.to_owned()
    }

    /// Tells the killer what to do.
    pub async fn order(&mut self, order: Order) {
        self.ask::<Value>(&Question::Order(order)).await.expect("without an order nothing is killed");
    }

    /// The documents of these kinds.
    pub async fn documents(&mut self, kinds: &[&str]) -> Result<Vec<Document>, Killed> {
        self.ask(&Question::Documents(kinds.iter().map(|kind| (*kind).to_owned()).collect())).await
    }

    /// How often the server has looked at its backend.
    pub async fn looks(&mut self) -> u64 {
        self.ask(&Question::Looks).await.expect("it lives")
    }

    async fn ask<T: DeserializeOwned>(&mut self, question: &Question) -> Result<T, Killed> {
        let line = serde_json::to_string(question).unwrap() + "\n";
        self.questions.write_all(line.as_bytes()).await.map_err(|_| Killed)?;
        let answer = async {
            loop {
                let line = self.answers.next_line().await.ok().flatten().ok_or(Killed)?;
                let Some(answer) = line.strip_prefix(ANSWER) else { continue };
                return match serde_json::from_str(answer) {
                    Ok(answer) => Ok(answer),
                    // It was killed while it answered.
                    Err(error) if error.is_eof() && matches!(self.answers.next_line().await, Ok(None)) => {
                        Err(Killed)
                    }
                    Err(error) => panic!("{error}: {answer}"),
                };
            }
        };
        timeout(PATIENCE, answer).await.expect("the server answers or is gone")
    }

    /// Stops it as a machine does that is paused, or lets it go on.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub async fn end(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it was killed").unwrap()
    }

    /// Ends it as a crash does.
    pub async fn kill(mut self) {
        let _ = self.child.kill().await;
    }
}

/// What is asked again until it is answered: soon enough that nobody waits for it.
pub const PERIOD: Duration = Duration::from_millis(20);
