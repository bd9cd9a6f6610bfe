//! Cuts a track into spans, with the packets that each span needs.

use std::collections::VecDeque;
use std::ops::Range;

use crate::decode::{InOrder, Lengths};
use crate::error::{Error, Result};
use crate::mp4::{Mark, Packet, Packets};
use crate::resample::Resampler;
use crate::source::Source;
use crate::timeline::{Lag, MediaClock, MediaEnd, Segment, Timeline};

/// A short file is cut into eight spans: enough for the cores of most machines, with few seams. Each seam costs up to a
/// few hundred frames; at a constant bitrate, 70 on average.
const FEW: u64 = 8;
/// One of medium length is cut into so many, for machines with as many cores.
const MANY: u64 = 16;
/// Frames of the shortest span for which so many seams are worth their cost: 25 seconds at 44.1 kHz.
const WORTH_MANY: u64 = 980;
/// Frames of a span in a longer file, and of the longest: 51 seconds. Memory bounds it.
const LONG: u64 = 1960;
/// Frames of the shortest span worth a seam.
const SHORTEST: u64 = 588;
/// The most bytes of a span on average: a minute of the best AAC. Uncompressed audio reaches it within seconds, and the
/// window holds two spans for each core.
pub const SPAN_BYTES: usize = 4 << 20;
/// The fewest frames of a span, however many bytes each has: shorter spans cost more in seams than they save.
const LEAST: u64 = 196;
/// The most bytes gathered for one span. No audio has as many, but a table can put a whole file into one instant.
const SPAN_LIMIT: usize = 64 << 20;
/// How many spans at the end of a short file are half as long, so that the cores finish together. In a file of medium
/// length they would only cost seams.
const FEW_HALVES: u64 = 4;
/// The same at the end of a long one, where each of many cores takes many spans in turn.
const MANY_HALVES: u64 = 16;

/// PCM samples of the longest packet of any codec whose packets vary in length: a FLAC frame (65,535). Without a limit,
/// a packet of a few bytes could declare a day of silence.
const LONGEST_PACKET: u32 = 1 << 16;

/// PCM samples of a piece of the silence in place of missing packets.
const GAP_PIECE: u32 = 4096;

/// Packets between the first marks of a reader that may go back: more than any decoder needs before its output is
/// right.
const FIRST_STRIDE: u64 = 1024;

/// The most marks kept: then every other one is dropped.
const MOST_MARKS: usize = 1024;

/// Which frames of the output belong to which span. It depends on the file and the options alone, so that any number of
/// workers writes the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Every span starts at a multiple of this many frames.
    unit: u64,
    length: Length,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// `units` units are divided into `steps` equal steps, rounded to a unit. The first `whole` spans take two steps
    /// each, and those after them one. A file that turns out longer has more of the latter.
    Shared { units: u64, steps: u64, whole: u64 },
    /// The length is not known beforehand (movie fragments): spans double up to those of a long file, or up to `most`
    /// frames.
    Growing { most: u64 },
}

impl Plan {
    /// A plan for an output of `frames` frames, if known, with spans that start at multiples of `unit` frames. A span
    /// holds `frame_bytes` for each of its frames on average.
    pub fn new(frames: Option<u64>, unit: u64, frame_bytes: u64) -> Self {
        let most = (SPAN_BYTES as u64 / frame_bytes.max(1)).max(LEAST);
        let length = match frames {
            Some(frames) => {
                let (wish, halves) = match frames.div_ceil(MANY) {
                    ..WORTH_MANY => (frames.div_ceil(FEW).max(SHORTEST), FEW_HALVES),
                    medium @ ..=LONG => (medium, 0),
                    _ => (LONG, MANY_HALVES),
                };
                let wish = wish.min(most);
                let units = frames.div_ceil(unit).max(1);
                let spans = frames.div_ceil(wish).clamp(1, units);
                if halves > 0 && spans > halves / 2 && wish >= 2 * SHORTEST {
                    Length::Shared {
                        units,
                        steps: 2 * spans,
                        whole: spans - halves / 2,
                    }
                } else {
                    // Halves would not be worth their seams.
                    Length::Shared {
                        units,
                        steps: spans,
                        whole: 0,
                    }
                }
            }
            None => Length::Growing { most },
        };
        Plan { unit, length }
    }

    /// Spans of `frames` frames each.
    #[cfg(test)]
    pub fn every(frames: u64) -> Self {
        Plan {
            unit: frames,
            length: Length::Shared {
                units: 1,
                steps: 1,
                whole: 0,
            },
        }
    }

    /// First frame of span `index`. There is no last span.
    pub fn start(&self, index: usize) -> u64 {
        let index = index as u64;
        match self.length {
            Length::Shared {
                units,
                steps,
                whole,
            } => {
                let before = u128::from(index) + u128::from(index.min(whole));
                let units = before * u128::from(units) / u128::from(steps);
                u64::try_from(units)
                    .unwrap_or(u64::MAX)
                    .saturating_mul(self.unit)
            }
            Length::Growing { most } => {
                // SHORTEST, 2·SHORTEST, then LONG each.
                let [first, second, long] = [SHORTEST, 2 * SHORTEST, LONG]
                    .map(|frames| frames.min(most).next_multiple_of(self.unit));
                match index {
                    0 => 0,
                    1 => first,
                    _ => (first + second).saturating_add((index - 2).saturating_mul(long)),
                }
            }
        }
    }
}

