//! The part of the library's interface that decoding takes (`libAACdec/include/aacdecoder_lib.h`); what reads bytes
//! goes through `build/guard.cpp`.

use std::ffi::{c_int, c_uchar, c_uint};

/// An instance of the decoder, which only the library looks into.
#[repr(C)]
pub struct AacDecoderInstance {
    _opaque: [u8; 0],
}

/// `CStreamInfo`, up to the last field that is read here; the library owns it, and it is larger.
#[repr(C)]
pub struct StreamInfo {
    pub sample_rate: c_int,
    pub frame_size: c_int,
    pub num_channels: c_int,
    pub channel_type: *mut c_int,
    pub channel_indices: *mut c_uchar,
    pub aac_sample_rate: c_int,
    pub profile: c_int,
    pub audio_object_type: c_int,
    pub channel_config: c_int,
    pub bit_rate: c_int,
    pub aac_samples_per_frame: c_int,
    pub aac_num_channels: c_int,
    pub extension_object_type: c_int,
    pub extension_sampling_rate: c_int,
    pub output_delay: c_uint,
}

/// `TT_MP4_RAW`: packets without headers.
pub const TT_MP4_RAW: c_int = 0;

/// `AAC_DEC_OK`.
pub const OK: c_int = 0;

/// `MICROPY_FDK_ASSERTION`: an assertion of the library failed, and the instance may only be closed.
pub const ASSERTION: c_int = 0x7000;

// `AACDEC_PARAM`.
pub const PCM_OUTPUT_CHANNEL_MAPPING: c_int = 0x0003;
pub const PCM_LIMITER_ENABLE: c_int = 0x0004;
pub const PCM_MIN_OUTPUT_CHANNELS: c_int = 0x0011;
pub const PCM_MAX_OUTPUT_CHANNELS: c_int = 0x0012;
pub const CONCEAL_METHOD: c_int = 0x0100;
pub const DRC_BOOST_FACTOR: c_int = 0x0200;
pub const DRC_ATTENUATION_FACTOR: c_int = 0x0201;
pub const DRC_REFERENCE_LEVEL: c_int = 0x0202;
pub const UNIDRC_SET_EFFECT: c_int = 0x0206;
pub const QMF_LOWPOWER: c_int = 0x0300;
pub const TPDEC_CLEAR_BUFFER: c_int = 0x0603;

unsafe extern "C" {
    pub fn aacDecoder_Open(transport: c_int, layers: c_uint) -> *mut AacDecoderInstance;
    pub fn aacDecoder_SetParam(
        decoder: *mut AacDecoderInstance,
        parameter: c_int,
        value: c_int,
    ) -> c_int;
    pub fn aacDecoder_GetStreamInfo(decoder: *mut AacDecoderInstance) -> *mut StreamInfo;
    pub fn aacDecoder_Close(decoder: *mut AacDecoderInstance);

    // `aacDecoder_ConfigRaw`, `aacDecoder_Fill` and `aacDecoder_DecodeFrame`, guarded.
    pub fn micropy_fdk_config(
        decoder: *mut AacDecoderInstance,
        configs: *mut *mut c_uchar,
        lengths: *const c_uint,
    ) -> c_int;
    pub fn micropy_fdk_fill(
        decoder: *mut AacDecoderInstance,
        packets: *mut *mut c_uchar,
        lengths: *const c_uint,
        left: *mut c_uint,
    ) -> c_int;
    pub fn micropy_fdk_decode(
        decoder: *mut AacDecoderInstance,
        pcm: *mut i16,
        pcm_len: c_int,
        flags: c_uint,
    ) -> c_int;
}
