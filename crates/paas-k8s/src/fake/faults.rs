//! What goes wrong because a test says so.

use std::time::Duration;

use http::Method;

use super::FakeCluster;
use super::request::Request;

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verb {
    /// Any.
    Any,
    /// One object is read.
    Get,
    /// Objects are listed.
    List,
    /// A watch begins.
    Watch,
    /// An object is made.
    Create,
    /// An object is replaced or patched.
    Update,
    /// An object is deleted.
    Delete,
}

/// What happens to a request instead of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The connection is refused; nothing happens.
    Refused,
    /// There is never an answer; nothing happens.
    Hangs,
    /// 429 with a wish for a pause in seconds; nothing happens.
    TooManyRequests(u64),
    /// This status; nothing happens.
    Status(u16),
    /// It is carried out when this time has passed.
    Late(Duration),
    /// It is carried out, and answered with 500.
    ErrorAfterCommit,
    /// It is carried out, and the connection is cut.
    CutAfterCommit,
}

#[derive(Debug, Default)]
pub(super) struct Script {
    rules: Vec<Rule>,
    /// How many watches were cut; each watch compares.
    pub(super) watch_cuts: u64,
    /// Watches tell nothing, and nobody notices.
    pub(super) watches_hang: bool,
}

#[derive(Debug)]
struct Rule {
    verb: Verb,
    plural: Option<String>,
    fault: Fault,
    left: usize,
}

impl FakeCluster {
    /// Lets a fault happen to the next `times` requests of a verb, of one kind by its plural name or of any.
    pub fn inject(&self, verb: Verb, plural: Option<&str>, fault: Fault, times: usize) {
        self.inner.with(|state| {
            let plural = plural.map(str::to_owned);
            state.script.rules.push(Rule { verb, plural, fault, left: times });
        });
    }

    /// Ends every injected fault.
    pub fn heal(&self) {
        self.inner.with(|state| state.script.rules.clear());
    }

    /// Cuts the connection of every watch.
    pub fn drop_watches(&self) {
        self.inner.with(|state| state.script.watch_cuts += 1);
        // Watches wait for new versions; this one wakes them.
        self.inner.newest.send_modify(|_| {});
    }

    /// Lets watches stay open and tell nothing, as over a connection that is lost without a word, or go on.
    pub fn hang_watches(&self, hang: bool) {
        self.inner.with(|state| state.script.watches_hang = hang);
        self.inner.newest.send_modify(|_| {});
    }

    /// Forgets the changes so far, so that a watch that begins at an older version is told 410.
    pub fn compact(&self) {
        self.inner.with(|state| state.objects.compact());
    }
}

impl Script {
    /// The fault of a request, if one is due.
    pub(super) fn strike(&mut self, request: &Request) -> Option<Fault> {
        let verb = verb(request);
        let rule = self.rules.iter_mut().find(|rule| {
            rule.left > 0
                && (rule.verb == Verb::Any || rule.verb == verb)
                && rule.plural.as_ref().is_none_or(|plural| request.plural() == Some(plural))
        })?;
        rule.left -= 1;
        Some(rule.fault.clone())
    }
}

fn verb(request: &Request) -> Verb {
    match request.method {
        Method::POST => Verb::Create,
        Method::PUT | Method::PATCH => Verb::Update,
        Method::DELETE => Verb::Delete,
        _ if request.asks("watch") => Verb::Watch,
        _ if request.name.is_some() => Verb::Get,
        _ => Verb::List,
    }
}

/// How long a request that never is answered waits before it is dropped: longer than any client.
pub(super) const FOR_EVER: Duration = Duration::from_hours(24);
