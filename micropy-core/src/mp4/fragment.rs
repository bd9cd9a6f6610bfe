//! Movie fragments (`moof`; ISO/IEC 14496-12, 8.8): every track run becomes a small sample table.

use std::collections::VecDeque;
use std::sync::Arc;

use super::boxes::{BoxHeader, BoxReader, Fields, FourCc, is_first_kind, read_header};
use super::fragment_order::{Fragment, Order};
use super::heard::Run;
use super::movie::{Described, Movie};
use super::sample_table::{ChunkRun, Compact, SampleTable, Sizes};
use crate::error::{Error, Result};
use crate::source::Source;
use crate::timeline::rescale;
use crate::warning::Warning;

/// The most bytes of one `trun` box: a million samples with all four fields.
const RUN_LIMIT: u64 = 16 << 20;

/// The most bytes of the `trun` boxes of one track in one fragment.
const RUNS_LIMIT: u64 = 64 << 20;

/// The most track runs of one fragment.
const MAX_RUNS: usize = 1 << 16;

/// The most warnings kept.
const MAX_WARNINGS: usize = 100;

/// The most stretches of a file whose fragments are sorted.
const MAX_ORDERS: usize = 16;

/// The most fragments of one such stretch.
const MAX_SORTED: usize = 1 << 18;

/// Behind a first fragment that does not begin at 0, an earlier one is looked for among so many.
const LOOKED_THROUGH: usize = 16;

/// The defaults for samples in a run: `trex` of the track, overridden by `tfhd` of the track fragment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Timescale units.
    pub duration: u32,
    /// Bytes.
    pub size: u32,
    /// Index of the sample entry, counted from 1; 0 where nothing says so.
    pub entry: u32,
}

impl Defaults {
    /// Those of the track `id` among those of `all`.
    pub fn of(id: u32, all: &[(u32, Defaults)]) -> Defaults {
        let found = all.iter().find(|(other, _)| *other == id);
        found.map(|&(_, defaults)| defaults).unwrap_or_default()
    }

    /// Reads the payload of a `trex` box; also returns the id of the track.
    pub fn read(mut trex: Fields<'_>) -> Result<(u32, Defaults)> {
        trex.version_and_flags()?;
        let id = trex.u32()?;
        let entry = trex.u32()?;
        let duration = trex.u32()?;
        let size = trex.u32()?;
        let defaults = Defaults {
            duration,
            size,
            entry,
        };
        Ok((id, defaults))
    }
}

/// When a fragment begins (`tfdt`), in timescale units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeTime {
    time: u64,
    /// It is counted in 32 bits, which begin again with 0 after a day at 48 kHz.
    wraps: bool,
}

impl DecodeTime {
    /// The time nearest to `expected` that it can mean.
    pub fn whole(self, expected: u64) -> u64 {
        const ROUND: u64 = 1 << 32;
        if !self.wraps {
            return self.time;
        }
        let rounds = expected & !(ROUND - 1);
        let candidates = [
            rounds.checked_sub(ROUND),
            Some(rounds),
            rounds.checked_add(ROUND),
        ];
        candidates
            .into_iter()
            .flatten()
            .map(|rounds| rounds | self.time)
            .min_by_key(|time| time.abs_diff(expected))
            .unwrap_or(self.time)
    }
}

/// Walks the top-level boxes of a file, forward. Each header is read only once: a stream cannot go back to it.
#[derive(Clone, Copy, Debug)]
pub struct TopLevel {
    next: u64,
    seen: Option<BoxHeader>,
}

impl TopLevel {
    /// Begins at the box at `at`.
    pub fn new(at: u64) -> Self {
        TopLevel {
            next: at,
            seen: None,
        }
    }

    /// The first byte that is still to be read of what comes next.
    pub fn unread(&self) -> u64 {
        self.seen.map_or(self.next, |header| header.payload)
    }

    /// The next box, without moving past it; `None` at the end of the file.
    pub fn peek(&mut self, source: &mut dyn Source) -> Result<Option<BoxHeader>> {
        if self.seen.is_none() && self.next != u64::MAX {
            self.seen = read_header(source, self.next)?;
        }
        Ok(self.seen)
    }

    /// Moves past the box that [`TopLevel::peek`] returned.
    pub fn skip(&mut self, header: &BoxHeader) {
        self.next = header.end;
        self.seen = None;
    }
}

