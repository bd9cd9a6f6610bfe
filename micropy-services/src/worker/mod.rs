//! The isolated process that converts one video: started by the converter, and ended with each attempt.

pub mod child;
mod conversion;
pub mod process;
pub(crate) mod protocol;
mod read_ahead;
