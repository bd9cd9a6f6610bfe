// SPDX-License-Identifier: LGPL-2.0-or-later
//! For `glue/scalefactor_length.c`.

use std::ffi::c_int;

use crate::kernels::noise::BANDS;
use crate::kernels::scalefactor_length::{of_long, of_short};

/// Counts the bits of the scalefactors of an MPEG-1 granule: writes `part2_length` and `scalefac_compress`, and returns
/// 0 where a scalefactor is too large.
///
/// # Safety
/// As the module says; all but `is_short` are the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_scalefactor_length(
    scalefac: *mut [i32; BANDS],
    is_short: c_int,
    preflag: *mut c_int,
    part2_length: *mut c_int,
    scalefac_compress: *mut c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        let length = match is_short {
            0 => {
                let mut has_preflag = *preflag != 0;
                let length = of_long(&mut *scalefac, &mut has_preflag);
                *preflag = has_preflag.into();
                length
            }
            _ => of_short(&*scalefac),
        };
        let Some(length) = length else {
            return 0;
        };
        *part2_length = length.part2_length.into();
        *scalefac_compress = length.scalefac_compress.into();
    }
    1
}
