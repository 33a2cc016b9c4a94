//! The data plane: HTTP and TCP proxy with weights, readiness, draining and statistics, a process of its own.
