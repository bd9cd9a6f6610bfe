//! Exact resampling: every output PCM sample depends on its position alone.
//!
//! A polyphase filter with a fixed window of input around each output instant has no state that a restart could
//! lose: spans that are resampled on their own meet bit for bit, and there is no delay to subtract. Resamplers that
//! work block by block or interpolate their filter lack one or the other.
//!
//! Hence no library: rubato's resamplers keep their place in the input as state and begin with a delay in whole
//! output samples. Restarted in the middle of a track at a ratio such as 147/320, one is at another fraction of a
//! sample than one that has run from the start, so spans would not meet.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::pcm::Pcm;

/// The sample rates of MP3 (MPEG-1, MPEG-2 and MPEG-2.5).
pub const MP3_RATES: [u32; 9] = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000];

/// The MP3 rate for audio of `rate` Hz: itself where MP3 has it; the next one above, so that nothing is
/// lost (7,350 → 8,000, 37,800 → 44,100); for more than 48,000 the one of the same family (88,200 and
/// 176,400 → 44,100; 64,000, 96,000 and 192,000 → 48,000).
pub fn mp3_rate(rate: u32) -> u32 {
    let family = if rate.is_multiple_of(11025) {
        44100
    } else {
        48000
    };
    let above = MP3_RATES.into_iter().find(|&supported| supported >= rate);
    above.unwrap_or(family)
}

/// Ripple and stop band, in dB.
const ATTENUATION: f64 = 125.0;

/// The pass band ends at this part of the lower Nyquist frequency; the stop band begins at all of it.
const PASS_BAND: f64 = 0.955;

/// The most coefficients (64 MiB): two rates with no common factor are refused.
const MAX_COEFFICIENTS: u64 = 16 << 20;

/// A filter from one rate to another. Cheap to share: a clone is another handle.
#[derive(Clone, Debug)]
pub struct Resampler {
    /// Output instants per `down` input instants, in lowest terms.
    up: u64,
    down: u64,
    /// Input samples around an output instant: a multiple of [`LANES`].
    taps: usize,
    /// `taps` coefficients for each of `up` phases.
    phases: Arc<[f32]>,
}

impl Resampler {
    /// From `from` Hz to `to` Hz.
    pub fn new(from: u32, to: u32) -> Result<Resampler> {
        let unsupported = || Error::unsupported(format!("resampling from {from} Hz to {to} Hz"));
        if from == 0 || to == 0 {
            return Err(unsupported());
        }
        let divisor = gcd(from.into(), to.into());
        let (up, down) = (u64::from(to) / divisor, u64::from(from) / divisor);
        let ratio = (up as f64 / down as f64).min(1.0);
        // Kaiser's estimate of the length for a transition of that width.
        let transition = std::f64::consts::PI * (1.0 - PASS_BAND) * ratio;
        let length = (ATTENUATION - 7.95) / (2.285 * transition);
        let taps = (length as u64 + 2).next_multiple_of(LANES as u64);
        if taps.saturating_mul(up) > MAX_COEFFICIENTS {
            return Err(unsupported());
        }
        let cutoff = ratio * (1.0 + PASS_BAND) / 2.0;
        let phases = (0..up).flat_map(|phase| coefficients(phase as f64 / up as f64, taps, cutoff));
        Ok(Resampler {
            up,
            down,
            taps: taps as usize,
            phases: phases.collect(),
        })
    }

    /// How many PCM samples `input_len` become: `input_len` · to / from, rounded half up.
    pub fn output_len(&self, input_len: u64) -> u64 {
        let scaled = u128::from(input_len) * u128::from(self.up) + u128::from(self.down / 2);
        u64::try_from(scaled / u128::from(self.down)).unwrap_or(u64::MAX)
    }

    /// The input position at, or directly before, output instant `n`.
    pub fn instant(&self, n: u64) -> u64 {
        (u128::from(n) * u128::from(self.down) / u128::from(self.up)) as u64
    }

    /// The input that the output `range` depends on, as positions from the start of the track. Before the start and
    /// after the end there is silence.
    pub fn input_range(&self, output: Range<u64>) -> Range<u64> {
        let start = self.first_tap(output.start);
        let end = self.first_tap(output.end.saturating_sub(1)) + self.taps as i64;
        let clamped = |position: i64| u64::try_from(position).unwrap_or(0);
        clamped(start)..clamped(end)
    }

    /// A run of the filter for the output from `output_start` on. Its first input must be at `input_start`, which is
    /// the start of [`Resampler::input_range`] or before.
    pub fn run(&self, input_start: u64, output_start: u64, channels: usize) -> Run {
        Run {
            resampler: self.clone(),
            input: Pcm::new(channels),
            input_start: input_start as i64,
            next: output_start,
        }
    }

