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

/// Input samples around an interpolated point.
const TAPS: usize = 2 * INTERPOLATION_HALF;

/// PCM samples that are looked at together. Each has a sum of its own, whose terms are added in their order: so the
/// compiler can work on several at once, and none is rounded differently for it.
const LANES: usize = 16;

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
    interpolation: Vec<[f32; TAPS]>,
    /// Between PCM samples up to this level, nothing exceeds the ceiling.
    quiet: f32,
    /// Amplified input from `start` on. Positions count from the start of a roll of silence before the first PCM
    /// sample pushed.
    input: Pcm,
    start: u64,
    pushed: u64,
    /// Gain each PCM sample needs for itself, as far as known: candidates for the lowest of a window, with
    /// their positions, ascending in both.
    candidates: VecDeque<(u64, f32)>,
    needed: u64,
    /// The lowest gains needed within reach of each PCM sample from `start` on, as far as known.
    lowest: Vec<f32>,
    /// For each of them, the end of the last stretch up to there that has to be limited; 0 if there was none.
    limited: Vec<u64>,
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
        // The slope of the gain can raise a peak between two PCM samples, by far less than this.
        let ceiling = 10f32.powf((ceiling_dbtp - 0.05) / 20.0);
        let interpolation: Vec<[f32; TAPS]> = (1..OVERSAMPLING).map(interpolator).collect();
        let sum = |taps: &[f32; TAPS]| taps.iter().map(|tap| tap.abs()).sum::<f32>();
        let most = interpolation.iter().map(sum).fold(1.0, f32::max);
        Limiter {
            ceiling,
            gain,
            reach,
            weights: hann(2 * reach + 1),
            interpolation,
            // A little less, for the rounding of the sums.
            quiet: ceiling / most * 0.9999,
            input,
            start: 0,
            pushed: begin,
            candidates: VecDeque::new(),
            needed: 0,
            lowest: Vec::new(),
            limited: Vec::new(),
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
        while self.needed < end {
            let gains = self.gains_needed(self.needed);
            let count = (end - self.needed).min(LANES as u64) as usize;
            gains[..count].iter().for_each(|&gain| self.need(gain));
        }
        self.emit(output);
        self.forget();
    }

    /// The gains that bring the peaks around the PCM samples from `at` on down to the ceiling.
    fn gains_needed(&self, at: u64) -> [f32; LANES] {
        let mut peaks = [0f32; LANES];
        for plane in self.input.planes() {
            self.raise_to_peaks(&mut peaks, plane, at);
        }
        peaks.map(|peak| {
            if peak > self.ceiling {
                self.ceiling / peak
            } else {
                1.0
            }
        })
    }

    /// Raises `peaks` to the highest values at the PCM samples from `at` on and between each and its successor, where
    /// these exceed the ceiling.
    fn raise_to_peaks(&self, peaks: &mut [f32; LANES], plane: &[f32], at: u64) {
        const BEFORE: usize = INTERPOLATION_HALF - 1;
        let mut around = [0f32; LANES + TAPS - 1];
        let at = (at - self.start) as usize;
        // Before the input and after what is known of it: silence, or what nobody asks for.
        let missing = BEFORE.saturating_sub(at);
        let known = plane.get(at.saturating_sub(BEFORE)..).unwrap_or(&[]);
        for (to, from) in around[missing..].iter_mut().zip(known) {
            *to = *from;
        }
        let loudest = around.iter().fold(0f32, |most, s| most.max(s.abs()));
        if loudest <= self.quiet {
            return;
        }
        for (peak, sample) in peaks.iter_mut().zip(&around[BEFORE..]) {
            *peak = peak.max(sample.abs());
        }
        for taps in &self.interpolation {
            for (peak, sum) in peaks.iter_mut().zip(sums(taps, &around)) {
                *peak = peak.max(sum.abs());
            }
        }
    }

    /// Takes the gain that the next PCM sample needs for itself.
    fn need(&mut self, gain: f32) {
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
        if self.needed > self.reach as u64 {
            self.learn_lowest();
        }
    }

    fn learn_lowest(&mut self) {
        let at = self.start + self.lowest.len() as u64;
        let window_start = at.saturating_sub(self.reach as u64);
        while self
            .candidates
            .front()
            .is_some_and(|&(at, _)| at < window_start)
        {
            self.candidates.pop_front();
        }
        let lowest = self.candidates.front().map_or(1.0, |&(_, gain)| gain);
        let limited = match lowest == 1.0 {
            true => self.limited.last().copied().unwrap_or_default(),
            false => at + 1,
        };
        self.lowest.push(lowest);
        self.limited.push(limited);
    }

    /// Emits the PCM samples whose neighbours' gains are known as far as they reach.
    fn emit(&mut self, output: &mut Pcm) {
        let known = self.lowest.len();
        let end = (self.start + known as u64).saturating_sub(self.reach as u64);
        let end = end.min(self.pushed);
        // The silence before the input is left out.
        self.emitted = self.emitted.max(self.begin.min(end));
        // So that the last have as many neighbours as the others.
        self.lowest.resize(known + LANES, 1.0);
        while self.emitted < end {
            let count = (end - self.emitted).min(LANES as u64) as usize;
            let gains = self.smoothed(count);
            let at = (self.emitted - self.start) as usize;
            for (from, to) in self.input.planes().iter().zip(output.planes_mut()) {
                let products = from[at..at + count].iter().zip(gains);
                let limited = products
                    .map(|(sample, gain)| (sample * gain).clamp(-self.ceiling, self.ceiling));
                to.extend(limited);
            }
            self.emitted += count as u64;
        }
        self.lowest.truncate(known);
    }

    /// The weighted means of the lowest gains around the next PCM samples. All those windows hold their PCM sample, so
    /// the mean is at most the gain it needs.
    fn smoothed(&self, count: usize) -> [f32; LANES] {
        let mut gains = [1f32; LANES];
        let first = (self.emitted - self.start) as usize - self.reach;
        let last = first + 2 * self.reach;
        let window_start = self.start + first as u64;
        let is_limited = |lane: usize| self.limited[last + lane] > window_start + lane as u64;
        if (0..count).any(is_limited) {
            let means = sums(&self.weights, &self.lowest[first..]);
            for lane in (0..count).filter(|&lane| is_limited(lane)) {
                gains[lane] = means[lane];
            }
        }
        gains
    }

    fn forget(&mut self) {
        let kept = self.needed.min(self.emitted).min(self.pushed);
        let kept = kept.saturating_sub((INTERPOLATION_HALF + self.reach) as u64);
        let passed = (kept - self.start) as usize;
        if passed >= 4096 {
            for plane in self.input.planes_mut() {
                plane.drain(..passed);
            }
            self.lowest.drain(..passed);
            self.limited.drain(..passed);
            self.start = kept;
        }
    }
}

