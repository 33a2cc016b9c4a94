//! Which points there are, and which of them remain.

use std::collections::{BTreeMap, BTreeSet};

use crate::end::End;
use crate::point::Point;
use crate::story::Story;

/// How many runs in a row may pass none of the points that remain before those that come in some runs only are let be. One that
/// comes in every run never has to be searched for: a run that passes it not shows that it comes in some only.
const SEARCHES: usize = 10;
/// How many stories may end wrong before the rest is not worth the time.
const FAILURES: usize = 5;

/// What is known of a story.
#[derive(Debug, Default)]
pub struct Progress {
    /// Its points, in the order in which they were first seen.
    pub points: Vec<Point>,
    /// Those that every run to the end passed.
    pub common: Option<BTreeSet<Point>>,
    /// Those at which the server was killed.
    pub killed: BTreeSet<Point>,
    /// How an undisturbed run ends.
    pub end: Option<End>,
    /// How many runs passed none of the points that remained to somebody.
    searched: usize,
    /// What somebody is at.
    claimed: BTreeMap<usize, BTreeSet<Point>>,
}

impl Progress {
    /// Whether every run passes a point, rather than some runs.
    pub fn is_common(&self, point: &Point) -> bool {
        self.common.as_ref().is_some_and(|common| common.contains(point))
    }

    /// The points at which the server has not been killed.
    pub fn remaining(&self) -> Vec<&Point> {
        self.points.iter().filter(|point| !self.killed.contains(point)).collect()
    }

    fn has_work(&self) -> bool {
        let remaining = self.remaining();
        !remaining.is_empty()
            && (self.searched < SEARCHES || remaining.iter().any(|point| self.is_common(point)))
    }
}

/// The plan of all stories.
#[derive(Debug, Default)]
pub struct Plan {
    /// How many points of each story are enough.
    pub bound: Option<usize>,
    pub stories: BTreeMap<Story, Progress>,
    pub failures: Vec<String>,
}

impl Plan {
    /// Whether there is anything left to do in a story or those that come after it.
    pub fn has_work_from(&self, story: Story) -> bool {
        let has_work = |progress: &Progress| progress.has_work() && !self.is_enough(progress);
        self.failures.len() < FAILURES && self.stories.range(story..).any(|(_, progress)| has_work(progress))
    }

    /// Whether the server was killed at as many points of a story as are asked for.
    pub fn is_enough(&self, progress: &Progress) -> bool {
        self.bound.is_some_and(|bound| progress.killed.len() >= bound)
    }

    /// The points at the first of which a worker has its server killed: a share of those that remain, so that two workers
    /// do not do the same.
    pub fn claim(&mut self, story: Story, worker: usize, workers: usize) -> BTreeSet<Point> {
        let bound = self.bound;
        let progress = self.stories.entry(story).or_default();
        progress.claimed.remove(&worker);
        if !progress.has_work() || bound.is_some_and(|bound| progress.killed.len() >= bound) {
            return BTreeSet::new();
        }
        let taken: BTreeSet<&Point> = progress.claimed.values().flatten().collect();
        let free = progress.remaining().into_iter().filter(|point| !taken.contains(point));
        let free: Vec<Point> = free.cloned().collect();
        let share = free.len().div_ceil(workers);
        let mine: BTreeSet<Point> = free.into_iter().take(share).collect();
        progress.claimed.insert(worker, mine.clone());
        mine
    }

    /// Takes the points in that a server passed to the end of a story.
    pub fn record_whole(&mut self, story: Story, passed: &[Point]) {
        self.see(story, passed);
        let passed: BTreeSet<Point> = passed.iter().cloned().collect();
        let progress = self.stories.entry(story).or_default();
        progress.common = Some(match progress.common.take() {
            Some(common) => &common & &passed,
            None => passed,
        });
    }

    /// Takes the points in that a server passed until it was killed at the last of them, or until the story ended wrong.
    pub fn record(&mut self, story: Story, passed: &[Point], killed: bool) {
        self.see(story, passed);
        if let Some(point) = passed.last().filter(|_| killed) {
            let progress = self.stories.entry(story).or_default();
            progress.killed.insert(point.clone());
            progress.searched = 0;
        }
    }

    /// Takes back what a worker claimed; a search ends with it when its server was not killed.
    pub fn give_back(&mut self, story: Story, worker: usize, killed: bool) {
        let progress = self.stories.entry(story).or_default();
        let searched = progress.claimed.remove(&worker).is_some_and(|claim| !claim.is_empty());
        progress.searched += usize::from(searched && !killed);
    }

    fn see(&mut self, story: Story, passed: &[Point]) {
        let progress = self.stories.entry(story).or_default();
        for point in passed {
            if !progress.points.contains(point) {
                progress.points.push(point.clone());
            }
        }
    }
}
