//! From the sample table, and the fragments after it, to packets.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::fragment::{DecodeTime, Fragments, Place, TrackRun};
use super::heard::{Heard, Run, digest};
pub use super::sample_table::Passed;
use super::sample_table::{Composition, Cursor, DurationRun, Sample, SampleTable};
use crate::error::{Error, Result};
use crate::source::{Source, read_full_at};
use crate::timeline::{Lag, MediaClock};
use crate::warning::Warning;

/// One packet: an ISO *sample* once it leaves this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Byte offset in the source.
    pub offset: u64,
    /// Bytes that the container declares.
    pub size: u32,
    /// Decode time in timescale units from the beginning of the media.
    pub time: u64,
    /// Timescale units between the packet in front of it and its own time, where a fragment tells that: more than 0
    /// where fragments are missing, or by the jitter of a clock.
    pub gap: Option<u64>,
    /// Duration in timescale units.
    pub duration: u32,
    /// Index of its sample entry, counted from 1.
    pub entry: u32,
    /// Bytes that were read: fewer than `size` if the file ends early.
    pub read: u32,
}

/// What a file that ends early declares but does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Packets that are missing or incomplete.
    pub packets: u64,
    /// Their missing bytes.
    pub bytes: u64,
    /// Timescale units of the packets that are missing altogether.
    pub duration: u64,
    /// The file ends inside a fragment: more may be missing than counted here.
    pub uncounted: bool,
}

impl Missing {
    /// Nothing is missing.
    pub fn is_empty(&self) -> bool {
        *self == Missing::default()
    }
}

/// Where the times of fragments do not follow each other, or packets last longer than their sound. Times are decode
/// times in timescale units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// Something is missing.
    Gap {
        /// When it begins.
        from: u64,
        /// When what follows begins.
        to: u64,
        /// Silence takes its place.
        filled: bool,
    },
    /// A fragment overlaps with others in front of it, or is in the wrong order.
    Early {
        /// When those in front of it end.
        heard: u64,
        /// When it begins.
        begins: u64,
    },
    /// A fragment was there before, and is left out.
    Repeat {
        /// When it begins.
        from: u64,
        /// When it ends.
        to: u64,
    },
    /// Fragments from there on are in another order in the file.
    Sorted {
        /// When the first of them begins.
        from: u64,
    },
}

/// A jump, and where it is in what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotedJump {
    pub jump: Jump,
    /// Timescale units of sound, and of silence in place of what is missing, before it and up to its end.
    pub place: Range<u64>,
}

/// A place that [`Packets`] can go back to.
#[derive(Clone, Debug)]
pub struct Mark {
    cursor: Cursor,
    fragments: Option<Place>,
    held_back: Option<Sample>,
    last_duration: u32,
    late: u64,
    filled: u64,
    closed: u64,
    read_bytes: u64,
}

/// A run that may be the same as another one, which its bytes have to tell.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    original: Run,
    /// What its own fragment says of its time.
    decode_time: Option<DecodeTime>,
}

/// The forward reader of one track's packets, through the sample table and any fragments after it.
#[derive(Debug)]
pub struct Packets {
    cursor: Cursor,
    fragments: Option<Fragments>,
    /// Samples of uncompressed audio that make one packet; 1 for all other codecs.
    group: u32,
    /// Taken from the cursor, but not contiguous with the last batch.
    held_back: Option<Sample>,
    /// Packets read but not returned yet.
    batch: VecDeque<Packet>,
    buffer: Vec<u8>,
    /// Bytes of `buffer` already returned.
    given: usize,
    missing: Missing,
    jumps: Vec<NotedJump>,
    /// When the first packet decodes.
    start: Option<u64>,
    /// Timescale units that are missing, and that no silence takes the place of.
    closed: u64,
    /// Duration of the last packet from the cursor; 0 before the first.
    last_duration: u32,
    /// Units per second.
    timescale: u32,
    /// How much later packets are than their fragments say, after some that overlap.
    late: u64,
    /// Timescale units of silence in place of what is missing so far.
    filled: u64,
    /// What the fragment of the next packet says of the time before it.
    gap: Option<u64>,
    /// How much of that is silence, as the fragments themselves say; and of the time before the run read last.
    silence: u64,
    declared: u64,
    /// The runs heard so far, and the one whose first packet comes next.
    heard: Heard,
    begun: Option<Run>,
    /// When a run begins that has no decode time of its own, by the one in front of it.
    run_time: Option<u64>,
    /// What the next packet may repeat.
    suspect: Option<Suspect>,
    /// The composition offsets so far.
    composition: Composition,
    ended: bool,
    /// What was missing when the end was reached first.
    missing_at_end: Option<Missing>,
    /// The first packet's place.
    first: Mark,
    /// Bytes read so far, and the end of the highest one: samples that overlap endlessly are refused.
    read_bytes: u64,
    read_up_to: u64,
    /// Packets that will be read before the source is told of the next ones.
    announced: usize,
}