/// A run of samples of one track fragment.
#[derive(Clone, Debug)]
pub struct TrackRun {
    /// When it begins, by `tfdt`: known of the first of a track fragment.
    pub decode_time: Option<DecodeTime>,
    pub table: SampleTable,
    /// Timescale units that the fragment says are silence, instead of samples.
    pub silence: u32,
}

/// A place between two fragments.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    top: TopLevel,
    /// Fragments of the sorted stretch there that were read.
    sorted: usize,
}

/// Whether boxes of this kind stand between fragments.
fn is_known(kind: FourCc) -> bool {
    is_first_kind(&kind.0) || matches!(&kind.0, b"mfra" | b"emsg" | b"prft" | b"ssix" | b"pdin")
}

/// The fragments of one track, in file order, but for the stretches that are sorted.
#[derive(Debug)]
pub struct Fragments {
    top: TopLevel,
    /// The stretches of the file whose fragments are not in the order of their times.
    orders: Vec<Order>,
    /// Fragments of the stretch at `top` that were read.
    sorted: usize,
    /// Up to there the order of the fragments is known.
    looked_up_to: u64,
    /// The last box that was passed.
    last: Option<BoxHeader>,
    /// The track, and what a `moov` between fragments has to say of it.
    track: Described,
    /// Those of every track, by its id.
    defaults: Arc<[(u32, Defaults)]>,
    /// Runs of the last fragment read that are still to be returned.
    runs: VecDeque<TrackRun>,
    /// Bytes of their boxes that may still be read.
    runs_left: u64,
    warnings: Vec<Warning>,
    /// What to warn of once there is a run.
    unlike_the_edits: Option<Warning>,
    damaged: bool,
}

impl Fragments {
    /// The fragments of `track` from the position of `top` on. Its description is sent again and again to those who join a
    /// stream: another one is another movie's.
    pub fn new(top: TopLevel, track: Described, defaults: Arc<[(u32, Defaults)]>) -> Self {
        Fragments {
            top,
            orders: Vec::new(),
            sorted: 0,
            looked_up_to: 0,
            last: None,
            track,
            defaults,
            runs: VecDeque::new(),
            runs_left: RUNS_LIMIT,
            warnings: Vec::new(),
            unlike_the_edits: None,
            damaged: false,
        }
    }

    /// The same behind the end of the edits of the track at byte `at`.
    #[must_use]
    pub fn behind_the_edits(self, at: u64) -> Self {
        let why =
            "its edits end where the sample table does: the fragments behind are presented too";
        Fragments {
            unlike_the_edits: Some(Warning::passed_over(Error::malformed(at, "trak", why))),
            ..self
        }
    }

    /// The warnings so far.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Whether a fragment could not be read to its end.
    pub fn damaged(&self) -> bool {
        self.damaged
    }

    /// Where the next fragment is looked for; `None` while runs of the last one are still to be returned.
    pub fn place(&self) -> Option<Place> {
        self.runs.is_empty().then_some(Place {
            top: self.top,
            sorted: self.sorted,
        })
    }

    /// Goes back to a [place](Fragments::place).
    pub fn go_back(&mut self, place: Place) {
        (self.top, self.sorted) = (place.top, place.sorted);
        self.runs.clear();
    }

