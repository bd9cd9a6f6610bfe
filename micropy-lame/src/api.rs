//! LAME's C functions, as one table for each build of the library that is linked in.

use std::ffi::{c_char, c_float, c_int, c_uchar};
use std::marker::{PhantomData, PhantomPinned};

/// LAME's `lame_global_flags`, only ever seen through a pointer.
#[repr(C)]
pub struct GlobalFlags {
    _opaque: [u8; 0],
    _pinned: PhantomData<(*mut u8, PhantomPinned)>,
}

/// LAME's `lame_report_function`; null silences it.
pub type Report = Option<unsafe extern "C" fn(format: *const c_char, ...)>;

/// Calls the macro `$then` with `$extra` and then the functions we use: our name, LAME's types, LAME's name.
macro_rules! with_functions {
    ($then:ident $($extra:tt)*) => {
        $then! {
            $($extra)*
            init() -> *mut GlobalFlags = "lame_init";
            close(*mut GlobalFlags) -> c_int = "lame_close";
            init_params(*mut GlobalFlags) -> c_int = "lame_init_params";
            set_errorf(*mut GlobalFlags, Report) -> c_int = "lame_set_errorf";
            set_debugf(*mut GlobalFlags, Report) -> c_int = "lame_set_debugf";
            set_msgf(*mut GlobalFlags, Report) -> c_int = "lame_set_msgf";
            set_in_samplerate(*mut GlobalFlags, c_int) -> c_int = "lame_set_in_samplerate";
            set_out_samplerate(*mut GlobalFlags, c_int) -> c_int = "lame_set_out_samplerate";
            set_num_channels(*mut GlobalFlags, c_int) -> c_int = "lame_set_num_channels";
            set_quality(*mut GlobalFlags, c_int) -> c_int = "lame_set_quality";
            set_write_vbr_tag(*mut GlobalFlags, c_int) -> c_int = "lame_set_bWriteVbrTag";
            set_find_replay_gain(*mut GlobalFlags, c_int) -> c_int = "lame_set_findReplayGain";
            set_vbr(*mut GlobalFlags, c_int) -> c_int = "lame_set_VBR";
            set_vbr_quality(*mut GlobalFlags, c_float) -> c_int = "lame_set_VBR_quality";
            set_vbr_mean_bitrate_kbps(*mut GlobalFlags, c_int) -> c_int = "lame_set_VBR_mean_bitrate_kbps";
            set_brate(*mut GlobalFlags, c_int) -> c_int = "lame_set_brate";
            encode(*mut GlobalFlags, *const c_float, *const c_float, c_int, *mut c_uchar, c_int) -> c_int = "lame_encode_buffer_ieee_float";
            flush(*mut GlobalFlags, *mut c_uchar, c_int) -> c_int = "lame_encode_flush";
            encoder_delay(*const GlobalFlags) -> c_int = "lame_get_encoder_delay";
            encoder_padding(*const GlobalFlags) -> c_int = "lame_get_encoder_padding";
            framesize(*const GlobalFlags) -> c_int = "lame_get_framesize";
            lowpassfreq(*const GlobalFlags) -> c_int = "lame_get_lowpassfreq";
            quality(*const GlobalFlags) -> c_int = "lame_get_quality";
            vbr_q(*const GlobalFlags) -> c_int = "lame_get_VBR_q";
            ath_type(*const GlobalFlags) -> c_int = "lame_get_ATHtype";
            exp_nspsytune(*const GlobalFlags) -> c_int = "lame_get_exp_nspsytune";
            scale(*const GlobalFlags) -> c_float = "lame_get_scale";
            version() -> *const c_char = "get_lame_very_short_version";
        }
    };
}

macro_rules! define_api {
    ($( $field:ident ($($argument:ty),*) -> $result:ty = $symbol:literal; )*) => {
        /// The functions of one build of LAME, declared as in its `lame.h`.
        pub struct Api {
            $( pub $field: unsafe extern "C" fn($($argument),*) -> $result, )*
        }
    };
}

/// The functions of the build whose symbols start with `$prefix`.
macro_rules! link_api {
    ($prefix:literal $( $field:ident ($($argument:ty),*) -> $result:ty = $symbol:literal; )*) => {{
        unsafe extern "C" {
            $(
                #[link_name = concat!($prefix, $symbol)]
                fn $field($(_: $argument),*) -> $result;
            )*
        }
        Api { $( $field, )* }
    }};
}

with_functions!(define_api);

pub(crate) use {link_api, with_functions};
