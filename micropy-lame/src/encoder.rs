//! An MP3 encoder: planes of samples in, frames out.

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

use crate::Error;
use crate::api::{Api, GlobalFlags};
use crate::builds::{self, Build, Linked};
use crate::settings::{Bitrate, Settings};

/// LAME's `vbr_mode`.
mod vbr_mode {
    use std::ffi::c_int;

    pub const OFF: c_int = 0;
    pub const ABR: c_int = 3;
    pub const MTRH: c_int = 4;
}

/// Samples given to LAME at a time, which bounds its buffers and ours whatever the caller's length.
const BLOCK: usize = 4608;

/// The most LAME can write for one block or for a flush: 1.25 × samples + 7200 bytes, says `lame.h`.
const BLOCK_OUTPUT: usize = BLOCK + BLOCK / 4 + 7200;

/// What a sample beyond full scale is limited to: 24 dB over, where LAME's energies are still far from overflow.
const LIMIT: f32 = 16.0;

/// One MP3 stream being encoded.
///
/// Given the same settings and samples, it writes the same bytes on the same machine, however the samples are cut into
/// calls and whatever other encoders run in other threads. It writes frames only: no Info tag, no ID3.
pub struct Encoder {
    api: &'static Api,
    flags: NonNull<GlobalFlags>,
    channels: u8,
}

