//! A true-peak limiter whose gain depends on the position alone.
//!
//! The gain at a PCM sample follows from a window of input around it: the lowest gain needed nearby, then
//! smoothed. So a limiter restarted with its roll gives, bit for bit, what one run from the start gives, and spans
//! can be limited on their own.

use std::collections::VecDeque;

use crate::pcm::Pcm;

/// Look-ahead and release in milliseconds: long enough not to be heard as distortion of low tones.
const REACH_MS: u32 = 5;

/// Oversampling for true peaks (ITU-R BS.1770-4, annex 2).
const OVERSAMPLING: usize = 4;

/// Input samples on each side of an interpolated point.
const INTERPOLATION_HALF: usize = 12;

/// Limits peaks, also those between PCM samples, to a ceiling.
///
/// The output is delayed but complete: after [`Limiter::finish`], there are as many PCM samples as were pushed.
pub struct Limiter {
    ceiling: f32,
    gain: f32,
    /// PCM samples that the gain looks ahead, and back.
    reach: usize,
    /// Smoothing weights, `2 · reach + 1` of them, that sum up to 1.
    weights: Vec<f32>,
    interpolation: Vec<[f32; 2 * INTERPOLATION_HALF]>,
    /// Amplified input from `input_start` on. Positions count from the start of a roll of silence before the first
    /// PCM sample pushed.
    input: Pcm,
    input_start: u64,
    pushed: u64,
    /// Gain each PCM sample needs for itself, as far as known: candidates for the lowest of a window, with
    /// their positions, ascending in both.
    candidates: VecDeque<(u64, f32)>,
    needed: u64,
    /// The lowest gains needed within reach of each PCM sample, of those still to be smoothed over.
    lowest: VecDeque<f32>,
    lowest_known: u64,
    emitted: u64,
    /// Position of the first PCM sample pushed.
    begin: u64,
}

impl Limiter {
    /// Amplifies `channels` channels of `rate` Hz by `gain` (a factor) and limits them to `ceiling_dbtp`.
    pub fn new(rate: u32, channels: usize, gain: f32, ceiling_dbtp: f32) -> Limiter {
        let reach = (rate * REACH_MS / 1000).max(1) as usize;
        let begin = Self::roll(rate);
        let mut input = Pcm::new(channels);
        input.resize(begin as usize);
        Limiter {
            // The slope of the gain can raise a peak between two PCM samples, by far less than this.
            ceiling: 10f32.powf((ceiling_dbtp - 0.05) / 20.0),
            gain,
            reach,
            weights: hann(2 * reach + 1),
            interpolation: (1..OVERSAMPLING).map(interpolator).collect(),
            input,
            input_start: 0,
            pushed: begin,
            candidates: VecDeque::new(),
            needed: 0,
            lowest: VecDeque::new(),
            lowest_known: 0,
            emitted: 0,
            begin,
        }
    }

    /// PCM samples to push before a span, and after it, so that the span comes out as from a limiter run from the
    /// start.
    pub fn roll(rate: u32) -> u64 {
        u64::from((rate * REACH_MS / 1000).max(1)) * 2 + INTERPOLATION_HALF as u64
    }

    /// Takes the next PCM and appends what is final by now.
    pub fn push(&mut self, input: &Pcm, output: &mut Pcm) {
        for (to, from) in self.input.planes_mut().iter_mut().zip(input.planes()) {
            to.extend(from.iter().map(|sample| sample * self.gain));
        }
        self.pushed += input.len() as u64;
        self.advance(
            self.pushed.saturating_sub(INTERPOLATION_HALF as u64),
            output,
        );
    }

    /// Appends the rest, as if silence followed.
    pub fn finish(mut self, output: &mut Pcm) {
        let end = self.pushed;
        let reach = self.reach as u64;
        let silence = 2 * self.reach + INTERPOLATION_HALF;
        self.input.resize(self.input.len() + silence);
        self.advance(end + 2 * reach, output);
        debug_assert_eq!(self.emitted, end);
    }

