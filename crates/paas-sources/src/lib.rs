//! What exists already, read as applications of the platform.
//!
//! - [`compose`]: Docker Compose files become components.
//!
//! Nothing is dropped in silence: what the platform cannot do is a fault, what has no meaning for it is a note.

pub mod compose;
