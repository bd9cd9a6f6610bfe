// SPDX-License-Identifier: LGPL-2.0-or-later
//! For `glue/filterbank.c`.

use std::ffi::c_int;
use std::slice;

use crate::kernels::block::Block;
use crate::kernels::filterbank::{Filterbank, Lines, SLOTS, SUBBANDS, samples};

/// `values` of `struct micropy_filterbank` in `glue/state.h`.
const _: () = assert!(size_of::<Filterbank>() == 5_952 * size_of::<f32>());

/// Transforms one frame of a channel.
///
/// # Safety
/// As the module says; `pcm` are as many samples as `granules`, 1 or 2, need, of the other arrays the first `granules`
/// are valid, and `filterbank` and the spectra are the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_analyse(
    filterbank: *mut Filterbank,
    channel: c_int,
    pcm: *const f32,
    factors: *const [f32; SUBBANDS],
    granules: c_int,
    block_types: *const [c_int; 2],
    mixed: *const [c_int; 2],
    spectra: *const [*mut [f32; SUBBANDS * SLOTS]; 2],
) {
    // SAFETY: the caller's promise.
    let (filterbank, factors, block_types, mixed, [first, second]) = unsafe {
        (
            &mut *filterbank,
            &*factors,
            &*block_types,
            &*mixed,
            *spectra,
        )
    };
    let lines = |granule: usize, spectrum| Lines {
        block: Block::of(block_types[granule]),
        mixed: mixed[granule] != 0,
        spectrum,
    };
    let channel = usize::from(channel != 0);
    // SAFETY: the caller's promise.
    unsafe {
        if granules == 1 {
            let pcm = slice::from_raw_parts(pcm, samples(1));
            filterbank.analyse(channel, pcm, factors, &mut [lines(0, &mut *first)]);
        } else {
            let pcm = slice::from_raw_parts(pcm, samples(2));
            let lines = &mut [lines(0, &mut *first), lines(1, &mut *second)];
            filterbank.analyse(channel, pcm, factors, lines);
        }
    }
}