// SAFETY: LAME keeps an encoder's state behind its pointer, bound to no thread; what it shares between encoders are
// tables that `Linked::api` has had filled and later encoders overwrite with equal values.
unsafe impl Send for Encoder {}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("channels", &self.channels)
            .field("frame_len", &self.frame_len())
            .field("lowpass", &self.lowpass())
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// Sets LAME up; it takes about a millisecond.
    ///
    /// # Errors
    /// Those of [`Error`] that name a setting, when MP3 or LAME cannot do it; [`Error::OutOfMemory`].
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        Self::of(builds::fastest(), settings)
    }

    /// As [`new`](Self::new), with a certain build of LAME.
    #[doc(hidden)]
    pub fn with_build(build: Build, settings: &Settings) -> Result<Self, Error> {
        Self::of(builds::find(build)?, settings)
    }

    fn of(linked: &'static Linked, settings: &Settings) -> Result<Self, Error> {
        settings.check()?;
        Self::start(linked.api(write_tables), settings)
    }

    fn start(api: &'static Api, settings: &Settings) -> Result<Self, Error> {
        // SAFETY: `lame_init` takes nothing, and gives a pointer we own or null.
        let flags = NonNull::new(unsafe { (api.init)() }).ok_or(Error::OutOfMemory)?;
        let encoder = Self {
            api,
            flags,
            channels: settings.channels,
        };
        encoder.configure(settings)?;
        // SAFETY: `flags` is valid for as long as `encoder` lives.
        check("lame_init_params", unsafe {
            (api.init_params)(flags.as_ptr())
        })?;
        Ok(encoder)
    }

    fn configure(&self, settings: &Settings) -> Result<(), Error> {
        let (api, flags) = (self.api, self.flags.as_ptr());
        let sample_rate = settings.sample_rate as c_int;
        let (vbr, set_rate): (c_int, c_int);
        // SAFETY: `flags` is valid, and LAME's setters only store numbers and callbacks, of which null is one.
        let results = unsafe {
            (vbr, set_rate) = match settings.bitrate {
                Bitrate::Cbr(kbps) => (vbr_mode::OFF, (api.set_brate)(flags, kbps.into())),
                Bitrate::Abr(kbps) => (
                    vbr_mode::ABR,
                    (api.set_vbr_mean_bitrate_kbps)(flags, kbps.into()),
                ),
                Bitrate::Vbr(scale) => (vbr_mode::MTRH, (api.set_vbr_quality)(flags, scale)),
            };
            [
                ("lame_set_errorf", (api.set_errorf)(flags, None)),
                ("lame_set_debugf", (api.set_debugf)(flags, None)),
                ("lame_set_msgf", (api.set_msgf)(flags, None)),
                ("lame_set_bWriteVbrTag", (api.set_write_vbr_tag)(flags, 0)),
                (
                    "lame_set_findReplayGain",
                    (api.set_find_replay_gain)(flags, 0),
                ),
                (
                    "lame_set_in_samplerate",
                    (api.set_in_samplerate)(flags, sample_rate),
                ),
                (
                    "lame_set_out_samplerate",
                    (api.set_out_samplerate)(flags, sample_rate),
                ),
                (
                    "lame_set_num_channels",
                    (api.set_num_channels)(flags, settings.channels.into()),
                ),
                (
                    "lame_set_quality",
                    (api.set_quality)(flags, settings.quality.into()),
                ),
                ("lame_set_VBR", (api.set_vbr)(flags, vbr)),
                ("the setter of the bitrate", set_rate),
            ]
        };
        results
            .into_iter()
            .try_for_each(|(function, code)| check(function, code).map(drop))
    }

    /// Encodes samples of any number and appends the frames that are complete to `out`.
    ///
    /// Full scale is ±1.0. Samples beyond it are encoded as they are up to ±16 (+24 dB) and limited there; a decoder
    /// may clip them. Samples that are no number, or infinite, count as silence. A stereo encoder takes both planes, a
    /// mono encoder `left` only.
    ///
    /// # Errors
    /// [`Error::Planes`] when the planes do not fit the channels or each other; [`Error::OutOfMemory`] and [`Error::Lame`] when LAME
    /// fails, after which the encoder is of no more use.
    pub fn encode(
        &mut self,
        left: &[f32],
        right: Option<&[f32]>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let right = match (self.channels, right) {
            (1, None) => left,
            (2, Some(right)) if right.len() == left.len() => right,
            (channels, right) => {
                return Err(Error::Planes {
                    channels,
                    left: left.len(),
                    right: right.map(<[f32]>::len),
                });
            }
        };
        for (left, right) in left.chunks(BLOCK).zip(right.chunks(BLOCK)) {
            if is_within_limit(left) && is_within_limit(right) {
                self.encode_block(left, right, out)?;
            } else {
                self.encode_limited(left, right, out)?;
            }
        }
        Ok(())
    }

    /// Limits a block of samples and encodes it.
    #[cold]
    fn encode_limited(
        &mut self,
        left: &[f32],
        right: &[f32],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut planes = [[0.0; BLOCK]; 2];
        limit(left, &mut planes[0]);
        limit(right, &mut planes[1]);
        self.encode_block(&planes[0][..left.len()], &planes[1][..right.len()], out)
    }

    /// Encodes at most [`BLOCK`] samples that LAME can compute with. `right` has as many as `left`.
    fn encode_block(
        &mut self,
        left: &[f32],
        right: &[f32],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let samples = left.len().min(right.len()) as c_int;
        self.append(out, "lame_encode_buffer_ieee_float", |encoder, to, room| {
            let flags = encoder.flags.as_ptr();
            let (left, right) = (left.as_ptr(), right.as_ptr());
            // SAFETY: the flags are valid, both planes hold at least `samples` samples, and `room` bytes may be written
            // at `to`.
            unsafe { (encoder.api.encode)(flags, left, right, samples, to, room) }
        })
    }

    /// Ends the stream: appends the last frames to `out`, filled up with silence, and returns that padding, in samples
    /// of one channel.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn flush(mut self, out: &mut Vec<u8>) -> Result<u32, Error> {
        self.append(out, "lame_encode_flush", |encoder, to, room| {
            // SAFETY: the flags are valid and `room` bytes may be written at `to`.
            unsafe { (encoder.api.flush)(encoder.flags.as_ptr(), to, room) }
        })?;
        // SAFETY: the flags are valid.
        Ok(self.get(self.api.encoder_padding))
    }

    /// Lets `write` fill spare room at the end of `out`.
    fn append(
        &mut self,
        out: &mut Vec<u8>,
        function: &'static str,
        write: impl FnOnce(&mut Self, *mut u8, c_int) -> c_int,
    ) -> Result<(), Error> {
        out.reserve(BLOCK_OUTPUT);
        let room = out.spare_capacity_mut();
        let written = write(self, room.as_mut_ptr().cast(), BLOCK_OUTPUT as c_int);
        let written = check(function, written)?;
        // SAFETY: LAME has written this many bytes into the room it was told of, which lies directly behind `out`'s
        // length.
        unsafe { out.set_len(out.len() + written) };
        Ok(())
    }

    /// Samples of silence the encoder puts before the first one given, a decoder's own 529 not counted.
    #[must_use]
    pub fn delay(&self) -> u32 {
        self.get(self.api.encoder_delay)
    }

    /// Samples of one channel in a frame: 1152 in MPEG-1, 576 in MPEG-2 and 2.5.
    #[must_use]
    pub fn frame_len(&self) -> u32 {
        self.get(self.api.framesize)
    }

    /// Where LAME cuts off high frequencies at these settings, in Hz.
    #[must_use]
    pub fn lowpass(&self) -> u32 {
        self.get(self.api.lowpassfreq)
    }

    /// The quality byte of LAME's Info tag: 100 − 10 × VBR scale − algorithm quality, not below 0.
    #[must_use]
    pub fn tag_quality(&self) -> u8 {
        let quality = self.get(self.api.quality);
        let scale = self.get(self.api.vbr_q);
        100_u32
            .saturating_sub(10 * scale)
            .saturating_sub(quality)
            .min(100) as u8
    }

    /// The flags byte of LAME's Info tag: type of the threshold of hearing, psychoacoustic model, safe joint stereo.
    #[must_use]
    pub fn tag_flags(&self) -> u8 {
        const MODEL_NSPSYTUNE: u8 = 0x10;
        const SAFE_JOINT_STEREO: u8 = 0x20;
        let threshold = (self.get(self.api.ath_type) & 0x0f) as u8;
        let safe_joint = self.channels == 2 && self.get(self.api.exp_nspsytune) & 2 != 0;
        threshold | MODEL_NSPSYTUNE | if safe_joint { SAFE_JOINT_STEREO } else { 0 }
    }

    /// What LAME multiplies every sample with: at low constant and average bitrates it lowers the level by up to 5 %
    /// against clipping.
    #[must_use]
    pub fn scale(&self) -> f32 {
        // SAFETY: the flags are valid.
        unsafe { (self.api.scale)(self.flags.as_ptr()) }
    }

    fn get(&self, getter: unsafe extern "C" fn(*const GlobalFlags) -> c_int) -> u32 {
        // SAFETY: the flags are valid, and `getter` is one of LAME's, which only read them.
        let value = unsafe { getter(self.flags.as_ptr()) };
        value.max(0) as u32
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: the flags are ours and valid, and nothing uses them after this.
        unsafe { (self.api.close)(self.flags.as_ptr()) };
    }
}

