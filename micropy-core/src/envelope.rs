//! The envelope of a track: the highest and lowest PCM sample of each step. Waveforms are drawn from it, and pauses are
//! found in it.
//!
//! Spans draw it on their own, in any order. Steps begin at multiples of their length from the track's start, whatever
//! the spans are, so the envelope of the whole is the same for every number of workers.

use std::num::NonZeroU64;
use std::ops::Range;
use std::time::Duration;

use crate::pcm::Pcm;
use crate::report::samples_of;

/// What counts as silence: PCM samples below −50 dBFS. Rooms and tapes hiss at about −60.
pub const SILENCE: f32 = 0.003_162_277_7;

/// The lowest and the highest PCM sample of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes {
    /// The lowest of all channels.
    pub min: f32,
    /// The highest of all channels.
    pub max: f32,
}

impl Extremes {
    /// Of no PCM sample.
    const NONE: Extremes = Extremes {
        min: f32::INFINITY,
        max: f32::NEG_INFINITY,
    };

    fn merge(&mut self, other: Extremes) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The largest magnitude; 0 of no PCM sample.
    fn level(self) -> f32 {
        self.max.max(-self.min).max(0.0)
    }
}

/// The envelope of a stretch of a track.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// PCM samples of a step; `None`: nothing was drawn.
    step: Option<NonZeroU64>,
    /// The step with which it begins.
    first: u64,
    steps: Vec<Extremes>,
    /// From the first PCM sample that is not silence to the last.
    sounding: Option<(u64, u64)>,
}

impl Envelope {
    /// An empty one in steps of so many PCM samples.
    pub fn new(step: NonZeroU64) -> Self {
        Envelope {
            step: Some(step),
            ..Envelope::default()
        }
    }

    /// Adds `pcm`, which begins at `position` of the track and follows what was added before.
    pub fn add(&mut self, position: u64, pcm: &Pcm) {
        let Some(step) = self.step else { return };
        if pcm.is_empty() {
            return;
        }
        if self.steps.is_empty() {
            self.first = position / step;
        }
        let mut done = 0;
        while done < pcm.len() {
            let at = position + done as u64;
            let index = at / step;
            let to_end = (index + 1) * step.get() - at;
            let len = to_end.min((pcm.len() - done) as u64) as usize;
            let mut found = Extremes::NONE;
            for plane in pcm.planes() {
                for &sample in &plane[done..done + len] {
                    found.min = found.min.min(sample);
                    found.max = found.max.max(sample);
                }
            }
            if found.level() >= SILENCE {
                self.note_sound(at, done..done + len, pcm);
            }
            let place = (index - self.first) as usize;
            if place >= self.steps.len() {
                self.steps.resize(place + 1, Extremes::NONE);
            }
            self.steps[place].merge(found);
            done += len;
        }
    }

    /// Notes where there is sound in `range` of `pcm`, which begins at `at` of the track.
    fn note_sound(&mut self, at: u64, range: Range<usize>, pcm: &Pcm) {
        let sounds = |i: &usize| pcm.planes().iter().any(|p| p[*i].abs() >= SILENCE);
        let place = |i: usize| at + (i - range.start) as u64;
        let last = range.clone().rfind(sounds).map(place);
        let first = match self.sounding {
            Some((first, _)) => Some(first),
            None => range.clone().find(sounds).map(place),
        };
        self.sounding = first.zip(last).or(self.sounding);
    }

    /// Adds the envelope of another stretch, in any order.
    pub fn merge(&mut self, other: Envelope) {
        self.sounding = match (self.sounding, other.sounding) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, another) => one.or(another),
        };
        if other.steps.is_empty() {
            return;
        }
        if self.steps.is_empty() {
            self.step = other.step;
            self.first = other.first;
            self.steps = other.steps;
            return;
        }
        if other.first < self.first {
            let missing = (self.first - other.first) as usize;
            self.steps
                .splice(..0, std::iter::repeat_n(Extremes::NONE, missing));
            self.first = other.first;
        }
        let offset = (other.first - self.first) as usize;
        let len = self.steps.len().max(offset + other.steps.len());
        self.steps.resize(len, Extremes::NONE);
        for (step, more) in self.steps[offset..].iter_mut().zip(other.steps) {
            step.merge(more);
        }
    }

    /// From the first PCM sample that is not silence to behind the last; `None`: all is silence.
    pub fn sounding(&self) -> Option<Range<u64>> {
        self.sounding.map(|(first, last)| first..last + 1)
    }

    /// Its steps from the track's start on. What was not drawn is silence.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = Extremes> {
        let silence = Extremes { min: 0.0, max: 0.0 };
        (0..self.first as usize + self.steps.len()).map(move |i| {
            let drawn = i.checked_sub(self.first as usize).map(|i| self.steps[i]);
            drawn.filter(|step| step.min <= step.max).unwrap_or(silence)
        })
    }
}

