//! Loudness by EBU R 128 (ITU-R BS.1770-4), measured span by span.
//!
//! The standard's 400 ms blocks begin every 100 ms of the track, whatever the spans are, and each block belongs to
//! the span in which it ends. So the blocks of all spans are those of one measurement from the start. The gates
//! need all blocks and come last.

use ebur128::{EbuR128, Mode};

use crate::error::{Error, Result};
use crate::pcm::Pcm;

/// ReplayGain 2.0's reference, in LUFS.
pub const REPLAY_GAIN_REFERENCE: f64 = -18.0;

/// Blocks quieter than this many LUFS are silence (BS.1770-4, absolute gate).
const ABSOLUTE_GATE: f64 = -70.0;

/// Blocks quieter than the mean by this many LU are pauses (relative gate).
const RELATIVE_GATE: f64 = -10.0;

/// The measurement of a stretch of a track.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loudness {
    /// Mean power of each block that ends in the stretch and passes the absolute gate: 80 bytes a second.
    blocks: Vec<f64>,
    /// Highest true peak, 1.0 for full scale.
    true_peak: f64,
}

impl Loudness {
    /// Adds the measurement of another stretch, in any order.
    pub fn merge(&mut self, other: Loudness) {
        self.blocks.extend(other.blocks);
        self.true_peak = self.true_peak.max(other.true_peak);
    }

    /// Integrated loudness in LUFS; `None` where all is silence, or shorter than a block.
    pub fn integrated(&self) -> Option<f64> {
        let gate = power(loudness(mean(&self.blocks)?) + RELATIVE_GATE);
        let above: Vec<f64> = self.blocks.iter().copied().filter(|&b| b > gate).collect();
        mean(&above).map(loudness)
    }

    /// Highest true peak of all channels by BS.1770-4, annex 2; 1.0 is full scale.
    pub fn true_peak(&self) -> f64 {
        self.true_peak
    }

    /// ReplayGain 2.0's track gain in dB; `None` where there is no loudness.
    pub fn track_gain(&self) -> Option<f64> {
        self.integrated().map(|lufs| REPLAY_GAIN_REFERENCE - lufs)
    }

    /// The same with peaks limited to `ceiling` dBTP.
    pub fn limited(mut self, ceiling: f64) -> Loudness {
        self.true_peak = self.true_peak.min(10f64.powf(ceiling / 20.0));
        self
    }

    /// The same after `gain` (a factor) was applied to what was measured.
    pub fn amplified(&self, gain: f64) -> Loudness {
        let gate = power(ABSOLUTE_GATE);
        let blocks = self.blocks.iter().map(|block| block * gain * gain);
        Loudness {
            blocks: blocks.filter(|&block| block > gate).collect(),
            true_peak: self.true_peak * gain,
        }
    }
}

/// BS.1770-4, formula 2.
fn loudness(power: f64) -> f64 {
    -0.691 + 10.0 * power.log10()
}

fn power(lufs: f64) -> f64 {
    10f64.powf((lufs + 0.691) / 10.0)
}

/// Independent of the order in which spans were measured, unlike a plain sum of floating-point numbers.
fn mean(blocks: &[f64]) -> Option<f64> {
    let mut sorted = blocks.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| sorted.iter().sum::<f64>() / sorted.len() as f64)
}

/// Measures one span.
pub struct Meter {
    inner: EbuR128,
    /// PCM samples in 100 ms.
    step: u64,
    /// Position in the track of the next PCM sample.
    position: u64,
    /// Where counting begins.
    start: u64,
    measured: Loudness,
    piece: Pcm,
}

impl Meter {
    /// PCM samples at `rate` Hz to push before a span: a block less a step, and a fifth of a second for the filters
    /// to settle.
    pub fn roll(rate: u32) -> u64 {
        u64::from(rate) / 2
    }

