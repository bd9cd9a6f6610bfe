//! A file opened for conversion: its audio track and its metadata.

use std::collections::VecDeque;

use crate::codec::CodecParameters;
use crate::decode::{self, Format, INSPECTED_PACKETS};
use crate::error::{Error, Result};
use crate::mp4::{AudioTrack, Movie, Packet, Packets};
use crate::options::TrackChoice;
use crate::source::Source;
use crate::tags::Metadata;
use crate::warning::Warning;

/// The audio track that is converted.
#[derive(Debug)]
pub struct Audio {
    movie: Movie,
    index: usize,
    parameters: CodecParameters,
    metadata: Metadata,
    warnings: Vec<Warning>,
}

/// The first packets of a track, and the reader of those that follow.
pub struct Beginning {
    /// What the track decodes to.
    pub format: Format,
    /// The packets that were read to find that out, with their bytes; at least one.
    pub ahead: VecDeque<(Packet, Vec<u8>)>,
    /// The packets after those.
    pub packets: Packets,
}

impl Audio {
    /// Reads everything before the packets, and chooses the track.
    pub fn read(choice: &TrackChoice, source: &mut dyn Source) -> Result<Audio> {
        let mut movie = Movie::read(source)?;
        let index = choose(&movie, choice)?;
        let parameters = match &movie.audio[index].codec {
            Ok(parameters) => parameters.clone(),
            Err(_) => movie.audio.swap_remove(index).codec?,
        };
        let mut warnings = std::mem::take(&mut movie.warnings);
        let mut metadata = movie.metadata();
        warnings.append(&mut metadata.warnings);
        let chapters = movie.chapters(source, index)?;
        if !chapters.is_empty() {
            metadata.chapters = chapters;
        }
        Ok(Audio {
            movie,
            index,
            parameters,
            metadata,
            warnings,
        })
    }

    /// The track.
    pub fn track(&self) -> &AudioTrack {
        &self.movie.audio[self.index]
    }

    /// Its coding.
    pub fn parameters(&self) -> &CodecParameters {
        &self.parameters
    }

    /// Tags, cover and chapters of the file.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The warnings so far.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Goes to the first packet.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there is not one whole packet; otherwise what the decoder says of a track that it
    /// cannot decode.
    pub fn begin(&self, source: &mut dyn Source) -> Result<Beginning> {
        begin(&self.movie, self.index, &self.parameters, source)
    }
}

/// As [`Audio::begin`], for any track of `movie`.
pub fn begin(
    movie: &Movie,
    index: usize,
    parameters: &CodecParameters,
    source: &mut dyn Source,
) -> Result<Beginning> {
    let mut packets = movie.packets(source, index)?;
    let mut ahead = VecDeque::new();
    let mut cut_at = None;
    while ahead.len() < INSPECTED_PACKETS && cut_at.is_none() {
        let mut data = Vec::new();
        match packets.next(source, &mut data)? {
            Some(packet) => {
                cut_at = (packet.read < packet.size).then_some(packet.offset);
                ahead.push_back((packet, data));
            }
            None => break,
        }
    }
    let whole = ahead
        .iter()
        .filter(|(packet, _)| packet.read == packet.size);
    let first: Vec<&[u8]> = whole.map(|(_, data)| data.as_slice()).collect();
    if first.is_empty() {
        let declared = packets.missing().packets;
        return Err(match cut_at {
            Some(at) => Error::malformed(
                at,
                "media",
                format!("the file ends before it: none of its {declared} packets is there"),
            ),
            None => Error::NoAudioTrack("there is one, but it has no packets".into()),
        });
    }
    let format = decode::inspect(parameters, &first).map_err(|e| match e {
        // Decoders see packets, but not where they are.
        Error::Malformed { at: 0, what, why } => Error::malformed(ahead[0].0.offset, what, why),
        e => e,
    })?;
    Ok(Beginning {
        format,
        ahead,
        packets,
    })
}

/// The audio track that `choice` means.
pub fn choose(movie: &Movie, choice: &TrackChoice) -> Result<usize> {
    let tracks = &movie.audio;
    if tracks.is_empty() {
        return Err(Error::NoAudioTrack(match movie.other_tracks {
            0 => "the file has no tracks at all".into(),
            1 => "its only track is not audio".into(),
            n => format!("none of its {n} tracks is audio"),
        }));
    }
    let found = match choice {
        TrackChoice::Default => {
            let usable = |t: &&AudioTrack| t.codec.is_ok();
            tracks
                .iter()
                .position(|t| t.enabled && usable(&t))
                .or_else(|| tracks.iter().position(|t| usable(&t)))
                .or(Some(0))
        }
        TrackChoice::Index(index) => (*index < tracks.len()).then_some(*index),
        TrackChoice::Language(language) => tracks
            .iter()
            .position(|t| t.language.as_deref() == Some(language)),
    };
    found.ok_or_else(|| {
        let languages: Vec<&str> = tracks
            .iter()
            .map(|t| t.language.as_deref().unwrap_or("und"))
            .collect();
        Error::NoAudioTrack(match choice {
            TrackChoice::Language(language) => {
                format!(
                    "none in the language {language}; there are {}",
                    languages.join(", ")
                )
            }
            TrackChoice::Default | TrackChoice::Index(_) => {
                format!("the audio tracks are numbered 0 to {}", tracks.len() - 1)
            }
        })
    })
}
