//! Exact resampling: every output PCM sample depends on its position alone.
//!
//! The filter is a windowed sinc of some hundred input samples. Applied one output sample at a time it would cost more
//! than the encoder, so it is applied to the spectrum of a block (overlap-save; Oppenheim and Schafer, *Discrete-Time
//! Signal Processing*, 8.7.3), and the way back from the spectrum is at the new rate. Blocks begin at multiples of one
//! length from the start of the track, whatever is asked for. So there is no state that a restart could lose: spans
//! that are resampled on their own meet bit for bit, and there is no delay to subtract.
//!
//! Hence no library: rubato's resamplers keep their place in the input as state and begin with a delay in whole
//! output samples. Restarted in the middle of a track at a ratio such as 147/320, one is at another fraction of a
//! sample than one that has run from the start, so spans would not meet.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fourier::{Complexes, Scratch, Transform};
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

/// PCM samples of the longest transform: two rates with no common factor are refused.
const LONGEST_TRANSFORM: u64 = 160 << 10;

/// A transform is at least so many times as long as the filter: of shorter ones, too much overlaps.
const TRANSFORM_PER_FILTER: u64 = 8;

/// A filter from one rate to another. Cheap to share: a clone is another handle.
#[derive(Clone, Debug)]
pub struct Resampler {
    /// Output instants per `down` input instants, in lowest terms.
    up: u64,
    down: u64,
    /// Units of `down` input and `up` output samples in a block, and on each side of it what the filter reaches.
    block: u64,
    margin: u64,
    filter: Filter,
}

/// The filter, as it is applied to the spectrum of a block with its margins.
#[derive(Clone, Debug)]
struct Filter {
    /// Of a block of the input, and of the output.
    input: Transform,
    output: Transform,
    /// Its response at each bin, from 0 Hz on. It is 0 where this ends, half the lower rate.
    response: Arc<[f32]>,
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
        let sinc = WindowedSinc::of(up as f64 / down as f64);
        let margin = sinc.reach.div_ceil(down);
        let wish = (2 * sinc.reach * TRANSFORM_PER_FILTER).div_ceil(down);
        let most = LONGEST_TRANSFORM / up.max(down);
        let units = transform_units(wish.max(2 * margin + 2), most);
        let units = units.filter(|units| *units > 2 * margin);
        let units = units.ok_or_else(unsupported)?;
        Ok(Resampler {
            up,
            down,
            block: units - 2 * margin,
            margin,
            filter: Filter::new((units * down) as usize, (units * up) as usize, &sinc),
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
        let first = self.block_of(output.start);
        let last = self.block_of(output.end.saturating_sub(1));
        let begin = first.saturating_mul(self.block * self.down);
        let end = last
            .saturating_add(1)
            .saturating_mul(self.block * self.down);
        begin.saturating_sub(self.margin_len())..end.saturating_add(self.margin_len())
    }

    /// A run of the filter for the output from `output_start` on. Its first input must be at `input_start`, which is
    /// the start of [`Resampler::input_range`] or before.
    pub fn run(&self, input_start: u64, output_start: u64, channels: usize) -> Run {
        Run {
            resampler: self.clone(),
            input: Pcm::new(channels),
            input_start,
            next: output_start,
            buffers: Buffers::default(),
        }
    }

    /// The block that output instant `n` is in.
    fn block_of(&self, n: u64) -> u64 {
        n / (self.block * self.up)
    }

    /// Input samples of a margin.
    fn margin_len(&self) -> u64 {
        self.margin * self.down
    }
}

/// The smallest number that is at least `least`, divisible by 32 and by no prime above 7, for transforms of such
/// lengths are fast; if it is more than `most`, the largest even number that is not.
fn transform_units(least: u64, most: u64) -> Option<u64> {
    let is_smooth = |n: &u64| {
        let mut rest = *n;
        for factor in [2, 3, 5, 7] {
            while rest.is_multiple_of(factor) {
                rest /= factor;
            }
        }
        rest == 1
    };
    let smooth = (least.next_multiple_of(32)..=most)
        .step_by(32)
        .find(is_smooth);
    smooth.or_else(|| (most >= 2).then_some(most / 2 * 2))
}

impl Filter {
    /// The filter `sinc` for transforms of so many PCM samples.
    fn new(input_len: usize, output_len: usize, sinc: &WindowedSinc) -> Filter {
        let (input, output) = (Transform::new(input_len), Transform::new(output_len));
        // Its middle is at 0, and what comes before that at the end.
        let mut taps = vec![0f32; input_len];
        taps[0] = sinc.at(0.0) as f32;
        for tap in 1..sinc.reach as usize {
            let coefficient = sinc.at(tap as f64) as f32;
            taps[tap] = coefficient;
            taps[input_len - tap] = coefficient;
        }
        let mut buffers = Buffers::default();
        buffers.fill(input_len, 0, &taps);
        input.to_spectrum(&mut buffers.pairs, &mut buffers.scratch);
        // It is even, so its spectrum is real. Both spectra are twofold, and the way back multiplies by the length.
        let scale = 1.0 / (4.0 * input_len as f32);
        let bins = buffers.pairs.re.iter().take(output.half());
        Filter {
            response: bins.map(|bin| bin * scale).collect(),
            input,
            output,
        }
    }