/// One packet of a [`Span`].
#[derive(Clone, Copy, Debug)]
pub struct SpanPacket {
    /// First PCM sample it decodes to, in the decoder's output from the track's start.
    pub start: u64,
    /// PCM samples it decodes to.
    pub len: u32,
    /// It is silence in place of packets that are missing.
    pub gap: bool,
    /// Byte offset in the source.
    pub offset: u64,
    /// Where its bytes begin in those of its piece.
    at: usize,
    /// How many they are.
    size: usize,
}

impl SpanPacket {
    fn end(&self) -> u64 {
        self.start + u64::from(self.len)
    }
}

/// A piece of a [`Span`]: within one segment of the timeline.
#[derive(Debug)]
pub struct Piece {
    /// Its PCM samples.
    pub len: u64,
    /// Where it begins in the decoder's output; `None`: silence.
    pub media: Option<u64>,
    /// The decoder's PCM samples that belong to this span alone.
    own: Range<u64>,
    /// Its segment begins with them.
    begins: bool,
    /// Packets from the roll to the look-ahead of the resampler.
    packets: Vec<SpanPacket>,
    data: Vec<u8>,
}

impl Piece {
    /// Packet `index` of those needed, with its bytes.
    pub fn packet(&self, index: usize) -> Option<(&SpanPacket, &[u8])> {
        let packet = self.packets.get(index)?;
        Some((packet, &self.data[packet.at..packet.at + packet.size]))
    }

    /// The decoder's PCM samples that it needs.
    pub fn input(&self) -> Range<u64> {
        let start = self.media.unwrap_or_default();
        start..start.saturating_add(self.len)
    }

    /// Whether `packet` is counted for this span, rather than for its neighbour.
    pub fn owns(&self, packet: &SpanPacket) -> bool {
        let begins = match self.begins {
            true => packet.end() > self.own.start,
            false => packet.start >= self.own.start,
        };
        !self.own.is_empty() && begins && packet.start < self.own.end
    }
}

/// One stretch of the track with all that is needed to convert it alone.
#[derive(Debug)]
pub struct Span {
    /// Its index among the spans.
    pub index: usize,
    /// Number of its first frame in the output.
    pub first_frame: u64,
    /// Whether the track ends with it.
    pub last: bool,
    /// Its PCM samples of the output, counted from the output's start.
    pub output: Range<u64>,
    /// The same with what the limiter and the meter need around it.
    pub work: Range<u64>,
    /// Position on the presentation of the first PCM sample it needs.
    pub input_start: u64,
    /// What it needs from there on.
    pub pieces: Vec<Piece>,
}

impl Span {
    /// Memory that its packets take.
    pub fn bytes(&self) -> usize {
        let pieces = self.pieces.iter();
        pieces.map(|piece| held(&piece.packets, &piece.data)).sum()
    }
}

/// Memory that packets with `data` take. Tables can have many empty packets.
fn held(packets: &[SpanPacket], data: &[u8]) -> usize {
    size_of_val(packets) + data.len()
}

/// How positions in the output map to the presentation, which is at the decoder's rate.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Media time to PCM samples.
    pub clock: MediaClock,
    /// What is converted.
    pub timeline: Timeline,
    /// From the presentation to the output, if their rates differ.
    pub resampler: Option<Resampler>,
    /// PCM samples of the output that the stages need before and after a span.
    pub roll: (u64, u64),
    /// The byte of the track, for errors.
    pub at: u64,
}

/// What an output range is made of.
struct Needs {
    work: Range<u64>,
    presentation: Range<u64>,
}

impl Mapping {
    /// PCM samples of the output for `len` of the presentation.
    pub fn output_len(&self, len: u64) -> u64 {
        self.resampler.as_ref().map_or(len, |r| r.output_len(len))
    }

    /// What `output` is made of. `len`: PCM samples of the whole presentation, if known.
    fn needs(&self, output: &Range<u64>, len: Option<u64>) -> Needs {
        let last = len.map_or(u64::MAX, |len| self.output_len(len));
        let work = output.start.saturating_sub(self.roll.0)
            ..output
                .end
                .saturating_add(self.roll.1)
                .min(last)
                .max(output.end);
        let mut presentation = match &self.resampler {
            Some(resampler) => resampler.input_range(work.clone()),
            None => work.clone(),
        };
        if let Some(len) = len {
            presentation = presentation.start.min(len)..presentation.end.min(len);
        }
        Needs { work, presentation }
    }

    /// The position in the presentation for `place` in the output, to about a PCM sample.
    fn on_presentation(&self, place: u64) -> u64 {
        match &self.resampler {
            Some(resampler) => resampler.instant(place),
            None => place,
        }
    }
}

