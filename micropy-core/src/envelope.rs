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
    pub const NONE: Extremes = Extremes {
        min: f32::INFINITY,
        max: f32::NEG_INFINITY,
    };

    /// Adds what `other` is of.
    pub fn merge(&mut self, other: Extremes) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Adds `samples`.
    fn merge_all(&mut self, samples: &[f32]) {
        /// Comparisons side by side: one alone would wait for the one before it.
        const LANES: usize = 16;
        let (mut min, mut max) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let lanes = samples.chunks_exact(LANES);
        for &sample in lanes.remainder() {
            self.merge(Extremes {
                min: sample,
                max: sample,
            });
        }
        for samples in lanes {
            for lane in 0..LANES {
                let sample = samples[lane];
                min[lane] = if sample < min[lane] {
                    sample
                } else {
                    min[lane]
                };
                max[lane] = if sample > max[lane] {
                    sample
                } else {
                    max[lane]
                };
            }
        }
        for (min, max) in min.into_iter().zip(max) {
            self.merge(Extremes { min, max });
        }
    }

    /// Adds `left` and `right`, mixed as [`Downmix::mono`](crate::downmix::Downmix::mono) does.
    fn merge_mix(&mut self, left: &[f32], right: &[f32]) {
        const BLOCK: usize = 256;
        let mut mix = [0.0; BLOCK];
        for (left, right) in left.chunks(BLOCK).zip(right.chunks(BLOCK)) {
            let mix = &mut mix[..left.len()];
            for ((mix, left), right) in mix.iter_mut().zip(left).zip(right) {
                *mix = 0.5 * left + 0.5 * right;
            }
            self.merge_all(mix);
        }
    }

    /// The largest magnitude; 0 of no PCM sample.
    fn level(self) -> f32 {
        self.max.max(-self.min).max(0.0)
    }
}

/// How an envelope is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// PCM samples of a step.
    pub step: NonZeroU64,
    /// Where the track begins in what is drawn of several tracks, one after the other.
    pub origin: u64,
    /// Steps at most. Where there would be more, each two become one.
    pub most: usize,
    /// The channels are mixed into one, whose extremes are drawn. Silence is not looked for.
    pub mixed: bool,
}

impl Grid {
    /// Steps of so many PCM samples, with the extremes of all channels.
    pub fn every(step: NonZeroU64) -> Self {
        Grid {
            step,
            origin: 0,
            most: usize::MAX,
            mixed: false,
        }
    }
}

/// The envelope of a stretch of a track.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// `None`: nothing was drawn.
    grid: Option<Grid>,
    /// The step with which it begins.
    first: u64,
    steps: Vec<Extremes>,
    /// From the first PCM sample that is not silence to the last.
    sounding: Option<(u64, u64)>,
}

impl Envelope {
    /// An empty one.
    pub fn new(grid: Grid) -> Self {
        Envelope {
            grid: Some(grid),
            ..Envelope::default()
        }
    }

