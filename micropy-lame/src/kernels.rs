// SPDX-License-Identifier: LGPL-2.0-or-later
//! Kernels for AVX2 and NEON that take the place of LAME's hottest functions.
//!
//! One file is one stage of ISO/IEC 11172-3, Layer III. Its functions work on slices. They are written with the
//! instructions of AVX2, FMA and BMI2, which x86-64 processors have to have to run them; `neon` gives these to aarch64.
//! `boundary` lets the C glue in `glue/` call them. Beside each, `twin` says in plain Rust, from the standard, what the
//! kernel has to return, and the tests compare both with each other and, with the feature `oracle`, with LAME's own
//! functions.
//!
//! Licence: what replaces parts of LAME is under LAME's, the GNU Library General Public License, version 2 or later.

#![cfg_attr(
    target_arch = "aarch64",
    allow(
        unused_unsafe,
        reason = "calls are unsafe where a processor may lack what a kernel needs"
    )
)]

mod allowed_noise;
mod angle;
mod attack;
mod bit_count;
mod block;
mod boundary;
mod fft;
mod filterbank;
mod huffman;
mod huffman_tables;
mod lanes;
mod masking;
#[cfg(test)]
mod materials;
#[cfg(feature = "measure")]
pub mod measure;
#[cfg(target_arch = "aarch64")]
mod neon;
mod noise;
#[cfg(feature = "oracle")]
pub mod oracle;
mod powers;
mod psychoacoustics;
mod quantization;
mod scalefactor_bands;
mod scalefactor_length;
mod scalefactor_search;
#[cfg(any(test, feature = "measure"))]
mod spectra;
mod vector;

#[cfg(target_arch = "aarch64")]
use neon as instructions;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as instructions;