impl Packets {
    /// Bytes read at once if that many are contiguous.
    const BATCH_BYTES: u64 = 64 << 10;
    /// Packets read at once.
    const BATCH_PACKETS: usize = 4096;
    /// Jumps kept, the first and the last: those of a file of nothing but jumps would fill the memory.
    const MAX_JUMPS: usize = 16;
    /// The most bytes of a packet: 5 seconds of 8 channels of 64-bit PCM at 48 kHz.
    const PACKET_LIMIT: u32 = 16 << 20;

    /// Ranges that the source is told of at once, and the packets in them.
    const ANNOUNCED_RANGES: usize = 256;
    const ANNOUNCED_PACKETS: usize = 16 << 10;

    /// Seconds of missing fragments that silence takes the place of: what a segment or a few of them hold.
    const LONGEST_GAP: u64 = 60;
    /// The same of all of them together: small fragments could declare years.
    const ALL_GAPS: u64 = 60 * 60;

    pub(super) fn new(
        cursor: Cursor,
        fragments: Option<Fragments>,
        group: u32,
        timescale: u32,
    ) -> Self {
        let mut composition = cursor.composition();
        if cursor.samples_left() > 0 {
            composition.first.get_or_insert(0);
        }
        Packets {
            first: Mark {
                cursor: cursor.clone(),
                fragments: fragments.as_ref().and_then(Fragments::place),
                held_back: None,
                last_duration: 0,
                late: 0,
                filled: 0,
                closed: 0,
                read_bytes: 0,
            },
            timescale,
            late: 0,
            filled: 0,
            gap: None,
            silence: 0,
            declared: 0,
            start: None,
            closed: 0,
            heard: Heard::default(),
            begun: None,
            run_time: None,
            suspect: None,
            missing_at_end: None,
            cursor,
            fragments,
            group,
            held_back: None,
            batch: VecDeque::new(),
            buffer: Vec::new(),
            given: 0,
            missing: Missing::default(),
            jumps: Vec::new(),
            last_duration: 0,
            composition,
            ended: false,
            read_bytes: 0,
            read_up_to: 0,
            announced: 0,
        }
    }

    /// Appends the next packet's bytes to `data`; `None` after the last one. An incomplete packet is returned with the
    /// bytes there are (`read < size`); the file has then ended, and `None` follows.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if the source fails; [`Error::Malformed`] and [`Error::Limit`] for samples that cannot be read.
    pub fn next(&mut self, source: &mut dyn Source, data: &mut Vec<u8>) -> Result<Option<Packet>> {
        // A batch that is a repeat comes to nothing.
        while self.batch.is_empty() && !self.ended {
            self.read_batch(source)?;
        }
        let Some(packet) = self.batch.pop_front() else {
            return Ok(None);
        };
        let end = self.given + packet.read as usize;
        data.extend_from_slice(&self.buffer[self.given..end]);
        self.given = end;
        Ok(Some(packet))
    }

