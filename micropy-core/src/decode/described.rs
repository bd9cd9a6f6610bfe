//! Tracks whose packets are of several sample entries: each packet goes to the decoder of its own.
//!
//! Where such a track changes, no decoder can be restarted from the packets before, so it is decoded [in
//! order](super::InOrder).

use super::{DecodeError, Decoder, Format, reconfigured};
use crate::codec::{CodecParameters, Description};
use crate::pcm::{Layout, Pcm};

/// The decoders of one track.
pub struct Described {
    format: Format,
    /// The sample entry of the packets to come.
    entry: u32,
    first: Box<dyn Decoder>,
    others: Vec<Other>,
    decoded: Pcm,
}

/// A sample entry other than the first packet's.
struct Other {
    description: Description,
    decoder: Option<Opened>,
}

/// A decoder and the layout of what it decodes, or why there is none.
type Opened = Result<(Box<dyn Decoder>, Layout), String>;

impl Described {
    /// A decoder by `first` of all packets but those of `track`'s other sample entries.
    pub fn new(first: Box<dyn Decoder>, track: &CodecParameters, format: &Format) -> Self {
        let others = track.others.iter().cloned();
        Described {
            format: format.clone(),
            entry: track.entry,
            first,
            others: others
                .map(|description| Other {
                    description,
                    decoder: None,
                })
                .collect(),
            decoded: Pcm::default(),
        }
    }
}

impl Decoder for Described {
    fn follow(&mut self, entry: u32) {
        self.entry = entry;
    }

    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let entry = self.entry;
        let mut others = self.others.iter_mut();
        let Some(other) = others.find(|other| other.description.entry == entry) else {
            return self.first.decode(packet, pcm);
        };
        let opened = match &mut other.decoder {
            Some(opened) => opened,
            none => none.insert(open(&other.description, &self.format, packet)),
        };
        let (decoder, layout) = opened
            .as_mut()
            .map_err(|why| DecodeError(format!("sample entry {entry}: {why}")))?;
        self.decoded.reset(layout.channels());
        decoder.decode(packet, &mut self.decoded)?;
        reconfigured::place(&self.decoded, *layout, pcm, self.format.layout);
        Ok(())
    }
}

/// The decoder of the packets of another sample entry, of which `packet` is the first.
fn open(
    description: &Description,
    format: &Format,
    packet: &[u8],
) -> Result<(Box<dyn Decoder>, Layout), String> {
    let track = description.parameters.as_ref().map_err(String::clone)?;
    let own = super::inspect(track, &[packet]).map_err(|e| e.to_string())?;
    if own.sample_rate != format.sample_rate {
        return Err(format!(
            "{} at {} Hz, where the track begins with {} Hz",
            own.codec, own.sample_rate, format.sample_rate
        ));
    }
    let decoder = super::decoder(track, &own).map_err(|e| e.to_string())?;
    Ok((decoder, own.layout))
}
