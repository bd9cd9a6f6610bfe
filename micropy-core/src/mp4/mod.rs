//! ISO base media files (ISO/IEC 14496-12, -14; QuickTime): from bytes to the packets of one audio track.
//!
//! Boxes ▶ sample table or fragments ▶ edit list ▶ packets. Only what the audio needs is read.

use crate::codec::CodecParameters;
use crate::error::Result;
use crate::source::Source;

/// What `moov` (and, for fragmented files, what precedes the first fragment) says of the file.
#[derive(Debug)]
pub struct Movie {
    /// Major brand of `ftyp`, such as `isom`, `M4A `, `qt  `.
    pub brand: Option<[u8; 4]>,
    /// The audio tracks, in file order.
    pub audio: Vec<AudioTrack>,
    /// How many tracks are not audio.
    pub other_tracks: usize,
    /// There is an `mvex`: packets also stand in movie fragments.
    pub fragmented: bool,
    /// What was odd but could be read.
    pub warnings: Vec<String>,
}

/// One audio track.
#[derive(Debug)]
pub struct AudioTrack {
    /// `track_ID`.
    pub id: u32,
    /// `track_enabled` of `tkhd`.
    pub enabled: bool,
    /// `alternate_group` of `tkhd`.
    pub alternate_group: i16,
    /// ISO 639-2/T code, if it is not `und`.
    pub language: Option<String>,
    /// Units per second of all times of the track.
    pub timescale: u32,
    /// How the audio is coded; an error where the sample entry cannot be used (encrypted, unknown), so
    /// that another track of the file can still be.
    pub codec: Result<CodecParameters>,
    /// Which part of the media is presented.
    pub edit: Edit,
    /// Sum of the sample durations in `timescale` units: exact in a plain file; in a fragmented one what
    /// is known before the fragments are read (`mehd`, `sidx`), else `None`.
    pub duration: Option<u64>,
    /// Number of samples, where known before the fragments are read.
    pub samples: Option<u64>,
}

/// The presented part of a track's media (`edts`/`elst`, first non-empty edit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Length of the empty edits before it, in `timescale` units: a late start.
    pub delay: u64,
    /// `media_time` of the edit in `timescale` units: what is skipped at the start.
    pub start: u64,
    /// Presented length in `timescale` units; `None`: to the end. Already corrected for the coarse movie
    /// timescale: within one movie tick of the media's own end it is `None`.
    pub length: Option<u64>,
}

/// One packet: an ISO *sample* once it leaves this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Byte offset in the source.
    pub offset: u64,
    /// Bytes as declared.
    pub size: u32,
    /// Duration in timescale units.
    pub duration: u32,
    /// How many bytes of it were read: less than `size` where the file ends early.
    pub read: u32,
}

/// The forward reader of one track's packets, through the sample table and any fragments after it.
pub struct Packets {}

impl Movie {
    /// Walks the file up to and including `moov`, wherever it stands.
    pub fn read(_source: &mut dyn Source) -> Result<Movie> {
        unimplemented!()
    }

    /// Starts reading the packets of `self.audio[track]`.
    pub fn packets(&self, _source: &mut dyn Source, _track: usize) -> Result<Packets> {
        unimplemented!()
    }
}

impl Packets {
    /// Appends the next packet's bytes to `data`; `None` after the last one. A packet that is not wholly
    /// there is given with what there is (`read < size`); the file has then ended, and `None` follows.
    pub fn next(
        &mut self,
        _source: &mut dyn Source,
        _data: &mut Vec<u8>,
    ) -> Result<Option<Packet>> {
        unimplemented!()
    }
}
