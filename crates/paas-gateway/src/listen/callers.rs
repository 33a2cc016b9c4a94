//! Components that call: each has a shim, which hands over a listening socket for each declared dependency.

use std::{
    collections::HashMap,
    net::TcpListener as StdListener,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Origin, accept::accept_all};
use crate::{
    Error, ErrorKind, Result,
    config::{Caller, InstanceId},
    gateway::{CallerStatus, Inner, lock},
    handover::{Client, Listener},
};

/// The first wait for a shim that is not there; each is twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(1);

/// The longest wait for a shim that is about to come,
const SOON: Duration = Duration::from_millis(50);

/// which it is believed to be for as long as this,
const SOON_FOR: Duration = Duration::from_secs(10);

/// and the longest wait after that.
const LATER: Duration = Duration::from_secs(2);

/// How long a shim may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// All callers of the config in force.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    attached: HashMap<InstanceId, Attached>,
}

#[derive(Debug)]
struct Attached {
    config: Caller,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    attached: bool,
    listeners: u32,
    error: Option<String>,
}

impl Callers {
    /// Begins with callers that are new, and ends those that the config has no more. Where the dependencies of a caller
    /// lead is looked up in the table at each call, so nothing is to be done when only that has changed.
    pub(crate) fn switch(&mut self, inner: &Arc<Inner>, config: &[Caller]) {
        self.attached.retain(|instance, attached| {
            let same = |caller: &&Caller| {
                caller.instance == *instance
                    && caller.handover == attached.config.handover
                    && caller.component == attached.config.component
            };
            let stays = config.iter().any(|caller| same(&caller));
            if !stays {
                attached.stop.cancel();
            }
            stays
        });
        for caller in config {
            self.attached.entry(caller.instance.clone()).or_insert_with(|| {
                let state = Arc::new(Mutex::new(State::default()));
                let stop = inner.stop.child_token();
                tokio::spawn(attach(inner.clone(), caller.clone(), state.clone(), stop.clone()));
                Attached { config: caller.clone(), state, stop }
            });
        }
    }

    pub(crate) fn close(&mut self) {
        for (_, attached) in self.attached.drain() {
            attached.stop.cancel();
        }
    }

    pub(crate) fn status(&self) -> Vec<CallerStatus> {
        let mut all: Vec<_> = self
            .attached
            .iter()
            .map(|(instance, attached)| {
                let state = lock(&attached.state);
                CallerStatus {
                    instance: instance.clone(),
                    attached: state.attached,
                    listeners: state.listeners,
                    error: state.error.clone(),
                }
            })
            .collect();
        all.sort_by(|a, b| a.instance.cmp(&b.instance));
        all
    }
}

/// Stays attached to a caller's shim: whenever that is new, its listeners are fetched. Those of a shim that is gone are
/// kept until then, for they work as long as the namespace lives.
async fn attach(inner: Arc<Inner>, caller: Caller, state: Arc<Mutex<State>>, stop: CancellationToken) {
    let mut listeners: Vec<CancellationToken> = Vec::new();
    let staying = async {
        let mut wait = FIRST_WAIT;
        let mut since = Instant::now();
        loop {
            match fetch(&caller).await {
                Ok((client, fetched)) => {
                    let fresh = start(&inner, &caller, fetched, &stop);
                    for old in std::mem::replace(&mut listeners, fresh) {
                        old.cancel();
                    }
                    *lock(&state) = State {
                        attached: true,
                        listeners: u32::try_from(listeners.len()).unwrap_or(u32::MAX),
                        error: None,
                    };
                    client.closed().await;
                    lock(&state).attached = false;
                    (wait, since) = (FIRST_WAIT, Instant::now());
                }
                Err(error) => {
                    tracing::debug!(caller = %caller.instance, error = error.chain(), "no listeners yet");
                    lock(&state).error = Some(error.chain());
                }
            }
            tokio::time::sleep(wait).await;
            let longest = if since.elapsed() < SOON_FOR { SOON } else { LATER };
            wait = (wait * 2).min(longest);
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = staying => {}
    }
}

async fn fetch(caller: &Caller) -> Result<(Client, Vec<(Listener, OwnedFd)>)> {
    let fetching = async {
        let mut client = Client::connect(&caller.handover).await?;
        let listeners = client.listeners().await?;
        Ok((client, listeners))
    };
    match tokio::time::timeout(PATIENCE, fetching).await {
        Ok(fetched) => fetched,
        Err(_) => Err(Error::new(ErrorKind::Timeout, "fetch the listeners of a caller")
            .with("instance", &caller.instance)),
    }
}

fn start(
    inner: &Arc<Inner>,
    caller: &Caller,
    fetched: Vec<(Listener, OwnedFd)>,
    stop: &CancellationToken,
) -> Vec<CancellationToken> {
    let mut started = Vec::with_capacity(fetched.len());
    for (listener, fd) in fetched {
        let socket = StdListener::from(fd);
        let socket = socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket));
        match socket {
            Ok(socket) => {
                let stop = stop.child_token();
                let origin = Origin::Caller {
                    instance: caller.instance.clone(),
                    component: caller.component.clone(),
                    listener,
                };
                tokio::spawn(accept_all(inner.clone(), Arc::new(socket), origin, stop.clone()));
                started.push(stop);
            }
            Err(error) => {
                tracing::error!(caller = %caller.instance, listener = listener.name, %error,
                    "cannot use a listener that was handed over");
            }
        }
    }
    started
}
