//! This program as the server: with the killer around its ports, who takes orders on the standard input.

use std::io::{BufRead as _, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use paas_core::memory::Images;
use paas_core::port::{Document, ListOptions, Store};
use reference_server::{Backend, Server, ServerArgs};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::killer::{Killer, Order};

/// The first argument by which this program is the server.
pub const WORD: &str = "__kill_server";
/// The backend of a machine's own containers.
pub const MACHINE: &str = "machine";
/// The backend of clusters in memory.
pub const FAKE: &str = "fake";
/// The backend of real clusters.
pub const CLUSTER: &str = "cluster";
/// The variable with the URL of a store that servers share.
pub const STORE: &str = "PAAS_KILL_STORE";
/// The variable with the file of the keys that they share.
pub const KEYS: &str = "PAAS_KILL_KEYS";
/// The variable with how often everything is looked at, in seconds.
pub const RESYNC: &str = "PAAS_KILL_RESYNC";
/// What answers on the standard output begin with.
pub const ANSWER: &str = "@ ";

/// What the test asks of the server, beside its interface.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// To note the points of a story, and to be killed at one.
    Order(Order),
    /// What is in the store.
    Documents(Vec<String>),
    /// How often it has looked at its backend.
    Looks,
}

/// Runs the server in `directory`, on the containers of this machine or on clusters only; those in memory have their images
/// in memory, too.
pub fn main(directory: &Path, journal: &Path, backend: &str) -> ExitCode {
    let killer = Killer::new(journal);
    let of_cluster = killer.clone();
    let mut arguments = ServerArgs::new(directory);
    if backend != MACHINE {
        arguments.backend = Backend::None;
    }
    arguments.store = std::env::var(STORE).ok();
    arguments.key_file = std::env::var_os(KEYS).map(PathBuf::from);
    if let Ok(seconds) = std::env::var(RESYNC) {
        arguments.resync = seconds.parse().unwrap();
    }
    let in_memory = backend == FAKE;
    Server::new(arguments)
        .with_registry(move |registry| if in_memory { Arc::new(Images::any()) } else { registry })
        .with_store(move |store| {
            let (runtime, killer, store_of_answers) = (Handle::current(), killer.clone(), store.clone());
            let around = killer.around_store(store);
            std::thread::spawn(move || answer(&runtime, &killer, &store_of_answers));
            around
        })
        .with_cluster(move |ports| of_cluster.around_cluster(ports))
        .run()
}

fn answer(runtime: &Handle, killer: &Killer, store: &Arc<dyn Store>) {
    for line in stdin().lock().lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line).unwrap() {
            Question::Order(order) => {
                killer.take(order);
                println!("{ANSWER}null");
            }
            Question::Looks => println!("{ANSWER}{}", killer.looks()),
            Question::Documents(kinds) => {
                let documents = runtime.block_on(documents(store.as_ref(), kinds));
                println!("{ANSWER}{}", serde_json::to_string(&documents).unwrap());
            }
        }
    }
    // Whoever asks is gone, however that came: a server that nobody knows must not go on with what others make.
    std::process::exit(1);
}

async fn documents(store: &dyn Store, kinds: Vec<String>) -> Vec<Document> {
    let mut documents = Vec::new();
    for kind in kinds {
        let mut options = ListOptions { kind, ..ListOptions::default() };
        loop {
            let page = store.list(&options).await.unwrap();
            documents.extend(page.documents);
            options.after = page.next;
            if options.after.is_none() {
                break;
            }
        }
    }
    documents
}
