//! Which target a host and a path lead to.

use std::{collections::HashMap, sync::Arc};

use super::Target;
use crate::config::{HostPattern, PathPrefix};

/// All routes: by exact host, by the part of the host behind a `*.`, and for any host.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    exact: HashMap<String, Paths>,
    wildcard: HashMap<String, Paths>,
    any: Paths,
}

/// The routes of one host pattern, the longest path first.
type Paths = Vec<(PathPrefix, Arc<Target>)>;

impl Routes {
    pub(super) fn add(&mut self, host: &HostPattern, path: PathPrefix, target: Arc<Target>) {
        let paths = match host.as_str() {
            "*" => &mut self.any,
            text => match text.strip_prefix("*.") {
                Some(suffix) => self.wildcard.entry(suffix.into()).or_default(),
                None => self.exact.entry(text.into()).or_default(),
            },
        };
        paths.push((path, target));
    }

    pub(super) fn sort(&mut self) {
        for paths in self.exact.values_mut().chain(self.wildcard.values_mut()).chain([&mut self.any]) {
            paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.as_str().len()));
        }
    }

    /// The target of a host (in lower case, without a port) and a path. A more specific host whose routes do not hold
    /// the path leaves the request to the less specific ones.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&Arc<Target>> {
        let within =
            |paths: &'_ [(PathPrefix, Arc<Target>)]| paths.iter().position(|(prefix, _)| prefix.holds(path));
        if let Some(paths) = self.exact.get(host)
            && let Some(found) = within(paths)
        {
            return Some(&paths[found].1);
        }
        let mut rest = host;
        while let Some((_, suffix)) = rest.split_once('.') {
            if let Some(paths) = self.wildcard.get(suffix)
                && let Some(found) = within(paths)
            {
                return Some(&paths[found].1);
            }
            rest = suffix;
        }
        within(&self.any).map(|found| &self.any[found].1)
    }
}
