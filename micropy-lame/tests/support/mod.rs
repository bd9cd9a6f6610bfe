//! Audio to encode, a decoder that is not LAME's, and measures of what was lost.

use std::f32::consts::TAU;

use symphonia_bundle_mp3::MpaDecoder;
use symphonia_core::audio::{Audio, GenericAudioBufferRef};
use symphonia_core::codecs::audio::well_known::CODEC_ID_MP3;
use symphonia_core::codecs::audio::{AudioCodecParameters, AudioDecoder};
use symphonia_core::packet::PacketRef;
use symphonia_core::units::{Duration, Timestamp};

const RATE: f32 = 44_100.0;

/// Samples from the encoder's input to a decoder's output: LAME's delay and the decoder's own.
const DELAY: usize = 576 + 529;

#[derive(Clone, Default)]
pub struct Stereo {
    pub left: Vec<f32>,
    pub right: Vec<f32>,
}

/// Numbers between −1 and 1, always the same (xorshift, Marsaglia 2003).
struct Random(u32);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as f32 / (1_u32 << 31) as f32 - 1.0
    }
}

fn synthesize(seconds: f32, mut at: impl FnMut(f32) -> [f32; 2]) -> Stereo {
    let times = (0..(seconds * RATE) as usize).map(|n| n as f32 / RATE);
    let (left, right) = times.map(|t| at(t).into()).unzip();
    Stereo { left, right }
}

/// Plucked chords with overtones across the panorama, a bass, and hi-hats that call for short blocks.
pub fn music(seconds: f32) -> Stereo {
    const CHORDS: [[f32; 3]; 4] = [
        [261.6, 329.6, 392.0],
        [220.0, 261.6, 329.6],
        [174.6, 220.0, 261.6],
        [196.0, 246.9, 293.7],
    ];
    let mut random = Random(1);
    synthesize(seconds, |t| {
        let chord = CHORDS[(t / 0.5) as usize % CHORDS.len()];
        let struck = t % 0.5;
        let mut sample = [0.0; 2];
        for (string, frequency) in chord.into_iter().enumerate() {
            for overtone in 1..12 {
                let n = overtone as f32;
                let decay = (-struck * (3.0 + n)).exp();
                let wave = (TAU * (frequency * n * (1.0 + 2e-4 * n * n)) * t).sin() * decay / n;
                let pan = string as f32 / 2.0;
                sample[0] += 0.12 * wave * (1.0 - 0.7 * pan);
                sample[1] += 0.12 * wave * (0.3 + 0.7 * pan);
            }
        }
        let bass = 0.2 * (TAU * chord[0] / 4.0 * t).sin();
        let hat = 0.2 * random.next() * (-(t % 0.25) * 60.0).exp();
        sample.map(|s| s + bass + hat)
    })
}

/// Glottal pulses through moving formants, with pauses and hisses, nearly mono.
pub fn speech(seconds: f32) -> Stereo {
    let mut random = Random(2);
    let mut phase = 0.0_f32;
    let mut resonators = [[0.0_f32; 2]; 3];
    synthesize(seconds, |t| {
        let syllable = t % 0.3;
        phase = (phase + (110.0 + 30.0 * (TAU * 0.7 * t).sin()) / RATE).fract();
        let voiced = if syllable < 0.2 {
            (1.0 - 2.0 * phase) * (TAU * syllable / 0.4).sin()
        } else {
            0.0
        };
        let hiss = if (0.2..0.25).contains(&syllable) {
            0.3 * random.next()
        } else {
            0.0
        };
        let vowel = (TAU * 1.3 * t).sin();
        let formants = [500.0 + 250.0 * vowel, 1500.0 - 500.0 * vowel, 2600.0];
        let mut sample = hiss;
        for (state, frequency) in resonators.iter_mut().zip(formants) {
            let radius = 0.985;
            let angle = TAU * frequency / RATE;
            let output =
                voiced * 0.02 + 2.0 * radius * angle.cos() * state[0] - radius * radius * state[1];
            *state = [output, state[0]];
            sample += output;
        }
        let room = 0.001 * random.next();
        [0.25 * sample + room, 0.25 * sample - room]
    })
}

/// White noise, one half common to both sides.
pub fn noise(seconds: f32) -> Stereo {
    let mut random = Random(3);
    synthesize(seconds, |_| {
        let middle = random.next();
        [
            0.2 * (middle + random.next()),
            0.2 * (middle + random.next()),
        ]
    })
}

/// Decodes a stream of frames of MPEG-1 at 44.1 kHz.
pub fn decode(mp3: &[u8]) -> Stereo {
    let mut parameters = AudioCodecParameters::new();
    parameters.for_codec(CODEC_ID_MP3);
    let mut decoder = MpaDecoder::try_new(&parameters, &Default::default()).unwrap();
    let mut audio = Stereo::default();
    let mut rest = mp3;
    while let Some(len) = frame_len(rest) {
        let (frame, next) = rest.split_at(len);
        let packet = PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, frame);
        let GenericAudioBufferRef::F32(pcm) = decoder.decode_ref(&packet).unwrap() else {
            panic!("Symphonia decodes MP3 to f32");
        };
        audio.left.extend(pcm.plane(0).unwrap());
        audio.right.extend(pcm.plane(1).unwrap());
        rest = next;
    }
    assert!(rest.is_empty(), "{} bytes are no frame", rest.len());
    audio.left.drain(..DELAY);
    audio.right.drain(..DELAY);
    audio
}

/// ISO/IEC 11172-3, 2.4.3.1, for Layer III of MPEG-1 at 44.1 kHz.
fn frame_len(mp3: &[u8]) -> Option<usize> {
    const KBPS: [usize; 15] = [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ];
    let header = mp3.first_chunk::<4>()?;
    assert_eq!(header[..2], [0xff, 0xfb]);
    let padding = usize::from(header[2] >> 1 & 1);
    Some(144_000 * KBPS[usize::from(header[2] >> 4)] / 44_100 + padding)
}

/// Pairs of the original and the decoded, from both channels, with LAME's change of level undone.
fn pairs(original: &Stereo, decoded: &Stereo) -> Vec<(f64, f64)> {
    let channel = |a: &[f32], b: &[f32]| {
        let pairs = a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
        pairs.collect::<Vec<_>>()
    };
    let mut pairs = channel(&original.left, &decoded.left);
    pairs.extend(channel(&original.right, &decoded.right));
    let scale = sum(&pairs, |(a, b)| a * b) / sum(&pairs, |(a, _)| a * a);
    pairs.iter_mut().for_each(|(_, b)| *b /= scale);
    pairs
}

fn sum(pairs: &[(f64, f64)], term: impl Fn((f64, f64)) -> f64) -> f64 {
    pairs.iter().copied().map(term).sum()
}

fn ratio(pairs: &[(f64, f64)]) -> f64 {
    let signal = sum(pairs, |(a, _)| a * a);
    let error = sum(pairs, |(a, b)| (a - b).powi(2));
    10.0 * ((signal + 1e-9) / (error + 1e-9)).log10()
}

/// The ratio of signal to error, in dB.
pub fn snr(original: &Stereo, decoded: &Stereo) -> f64 {
    ratio(&pairs(original, decoded))
}

/// The mean over segments of 20 ms of the ratio of signal to error, in dB: quiet passages count as much as loud ones.
pub fn segmental_snr(original: &Stereo, decoded: &Stereo) -> f64 {
    let pairs = pairs(original, decoded);
    let segments = pairs.chunks_exact(882);
    let count = segments.len() as f64;
    segments.map(ratio).sum::<f64>() / count
}
