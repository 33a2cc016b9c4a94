//! Which database, and how it is connected to.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use paas_core::{Error, Fault, Result};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use super::failure;

/// Connections of one server.
const CONNECTIONS: u32 = 8;
/// How many changes the feed keeps.
const KEEP: i64 = 20_000;
/// How long a statement may take, or wait for a lock.
const STATEMENT: &str = "15s";
/// How long a transaction may be left alone. A server that was cut off in the middle of a commit keeps others from
/// committing for so long and no longer.
const IDLE_TRANSACTION: &str = "5s";
/// How long to wait for a connection.
const ACQUIRE: Duration = Duration::from_secs(10);
/// PostgreSQL cuts longer names off.
const NAME_MAX: usize = 63;

/// Which database holds the store, and how it is used.
#[derive(Clone)]
pub struct PostgresOptions {
    connect: PgConnectOptions,
    schema: String,
    connections: u32,
    keep: i64,
}

impl PostgresOptions {
    /// The database of a URL such as `postgres://user:password@host:5432/database?sslmode=verify-full`, in its schema `paas`.
    /// What the URL leaves out is taken from the `PG…` variables, as libpq does.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](paas_core::ErrorKind::Invalid) if it is no such URL. The URL, which may have a password, is not
    /// repeated.
    pub fn new(url: &str) -> Result<Self> {
        let scheme = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
        let connect = scheme.then(|| PgConnectOptions::from_str(url).ok()).flatten().ok_or_else(|| {
            let message =
                "is no URL of a PostgreSQL database; write postgres://user:password@host:5432/database";
            Error::invalid("read the store's options", vec![Fault::new("url", message)])
        })?;
        // A connection that goes through a pooler of transactions finds no statement that it prepared before; the cache of
        // statements is then turned off by `statement-cache-capacity=0` in the URL.
        Ok(Self { connect, schema: "paas".to_owned(), connections: CONNECTIONS, keep: KEEP })
    }

    /// Another schema than `paas`, so that several platforms share a database.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](paas_core::ErrorKind::Invalid) unless it has one to 63 lower-case letters, digits and underscores,
    /// a letter first.
    pub fn with_schema(mut self, schema: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let valid = schema.len() <= NAME_MAX
            && schema.starts_with(|c: char| c.is_ascii_lowercase())
            && schema.chars().all(plain);
        if !valid {
            let message = format!(
                "is {schema:?}; use lower-case letters, digits and underscores, a letter first, at most {NAME_MAX}"
            );
            return Err(Error::invalid("read the store's options", vec![Fault::new("schema", message)]));
        }
        schema.clone_into(&mut self.schema);
        Ok(self)
    }

    /// At most so many connections instead of eight; two at the least, and one more listens.
    #[must_use]
    pub fn with_connections(mut self, connections: u32) -> Self {
        self.connections = connections.max(2);
        self
    }

    /// A feed that keeps at least so many changes instead of 20,000.
    #[must_use]
    pub fn with_changes_kept(mut self, changes: u32) -> Self {
        self.keep = changes.into();
        self
    }

    pub(super) fn schema(&self) -> &str {
        &self.schema
    }

    pub(super) fn keep(&self) -> i64 {
        self.keep
    }

    /// Where it is, for people; without the password.
    pub(super) fn place(&self) -> String {
        let (host, port) = (self.connect.get_host(), self.connect.get_port());
        let database = self.connect.get_database().unwrap_or_else(|| self.connect.get_username());
        format!("postgres://{host}:{port}/{database} (schema {})", self.schema)
    }

    pub(super) async fn pool(&self) -> Result<PgPool> {
        let connect = self.connect.clone().application_name("paas").options([
            ("search_path", self.schema.as_str()),
            ("statement_timeout", STATEMENT),
            ("lock_timeout", STATEMENT),
            ("idle_in_transaction_session_timeout", IDLE_TRANSACTION),
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(self.connections)
            .min_connections(1)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(true);
        pool.connect_with(connect).await.map_err(|error| failure("connect to the database", error))
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions").field("database", &self.place()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use paas_core::ErrorKind;

    use super::*;

    #[test]
    fn what_is_no_url_of_a_database_is_refused_without_repeating_it() {
        for url in ["", "secret@host", "mysql://u:secret@h/d", "postgres://u:secret@h:port/d"] {
            let error = PostgresOptions::new(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
            assert!(!error.report().contains("secret"), "{}", error.report());
        }
    }

    #[test]
    fn nobody_reads_the_password_from_a_debug_output() {
        let options = PostgresOptions::new("postgres://me:hunter2@db.example.org/platform").unwrap();
        let shown = format!("{options:?}");
        assert!(shown.contains("db.example.org") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_schema_is_a_plain_name() {
        let options = PostgresOptions::new("postgres://localhost/platform").unwrap();
        for name in ["", "Paas", "1st", "a-b", "a\"; DROP SCHEMA public; --", &"a".repeat(64)] {
            assert_eq!(options.clone().with_schema(name).unwrap_err().kind(), ErrorKind::Invalid, "{name}");
        }
        assert_eq!(options.with_schema("team_2").unwrap().schema(), "team_2");
    }
}
