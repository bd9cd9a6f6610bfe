//! What LAME makes of a number of PCM samples: how many frames, how much delay and padding, and what the Info tag
//! says of it.

use crate::error::Result;
use crate::mp3::info_tag::{Encoding, Trim};
use crate::options::Bitrate;
use crate::runner::rate_control;
use crate::writer::Foreseen;

/// PCM samples that LAME puts before the audio, without the decoder's own 529 (`ENCDELAY` in its `encoder.h`).
const DELAY: u64 = 576;

/// PCM samples that LAME puts after the audio at least (`lame_encode_flush`).
const LEAST_PADDING: u64 = 576;

/// What the Info tag says of an encoder with these settings.
pub fn describe(settings: &micropy_lame::Settings) -> Result<Encoding> {
    let encoder = micropy_lame::Encoder::new(settings)?;
    let (bitrate, preset) = match settings.bitrate {
        Bitrate::Cbr(kbps) | Bitrate::Abr(kbps) => (kbps, kbps),
        // LAME counts its presets V9 to V0 from 410 to 500.
        Bitrate::Vbr(quality) => {
            let lowest = micropy_lame::bitrates(settings.sample_rate).and_then(|b| b.first());
            (
                lowest.copied().unwrap_or_default(),
                500 - 10 * quality as u16,
            )
        }
    };
    Ok(Encoding {
        rate: rate_control(settings.bitrate),
        bitrate,
        quality: encoder.tag_quality(),
        flags: encoder.tag_flags(),
        preset,
        lowpass: encoder.lowpass(),
        encoder: micropy_lame::version(),
    })
}

/// What is known beforehand of an MP3 of `samples` PCM samples; `None`: their number is not known.
pub fn foresee(samples: Option<u64>, sample_rate: u32) -> Foreseen {
    match samples {
        Some(samples) => {
            let frames = frames_for(samples, frame_len(sample_rate));
            Foreseen {
                frames: Some(frames),
                trim: Some(trim(frames, samples, sample_rate)),
                evenly: true,
            }
        }
        None => Foreseen {
            frames: None,
            trim: Some(Trim {
                delay: DELAY as u16,
                padding: 0,
            }),
            evenly: false,
        },
    }
}

/// What decoders leave out of `frames` frames so that `samples` PCM samples remain.
pub fn trim(frames: u64, samples: u64, sample_rate: u32) -> Trim {
    let padding = frames
        .saturating_mul(frame_len(sample_rate))
        .saturating_sub(samples.saturating_add(DELAY));
    Trim {
        delay: DELAY as u16,
        padding: u16::try_from(padding).unwrap_or(u16::MAX),
    }
}

/// PCM samples per channel of an MP3 frame: two granules in MPEG-1, one in MPEG-2 and 2.5.
pub fn frame_len(sample_rate: u32) -> u64 {
    if sample_rate >= 32_000 { 1152 } else { 576 }
}

/// Frames that LAME makes of `samples` PCM samples, of which a container can declare any number.
pub fn frames_for(samples: u64, frame_len: u64) -> u64 {
    samples
        .saturating_add(DELAY + LEAST_PADDING)
        .div_ceil(frame_len)
}

/// Spans start at multiples of so many frames: at 44.1 kHz and its fractions the padding of a constant
/// bitrate repeats every 49.
pub fn span_unit(sample_rate: u32) -> u64 {
    if sample_rate.is_multiple_of(11_025) {
        49
    } else {
        1
    }
}