    /// Skips up to `count` packets without reading them, and counts their times in `lag`. Stops where the track or the
    /// file ends, and at a packet that has to be looked at: one that silence may have to stand in front of, or that
    /// [stands out](Lag::stands_out).
    ///
    /// # Errors
    ///
    /// As [`Packets::next`].
    pub fn skip(
        &mut self,
        source: &mut dyn Source,
        count: u64,
        clock: &MediaClock,
        lag: &mut Lag,
    ) -> Result<Passed> {
        let mut passed = Passed::default();
        self.announced = 0;
        while passed.packets < count && !self.ended {
            let (gap, duration, size) = match self.batch.front() {
                Some(packet) if packet.read < packet.size => break,
                Some(packet) => (packet.gap, packet.duration, packet.size),
                None => match self.first_of_batch(source)? {
                    Some(sample) => {
                        self.held_back = Some(sample);
                        (self.gap, sample.duration, sample.size)
                    }
                    None => {
                        self.ended = true;
                        break;
                    }
                },
            };
            if self.suspect.is_some() || !lag.takes(clock, gap, duration, size) {
                break;
            }
            match self.batch.pop_front() {
                Some(packet) => self.given += packet.read as usize,
                None => {
                    (self.held_back, self.gap) = (None, None);
                    self.begun
                        .take()
                        .into_iter()
                        .for_each(|run| self.heard.push(run));
                }
            }
            passed.packets += 1;
            passed.duration = passed.duration.saturating_add(duration.into());
            passed.last = Some(duration);
            if self.batch.is_empty() && self.held_back.is_none() {
                let left = count - passed.packets;
                let more = self.cursor.skip(left, self.group, clock, lag);
                passed.packets += more.packets;
                passed.duration = passed.duration.saturating_add(more.duration);
                passed.last = more.last.or(passed.last);
            }
        }
        Ok(passed)
    }

    /// Skips the packets that end within the next `units` of time without reading them, but for the last `kept` of
    /// those; none if some that were read together are still to be returned, and in fragments those of one run at most.
    /// Stops where [`Packets::skip`] does, and at a packet whose size and duration do not `fit`.
    ///
    /// # Errors
    ///
    /// As [`Packets::next`].
    pub fn skip_within(
        &mut self,
        source: &mut dyn Source,
        units: u64,
        kept: u64,
        fits: impl Fn(u32, u32) -> bool,
        clock: &MediaClock,
        lag: &mut Lag,
    ) -> Result<Passed> {
        if !self.batch.is_empty() || self.ended {
            return Ok(Passed::default());
        }
        let Some(first) = self.first_of_batch(source)? else {
            self.ended = true;
            return Ok(Passed::default());
        };
        self.held_back = Some(first);
        let duration = u64::from(first.duration);
        let ending = match units.checked_sub(duration) {
            Some(rest) if fits(first.size, first.duration) => {
                1 + self.cursor.ending_within(rest, self.group, fits)
            }
            _ => 0,
        };
        self.skip(source, ending.saturating_sub(kept), clock, lag)
    }

    /// How much later than they are decoded the packets read so far are presented.
    pub fn composition(&self) -> Composition {
        self.composition
    }

    /// Whether the packets hold uncompressed audio: at most one PCM sample per byte.
    pub fn uncompressed(&self) -> bool {
        self.group > 1
    }

    /// What the file declares but does not have: known once [`Packets::next`] has returned `None`.
    pub fn missing(&self) -> Missing {
        self.missing_at_end.unwrap_or(self.missing)
    }

    /// The place of the first packet.
    pub fn first(&self) -> Mark {
        self.first.clone()
    }

    /// The place of the next packet, if it can be marked: not within bytes that were read together, nor within a
    /// fragment.
    pub fn mark(&self) -> Option<Mark> {
        let fragments = match &self.fragments {
            // The table of its run would stay in memory.
            Some(_) if self.cursor.samples_left() > 0 => return None,
            Some(fragments) => Some(fragments.place()?),
            None => None,
        };
        let between =
            self.batch.is_empty() && !self.ended && self.gap.is_none() && self.suspect.is_none();
        between.then(|| Mark {
            cursor: match fragments {
                Some(_) => Cursor::new(Arc::default(), self.cursor.time()),
                None => self.cursor.clone(),
            },
            fragments,
            held_back: self.held_back,
            last_duration: self.last_duration,
            late: self.late,
            filled: self.filled,
            closed: self.closed,
            read_bytes: self.read_bytes,
        })
    }