/// What the reader knows at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// PCM samples of the output.
    pub output_len: u64,
    /// PCM samples of the decoder's output that they are made of.
    pub input_len: u64,
    /// Bytes of packets read.
    pub audio_bytes: u64,
    /// Packets read or skipped.
    pub packets: u64,
    /// Offset at which the media broke off, if it did.
    pub cut_at: Option<u64>,
    /// Timescale units from the first packet to the end of the last, where there was no other.
    pub ended: Option<u64>,
    /// PCM samples that the edit list presents from behind the media's end: silence.
    pub beyond: u64,
}

/// The result of [`SpanReader::advance`].
pub enum Advance {
    /// A span is coming in.
    Reading,
    /// The next span.
    Span(Span),
    /// There are no more spans.
    End,
}

/// A place among the packets of a track.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Packets before it.
    packets: u64,
    /// Their durations in timescale units.
    units: u64,
    /// Timescale units of silence between them, in place of those that are missing.
    gaps: u64,
    /// PCM samples of them that no packet can hold: a gap, which is closed.
    overlong: u64,
    /// Where it is in the decoder's output.
    position: u64,
    /// PCM samples at the end of the last packet that its duration leaves out.
    padding: u64,
    /// The last packet's duration in timescale units, if there is one.
    last: Option<u32>,
    /// Its PCM samples.
    len: u32,
    /// How far the sound is behind the container's clock.
    lag: Lag,
}

/// The packets that one segment of the timeline needs of those that were read.
#[derive(Debug, Default)]
struct Gathered {
    /// Where the segment begins in the presentation.
    segment: u64,
    packets: Vec<SpanPacket>,
    data: Vec<u8>,
}

impl Gathered {
    /// Adds so much silence from `position` on, in front of what begins at `offset` in the source and `at` in the data.
    /// Returns where it ends.
    fn fill(&mut self, mut position: u64, mut missing: u64, offset: u64, at: usize) -> u64 {
        while missing > 0 {
            let len = missing.min(GAP_PIECE.into());
            self.packets.push(SpanPacket {
                start: position,
                len: len as u32,
                gap: true,
                offset,
                at,
                size: 0,
            });
            position = position.saturating_add(len);
            missing -= len;
        }
        position
    }

    /// How many of its packets are not needed for PCM from `from` on, by a decoder that needs `roll` packets before it.
    fn unneeded(&self, from: u64, roll: usize) -> usize {
        let first = self.packets.partition_point(|p| p.end() <= from);
        first.saturating_sub(roll)
    }

    /// Whether it holds all that a decoder needs to begin at `from`, as far as it was read.
    fn reaches_back_to(&self, from: u64, roll: usize) -> bool {
        let Some(first) = self.packets.first() else {
            return false;
        };
        let before = self.packets.partition_point(|p| p.end() <= from);
        first.start == 0 || first.start <= from && before >= roll
    }

    /// Memory that it takes.
    fn held(&self) -> usize {
        held(&self.packets, &self.data)
    }

    /// Drops its first `count` packets.
    fn forget(&mut self, count: usize) {
        let Some(base) = self.packets.get(count).map(|p| p.at) else {
            self.packets.clear();
            self.data.clear();
            return;
        };
        self.packets.drain(..count);
        self.data.drain(..base);
        self.packets.iter_mut().for_each(|p| p.at -= base);
    }

    /// Drops the packets that begin at `end` or later.
    fn truncate(&mut self, end: u64) {
        let used = self.packets.partition_point(|p| p.start < end);
        self.packets.truncate(used);
        let bytes = self.packets.last().map_or(0, |p| p.at + p.size);
        self.data.truncate(bytes);
    }

    /// A copy of its packets from number `first` on, for the segment that begins at `segment`.
    fn from(&self, first: usize, segment: u64) -> Gathered {
        let base = self.packets.get(first).map_or(self.data.len(), |p| p.at);
        let mut packets = self.packets[first.min(self.packets.len())..].to_vec();
        packets.iter_mut().for_each(|p| p.at -= base);
        Gathered {
            segment,
            packets,
            data: self.data[base..].to_vec(),
        }
    }
}

/// Reads a track's packets and groups them into spans: once, forward, except where the edit list goes back in the
/// media.
pub struct SpanReader {
    /// Packets that were read already, to inspect them.
    ahead: VecDeque<(Packet, Vec<u8>)>,
    packets: Packets,
    mapping: Mapping,
    plan: Plan,
    /// PCM samples per channel of an MP3 frame.
    frame_len: u64,
    /// Packets that a restarted decoder needs before the first one of a span.
    roll: usize,
    /// Decodes the packets before they are split into spans, if it must be done in order.
    in_order: Option<InOrder>,
    /// How long packets are, if not all of them have the length that the clock says.
    lengths: Option<Lengths>,
    /// The span being gathered.
    index: usize,
    /// What it needs, and what it shares with the next: a list for each segment of media, the last for `segment`.
    gathered: Vec<Gathered>,
    /// The segment being read.
    segment: usize,
    /// The packet to be read next.
    place: Place,
    /// There is none.
    exhausted: bool,
    /// Places to go back to, with a packet's number and its place in the decoder's output.
    marks: Vec<(Place, Mark)>,
    /// Packets between two of them.
    stride: u64,
    /// Whether it may go back.
    turns_back: bool,
    /// The media has ended once: the timeline is certain.
    settled: bool,
    /// Memory that all of `gathered` takes but the last.
    held: usize,
    extent: Extent,
    /// Length of the presentation and of the output, once they are known.
    end: Option<(u64, u64)>,
}

