// SPDX-License-Identifier: LGPL-2.0-or-later
//! Where the C glue calls the kernels: pointers become slices here, and nowhere else.
//!
//! Each function may only be called where the build with kernels may run (AVX2, FMA, BMI2), with pointers to as many values as its
//! glue says. None panics on values LAME can have; a panic would end the process.

mod bit_count;