    /// Goes back to `mark`. The source must have [kept](Source::keep_from) what comes after it.
    pub fn go_back(&mut self, mark: &Mark) {
        if self.ended {
            self.missing_at_end.get_or_insert(self.missing);
        }
        if let Some((fragments, place)) = self.fragments.as_mut().zip(mark.fragments) {
            fragments.go_back(place);
        }
        self.cursor = mark.cursor.clone();
        self.held_back = mark.held_back;
        self.last_duration = mark.last_duration;
        self.late = mark.late;
        (self.filled, self.closed) = (mark.filled, mark.closed);
        self.read_bytes = mark.read_bytes;
        self.batch.clear();
        self.buffer.clear();
        self.given = 0;
        self.announced = 0;
        self.gap = None;
        (self.silence, self.declared) = (0, 0);
        (self.begun, self.run_time, self.suspect) = (None, None, None);
        self.missing = Missing::default();
        self.ended = false;
    }

    /// Where the times of the fragments read so far jump; the first and the last of many.
    pub fn jumps(&self) -> &[NotedJump] {
        &self.jumps
    }

    /// Warnings about the fragments read so far.
    pub fn warnings(&self) -> &[Warning] {
        self.fragments.as_ref().map_or(&[], Fragments::warnings)
    }

    /// Reads the next contiguous samples into the buffer.
    fn read_batch(&mut self, source: &mut dyn Source) -> Result<()> {
        self.given = 0;
        let Some(first) = self.first_of_batch(source)? else {
            self.ended = true;
            return Ok(());
        };
        if first.size > Self::PACKET_LIMIT {
            return Err(Error::Limit {
                at: first.offset,
                what: format!("the size of a sample ({} bytes)", first.size),
                limit: Self::PACKET_LIMIT.into(),
            });
        }
        self.announce(source, first);
        let bytes = self.gather(first);
        self.announced = self.announced.saturating_sub(self.batch.len());
        if let Some(fragments) = &mut self.fragments {
            fragments.pass(source, first.offset)?;
        }
        self.buffer.clear();
        let mut step = bytes.min(Self::BATCH_BYTES) as usize;
        let mut read = 0;
        // In steps, so that a size larger than the file costs no memory.
        while read < bytes as usize {
            step = step.min(bytes as usize - read);
            self.buffer.resize(read + step, 0);
            let n = read_full_at(source, first.offset + read as u64, &mut self.buffer[read..])
                .map_err(Error::Read)?;
            read += n;
            if n < step {
                break;
            }
        }
        self.buffer.truncate(read);
        self.count_bytes(first.offset, bytes)?;
        self.share_out(read as u64);
        self.know_again(source);
        Ok(())
    }

    /// Drops the batch and the rest of its run, if that is a repeat; remembers it otherwise.
    fn know_again(&mut self, source: &mut dyn Source) {
        let Some(run) = self.begun.take() else {
            return;
        };
        let sound = digest(&self.buffer);
        if let Some(Suspect {
            original,
            decode_time,
        }) = self.suspect.take()
        {
            let before = original
                .sound
                .or_else(|| self.sound_at(source, original.offset));
            // A stream that skipped the original cannot tell, but that every size is the same.
            if before.is_none_or(|before| before == sound) && !self.ended {
                self.drop_run(&run);
                return;
            }
            if let Some(time) = decode_time {
                self.place(time);
            }
        }
        self.heard.push(run.with_sound(sound));
    }

    /// A digest of as many bytes at `offset` as the batch has.
    fn sound_at(&self, source: &mut dyn Source, offset: u64) -> Option<u64> {
        let mut bytes = vec![0; self.buffer.len()];
        let read = read_full_at(source, offset, &mut bytes).ok()?;
        (read == bytes.len()).then(|| digest(&bytes))
    }

