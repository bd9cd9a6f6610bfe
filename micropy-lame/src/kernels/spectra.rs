// SPDX-License-Identifier: LGPL-2.0-or-later
//! What tests and benchmarks put into the kernels: spectra and quantized granules of every kind, and LAME's tables, made
//! anew.

use std::sync::LazyLock;

use super::powers::{BELOW, GAINS, Powers, QUANTITIES};
use super::quantization::LINES;

/// Scalefactor bands of long blocks at 44.1 kHz: ISO/IEC 11172-3, table B.8.
pub const LONG: [i32; 23] = [
    0, 4, 8, 12, 16, 20, 24, 30, 36, 44, 52, 62, 74, 90, 110, 134, 162, 196, 238, 288, 342, 418,
    576,
];

/// The end of the third band of short blocks there, three windows together.
pub const SHORT_REGION0: i32 = 36;

/// The tables of powers, from their definitions.
pub struct Tables {
    pow43: [f32; QUANTITIES],
    adj43: [f32; QUANTITIES],
    steps: [f32; GAINS + BELOW + 1],
    quantities: [f32; GAINS],
}

impl Tables {
    pub fn get() -> Powers<'static> {
        static TABLES: LazyLock<Box<Tables>> = LazyLock::new(|| {
            let pow43 = |n: usize| (n as f64).powf(4.0 / 3.0);
            Box::new(Tables {
                pow43: std::array::from_fn(|n| pow43(n) as f32),
                adj43: std::array::from_fn(|n| {
                    ((n + 1) as f64 - (0.5 * (pow43(n) + pow43(n + 1))).powf(0.75)) as f32
                }),
                steps: std::array::from_fn(|n| {
                    ((n as f64 - 210.0 - BELOW as f64) * 0.25).exp2() as f32
                }),
                quantities: std::array::from_fn(|n| ((n as f64 - 210.0) * -0.1875).exp2() as f32),
            })
        });
        Powers {
            pow43: &TABLES.pow43,
            adj43: &TABLES.adj43,
            steps: &TABLES.steps,
            quantities: &TABLES.quantities,
        }
    }
}

/// Xorshift: the same numbers in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }

    /// From 0 to below 1.
    pub fn fraction(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }
}

/// Quantized granules: silence, one line, the largest values everywhere, and random ones that fall off as music does,
/// with any number of big values and quadruples.
#[cfg(test)]
pub fn quantized(count: usize) -> impl Iterator<Item = [i32; LINES]> {
    const LIMITS: [usize; 12] = [1, 2, 3, 4, 6, 8, 15, 16, 17, 40, 600, 8207];
    let mut random = Random(7);
    (0..count).map(move |n| {
        let mut lines = [0; LINES];
        match n {
            0 => (),
            1 => lines[LINES - 1] = 1,
            2 => lines[0] = 8206,
            3 => lines.fill(8206),
            4 => lines.fill(15),
            5 => lines.fill(1),
            _ => {
                let mut limit = LIMITS[random.below(LIMITS.len())];
                let mut end = random.below(LINES + 1);
                for (at, line) in lines.iter_mut().enumerate() {
                    if at == end {
                        limit = (limit / 3).max(1);
                        end += random.below(LINES);
                        if limit == 1 && random.below(3) == 0 {
                            break;
                        }
                    }
                    *line = random.below(limit + 1).min(8206) as i32;
                }
            }
        }
        lines
    })
}

/// Spectra in LAME's units: silence, full scale, tones on noise, falling noise, at levels of all kinds.
pub fn spectra(count: usize) -> impl Iterator<Item = [f32; LINES]> {
    let mut random = Random(11);
    (0..count).map(move |n| {
        let level = (random.fraction() * 15.0).exp2();
        let fall = random.fraction() * 12.0;
        let tone = random.below(LINES);
        let mut lines = [0.0; LINES];
        for (at, line) in lines.iter_mut().enumerate() {
            let envelope = level * (-fall * at as f32 / LINES as f32).exp2();
            *line = match n {
                0 => 0.0,
                1 => 32_768.0,
                _ if at == tone => -20.0 * level,
                _ => envelope * (2.0 * random.fraction() - 1.0),
            };
        }
        lines
    })
}

/// |xr|^(3/4).
pub fn powers_of_34(xr: &[f32; LINES]) -> [f32; LINES] {
    xr.map(|xr| (xr.abs() * xr.abs().sqrt()).sqrt())
}

/// Whether the tests can run the kernels; says so if not.
pub fn can_run() -> bool {
    #[cfg(target_arch = "x86_64")]
    let can = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi2");
    #[cfg(target_arch = "aarch64")]
    let can = cfg!(target_endian = "little");
    if !can {
        println!("skipped: this processor cannot run them");
    }
    can
}