/// The sums of `weights` times the values, from each of the first on.
fn sums(weights: &[f32], values: &[f32]) -> [f32; LANES] {
    let mut sums = [0f32; LANES];
    for (weight, values) in weights.iter().zip(values.windows(LANES)) {
        let Some(values) = values.first_chunk::<LANES>() else {
            break;
        };
        for lane in 0..LANES {
            sums[lane] += weight * values[lane];
        }
    }
    sums
}

fn hann(len: usize) -> Vec<f32> {
    let step = std::f64::consts::TAU / (len + 1) as f64;
    let window: Vec<f64> = (1..=len).map(|n| 1.0 - (step * n as f64).cos()).collect();
    let sum: f64 = window.iter().sum();
    window.iter().map(|weight| (weight / sum) as f32).collect()
}

/// A windowed sinc for the point `part` of [`OVERSAMPLING`] between the two middle samples.
fn interpolator(part: usize) -> [f32; TAPS] {
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

    /// The same gain by its definition: each PCM sample looks through all of its windows.
    fn scanned(pcm: &Pcm, gain: f32) -> Pcm {
        let limiter = Limiter::new(RATE, pcm.channels(), gain, -1.0);
        let (reach, begin) = (limiter.reach, limiter.begin as usize);
        let end = begin + pcm.len();
        let padded = pcm.planes().iter().map(|plane| {
            let mut padded = vec![0.0; begin];
            padded.extend(plane.iter().map(|sample| sample * gain));
            padded.resize(end + 2 * reach + INTERPOLATION_HALF, 0.0);
            padded
        });
        let planes: Vec<Vec<f32>> = padded.collect();
        let peak = |plane: &Vec<f32>, at: usize| {
            let Some(first) = (at + 1).checked_sub(INTERPOLATION_HALF) else {
                return 0.0;
            };
            let between = limiter.interpolation.iter().map(|taps| {
                let products = taps.iter().zip(&plane[first..]);
                products.map(|(tap, sample)| tap * sample).sum::<f32>()
            });
            between.fold(plane[at].abs(), |peak, point| peak.max(point.abs()))
        };
        let needed = (0..end + 2 * reach).map(|at| {
            let peaks = planes.iter().map(|plane| peak(plane, at));
            let peak = peaks.fold(0.0, f32::max);
            match peak > limiter.ceiling {
                true => limiter.ceiling / peak,
                false => 1.0,
            }
        });
        let needed: Vec<f32> = needed.collect();
        let lowest: Vec<f32> = (0..end + reach)
            .map(|at| &needed[at.saturating_sub(reach)..=at + reach])
            .map(|around| around.iter().copied().fold(1.0, f32::min))
            .collect();
        let mut output = Pcm::new(pcm.channels());
        for at in begin..end {
            let around = &lowest[at - reach..=at + reach];
            let weighted = limiter.weights.iter().zip(around).map(|(w, gain)| w * gain);
            let gain = match around.iter().all(|&gain| gain == 1.0) {
                true => 1.0,
                false => weighted.sum::<f32>(),
            };
            for (from, to) in planes.iter().zip(output.planes_mut()) {
                to.push((from[at] * gain).clamp(-limiter.ceiling, limiter.ceiling));
            }
        }
        output
    }

    #[test]
    fn looking_at_many_at_once_changes_no_bit() {
        let stereo = bursts(1.0);
        let mut mono = Pcm::new(1);
        mono.planes_mut()[0].extend(stereo.plane(0));
        for (pcm, gain, piece) in [
            (&stereo, 1.2, 1152),
            (&stereo, 0.47, 577),
            (&stereo, 0.3, 4096),
            (&mono, 2.0, 1),
            (&mono, 0.9, 16),
            (&mono, 0.05, 1024),
        ] {
            let bits = |pcm: &Pcm| -> Vec<u32> {
                let samples = pcm.planes().iter().flatten();
                samples.map(|sample| sample.to_bits()).collect()
            };
            let limited = limit(pcm, 0, pcm.len(), piece, gain);
            assert!(bits(&limited) == bits(&scanned(pcm, gain)), "{gain}");
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
