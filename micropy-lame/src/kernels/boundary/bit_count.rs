// SPDX-License-Identifier: LGPL-2.0-or-later
//! For `glue/bit_count.c`.

use std::ffi::c_int;

use super::PowersPointers;
use crate::kernels::bit_count::{Bands, Block, Coding, LONG_BANDS, count, divide};
use crate::kernels::noise::{BANDS, PRETAB};
use crate::kernels::quantization::{LINES, Packed, Steps, quantize, quantize_bands};

/// LAME's `block_type`: 0 normal, 1 start, 2 short, 3 stop.
fn block(block_type: c_int) -> Block {
    match block_type {
        0 => Block::Normal,
        2 => Block::Short,
        _ => Block::Transition,
    }
}

/// Quantizes and counts.
///
/// # Safety
/// As the module says; `quantized` and `coding` are the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_count(
    xr34: *const [f32; LINES],
    step: f32,
    adj43: *const [f32; 8],
    quantized: *mut [i32; LINES],
    lines: c_int,
    long: *const [i32; LONG_BANDS + 1],
    first_division: *const [u8; LINES],
    short_region0: c_int,
    block_type: c_int,
    coding: *mut Coding,
) -> c_int {
    // SAFETY: the caller's promise.
    let (xr34, adjust, quantized, long, first_division, coding) = unsafe {
        (
            &*xr34,
            &*adj43,
            &mut *quantized,
            &*long,
            &*first_division,
            &mut *coding,
        )
    };
    let bands = Bands {
        long,
        first_division,
        short_region0,
        block: block(block_type),
    };
    let mut packed = Packed::new();
    let lines = lines as usize;
    quantize(xr34, lines, step, adjust, quantized, &mut packed);
    count(quantized, &packed, lines, &bands, coding)
}

/// The gains of a granule's bands: fields of LAME's `gr_info`, in the order of the glue's `struct band_gains`.
#[repr(C)]
struct BandGains {
    global_gain: c_int,
    scalefac_scale: c_int,
    preflag: c_int,
    last_line: c_int,
    scalefac: *const [c_int; BANDS],
    subblock_gain: *const [c_int; 4],
    width: *const [c_int; BANDS],
    window: *const [c_int; BANDS],
}

/// Quantizes, each band with its own step, and counts.
///
/// # Safety
/// As the module says; `quantized` and `coding` are the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_count_bands(
    xr34: *const [f32; LINES],
    gains: *const BandGains,
    powers: *const PowersPointers,
    quantized: *mut [i32; LINES],
    lines: c_int,
    long: *const [i32; LONG_BANDS + 1],
    first_division: *const [u8; LINES],
    short_region0: c_int,
    block_type: c_int,
    coding: *mut Coding,
) -> c_int {
    // SAFETY: the caller's promise.
    let (xr34, gains, powers, quantized, long, first_division, coding) = unsafe {
        (
            &*xr34,
            &*gains,
            (*powers).get(),
            &mut *quantized,
            &*long,
            &*first_division,
            &mut *coding,
        )
    };
    // SAFETY: the caller's promise.
    let (scalefac, subblock_gain, width, window) = unsafe {
        (
            &*gains.scalefac,
            &*gains.subblock_gain,
            &*gains.width,
            &*gains.window,
        )
    };
    let mut start = 0;
    let bands = (0..BANDS).map_while(|band| {
        let scalefac = match gains.preflag {
            0 => scalefac[band],
            _ => scalefac[band] + PRETAB.get(band).unwrap_or(&0),
        };
        let below =
            (scalefac << (gains.scalefac_scale + 1)) + 8 * subblock_gain[window[band] as usize & 3];
        let is_quantized = start <= gains.last_line;
        start += width[band];
        let gain = (gains.global_gain - below) as u8;
        is_quantized.then(|| (width[band] as usize, powers.quantities[usize::from(gain)]))
    });
    let steps = Steps::of_bands(bands);
    let bands = Bands {
        long,
        first_division,
        short_region0,
        block: block(block_type),
    };
    let mut packed = Packed::new();
    let lines = lines as usize;
    let adjust = powers.adj43.first_chunk().expect("longer than eight");
    quantize_bands(xr34, lines, &steps, adjust, quantized, &mut packed);
    count(quantized, &packed, lines, &bands, coding)
}

/// Quantizes.
///
/// # Safety
/// As the module says; `quantized` is the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_quantize(
    xr34: *const [f32; LINES],
    step: f32,
    adj43: *const [f32; 8],
    quantized: *mut [i32; LINES],
    lines: c_int,
) {
    // SAFETY: the caller's promise.
    let (xr34, adjust, quantized) = unsafe { (&*xr34, &*adj43, &mut *quantized) };
    let mut packed = Packed::new();
    quantize(xr34, lines as usize, step, adjust, quantized, &mut packed);
}

/// Counts what is quantized.
///
/// # Safety
/// As the module says; `coding` is the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_count_quantized(
    quantized: *const [i32; LINES],
    lines: c_int,
    long: *const [i32; LONG_BANDS + 1],
    first_division: *const [u8; LINES],
    short_region0: c_int,
    block_type: c_int,
    coding: *mut Coding,
) -> c_int {
    // SAFETY: the caller's promise.
    let (quantized, long, first_division, coding) =
        unsafe { (&*quantized, &*long, &*first_division, &mut *coding) };
    let bands = Bands {
        long,
        first_division,
        short_region0,
        block: block(block_type),
    };
    let mut packed = Packed::new();
    let lines = lines as usize;
    packed.pack(quantized, lines);
    // What lies beyond is not quantized.
    packed.values[lines..].fill(0);
    count(quantized, &packed, lines, &bands, coding)
}

/// Improves the division into regions.
///
/// # Safety
/// As the module says; `coding` is the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_divide(
    quantized: *const [i32; LINES],
    long: *const [i32; LONG_BANDS + 1],
    first_division: *const [u8; LINES],
    block_type: c_int,
    coding: *mut Coding,
) {
    // SAFETY: the caller's promise.
    let (quantized, long, first_division, coding) =
        unsafe { (&*quantized, &*long, &*first_division, &mut *coding) };
    let bands = Bands {
        long,
        first_division,
        short_region0: 0,
        block: block(block_type),
    };
    divide(quantized, &bands, coding);
}
