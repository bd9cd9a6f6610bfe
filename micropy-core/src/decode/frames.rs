//! Packets of several frames: some writers put more than one into each.

use super::DecodeError;
use crate::pcm::Pcm;

/// PCM samples of every packet, by those of the first ones: `None` where they differ. The last one of a track may have
/// fewer.
pub fn packet_len(lens: &[u32]) -> Option<u32> {
    let (first, rest) = lens.split_first()?;
    let Some((last, between)) = rest.split_last() else {
        return Some(*first);
    };
    let alike = between.iter().all(|len| len == first) && last <= first;
    alike.then_some(*first)
}

/// How long packets are, where not all of them are as long as the first ones: they tell it themselves, without decoding.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// PCM samples of a packet, by itself and `unit`; `None`: it does not tell.
    pub tell: fn(&[u8], u32) -> Option<u32>,
    /// What `tell` needs to know of the track: PCM samples of a frame, or bytes of an instant.
    pub unit: u32,
    /// All lengths are multiples of so many PCM samples.
    pub step: u32,
    /// Packets of any such length may follow each other, so that a slightly different duration may mean another length.
    /// Otherwise only their number of frames can differ.
    pub vary: bool,
    /// A damaged packet may tell another length. The container is believed where it says that a packet is as long as the
    /// first ones.
    pub doubtful: bool,
}

impl Lengths {
    /// Of packets that hold whole frames of `frame_len` PCM samples, as many as `count` finds.
    pub fn of_frames(tell: fn(&[u8], u32) -> Option<u32>, frame_len: u32) -> Lengths {
        Lengths {
            tell,
            unit: frame_len,
            step: frame_len,
            vary: false,
            doubtful: false,
        }
    }

    /// PCM samples of `packet`, of which the container says, or not, that it `is_usual`; `None`: it does not tell.
    pub fn of(&self, packet: &[u8], is_usual: bool) -> Option<u32> {
        if self.doubtful && is_usual {
            return None;
        }
        (self.tell)(packet, self.unit).filter(|&len| len > 0)
    }
}

/// PCM samples of every packet as [`packet_len`] has it, by what the first ones tell of themselves.
pub fn told_len(first_packets: &[&[u8]], tell: impl Fn(&[u8]) -> Option<u32>) -> Option<u32> {
    let lens: Option<Vec<u32>> = first_packets.iter().map(|packet| tell(packet)).collect();
    packet_len(&lens?).filter(|&len| len > 0)
}

/// Decodes the frames of one packet by `decode`, one after the other. Silence of `frame_len` PCM samples takes the
/// place of one that cannot be decoded, so that those after it keep theirs; the first such error is returned.
pub fn decode<F>(
    frames: impl IntoIterator<Item = Result<F, DecodeError>>,
    frame_len: usize,
    pcm: &mut Pcm,
    mut decode: impl FnMut(F, &mut Pcm) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let start = pcm.len();
    let mut end = start;
    let (mut fault, mut sound) = (None, false);
    for frame in frames {
        let decoded = frame.and_then(|frame| decode(frame, pcm));
        match decoded {
            Ok(()) => {
                sound = true;
                end = pcm.len();
            }
            Err(why) => {
                fault.get_or_insert(why);
                end += frame_len;
                pcm.resize(end);
            }
        }
    }
    if !sound {
        pcm.resize(start);
    }
    fault.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_packet_alone_may_be_shorter() {
        for (lens, expected) in [
            (&[][..], None),
            (&[1152], Some(1152)),
            (&[2304, 1152], Some(2304)),
            (&[2304, 2304, 2304], Some(2304)),
            (&[2304, 1152, 2304], None),
            (&[1152, 1152, 2304], None),
        ] {
            assert_eq!(packet_len(lens), expected, "{lens:?}");
        }
    }

    #[test]
    fn silence_stands_for_a_frame_that_cannot_be_decoded() {
        let frame = |&value: &i32, pcm: &mut Pcm| match value {
            0 => Err(DecodeError("nothing".into())),
            value => {
                pcm.planes_mut()[0].extend([value as f32; 2]);
                Ok(())
            }
        };
        let mut pcm = Pcm::new(1);
        let result = decode([1, 0, 3].iter().map(Ok), 2, &mut pcm, frame);
        assert_eq!(pcm.plane(0), [1.0, 1.0, 0.0, 0.0, 3.0, 3.0]);
        assert!(result.is_err());
        assert!(decode([0, 0].iter().map(Ok), 2, &mut pcm, frame).is_err());
        assert_eq!(pcm.len(), 6, "nothing is appended without sound");
    }
}
