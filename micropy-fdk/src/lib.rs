//! Decodes AAC of every kind with the Fraunhofer FDK AAC library: LC, HE-AAC v1 and v2, LD, ELD and
//! xHE-AAC (USAC), up to eight channels.
//!
//! What comes out is the coded signal and nothing else: the library's limiter, its dynamic range control,
//! its loudness normalisation and its downmix are switched off, and so is the concealment that would
//! delay the output by a packet.
//!
//! # Licence
//!
//! This binding is under the licence of the workspace. The library that it compiles and links is not: the
//! *Software License for The Fraunhofer FDK AAC Codec Library for Android* allows use and redistribution
//! in source and binary form under conditions (its text goes along with the binary, the source is offered)
//! and grants no patent licence. Whoever distributes a program with it should read it.

mod sys;

use std::ffi::{c_int, c_uint};
use std::ptr::NonNull;

/// Why the library did not open, or did not decode a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It could not allocate a decoder.
    #[error("out of memory")]
    OutOfMemory,
    /// It does not know this kind of AAC, or the configuration is damaged.
    #[error("the AAC configuration is not supported (FDK error {0:#06x})")]
    Config(u32),
    /// The packet is damaged.
    #[error("damaged AAC packet (FDK error {0:#06x})")]
    Packet(u32),
    /// The packet is larger than any AAC packet may be.
    #[error("an AAC packet of {0} bytes")]
    TooLarge(usize),
}

/// What the last decoded packet gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Hz.
    pub sample_rate: u32,
    /// Interleaved channels. Those of an MPEG channel configuration stand in WAVE order, those of a
    /// program_config_element in its order.
    pub channels: usize,
    /// PCM samples per channel.
    pub frame_len: usize,
    /// PCM samples per channel by which the decoder's own filters delay the output.
    pub output_delay: usize,
    /// Spectral band replication doubled the rate.
    pub sbr: bool,
    /// Parametric stereo made two channels of one.
    pub ps: bool,
}

/// The longest packet by ISO/IEC 14496-3 (6144 bits a channel) with ample room for data elements.
const MAX_PACKET: usize = 16 << 10;
const MAX_CHANNELS: usize = 8;
const MAX_FRAME_LEN: usize = 4096;

/// Values of the parameters; some of them are the library's own defaults in some versions only.
const PARAMETERS: [(c_int, c_int); 10] = [
    (sys::PCM_OUTPUT_CHANNEL_MAPPING, 1),
    (sys::PCM_MAX_OUTPUT_CHANNELS, -1),
    (sys::PCM_MIN_OUTPUT_CHANNELS, -1),
    (sys::PCM_LIMITER_ENABLE, 0),
    (sys::CONCEAL_METHOD, 0),
    (sys::DRC_BOOST_FACTOR, 0),
    (sys::DRC_ATTENUATION_FACTOR, 0),
    (sys::DRC_REFERENCE_LEVEL, -1),
    (sys::UNIDRC_SET_EFFECT, -1),
    // The low-power filterbank of SBR, the library's choice for stereo, makes the high band 1.7 dB too loud.
    (sys::QMF_LOWPOWER, 0),
];

/// A decoder of one track.
#[derive(Debug)]
pub struct Decoder {
    config: Box<[u8]>,
    /// None where an assertion of the library failed: the next packet opens another.
    instance: Option<Instance>,
    pcm: Box<[i16]>,
}

impl Decoder {
    /// A decoder for raw packets with this AudioSpecificConfig.
    pub fn new(audio_specific_config: &[u8]) -> Result<Self, Error> {
        Ok(Decoder {
            config: audio_specific_config.into(),
            instance: Some(Instance::open(audio_specific_config)?),
            pcm: vec![0; MAX_CHANNELS * MAX_FRAME_LEN].into(),
        })
    }

    /// Decodes one packet: its interleaved PCM, valid until the next call, and what it is. After an error
    /// the next packet may be tried.
    pub fn decode(&mut self, packet: &[u8]) -> Result<(&[i16], Stream), Error> {
        let instance = match self.instance.take() {
            Some(instance) => instance,
            None => Instance::open(&self.config)?,
        };
        let decoded = instance.decode(packet, &mut self.pcm);
        if can_go_on_after(&decoded) {
            self.instance = Some(instance);
        }
        let stream = decoded?;
        let samples = stream.channels * stream.frame_len;
        match self.pcm.get(..samples) {
            Some(pcm) if samples > 0 => Ok((pcm, stream)),
            _ => Err(Error::Packet(0)),
        }
    }
}

/// Whether the instance that gave this may decode the next packet: not where an assertion left it in the middle of this
/// one.
fn can_go_on_after(decoded: &Result<Stream, Error>) -> bool {
    *decoded != Err(Error::Packet(sys::ASSERTION.cast_unsigned()))
}

/// An instance of the library's decoder. It is not used again where a call ended with [`sys::ASSERTION`].
#[derive(Debug)]
struct Instance(NonNull<sys::AacDecoderInstance>);

// SAFETY: the instance is owned by this value alone, and the library keeps no state outside its instances
// and no tie to the thread that made one.
unsafe impl Send for Instance {}

