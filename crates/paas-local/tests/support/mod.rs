//! What the programs of tests share. It is a `mod.rs`, because a file beside them would be a program of tests itself.

pub(crate) mod leftovers;
pub(crate) mod ordinary_user;
pub(crate) mod program;
pub(crate) mod user;