impl SpanReader {
    /// A reader of `ahead`, then `packets`, into the spans of `plan`.
    pub fn new(
        ahead: VecDeque<(Packet, Vec<u8>)>,
        packets: Packets,
        mapping: Mapping,
        plan: Plan,
        frame_len: u64,
        roll: u32,
        in_order: Option<InOrder>,
    ) -> Self {
        SpanReader {
            marks: vec![(Place::default(), packets.first())],
            stride: FIRST_STRIDE,
            turns_back: mapping.timeline.turns_back(),
            settled: false,
            held: 0,
            ahead,
            packets,
            mapping,
            plan,
            frame_len,
            // What was decoded already needs none.
            roll: if in_order.is_some() { 0 } else { roll as usize },
            in_order,
            lengths: None,
            index: 0,
            gathered: Vec::new(),
            segment: 0,
            place: Place::default(),
            exhausted: false,
            extent: Extent::default(),
            end: None,
        }
    }

    /// The same of packets that may have several frames, which `lengths` counts.
    #[must_use]
    pub fn with_lengths(mut self, lengths: Option<Lengths>) -> Self {
        self.lengths = lengths;
        self
    }

    /// What was read: complete after [`Advance::End`].
    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    /// The packets it reads from.
    pub fn packets(&self) -> &Packets {
        &self.packets
    }

    /// What it reads of them.
    pub fn timeline(&self) -> &Timeline {
        &self.mapping.timeline
    }

    /// Reads on for a moment. The caller can do other work while a span arrives from a slow source, or while packets
    /// before the first span are skipped.
    ///
    /// There is at least one span, and only the last can be empty.
    pub fn advance(&mut self, source: &mut dyn Source) -> Result<Advance> {
        /// Steps at once: packets, or segments.
        const MOMENT: usize = 256;
        if self
            .end
            .is_some_and(|(_, end)| self.index > 0 && self.output_start() >= end)
        {
            return Ok(Advance::End);
        }
        let whole = self.output_start()
            ..self
                .plan
                .start(self.index + 1)
                .saturating_mul(self.frame_len);
        let needs = self.mapping.needs(&whole, None).presentation;
        for _ in 0..MOMENT {
            if self.step(source, &needs)? {
                let end = self.end.map_or(u64::MAX, |(_, end)| end);
                let output = whole.start..whole.end.min(end).max(whole.start);
                return Ok(Advance::Span(self.cut(output)));
            }
        }
        Ok(Advance::Reading)
    }

    /// The next span, however long it takes to come in; `None` after the last.
    #[cfg(test)]
    pub fn next(&mut self, source: &mut dyn Source) -> Result<Option<Span>> {
        loop {
            match self.advance(source)? {
                Advance::Reading => {}
                Advance::Span(span) => return Ok(Some(span)),
                Advance::End => return Ok(None),
            }
        }
    }

    fn output_start(&self) -> u64 {
        self.plan.start(self.index).saturating_mul(self.frame_len)
    }

    /// Gathers some of what `needs` of the presentation is made of; true once all of it is there.
    fn step(&mut self, source: &mut dyn Source, needs: &Range<u64>) -> Result<bool> {
        let timeline = &self.mapping.timeline;
        let Some(&segment) = timeline.segments().get(self.segment) else {
            self.finish();
            return Ok(true);
        };
        let is_last = self.segment + 1 == timeline.segments().len();
        let slack = timeline.slack();
        if segment.start >= needs.end {
            return Ok(true);
        }
        let Some(media) = segment.media else {
            return Ok(self.pass(segment, needs));
        };
        let on_decoder = |place: u64| media.saturating_add(place.saturating_sub(segment.start));
        let from = on_decoder(needs.start.max(segment.start));
        self.enter(&segment, from)?;
        // A short last duration cuts off a part of the last packet only: what comes before that packet is certain.
        self.skip_unneeded(source, from)?;
        let sure = match (self.exhausted, self.gathered.last()) {
            (true, _) => u64::MAX,
            (false, Some(Gathered { packets, .. })) => {
                packets.last().map_or(self.place.position, |p| p.start)
            }
            (false, None) => self.place.position,
        };
        let end = on_decoder(segment.end()).saturating_add(slack);
        if sure >= end {
            if is_last {
                self.segment += 1;
                self.finish();
                return Ok(true);
            }
            return Ok(self.pass(segment, needs));
        }
        if segment.end() > needs.end && sure >= on_decoder(needs.end) {
            return Ok(true);
        }
        if !self.read_packet(source)? {
            self.exhausted = true;
            self.settle(&segment)?;
        }
        self.drop_unneeded(from);
        Ok(false)
    }

