//! Who stands between the server and its cluster, notes the writes that pass, and kills the server at the first that was
//! asked for: before the cluster hears of it, or before the server hears of the answer.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use paas_api_proxy::{Gate, Write};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::killer::{Order, Points};
use crate::point::{self, Point};

/// Who kills the server from outside.
#[derive(Debug)]
pub struct ApiGate(Mutex<State>);

#[derive(Debug)]
struct State {
    points: Points,
    /// The server, as long as it may be killed. No other process can have this handle.
    server: Option<OwnedFd>,
}

impl ApiGate {
    /// One that kills nobody until it is asked to.
    pub fn new(journal: &Path) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { points: Points::new(journal), server: None })))
    }

    /// From now on the points of this server are noted, and the first that is asked for is its last.
    pub fn take(&self, order: Order, server: u32) {
        let mut state = self.0.lock().unwrap();
        let pid = Pid::from_raw(i32::try_from(server).unwrap()).unwrap();
        state.server = Some(pidfd_open(pid, PidfdFlags::empty()).unwrap());
        state.points.take(order);
    }

    /// From now on nobody is killed.
    pub fn let_be(&self) {
        self.0.lock().unwrap().server = None;
    }

    /// Passes a point, or kills the server there; whether the server is gone.
    fn pass(&self, find: impl FnOnce(&mut Points) -> Point) -> bool {
        let mut state = self.0.lock().unwrap();
        let point = find(&mut state.points);
        let last = state.points.is_last(&point);
        let server = if last { state.server.take() } else { None };
        if let Some(server) = &server {
            let _ = pidfd_send_signal(server, Signal::KILL);
            // Nothing that it does any more comes before the note.
            let _ = poll(&mut [PollFd::new(server, PollFlags::IN)], None);
        }
        state.points.note(&point, server.is_some());
        server.is_some()
    }
}

#[async_trait]
impl Gate for ApiGate {
    async fn before(&self, write: &Write) {
        let killed = self.pass(|points| points.before(&point::of_api(write, &points.order.names)));
        if killed {
            // What the server has not sent yet never comes.
            std::future::pending::<()>().await;
        }
    }

    async fn after(&self, write: &Write, status: u16) {
        if status < 300 {
            self.pass(|points| {
                let call = point::of_api(write, &points.order.names);
                points.after(&call)
            });
        }
    }
}
