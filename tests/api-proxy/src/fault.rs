//! What goes wrong because a test says so.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::call::{Call, Verb};

/// What happens to a call instead of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is cut; nothing happens. Streams are cut.
    Refused,
    /// There is no answer until the fault is healed, and nothing happens. Streams are silent.
    Hangs,
    /// 429 with a wish for a pause in seconds; nothing happens.
    TooManyRequests(u64),
    /// It is carried out, and answered with 500. Of a call that only reads the answer is lost.
    ErrorAfterCommit,
    /// It is carried out, and the connection is cut.
    CutAfterCommit,
    /// 410: what is asked for is too old.
    Expired,
    /// A call that reads is answered as the same call was before the fault, and streams are silent: the server lags behind.
    /// What was never asked for is passed on, and so are writes.
    Stale,
}

/// Which calls a fault happens to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    verbs: Vec<Verb>,
    resources: Vec<String>,
}

impl Selection {
    /// Every call.
    pub fn all() -> Self {
        Self::default()
    }

    /// Calls that may change something.
    pub fn writes() -> Self {
        Self::of([Verb::Create, Verb::Apply, Verb::Patch, Verb::Replace, Verb::Delete])
    }

    /// Calls of these kinds.
    pub fn of(verbs: impl IntoIterator<Item = Verb>) -> Self {
        Self { verbs: verbs.into_iter().collect(), resources: Vec::new() }
    }

    /// Those of them that are about resources of these plural names.
    #[must_use]
    pub fn on<'a>(mut self, resources: impl IntoIterator<Item = &'a str>) -> Self {
        self.resources = resources.into_iter().map(str::to_owned).collect();
        self
    }

    fn has(&self, call: &Call) -> bool {
        (self.verbs.is_empty() || self.verbs.contains(&call.verb))
            && (self.resources.is_empty() || self.resources.contains(&call.resource))
    }
}

/// An answer that was passed on.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What is broken, and what the answers were before.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    rules: Vec<(Selection, Fault, Option<usize>)>,
    struck: usize,
    /// The last answer to each reading call, by what was asked.
    answers: HashMap<String, Recorded>,
}

impl Rules {
    pub(crate) fn add(&mut self, selection: Selection, fault: Fault, times: Option<usize>) {
        self.rules.push((selection, fault, times));
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn struck(&self) -> usize {
        self.struck
    }

    /// The fault of a call that comes now, if one is due.
    pub(crate) fn strike(&mut self, call: &Call) -> Option<Fault> {
        let (_, fault, left) =
            self.rules.iter_mut().find(|(selection, _, left)| *left != Some(0) && selection.has(call))?;
        if let Some(left) = left {
            *left -= 1;
        }
        self.struck += 1;
        Some(*fault)
    }

    /// The fault that a call under way meets: one that is not counted.
    pub(crate) fn standing(&self, call: &Call) -> Option<Fault> {
        let rule = self.rules.iter().find(|(selection, _, left)| left.is_none() && selection.has(call));
        rule.map(|(_, fault, _)| *fault)
    }

    pub(crate) fn record(&mut self, asked: String, answer: Recorded) {
        self.answers.insert(asked, answer);
    }

    pub(crate) fn recorded(&self, asked: &str) -> Option<Recorded> {
        self.answers.get(asked).cloned()
    }
}
