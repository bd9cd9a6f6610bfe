//! MPEG-1/2 layer III (ISO/IEC 11172-3, 13818-3) from the outside: frames, side information, the bit
//! reservoir, the Info tag, ID3. No PCM passes here.

pub mod frame;
pub mod header;
pub mod id3;
pub mod reservoir;
pub mod side_info;