    /// Finds the gains needed before `end`, and emits the output that follows from them.
    fn advance(&mut self, end: u64, output: &mut Pcm) {
        let reach = self.reach as u64;
        while self.needed < end {
            let gain = self.gain_needed(self.needed);
            while self
                .candidates
                .back()
                .is_some_and(|&(_, last)| last >= gain)
            {
                self.candidates.pop_back();
            }
            self.candidates.push_back((self.needed, gain));
            self.needed += 1;
            // The window of a position ends `reach` after it.
            if self.needed > reach {
                self.learn_lowest();
            }
            if self.lowest_known > reach && self.emitted < self.pushed {
                self.emit(output);
            }
        }
        self.forget();
    }

    /// The gain that brings the peaks around PCM sample `at` down to the ceiling.
    fn gain_needed(&self, at: u64) -> f32 {
        let peaks = self.input.planes().iter().map(|plane| self.peak(plane, at));
        let peak = peaks.fold(0.0, f32::max);
        if peak > self.ceiling {
            self.ceiling / peak
        } else {
            1.0
        }
    }

    /// The highest value at `at` and between it and its successor.
    fn peak(&self, plane: &[f32], at: u64) -> f32 {
        let at = (at - self.input_start) as usize;
        let first = (at + 1).checked_sub(INTERPOLATION_HALF);
        let window = first.and_then(|first| plane.get(first..first + 2 * INTERPOLATION_HALF));
        let Some(window) = window else {
            // The very first of the silence before the input.
            return 0.0;
        };
        let between = self.interpolation.iter().map(|taps| {
            let products = taps.iter().zip(window).map(|(tap, sample)| tap * sample);
            products.sum::<f32>().abs()
        });
        between.fold(plane[at].abs(), f32::max)
    }

    fn learn_lowest(&mut self) {
        let window_start = self.lowest_known.saturating_sub(self.reach as u64);
        while self
            .candidates
            .front()
            .is_some_and(|&(at, _)| at < window_start)
        {
            self.candidates.pop_front();
        }
        let lowest = self.candidates.front().map_or(1.0, |&(_, gain)| gain);
        self.lowest.push_back(lowest);
        self.lowest_known += 1;
        if self.lowest.len() > self.weights.len() {
            self.lowest.pop_front();
        }
    }

    fn emit(&mut self, output: &mut Pcm) {
        let at = (self.emitted - self.input_start) as usize;
        let gain = self.smoothed();
        if self.emitted >= self.begin {
            for (from, to) in self.input.planes().iter().zip(output.planes_mut()) {
                to.push((from[at] * gain).clamp(-self.ceiling, self.ceiling));
            }
        }
        self.emitted += 1;
    }

    /// The weighted mean of the lowest gains around. All those windows hold this PCM sample, so the mean is at most
    /// the gain it needs. (At the very start of the silence before the input, some windows are missing.)
    fn smoothed(&self) -> f32 {
        if self.lowest.iter().all(|&gain| gain == 1.0) {
            return 1.0;
        }
        let missing = self.weights.len() - self.lowest.len();
        let known = self.weights[missing..].iter().zip(&self.lowest);
        known.map(|(weight, gain)| weight * gain).sum()
    }

    fn forget(&mut self) {
        let kept = self.needed.min(self.emitted).min(self.pushed);
        let kept = kept.saturating_sub(INTERPOLATION_HALF as u64);
        let passed = (kept - self.input_start) as usize;
        if passed >= 4096 {
            for plane in self.input.planes_mut() {
                plane.drain(..passed);
            }
            self.input_start = kept;
        }
    }
}

fn hann(len: usize) -> Vec<f32> {
    let step = std::f64::consts::TAU / (len + 1) as f64;
    let window: Vec<f64> = (1..=len).map(|n| 1.0 - (step * n as f64).cos()).collect();
    let sum: f64 = window.iter().sum();
    window.iter().map(|weight| (weight / sum) as f32).collect()
}

