//! One `trak` box: its header, its coding, its edits and its sample table.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::boxes::{BoxHeader, BoxReader, Boxes, Fields, FourCc, SliceBox};
use super::chunk_runs::ChunkRuns;
use super::edit_list;
use super::metadata::{FoundMetadata, Place};
use super::sample_entry::{self, SampleEntry};
use super::sample_table::{SampleTable, Sizes};
use crate::codec::{Codec, CodecParameters, Description};
use crate::error::{Error, Result};
use crate::timeline::{Edit, rescale};

/// The most bytes of an `stsd` or `elst`: they are small, apart from cover art in FLAC's metadata.
const LEAF_LIMIT: u64 = 1 << 20;

/// The most bytes of sample tables, of all tracks together: 64 million samples.
const TABLE_LIMIT: u64 = 256 << 20;

/// What a `trak` box says, uninterpreted.
#[derive(Debug, Default)]
pub struct Trak {
    /// Offset of the box.
    pub at: u64,
    pub id: u32,
    pub enabled: bool,
    pub timescale: u32,
    /// `language` of `mdhd`, or QuickTime's language number.
    pub language: u16,
    pub handler: Option<FourCc>,
    /// The media header box (`smhd`, `vmhd` and so on).
    media_header: Option<FourCc>,
    pub edits: Vec<Edit>,
    /// Payload of `stsd` and where it begins.
    pub stsd: (Vec<u8>, u64),
    pub table: Arc<SampleTable>,
    /// Which of its data references (`dref`) are other files than this.
    elsewhere: Vec<bool>,
    /// The tracks that `tref`/`chap` names.
    pub chapters: Vec<u32>,
    /// What was wrong with it and could be passed over.
    pub passed_over: Vec<Error>,
    /// Why it could not be read to its end.
    pub fault: Option<Error>,
}

/// The most faults of a track that are kept.
const MAX_PASSED_OVER: usize = 8;

/// The most sample entries of a track.
const MAX_ENTRIES: usize = 64;

/// The most tracks that one track may name as its chapters: titles and pictures.
const MAX_CHAPTER_TRACKS: usize = 16;

/// The most bytes of sample descriptions and edit lists, of all tracks together.
const DESCRIPTION_LIMIT: u64 = 16 << 20;

/// How many bytes may still be read of all tracks.
#[derive(Debug)]
pub struct Budget {
    tables: u64,
    descriptions: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            tables: TABLE_LIMIT,
            descriptions: DESCRIPTION_LIMIT,
        }
    }
}

impl Budget {
    fn take_table(&mut self, table: &BoxHeader) -> Result<()> {
        let size = table.end - table.payload;
        self.tables = self.tables.checked_sub(size).ok_or_else(|| Error::Limit {
            at: table.at,
            what: format!(
                "the size of the sample tables with `{}` ({size} bytes)",
                table.kind
            ),
            limit: TABLE_LIMIT,
        })?;
        Ok(())
    }

    /// Reads the payload of an `stsd` or `elst`.
    fn description(&mut self, reader: &mut BoxReader<'_>, leaf: &BoxHeader) -> Result<Vec<u8>> {
        let payload = reader.payload(leaf, LEAF_LIMIT.min(self.descriptions))?;
        self.descriptions -= payload.len() as u64;
        Ok(payload)
    }
}

impl Trak {
    /// Reads the box `header`. What is wrong with it is kept in `fault`, so that the other tracks of the file can still
    /// be used. Only a source that fails is an error.
    pub fn read(
        reader: &mut BoxReader<'_>,
        header: &BoxHeader,
        budget: &mut Budget,
        metadata: &mut FoundMetadata,
    ) -> Result<Trak> {
        let mut trak = Trak {
            at: header.at,
            ..Trak::default()
        };
        match trak.read_children(reader, header, budget, metadata) {
            Ok(()) => {}
            Err(e @ Error::Read(_)) => return Err(e),
            Err(fault) => {
                trak.fault.get_or_insert(fault);
            }
        }
        Ok(trak)
    }

    /// Goes on after a box that the audio can be found without, if it is malformed. What is over a limit is a fault of
    /// the track all the same.
    fn pass_over(&mut self, read: Result<()>) -> Result<()> {
        match read {
            Err(fault @ Error::Malformed { .. }) => {
                if self.passed_over.len() < MAX_PASSED_OVER {
                    self.passed_over.push(fault);
                }
            }
            Err(fault @ Error::Limit { .. }) => {
                self.fault.get_or_insert(fault);
            }
            other => return other,
        }
        Ok(())
    }

