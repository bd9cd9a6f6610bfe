//! Fades: the level rises from silence at the start and falls to silence at the end.

use std::ops::Range;

use crate::pcm::Pcm;

/// Linear fades at both ends of an output. They depend on the position alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fade {
    /// PCM samples that the level takes to rise.
    pub rise: u64,
    /// The PCM samples over which it falls, to the end of the output; empty: it does not.
    pub fall: Range<u64>,
}

impl Fade {
    /// Fades `pcm`, which begins at `position` of the output.
    pub fn apply(&self, pcm: &mut Pcm, position: u64) {
        let end = position + pcm.len() as u64;
        if position >= self.rise && (self.fall.is_empty() || end <= self.fall.start) {
            return;
        }
        for plane in pcm.planes_mut() {
            for (place, sample) in (position..).zip(plane) {
                *sample *= self.level(place);
            }
        }
    }

    fn level(&self, place: u64) -> f32 {
        let mut level = 1.0;
        if place < self.rise {
            level *= place as f64 / self.rise as f64;
        }
        if !self.fall.is_empty() && place >= self.fall.start {
            let left = self.fall.end.saturating_sub(place);
            level *= left as f64 / (self.fall.end - self.fall.start) as f64;
        }
        level as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faded(fade: &Fade, pieces: &[usize]) -> Vec<f32> {
        let mut position = 0;
        let mut all = Vec::new();
        for &len in pieces {
            let mut pcm = Pcm::new(1);
            pcm.planes_mut()[0].resize(len, 1.0);
            fade.apply(&mut pcm, position);
            position += len as u64;
            all.extend_from_slice(pcm.plane(0));
        }
        all
    }

    #[test]
    fn the_level_rises_and_falls_however_the_pcm_is_cut() {
        let fade = Fade {
            rise: 4,
            fall: 8..12,
        };
        let whole = faded(&fade, &[12]);
        assert_eq!(
            whole,
            [
                0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25
            ]
        );
        assert_eq!(faded(&fade, &[3, 2, 4, 3]), whole);
    }

    #[test]
    fn fades_that_meet_multiply() {
        let fade = Fade {
            rise: 4,
            fall: 0..4,
        };
        assert_eq!(faded(&fade, &[4]), [0.0, 0.1875, 0.25, 0.1875]);
    }

    #[test]
    fn no_fade_changes_nothing() {
        assert_eq!(faded(&Fade::default(), &[5]), [1.0; 5]);
    }
}