    /// A meter of the span that begins at `start`. The first PCM sample it gets is at `position`: [`Meter::roll`]
    /// before `start`, or the beginning of the track if that is nearer.
    pub fn new(rate: u32, channels: usize, position: u64, start: u64) -> Result<Meter> {
        let mode = Mode::M | Mode::TRUE_PEAK;
        let inner = EbuR128::new(channels as u32, rate, mode).map_err(refused)?;
        Ok(Meter {
            inner,
            step: (u64::from(rate) + 5) / 10,
            position,
            start,
            measured: Loudness::default(),
            piece: Pcm::new(channels),
        })
    }

    /// Takes the next PCM.
    pub fn push(&mut self, pcm: &Pcm) -> Result<()> {
        let mut done = 0;
        while done < pcm.len() {
            let to_edge = self.next_edge() - self.position;
            let len = to_edge.min((pcm.len() - done) as u64) as usize;
            self.piece.clear();
            self.piece.extend_from(pcm, done, len);
            self.add_piece()?;
            done += len;
        }
        Ok(())
    }

    /// The measurement.
    pub fn finish(self) -> Loudness {
        self.measured
    }

    /// Where the next block ends, or counting begins.
    fn next_edge(&self) -> u64 {
        let block_end = (self.position / self.step + 1) * self.step;
        if self.position < self.start {
            block_end.min(self.start)
        } else {
            block_end
        }
    }

    fn add_piece(&mut self) -> Result<()> {
        let planes: Vec<&[f32]> = self.piece.planes().iter().map(Vec::as_slice).collect();
        self.inner.add_frames_planar_f32(&planes).map_err(refused)?;
        let counts = self.position >= self.start;
        self.position += self.piece.len() as u64;
        if !counts {
            return Ok(());
        }
        for channel in 0..self.piece.channels() as u32 {
            let peak = self.inner.prev_true_peak(channel).map_err(refused)?;
            self.measured.true_peak = self.measured.true_peak.max(peak);
        }
        // The first whole block ends after four steps.
        if self.position.is_multiple_of(self.step) && self.position >= 4 * self.step {
            let block = self.inner.loudness_momentary().map_err(refused)?;
            if block > ABSOLUTE_GATE {
                self.measured.blocks.push(power(block));
            }
        }
        Ok(())
    }
}

