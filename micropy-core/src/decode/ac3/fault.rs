//! Why a syncframe cannot be decoded.

use crate::decode::DecodeError;

/// What is wrong with a syncframe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The packet does not begin with a sync word, or not any more.
    #[error("no syncframe begins here")]
    NoSyncframe,
    /// The packet or the frame ends before all of its fields.
    #[error("the syncframe ends too early")]
    Truncated,
    /// The frame was changed on its way.
    #[error("the syncframe's checksum (CRC) is wrong")]
    Checksum,
    /// A field has a value that the standard forbids.
    #[error("the syncframe has an impossible {0}")]
    Impossible(&'static str),
    /// A tool of the standard that is not implemented.
    #[error("the syncframe uses {0}, which is not supported")]
    Unsupported(&'static str),
    /// The track was announced with other channels or another rate.
    #[error("the syncframe has {0}")]
    Changed(&'static str),
}

impl From<Fault> for DecodeError {
    fn from(fault: Fault) -> Self {
        DecodeError(fault.to_string())
    }
}
