//! What of a video the conversion of its sound reads: a smaller file that makes the same MP3.

use crate::audio;
use crate::decode;
use crate::error::{Error, Result};
use crate::mp4::{self, Movie, Outline, SoundPiece};
use crate::options::TrackChoice;
use crate::progress::CancelToken;
use crate::source::Cancellable;

/// An MP4 file of the sound alone: one audio track, the titles and pictures of its chapters, and all tags. Whatever the
/// options, as long as the track is the same, it is converted to the same MP3 as the file that it was taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SoundOnly {
    /// Its pieces, one after the other.
    pub pieces: Vec<SoundPiece>,
    /// Bytes of all of them.
    pub size: u64,
}

/// Finds what of a file is its sound, by its outline alone.
///
/// ```
/// use micropy_core::{CancelToken, Outline, SoundPiece, TrackChoice, sound_only};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = std::fs::read("tests/media/moov-last-stereo-44100.mp4")?;
/// // A client sends these bytes, and no more.
/// let outline = Outline::of(&mut &file[..])?;
/// let sound = sound_only(&outline, &TrackChoice::Default, &CancelToken::new())?;
/// let mut smaller: Vec<u8> = Vec::new();
/// for piece in &sound.pieces {
///     match piece {
///         SoundPiece::Bytes(bytes) => smaller.extend(bytes),
///         SoundPiece::Range(range) => smaller.extend(&file[range.start as usize..range.end as usize]),
///     }
/// }
/// assert!(smaller.len() < file.len());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Where the sound cannot be taken out so that the MP3 is the same for certain, which is so for damaged and unusual
/// files: convert the whole file then. [`Error::Cancelled`] once `cancel` is.
pub fn sound_only(
    outline: &Outline,
    choice: &TrackChoice,
    cancel: &CancelToken,
) -> Result<SoundOnly> {
    take_out(outline, choice, cancel).map_err(|error| cancel.explain(error))
}

fn take_out(outline: &Outline, choice: &TrackChoice, cancel: &CancelToken) -> Result<SoundOnly> {
    let mut file = outline.file();
    let movie = Movie::read(&mut Cancellable::new(&mut file, cancel))?;
    let track = audio::choose(&movie, choice)?;
    match &movie.audio[track].codec {
        Ok(parameters) => decode::check(parameters)?,
        Err(why) => return Err(Error::unsupported(why.to_string())),
    }
    let pieces = mp4::alone(outline, &movie, track)?;

    let mut new = mp4::file(&pieces);
    let of_new = Movie::read(&mut new)?;
    let warning = |movie: &Movie| match choice {
        TrackChoice::Default => audio::passed_over(&movie.audio, track),
        _ => None,
    };
    if audio::choose(&of_new, choice)? != track || warning(&movie) != warning(&of_new) {
        return Err(Error::unsupported(
            "a file of which another track would be chosen",
        ));
    }
    mp4::check_same((&mut file, &movie), (&mut new, &of_new), track, cancel)?;

    let size = pieces.iter().map(SoundPiece::size).sum();
    Ok(SoundOnly { pieces, size })
}
