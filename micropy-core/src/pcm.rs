//! Decoded audio on its way from the decoder to the encoder.

/// A stretch of PCM: one plane of `f32` per channel, all of one length, full scale ±1.0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pcm {
    planes: Vec<Vec<f32>>,
}

impl Pcm {
    /// An empty stretch of `channels` channels.
    pub fn new(channels: usize) -> Self {
        Pcm {
            planes: vec![Vec::new(); channels],
        }
    }

    /// How many channels.
    pub fn channels(&self) -> usize {
        self.planes.len()
    }

    /// PCM samples per channel.
    pub fn len(&self) -> usize {
        self.planes.first().map_or(0, Vec::len)
    }

    /// No samples at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples of one channel.
    pub fn plane(&self, channel: usize) -> &[f32] {
        &self.planes[channel]
    }

    /// All channels.
    pub fn planes(&self) -> &[Vec<f32>] {
        &self.planes
    }

    /// All channels, to change them; every plane must be left with the same length.
    pub fn planes_mut(&mut self) -> &mut [Vec<f32>] {
        &mut self.planes
    }

    /// Removes the samples and keeps the memory.
    pub fn clear(&mut self) {
        self.planes.iter_mut().for_each(Vec::clear);
    }

    /// Makes this `channels` channels, empty.
    pub fn reset(&mut self, channels: usize) {
        self.planes.resize_with(channels, Vec::new);
        self.clear();
    }

    /// Makes every channel `len` samples long: cut, or continued with silence.
    pub fn resize(&mut self, len: usize) {
        self.planes.iter_mut().for_each(|p| p.resize(len, 0.0));
    }

    /// Appends `len` samples from `start` of `other`, which has as many channels.
    pub fn extend_from(&mut self, other: &Pcm, start: usize, len: usize) {
        debug_assert_eq!(self.channels(), other.channels());
        for (to, from) in self.planes.iter_mut().zip(&other.planes) {
            to.extend_from_slice(&from[start..start + len]);
        }
    }
}