    /// Position of the first of the input samples around output instant `n`, at n · down / up.
    fn first_tap(&self, n: u64) -> i64 {
        let whole = u128::from(n) * u128::from(self.down) / u128::from(self.up);
        whole as i64 - (self.taps as i64 / 2 - 1)
    }

    fn phase(&self, n: u64) -> &[f32] {
        let phase = u128::from(n) * u128::from(self.down) % u128::from(self.up);
        &self.phases[phase as usize * self.taps..][..self.taps]
    }
}

/// A resampler partway through its input.
#[derive(Debug)]
pub struct Run {
    resampler: Resampler,
    /// The input still needed, beginning at `input_start`.
    input: Pcm,
    input_start: i64,
    next: u64,
}

impl Run {
    /// Takes the next input and appends all output that follows from it.
    pub fn push(&mut self, input: &Pcm, output: &mut Pcm) {
        self.input.extend_from(input, 0, input.len());
        let end = self.input_start + self.input.len() as i64;
        let taps = self.resampler.taps as i64;
        while self.resampler.first_tap(self.next) + taps <= end {
            self.emit(output);
        }
        self.forget();
    }

    /// Appends the output up to `end`, as if silence followed.
    pub fn finish(mut self, end: u64, output: &mut Pcm) {
        while self.next < end {
            self.emit(output);
        }
    }

    fn emit(&mut self, output: &mut Pcm) {
        let n = self.next;
        self.next += 1;
        let phase = self.resampler.phase(n);
        let first = self.resampler.first_tap(n) - self.input_start;
        // Silence before the first and after the last PCM sample: their coefficients do not count.
        let skip = usize::try_from(-first).unwrap_or(0).min(phase.len());
        let first = usize::try_from(first).unwrap_or(0);
        for (from, to) in self.input.planes().iter().zip(output.planes_mut()) {
            let known = from.get(first..).unwrap_or(&[]);
            to.push(dot(&phase[skip..], known));
        }
    }

    fn forget(&mut self) {
        let needed = self.resampler.first_tap(self.next) - self.input_start;
        let passed = usize::try_from(needed).unwrap_or(0).min(self.input.len());
        // Moving the rest down costs time in proportion to the rest: not for every little piece.
        if passed >= 4096 {
            for plane in self.input.planes_mut() {
                plane.drain(..passed);
            }
            self.input_start += passed as i64;
        }
    }
}

/// Partial sums that the compiler keeps in one vector register.
const LANES: usize = 16;

