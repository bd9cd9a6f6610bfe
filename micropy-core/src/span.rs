//! Cuts a track into spans, with the packets that each span needs.

use std::collections::VecDeque;
use std::ops::Range;

use crate::decode::InOrder;
use crate::error::{Error, Result};
use crate::mp4::{Packet, Packets};
use crate::resample::Resampler;
use crate::source::Source;
use crate::timeline::{MediaClock, Presented};

/// A file of medium length is cut into eight spans: enough for the cores of most machines, with few seams. Each seam
/// costs up to a few hundred frames; at a constant bitrate, 70 on average.
const MEDIUM: u64 = 8;
/// Frames of the longest such span: 75 seconds at 44.1 kHz. Memory bounds it.
const LONGEST: u64 = 2940;
/// Frames of a span in a longer file, where the sample table takes memory too.
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
/// How many spans at the end of a file are half as long, so that the cores finish together.
const HALVES: u64 = 4;

/// PCM samples of the longest packet of any codec whose packets vary in length: a FLAC frame (65,535). Without a limit,
/// a packet of a few bytes could declare a day of silence.
const LONGEST_PACKET: u32 = 1 << 16;

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
                let wish = match frames.div_ceil(MEDIUM) {
                    medium @ ..=LONGEST => medium.max(SHORTEST),
                    _ => LONG,
                };
                let wish = wish.min(most);
                let units = frames.div_ceil(unit).max(1);
                let spans = frames.div_ceil(wish).clamp(1, units);
                if spans > HALVES / 2 && wish >= 2 * SHORTEST {
                    Length::Shared {
                        units,
                        steps: 2 * spans,
                        whole: spans - HALVES / 2,
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
    /// Byte offset in the source.
    pub offset: u64,
    /// Where its bytes begin in [`Span::data`].
    at: usize,
    /// How many they are.
    size: usize,
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
    /// PCM samples of silence there, before the decoder's output.
    pub silence: u64,
    /// The decoder's PCM samples it needs, counted from the track's start.
    pub input: Range<u64>,
    /// The decoder's PCM samples that belong to this span alone.
    own: Range<u64>,
    /// Packets from the roll to the look-ahead of the resampler.
    packets: Vec<SpanPacket>,
    data: Vec<u8>,
}

impl Span {
    /// Packet `index` of those needed, with its bytes.
    pub fn packet(&self, index: usize) -> Option<(&SpanPacket, &[u8])> {
        let packet = self.packets.get(index)?;
        Some((packet, &self.data[packet.at..packet.at + packet.size]))
    }

    /// Memory that its packets take.
    pub fn bytes(&self) -> usize {
        held(&self.packets, &self.data)
    }

    /// Whether `packet` is counted for this span, rather than for its neighbour.
    pub fn owns(&self, packet: &SpanPacket) -> bool {
        let end = packet.start + u64::from(packet.len);
        let begins = match self.index {
            0 => end > self.own.start,
            _ => packet.start >= self.own.start,
        };
        begins && packet.start < self.own.end
    }
}

/// Memory that packets with `data` take. Tables can have many empty packets.
fn held(packets: &[SpanPacket], data: &[u8]) -> usize {
    size_of_val(packets) + data.len()
}

/// How positions in the output map to the decoder's PCM.
///
/// Between the two is the presentation: the silence of a late start, then the presented part of the decoder's PCM, at
/// the decoder's rate.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Media time to PCM samples.
    pub clock: MediaClock,
    /// What of the decoder's output is converted.
    pub presented: Presented,
    /// PCM samples of silence before it.
    pub silence: u64,
    /// From the presentation to the output, if their rates differ.
    pub resampler: Option<Resampler>,
    /// PCM samples of the output that the stages need before and after a span.
    pub roll: (u64, u64),
}

/// What an output range is made of.
struct Needs {
    work: Range<u64>,
    presentation: Range<u64>,
    silence: u64,
    input: Range<u64>,
}

impl Mapping {
    /// PCM samples of the output for `len` of the presented part.
    pub fn output_len(&self, len: u64) -> u64 {
        let len = self.silence.saturating_add(len);
        self.resampler.as_ref().map_or(len, |r| r.output_len(len))
    }