    /// Leaves out `run`, whose first packets are in the batch.
    fn drop_run(&mut self, run: &Run) {
        self.batch.clear();
        self.held_back = None;
        self.cursor = Cursor::new(Arc::default(), self.cursor.begin());
        self.announced = 0;
        let last = self.jumps.last_mut().map(|noted| &mut noted.jump);
        match last {
            Some(Jump::Repeat { to, .. }) if *to == run.time => *to = run.end,
            _ => {
                let jump = Jump::Repeat {
                    from: run.time,
                    to: run.end,
                };
                let time = self.cursor.time();
                self.note(jump, time..time);
            }
        }
    }

    /// Tells the source where the next packets are, of this fragment if there are fragments; again when half of them
    /// are read.
    fn announce(&mut self, source: &mut dyn Source, first: Sample) {
        if self.announced > 0 {
            return;
        }
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut cursor = self.cursor.clone();
        let mut packets = 0;
        let mut next = Some(first);
        while let Some(sample) = next.filter(|_| packets < Self::ANNOUNCED_PACKETS) {
            let end = sample.offset.saturating_add(sample.size.into());
            let full = ranges.len() == Self::ANNOUNCED_RANGES;
            match ranges.last_mut() {
                Some(last) if last.end == sample.offset => last.end = end,
                _ if full => break,
                _ => ranges.push(sample.offset..end),
            }
            packets += 1;
            next = cursor.next(self.group);
        }
        self.announced = (packets / 2).max(1);
        source.will_read(&ranges);
    }

    /// The next sample, from the next fragment if this one is used up.
    fn first_of_batch(&mut self, source: &mut dyn Source) -> Result<Option<Sample>> {
        if let Some(sample) = self.held_back.take() {
            return Ok(Some(sample));
        }
        loop {
            if let Some(sample) = self.cursor.next(self.group) {
                self.start.get_or_insert(sample.time);
                self.last_duration = sample.duration.max(1);
                return Ok(Some(sample));
            }
            self.count_unplaced();
            let Some(fragments) = &mut self.fragments else {
                return Ok(None);
            };
            let place = fragments.place();
            match fragments.next_run(source)? {
                Some(run) if run.silence > 0 => self.pass_silence(&run),
                Some(TrackRun {
                    decode_time,
                    table: mut run,
                    ..
                }) => {
                    let decode_time = self.time_of_begin(decode_time, &mut run);
                    if let Some((time, place)) = decode_time.zip(place)
                        && self.is_sorted_from(source, time, &run, place)?
                    {
                        continue;
                    }
                    let time = self.begin_run(decode_time, &run);
                    if run.samples() > 0 {
                        self.declared = std::mem::take(&mut self.silence);
                    }
                    match (run.composition.first, run.composition.varies) {
                        (Some(first), false) => self.composition.push(first),
                        (Some(first), true) => {
                            self.composition.push(first);
                            self.composition.varies = true;
                        }
                        // Runs without offsets say that there are none.
                        (None, _) if run.samples() > 0 => self.composition.push(0),
                        (None, _) => {}
                    }
                    self.cursor = Cursor::new(Arc::new(run), time);
                    self.announced = 0;
                }
                None => {
                    self.missing.uncounted |= fragments.damaged();
                    return Ok(None);
                }
            }
        }
    }

    /// `decode_time` of `run`. Where that is of one sample that lasts no time, and a sample's length later than expected,
    /// it is when the sample ends: ffmpeg writes so towards the end, with a fragment for every frame.
    fn time_of_begin(
        &self,
        decode_time: Option<DecodeTime>,
        run: &mut SampleTable,
    ) -> Option<DecodeTime> {
        let time = decode_time?;
        let end = self.cursor.time();
        let usual = u64::from(self.last_duration);
        let gap = time
            .whole(end.saturating_sub(self.late))
            .saturating_sub(end);
        let is_usual = gap > usual / 2 && gap <= usual + usual / 2;
        if !is_usual || run.samples() != 1 || run.duration() != 0 {
            return decode_time;
        }
        run.durations = vec![DurationRun {
            count: 1,
            delta: u32::try_from(gap).unwrap_or(u32::MAX),
        }];
        None
    }

