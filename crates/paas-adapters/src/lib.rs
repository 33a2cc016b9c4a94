//! Outside systems behind paas-core's ports: SQL stores.
