// SPDX-License-Identifier: LGPL-2.0-or-later
//! The block types of Layer III.

/// How the MDCT divides the time of a granule: `block_type` of ISO/IEC 11172-3, 2.4.2.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    Long,
    Start,
    Short,
    Stop,
}

impl Block {
    /// By its number.
    pub const fn of(block_type: i32) -> Self {
        match block_type {
            1 => Self::Start,
            2 => Self::Short,
            3 => Self::Stop,
            _ => Self::Long,
        }
    }
}
