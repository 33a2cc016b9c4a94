//! Where connections come from: the world, by listeners; components that call, by sockets of their shims.

mod accept;
mod callers;
mod connection;
mod world;

pub(crate) use callers::Callers;
pub(crate) use world::{Inherited, Listeners};

use crate::{
    config::{ComponentId, InstanceId, ListenerId},
    handover,
};

/// Where a connection came from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// The world.
    Listener(ListenerId),
    /// An instance that called.
    Caller { instance: InstanceId, component: ComponentId, listener: handover::Listener },
}
