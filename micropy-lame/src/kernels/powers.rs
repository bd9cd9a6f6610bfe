// SPDX-License-Identifier: LGPL-2.0-or-later
//! The tables of powers that LAME makes when its first encoder starts, as every stage after the filterbank uses them.

/// The largest quantized value, and two more.
pub const QUANTITIES: usize = 8208;

/// Global gains, 0 to 255, and one more.
pub const GAINS: usize = 257;

/// How far below a global gain of 0 scalefactors and subblock gains can reach.
pub const BELOW: usize = 116;

/// LAME's tables.
#[derive(Clone, Copy)]
pub struct Powers<'a> {
    /// n^(4/3).
    pub pow43: &'a [f32; QUANTITIES],
    /// What to add to a quantity with integer part n before it is cut, so that the dequantized value is the nearest
    /// one.
    pub adj43: &'a [f32; QUANTITIES],
    /// Step sizes, 2^((gain − 210) / 4), from a gain of −116 on.
    pub steps: &'a [f32; GAINS + BELOW + 1],
    /// The quantity of 1 at each gain: step^(−3/4).
    pub quantities: &'a [f32; GAINS],
}

impl Powers<'_> {
    /// The step size at this gain, scalefactor and subblock gain taken off.
    pub fn step(&self, gain: i32) -> f32 {
        self.steps[(gain + BELOW as i32) as usize]
    }
}