fn refused(error: ebur128::Error) -> Error {
    Error::unsupported(format!("measuring the loudness of such audio: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 48000;

    /// Tones that come and go, so that both gates matter, and a click between two PCM samples.
    fn music(seconds: usize) -> Pcm {
        let mut pcm = Pcm::new(2);
        for n in 0..seconds * RATE as usize {
            let t = n as f64 / f64::from(RATE);
            let envelope = [0.5, 0.03, 0.2, 0.0005, 0.9][(t * 1.7) as usize % 5];
            let left = envelope * (t * 997.0 * std::f64::consts::TAU).sin();
            let right = envelope * (t * 313.0 * std::f64::consts::TAU).sin() * 0.5;
            pcm.planes_mut()[0].push(left as f32);
            pcm.planes_mut()[1].push(right as f32);
        }
        pcm
    }

    fn measure(pcm: &Pcm, from: u64, to: u64, piece: usize) -> Loudness {
        let position = from.saturating_sub(Meter::roll(RATE));
        let mut meter = Meter::new(RATE, pcm.channels(), position, from).unwrap();
        let mut at = position as usize;
        while at < to as usize {
            let len = piece.min(to as usize - at);
            let mut part = Pcm::new(pcm.channels());
            part.extend_from(pcm, at, len);
            meter.push(&part).unwrap();
            at += len;
        }
        meter.finish()
    }

    #[test]
    fn agrees_with_one_serial_measurement_of_the_library() {
        let pcm = music(20);
        let mut serial = EbuR128::new(2, RATE, Mode::I | Mode::TRUE_PEAK).unwrap();
        let planes = [pcm.plane(0), pcm.plane(1)];
        serial.add_frames_planar_f32(&planes).unwrap();
        let ours = measure(&pcm, 0, pcm.len() as u64, 1152);
        let difference = ours.integrated().unwrap() - serial.loudness_global().unwrap();
        assert!(difference.abs() < 0.001, "{difference} LU");
        let peak = serial
            .true_peak(0)
            .unwrap()
            .max(serial.true_peak(1).unwrap());
        assert!((ours.true_peak() - peak).abs() < 1e-6);
    }

    #[test]
    fn spans_merge_to_the_whole() {
        let pcm = music(20);
        let end = pcm.len() as u64;
        let whole = measure(&pcm, 0, end, 4096);
        for cut in [end / 2, 1234, 441_001] {
            let mut merged = measure(&pcm, cut, end, 1000);
            merged.merge(measure(&pcm, 0, cut, 777));
            assert_eq!(merged.blocks.len(), whole.blocks.len());
            let difference = merged.integrated().unwrap() - whole.integrated().unwrap();
            assert!(difference.abs() < 0.005, "cut at {cut}: {difference} LU");
            assert!((merged.true_peak() / whole.true_peak() - 1.0).abs() < 0.001);
        }
    }

    #[test]
    fn the_order_of_the_spans_does_not_matter() {
        let part = |seed: u64| Loudness {
            blocks: (0..500)
                .map(|i| (seed * 500 + i) as f64)
                .map(|n| (n * 12.9898).sin().abs() * 10f64.powf(n % 6.0 - 6.0))
                .collect(),
            true_peak: 1.0 / seed as f64,
        };
        let merged = |order: &[u64]| {
            let mut whole = Loudness::default();
            order.iter().for_each(|&seed| whole.merge(part(seed)));
            whole
        };
        let serial = merged(&[1, 2, 3, 4, 5]);
        let bits = |loudness: &Loudness| loudness.integrated().map(f64::to_bits);
        let mut naive = serial.blocks.clone();
        naive.reverse();
        let sum = |blocks: &[f64]| blocks.iter().sum::<f64>().to_bits();
        assert_ne!(
            sum(&serial.blocks),
            sum(&naive),
            "order matters to a plain sum"
        );
        for order in [[5, 4, 3, 2, 1], [2, 1, 3, 5, 4], [4, 5, 1, 2, 3]] {
            assert_eq!(bits(&merged(&order)), bits(&serial));
            let louder = |loudness: &Loudness| bits(&loudness.amplified(1.3));
            assert_eq!(louder(&merged(&order)), louder(&serial));
        }
    }

    /// EBU Tech 3341, test 1: a stereo sine of 1 kHz at −23 dBFS reads −23 LUFS.
    #[test]
    fn reads_the_reference_tone() {
        let mut pcm = Pcm::new(2);
        for n in 0..5 * RATE as usize {
            let t = n as f64 / f64::from(RATE);
            let sample = 10f64.powf(-23.0 / 20.0) * (t * 1000.0 * std::f64::consts::TAU).sin();
            for plane in pcm.planes_mut() {
                plane.push(sample as f32);
            }
        }
        let loudness = measure(&pcm, 0, pcm.len() as u64, 1152);
        let lufs = loudness.integrated().unwrap();
        assert!((lufs + 23.0).abs() < 0.1, "{lufs}");
        assert!((loudness.track_gain().unwrap() - 5.0).abs() < 0.1);
        let louder = loudness.amplified(2.0).integrated().unwrap();
        assert!((louder - lufs - 6.02).abs() < 0.01);
    }

    #[test]
    fn silence_has_no_loudness() {
        let mut pcm = Pcm::new(1);
        pcm.resize(RATE as usize);
        let loudness = measure(&pcm, 0, u64::from(RATE), 1152);
        assert_eq!(loudness.integrated(), None);
        assert_eq!(loudness.track_gain(), None);
    }
}
