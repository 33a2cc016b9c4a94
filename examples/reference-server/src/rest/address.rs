//! Where a running server is, as it writes into its directory.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The file in the server's directory.
pub const FILE: &str = "server.json";

/// Where a running server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Its interface, such as `http://127.0.0.1:7878`.
    pub api: String,
    /// The gateway, such as `127.0.0.1:8080`; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// When it began to answer.
    pub started_at: Timestamp,
}
