//! Tracks whose packets are of several sample entries: each packet goes to the decoder of its own.
//!
//! Where such a track changes, no decoder can be restarted from the packets before, so it is decoded [in
//! order](super::InOrder).

use super::{DecodeError, Decoder, Format};
use crate::codec::{CodecParameters, Description};
use crate::pcm::{Layout, Pcm, Speaker};

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
        place(&self.decoded, *layout, pcm, self.format.layout)
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

/// Appends `from`, which is in the channels of `layout`, in those of `wanted`.
fn place(from: &Pcm, layout: Layout, to: &mut Pcm, wanted: Layout) -> Result<(), DecodeError> {
    let len = to.len() + from.len();
    if layout == Layout::MONO && !wanted.contains(Speaker::FrontCenter) {
        let planes = wanted.speakers().zip(to.planes_mut());
        let front = [Speaker::FrontLeft, Speaker::FrontRight];
        for (_, plane) in planes.filter(|(speaker, _)| front.contains(speaker)) {
            plane.extend(from.plane(0));
        }
    } else if let ([left, right], [mono]) = (from.planes(), &mut *to.planes_mut()) {
        mono.extend(left.iter().zip(right).map(|(l, r)| (l + r) / 2.0));
    } else {
        for (speaker, plane) in layout.speakers().zip(from.planes()) {
            let place = wanted.plane_of(speaker).ok_or_else(|| {
                let (found, channels) = (layout.channels(), wanted.channels());
                DecodeError(format!(
                    "{found} channels, where the track begins with {channels}"
                ))
            })?;
            to.planes_mut()[place].extend(plane);
        }
    }
    to.resize(len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_another_layout_find_their_places() {
        let stretch = |layout: Layout| {
            let mut pcm = Pcm::new(layout.channels());
            let planes = pcm.planes_mut().iter_mut();
            (1..)
                .zip(planes)
                .for_each(|(n, plane)| plane.push(n as f32));
            pcm
        };
        let placed = |from: Layout, wanted: Layout| {
            let mut to = Pcm::new(wanted.channels());
            place(&stretch(from), from, &mut to, wanted)
                .map(|()| to.planes().concat())
                .ok()
        };
        let surround = Layout::SURROUND_5_1;
        assert_eq!(placed(Layout::MONO, Layout::STEREO), Some(vec![1.0, 1.0]));
        assert_eq!(placed(Layout::STEREO, Layout::MONO), Some(vec![1.5]));
        assert_eq!(
            placed(Layout::STEREO, surround),
            Some(vec![1.0, 2.0, 0.0, 0.0, 0.0, 0.0])
        );
        assert_eq!(
            placed(Layout::MONO, surround),
            Some(vec![0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
        );
        assert_eq!(placed(surround, Layout::STEREO), None);
        assert_eq!(placed(surround, Layout::MONO), None);
    }
}
