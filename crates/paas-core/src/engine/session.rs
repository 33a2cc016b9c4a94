//! A session: what one actor does with the platform.

mod actions;
mod attendance;
mod cluster;
mod follow;
mod streams;
mod traffic;

use std::sync::Arc;

use super::Services;
use crate::action::{Action, Call, RequestOptions, perform};
use crate::error::Result;
use crate::tenancy::Actor;

pub use cluster::{AppUsage, InstanceUsage, SilentCluster};
pub use follow::{Outcome, Progress};
pub use streams::EventAt;
pub use traffic::{AppTraffic, CallTraffic, LatencySummary, RouteTraffic, TrafficSummary, VersionTraffic};

/// What one actor does with the platform. Each method is an [`Action`], run by [`Session::perform`].
#[derive(Debug, Clone)]
pub struct Session {
    services: Arc<Services>,
    actor: Actor,
    options: RequestOptions,
}

impl Session {
    pub(super) fn new(services: Arc<Services>, actor: Actor) -> Self {
        Self { services, actor, options: RequestOptions::default() }
    }

    /// Who acts.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The same session for one request, whose action is carried out with these options:
    /// `session.with(options).deploy(&at, deploy)`.
    #[must_use]
    pub fn with(&self, options: RequestOptions) -> Self {
        Self { services: Arc::clone(&self.services), actor: self.actor.clone(), options }
    }

    /// Carries an action out: checks that the actor may, checks the input, recognises a repeated request, and commits
    /// what the action changes together with its audit record.
    ///
    /// # Errors
    /// - [`ErrorKind::Denied`](crate::ErrorKind::Denied) if nothing allows it to the actor; it says so before it looks
    ///   at anything else.
    /// - [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with every fault of the input.
    /// - [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if the object is not in a state that allows it, or has
    ///   changed since [`RequestOptions::expected_revision`], or the request id belongs to another request.
    /// - What the action itself and the ports answer.
    pub async fn perform<A: Action>(&self, action: A) -> Result<A::Output> {
        let mut call = Call::new(action);
        perform(&self.services, &self.actor, &self.options, &mut call).await?;
        Ok(call.into_output())
    }

    /// The same with options of its own.
    ///
    /// # Errors
    /// Those of [`Session::perform`].
    pub async fn perform_with<A: Action>(&self, action: A, options: RequestOptions) -> Result<A::Output> {
        self.with(options).perform(action).await
    }
}
