//! How near our PCM is to ffmpeg's.

use std::ffi::OsStr;
use std::path::Path;

use micropy_core::stages::Decoded;

use crate::support::programs::run;

/// How near both have to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Agreement {
    /// Every PCM sample is the same.
    Exact,
    /// Each channel's difference is so many dB below its signal, or so many dB below full scale.
    Below { signal: f64, full_scale: f64 },
}

impl Agreement {
    /// What is wrong with `ours`, after the first `unheard` PCM samples.
    pub fn of(self, ours: &Decoded, theirs: &[Vec<f32>], unheard: usize) -> Result<(), String> {
        if ours.planes.len() != theirs.len() {
            let (ours, theirs) = (ours.planes.len(), theirs.len());
            return Err(format!("{ours} channels, {theirs} by ffmpeg"));
        }
        let (codec, lead) = (ours.codec.as_str(), ours.lead);
        for (channel, (ours, theirs)) in ours.planes.iter().zip(theirs).enumerate() {
            // Vorbis' first packet gives nothing: ffmpeg leaves it out, and we keep its time. The last packet of these
            // is as long as the file says, which ffmpeg does not heed here.
            let (ours, theirs) = match codec {
                "Vorbis" | "Opus" if theirs.len().saturating_sub(ours.len()) < 8192 => {
                    let ours = &ours[lead..];
                    (ours, &theirs[..theirs.len().min(ours.len())])
                }
                _ => (&ours[..], &theirs[..]),
            };
            if ours.len() != theirs.len() {
                return Err(format!(
                    "{} PCM samples, {} by ffmpeg",
                    ours.len(),
                    theirs.len()
                ));
            }
            let unheard = unheard.min(ours.len());
            let (ours, theirs) = (&ours[unheard..], &theirs[unheard..]);
            let [signal, noise] = levels(ours, theirs);
            let (below_signal, below_full_scale) = (signal - noise, -noise);
            let agrees = match self {
                Agreement::Exact => ours == theirs,
                Agreement::Below { signal, full_scale } => {
                    below_signal >= signal || below_full_scale >= full_scale
                }
            };
            if !agrees {
                let apart = |i: &usize| (ours[*i] - theirs[*i]).abs();
                let worst = (0..ours.len()).max_by(|a, b| apart(a).total_cmp(&apart(b)));
                let worst = worst.unwrap_or(0);
                return Err(format!(
                    "channel {channel}: the difference is {below_signal:.1} dB below the signal, \
                     {below_full_scale:.1} dB below full scale; at PCM sample {worst}, {} is {} by ffmpeg",
                    ours[worst], theirs[worst]
                ));
            }
        }
        Ok(())
    }
}

/// The level of ffmpeg's PCM, and of the difference of ours, in dB of full scale.
fn levels(ours: &[f32], theirs: &[f32]) -> [f64; 2] {
    let level = |squares: f64| 10.0 * (squares / theirs.len().max(1) as f64).max(1e-30).log10();
    let signal: f64 = theirs.iter().map(|&s| f64::from(s).powi(2)).sum();
    let pairs = ours.iter().zip(theirs);
    let noise: f64 = pairs
        .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
        .sum();
    [level(signal), level(noise)]
}

/// All packets of audio track `track` by ffmpeg, without the edit list, with this decoder and its options (or its
/// own); each channel in a plane. Empty if it cannot decode them.
pub fn by_ffmpeg(path: &Path, track: usize, decoder: Option<&str>) -> Vec<Vec<f32>> {
    let mut args = vec!["-v", "error", "-ignore_editlist", "1"];
    args.extend(["-flags2", "skip_manual"]);
    if let Some(decoder) = decoder {
        args.push("-c:a");
        args.extend(decoder.split(' '));
    }
    args.push("-i");
    let map = format!("0:a:{track}");
    let rest = ["-map", &map, "-c:a", "pcm_f32le", "-f", "wav", "-"];
    let args: Vec<&OsStr> = args
        .into_iter()
        .map(OsStr::new)
        .chain([path.as_os_str()])
        .chain(rest.map(OsStr::new))
        .collect();
    let output = run("ffmpeg", &args, &[]).unwrap();
    wave(&output.stdout)
}

/// The planes of a WAVE file of floats. In a pipe, the data have no length, and go to the end.
fn wave(file: &[u8]) -> Vec<Vec<f32>> {
    let mut rest = file.get(12..).unwrap_or_default();
    let mut channels = 0;
    while let Some((head, payload)) = rest.split_first_chunk::<8>() {
        if head.starts_with(b"data") {
            let (samples, _) = payload.as_chunks::<4>();
            let plane = |channel| {
                let own = samples.iter().skip(channel).step_by(channels);
                own.map(|&bytes| f32::from_le_bytes(bytes)).collect()
            };
            return (0..channels).map(plane).collect();
        }
        if head.starts_with(b"fmt ") {
            channels = usize::from(u16::from_le_bytes([payload[2], payload[3]]));
        }
        let [.., a, b, c, d] = *head;
        rest = payload
            .get(u32::from_le_bytes([a, b, c, d]) as usize..)
            .unwrap_or_default();
    }
    Vec::new()
}