    /// Looks for fragments behind `place` that are to be heard before others there, and have them read in the order of
    /// their times; false where there are none. What was heard ends at `heard`: an earlier fragment is a repeat, or
    /// begins another recording, and no order goes beyond it. Reads the headers of all fragments up to there, if the
    /// source can seek. Times may be off by `tolerance`.
    ///
    /// At the `beginning`, where nothing was heard yet, a few fragments that ascend are enough to believe the rest.
    pub fn sort(
        &mut self,
        source: &mut dyn Source,
        place: Place,
        heard: u64,
        tolerance: u64,
        beginning: bool,
    ) -> Result<bool> {
        let is_known = place.sorted > 0 || place.top.next < self.looked_up_to;
        if source.size().is_none() || is_known || self.orders.len() >= MAX_ORDERS {
            return Ok(false);
        }
        let mut found: Vec<Fragment> = Vec::new();
        let mut top = place.top;
        while found.len() < MAX_SORTED {
            let header = match top.peek(source) {
                Ok(Some(header)) => header,
                Err(e @ Error::Read(_)) => return Err(e),
                Ok(None) | Err(_) => break,
            };
            if header.kind.0 == *b"moof" {
                let before = found.last().map_or(heard, |last| last.run.end);
                match self.whole_run(source, &header, before) {
                    // A fragment of other tracks.
                    Ok(None) => {}
                    Ok(Some(run)) if run.time.saturating_add(tolerance) >= heard => {
                        found.push(Fragment { at: header.at, run });
                    }
                    Err(e @ Error::Read(_)) => return Err(e),
                    Ok(Some(_)) | Err(_) => break,
                }
                let ascends = found.is_sorted_by_key(|fragment| fragment.run.time);
                if beginning && found.len() == LOOKED_THROUGH && ascends {
                    return Ok(false);
                }
            }
            if header.kind.0 == *b"moov" && !self.goes_on(source, &header)? {
                break;
            }
            top.skip(&header);
        }
        self.looked_up_to = top.next;
        let order = Order::of(found, top.next, tolerance);
        let is_found = order.is_some();
        self.orders.extend(order);
        Ok(is_found)
    }

    /// The samples of the track in the fragment `moof`, if it has some, from its first run to its last. Fails where
    /// it does not say when they begin.
    fn whole_run(
        &mut self,
        source: &mut dyn Source,
        moof: &BoxHeader,
        expected: u64,
    ) -> Result<Option<Run>> {
        let runs = std::mem::take(&mut self.runs);
        let read = self.read_moof(source, moof);
        let found = std::mem::replace(&mut self.runs, runs);
        read?;
        let mut whole: Option<Run> = None;
        for TrackRun {
            decode_time, table, ..
        } in &found
        {
            let time = match (decode_time, &whole) {
                (Some(time), _) => time.whole(expected),
                (None, Some(before)) => before.end,
                (None, None) => return Err(moof.malformed("it has no decode time")),
            };
            let run = Run::new(time, table);
            whole = match (whole, run) {
                (Some(whole), Some(run)) => Some(whole.and(&run)),
                (whole, run) => whole.or(run),
            };
        }
        Ok(whole)
    }

    /// Moves past the header of the next box, which it returns; in a sorted stretch, that of the next fragment.
    fn next_header(&mut self, source: &mut dyn Source) -> Result<Option<BoxHeader>> {
        if let Some(order) = self
            .orders
            .iter()
            .find(|order| order.begin == self.top.next)
        {
            if let Some(&at) = order.moofs.get(self.sorted) {
                self.sorted += 1;
                return read_header(source, at);
            }
            self.top = TopLevel::new(order.end);
            self.sorted = 0;
        }
        let header = self.top.peek(source)?;
        match &header {
            Some(header) => {
                self.last = Some(*header);
                self.top.skip(header);
            }
            None => self.note_end(source)?,
        }
        Ok(header)
    }

    /// Notes where the file ends inside its last box: more fragments may have followed.
    fn note_end(&mut self, source: &mut dyn Source) -> Result<()> {
        /// The most bytes behind the last box that are no box, but what other programs leave there: an ID3 tag.
        const APPENDED: u64 = 4096;
        let Some(last) = self.last.take().filter(|last| last.end != u64::MAX) else {
            return Ok(());
        };
        let is_cut = match source.size() {
            Some(size) => {
                let is_box = is_known(last.kind) || size.saturating_sub(last.at) > APPENDED;
                last.end > size && is_box
            }
            // A stream that has passed the byte, and cannot go back, has it.
            None => matches!(source.read_at(last.end - 1, &mut [0]), Ok(0)),
        };
        match is_cut {
            true => self.note(last.malformed("the file ends inside it")),
            false => Ok(()),
        }
    }