    /// Whether it is sound: where no `hdlr` says what it is, by its media header, or else by how it is coded.
    pub fn is_audio(&self) -> bool {
        match (self.handler, self.media_header) {
            (Some(handler), _) => handler.0 == *b"soun",
            (None, Some(header)) => header.0 == *b"smhd",
            (None, None) => sample_entry::audio(&self.stsd.0, self.stsd.1, 1)
                .is_ok_and(|found| !matches!(found.parameters.codec, Codec::Other(_))),
        }
    }

    /// Whether its samples may be chapter titles.
    pub fn is_text(&self) -> bool {
        match self.handler.as_ref().map(|handler| &handler.0) {
            Some(b"text" | b"sbtl") => true,
            // Subtitles of other codings are no plain text.
            Some(b"subt") => matches!(self.coding_name(), Some(b"tx3g" | b"text")),
            _ => false,
        }
    }

    /// Whether it may turn out to be text, once its sample description is known.
    fn may_be_text(&self) -> bool {
        self.is_text() || self.handler.is_some_and(|h| h.0 == *b"subt")
    }

    /// The four-character code of its first sample entry.
    fn coding_name(&self) -> Option<&[u8; 4]> {
        self.stsd.0.get(12..)?.first_chunk()
    }

    /// Whether its samples may be the pictures of chapters, as far as its sample description says.
    pub fn is_picture(&self) -> bool {
        /// JPEG and PNG in QuickTime, and whatever MPEG-4 has a number for.
        const CODINGS: [&[u8; 4]; 3] = [b"jpeg", b"png ", b"mp4v"];
        let coding = self.coding_name();
        self.is_video() && coding.is_some_and(|coding| CODINGS.contains(&coding))
    }

    fn is_video(&self) -> bool {
        self.handler.is_some_and(|h| h.0 == *b"vide")
    }

