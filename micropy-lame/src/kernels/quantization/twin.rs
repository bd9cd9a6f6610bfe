// SPDX-License-Identifier: LGPL-2.0-or-later
//! Quantization in plain Rust.

/// The quantized value of a line whose |xr|^(3/4) over step^(3/4) is `quantity`: the n whose n^(4/3) is nearest to
/// `quantity`^(4/3).
pub fn quantize(quantity: f64) -> i32 {
    let below = quantity.floor();
    let middle = 0.5 * (below.powf(4.0 / 3.0) + (below + 1.0).powf(4.0 / 3.0));
    below as i32 + i32::from(quantity.powf(4.0 / 3.0) >= middle)
}
