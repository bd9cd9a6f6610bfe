//! What independent decoders say of a file, and how near two decodes are.

use std::path::Path;
use std::process::Command;

/// Decoded audio: interleaved PCM samples.
pub struct Decoded {
    /// Channels that are interleaved in `pcm`.
    pub channels: usize,
    /// PCM samples a second in each channel.
    pub rate: u32,
    /// The PCM samples.
    pub pcm: Vec<f32>,
}

impl Decoded {
    /// PCM samples in each channel.
    pub fn len(&self) -> usize {
        self.pcm.len() / self.channels
    }
}

/// Decodes the first audio track of a file with ffmpeg, which trims by edit lists and LAME's tag.
pub fn decode(path: &Path, rate: u32, channels: usize) -> Decoded {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args([
            "-map",
            "0:a:0",
            "-f",
            "f32le",
            "-ar",
            &rate.to_string(),
            "-ac",
            &channels.to_string(),
            "-",
        ])
        .output()
        .expect("ffmpeg starts");
    assert!(
        output.status.success(),
        "ffmpeg: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let pcm = output
        .stdout
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    Decoded {
        channels,
        rate,
        pcm,
    }
}

/// PCM samples per channel that mpg123 decodes from an MP3, with delay and padding taken off.
pub fn mpg123_len(path: &Path, channels: usize) -> usize {
    let output = Command::new("mpg123")
        .args(["-q", "-s", "-e", "s16"])
        .arg(path)
        .output()
        .expect("mpg123 starts");
    assert!(
        output.status.success(),
        "mpg123: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout.len() / 2 / channels
}

/// Asserts that neither ffmpeg nor mpg123 has anything to say about an MP3.
///
/// Of a few frames ffmpeg says that they might be something else, whoever encoded them; it is told then.
pub fn assert_clean(path: &Path) {
    const SEVEN_FRAMES: u64 = 8 << 10;
    let short = path.metadata().expect("the MP3 is there").len() < SEVEN_FRAMES;
    let kind: &[&str] = if short { &["-f", "mp3"] } else { &[] };
    let ffmpeg = [&["-nostdin", "-v", "warning"], kind, &["-i"]].concat();
    let judges: [(&str, &[&str], &[&str]); 2] = [
        ("ffmpeg", &ffmpeg, &["-map", "0:a", "-f", "null", "-"]),
        ("mpg123", &["-q", "-t"], &[]),
    ];
    for (program, before, after) in judges {
        let output = Command::new(program)
            .args(before)
            .arg(path)
            .args(after)
            .output()
            .expect("the judge starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.trim().is_empty(),
            "{program} on {}: {said}",
            path.display()
        );
    }
}

/// The signal-to-noise ratio of `decoded` against `source`, in dB: the worst quarter of a second of the
/// worst channel, so that neither a lost packet nor one wrong channel can hide in an average.
pub fn worst_snr(source: &Decoded, decoded: &Decoded) -> f64 {
    assert_eq!(
        (source.channels, source.rate),
        (decoded.channels, decoded.rate)
    );
    let window = source.rate as usize / 4;
    let mut worst = f64::INFINITY;
    for channel in 0..source.channels {
        let take = |from: &Decoded| -> Vec<f64> {
            from.pcm
                .iter()
                .skip(channel)
                .step_by(from.channels)
                .map(|&value| f64::from(value))
                .collect()
        };
        let (wanted, got) = (take(source), take(decoded));
        for (wanted, got) in wanted.chunks_exact(window).zip(got.chunks_exact(window)) {
            let signal: f64 = wanted.iter().map(|value| value * value).sum();
            // Below −50 dB there is nothing whose likeness could be measured.
            if signal / window as f64 > 1e-5 {
                let noise: f64 = wanted.iter().zip(got).map(|(a, b)| (a - b) * (a - b)).sum();
                worst = worst.min(10.0 * (signal / noise.max(1e-12)).log10());
            }
        }
    }
    worst
}
