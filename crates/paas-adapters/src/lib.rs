//! Outside systems behind paas-core's ports: SQL stores, key files.

#[cfg(feature = "key-file")]
mod key_file;

#[cfg(feature = "key-file")]
pub use key_file::KeyFile;
