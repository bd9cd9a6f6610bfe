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

/// How long packets of several frames are: their headers tell, without decoding. A later packet may have more frames
/// than the first ones.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// The frames of a packet.
    pub count: fn(&[u8]) -> usize,
    /// PCM samples of each.
    pub frame_len: u32,
}

impl Lengths {
    /// PCM samples of `packet`; `None`: no frame is found in it.
    pub fn of(&self, packet: &[u8]) -> Option<u32> {
        let frames = u32::try_from((self.count)(packet)).ok()?;
        frames.checked_mul(self.frame_len).filter(|&len| len > 0)
    }
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