    /// Whether the fragments behind `place` are out of order: the first of them, which has `run` and begins at `time`, is
    /// then not to be read yet.
    fn is_sorted_from(
        &mut self,
        source: &mut dyn Source,
        time: DecodeTime,
        run: &SampleTable,
        place: Place,
    ) -> Result<bool> {
        let beginning = self.last_duration == 0;
        let heard = self.cursor.time().saturating_sub(self.late);
        let tolerance = u64::from(run.last_duration().unwrap_or_default());
        if time.whole(heard) <= heard.saturating_add(tolerance) {
            return Ok(false);
        }
        let Some(fragments) = &mut self.fragments else {
            return Ok(false);
        };
        let is_sorted = fragments.sort(source, place, heard, tolerance, beginning)?;
        if is_sorted {
            fragments.go_back(place);
            let time = self.cursor.time();
            self.note(Jump::Sorted { from: heard }, time..time);
        }
        Ok(is_sorted)
    }

    /// Goes on behind a track fragment that declares silence.
    fn pass_silence(&mut self, run: &TrackRun) {
        let (begin, silence) = (self.cursor.time(), u64::from(run.silence));
        let begin = match run.decode_time {
            // A stream may begin at any time.
            _ if self.last_duration == 0 => return,
            Some(time) => self.place(time),
            None => begin,
        };
        let gap = self.gap.unwrap_or(0);
        self.gap = Some(gap.saturating_add(silence));
        self.silence = self.silence.saturating_add(silence);
        self.cursor = Cursor::new(Arc::default(), begin.saturating_add(silence));
        self.run_time = None;
    }

    /// When the next `run` begins, whose fragment says `decode_time` of it.
    fn begin_run(&mut self, decode_time: Option<DecodeTime>, run: &SampleTable) -> u64 {
        let end = self.cursor.time();
        let is_first = self.last_duration == 0;
        let said = match decode_time {
            Some(time) if is_first => Some(time.whole(0)),
            Some(time) => Some(time.whole(end.saturating_sub(self.late))),
            None => self.run_time,
        };
        self.begun = said.and_then(|time| Run::new(time, run));
        self.run_time = said.map(|time| time.saturating_add(run.duration()));
        let original = self
            .begun
            .filter(|run| !is_first && run.time < end)
            .and_then(|run| self.heard.original_of(&run));
        self.suspect = original.map(|original| Suspect {
            original,
            decode_time,
        });
        match decode_time {
            _ if original.is_some() => end,
            // A stream may begin at any time.
            Some(time) if is_first => time.whole(0),
            Some(time) => self.place(time),
            None => end,
        }
    }

    /// When a fragment begins that says it does at `time`: not before the one in front of it ends.
    fn place(&mut self, time: DecodeTime) -> u64 {
        let end = self.cursor.time();
        let said = end.saturating_sub(self.late);
        let time = time.whole(said);
        if time < end {
            self.late = end - time;
            if time.saturating_add(self.last_duration.into()) < said {
                let jump = Jump::Early {
                    heard: said,
                    begins: time,
                };
                self.note(jump, end..end);
            }
            return end;
        }
        self.late = 0;
        // A run may be without samples.
        let before = self.gap.unwrap_or(0);
        self.gap = Some(before.saturating_add(time - end));
        time
    }

    /// Notes that something is missing between these decode times. Whether silence is to take its place: not where it is
    /// too long.
    pub fn miss(&mut self, from: u64, to: u64) -> bool {
        let gap = to.saturating_sub(from);
        let most = |seconds: u64| seconds.saturating_mul(self.timescale.into());
        let all = self.filled.saturating_add(gap);
        let declared = std::mem::take(&mut self.declared);
        // Rounding may add to it.
        let is_declared = declared > 0 && gap <= declared.saturating_add(self.last_duration.into());
        let filled = all <= most(Self::ALL_GAPS) && (is_declared || gap <= most(Self::LONGEST_GAP));
        if filled {
            self.filled = all;
        }
        let end = if filled { to } else { from };
        if !(filled && is_declared) {
            self.note(Jump::Gap { from, to, filled }, from..end);
        }
        if !filled {
            self.closed = self.closed.saturating_add(gap);
        }
        filled
    }

