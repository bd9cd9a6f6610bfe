//! Outlines that no client would send: rejected, or answered with parts that are there.

use micropy_core::{CancelToken, TrackChoice};

use super::{Encoding, SoundPart, find};

/// Whether it is the outline of a video whose sound can be taken out. Its first byte chooses a track, the next 7 are
/// the size of the video.
///
/// # Panics
/// When the parts are not what the video has, or not as many bytes as they should be.
pub fn outline(bytes: &[u8]) -> bool {
    let Some(([track, size @ ..], outline)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    let size = size
        .iter()
        .fold(0, |size, &byte| size << 8 | u64::from(byte));
    let choice = match track {
        0 => TrackChoice::Default,
        track => TrackChoice::Index(usize::from(track - 1)),
    };
    let outline = Encoding::Identity.decode(outline.to_vec()).ok();
    let found = outline.and_then(|outline| find(outline, size, &choice, &CancelToken::new()).ok());
    let Some(sound) = found else {
        return false;
    };
    let bytes = sound.parts.iter().map(|part| match part {
        SoundPart::Bytes(base64) => (base64.len() / 4 * 3) as u64,
        SoundPart::Stretch([offset, bytes]) => {
            assert!(offset.checked_add(*bytes).is_some_and(|end| end <= size));
            *bytes
        }
    });
    // The padding of base64 counts at most two bytes too many.
    let bytes: u64 = bytes.sum();
    assert!((sound.size..=sound.size + 2 * sound.parts.len() as u64).contains(&bytes));
    assert!(sound.size <= size);
    sound.whole.is_none()
}

#[cfg(test)]
mod tests {
    use super::outline;
    use crate::hostile::mutations;

    #[test]
    fn an_outline_is_rejected_or_answered_with_what_the_video_has() {
        let accepted = mutations("tests/seeds/outline", 3000).filter(|bytes| outline(bytes));
        let accepted = accepted.count();
        assert!(accepted > 50, "{accepted} of 3000");
    }
}
