//! How far images have come that are being pulled.

use std::time::Duration;

use super::{Image, Stage, State};
use crate::port::{ImagePull, InstanceId, SetKey};

impl State {
    /// Pulls the image of a new instance. Its layers come one after another, each in a part of the time that is as large as
    /// it is.
    pub(in crate::memory::cluster) fn pull(&mut self, key: &SetKey, id: &InstanceId, image: Option<&Image>) {
        let time = image.map_or(Duration::ZERO, Image::pull);
        let layers = image.filter(|_| !time.is_zero()).map(Image::layers).unwrap_or_default();
        let total = layers.iter().sum::<u64>().max(1);
        for count in 0..layers.len() {
            let received = layers[..count].iter().sum::<u64>();
            let nanos = time.as_nanos() * u128::from(received) / u128::from(total);
            let after = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            self.instance_after(key, id, 0, after, Stage::Layers(count));
        }
        self.instance_after(key, id, 0, time, Stage::Pulled);
    }

    pub(super) fn layers_came(&mut self, key: &SetKey, id: &InstanceId, layers: usize) {
        let Some(image) = self.image_of(key) else { return };
        let Some((instance, _)) = self.instance_mut(key, id) else { return };
        let number = |layers| u32::try_from(layers).unwrap_or(u32::MAX);
        instance.pull = Some(ImagePull {
            received_bytes: image.layers().iter().take(layers).sum(),
            total_bytes: image.layers().iter().sum(),
            layers_done: number(layers),
            layers: number(image.layers().len()),
        });
        self.changed(&key.track);
    }
}
