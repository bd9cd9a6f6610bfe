//! MPEG-1/2 layer III (ISO/IEC 11172-3, 13818-3) as a format: frames, side information, the bit reservoir, the Info
//! tag, ID3. There is no PCM here.

pub mod frame;
pub mod id3;
pub mod info_tag;
pub mod reservoir;
pub mod side_info;

/// How an encoder spends its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateControl {
    /// Every frame has one bitrate.
    Cbr,
    /// The bitrate varies around an average.
    Abr,
    /// The bitrate follows from the quality.
    Vbr,
}