    /// What `output` is made of. `len`: PCM samples of the whole presented part, if known.
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
            let end = self.silence.saturating_add(len);
            presentation = presentation.start.min(end)..presentation.end.min(end);
        }
        let Range { start, end } = presentation;
        let on_decoder = |place: u64| {
            let place = place.saturating_sub(self.silence);
            self.presented.start.saturating_add(place)
        };
        Needs {
            work,
            silence: end.min(self.silence) - start.min(self.silence),
            input: on_decoder(start)..on_decoder(end),
            presentation,
        }
    }

    /// The position in the decoder's output for `place` in the output, to about a PCM sample.
    fn on_decoder(&self, place: u64) -> u64 {
        let centre = match &self.resampler {
            Some(resampler) => resampler.instant(place),
            None => place,
        };
        let place = centre.saturating_sub(self.silence);
        self.presented.start.saturating_add(place)
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

/// Reads a track's packets once, forward, and groups them into spans.
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
    /// The span being gathered.
    index: usize,
    gathered: Vec<SpanPacket>,
    data: Vec<u8>,
    /// Media units of all packets read.
    units: u64,
    /// PCM samples of them that no packet can hold: a gap, which is closed.
    overlong: u64,
    /// End of the last packet in the decoder's output.
    position: u64,
    extent: Extent,
    end: Option<u64>,
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
            ahead,
            packets,
            mapping,
            plan,
            frame_len,
            roll: roll as usize,
            in_order,
            index: 0,
            gathered: Vec::new(),
            data: Vec::new(),
            units: 0,
            overlong: 0,
            position: 0,
            extent: Extent::default(),
            end: None,
        }
    }

    /// What was read: complete after [`Advance::End`].
    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    /// The packets it reads from.
    pub fn packets(&self) -> &Packets {
        &self.packets
    }

    /// Reads on for a moment. The caller can do other work while a span arrives from a slow source, or while packets
    /// before the first span are skipped.
    ///
    /// There is at least one span, and only the last can be empty.
    pub fn advance(&mut self, source: &mut dyn Source) -> Result<Advance> {
        /// Packets read at once.
        const MOMENT: usize = 256;
        if self
            .end
            .is_some_and(|end| self.index > 0 && self.output_start() >= end)
        {
            return Ok(Advance::End);
        }
        let whole = self.output_start()
            ..self
                .plan
                .start(self.index + 1)
                .saturating_mul(self.frame_len);
        let needs = self.mapping.needs(&whole, None).input;
        // A short last duration cuts off a part of the last packet only: what comes before that packet is certain.
        self.skip_unneeded(source, needs.start)?;
        for _ in 0..MOMENT {
            let sure = self.gathered.last().map_or(self.position, |p| p.start);
            if self.end.is_none() && self.presented_end().is_some_and(|end| end <= sure) {
                self.finish();
            }
            if self.end.is_some() || sure >= needs.end {
                let end = self.end.unwrap_or(u64::MAX);
                let output = whole.start..whole.end.min(end).max(whole.start);
                return Ok(Advance::Span(self.cut(output)));
            }
            if !self.read_packet(source)? {
                self.finish();
            }
            self.drop_unneeded(needs.start);
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

    /// Where the presented part ends in the decoder's output, if the container says.
    fn presented_end(&self) -> Option<u64> {
        let Presented { start, length } = self.mapping.presented;
        length.map(|length| start.saturating_add(length))
    }

    /// Appends the next packet; false at the end.
    fn read_packet(&mut self, source: &mut dyn Source) -> Result<bool> {
        let at = self.data.len();
        let packet = match self.ahead.pop_front() {
            Some((packet, data)) => {
                self.data.extend_from_slice(&data);
                packet
            }
            None => match self.packets.next(source, &mut self.data)? {
                Some(packet) => packet,
                None => return Ok(false),
            },
        };
        if packet.read < packet.size {
            // Half a packet does not decode to anything that was recorded.
            self.data.truncate(at);
            self.extent.cut_at = Some(packet.offset + u64::from(packet.read));
            return Ok(false);
        }
        if let Some(in_order) = &mut self.in_order {
            let coded = self.data.split_off(at);
            in_order.decode(&coded, &mut self.data);
        }
        let start = self.position;
        self.units = self.units.saturating_add(u64::from(packet.duration));
        self.position = match self.mapping.clock.packet_len {
            Some(len) => start.saturating_add(u64::from(len)),
            None => {
                let declared = self.mapping.clock.samples(self.units) - self.overlong;
                let most = match self.packets.uncompressed() {
                    true => packet.size,
                    false => LONGEST_PACKET,
                };
                let end = declared.min(start.saturating_add(most.into()));
                self.overlong += declared - end;
                end
            }
        };
        let len = u32::try_from(self.position - start).map_err(|_| {
            Error::malformed(packet.offset, "packet", "its duration is longer than a day")
        })?;
        self.extent.packets += 1;
        self.extent.audio_bytes += u64::from(packet.size);
        self.gathered.push(SpanPacket {
            start,
            len,
            offset: packet.offset,
            at,
            size: self.data.len() - at,
        });
        let held = held(&self.gathered, &self.data);
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

    fn finish(&mut self) {
        let media_len = self
            .mapping
            .clock
            .media_len(self.extent.packets, self.units)
            .saturating_sub(self.overlong);
        self.extent.input_len = self.mapping.presented.len_within(media_len);
        self.extent.output_len = self.mapping.output_len(self.extent.input_len);
        self.end = Some(self.extent.output_len);
    }

    /// How many of the gathered packets a span does not need if it needs PCM from `from` on.
    fn unneeded(&self, from: u64) -> usize {
        let first = self
            .gathered
            .partition_point(|p| p.start + u64::from(p.len) <= from);
        match self.in_order {
            // Already decoded: no roll.
            Some(_) => first,
            None => first.saturating_sub(self.roll),
        }
    }

    /// Skips packets that end well before `from` without reading them (a trim far into the file).
    fn skip_unneeded(&mut self, source: &mut dyn Source, from: u64) -> Result<()> {
        const WORTH: u64 = 64;
        let Some(len) = self.mapping.clock.packet_len.map(u64::from) else {
            return Ok(());
        };
        let before = from.saturating_sub(self.position) / len.max(1);
        // One more than the roll, to be safe: it costs nothing.
        let unneeded = before.saturating_sub(self.roll as u64 + 1);
        if unneeded < WORTH {
            return Ok(());
        }
        let ahead: Vec<Packet> = self.ahead.drain(..).map(|(packet, _)| packet).collect();
        let rest = unneeded.saturating_sub(ahead.len() as u64);
        let passed = self.packets.skip(source, rest)?;
        let packets = ahead.len() as u64 + passed.packets;
        self.extent.packets += packets;
        let units: u64 = ahead.iter().map(|p| u64::from(p.duration)).sum();
        self.units = self
            .units
            .saturating_add(units)
            .saturating_add(passed.duration);
        self.position += packets * len;
        Ok(())
    }

    /// Drops packets before `from` once there are enough of them (a trim far into the file).
    fn drop_unneeded(&mut self, from: u64) {
        const WORTH: usize = 1024;
        const WORTH_BYTES: usize = 1 << 20;
        let unneeded = self.unneeded(from);
        let bytes = self
            .gathered
            .get(unneeded)
            .map_or(self.data.len(), |p| p.at);
        if unneeded >= WORTH || bytes >= WORTH_BYTES {
            self.forget(unneeded);
        }
    }

    fn forget(&mut self, count: usize) {
        let Some(base) = self.gathered.get(count).map(|p| p.at) else {
            self.gathered.clear();
            self.data.clear();
            return;
        };
        self.gathered.drain(..count);
        self.data.drain(..base);
        self.gathered.iter_mut().for_each(|p| p.at -= base);
    }

    /// Takes the gathered packets as one span and keeps those that the next one needs again.
    fn cut(&mut self, output: Range<u64>) -> Span {
        let index = self.index;
        let len = self.end.map(|_| self.extent.input_len);
        let needs = self.mapping.needs(&output, len);
        let unneeded = self.unneeded(needs.input.start);
        self.forget(unneeded);
        self.index += 1;
        let next = self.plan.start(self.index).saturating_mul(self.frame_len);
        let next_needs = self.mapping.needs(&(next..next), None);
        let kept_from = self.unneeded(next_needs.input.start);
        let kept: Vec<SpanPacket> = self.gathered[kept_from..].to_vec();
        let base = kept.first().map_or(self.data.len(), |p| p.at);
        let data = self.data[base..].to_vec();
        let mut packets = std::mem::replace(&mut self.gathered, kept);
        self.gathered.iter_mut().for_each(|p| p.at -= base);
        let mut bytes = std::mem::replace(&mut self.data, data);
        // Packets past what this span needs were read to be certain of its end.
        let used = packets.partition_point(|p| p.start < needs.input.end);
        packets.truncate(used);
        bytes.truncate(packets.last().map_or(0, |p| p.at + p.size));
        bytes.shrink_to_fit();
        Span {
            index,
            first_frame: self.plan.start(index),
            last: self.end.is_some_and(|end| next >= end),
            own: self.mapping.on_decoder(output.start)..self.mapping.on_decoder(output.end),
            output,
            work: needs.work,
            input_start: needs.presentation.start,
            silence: needs.silence,
            input: needs.input,
            packets,
            data: bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_cover_a_file_evenly_and_keep_to_their_unit() {
        for unit in [1, 49, 245] {
            for frames in [1, 500, 2_300, 22_970, 275_625, 10_000_000] {
                let plan = Plan::new(Some(frames), unit, 0);
                let spans = (1..).find(|&i| plan.start(i) >= frames).unwrap();
                let last = frames - plan.start(spans - 1);
                for index in 0..spans {
                    let (start, end) = (plan.start(index), plan.start(index + 1));
                    assert_eq!(start % unit, 0);
                    assert!(start < end && end - start <= LONGEST + unit, "{plan:?}");
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
