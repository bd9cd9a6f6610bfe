//! What only the FDK decoder needs of an AudioSpecificConfig.

use super::aac_config::{AacConfig, BitWriter, Element, Extension, ProgramConfig, object_type};
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

    /// The configuration with its program_config_element in an order that the library takes; `None` if it is in one.
    pub fn reordered(&self) -> Option<Vec<u8>> {
        let program = self.program_config.as_ref()?;
        if self.object_type != object_type::LC || program.is_ordered() {
            return None;
        }
        let program = program.reordered();
        let mut bits = BitWriter::default();
        let extension = match (self.sbr, self.ps) {
            (Extension::Present(rate), Extension::Present(())) => Some((object_type::PS, rate)),
            (Extension::Present(rate), _) => Some((object_type::SBR, rate)),
            _ => None,
        };
        bits.put(extension.map_or(self.object_type, |(kind, _)| kind), 5);
        bits.put_frequency(self.core_rate);
        bits.put(0, 4);
        if let Some((_, rate)) = extension {
            bits.put_frequency(rate);
            bits.put(self.object_type, 5);
        }
        self.put_general_audio(&mut bits);
        program.put(&mut bits);
        Some(bits.bytes())
    }
}

impl ProgramConfig {
    /// The same elements in an order of the standard: the single ones in front, the pairs at the back. No channel
    /// configuration is like it, so that the library gives them as they are listed.
    fn reordered(&self) -> ProgramConfig {
        let all = [&self.front[..], &self.side, &self.back].concat();
        let (back, front) = all.into_iter().partition(|element| element.pair);
        ProgramConfig {
            front,
            side: Vec::new(),
            back,
            ..self.clone()
        }
    }

    /// Writes it as ISO/IEC 14496-3, 4.5.1.2 has it.
    fn put(&self, bits: &mut BitWriter) {
        // element_instance_tag, object_type (LC), sampling_frequency_index: nothing reads them.
        bits.put(0, 4);
        bits.put(1, 2);
        bits.put(3, 4);
        for (len, width) in [
            (self.front.len(), 4),
            (self.side.len(), 4),
            (self.back.len(), 4),
            (self.lfe.len(), 2),
            (self.data.len(), 3),
            (self.coupling.len(), 4),
        ] {
            bits.put(len as u32, width);
        }
        bits.put(0, 3); // no mixdown
        for &Element { pair, tag } in [&self.front, &self.side, &self.back].into_iter().flatten() {
            bits.put(u32::from(pair), 1);
            bits.put(tag, 4);
        }
        let tags = self.lfe.iter().chain(&self.data);
        tags.for_each(|&tag| bits.put(tag, 4));
        self.coupling.iter().for_each(|&tag| bits.put(tag, 5));
        bits.align();
        bits.put(0, 8); // no comment
    }
}