    /// The next run. A malformed fragment is skipped.
    pub fn next_run(&mut self, source: &mut dyn Source) -> Result<Option<TrackRun>> {
        loop {
            if let Some(run) = self.runs.pop_front() {
                self.warnings.extend(self.unlike_the_edits.take());
                if let Some(lowest) = run.table.lowest_offset() {
                    self.pass(source, lowest)?;
                }
                return Ok(Some(run));
            }
            let header = match self.next_header(source) {
                Ok(Some(header)) => header,
                Ok(None) => return Ok(None),
                Err(e) => {
                    self.note(e)?;
                    self.top = TopLevel::new(u64::MAX);
                    return Ok(None);
                }
            };
            if header.kind.0 == *b"moof"
                && let Err(e) = self.read_moof(source, &header)
            {
                self.note(e)?;
            }
            if header.kind.0 == *b"moov" && !self.goes_on(source, &header)? {
                let other =
                    "it begins another movie, with other audio or in other units: it was left out";
                self.note(header.malformed(other))?;
                self.top = TopLevel::new(u64::MAX);
                return Ok(None);
            }
        }
    }

    /// Whether the track goes on behind this `moov`.
    fn goes_on(&self, source: &mut dyn Source, moov: &BoxHeader) -> Result<bool> {
        match Movie::describes(source, moov, &self.track) {
            Err(e @ Error::Read(_)) => Err(e),
            described => Ok(described.unwrap_or(false)),
        }
    }

    /// Reads the headers up to `offset`, which is to be read next: a stream could not read them afterwards. For samples
    /// after the next fragment, a stream has to keep that fragment.
    pub fn pass(&mut self, source: &mut dyn Source, offset: u64) -> Result<()> {
        while self.top.next <= offset {
            match self.top.peek(source) {
                Ok(Some(header)) if header.kind.0 == *b"moof" => {
                    return source.keep_from(header.payload).map_err(Error::Read);
                }
                Ok(Some(header)) => {
                    self.last = Some(header);
                    self.top.skip(&header);
                }
                Ok(None) => return Ok(()),
                Err(e) => {
                    self.note(e)?;
                    self.top = TopLevel::new(u64::MAX);
                }
            }
        }
        Ok(())
    }

    /// Turns `error` into a warning, unless the source itself failed.
    fn note(&mut self, error: Error) -> Result<()> {
        if matches!(error, Error::Read(_)) {
            return Err(error);
        }
        self.damaged = true;
        let warning = Warning::passed_over(error);
        // A fragment may be read twice.
        if self.warnings.len() < MAX_WARNINGS && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
        Ok(())
    }

    fn read_moof(&mut self, source: &mut dyn Source, moof: &BoxHeader) -> Result<()> {
        self.runs_left = RUNS_LIMIT;
        let mut reader = BoxReader::new(source, moof);
        let mut at = moof.payload;
        // Where the data of a track fragment without an offset begins: after that of the one before.
        let mut data_end = moof.at;
        let mut begins = Vec::new();
        while let Some(child) = reader.child(moof, at)? {
            if child.kind.0 == *b"traf" {
                begins.push(self.runs.len());
                data_end = self.read_traf(&mut reader, moof, &child, data_end)?;
            }
            at = child.end;
        }
        match self.sort_runs(&begins) {
            // What comes first may stand behind what comes next. The header in between is still to be read.
            Some(lowest) => source.keep_from(lowest.min(moof.end)).map_err(Error::Read),
            None => Ok(()),
        }
    }

    /// Sorts the track fragments of one movie fragment, whose runs begin at these numbers, by their times: their order in
    /// the file says nothing. Returns where the first of their media is, if they were not in order.
    fn sort_runs(&mut self, begins: &[usize]) -> Option<u64> {
        let ends = begins.iter().skip(1).copied().chain([self.runs.len()]);
        let fragments: Vec<_> = begins
            .iter()
            .zip(ends)
            .map(|(&from, to)| from..to)
            .collect();
        let own = fragments.iter().filter(|runs| !runs.is_empty());
        let times = own
            .clone()
            .map(|runs| self.runs[runs.start].decode_time.map(|time| time.time));
        let times: Vec<u64> = times.collect::<Option<_>>()?;
        let earliest = times.iter().min()?;
        // Their count may begin again with 0 among them.
        let is_far = |time: &u64| time - earliest > u64::from(u32::MAX / 2);
        if times.is_sorted() || times.iter().any(is_far) {
            return None;
        }
        let mut sorted: Vec<_> = own.zip(times).collect();
        sorted.sort_by_key(|(_, time)| *time);
        let sorted = sorted
            .into_iter()
            .flat_map(|(runs, _)| self.runs.range(runs.clone()));
        self.runs = sorted.cloned().collect();
        self.runs
            .iter()
            .filter_map(|run| run.table.lowest_offset())
            .min()
    }