    /// Goes on to the next segment, if `needs` goes on that far; otherwise everything is there.
    fn pass(&mut self, segment: Segment, needs: &Range<u64>) -> bool {
        if segment.end() > needs.end {
            return true;
        }
        self.segment += 1;
        false
    }

    /// Begins to gather what `segment` needs, from PCM sample `from` of the decoder's output on.
    fn enter(&mut self, segment: &Segment, from: u64) -> Result<()> {
        let roll = self.roll;
        let next = match self.gathered.last() {
            Some(last) if last.segment == segment.start => return Ok(()),
            Some(last) if last.reaches_back_to(from, roll) => {
                last.from(last.unneeded(from, roll), segment.start)
            }
            last => {
                if last.is_some() {
                    self.go_back(from)?;
                }
                Gathered {
                    segment: segment.start,
                    ..Gathered::default()
                }
            }
        };
        // What was read behind the segment before is not its own.
        let before = self.mapping.timeline.segments()[..self.segment]
            .iter()
            .rfind(|s| s.media.is_some());
        if let Some(last) = self.gathered.last_mut()
            && let Some(before) = before.filter(|s| s.start == last.segment)
        {
            let media = before.media.unwrap_or_default();
            last.truncate(media.saturating_add(before.len));
            // Nor what was read in front of it, on the way from a mark.
            last.forget(last.unneeded(media, roll));
            self.held += last.held();
        }
        self.gathered.push(next);
        Ok(())
    }

    /// Goes back in the media, so far that a decoder can begin at PCM sample `from`.
    fn go_back(&mut self, from: u64) -> Result<()> {
        let at = self
            .marks
            .partition_point(|(place, _)| place.position <= from);
        let at = match (&self.in_order, self.roll) {
            (Some(_), _) => 0,
            (None, 0) => at.saturating_sub(1),
            // Between two marks there are more packets than any decoder needs.
            (None, _) => at.saturating_sub(2),
        };
        let (place, mark) = &self.marks[at];
        self.place = *place;
        self.packets.go_back(mark);
        self.ahead.clear();
        self.exhausted = false;
        match &mut self.in_order {
            Some(in_order) => in_order.restart(),
            None => Ok(()),
        }
    }

    /// Marks the place if it may be needed again, and is some way from the last mark.
    fn mark(&mut self) {
        let last = self.marks.last().map_or(0, |(place, _)| place.packets);
        if !self.turns_back
            || self.place.packets < last.saturating_add(self.stride)
            || !self.ahead.is_empty()
        {
            return;
        }
        let Some(mark) = self.packets.mark() else {
            return;
        };
        if self.marks.len() >= MOST_MARKS {
            let mut index = 0;
            self.marks.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
        }
        self.marks.push((self.place, mark));
    }

    /// Reads the next packet; false at the end.
    fn read_packet(&mut self, source: &mut dyn Source) -> Result<bool> {
        if self.exhausted {
            return Ok(false);
        }
        self.mark();
        let Some(gathered) = self.gathered.last_mut() else {
            return Ok(false);
        };
        let at = gathered.data.len();
        let packet = match self.ahead.pop_front() {
            Some((packet, data)) => {
                gathered.data.extend_from_slice(&data);
                packet
            }
            None => match self.packets.next(source, &mut gathered.data)? {
                Some(packet) => packet,
                None => return Ok(false),
            },
        };
        if packet.read < packet.size {
            // Half a packet does not decode to anything that was recorded.
            gathered.data.truncate(at);
            self.extent.cut_at = Some(packet.offset + u64::from(packet.read));
            return Ok(false);
        }
        let clock = &self.mapping.clock;
        let place = &mut self.place;
        let silence = place.lag.before(clock, packet.gap, packet.duration);
        let from = packet.time.saturating_sub(silence.units);
        if silence.units > 0 && self.packets.miss(from, packet.time) {
            let before = clock.samples(place.gaps);
            place.units = place.units.saturating_sub(silence.counted);
            place.gaps = place.gaps.saturating_add(silence.units);
            let missing = clock.samples(place.gaps) - before;
            place.position = gathered.fill(place.position, missing, packet.offset, at);
        }
        let mut decoded = None;
        if let Some(in_order) = &mut self.in_order {
            let coded = gathered.data.split_off(at);
            decoded = in_order.decode(packet.entry, &coded, &mut gathered.data);
        }
        let start = place.position;
        let filled = clock.samples(place.gaps);
        let before = clock.samples(place.units);
        place.units = place.units.saturating_add(u64::from(packet.duration));
        place.last = Some(packet.duration);
        let declared = clock.samples(place.units) - before;
        let coded = &gathered.data[at..];
        let is_usual = !Lag::stands_out(clock, packet.duration, packet.size);
        let told = self.lengths.and_then(|lengths| lengths.of(coded, is_usual));
        place.position = match told.or(clock.packet_len) {
            Some(len) => start.saturating_add(len.into()),
            None if self.in_order.is_some() => {
                // A short duration may be the end padding of some codecs; but none at all, or a millisecond less, are
                // what other containers leave of it.
                let padding = decoded.map_or(0, |len| len.saturating_sub(declared));
                let is_told = declared > 0 && padding > u64::from(clock.sample_rate / 1000);
                place.padding = if is_told { padding } else { 0 };
                let most = declared.min(LONGEST_PACKET.into());
                start.saturating_add(decoded.unwrap_or(most))
            }
            None => {
                let declared = clock.samples(place.units) - place.overlong;
                let declared = declared.saturating_add(filled);
                let most = match self.packets.uncompressed() {
                    true => packet.size,
                    false => LONGEST_PACKET,
                };
                let end = declared.clamp(start, start.saturating_add(most.into()));
                place.overlong += declared.saturating_sub(end);
                end
            }
        };
        let len = u32::try_from(place.position - start).map_err(|_| {
            Error::malformed(packet.offset, "packet", "its duration is longer than a day")
        })?;
        place.packets += 1;
        if place.packets > self.extent.packets {
            self.extent.packets = place.packets;
            self.extent.audio_bytes += u64::from(packet.size);
        }
        gathered.packets.push(SpanPacket {
            start,
            len,
            gap: false,
            offset: packet.offset,
            at,
            size: gathered.data.len() - at,
        });
        place.len = len;
        match (told.or(clock.packet_len), &self.in_order) {
            // It is as long as its duration says.
            (None, None) => {}
            (None, Some(_)) => place
                .lag
                .after(clock, packet.duration, decoded.unwrap_or(declared)),
            (Some(_), _) => place.lag.after(clock, packet.duration, len.into()),
        }
        let held = self.held + gathered.held();
        if held > SPAN_LIMIT {
            return Err(Error::Limit {
                at: packet.offset,
                what: format!(
                    "the size of the packets for one stretch of the audio ({held} bytes)"
                ),
                limit: SPAN_LIMIT as u64,
            });
        }
        Ok(true)
    }