    /// Replaces the pairs of input samples in `buffers` by those of the output.
    fn apply(&self, buffers: &mut Buffers) {
        let Buffers { pairs, scratch } = buffers;
        self.input.to_spectrum(pairs, scratch);
        for part in [&mut pairs.re, &mut pairs.im] {
            for (bin, response) in part.iter_mut().zip(&*self.response) {
                *bin *= response;
            }
        }
        pairs.resize(self.response.len());
        pairs.resize(self.output.half());
        self.output.to_pcm(pairs, scratch);
    }
}

/// A resampler partway through its input.
#[derive(Debug)]
pub struct Run {
    resampler: Resampler,
    /// The input still needed, beginning at `input_start`.
    input: Pcm,
    input_start: u64,
    next: u64,
    buffers: Buffers,
}

/// What a block is transformed in.
#[derive(Debug, Default)]
struct Buffers {
    /// PCM samples, the even ones as real parts, or their spectrum.
    pairs: Complexes,
    scratch: Scratch,
}

impl Run {
    /// Takes the next input and appends all output that follows from it.
    pub fn push(&mut self, input: &Pcm, output: &mut Pcm) {
        self.input.extend_from(input, 0, input.len());
        let end = self.input_start + self.input.len() as u64;
        let one = |next: u64| next..next.saturating_add(1);
        while self.resampler.input_range(one(self.next)).end <= end {
            self.emit(u64::MAX, output);
        }
        self.forget();
    }

    /// Appends the output up to `end`, as if silence followed.
    pub fn finish(mut self, end: u64, output: &mut Pcm) {
        while self.next < end {
            self.emit(end, output);
        }
    }

    /// Appends the rest of the block that the next output is in, up to `end`.
    fn emit(&mut self, end: u64, output: &mut Pcm) {
        let Resampler {
            up,
            down,
            block,
            margin,
            ref filter,
        } = self.resampler;
        let begin = self.resampler.block_of(self.next) * block;
        let end = ((begin + block) * up).min(end);
        // The transform begins a margin earlier.
        let skipped = self.next + margin * up - begin * up;
        let wanted = skipped as usize..(skipped + (end - self.next)) as usize;
        // Silence before the first PCM sample and after the last.
        let input_len = 2 * filter.input.half();
        let first = (begin * down) as i64 - (margin * down) as i64 - self.input_start as i64;
        let missing = usize::try_from(-first).unwrap_or(0).min(input_len);
        let from = usize::try_from(first).unwrap_or(0);
        for (input, output) in self.input.planes().iter().zip(output.planes_mut()) {
            let known = input.get(from..).unwrap_or(&[]);
            let known = &known[..known.len().min(input_len - missing)];
            self.buffers.fill(input_len, missing, known);
            filter.apply(&mut self.buffers);
            self.buffers.append_to(output, wanted.clone());
        }
        self.next = end;
    }

    fn forget(&mut self) {
        let needed = self.resampler.input_range(self.next..self.next).start;
        let passed = needed.saturating_sub(self.input_start);
        let passed = (passed as usize).min(self.input.len());
        // Moving the rest down costs time in proportion to the rest: not for every little piece.
        if passed >= 4096 {
            for plane in self.input.planes_mut() {
                plane.drain(..passed);
            }
            self.input_start += passed as u64;
        }
    }
}

impl Buffers {
    /// Puts `known` there after `missing` PCM samples of silence, and silence after it, `len` in all.
    fn fill(&mut self, len: usize, missing: usize, known: &[f32]) {
        self.pairs.resize(0);
        self.pairs.resize(missing / 2);
        let Complexes { re, im } = &mut self.pairs;
        let mut known = known;
        if missing % 2 == 1 {
            re.push(0.0);
            im.push(known.split_off_first().copied().unwrap_or_default());
        }
        let (pairs, last) = known.as_chunks::<2>();
        re.extend(pairs.iter().map(|pair| pair[0]));
        im.extend(pairs.iter().map(|pair| pair[1]));
        re.extend(last);
        self.pairs.resize(len / 2);
    }