    /// Reads one track fragment; returns where its data ends.
    fn read_traf(
        &mut self,
        reader: &mut BoxReader<'_>,
        moof: &BoxHeader,
        traf: &BoxHeader,
        data_end: u64,
    ) -> Result<u64> {
        let mut header = TrackFragment {
            id: 0,
            base: data_end,
            defaults: Defaults::default(),
            is_empty: false,
        };
        let mut end = data_end;
        let runs = self.runs.len();
        let mut decode_time = None;
        let mut at = traf.payload;
        while let Some(child) = reader.child(traf, at)? {
            match &child.kind.0 {
                b"tfhd" => {
                    let payload = reader.payload(&child, 4096)?;
                    let fields = Fields::new(child.kind, child.payload, &payload);
                    header = TrackFragment::read(fields, moof.at, data_end, &self.defaults)?;
                    end = header.base;
                }
                b"tfdt" => {
                    let payload = reader.payload(&child, 4096)?;
                    let mut fields = Fields::new(child.kind, child.payload, &payload);
                    let (version, _) = fields.version_and_flags()?;
                    decode_time = Some(DecodeTime {
                        time: fields.u32_or_u64(version)?,
                        wraps: version == 0,
                    });
                }
                b"trun" => {
                    let payload = reader.payload(&child, RUN_LIMIT)?;
                    let fields = Fields::new(child.kind, child.payload, &payload);
                    let run = read_run(fields, &header, end)?;
                    end = run.data_end();
                    if header.id == self.track.id {
                        self.count_bytes(&child, payload.len() as u64)?;
                        let decode_time = decode_time.take();
                        self.push_run(
                            &child,
                            TrackRun {
                                decode_time,
                                table: run,
                                silence: 0,
                            },
                        )?;
                    }
                }
                _ => {}
            }
            at = child.end;
        }
        if header.is_empty && header.id == self.track.id && self.runs.len() == runs {
            self.push_run(
                traf,
                TrackRun {
                    decode_time,
                    table: SampleTable::default(),
                    silence: header.defaults.duration,
                },
            )?;
        }
        Ok(end)
    }

    /// Refuses a fragment whose runs would fill the memory: a file with holes has as many bytes as it likes.
    fn count_bytes(&mut self, trun: &BoxHeader, bytes: u64) -> Result<()> {
        let Some(left) = self.runs_left.checked_sub(bytes) else {
            return Err(Error::Limit {
                at: trun.at,
                what: "the size of the track runs in a fragment".into(),
                limit: RUNS_LIMIT,
            });
        };
        self.runs_left = left;
        Ok(())
    }

    /// Keeps a run of the box `at`.
    fn push_run(&mut self, at: &BoxHeader, run: TrackRun) -> Result<()> {
        if self.runs.len() >= MAX_RUNS {
            return Err(Error::Limit {
                at: at.at,
                what: "the number of track runs in a fragment".into(),
                limit: MAX_RUNS as u64,
            });
        }
        if matches!(
            run.table.sizes,
            Sizes::Constant {
                size: 0,
                count: 1..
            }
        ) {
            return Err(
                at.malformed("neither it nor `tfhd` nor `trex` says how large its samples are")
            );
        }
        self.runs.push_back(run);
        Ok(())
    }
}

/// The contents of `tfhd`.
pub struct TrackFragment {
    pub id: u32,
    /// The base of the offsets of runs.
    pub base: u64,
    pub defaults: Defaults,
    /// It has no samples: for as long as the default duration, there is silence.
    pub is_empty: bool,
}

