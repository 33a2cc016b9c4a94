//! Images by the references of templates, kept by digest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use paas_core::model::Template;
use paas_core::port::ImagePull;
use paas_registry::{
    Digest, Image, ImageStore, LayerProgress, LayerState, Location, PullOptions, PullProgress, Registries,
};
use tokio::sync::watch;

use crate::Host;

/// How often it is told how far a pull has come, and how long one must take for that to be worth telling.
const PACE: Duration = Duration::from_millis(500);

/// The images of the machine.
#[derive(Debug)]
pub(super) struct Images {
    store: ImageStore,
    registries: Registries,
    /// The pulls that are under way. Of those of one image each waits for the layers that another one transfers.
    pulls: Mutex<BTreeMap<Digest, Vec<watch::Receiver<PullProgress>>>>,
}

impl Images {
    pub(super) fn open(directory: &Path, host: &Arc<Host>) -> Result<Self, paas_core::Error> {
        let store = ImageStore::open_with(directory, crate::unpacker::options(host)).map_err(|error| {
            paas_core::Error::new(paas_core::ErrorKind::Internal, "open the image store")
                .with_context("directory", directory.display())
                .with_source(error)
        })?;
        Ok(Self { store, registries: Registries::default(), pulls: Mutex::default() })
    }

    pub(super) fn store(&self) -> &ImageStore {
        &self.store
    }

    /// The image that a template was pinned to: from the store if it is there, else from where the template says. While it is
    /// pulled, `tell` is told how far that has come, whoever transfers it, each [`PACE`] at most.
    pub(super) async fn fetch(
        &self,
        template: &Template,
        mut tell: impl FnMut(ImagePull),
    ) -> paas_registry::Result<Image> {
        let digest: Digest = template.digest.parse()?;
        if let Some(image) = self.store.get(&digest)? {
            return Ok(image);
        }
        let location: Location = template.image.parse()?;
        let source = location.source(&self.registries)?;
        let pinned = location.reference().at_digest(digest);
        let options = PullOptions { progress: Some(self.begin(digest)), ..PullOptions::default() };
        let pulled = self.store.pull(&*source, &pinned, &options);
        tokio::pin!(pulled);
        let mut last = None;
        loop {
            tokio::select! {
                pulled = &mut pulled => return pulled,
                () = tokio::time::sleep(PACE) => {}
            }
            let progress = self.progress(&digest);
            if let Some(progress) = progress.filter(|progress| last != Some(*progress)) {
                tell(progress);
                last = Some(progress);
            }
        }
    }

    /// Notes that a pull begins, which ends when the sender is dropped.
    fn begin(&self, digest: Digest) -> watch::Sender<PullProgress> {
        let (sender, receiver) = watch::channel(PullProgress::default());
        let mut pulls = self.pulls();
        pulls.retain(|_, pulls| {
            pulls.retain(|pull| pull.has_changed().is_ok());
            !pulls.is_empty()
        });
        pulls.entry(digest).or_default().push(receiver);
        sender
    }

    /// How far the pulls of an image have come together; nothing as long as its layers are not known.
    fn progress(&self, digest: &Digest) -> Option<ImagePull> {
        let pulls = self.pulls();
        let of_image = pulls.get(digest).into_iter().flatten().filter(|pull| pull.has_changed().is_ok());
        told(of_image.map(|pull| pull.borrow().layers.clone()))
    }

    fn pulls(&self) -> MutexGuard<'_, BTreeMap<Digest, Vec<watch::Receiver<PullProgress>>>> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of each layer what the pull says that has come furthest with it. Pulls that have only waited so far say nothing: what they wait
/// for may just have ended, and they have not found its layers yet.
fn told(pulls: impl Iterator<Item = Vec<LayerProgress>>) -> Option<ImagePull> {
    let rank = |layer: &LayerProgress| (layer.state == LayerState::Done, layer.done_bytes);
    let has_begun = |layers: &Vec<LayerProgress>| layers.iter().any(|it| it.state != LayerState::Waiting);
    let furthest = pulls.filter(has_begun).reduce(|mut furthest, layers| {
        for (one, other) in furthest.iter_mut().zip(layers) {
            if rank(&other) > rank(one) {
                *one = other;
            }
        }
        furthest
    })?;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Some(ImagePull {
        received_bytes: furthest.iter().map(|layer| layer.done_bytes).sum(),
        total_bytes: furthest.iter().map(|layer| layer.total_bytes).sum(),
        layers_done: number(furthest.iter().filter(|layer| layer.state == LayerState::Done).count()),
        layers: number(furthest.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(done: [u64; 2]) -> Vec<LayerProgress> {
        let layer = |done_bytes| LayerProgress {
            digest: Digest::of(b"layer"),
            total_bytes: 10,
            done_bytes,
            state: if done_bytes == 10 { LayerState::Done } else { LayerState::Transferring },
        };
        done.into_iter().map(layer).collect()
    }

    #[test]
    fn pulls_of_one_image_are_told_as_one() {
        assert_eq!(told([Vec::new()].into_iter()), None, "its layers are not known yet");
        let waiting = layers([0, 0]).into_iter().map(|it| LayerProgress { state: LayerState::Waiting, ..it });
        let waiting: Vec<_> = waiting.collect();
        assert_eq!(told([waiting.clone()].into_iter()), None, "nothing was done yet");
        let told = told([waiting, layers([10, 0]), Vec::new(), layers([2, 4])].into_iter()).unwrap();
        assert_eq!(told, ImagePull { received_bytes: 14, total_bytes: 20, layers_done: 1, layers: 2 });
    }
}
