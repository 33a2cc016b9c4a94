//! Components of manifests: objects of Kubernetes that somebody else wrote.
//!
//! A set is a config map that keeps the template, with its count as an annotation; the objects carry the revision that has
//! them. Objects are written by server-side apply with the one field manager, each with the version that was looked at, and
//! only if they differ. A set that is not in force keeps its objects until the next one has taken over those of the same
//! names, so that the cluster's own controllers replace what is behind them; the rest goes when the set is removed. Volumes
//! stay until the track is purged.

mod apply;
mod compare;
mod hosts;
mod keeper;
mod kinds;
mod observe;
mod render;
mod rules;
mod sets;

pub(crate) use hosts::hosts;
pub(crate) use keeper::keep;
pub(crate) use kinds::KINDS;
pub(crate) use rules::refusals;
