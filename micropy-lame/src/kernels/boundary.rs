// SPDX-License-Identifier: LGPL-2.0-or-later
//! Where the C glue calls the kernels: pointers become slices here, and nowhere else.
//!
//! Each function may only be called where the build with kernels may run (AVX2, FMA, BMI2), with pointers to as many
//! values as its glue says. None panics on values LAME can have; a panic would end the process.

use super::powers::{BELOW, GAINS, Powers, QUANTITIES};

mod allowed_noise;
mod attack;
mod bit_count;
mod filterbank;
mod huffman;
mod noise;
mod psychoacoustics;
mod quantization;
mod scalefactor_bands;
mod scalefactor_length;
mod scalefactor_search;

/// `struct micropy_powers` of `glue/kernels.h`: LAME's tables of this build, filled before any encoder runs.
#[repr(C)]
struct PowersPointers {
    pow43: *const [f32; QUANTITIES],
    adj43: *const [f32; QUANTITIES],
    steps: *const [f32; GAINS + BELOW + 1],
    quantities: *const [f32; GAINS],
}

impl PowersPointers {
    /// # Safety
    /// The pointers are LAME's own, so that the tables live as long as the process.
    unsafe fn get(&self) -> Powers<'static> {
        // SAFETY: the caller's promise.
        unsafe {
            Powers {
                pow43: &*self.pow43,
                adj43: &*self.adj43,
                steps: &*self.steps,
                quantities: &*self.quantities,
            }
        }
    }
}
