//! What only the FDK decoder needs of an AudioSpecificConfig.

use super::aac_config::{AacConfig, BitWriter};
use crate::pcm::Layout;

impl AacConfig {
    /// The plane in `layout` of each channel that the decoder gives.
    pub fn planes(&self, layout: Layout) -> Vec<usize> {
        match &self.coded_order {
            Some(order) if Layout::of(order) == layout => {
                order.iter().filter_map(|&s| layout.plane_of(s)).collect()
            }
            _ => (0..layout.channels()).collect(),
        }
    }

    /// The configuration with `extension` (SBR or PS) signalled explicitly; `None` if the channels are not those of a
    /// channel configuration.
    pub fn hierarchical(&self, extension: u32, rate: u32) -> Option<Vec<u8>> {
        if self.channel_configuration == 0 {
            return None;
        }
        let mut bits = BitWriter::default();
        bits.put(extension, 5);
        bits.put_frequency(self.core_rate);
        bits.put(self.channel_configuration, 4);
        bits.put_frequency(rate);
        bits.put(self.object_type, 5);
        self.put_general_audio(&mut bits);
        Some(bits.bytes())
    }
}