/// Where a track is quietest.
pub struct Quiet {
    levels: Vec<f32>,
    /// PCM samples of a step.
    step: u64,
}

impl Quiet {
    /// How finely it is searched.
    const STEP: Duration = Duration::from_millis(50);

    /// Steps of a pause: half a second.
    const PAUSE: usize = 10;

    /// The same in PCM samples at `rate` Hz.
    pub fn step(rate: u32) -> NonZeroU64 {
        NonZeroU64::new(samples_of(Self::STEP, rate)).unwrap_or(NonZeroU64::MIN)
    }

    /// What `envelope` shows, which was drawn in steps of `step` PCM samples.
    pub fn new(envelope: &Envelope, step: NonZeroU64) -> Self {
        Quiet {
            levels: envelope.steps().map(Extremes::level).collect(),
            step: step.get(),
        }
    }

    /// These levels of steps of `step` PCM samples.
    #[cfg(test)]
    pub fn of_levels(levels: Vec<f32>, step: u64) -> Self {
        Quiet { levels, step }
    }

    /// The middle of the quietest half second between the PCM samples of `range`, the last of those that are equally
    /// quiet; the end of `range` if it is shorter.
    pub fn quietest(&self, range: Range<u64>) -> u64 {
        let first = range.start.div_ceil(self.step) as usize;
        let end = ((range.end / self.step) as usize).min(self.levels.len());
        let mut best: Option<(f32, usize)> = None;
        for start in first..(end + 1).saturating_sub(Self::PAUSE) {
            let pause = &self.levels[start..start + Self::PAUSE];
            let level = pause.iter().copied().fold(0.0, f32::max);
            if best.is_none_or(|(least, _)| level <= least) {
                best = Some((level, start));
            }
        }
        match best {
            Some((_, start)) => (start + Self::PAUSE / 2) as u64 * self.step,
            None => range.end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(len: u64) -> NonZeroU64 {
        NonZeroU64::new(len).unwrap()
    }

    fn pcm(left: &[f32], right: &[f32]) -> Pcm {
        let mut pcm = Pcm::new(2);
        pcm.planes_mut()[0].extend_from_slice(left);
        pcm.planes_mut()[1].extend_from_slice(right);
        pcm
    }

    fn drawn(envelope: &Envelope) -> Vec<(f32, f32)> {
        envelope.steps().map(|s| (s.min, s.max)).collect()
    }

    #[test]
    fn a_step_has_the_extremes_of_all_channels() {
        let mut envelope = Envelope::new(step(3));
        envelope.add(0, &pcm(&[0.1, -0.2, 0.0, 0.5], &[0.0, 0.3, 0.0, 0.4]));
        assert_eq!(drawn(&envelope), [(-0.2, 0.3), (0.4, 0.5)]);
        assert_eq!(envelope.sounding(), Some(0..4));
    }

    #[test]
    fn stretches_merge_to_the_whole_in_any_order() {
        let samples: Vec<f32> = (0..1000u32)
            .map(|n| match n {
                150..=850 => (f64::from(n) * 0.37).sin() as f32,
                _ => 0.0,
            })
            .collect();
        let draw = |from: usize, to: usize| {
            let mut envelope = Envelope::new(step(7));
            for at in (from..to).step_by(13) {
                let part = &samples[at..(at + 13).min(to)];
                envelope.add(at as u64, &pcm(part, part));
            }
            envelope
        };
        let whole = draw(0, 1000);
        assert!(whole.sounding().is_some_and(|s| s == (150..851)));
        for cuts in [[0, 333, 700, 1000], [0, 1, 2, 1000], [0, 500, 999, 1000]] {
            let parts: Vec<_> = cuts.windows(2).map(|c| draw(c[0], c[1])).collect();
            for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
                let mut merged = Envelope::default();
                order.iter().for_each(|&i| merged.merge(parts[i].clone()));
                assert_eq!(drawn(&merged), drawn(&whole), "{cuts:?} {order:?}");
                assert_eq!(merged.sounding(), whole.sounding());
            }
        }
    }

    #[test]
    fn all_silence_has_no_sound_in_it() {
        let mut envelope = Envelope::new(step(4));
        envelope.add(0, &pcm(&[SILENCE * 0.99; 10], &[0.0; 10]));
        assert_eq!(envelope.sounding(), None);
        assert_eq!(envelope.steps().len(), 3);
    }

    #[test]
    fn the_quietest_half_second_is_found_and_the_last_of_equals() {
        let mut levels = vec![0.5; 100];
        levels[30..45].fill(0.01);
        levels[60..72].fill(0.001);
        let quiet = Quiet::of_levels(levels, 100);
        assert_eq!(quiet.quietest(0..10_000), 6700);
        assert_eq!(quiet.quietest(0..6000), 4000, "the last that fits");
        assert_eq!(quiet.quietest(0..3500), 3000, "the least loud");
        assert_eq!(quiet.quietest(500..700), 700, "too short for a pause");
    }
}