    /// Adds `pcm`, which begins at `position` of the track and follows what was added before.
    pub fn add(&mut self, position: u64, pcm: &Pcm) {
        let Some(grid) = self.grid else { return };
        if pcm.is_empty() {
            return;
        }
        let position = position.saturating_add(grid.origin);
        if self.steps.is_empty() {
            self.first = position / grid.step;
        }
        let mut done = 0;
        while done < pcm.len() {
            let at = position.saturating_add(done as u64);
            let index = at / grid.step;
            let to_end = grid.step.get() - at % grid.step;
            let len = to_end.min((pcm.len() - done) as u64) as usize;
            let range = done..done + len;
            let mut found = Extremes::NONE;
            match pcm.planes() {
                [left, right] if grid.mixed => {
                    found.merge_mix(&left[range.clone()], &right[range]);
                }
                planes => {
                    for plane in planes {
                        found.merge_all(&plane[range.clone()]);
                    }
                    if !grid.mixed && found.level() >= SILENCE {
                        self.note_sound(at, range, pcm);
                    }
                }
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
    pub fn merge(&mut self, mut other: Envelope) {
        self.sounding = match (self.sounding, other.sounding) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, another) => one.or(another),
        };
        if other.steps.is_empty() {
            return;
        }
        if self.steps.is_empty() {
            self.grid = other.grid;
            self.first = other.first;
            self.steps = other.steps;
        } else {
            while self.step() < other.step() {
                self.coarsen();
            }
            while other.step() < self.step() {
                other.coarsen();
            }
            self.merge_steps(other);
        }
        // How coarse it becomes follows from where it ends, whatever comes first.
        while let Some(grid) = self.grid
            && self.first.saturating_add(self.steps.len() as u64) > grid.most.max(1) as u64
        {
            self.coarsen();
        }
    }

    /// Adds the steps of another stretch, which are as long.
    fn merge_steps(&mut self, other: Envelope) {
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

    /// Makes each two of its steps one.
    fn coarsen(&mut self) {
        let Some(grid) = &mut self.grid else { return };
        grid.step = grid.step.saturating_add(grid.step.get());
        let odd = (self.first % 2) as usize;
        self.first /= 2;
        for place in 0..self.steps.len() {
            let (target, step) = ((place + odd) / 2, self.steps[place]);
            match (place + odd).is_multiple_of(2) || place == 0 {
                true => self.steps[target] = step,
                false => self.steps[target].merge(step),
            }
        }
        self.steps.truncate((self.steps.len() + odd).div_ceil(2));
    }

    /// PCM samples of a step; 0 where nothing was drawn.
    pub fn step(&self) -> u64 {
        self.grid.map_or(0, |grid| grid.step.get())
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
        let mut envelope = Envelope::new(Grid::every(step(3)));
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
            let mut envelope = Envelope::new(Grid::every(step(7)));
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
    fn two_channels_are_mixed_where_that_is_asked_for() {
        let mut grid = Grid::every(step(300));
        grid.mixed = true;
        let mut envelope = Envelope::new(grid);
        let (mut left, mut right) = (vec![0.25; 700], vec![-0.25; 700]);
        (left[299], right[299]) = (0.5, 1.0);
        (left[577], right[577]) = (-0.5, -0.5);
        envelope.add(0, &pcm(&left, &right));
        assert_eq!(drawn(&envelope), [(0.0, 0.75), (-0.5, 0.0), (0.0, 0.0)]);
        assert_eq!(envelope.sounding(), None, "it was not looked for");
    }

    #[test]
    fn too_many_steps_become_fewer_whatever_comes_first() {
        let samples: Vec<f32> = (0..1000u32)
            .map(|n| (f64::from(n) * 0.37).sin() as f32)
            .collect();
        let draw = |from: usize, to: usize, most: usize| {
            let mut grid = Grid::every(step(3));
            (grid.most, grid.origin) = (most, 50);
            let mut envelope = Envelope::new(grid);
            envelope.add(from as u64, &pcm(&samples[from..to], &samples[from..to]));
            envelope
        };
        for most in [1, 7, 20, 88, 175, 349, 350] {
            // 1050 PCM samples with those before the track begins.
            let mut len = 3;
            while 1050_usize.div_ceil(len) > most {
                len *= 2;
            }
            let mut whole = Envelope::new(Grid::every(step(len as u64)));
            whole.add(50, &pcm(&samples, &samples));
            let cuts = [0, 100, 101, 640, 1000];
            let parts = cuts.windows(2).map(|c| draw(c[0], c[1], most));
            let parts: Vec<_> = parts.collect();
            for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
                let mut merged = Envelope::default();
                order.iter().for_each(|&i| merged.merge(parts[i].clone()));
                assert_eq!(merged.step(), len as u64, "{most} {order:?}");
                assert_eq!(drawn(&merged), drawn(&whole), "{most} {order:?}");
            }
        }
    }

    #[test]
    fn all_silence_has_no_sound_in_it() {
        let mut envelope = Envelope::new(Grid::every(step(4)));
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