    /// The media has ended in `segment`: from there on, the timeline is now certain.
    fn settle(&mut self, segment: &Segment) -> Result<()> {
        if self.settled {
            return Ok(());
        }
        self.settled = true;
        let clock = &self.mapping.clock;
        let Place {
            units,
            gaps,
            overlong,
            position,
            padding,
            last,
            len,
            ..
        } = self.place;
        self.extent.ended = Some(units.saturating_add(gaps));
        let filled = clock.samples(gaps);
        let decoded = position.saturating_sub(filled);
        let media_len = match (clock.packet_len, &self.in_order) {
            (None, Some(_)) => {
                let before = decoded.saturating_sub(len.into());
                match clock.tells_padding(before, units, last) {
                    true => decoded.saturating_sub(padding),
                    false => decoded,
                }
            }
            (Some(_), _) => clock.sound_len(decoded, len, units, last),
            (None, None) if clock.instant.is_some() => decoded,
            (None, None) => clock.samples(units).saturating_sub(overlong),
        };
        self.mapping.timeline.settle(MediaEnd {
            time: units.saturating_add(gaps),
            len: media_len.saturating_add(filled),
        });
        self.segment = self.mapping.timeline.index_from(segment.start);
        let in_order = self.in_order.is_some();
        self.mapping.timeline.check(self.mapping.at, in_order)
    }

    /// All segments are there: the length is known.
    fn finish(&mut self) {
        let timeline = &self.mapping.timeline;
        let len = timeline.len().unwrap_or_default();
        self.extent.beyond = timeline.beyond();
        self.extent.input_len = timeline.media_len();
        self.extent.output_len = self.mapping.output_len(len);
        self.end = Some((len, self.extent.output_len));
    }

    /// Skips packets that end well before `from` without reading them (a trim far into the file).
    fn skip_unneeded(&mut self, source: &mut dyn Source, from: u64) -> Result<()> {
        if self.in_order.is_some() || self.exhausted {
            return Ok(());
        }
        match self.mapping.clock.packet_len {
            Some(len) => self.skip_by_number(source, from, len.into()),
            None => self.skip_by_time(source, from),
        }
    }

    /// Skips packets of `len` PCM samples each.
    fn skip_by_number(&mut self, source: &mut dyn Source, from: u64, len: u64) -> Result<()> {
        const WORTH: u64 = 64;
        let before = from.saturating_sub(self.place.position) / len.max(1);
        // One more than the roll, to be safe: it costs nothing.
        let unneeded = before.saturating_sub(self.roll as u64 + 1);
        if unneeded < WORTH {
            return Ok(());
        }
        let clock = self.mapping.clock;
        let mut lag = self.place.lag;
        let ahead = self.ahead.iter();
        if !ahead
            .clone()
            .all(|(p, _)| lag.takes(&clock, p.gap, p.duration, p.size))
        {
            return Ok(());
        }
        let ahead: Vec<Packet> = self.ahead.drain(..).map(|(packet, _)| packet).collect();
        let rest = unneeded.saturating_sub(ahead.len() as u64);
        let passed = self.packets.skip(source, rest, &clock, &mut lag)?;
        let packets = ahead.len() as u64 + passed.packets;
        let units: u64 = ahead.iter().map(|p| u64::from(p.duration)).sum();
        let place = &mut self.place;
        place.lag = lag;
        place.packets += packets;
        place.units = place
            .units
            .saturating_add(units)
            .saturating_add(passed.duration);
        place.last = passed
            .last
            .or(ahead.last().map(|p| p.duration))
            .or(place.last);
        place.position += packets * len;
        if packets > 0 {
            place.len = len as u32;
            self.forget_before_skip();
        }
        self.extent.packets = self.extent.packets.max(self.place.packets);
        Ok(())
    }