impl TrackFragment {
    /// Reads the payload of `tfhd` in the `moof` at `moof_at`. The data of the track fragment before ends at `data_end`.
    pub fn read(
        mut tfhd: Fields<'_>,
        moof_at: u64,
        data_end: u64,
        defaults: &[(u32, Defaults)],
    ) -> Result<TrackFragment> {
        const BASE_DATA_OFFSET: u32 = 0x1;
        const SAMPLE_ENTRY: u32 = 0x2;
        const DEFAULT_DURATION: u32 = 0x8;
        const DEFAULT_SIZE: u32 = 0x10;
        const DURATION_IS_EMPTY: u32 = 0x1_0000;
        const DEFAULT_BASE_IS_MOOF: u32 = 0x2_0000;

        let (_, flags) = tfhd.version_and_flags()?;
        let id = tfhd.u32()?;
        let mut fragment = TrackFragment {
            id,
            base: data_end,
            defaults: Defaults::of(id, defaults),
            is_empty: flags & DURATION_IS_EMPTY != 0,
        };
        if flags & BASE_DATA_OFFSET != 0 {
            fragment.base = tfhd.u64()?;
        } else if flags & DEFAULT_BASE_IS_MOOF != 0 {
            fragment.base = moof_at;
        }
        if flags & SAMPLE_ENTRY != 0 {
            fragment.defaults.entry = tfhd.u32()?;
        }
        if flags & DEFAULT_DURATION != 0 {
            fragment.defaults.duration = tfhd.u32()?;
        }
        if flags & DEFAULT_SIZE != 0 {
            fragment.defaults.size = tfhd.u32()?;
        }
        Ok(fragment)
    }
}

/// Reads the payload of a `trun` box as a table with one chunk, which begins at `follows` if the run has no offset of
/// its own.
pub fn read_run(
    mut trun: Fields<'_>,
    fragment: &TrackFragment,
    follows: u64,
) -> Result<SampleTable> {
    const DATA_OFFSET: u32 = 0x1;
    const FIRST_SAMPLE_FLAGS: u32 = 0x4;
    const DURATION: u32 = 0x100;
    const SIZE: u32 = 0x200;
    const FLAGS: u32 = 0x400;
    const COMPOSITION_OFFSET: u32 = 0x800;

    let at = trun.at();
    let (_, flags) = trun.version_and_flags()?;
    let count = trun.u32()?;
    let mut offset = follows;
    if flags & DATA_OFFSET != 0 {
        let relative = trun.u32()?.cast_signed();
        offset = fragment
            .base
            .checked_add_signed(relative.into())
            .ok_or_else(|| Error::malformed(at, "trun", format!("data offset {relative}")))?;
    }
    if flags & FIRST_SAMPLE_FLAGS != 0 {
        trun.u32()?;
    }
    let mut table = SampleTable {
        chunks: vec![ChunkRun {
            first: 0,
            samples: count,
            entry: fragment.defaults.entry.max(1),
        }],
        ..SampleTable::default()
    };
    table.offsets.push(offset);
    if flags & DURATION == 0 {
        table.push_duration(count, fragment.defaults.duration);
    }
    let mut sizes = Compact::default();
    if flags & (DURATION | SIZE | FLAGS | COMPOSITION_OFFSET) != 0 {
        for _ in 0..count {
            if flags & DURATION != 0 {
                table.push_duration(1, trun.u32()?);
            }
            if flags & SIZE != 0 {
                sizes.push(trun.u32()?);
            }
            if flags & FLAGS != 0 {
                trun.u32()?;
            }
            if flags & COMPOSITION_OFFSET != 0 {
                table.composition.push(trun.u32()?.cast_signed());
            }
        }
    }
    table.sizes = match flags & SIZE {
        0 => Sizes::Constant {
            size: fragment.defaults.size,
            count,
        },
        _ => Sizes::Each(sizes),
    };
    Ok(table)
}

/// The duration of the track `id` by the payload of a `sidx` box (8.16.3), in units of `timescale`. An index with a
/// single reference may cover the first segment alone, and is ignored.
pub fn indexed_duration(mut sidx: Fields<'_>, id: u32, timescale: u32) -> Result<Option<u64>> {
    let (version, _) = sidx.version_and_flags()?;
    let reference_id = sidx.u32()?;
    let index_timescale = sidx.u32()?;
    let _earliest_time_and_first_offset = (sidx.u32_or_u64(version)?, sidx.u32_or_u64(version)?);
    let _reserved = sidx.u16()?;
    let count = sidx.u16()?;
    if reference_id != id || count < 2 || index_timescale == 0 {
        return Ok(None);
    }
    let mut duration = 0u64;
    for _ in 0..count {
        let _size = sidx.u32()?;
        duration += u64::from(sidx.u32()?);
        let _access_point = sidx.u32()?;
    }
    Ok(Some(rescale(duration, timescale, index_timescale)))
}
