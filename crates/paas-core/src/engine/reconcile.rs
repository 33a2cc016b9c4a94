//! Making the world what the documents say.
//!
//! Two kinds of reconcilers share a [`KeyedQueue`]: the coordinator, one key per application and environment, carries a
//! rollout to its tracks, commits it, and keeps the access points; the track reconciler, one key per component and
//! cluster, carries out what the release machine decides. A reconciler never asks why it was woken: it reads, observes,
//! decides, stores, acts. When there is nothing to do it writes nothing.
//!
//! What wakes a key: a change of a document (the store's feed), of a backend (its watch), a time that a decision asked
//! for, and every ten minutes, unless the settings say otherwise, all of them.

mod act;
mod app;
mod cache;
mod context;
mod events;
mod forget;
mod orphans;
mod routes;
mod run;
mod schedule;
mod spaces;
mod tombstone;
mod track;
mod watch;
mod world;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch as signal;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use self::cache::Cache;
use self::context::{Context, Key};
use super::conditions::Subject;
use super::lease::Lease;
use super::queue::{Backoff, KeyedQueue, Work};
use super::{LeaseOptions, OnHeld, Services};
use crate::error::{Error, ErrorKind, Result};

/// The shard that this version has: everything.
const SHARD: &str = "all";
/// How many keys of a cluster are worked on at once, and of those that concern no cluster: a cluster that does not answer uses
/// up its own share and nobody else's.
const WORKERS: usize = 16;
/// How long what is under way may take to end at a shutdown.
const GRACE: Duration = Duration::from_secs(5);
/// The pause before the reconcilers start again after the store failed them.
const RESTART: Duration = Duration::from_secs(1);

/// Whether the reconcilers of this platform work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Another server has the lease, or the store cannot be reached.
    Waiting,
    /// This one reconciles.
    Working,
    /// It was told to stop, and has.
    Stopped,
}

/// The reconcilers of a platform. Dropping them ends them at once, as the end of the process does.
pub(super) struct Reconcilers {
    stop: signal::Sender<bool>,
    standing: signal::Receiver<Standing>,
    resync: Arc<tokio::sync::Notify>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Reconcilers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconcilers").field("standing", &*self.standing.borrow()).finish_non_exhaustive()
    }
}

impl Drop for Reconcilers {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl Reconcilers {
    /// Starts them: as soon as the lease is there they work. If it is held and shall be refused, that is the error.
    pub(super) async fn start(services: Arc<Services>, options: LeaseOptions) -> Result<Self> {
        let (stop, stopped) = signal::channel(false);
        let (tell, mut standing) = signal::channel(Standing::Waiting);
        let resync = Arc::new(tokio::sync::Notify::new());
        let (failed, failure) = tokio::sync::oneshot::channel();
        let supervisor = Supervisor { services, options, stopped, tell, resync: Arc::clone(&resync) };
        let task = tokio::spawn(async move {
            if let Err(error) = supervisor.run().await {
                let _ = failed.send(error);
            }
        });
        let started = Self { stop, standing: standing.clone(), resync, task: Mutex::new(Some(task)) };
        // A lease that is free is taken before the platform is handed out; for one that is held nobody waits here.
        tokio::select! {
            biased;
            Ok(error) = failure => return Err(error),
            _ = standing.wait_for(|standing| *standing == Standing::Working) => {}
            () = sleep(Duration::from_millis(200)) => {}
        }
        Ok(started)
    }

    /// Whether this platform reconciles, rather than standing by.
    pub(super) fn are_working(&self) -> bool {
        *self.standing.borrow() == Standing::Working
    }

    /// Looks at everything now.
    pub(super) fn resync(&self) {
        self.resync.notify_one();
    }

