//! The rules of what users declare, checked whole.

mod app;
mod component;
mod environment;
mod manifest;
mod probe;
mod route;
mod schedule;
mod strategy;
mod text;

use crate::error::Fault;

/// The faults found so far, with the path of the value that is being looked at.
struct Checker<'a> {
    path: String,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Checker<'a> {
    fn new(path: &str, faults: &'a mut Vec<Fault>) -> Self {
        Self { path: path.to_owned(), faults }
    }

    /// Looks at a field of the value.
    fn field(&mut self, name: &str) -> Checker<'_> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Checker { path, faults: self.faults }
    }

    /// Looks at an element of the list.
    fn item(&mut self, index: usize) -> Checker<'_> {
        Checker { path: format!("{}[{index}]", self.path), faults: self.faults }
    }

    /// Looks at an entry of the map.
    fn entry(&mut self, key: &str) -> Checker<'_> {
        Checker { path: format!("{}[{key:?}]", self.path), faults: self.faults }
    }

    /// Notes a fault of the value.
    fn fault(&mut self, message: impl Into<String>) {
        self.faults.push(Fault::new(self.path.clone(), message));
    }

    /// Notes a fault unless `holds`.
    fn require(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds {
            self.fault(message());
        }
    }

    /// Checks that a number lies within bounds, both allowed.
    fn range(&mut self, value: u64, min: u64, max: u64, unit: &str) {
        self.require((min..=max).contains(&value), || {
            format!("{value}{unit} is not allowed; use {min} to {max}{unit}")
        });
    }

    /// Checks the length of a list.
    fn at_most(&mut self, length: usize, max: usize, noun: &str) {
        self.require(length <= max, || format!("{length} {noun} are too many; at most {max} are allowed"));
    }

    /// Notes every element that stands for a second time.
    fn unique<T: Ord + std::fmt::Display>(&mut self, field: &str, values: impl Iterator<Item = T>) {
        let mut seen = std::collections::BTreeMap::new();
        for (index, value) in values.enumerate() {
            if let Some(first) = seen.get(&value) {
                let message = format!("{value} is already used by element {first}; choose another");
                self.item(index).field(field).fault(message);
            } else {
                seen.insert(value, index);
            }
        }
    }
}
