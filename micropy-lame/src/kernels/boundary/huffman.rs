// SPDX-License-Identifier: LGPL-2.0-or-later
//! For `glue/huffman.c`.

use std::ffi::c_int;

use crate::kernels::huffman::{Granule, MOST_BYTES, write};
use crate::kernels::quantization::LINES;

/// Writes the code of a granule.
///
/// # Safety
/// As the module says; `out` is the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_write_code(
    quantized: *const [i32; LINES],
    xr: *const [f32; LINES],
    ends: *const [c_int; 3],
    table_select: *const [c_int; 3],
    count1: c_int,
    count1table_select: c_int,
    bits_before: c_int,
    number_of_bits_before: c_int,
    out: *mut [u8; MOST_BYTES],
) -> c_int {
    // SAFETY: the caller's promise.
    let (granule, out) = unsafe {
        let granule = Granule {
            quantized: &*quantized,
            xr: &*xr,
            ends: (*ends).map(|end| end as usize),
            table_select: *table_select,
            count1: count1 as usize,
            count1table_select,
        };
        (granule, &mut *out)
    };
    write(
        &granule,
        (bits_before as u8, number_of_bits_before as u32),
        out,
    ) as c_int
}