    /// Notes a jump at these times of the packets.
    fn note(&mut self, jump: Jump, times: Range<u64>) {
        let before = self.start.unwrap_or_default().saturating_add(self.closed);
        let noted = NotedJump {
            jump,
            place: times.start.saturating_sub(before)..times.end.saturating_sub(before),
        };
        // A fragment may be read twice.
        if self.jumps.contains(&noted) {
            return;
        }
        if self.jumps.len() == 2 * Self::MAX_JUMPS {
            self.jumps.remove(Self::MAX_JUMPS);
        }
        self.jumps.push(noted);
    }

    /// Samples that the table has sizes but no chunks for.
    fn count_unplaced(&mut self) {
        self.missing.packets += self.cursor.samples_left().div_ceil(self.group.into());
        self.missing.bytes += self.cursor.bytes_left();
        self.missing.duration += self.cursor.duration_left();
    }

    /// Fills the batch with `first` and the samples contiguous with it; returns their bytes.
    fn gather(&mut self, first: Sample) -> u64 {
        let mut end = first.offset;
        let mut next = Some(first);
        while let Some(sample) = next {
            let bytes = (end - first.offset) + u64::from(sample.size);
            let adjoins = sample.offset == end || sample.size == 0;
            let first_one = self.batch.is_empty();
            let fits = bytes <= Self::BATCH_BYTES && self.batch.len() < Self::BATCH_PACKETS;
            if !(first_one || adjoins && fits) {
                self.held_back = Some(sample);
                break;
            }
            self.batch.push_back(Packet {
                offset: sample.offset,
                size: sample.size,
                time: sample.time,
                duration: sample.duration,
                entry: sample.entry,
                gap: self.gap.take(),
                read: 0,
            });
            end = end.saturating_add(sample.size.into());
            next = self.cursor.next(self.group);
        }
        end - first.offset
    }

    /// Refuses samples that overlap endlessly: in a valid file none do, but a hostile one could take forever to read.
    fn count_bytes(&mut self, offset: u64, bytes: u64) -> Result<()> {
        self.read_bytes += bytes;
        self.read_up_to = self.read_up_to.max(offset.saturating_add(bytes));
        if self.read_bytes > self.read_up_to.saturating_mul(4).saturating_add(1 << 20) {
            return Err(Error::malformed(
                offset,
                "sample table",
                format!(
                    "its samples overlap: {} bytes come before it",
                    self.read_bytes
                ),
            ));
        }
        Ok(())
    }

    /// Assigns the `read` bytes to the packets of the batch. The track ends at an incomplete packet.
    fn share_out(&mut self, mut read: u64) {
        let mut whole = 0;
        for packet in &mut self.batch {
            packet.read = read.min(packet.size.into()) as u32;
            read -= u64::from(packet.read);
            if packet.read < packet.size {
                break;
            }
            whole += 1;
        }
        if whole == self.batch.len() {
            return;
        }
        let cut = self.batch[whole];
        self.missing.packets += 1;
        self.missing.bytes += u64::from(cut.size - cut.read);
        for lost in self.batch.drain(whole + 1..) {
            self.missing.packets += 1;
            self.missing.bytes += u64::from(lost.size);
            self.missing.duration += u64::from(lost.duration);
        }
        if let Some(lost) = self.held_back.take() {
            self.missing.packets += 1;
            self.missing.bytes += u64::from(lost.size);
            self.missing.duration += u64::from(lost.duration);
        }
        self.count_unplaced();
        self.missing.uncounted |= self.fragments.is_some();
        self.ended = true;
    }
}