/// The encoder's name as the Info tag gives it: `LAME3.100`.
#[must_use]
pub fn version() -> String {
    // SAFETY: LAME returns a string literal.
    let version = unsafe { CStr::from_ptr((builds::fastest().api(write_tables).version)()) };
    version.to_string_lossy().trim_end().to_owned()
}

/// Has LAME write its global tables, by starting any encoder.
fn write_tables(api: &'static Api) {
    const ANY: Settings = Settings {
        sample_rate: 44_100,
        channels: 1,
        bitrate: Bitrate::Cbr(128),
        quality: 9,
    };
    drop(Encoder::start(api, &ANY));
}

/// Whether all samples are what LAME can compute with; NaN is not. Without their signs, floats are ordered as integers,
/// of which the largest is found by vectors.
fn is_within_limit(samples: &[f32]) -> bool {
    let bits = samples.iter().map(|sample| sample.abs().to_bits() as i32);
    bits.fold(0, i32::max) <= LIMIT.to_bits() as i32
}

/// Copies samples, limited to what LAME can compute with.
fn limit(samples: &[f32], to: &mut [f32]) {
    for (&sample, to) in samples.iter().zip(to) {
        *to = if sample.is_finite() {
            sample.clamp(-LIMIT, LIMIT)
        } else {
            0.0
        };
    }
}

/// Sorts LAME's return codes (`lameerror.h`) into a count or an error.
fn check(function: &'static str, code: c_int) -> Result<usize, Error> {
    const NO_MEMORY: [c_int; 2] = [-2, -10];
    match usize::try_from(code) {
        Ok(count) => Ok(count),
        Err(_) if NO_MEMORY.contains(&code) => Err(Error::OutOfMemory),
        Err(_) => Err(Error::Lame { function, code }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_starts_with_a_frame_and_ends_on_one() {
        let mut out = Vec::new();
        let settings = Settings {
            sample_rate: 44_100,
            channels: 2,
            bitrate: Bitrate::Cbr(128),
            quality: 3,
        };
        let mut encoder = Encoder::new(&settings).unwrap();
        encoder
            .encode(&[0.1; 44_100], Some(&[0.1; 44_100]), &mut out)
            .unwrap();
        let padding = encoder.flush(&mut out).unwrap();
        assert_eq!((44_100 + 576 + padding) % 1152, 0);
        assert_eq!(&out[..2], [0xff, 0xfb]);
        assert_eq!(version(), "LAME3.100");
    }
}