    /// Lets what is under way end, gives the lease back, and stops.
    pub(super) async fn shutdown(&self) {
        let _ = self.stop.send(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

/// Holds the lease, and the tasks that may only work while it is held.
struct Supervisor {
    services: Arc<Services>,
    options: LeaseOptions,
    stopped: signal::Receiver<bool>,
    tell: signal::Sender<Standing>,
    resync: Arc<tokio::sync::Notify>,
}

impl Supervisor {
    async fn run(mut self) -> Result<()> {
        let holder = format!("{}-{}", self.services.installation(), self.services.next_id().simple());
        loop {
            match self.hold(&holder).await {
                Ok(()) => break,
                Err(error)
                    if error.kind() == ErrorKind::Conflict && error.operation().starts_with("acquire") =>
                {
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(error = %error.report(), "the reconcilers stopped and will start again");
                }
            }
            let _ = self.tell.send(Standing::Waiting);
            // Who took over is not taken over in turn: two servers would take the lease from each other for ever.
            if self.options.on_held == OnHeld::TakeOver {
                self.options.on_held = OnHeld::Wait;
            }
            tokio::select! {
                () = sleep(RESTART) => {}
                () = told_to_stop(self.stopped.clone()) => break,
            }
        }
        let _ = self.tell.send(Standing::Stopped);
        Ok(())
    }

    /// Acquires the lease and reconciles until it is lost, or until told to stop.
    async fn hold(&mut self, holder: &str) -> Result<()> {
        let services = &self.services;
        let (store, clock) = (Arc::clone(services.store()), Arc::clone(services.clock()));
        let mut lease = tokio::select! {
            lease = Lease::acquire(store, clock, SHARD, holder, &self.options) => lease?,
            () = told_to_stop(self.stopped.clone()) => return Ok(()),
        };
        tracing::info!(%lease, "reconciling");
        let queue =
            KeyedQueue::new(Backoff::default()).with_lanes(WORKERS, |key: &Key| key.cluster().cloned());
        let (cache, feed) = Cache::load(services.store()).await?;
        let context =
            Arc::new(Context::new(Arc::clone(services), cache, queue, lease.epoch(), lease.guard()));
        services.conditions().clear_all();
        // Everything in here ends when this set is dropped.
        let mut tasks: JoinSet<Error> = JoinSet::new();
        watch::spawn(&context, feed, &mut tasks);
        tasks.spawn(work(Arc::clone(&context)));
        tasks.spawn(resync(Arc::clone(&context), Arc::clone(&self.resync)));
        let _ = self.tell.send(Standing::Working);
        let ended = tokio::select! {
            lost = lease.keep() => Some(lost),
            Some(ended) = tasks.join_next() => Some(ended.unwrap_or_else(|panic| {
                Error::new(ErrorKind::Internal, "reconcile").with_source(panic)
            })),
            () = told_to_stop(self.stopped.clone()) => None,
        };
        if let Some(error) = ended {
            return Err(error);
        }
        context.queue.close();
        // What is under way may end; what hangs is left to the next holder, which is fenced against it.
        let quiet = async { while context.queue.is_busy() && tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, quiet).await;
        tasks.shutdown().await;
        if let Err(error) = lease.release().await {
            tracing::debug!(error = %error.report(), "the lease was not given back; it ends by itself");
        }
        Ok(())
    }
}

/// Returns when the platform shuts down, or is gone.
async fn told_to_stop(mut stopped: signal::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Everything at the start, and now and then, and when asked.
async fn resync(context: Arc<Context>, asked: Arc<tokio::sync::Notify>) -> Error {
    loop {
        for key in context.cache.keys() {
            context.queue.add(key);
        }
        for cluster in context.services.clusters().keys() {
            context.queue.add(Key::Orphans(cluster.clone()));
            context.queue.add(Key::Spaces(cluster.clone()));
        }
        tokio::select! {
            () = sleep(context.services.settings().resync) => {}
            () = asked.notified() => {}
        }
    }
}

/// Works on every key that the queue hands out, each in a task of its own: the queue bounds their number.
async fn work(context: Arc<Context>) -> Error {
    let mut working: JoinSet<Option<Error>> = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(ended) = working.join_next() => match ended {
                Ok(None) => {}
                Ok(Some(error)) => return error,
                Err(panic) => return Error::new(ErrorKind::Internal, "reconcile").with_source(panic),
            },
            work = context.queue.next() => match work {
                Some(work) => {
                    working.spawn(one(Arc::clone(&context), work));
                }
                None => break,
            },
        }
    }
    // The queue was closed: what is under way may end, and the supervisor ends the others.
    while working.join_next().await.is_some() {}
    Error::new(ErrorKind::Cancelled, "reconcile")
}

async fn one(context: Arc<Context>, work: Work<Key>) -> Option<Error> {
    let outcome = match work.key() {
        Key::App(at) => app::reconcile(&context, at).await,
        Key::Track(track) => track::reconcile(&context, track).await,
        Key::Run(at, cluster, id) => run::reconcile(&context, at, cluster, id).await,
        Key::Schedule(component, cluster) => schedule::reconcile(&context, component, cluster).await,
        Key::Routes(at, cluster) => routes::reconcile(&context, at, cluster).await,
        Key::Tombstone(at, cluster) => tombstone::reconcile(&context, at, cluster).await,
        Key::Orphans(cluster) => orphans::sweep(&context, cluster).await,
        Key::Spaces(cluster) => spaces::sweep(&context, cluster).await,
        Key::Forget(cluster) => forget::reconcile(&context, cluster).await,
    };
    settle(&context, work, outcome).await
}

/// Notes how it went. An error that is returned ends this holder's work.
async fn settle(context: &Context, work: Work<Key>, outcome: Result<()>) -> Option<Error> {
    let key = work.key().clone();
    let subject = match &key {
        Key::App(at) | Key::Run(at, ..) => Some(Subject::App(at.clone())),
        Key::Schedule(component, _) => Some(Subject::App(component.at.clone())),
        Key::Track(track) => Some(Subject::Track(track.clone())),
        Key::Routes(at, cluster) => Some(Subject::Routes(at.clone(), cluster.clone())),
        Key::Tombstone(..) | Key::Orphans(_) | Key::Spaces(_) | Key::Forget(_) => None,
    };
    let conditions = context.services.conditions();
    match outcome {
        Ok(()) => {
            let stands_at_app = matches!(key, Key::Run(..) | Key::Schedule(..));
            if let Some(Subject::App(at)) = subject.as_ref().filter(|_| stands_at_app)
                && context.queue.failures(&key) > 0
            {
                // What it could not do is told of its application, whose own turn shows whether all is well.
                context.queue.add(Key::App(at.clone()));
            }
            work.succeeded();
            if let Some(subject) = subject
                && !stands_at_app
                && conditions.clear(&subject)
            {
                tracing::info!(key = ?key, "works again");
            }
            None
        }
        Err(error) if context.is_fenced(&error).await => Some(
            Error::new(ErrorKind::Fenced, "reconcile")
                .with_context("epoch", context.epoch)
                .with_source(error),
        ),
        // Somebody changed a document meanwhile: read it again.
        Err(error) if error.kind() == ErrorKind::Conflict && error.operation() == "commit a transaction" => {
            tracing::debug!(key = ?key, error = %error.report(), "changed meanwhile");
            context.queue.add(key);
            work.succeeded();
            None
        }
        Err(error) => {
            if let Some(subject) = subject
                && conditions.set(subject, &error, context.services.now())
            {
                tracing::warn!(key = ?key, error = %error.report(), "cannot go on, and tries again");
            }
            work.failed();
            None
        }
    }
}
