//! Every port in memory: the definition of its semantics, and what tests of embedders run against.

mod store;

pub use store::MemoryStore;
