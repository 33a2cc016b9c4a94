//! Which instance a request goes to.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::{
    balance::SmoothRoundRobin,
    config::{
        self, Balance, Instance as InstanceConfig, InstanceId, Port, PortName, RevisionId, Rule, State,
    },
    upstream::{Instance, Lease, Use},
};

/// A service, with the instances that may get requests.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) state: State,
    pub(crate) rules: Vec<Rule>,
    pub(crate) ports: Vec<Port>,
    balance: Balance,
    revisions: Vec<Revision>,
    /// Shared with the table before, if nobody's share has changed.
    turns: Arc<Mutex<SmoothRoundRobin>>,
}

#[derive(Debug)]
struct Revision {
    id: RevisionId,
    weight: u32,
    ready: Vec<Member>,
    next: Arc<AtomicUsize>,
}

/// An instance that may get requests.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) instance: Arc<Instance>,
    pub(crate) ports: BTreeMap<PortName, u16>,
}

/// What a request has been through so far.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// The revision that it must go to, if that is ready.
    pub(crate) ruled: Option<usize>,
    /// Those that failed it.
    pub(crate) tried: Vec<InstanceId>,
    /// The revision whose turn it was.
    turn: Option<RevisionId>,
}

/// An instance, chosen and taken.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) revision: usize,
    pub(crate) member: Member,
    pub(crate) lease: Lease,
}

impl Choice {
    /// Of a request that a rule may send to a revision.
    pub(crate) fn new(ruled: Option<usize>) -> Self {
        Self { ruled, ..Self::default() }
    }
}

impl Service {
    pub(super) fn new(
        config: &config::Service,
        ready: &[(&InstanceConfig, &Arc<Instance>)],
        before: Option<&Self>,
    ) -> Self {
        let revisions: Vec<_> = config
            .revisions
            .iter()
            .map(|revision| Revision {
                id: revision.id.clone(),
                weight: revision.weight,
                ready: ready
                    .iter()
                    .filter(|(instance, _)| instance.revision == revision.id)
                    .map(|(instance, live)| Member {
                        instance: (*live).clone(),
                        ports: instance.ports.clone(),
                    })
                    .collect(),
                next: before
                    .and_then(|before| before.revisions.iter().find(|old| old.id == revision.id))
                    .map(|old| old.next.clone())
                    .unwrap_or_default(),
            })
            .collect();
        // Who has nobody ready takes no turn: the share goes to the others.
        let shares: Vec<u32> = revisions
            .iter()
            .map(|revision| if revision.ready.is_empty() { 0 } else { revision.weight })
            .collect();
        let same = |before: &&Self| {
            before.revisions.iter().map(|old| &old.id).eq(revisions.iter().map(|new| &new.id))
                && before.turns.lock().expect("no holder of this lock panics").weights() == shares
        };
        let turns = match before.filter(same) {
            Some(before) => before.turns.clone(),
            None => Arc::new(Mutex::new(SmoothRoundRobin::new(shares))),
        };
        Self {
            state: config.state.clone(),
            rules: config.rules.clone(),
            ports: config.ports.clone(),
            balance: config.balance,
            revisions,
            turns,
        }
    }

    /// The names of the revisions, in their order.
    pub(crate) fn revisions(&self) -> impl Iterator<Item = &RevisionId> {
        self.revisions.iter().map(|revision| &revision.id)
    }

    /// The place of a revision.
    pub(crate) fn position(&self, revision: &RevisionId) -> Option<usize> {
        self.revisions.iter().position(|candidate| candidate.id == *revision)
    }

    /// Takes an instance for a request: of the revision that a rule names, else of that whose turn it is, else (if
    /// all of that have failed the request) of any other with a weight. `None` if there is none left.
    ///
    /// A request takes one turn, however often it is tried.
    pub(crate) fn choose(&self, choice: &mut Choice, used_for: Use) -> Option<Chosen> {
        if let Some(ruled) = choice.ruled
            && let Some(chosen) = self.take(ruled, choice, used_for)
        {
            return Some(chosen);
        }
        let turn = match &choice.turn {
            Some(turn) => self.position(turn),
            None => self.turns.lock().expect("no holder of this lock panics").turn(),
        };
        if let Some(turn) = turn {
            choice.turn = Some(self.revisions[turn].id.clone());
            if let Some(chosen) = self.take(turn, choice, used_for) {
                return Some(chosen);
            }
        }
        let mut others: Vec<_> =
            (0..self.revisions.len()).filter(|i| Some(*i) != turn && self.revisions[*i].weight > 0).collect();
        others.sort_by_key(|i| std::cmp::Reverse(self.revisions[*i].weight));
        others.into_iter().find_map(|i| self.take(i, choice, used_for))
    }

    fn take(&self, revision: usize, choice: &Choice, used_for: Use) -> Option<Chosen> {
        let Revision { ready, next, .. } = &self.revisions[revision];
        if ready.is_empty() {
            return None;
        }
        let first = next.fetch_add(1, Relaxed);
        let mut best: Option<(bool, u64, &Member)> = None;
        for i in 0..ready.len() {
            let member = &ready[first.wrapping_add(i) % ready.len()];
            let instance = &member.instance;
            if !instance.is_accepting() || choice.tried.contains(&instance.id) {
                continue;
            }
            let load = match self.balance {
                Balance::LeastInflight => {
                    let (requests, connections) = instance.load();
                    u64::from(requests) + u64::from(connections)
                }
                Balance::RoundRobin => 0,
            };
            let rank = (instance.is_suspected(), load);
            if best.is_none_or(|(suspected, load, _)| rank < (suspected, load)) {
                best = Some((rank.0, rank.1, member));
                if rank == (false, 0) {
                    break;
                }
            }
        }
        let member = best?.2.clone();
        let lease = Lease::take(&member.instance, used_for)?;
        Some(Chosen { revision, member, lease })
    }
}
