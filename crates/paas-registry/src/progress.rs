//! How far a pull has come.

use tokio::sync::watch;

use crate::Digest;

/// How far the pull of an image has come: the latest state, not a history.
///
/// It is given through a [`watch`] channel, which holds one value: a slow reader misses intermediate states and never
/// slows the pull down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// The layers, lowest first; empty until the manifest is known.
    pub layers: Vec<LayerProgress>,
}

impl PullProgress {
    /// Bytes that all layers have together, as they are transferred.
    pub fn total_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.total_bytes).sum()
    }

    /// Bytes that are here, whether transferred now or earlier.
    pub fn done_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.done_bytes).sum()
    }
}

/// How far one layer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerProgress {
    /// The digest of the layer as it is transferred.
    pub digest: Digest,
    /// Its size as it is transferred.
    pub total_bytes: u64,
    /// Bytes transferred; falls back to 0 when a broken transfer starts again.
    pub done_bytes: u64,
    /// What is being done with it.
    pub state: LayerState,
}

/// What is being done with a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerState {
    /// Nothing yet.
    Waiting,
    /// Being transferred.
    Transferring,
    /// Being unpacked.
    Unpacking,
    /// Unpacked and visible.
    Done,
}

/// The writing end, which works on one layer.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    sender: Option<watch::Sender<PullProgress>>,
    layer: usize,
}

impl Reporter {
    pub(crate) fn new(sender: Option<watch::Sender<PullProgress>>, layer: usize) -> Self {
        Self { sender, layer }
    }

    pub(crate) fn state(&self, state: LayerState) {
        self.update(|layer| {
            layer.state = state;
            match state {
                LayerState::Unpacking | LayerState::Done => layer.done_bytes = layer.total_bytes,
                LayerState::Waiting | LayerState::Transferring => layer.done_bytes = 0,
            }
        });
    }

    pub(crate) fn transferred(&self, bytes: u64) {
        self.update(|layer| layer.done_bytes = bytes);
    }

    fn update(&self, change: impl FnOnce(&mut LayerProgress)) {
        if let Some(sender) = &self.sender {
            sender.send_modify(|progress| {
                if let Some(layer) = progress.layers.get_mut(self.layer) {
                    change(layer);
                }
            });
        }
    }
}
