//! Bounds on everything that comes from outside.

use serde::{Deserialize, Serialize};

/// Bounds on what a pull or an unpack accepts. Exceeding one is [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge).
///
/// The defaults admit every honest image that the authors know and keep a hostile one from filling a disk or the
/// memory unbounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of a manifest or an index; registries refuse more than 4 MiB too.
    pub manifest_bytes: u64,
    /// Bytes of an image configuration.
    pub config_bytes: u64,
    /// Layers of an image; overlayfs itself takes at most 500.
    pub layers: usize,
    /// Bytes of one layer as it is transferred.
    pub layer_bytes: u64,
    /// Bytes of all layers of an image as they are transferred.
    pub image_bytes: u64,
    /// Bytes of one layer after decompression.
    pub unpacked_bytes: u64,
    /// Entries of one layer.
    pub entries: u64,
    /// Bytes of all directory names of one layer, which unpacking holds in memory.
    pub directory_name_bytes: u64,
    /// How many times larger a layer may be unpacked than packed…
    pub expansion: u64,
    /// …once it has more than this many bytes unpacked.
    pub expansion_floor: u64,
}

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 4 * MIB,
            config_bytes: 4 * MIB,
            layers: 127,
            layer_bytes: 8 * GIB,
            image_bytes: 16 * GIB,
            unpacked_bytes: 16 * GIB,
            entries: 1_000_000,
            directory_name_bytes: 64 * MIB,
            expansion: 250,
            expansion_floor: 256 * MIB,
        }
    }
}