    /// Appends the PCM samples `range` of what is there.
    fn append_to(&self, plane: &mut Vec<f32>, range: Range<usize>) {
        let Complexes { re, im } = &self.pairs;
        let sample = |n: usize| match n.is_multiple_of(2) {
            true => re[n / 2],
            false => im[n / 2],
        };
        let (first, last) = (range.start.next_multiple_of(2), range.end / 2 * 2);
        if first >= last {
            plane.extend(range.map(sample));
            return;
        }
        plane.extend((range.start..first).map(sample));
        let begin = plane.len();
        plane.resize(begin + last - first, 0.0);
        let (to, _) = plane[begin..].as_chunks_mut::<2>();
        let pairs = re[first / 2..].iter().zip(&im[first / 2..]);
        for (to, (even, odd)) in to.iter_mut().zip(pairs) {
            *to = [*even, *odd];
        }
        plane.extend((last..range.end).map(sample));
    }
}

/// A sinc in Kaiser's window.
struct WindowedSinc {
    /// Input samples on each side of an output instant, without the first that is 0.
    reach: u64,
    /// Where it cuts off, in half input rates.
    cutoff: f64,
    /// What makes a constant stay the same.
    scale: f64,
}

impl WindowedSinc {
    /// The filter for `ratio` output samples for each of the input.
    fn of(ratio: f64) -> WindowedSinc {
        let ratio = ratio.min(1.0);
        // Kaiser's estimate of the length for a transition of that width.
        let transition = std::f64::consts::PI * (1.0 - PASS_BAND) * ratio;
        let length = (ATTENUATION - 7.95) / (2.285 * transition);
        let mut sinc = WindowedSinc {
            reach: length as u64 / 2 + 1,
            cutoff: ratio * (1.0 + PASS_BAND) / 2.0,
            scale: 1.0,
        };
        let one_side: f64 = (1..sinc.reach).map(|tap| sinc.at(tap as f64)).sum();
        sinc.scale = 1.0 / (sinc.at(0.0) + 2.0 * one_side);
        sinc
    }

    /// Its coefficient for a PCM sample that is `distance` input samples from the output instant.
    fn at(&self, distance: f64) -> f64 {
        let in_window = kaiser(distance / self.reach as f64);
        self.scale * sinc(self.cutoff * distance) * in_window
    }
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
    fn blocks_give_what_the_filter_gives_one_by_one() {
        let noise = |n: usize| ((n as f64 * 12.9898).sin() * 43_758.545_3).fract() as f32;
        for (from, to) in [
            (48000, 44100),
            (44100, 48000),
            (96000, 44100),
            (192000, 48000),
            (22254, 24000),
            (11025, 48000),
            (44100, 8000),
        ] {
            let mut input = Pcm::new(1);
            input.planes_mut()[0].extend((0..40_000).map(noise));
            let output = resample(from, to, &input);
            let ratio = f64::from(to) / f64::from(from);
            let sinc = WindowedSinc::of(ratio);
            for n in (0..output.len()).step_by(output.len() / 150) {
                let instant = n as f64 / ratio;
                let reach = sinc.reach as f64;
                let first = (instant - reach).ceil().max(0.0) as usize;
                let last = (instant + reach).floor().min(39_999.0) as usize;
                let taps = (first..=last).map(|tap| sinc.at(tap as f64 - instant));
                let products = taps.zip(&input.plane(0)[first..]);
                let sum: f64 = products.map(|(tap, &s)| tap * f64::from(s)).sum();
                let off = (f64::from(output.plane(0)[n]) - sum).abs();
                let off = 20.0 * off.max(1e-12).log10();
                assert!(off < -110.0, "{from} → {to}, {n}: {off:.1} dB");
            }
        }
    }

    #[test]
    fn equal_channels_stay_equal_and_silent_ones_silent() {
        let mut input = Pcm::new(3);
        for n in 0..20_000 {
            let sample = (n as f32 * 0.3).sin();
            for (plane, gain) in input.planes_mut().iter_mut().zip([1.0, 1.0, 0.0]) {
                plane.push(sample * gain);
            }
        }
        let output = resample(48000, 44100, &input);
        assert_eq!(output.plane(0), output.plane(1));
        assert!(output.plane(2).iter().all(|&sample| sample == 0.0));
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