/// A windowed sinc for the point `part` of [`OVERSAMPLING`] between the two middle samples.
fn interpolator(part: usize) -> [f32; 2 * INTERPOLATION_HALF] {
    let fraction = part as f64 / OVERSAMPLING as f64;
    std::array::from_fn(|tap| {
        let t = (tap as f64 - (INTERPOLATION_HALF as f64 - 1.0) - fraction) * std::f64::consts::PI;
        let window = (t / (2.0 * INTERPOLATION_HALF as f64)).cos().powi(2);
        (t.sin() / t * window) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebur128::{EbuR128, Mode};

    const RATE: u32 = 44100;

    /// Loud bursts over a quiet tone; tones at a quarter of the rate peak between PCM samples.
    fn bursts(seconds: f64) -> Pcm {
        let mut pcm = Pcm::new(2);
        for n in 0..(seconds * f64::from(RATE)) as usize {
            let t = n as f64 / f64::from(RATE);
            let burst = if (t * 7.3).fract() < 0.2 { 1.9 } else { 0.1 };
            let high = (std::f64::consts::FRAC_PI_2 * n as f64 + std::f64::consts::FRAC_PI_4).sin();
            let low = (t * 110.0 * std::f64::consts::TAU).sin();
            pcm.planes_mut()[0].push((burst * high) as f32);
            pcm.planes_mut()[1].push((burst * low) as f32);
        }
        pcm
    }

    fn limit(pcm: &Pcm, from: usize, to: usize, piece: usize, gain: f32) -> Pcm {
        let mut limiter = Limiter::new(RATE, pcm.channels(), gain, -1.0);
        let mut output = Pcm::new(pcm.channels());
        let mut at = from;
        while at < to {
            let len = piece.min(to - at);
            let mut part = Pcm::new(pcm.channels());
            part.extend_from(pcm, at, len);
            limiter.push(&part, &mut output);
            at += len;
        }
        limiter.finish(&mut output);
        output
    }

    #[test]
    fn no_true_peak_passes_the_ceiling() {
        let limited = limit(&bursts(3.0), 0, 3 * RATE as usize, 1152, 1.5);
        let mut meter = EbuR128::new(2, RATE, Mode::TRUE_PEAK).unwrap();
        let planes = [limited.plane(0), limited.plane(1)];
        meter.add_frames_planar_f32(&planes).unwrap();
        for channel in 0..2 {
            let dbtp = 20.0 * meter.true_peak(channel).unwrap().log10();
            assert!(dbtp <= -1.0, "channel {channel}: {dbtp:.3} dBTP");
            assert!(
                dbtp > -1.5,
                "channel {channel} is needlessly quiet: {dbtp:.3} dBTP"
            );
        }
    }

    #[test]
    fn what_needs_no_limit_is_only_amplified() {
        let pcm = bursts(1.0);
        let limited = limit(&pcm, 0, pcm.len(), 1000, 0.25);
        assert_eq!(limited.len(), pcm.len());
        for (limited, plane) in limited.planes().iter().zip(pcm.planes()) {
            assert!(limited.iter().zip(plane).all(|(a, b)| *a == b * 0.25));
        }
    }

    #[test]
    fn spans_meet_bit_for_bit() {
        let pcm = bursts(2.0);
        let whole = limit(&pcm, 0, pcm.len(), 1152, 1.2);
        assert_eq!(whole.len(), pcm.len());
        let roll = Limiter::roll(RATE) as usize;
        for (start, end) in [(20_000, 50_000), (33_333, 33_400), (0, 10_000)] {
            let from = start - roll.min(start);
            let span = limit(&pcm, from, end + roll, 577, 1.2);
            for (whole, span) in whole.planes().iter().zip(span.planes()) {
                assert_eq!(whole[start..end], span[start - from..end - from]);
            }
        }
    }

    #[test]
    fn short_input_comes_out_whole() {
        for len in [1, 5, 100, 600] {
            let mut pcm = Pcm::new(2);
            pcm.extend_from(&bursts(0.1), 0, len);
            assert_eq!(limit(&pcm, 0, len, 64, 2.0).len(), len);
        }
    }
}