impl Instance {
    fn open(audio_specific_config: &[u8]) -> Result<Self, Error> {
        // SAFETY: no precondition; null is checked.
        let handle = unsafe { sys::aacDecoder_Open(sys::TT_MP4_RAW, 1) };
        let instance = Instance(NonNull::new(handle).ok_or(Error::OutOfMemory)?);
        for (parameter, value) in PARAMETERS {
            // SAFETY: the handle is live.
            check(
                unsafe { sys::aacDecoder_SetParam(instance.0.as_ptr(), parameter, value) },
                Error::Config,
            )?;
        }
        let mut config = audio_specific_config.as_ptr().cast_mut();
        let len = length(audio_specific_config)?;
        // SAFETY: one layer, whose pointer and length are those of a live slice, which the library reads.
        check(
            unsafe { sys::micropy_fdk_config(instance.0.as_ptr(), &mut config, &len) },
            Error::Config,
        )?;
        Ok(instance)
    }

    fn decode(&self, packet: &[u8], pcm: &mut [i16]) -> Result<Stream, Error> {
        let handle = self.0.as_ptr();
        let mut data = packet.as_ptr().cast_mut();
        let len = length(packet)?;
        let mut left = len;
        // SAFETY: the handle is live. A packet must not see the rest of a damaged one before it.
        unsafe {
            sys::aacDecoder_SetParam(handle, sys::TPDEC_CLEAR_BUFFER, 1);
        }
        // SAFETY: one layer, whose pointer and length are those of a live slice, which is copied.
        check(
            unsafe { sys::micropy_fdk_fill(handle, &mut data, &len, &mut left) },
            Error::Packet,
        )?;
        if left != 0 {
            return Err(Error::TooLarge(packet.len()));
        }
        // SAFETY: the buffer and its length are those of a live slice of the library's sample type.
        let status =
            unsafe { sys::micropy_fdk_decode(handle, pcm.as_mut_ptr(), pcm.len() as i32, 0) };
        check(status, Error::Packet)?;
        Ok(self.stream())
    }

    fn stream(&self) -> Stream {
        // SAFETY: the handle is live; the structure it points to is part of the instance, is written only
        // by calls that take it, and is read here before any other.
        let info = unsafe { &*sys::aacDecoder_GetStreamInfo(self.0.as_ptr()) };
        let unsigned = |value: i32| usize::try_from(value).unwrap_or(0);
        Stream {
            sample_rate: u32::try_from(info.sample_rate).unwrap_or(0),
            channels: unsigned(info.num_channels),
            frame_len: unsigned(info.frame_size),
            output_delay: info.output_delay as usize,
            sbr: info.sample_rate > info.aac_sample_rate && info.aac_sample_rate > 0,
            ps: info.aac_num_channels == 1 && info.num_channels == 2,
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: the handle is live and not used again.
        unsafe { sys::aacDecoder_Close(self.0.as_ptr()) }
    }
}

fn length(bytes: &[u8]) -> Result<c_uint, Error> {
    if bytes.len() > MAX_PACKET {
        return Err(Error::TooLarge(bytes.len()));
    }
    Ok(bytes.len() as c_uint)
}

fn check(status: c_int, error: fn(u32) -> Error) -> Result<(), Error> {
    match status {
        sys::OK => Ok(()),
        other => Err(error(other.cast_unsigned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" {
        fn micropy_fdk_assert(holds: c_int) -> c_int;
    }

    /// The process is still there, and so is what comes behind the call.
    #[test]
    fn an_assertion_that_fails_ends_the_call() {
        for holds in [1, 0, 0, 1] {
            // SAFETY: no precondition.
            let status = unsafe { micropy_fdk_assert(holds) };
            assert_eq!(status, [sys::ASSERTION, sys::OK][holds as usize]);
        }
    }

    /// A damaged packet is no reason to begin anew: the next one would lack its overlap.
    #[test]
    fn only_an_assertion_costs_the_instance() {
        let of_status = |status| {
            check(status, Error::Packet).map(|()| Stream {
                sample_rate: 44_100,
                channels: 1,
                frame_len: 1024,
                output_delay: 0,
                sbr: false,
                ps: false,
            })
        };
        assert!(!can_go_on_after(&of_status(sys::ASSERTION)));
        // AAC_DEC_PARSE_ERROR is among the others.
        for status in [sys::OK, 0x4002, sys::ASSERTION - 1, sys::ASSERTION + 1] {
            assert!(can_go_on_after(&of_status(status)), "{status:#x}");
        }
        assert!(can_go_on_after(&Err(Error::TooLarge(1 << 20))));
    }

    /// The decoder that an assertion leaves behind is closed, and another decodes the next packet.
    #[test]
    fn the_next_packet_opens_another_decoder() {
        // AAC-LC, 44.1 kHz, mono; the packet is a raw_data_block that ends at once.
        let mut decoder = Decoder::new(&[0x12, 0x08]).expect("a decoder");
        let first = decoder.decode(&[0xE0]).map(|(pcm, _)| pcm.to_vec());
        decoder.instance = None;
        let second = decoder.decode(&[0xE0]).map(|(pcm, _)| pcm.to_vec());
        assert!(decoder.instance.is_some());
        assert_eq!(first, second);
    }
}
