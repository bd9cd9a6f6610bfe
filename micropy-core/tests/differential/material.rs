//! The kinds of sound.

use crate::support::music::{Random, music};

#[derive(Clone, Copy, Debug)]
pub enum Material {
    Silence,
    NearSilence,
    FullScale,
    Transients,
    Tones,
    Noise,
    Music,
}

pub const MATERIALS: [Material; 7] = [
    Material::Tones,
    Material::Silence,
    Material::FullScale,
    Material::Music,
    Material::NearSilence,
    Material::Transients,
    Material::Noise,
];

impl Material {
    /// `len` PCM samples of each channel, none of which is like another.
    pub fn planes(self, rate: u32, channels: usize, len: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut random = Random::new(seed);
        if let Material::Music = self {
            return music(seed, rate, channels, len);
        }
        let plane = |channel: usize| {
            let hz = 110.0 * (channel as f32 + 2.0);
            let phase = move |i: usize, factor: f32| {
                std::f32::consts::TAU * hz * factor * i as f32 / rate as f32
            };
            let beat = rate as usize / (7 + channel);
            let sample = |i: usize| match self {
                Material::Silence => 0.0,
                Material::NearSilence => 4e-5 * random.noise(),
                Material::FullScale => (3.0 * phase(i, 1.0).sin()).clamp(-1.0, 1.0),
                Material::Transients => {
                    let since = (i % beat) as f32 / rate as f32;
                    0.9 * (-400.0 * since).exp() * phase(i % beat, 9.0).cos()
                }
                Material::Tones => {
                    0.3 * phase(i, 1.0).sin()
                        + 0.2 * phase(i, 2.7).sin()
                        + 0.1 * phase(i, 5.1).sin()
                }
                Material::Noise => 0.5 * random.noise(),
                Material::Music => unreachable!(),
            };
            (0..len).map(sample).collect()
        };
        (0..channels).map(plane).collect()
    }
}

/// Interleaved little-endian `f32` of `planes`, as ffmpeg reads it.
pub fn interleaved(planes: &[Vec<f32>]) -> Vec<u8> {
    let len = planes.first().map_or(0, Vec::len);
    (0..len)
        .flat_map(|i| planes.iter().flat_map(move |plane| plane[i].to_le_bytes()))
        .collect()
}
