//! Who stands beside the server, notes the points that it passes, and kills it at the first that was asked for.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use paas_core::Result;
use paas_core::memory::{Call, Intercepted, Interceptor};
use paas_core::port::{
    ChangeStream, ClusterPorts, Document, DocumentKey, ListOptions, Page, Revision, Router, Runtime, Store,
    StoreLimits, Txn,
};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

use crate::point::{self, Names, Point};

/// What is asked of the killer for one story; as long as nothing is asked, it only notes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Order {
    /// It kills at the first of these that comes.
    pub points: BTreeSet<Point>,
    /// What revisions are called.
    pub names: Names,
}

/// Counts the points that are passed, and notes them in a journal.
#[derive(Debug)]
pub struct Points {
    journal: File,
    pub order: Order,
    /// How many calls that look the same have succeeded.
    done: HashMap<String, usize>,
    /// How many calls of a backend have changed nothing.
    looks: u64,
}

/// What a line of the journal begins with when the server was killed at its point.
const KILLED: &str = "! ";

impl Points {
    /// No points yet.
    pub fn new(journal: &Path) -> Self {
        let journal = File::options().create(true).append(true).open(journal).unwrap();
        Self { journal, order: Order::default(), done: HashMap::new(), looks: 0 }
    }

    /// From now on the points are noted, in an empty journal, and the first that is asked for is the last.
    pub fn take(&mut self, order: Order) {
        self.journal.set_len(0).unwrap();
        self.done.clear();
        self.order = order;
    }

    /// The point before a call. One that fails, because somebody was faster, changes nothing: the next one is the same.
    pub fn before(&self, call: &str) -> Point {
        Point::new("before", call, self.done.get(call).copied().unwrap_or_default() + 1)
    }

    /// The point after a call that has succeeded.
    pub fn after(&mut self, call: &str) -> Point {
        let number = self.done.entry(call.to_owned()).or_default();
        *number += 1;
        Point::new("after", call, *number)
    }

    /// Whether the server is to be killed at a point.
    pub fn is_last(&self, point: &Point) -> bool {
        self.order.points.contains(point)
    }

    /// Writes a point down. What is written is there when the process is gone.
    pub fn note(&mut self, point: &Point, killed: bool) {
        let mark = if killed { KILLED } else { "" };
        self.journal.write_all(format!("{mark}{point}\n").as_bytes()).unwrap();
    }
}

/// The points in a journal; the one at which the server was killed is the last, though others may have been under way.
pub fn read(journal: &Path) -> Vec<Point> {
    let journal = std::fs::read_to_string(journal).unwrap_or_default();
    let (killed, passed): (Vec<&str>, Vec<&str>) = journal.lines().partition(|line| line.starts_with(KILLED));
    let killed = killed.first().map(|line| &line[KILLED.len()..]);
    passed.into_iter().chain(killed).map(Point::from).collect()
}

/// Who kills the server.
#[derive(Debug)]
pub struct Killer(Mutex<Points>);

impl Killer {
    /// One that kills nobody until it is asked to.
    pub fn new(journal: &Path) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Points::new(journal))))
    }

    /// From now on the points are noted, in an empty journal, and the first that is asked for is the last.
    pub fn take(&self, order: Order) {
        self.0.lock().unwrap().take(order);
    }

    /// How often the backends were looked at.
    pub fn looks(&self) -> u64 {
        self.0.lock().unwrap().looks
    }

    fn before(&self, describe: impl FnOnce(&Names) -> Option<String>) {
        let mut points = self.0.lock().unwrap();
        let Some(call) = describe(&points.order.names) else { return };
        let point = points.before(&call);
        pass(&mut points, &point);
    }

    fn after(&self, describe: impl FnOnce(&Names) -> Option<String>) {
        let mut points = self.0.lock().unwrap();
        let Some(call) = describe(&points.order.names) else { return };
        let point = points.after(&call);
        pass(&mut points, &point);
    }

    /// Around a store.
    pub fn around_store(self: &Arc<Self>, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Watched { store, killer: self.clone() })
    }

    /// Around a cluster.
    pub fn around_cluster(self: &Arc<Self>, ports: ClusterPorts) -> ClusterPorts {
        let interceptors = || vec![self.clone() as Arc<dyn Interceptor>];
        let runtime: Arc<dyn Runtime> = Arc::new(Intercepted::new(ports.runtime, interceptors()));
        let router: Arc<dyn Router> = Arc::new(Intercepted::new(ports.router, interceptors()));
        ClusterPorts { runtime, router, ..ports }
    }
}

/// Passes a point, or does not.
fn pass(points: &mut Points, point: &Point) {
    let last = points.is_last(point);
    // The lock is held: nobody passes another point.
    points.note(point, last);
    if last {
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

#[async_trait]
impl Interceptor for Killer {
    async fn before(&self, call: &Call) -> Result<()> {
        self.0.lock().unwrap().looks += u64::from(!call.mutates);
        Killer::before(self, |names| call.mutates.then(|| point::of_backend(call, names)));
        Ok(())
    }

    async fn after(&self, call: &Call) -> Result<()> {
        Killer::after(self, |names| call.mutates.then(|| point::of_backend(call, names)));
        Ok(())
    }
}

/// A store whose transactions the killer sees whole: what a write says tells points apart better than its key.
#[derive(Debug)]
struct Watched {
    store: Arc<dyn Store>,
    killer: Arc<Killer>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Watched {
    fn limits(&self) -> StoreLimits {
        self.store.limits()
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>> {
        self.store.get(key).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page> {
        self.store.list(options).await
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        self.killer.before(|names| point::of_transaction(&txn, names));
        let revision = self.store.commit(txn.clone()).await?;
        self.killer.after(|names| point::of_transaction(&txn, names));
        Ok(revision)
    }

    async fn revision(&self) -> Result<Revision> {
        self.store.revision().await
    }

    async fn watch(&self, from: Revision) -> Result<ChangeStream> {
        self.store.watch(from).await
    }

    async fn compact(&self, up_to: Revision) -> Result<()> {
        self.killer.before(|_| Some("store.compact".to_owned()));
        self.store.compact(up_to).await?;
        self.killer.after(|_| Some("store.compact".to_owned()));
        Ok(())
    }
}