    /// Drops what was gathered in front of packets that were skipped: a later segment may need those, and what is
    /// gathered has no holes.
    fn forget_before_skip(&mut self) {
        if let Some(gathered) = self.gathered.last_mut() {
            gathered.forget(usize::MAX);
        }
    }

    /// Skips packets that are as long as the container says.
    fn skip_by_time(&mut self, source: &mut dyn Source, from: u64) -> Result<()> {
        let clock = self.mapping.clock;
        // Packets that declare more than they can hold have to be read: a part of them is closed.
        let longest = match clock.timescale == clock.sample_rate {
            true => u64::from(LONGEST_PACKET),
            // Rounding can lengthen a packet by one.
            false => clock.units_within(u64::from(LONGEST_PACKET - 1)),
        };
        let fits = |size: u32, duration: u32| match clock.instant {
            Some(_) => !Lag::stands_out(&clock, duration, size),
            None => u64::from(duration) <= longest,
        };
        // One more than the roll: rounding can make the last end late.
        let kept = self.roll as u64 + 1;
        // However long packets are, so many PCM samples are in more than are kept.
        let far = kept.saturating_mul(LONGEST_PACKET.into());
        for (distance, kept) in [(far, 0), (0, kept)] {
            let until = from.saturating_sub(distance);
            while self.ahead.is_empty() && until > self.place.position {
                let units = clock.units_within(until - self.place.position);
                let mut lag = self.place.lag;
                let passed = self
                    .packets
                    .skip_within(source, units, kept, fits, &clock, &mut lag)?;
                self.place.lag = lag;
                if passed.packets == 0 {
                    break;
                }
                let place = &mut self.place;
                place.packets += passed.packets;
                place.units = place.units.saturating_add(passed.duration);
                place.position = match clock.instant {
                    Some(_) => place
                        .position
                        .saturating_add(clock.samples(passed.duration)),
                    None => (clock.samples(place.units) - place.overlong)
                        .saturating_add(clock.samples(place.gaps)),
                };
                self.extent.packets = self.extent.packets.max(place.packets);
                self.forget_before_skip();
            }
        }
        Ok(())
    }

    /// Drops packets before `from` once there are enough of them (a trim far into the file).
    fn drop_unneeded(&mut self, from: u64) {
        const WORTH: usize = 1024;
        const WORTH_BYTES: usize = 1 << 20;
        let Some(gathered) = self.gathered.last_mut() else {
            return;
        };
        let unneeded = gathered.unneeded(from, self.roll);
        let bytes = gathered
            .packets
            .get(unneeded)
            .map_or(gathered.data.len(), |p| p.at);
        if unneeded >= WORTH || bytes >= WORTH_BYTES {
            gathered.forget(unneeded);
        }
    }