/// Sum of products over the common length.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let len = a.len().min(b.len());
    let (a, b) = (a[..len].chunks_exact(LANES), b[..len].chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    let mut sums = [0f32; LANES];
    for (a, b) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// The windowed sinc around an output instant that is `fraction` after an input PCM sample, normalised so that a
/// constant stays the same.
fn coefficients(fraction: f64, taps: u64, cutoff: f64) -> Vec<f32> {
    let half = taps as f64 / 2.0;
    let distance = |tap: u64| tap as f64 - (half - 1.0) - fraction;
    let ideal = (0..taps).map(|tap| {
        let t = distance(tap);
        sinc(cutoff * t) * kaiser(t / half)
    });
    let ideal: Vec<f64> = ideal.collect();
    let sum: f64 = ideal.iter().sum();
    ideal.iter().map(|c| (c / sum) as f32).collect()
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x.abs() < 1e-9 { 1.0 } else { x.sin() / x }
}

/// Kaiser's window for [`ATTENUATION`] (Kaiser 1974), for −1 ≤ x ≤ 1.
fn kaiser(x: f64) -> f64 {
    let beta = 0.1102 * (ATTENUATION - 8.7);
    bessel_i0(beta * (1.0 - x * x).max(0.0).sqrt()) / bessel_i0(beta)
}

/// Modified Bessel function of the first kind and order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    let mut k = 1.0;
    while term > sum * 1e-17 {
        term *= (x / (2.0 * k)).powi(2);
        sum += term;
        k += 1.0;
    }
    sum
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frequency: f64, rate: u32, len: usize) -> Pcm {
        let mut pcm = Pcm::new(1);
        let step = std::f64::consts::TAU * frequency / f64::from(rate);
        let samples = (0..len).map(|n| (step * n as f64).sin() as f32);
        pcm.planes_mut()[0].extend(samples);
        pcm
    }

    fn resample(from: u32, to: u32, input: &Pcm) -> Pcm {
        let resampler = Resampler::new(from, to).unwrap();
        let mut run = resampler.run(0, 0, input.channels());
        let mut output = Pcm::new(input.channels());
        run.push(input, &mut output);
        run.finish(resampler.output_len(input.len() as u64), &mut output);
        output
    }

    /// The worst difference from `expected` away from both ends, of full scale in dB.
    fn error(output: &Pcm, expected: impl Fn(usize) -> f64) -> f64 {
        let inner = 2000..output.len() - 2000;
        let differences = inner.map(|n| (f64::from(output.plane(0)[n]) - expected(n)).abs());
        20.0 * differences.fold(1e-12, f64::max).log10()
    }

    #[test]
    fn every_rate_that_mp3_lacks_keeps_a_tone_and_its_phase() {
        for (from, to) in [
            (96000, 48000),
            (88200, 44100),
            (64000, 48000),
            (192000, 48000),
            (176400, 44100),
            (48000, 44100),
            (44100, 48000),
            (7350, 8000),
            (22254, 24000),
            (44100, 8000),
        ] {
            let frequency = 0.9 * f64::from(from.min(to)) / 2.0;
            let output = resample(from, to, &tone(frequency, from, from as usize / 4));
            let step = std::f64::consts::TAU * frequency / f64::from(to);
            let error = if output.len() > 5000 {
                error(&output, |n| (step * n as f64).sin())
            } else {
                let n = output.len() / 2;
                let difference = f64::from(output.plane(0)[n]) - (step * n as f64).sin();
                20.0 * difference.abs().max(1e-12).log10()
            };
            assert!(error < -110.0, "{from} → {to}: {error:.1} dB");
        }
    }

    #[test]
    fn the_pass_band_is_flat_to_95_percent_and_aliases_are_gone() {
        let step = std::f64::consts::TAU * 0.95 * 22050.0 / 44100.0;
        let kept = resample(48000, 44100, &tone(0.95 * 22050.0, 48000, 20000));
        assert!(error(&kept, |n| (step * n as f64).sin()) < -100.0);
        for frequency in [22051.0, 23000.0, 23900.0] {
            let gone = resample(48000, 44100, &tone(frequency, 48000, 20000));
            let left = error(&gone, |_| 0.0);
            assert!(left < -118.0, "{frequency} Hz: {left:.1} dB");
        }
    }

    #[test]
    fn spans_meet_bit_for_bit() {
        let input = tone(997.0, 96000, 30000);
        let resampler = Resampler::new(96000, 44100).unwrap();
        let whole = resample(96000, 44100, &input);
        for span in [0..1152, 1152..5000, 5000..whole.len() as u64] {
            let needed = resampler.input_range(span.clone());
            let end = needed.end.min(input.len() as u64);
            let mut run = resampler.run(needed.start, span.start, 1);
            let mut output = Pcm::new(1);
            let mut at = needed.start;
            while at < end {
                let len = 777.min(end - at);
                let mut piece = Pcm::new(1);
                piece.extend_from(&input, at as usize, len as usize);
                run.push(&piece, &mut output);
                at += len;
            }
            run.finish(span.end, &mut output);
            let len = (span.end - span.start) as usize;
            let expected = &whole.plane(0)[span.start as usize..span.end as usize];
            assert_eq!(&output.plane(0)[..len], expected, "{span:?}");
        }
    }

    #[test]
    fn lengths_round_half_up() {
        let halved = Resampler::new(96000, 48000).unwrap();
        assert_eq!(halved.output_len(0), 0);
        assert_eq!(halved.output_len(1), 1);
        assert_eq!(halved.output_len(2), 1);
        assert_eq!(halved.output_len(96001), 48001);
        let output = resample(48000, 44100, &tone(100.0, 48000, 4800));
        assert_eq!(output.len(), 4410);
    }

    #[test]
    fn a_constant_stays_the_same() {
        let mut input = Pcm::new(1);
        input.planes_mut()[0].resize(20000, 0.5);
        for to in [44100, 32000, 8000] {
            assert!(error(&resample(48000, to, &input), |_| 0.5) < -120.0);
        }
    }

    #[test]
    fn rates_go_to_the_mp3_rate_of_their_family() {
        for (rate, expected) in [
            (44100, 44100),
            (48000, 48000),
            (8000, 8000),
            (88200, 44100),
            (176400, 44100),
            (96000, 48000),
            (192000, 48000),
            (64000, 48000),
            (7350, 8000),
            (37800, 44100),
        ] {
            assert_eq!(mp3_rate(rate), expected);
        }
    }

    #[test]
    fn rates_with_no_common_factor_are_refused_and_do_not_fill_the_memory() {
        assert!(Resampler::new(16_777_213, 48000).is_err());
        assert!(Resampler::new(0, 48000).is_err());
        assert!(Resampler::new(47_999, 48_000).is_err());
        assert!(Resampler::new(47_000, 48_000).is_ok());
    }
}
