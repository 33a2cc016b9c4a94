//! One Linux machine as a PaaS runtime: OCI containers without a daemon.