    /// Takes the gathered packets as one span and keeps those that the next one needs again.
    fn cut(&mut self, output: Range<u64>) -> Span {
        let index = self.index;
        let needs = self.mapping.needs(&output, self.end.map(|(len, _)| len));
        self.index += 1;
        let next = self.plan.start(self.index).saturating_mul(self.frame_len);
        let next_needs = self.mapping.needs(&(next..next), None).presentation.start;
        let own =
            self.mapping.on_presentation(output.start)..self.mapping.on_presentation(output.end);
        let reading = self.gathered.last().map(|gathered| gathered.segment);
        let mut pieces = Vec::new();
        for (segment, part) in self.mapping.timeline.pieces(needs.presentation.clone()) {
            let mut piece = Piece {
                len: part.len,
                media: part.media,
                own: 0..0,
                begins: own.start <= segment.start,
                packets: Vec::new(),
                data: Vec::new(),
            };
            let at = self.gathered.partition_point(|g| g.segment < segment.start);
            let gathered = self.gathered.get_mut(at);
            let gathered = gathered.filter(|g| g.segment == segment.start);
            if let (Some(media), Some(gathered)) = (segment.media, gathered) {
                let on_decoder = |place: u64| {
                    let place = place.clamp(segment.start, segment.end());
                    media.saturating_add(place - segment.start)
                };
                piece.own = on_decoder(own.start)..on_decoder(own.end);
                let input = piece.input();
                gathered.forget(gathered.unneeded(input.start, self.roll));
                let kept = match segment.end() > next_needs || reading == Some(segment.start) {
                    true => gathered.unneeded(on_decoder(next_needs), self.roll),
                    false => usize::MAX,
                };
                let kept = gathered.from(kept, segment.start);
                let mut whole = std::mem::replace(gathered, kept);
                // Packets past what this span needs were read to be certain of its end.
                whole.truncate(input.end);
                whole.data.shrink_to_fit();
                piece.packets = whole.packets;
                piece.data = whole.data;
            }
            pieces.push(piece);
        }
        let mut ahead = self.mapping.timeline.pieces(next_needs..u64::MAX);
        let needed = ahead.next().map_or(u64::MAX, |(first, _)| first.start);
        self.gathered
            .retain(|g| g.segment >= needed || reading == Some(g.segment));
        let all: usize = self.gathered.iter().map(Gathered::held).sum();
        self.held = all - self.gathered.last().map_or(0, Gathered::held);
        Span {
            index,
            first_frame: self.plan.start(index),
            last: self.end.is_some_and(|(_, end)| next >= end),
            output,
            work: needs.work,
            input_start: needs.presentation.start,
            pieces,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_cover_a_file_evenly_and_keep_to_their_unit() {
        for unit in [1, 49, 245] {
            for frames in [
                1, 500, 2_300, 9_000, 15_679, 15_681, 22_970, 31_361, 275_625, 10_000_000,
            ] {
                let plan = Plan::new(Some(frames), unit, 0);
                let spans = (1..).find(|&i| plan.start(i) >= frames).unwrap();
                let last = frames - plan.start(spans - 1);
                for index in 0..spans {
                    let (start, end) = (plan.start(index), plan.start(index + 1));
                    assert_eq!(start % unit, 0);
                    assert!(start < end && end - start <= LONG + unit, "{plan:?}");
                }
                assert!(
                    spans == 1 || last * 4 > plan.start(1),
                    "{frames}: {plan:?} ends with {last}"
                );
                let shortest = (1..spans).map(|i| plan.start(i) - plan.start(i - 1)).min();
                assert!(
                    shortest.is_none_or(|len| 2 * (len + unit) >= SHORTEST),
                    "{plan:?}"
                );
            }
        }
    }

    #[test]
    fn cores_that_take_spans_in_turn_finish_together() {
        let frames = 22_970;
        let plan = Plan::new(Some(frames), 49, 0);
        for (cores, at_most) in [
            (1, 1.0),
            (2, 1.0),
            (3, 1.125),
            (4, 1.0),
            (6, 1.125),
            (8, 1.0),
            (16, 1.0),
        ] {
            let mut ends = vec![0; cores];
            for index in (0..).take_while(|&i| plan.start(i) < frames) {
                let next = ends.iter_mut().min().unwrap();
                *next += plan.start(index + 1) - plan.start(index);
            }
            let longest = *ends.iter().max().unwrap() as f64;
            let fair = frames as f64 / cores as f64;
            assert!(
                longest < at_most * fair + 4.0 * 49.0,
                "{cores} cores: {ends:?}"
            );
        }
    }

    #[test]
    fn a_growing_plan_reaches_the_length_of_a_long_file() {
        let plan = Plan::new(None, 49, 0);
        let starts: Vec<u64> = (0..5).map(|i| plan.start(i)).collect();
        assert_eq!(starts, [0, 588, 1764, 3724, 5684]);
    }

    /// Bytes for each frame of an output at `rate` Hz, of audio with this many bytes a second.
    fn frame_bytes(bytes: u64, rate: u64) -> u64 {
        bytes * 1152 / rate
    }

    #[test]
    fn the_bytes_of_compressed_audio_never_shorten_its_spans() {
        for rate in [44_100, 48_000, 32_000] {
            for kbps in [8, 128, 192, 320] {
                let bytes = frame_bytes(kbps * 125, rate);
                for frames in [None, Some(500), Some(2_300), Some(22_970), Some(275_625)] {
                    let capped = Plan::new(frames, 49, bytes);
                    let plain = Plan::new(frames, 49, 0);
                    for index in 0..300 {
                        assert_eq!(capped.start(index), plain.start(index), "{kbps} kbit/s");
                    }
                }
            }
        }
    }

    #[test]
    fn a_span_of_uncompressed_audio_is_as_large_as_one_of_compressed() {
        // 16 bits at 44.1 kHz; 24 bits at 48 kHz; the same of eight channels.
        for (bytes, rate) in [(176_400, 44_100), (288_000, 48_000), (1_152_000, 48_000)] {
            let bytes = frame_bytes(bytes, rate);
            for frames in [None, Some(2_300), Some(22_970), Some(275_625)] {
                let plan = Plan::new(frames, 49, bytes);
                for index in 0..100 {
                    let len = plan.start(index + 1) - plan.start(index);
                    let most = (SPAN_BYTES as u64 / bytes).max(LEAST) + 49;
                    assert!(len <= most, "{plan:?}: {len} frames");
                    assert!(2 * (len + 49) >= LEAST, "{plan:?}: {len} frames");
                }
            }
        }
    }
}