    /// How its samples are coded. Where its table counts PCM samples, it counts packets afterwards. There may be
    /// samples in fragments too, by default of the sample entry `fragmented`.
    pub fn coding(&mut self, fragmented: Option<u32>) -> Result<CodecParameters> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.stsd.0.is_empty() {
            return Err(Error::malformed(
                self.at,
                "trak",
                "it has no sample description (stsd)",
            ));
        }
        let first = match (self.table.samples(), fragmented) {
            (0, Some(default)) => default,
            _ => self.table.first_entry(),
        };
        let entries = self.entries(first, fragmented.is_some())?;
        let mut parameters = self.first_readable(first, &entries)?;
        parameters.others = self.others(&parameters, entries);
        if let Some(table) = in_packets(&self.table, self.timescale, &parameters)? {
            self.table = Arc::new(table);
        }
        Ok(parameters)
    }

    /// What sample entry `first` says, or the first of `entries` that can be read: what has one that cannot, such as the
    /// encrypted part of a track, is then silence.
    fn first_readable(&mut self, first: u32, entries: &BTreeSet<u32>) -> Result<CodecParameters> {
        let why = match self.entry(first) {
            Ok(found) => {
                self.passed_over.extend(found.assumed);
                return Ok(found.parameters);
            }
            Err(why) => why,
        };
        let mut readable = entries.iter().filter_map(|&entry| self.entry(entry).ok());
        let found = readable.find(|found| !matches!(found.parameters.codec, Codec::Other(_)));
        found.map(|found| found.parameters).ok_or(why)
    }

    /// What sample entry `index` says.
    fn entry(&self, index: u32) -> Result<SampleEntry> {
        self.check_place_of(index)?;
        let mut found = sample_entry::audio(&self.stsd.0, self.stsd.1, index)?;
        found.parameters.sample_rate = self.sample_rate(&found.parameters);
        Ok(found)
    }

    /// Refuses a track whose media, by its first sample entry, is not in this file.
    pub fn check_place(&self) -> Result<()> {
        self.check_place_of(self.table.first_entry())
    }

    fn check_place_of(&self, entry: u32) -> Result<()> {
        let reference = sample_entry::data_reference(&self.stsd.0, self.stsd.1, entry);
        let index = usize::from(reference.unwrap_or(1)).saturating_sub(1);
        match self.elsewhere.get(index) {
            Some(true) => Err(Error::unsupported("media that is kept in another file")),
            _ => Ok(()),
        }
    }

    /// The sample entries that samples have, among them `first`. Of fragments it is not known which they use.
    fn entries(&self, first: u32, fragmented: bool) -> Result<BTreeSet<u32>> {
        let declared = (1..=MAX_ENTRIES as u32 + 1)
            .take_while(|&index| sample_entry::exists(&self.stsd.0, self.stsd.1, index))
            .filter(|_| fragmented);
        let mut entries = BTreeSet::from([first]);
        for entry in self.table.entries().chain(declared) {
            entries.insert(entry);
            if entries.len() > MAX_ENTRIES {
                return Err(Error::Limit {
                    at: self.stsd.1,
                    what: "the number of sample entries of a track".into(),
                    limit: MAX_ENTRIES as u64,
                });
            }
        }
        Ok(entries)
    }

    /// What those of `entries` say that say something else than `first`.
    fn others(&self, first: &CodecParameters, mut entries: BTreeSet<u32>) -> Vec<Description> {
        entries.remove(&first.entry);
        let others = entries.into_iter().map(|entry| {
            let found = self.entry(entry).map(|found| found.parameters);
            Description::new(entry, found)
        });
        let differs = |other: &Description| match &other.parameters {
            Ok(parameters) => !parameters.says_the_same(first),
            Err(_) => true,
        };
        others.filter(differs).collect()
    }

    /// Hz, where the 16 bits of the sample entry may not hold them: writers then leave out the upper bits, or all. The
    /// timescale is the rate of all but a few tracks.
    fn sample_rate(&self, parameters: &CodecParameters) -> u32 {
        let declared = parameters.sample_rate;
        let ticks = match (&parameters.codec, self.table.durations.first()) {
            (Codec::Pcm(_), Some(run)) => run.delta.max(1),
            _ => 1,
        };
        let by_time = self.timescale / ticks;
        let is_cut = by_time > 0xFFFF && by_time & 0xFFFF == declared;
        match declared == 0 || is_cut {
            true => by_time,
            false => declared,
        }
    }

    fn read_children(
        &mut self,
        reader: &mut BoxReader<'_>,
        header: &BoxHeader,
        budget: &mut Budget,
        metadata: &mut FoundMetadata,
    ) -> Result<()> {
        reader.each_child(header, |reader, child| {
            let read = match &child.kind.0 {
                b"tkhd" => self.read_tkhd(reader, child),
                b"mdia" => return self.read_mdia(reader, child, budget),
                b"edts" => self.read_edts(reader, child, budget),
                b"tref" => self.read_tref(reader, child),
                // Before `mdia` the kind of track is not known.
                b"udta" if self.handler.is_none() || self.is_audio() => {
                    return metadata.read(reader, child, Place::TrackUdta(header.at));
                }
                b"meta" if self.handler.is_none() || self.is_audio() => {
                    return metadata.read(reader, child, Place::TrackMeta(header.at));
                }
                _ => return Ok(()),
            };
            self.pass_over(read)
        })
    }

    fn read_tkhd(&mut self, reader: &mut BoxReader<'_>, header: &BoxHeader) -> Result<()> {
        let payload = reader.payload(header, LEAF_LIMIT)?;
        let mut fields = fields_of(header, &payload);
        let (version, flags) = fields.version_and_flags()?;
        self.enabled = flags & 1 != 0;
        let _times = (fields.u32_or_u64(version)?, fields.u32_or_u64(version)?);
        self.id = fields.u32()?;
        let _reserved = fields.u32()?;
        let _duration = fields.u32_or_u64(version)?;
        Ok(())
    }

    fn read_mdia(
        &mut self,
        reader: &mut BoxReader<'_>,
        header: &BoxHeader,
        budget: &mut Budget,
    ) -> Result<()> {
        reader.each_child(header, |reader, child| {
            match &child.kind.0 {
                b"mdhd" => {
                    let read = self.read_mdhd(reader, child);
                    self.pass_over(read)?;
                }
                b"hdlr" => {
                    let [.., a, b, c, d] = reader.head::<12>(child)?;
                    // Some writers leave it empty.
                    self.handler = Some(FourCc([a, b, c, d])).filter(|h| h.0 != [0; 4]);
                }
                // Before `hdlr` the kind of track is not known.
                b"minf"
                    if self.handler.is_none()
                        || self.is_audio()
                        || self.may_be_text()
                        || self.is_video() =>
                {
                    self.read_minf(reader, child, budget)?;
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn read_mdhd(&mut self, reader: &mut BoxReader<'_>, header: &BoxHeader) -> Result<()> {
        let payload = reader.payload(header, LEAF_LIMIT)?;
        let mut fields = fields_of(header, &payload);
        let (version, _) = fields.version_and_flags()?;
        let _times = (fields.u32_or_u64(version)?, fields.u32_or_u64(version)?);
        let timescale = fields.u32()?;
        // The sample table is more reliable than this duration. Where there is no room for it, nothing before it is
        // what the version says.
        let _duration = fields.u32_or_u64(version)?;
        self.timescale = timescale;
        self.language = fields.u16()?;
        Ok(())
    }

    fn read_minf(
        &mut self,
        reader: &mut BoxReader<'_>,
        header: &BoxHeader,
        budget: &mut Budget,
    ) -> Result<()> {
        reader.each_child(header, |reader, child| match &child.kind.0 {
            b"smhd" | b"vmhd" | b"hmhd" | b"nmhd" | b"sthd" | b"gmhd" => {
                self.media_header = Some(child.kind);
                Ok(())
            }
            b"stbl" => self.read_stbl(reader, child, budget),
            b"dinf" => reader.each_child(child, |reader, child| match &child.kind.0 {
                b"dref" => self.read_dref(reader, child, budget),
                _ => Ok(()),
            }),
            _ => Ok(()),
        })
    }

    /// Reads where the media is (ISO/IEC 14496-12, 8.7.2): in this file, by the flag of an entry, or where the entry
    /// says. One that says nothing can mean this file alone.
    fn read_dref(
        &mut self,
        reader: &mut BoxReader<'_>,
        header: &BoxHeader,
        budget: &mut Budget,
    ) -> Result<()> {
        const SELF_CONTAINED: u32 = 1;
        let payload = budget.description(reader, header)?;
        let entries = payload.get(8..).unwrap_or_default();
        self.elsewhere = Boxes::new(entries, header.payload + 8)
            .map_while(|entry| {
                let mut fields = entry.ok()?.fields();
                let (_, flags) = fields.version_and_flags().ok()?;
                let names_a_place = fields.rest().iter().any(|&byte| byte != 0);
                Some(flags & SELF_CONTAINED == 0 && names_a_place)
            })
            .collect();
        Ok(())
    }

    fn read_stbl(
        &mut self,
        reader: &mut BoxReader<'_>,
        header: &BoxHeader,
        budget: &mut Budget,
    ) -> Result<()> {
        let (mut table, mut chunks) = (SampleTable::default(), None);
        reader.each_child(header, |reader, child| {
            match &child.kind.0 {
                b"stsd" => self.stsd = (budget.description(reader, child)?, child.payload),
                // The tables of video are never read.
                _ if self.is_video() && !self.is_picture() => {}
                b"stsc" => {
                    budget.take_table(child)?;
                    chunks = Some(ChunkRuns::read(reader, child)?);
                }
                b"stts" | b"ctts" | b"stsz" | b"stz2" | b"stco" | b"co64" => {
                    budget.take_table(child)?;
                    if let Some(repaired) = table.read_box(reader, child)? {
                        self.pass_over(Err(repaired))?;
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        if let Some(chunks) = chunks
            && let Some(repaired) = table.settle_chunks(chunks)?
        {
            self.pass_over(Err(repaired))?;
        }
        table.check(header.at)?;
        self.table = Arc::new(table);
        Ok(())
    }

    fn read_edts(
        &mut self,
        reader: &mut BoxReader<'_>,
        header: &BoxHeader,
        budget: &mut Budget,
    ) -> Result<()> {
        reader.each_child(header, |reader, child| {
            if child.kind.0 == *b"elst" {
                let payload = budget.description(reader, child)?;
                self.edits.clear();
                edit_list::read(fields_of(child, &payload), &mut self.edits)?;
            }
            Ok(())
        })
    }

    fn read_tref(&mut self, reader: &mut BoxReader<'_>, header: &BoxHeader) -> Result<()> {
        reader.each_child(header, |reader, child| {
            if child.kind.0 == *b"chap" {
                let payload = reader.payload(child, 4096)?;
                let (ids, _) = payload.as_chunks::<4>();
                let room = MAX_CHAPTER_TRACKS - self.chapters.len();
                let ids = ids.iter().map(|&id| u32::from_be_bytes(id));
                self.chapters.extend(ids.take(room));
            }
            Ok(())
        })
    }
}

/// The table with the true sizes of samples, where QuickTime writes others: 1 for uncompressed audio, and the sizes of
/// single PCM samples for codecs of constant bitrate. A sample of uncompressed audio may also hold several instants, and
/// lasts as long as those do where the table gives no times.
fn in_packets(
    table: &SampleTable,
    timescale: u32,
    parameters: &CodecParameters,
) -> Result<Option<SampleTable>> {
    let counts_pcm = matches!(table.durations[..], [run] if run.delta == 1);
    match (&parameters.codec, parameters.block, &table.sizes) {
        (Codec::Pcm(_), _, Sizes::Each(_)) if table.duration() > 0 => Ok(None),
        (Codec::Pcm(layout), _, sizes) => {
            let instant = u32::from(layout.width) * u32::from(parameters.channels);
            // Of a clock that counts packets, each lasts one unit as well.
            let counts_packets = |size: u32| {
                let instants = u64::from(size) / u64::from(instant.max(1)) * u64::from(timescale);
                timescale != parameters.sample_rate && instants == u64::from(parameters.sample_rate)
            };
            let mut table = SampleTable {
                sizes: match *sizes {
                    Sizes::Constant { size, count }
                        if counts_pcm && !counts_packets(size) || size < instant =>
                    {
                        let size = instant.max(1);
                        Sizes::Constant { size, count }
                    }
                    ref sizes => sizes.clone(),
                },
                ..table.clone()
            };
            if table.duration() == 0 {
                let rate = parameters.sample_rate;
                let timescale = if timescale == 0 { rate } else { timescale };
                table.set_durations(|size| {
                    let instants = u64::from(size / instant.max(1));
                    u32::try_from(rescale(instants, timescale, rate)).unwrap_or(u32::MAX)
                });
            }
            Ok(Some(table))
        }
        (_, Some(block), Sizes::Constant { .. }) if counts_pcm => Ok(Some(table.in_blocks(block))),
        (codec, _, Sizes::Constant { size: 1, .. }) if counts_pcm => Err(Error::unsupported(
            format!("{codec} without packet sizes (QuickTime sound of constant bit rate)"),
        )),
        _ => Ok(None),
    }
}

/// The fields of a leaf whose payload has been read.
fn fields_of<'a>(header: &BoxHeader, payload: &'a [u8]) -> Fields<'a> {
    SliceBox {
        kind: header.kind,
        at: header.at,
        payload_at: header.payload,
        payload,
    }
    .fields()
}

/// ISO 639-2/T code of a `language` field: three letters of five bits, or in QuickTime a Macintosh language code
/// (QuickTime File Format, "Language code values"); `None` if it is undetermined.
pub fn language(code: u16) -> Option<String> {
    /// The first Macintosh languages, by code.
    const MACINTOSH: [&str; 24] = [
        "eng", "fra", "deu", "ita", "nld", "swe", "spa", "dan", "por", "nor", "heb", "jpn", "ara",
        "fin", "ell", "isl", "mlt", "tur", "hrv", "zho", "urd", "hin", "tha", "kor",
    ];
    if code < 0x400 {
        return MACINTOSH.get(usize::from(code)).map(|&s| s.to_owned());
    }
    let letter = |shift: u16| match code >> shift & 0x1F {
        n @ 1..=26 => Some(char::from(b'`' + n as u8)),
        _ => None,
    };
    let code: String = [letter(10)?, letter(5)?, letter(0)?].iter().collect();
    (code != "und").then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_packed_letters_or_numbers_of_the_macintosh() {
        assert_eq!(language(0x15C7).as_deref(), Some("eng"));
        assert_eq!(language(0x10B5).as_deref(), Some("deu"));
        assert_eq!(language(0x55C4), None, "und");
        assert_eq!(language(2).as_deref(), Some("deu"));
        assert_eq!(language(0x3FF), None);
        assert_eq!(language(0x7FFF), None, "unspecified");
    }
}
