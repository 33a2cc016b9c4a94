//! Outside systems behind the ports of [`paas_core`], a module and a feature each.
//!
//! - `sqlite`: a [`Store`](paas_core::port::Store) in one SQLite file, `SqliteStore`.
//! - `postgres`: a [`Store`](paas_core::port::Store) in a PostgreSQL database, `PostgresStore`.
//! - `key-file`: a [`KeyRing`](paas_core::port::KeyRing) in one file, `KeyFile`.

#[cfg(feature = "key-file")]
mod key_file;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "key-file")]
pub use key_file::KeyFile;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
