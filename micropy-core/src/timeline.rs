//! What is presented, and when: the presentation of a track is a list of [`Segment`]s of its media, with silence where
//! the edit list has none. All times of a container become PCM samples here.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::report::duration_of;
use crate::tags::Gapless;

mod lag;

pub use lag::Lag;

/// The most silence before audio that starts late, and the most that repeats and silence between segments may add to
/// the media: a few bytes can declare years of either.
const MOST_ADDED: Duration = Duration::from_secs(24 * 60 * 60);

/// What an edit leaves out of the media's end is meant from such a part of a second on, however coarse its clock is.
const SHORTEST_CUT: u32 = 10;

/// `value · to / from`, rounded to the nearest, without overflow up to `u64::MAX`.
pub fn rescale(value: u64, to: u32, from: u32) -> u64 {
    let from = u128::from(from.max(1));
    let scaled = (u128::from(value) * u128::from(to) + from / 2) / from;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Converts media time of one track into PCM samples of its decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaClock {
    /// Media units per second.
    pub timescale: u32,
    /// PCM samples per channel and second of the decoder's output (after SBR).
    pub sample_rate: u32,
    /// PCM samples of every packet, if the codec fixes it, or of the first ones.
    pub packet_len: Option<u32>,
    /// Packets may have any other length, which they tell where they are read.
    pub vary: bool,
    /// Bytes of one instant of uncompressed audio: the size of a packet tells its length.
    pub instant: Option<u32>,
}

impl MediaClock {
    /// `units` of media time as PCM samples, rounded to the nearest.
    pub fn samples(&self, units: u64) -> u64 {
        rescale(units, self.sample_rate, self.timescale)
    }

    /// The most units of media time that are no longer than `samples` PCM samples.
    pub fn units_within(&self, samples: u64) -> u64 {
        let scaled = u128::from(samples) * u128::from(self.timescale);
        let units = scaled / u128::from(self.sample_rate.max(1));
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// PCM samples that rounding to the clock's units may take or add.
    pub fn rounding(&self) -> u64 {
        match self.timescale == self.sample_rate {
            true => 0,
            false => u64::from(self.sample_rate.div_ceil(self.timescale.max(1))),
        }
    }

    /// By how many PCM samples durations deviate from the sound in front of the last packet, which is `before`.
    fn deviation(&self, before: u64, units: u64, last: Option<u32>) -> u64 {
        let last = u64::from(last.unwrap_or_default());
        self.samples(units.saturating_sub(last)).abs_diff(before)
    }

    /// Whether a last packet that is said to be shorter than its sound ends in padding: durations of milliseconds at least
    /// have to agree with the sound in front of it.
    pub fn tells_padding(&self, before: u64, units: u64, last: Option<u32>) -> bool {
        self.deviation(before, units, last) <= u64::from(self.sample_rate / 1000) + self.rounding()
    }

    /// Length of the decoder's output for `packets` packets whose durations sum to `units`: what the packets decode
    /// to, less the end padding that a short `last` duration declares. It may be unknown: then so is what is padding.
    ///
    /// Durations that differ for another reason (a coarse timescale, the jitter of a recorder's clock, gaps) say
    /// nothing about padding: then every PCM sample counts.
    pub fn media_len(&self, packets: u64, units: u64, last: Option<u32>) -> u64 {
        match self.packet_len {
            Some(len) => self.sound_len(packets.saturating_mul(len.into()), len, units, last),
            None => self.samples(units),
        }
    }

    /// The same of packets that decode to `decoded` PCM samples, of which the last has `packet_len`.
    pub fn sound_len(&self, decoded: u64, packet_len: u32, units: u64, last: Option<u32>) -> u64 {
        let declared = self.samples(units);
        let tick = u64::from(self.sample_rate.div_ceil(self.timescale));
        let padding = decoded.saturating_sub(declared);
        let exact = tick == 1 || padding >= tick;
        if !exact || padding >= u64::from(packet_len) || declared > decoded {
            return decoded;
        }
        if self.vary {
            let before = decoded.saturating_sub(packet_len.into());
            let is_exact = self.deviation(before, units, last) == 0;
            let is_told = is_exact || padding > u64::from(self.sample_rate / 1000);
            if !is_told || !self.tells_padding(before, units, last) {
                return decoded;
            }
        }
        let rounding = self.rounding();
        let most = last.map_or(u64::MAX, |units| {
            match u64::from(packet_len).saturating_sub(self.samples(units.into())) {
                0 => 0,
                short => short + rounding,
            }
        });
        decoded - padding.min(most)
    }
}

/// Where the media of a track ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaEnd {
    /// In timescale units.
    pub time: u64,
    /// In PCM samples of the decoder's output.
    pub len: u64,
}

/// One entry of an edit list (`elst`; ISO/IEC 14496-12, 8.6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// In movie timescale units; 0 in fragmented files: to the end.
    pub duration: u64,
    /// Where the edit begins in the media, in media timescale units; `None` for an empty edit
    /// (`media_time` −1).
    pub media_time: Option<u64>,
    /// Whether `media_rate` is 1.
    pub at_full_speed: bool,
}

/// The edit list of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditList {
    edits: Arc<[Edit]>,
    movie_timescale: u32,
    /// Units per second of `media_time`.
    timescale: u32,
    /// Packets follow in movie fragments: a duration of 0 stands for all of them.
    fragmented: bool,
}

/// Edits that play the media through, in movie timescale units from the first of all.
struct Stretch {
    start: u64,
    end: u64,
    /// Where it begins and ends in the media, in timescale units.
    media: Range<u64>,
    /// It goes on to the media's end, wherever that is.
    open: bool,
}

impl EditList {
    /// The list of `edits` in a movie of `movie_timescale` units per second, of a track of `timescale`.
    pub fn new(edits: Vec<Edit>, movie_timescale: u32, timescale: u32, fragmented: bool) -> Self {
        EditList {
            edits: edits.into(),
            movie_timescale,
            timescale,
            fragmented,
        }
    }

    /// The same list for media whose first packet decodes at `time` (in timescale units), which is then their
    /// beginning: a stream that is joined in the middle still has the edit list of its start. Edits count from when
    /// sound is presented, which is `offset` later than when it is decoded (8.6.1.3).
    ///
    /// Where edits present the time before, there is nothing to present. That is no late start, and no silence: the
    /// clock of a live stream may have run for years. Between other edits it is a gap.
    #[must_use]
    pub fn from(&self, time: u64, offset: i32) -> EditList {
        let mut edits: Vec<Edit> = Vec::with_capacity(self.edits.len());
        for &edit in self.edits.iter() {
            let Some(media) = edit.media_time else {
                edits.push(edit);
                continue;
            };
            let media = media.saturating_add_signed(-i64::from(offset));
            let before = rescale(
                time.saturating_sub(media),
                self.movie_timescale,
                self.timescale,
            );
            let before = before.min(edit.duration);
            if before > 0 && edits.iter().any(|e| e.media_time.is_some()) {
                edits.push(Edit {
                    duration: before,
                    media_time: None,
                    ..edit
                });
            }
            if before == 0 || before < edit.duration {
                edits.push(Edit {
                    duration: edit.duration - before,
                    media_time: Some(media.saturating_sub(time)),
                    ..edit
                });
            }
        }
        EditList {
            edits: edits.into(),
            ..self.clone()
        }
    }

    /// Lets the last edit go on to the media's end, if it ends at `time` within what rounding can hide. Returns whether it
    /// does.
    pub fn open_at(&mut self, time: u64) -> bool {
        let Some((&last, others)) = self.edits.split_last() else {
            return false;
        };
        let end = last
            .media_time
            .map(|media| media.saturating_add(self.units(last.duration)));
        let is_there = end.is_some_and(|end| end.abs_diff(time) <= self.tick());
        if !is_there || last.duration == 0 {
            return false;
        }
        let open = Edit {
            duration: 0,
            ..last
        };
        self.edits = others.iter().copied().chain([open]).collect();
        true
    }

    /// Whether an edit asks for another speed than the media's own.
    pub fn has_other_speed(&self) -> bool {
        let mut presenting = self.edits.iter().filter(|e| e.media_time.is_some());
        presenting.any(|e| !e.at_full_speed)
    }

    /// Whether media that was presented, or passed over, is presented later.
    pub fn turns_back(&self) -> bool {
        let stretches = self.stretches();
        stretches
            .windows(2)
            .any(|pair| pair[0].open || pair[1].media.start < pair[0].media.end)
    }

    /// Length of the empty edits before all others, a late start; 0 if there are no others.
    pub fn delay(&self) -> Duration {
        duration_of(self.delay_units(), self.timescale)
    }

    fn delay_units(&self) -> u64 {
        if self.stretches().is_empty() {
            return 0;
        }
        let empty = self.edits.iter().take_while(|e| e.media_time.is_none());
        let delay = empty.fold(0u64, |sum, e| sum.saturating_add(e.duration));
        self.units(delay)
    }

    /// `duration` of the movie in units of the media.
    fn units(&self, duration: u64) -> u64 {
        rescale(duration, self.timescale, self.movie_timescale)
    }

    /// The longest time in units of the media that rounding to the movie's timescale can hide.
    fn tick(&self) -> u64 {
        u64::from(self.timescale.div_ceil(self.movie_timescale.max(1)))
    }

    /// The same as far as the media decides it. Where the movie counts whole seconds, an edit that ends half a second
    /// before the media does means it.
    fn short_tick(&self) -> u64 {
        self.tick()
            .min((self.timescale / SHORTEST_CUT).max(1).into())
    }

    /// What is presented, in order: the empty edits are the time between the stretches.
    fn stretches(&self) -> Vec<Stretch> {
        let presenting = |e: &Edit| e.media_time.is_some();
        let have_lengths = self.edits.iter().any(|e| presenting(e) && e.duration > 0);
        // It presents all there is in a fragmented file, and nothing beside others that have a length.
        let open = |e: &Edit| e.duration == 0 && (self.fragmented || !have_lengths);
        let tick = self.short_tick();
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut now = 0u64;
        for edit in self.edits.iter().skip_while(|e| !presenting(e)) {
            let start = now;
            now = now.saturating_add(edit.duration);
            let Some(media) = edit.media_time else {
                continue;
            };
            if edit.duration == 0 && !open(edit) {
                continue;
            }
            let end = media.saturating_add(self.units(edit.duration));
            match stretches.last_mut() {
                // What was cut in two, but is played through.
                Some(last)
                    if !last.open
                        && last.end == start
                        && media.abs_diff(last.media.end) <= tick =>
                {
                    last.end = now;
                    last.media.end = end;
                    last.open = open(edit);
                }
                _ => stretches.push(Stretch {
                    start,
                    end: now,
                    media: media..end,
                    open: open(edit),
                }),
            }
        }
        stretches
    }
}

/// A piece of the presentation; lengths and places are PCM samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the presentation.
    pub start: u64,
    /// How long it is: at least 1. The last one of a timeline without a [length](Timeline::len) is as long as can be.
    pub len: u64,
    /// Where it begins in the decoder's output; `None`: silence.
    pub media: Option<u64>,
}

impl Segment {
    /// Where it ends in the presentation.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// Where it ends in the decoder's output.
    fn media_end(&self) -> u64 {
        self.media.unwrap_or_default().saturating_add(self.len)
    }
}

/// When the media times of a [`Timeline`] are presented: found at once, however many segments and times there are.
pub struct Presenter {
    /// The segments of media, in the order of the media.
    by_media: Vec<Segment>,
    /// The ends of them in the media, as the leaves of a tree whose nodes are the last ends below them; node 1 is the
    /// root, and those below node `n` are `2n` and `2n + 1`.
    ends: Vec<u64>,
    /// The segment of media that is presented first.
    first: Option<Segment>,
    /// Where the presentation ends.
    end: u64,
}

impl Presenter {
    /// When the media time `media` is presented, in units of the clock and in that order; where it is not presented at
    /// all, an empty range at the nearest end of the presentation.
    pub fn presented(&self, media: Range<u64>) -> Vec<Range<u64>> {
        let mut found = Vec::new();
        // An instant counts as presented where it begins something.
        let instant = media.is_empty();
        let before = self.by_media.partition_point(|s| {
            s.media < Some(media.end) || instant && s.media == Some(media.end)
        });
        let leaves = self.ends.len() / 2;
        let mut nodes = vec![1usize];
        while let Some(node) = nodes.pop() {
            let width = leaves >> node.ilog2();
            let first_leaf = node * width - leaves;
            if self.ends[node] <= media.start || first_leaf >= before {
                continue;
            }
            if node < leaves {
                nodes.extend([2 * node, 2 * node + 1]);
            } else if let Some(segment) = self.by_media.get(first_leaf) {
                let from = segment.media.unwrap_or_default();
                let on = |time: u64| segment.start.saturating_add(time - from);
                found.push(on(media.start.max(from))..on(media.end.min(segment.media_end())));
            }
        }
        found.sort_unstable_by_key(|range| range.start);
        if found.is_empty() {
            let nearest = match self.first {
                Some(s) if s.media.is_some_and(|from| media.start < from) => s.start,
                _ => self.end,
            };
            found.push(nearest..nearest);
        }
        found
    }
}

/// The presentation of a track, or the part of it that is wanted.
#[derive(Clone, Debug)]
pub struct Timeline {
    clock: MediaClock,
    edits: EditList,
    /// iTunSMPB, and the number of packets that it must account for.
    gapless: Option<(Gapless, u64)>,
    /// PCM samples that the codec says are no sound yet.
    pre_skip: u64,
    /// Put the silence of a late start first.
    late_start: bool,
    /// What of the presentation is wanted.
    part: Range<u64>,
    /// Each begins where the one before ends; the first begins at 0.
    segments: Vec<Segment>,
    /// The last segment ends where the media does.
    open: bool,
    /// The media's end is known.
    settled: bool,
    /// PCM samples that edits present from behind the media's end.
    beyond: u64,
}

impl Timeline {
    /// The presentation by `edits` of media that ends at `end`, if that is known.
    ///
    /// Where a segment ends within one unit of the movie's timescale of the media's own end, it ends there; but not where
    /// the media goes on for more than a tenth of a second. If the
    /// edits present the media as it is, iTunSMPB says what is presented, provided that it accounts for every packet of
    /// the track (`packets`, if known).
    pub fn new(
        clock: MediaClock,
        edits: EditList,
        gapless: Option<Gapless>,
        packets: Option<u64>,
        end: Option<MediaEnd>,
    ) -> Self {
        let mut timeline = Timeline {
            clock,
            edits,
            gapless: gapless.zip(packets),
            pre_skip: 0,
            late_start: false,
            part: 0..u64::MAX,
            segments: Vec::new(),
            open: false,
            settled: false,
            beyond: 0,
        };
        timeline.lay_out(end);
        timeline
    }

    /// The presentation of a track that is not decoded, in its own units, of which its media has `duration`.
    pub fn of_units(edits: EditList, timescale: u32, duration: u64) -> Self {
        let end = Some(MediaEnd {
            time: duration,
            len: duration,
        });
        let clock = MediaClock {
            timescale,
            sample_rate: timescale,
            packet_len: None,
            vary: false,
            instant: None,
        };
        Timeline::new(clock, edits, None, None, end).part(true, 0..u64::MAX, end)
    }

    /// The same of a codec that says itself how many PCM samples at the start are no sound (PreSkip of Opus): they are
    /// left out where no edit presents the media.
    #[must_use]
    pub fn after(mut self, pre_skip: u64, end: Option<MediaEnd>) -> Self {
        self.pre_skip = pre_skip;
        self.lay_out(end);
        self
    }

    /// Its part from PCM sample `part.start` to `part.end`. With `late_start`, the silence before audio that starts
    /// late comes first.
    #[must_use]
    pub fn part(mut self, late_start: bool, part: Range<u64>, end: Option<MediaEnd>) -> Self {
        self.late_start = late_start;
        self.part = part;
        self.lay_out(end);
        self
    }

    /// Lays it out anew once the media's end is known. What lies before that end stays where it is.
    pub fn settle(&mut self, end: MediaEnd) {
        self.lay_out(Some(end));
    }

    /// Whether the end of the media is known.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Its segments, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Its length; `None`: it is open, and ends where the media does.
    pub fn len(&self) -> Option<u64> {
        let end = self.segments.last().map_or(0, Segment::end);
        (!self.open).then_some(end)
    }

    /// PCM samples of the decoder's output in it.
    pub fn media_len(&self) -> u64 {
        let media = self.segments.iter().filter(|s| s.media.is_some());
        media.fold(0, |sum, segment| sum.saturating_add(segment.len))
    }

    /// Whether it goes back in the media.
    pub fn turns_back(&self) -> bool {
        self.edits.turns_back()
    }

    /// Where its only segment begins in the decoder's output, if it is one of media.
    pub fn only_start(&self) -> Option<u64> {
        match self.segments.as_slice() {
            [segment] => segment.media,
            _ => None,
        }
    }

    /// How far behind a segment the media may end and still end it, in PCM samples: 0 once that is decided.
    pub fn slack(&self) -> u64 {
        match self.settled {
            true => 0,
            false => self
                .clock
                .samples(self.edits.short_tick())
                .saturating_add(1),
        }
    }

    /// How much of it lies behind the media's end, and is silence.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    /// Whether it presents PCM samples of `media`, or, if that is an instant, those beside it. What edits leave out at the
    /// beginning counts to a part that has the beginning, and so at the end.
    pub fn presents(&self, media: Range<u64>) -> bool {
        let (begins, ends) = (self.part.start == 0, self.part.end == u64::MAX);
        let segments = self
            .segments
            .iter()
            .filter_map(|s| Some(s.media?..s.media_end()));
        let first = segments.clone().map(|segment| segment.start).min();
        let last = segments.clone().map(|segment| segment.end).max();
        segments.into_iter().any(|segment| {
            let is_behind = segment.start < media.end || begins && Some(segment.start) == first;
            let is_before = media.start < segment.end || ends && Some(segment.end) == last;
            let touches = media.is_empty() && (segment.start..=segment.end).contains(&media.start);
            is_behind && is_before || touches
        })
    }

    /// The index of the segment that begins at `start` or next after it.
    pub fn index_from(&self, start: u64) -> usize {
        self.segments.partition_point(|s| s.start < start)
    }

    /// The parts of its segments within `range`, each with its segment.
    pub fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = (Segment, Segment)> + '_ {
        let first = self.segments.partition_point(|s| s.end() <= range.start);
        let within = self.segments[first..]
            .iter()
            .take_while(move |s| s.start < range.end);
        within.filter_map(move |&segment| Some((segment, cut(segment, &range)?)))
    }

    /// Tells when media times are presented.
    pub fn presenter(&self) -> Presenter {
        let mut by_media: Vec<Segment> = self
            .segments
            .iter()
            .filter(|segment| segment.media.is_some())
            .copied()
            .collect();
        let first = by_media.first().copied();
        by_media.sort_unstable_by_key(|segment| segment.media);
        let leaves = by_media.len().next_power_of_two();
        let mut ends = vec![0; 2 * leaves];
        for (leaf, segment) in ends[leaves..].iter_mut().zip(&by_media) {
            *leaf = segment.media_end();
        }
        for node in (1..leaves).rev() {
            ends[node] = ends[2 * node].max(ends[2 * node + 1]);
        }
        Presenter {
            by_media,
            ends,
            first,
            end: self.segments.last().map_or(0, Segment::end),
        }
    }

    /// Refuses a presentation that no recording has: a day of silence before it begins, or of silence and repeats in
    /// it. `in_order`: for each step back, the media has to be decoded again from its beginning, which counts too. `at`
    /// is the byte of the track, for the error.
    pub fn check(&self, at: u64, in_order: bool) -> Result<()> {
        let refuse = |what: &str, added: Duration| {
            Err(Error::Limit {
                at,
                what: format!("{what} ({} seconds)", added.as_secs()),
                limit: MOST_ADDED.as_secs(),
            })
        };
        let rate = self.clock.sample_rate;
        let late = match self.segments.first() {
            Some(first) if self.late_start && first.media.is_none() => duration_of(first.len, rate),
            _ => Duration::ZERO,
        };
        if late > MOST_ADDED {
            return refuse("the silence before an audio track that starts late", late);
        }
        let media = self.segments.iter().filter_map(|s| Some((s.media?, s.len)));
        let mut ranges: Vec<(u64, u64)> = media
            .map(|(from, len)| (from, from.saturating_add(len)))
            .collect();
        ranges.sort_unstable();
        let (mut once, mut up_to) = (0u64, 0);
        for (from, to) in ranges {
            once = once.saturating_add(to.saturating_sub(from.max(up_to)));
            up_to = up_to.max(to);
        }
        let presented = self
            .segments
            .iter()
            .fold(0u64, |sum, s| sum.saturating_add(s.len));
        let starts: Vec<u64> = self.segments.iter().filter_map(|s| s.media).collect();
        let steps_back = starts.windows(2).filter(|pair| pair[1] < pair[0]);
        let again = match in_order {
            true => steps_back.fold(0u64, |sum, pair| sum.saturating_add(pair[1])),
            false => 0,
        };
        let added = duration_of(presented.saturating_sub(once).saturating_add(again), rate);
        if added > MOST_ADDED {
            return refuse(
                "the silence and the repeats that an edit list adds to the media",
                added,
            );
        }
        Ok(())
    }

    fn lay_out(&mut self, end: Option<MediaEnd>) {
        self.settled = end.is_some();
        self.beyond = 0;
        let mut segments = self.whole(end);
        if self.late_start {
            let delay = self.clock.samples(self.edits.delay_units());
            segments.insert(0, (delay, None));
        }
        self.segments.clear();
        let mut start = 0u64;
        for (len, media) in segments {
            let segment = Segment { start, len, media };
            start = segment.end();
            if let Some(mut wanted) = cut(segment, &self.part) {
                wanted.start -= self.part.start;
                self.segments.push(wanted);
            }
        }
        self.open = start == u64::MAX && self.part.end == u64::MAX;
        if let Some(last) = self.segments.last_mut().filter(|_| self.open) {
            last.len = u64::MAX - last.start;
        }
    }

    /// The lengths of all segments, and where they begin in the media.
    fn whole(&mut self, end: Option<MediaEnd>) -> Vec<(u64, Option<u64>)> {
        let stretches = self.edits.stretches();
        let (tick, short_tick) = (self.edits.tick(), self.edits.short_tick());
        let reaches = |stretch: &Stretch| {
            let stands_at_the_end =
                |end: MediaEnd| stretch.media.end.saturating_add(short_tick) >= end.time;
            stretch.open || end.is_some_and(stands_at_the_end)
        };
        let is_the_media = |stretch: &Stretch| stretch.media.start == 0 && reaches(stretch);
        if stretches.is_empty() || stretches.len() == 1 && is_the_media(&stretches[0]) {
            return vec![self.all(end)];
        }
        let on_presentation = |time: u64| self.clock.samples(self.edits.units(time));
        let mut segments = Vec::new();
        let mut beyond = 0u64;
        let mut now = 0;
        for (index, stretch) in stretches.iter().enumerate() {
            let last = index + 1 == stretches.len();
            segments.push((on_presentation(stretch.start) - on_presentation(now), None));
            now = stretch.end;
            let from = self.clock.samples(stretch.media.start);
            let declared = match stretch.open {
                true => u64::MAX,
                false => on_presentation(stretch.end) - on_presentation(stretch.start),
            };
            let Some(end) = end else {
                segments.push((declared, Some(from)));
                if stretch.open {
                    // What comes after it begins where the media ends.
                    break;
                }
                continue;
            };
            let rest = end.len.saturating_sub(from);
            let len = match reaches(stretch) {
                true => rest,
                false => declared.min(rest),
            };
            segments.push((len, Some(from)));
            // One that ends a little behind the media ends with it. Others keep their time, for what follows them.
            let rounded = stretch.media.end <= end.time.saturating_add(tick);
            let missing = match stretch.open || rounded && rest > 0 {
                true => 0,
                false => declared.saturating_sub(len),
            };
            segments.push((missing, None));
            if !last || rest == 0 && stretches.len() > 1 {
                beyond = beyond.saturating_add(missing);
            }
        }
        self.beyond = beyond;
        // Silence leads to a segment of media: at the end there is none.
        let heard = segments
            .iter()
            .rposition(|(len, media)| *len > 0 && media.is_some());
        segments.truncate(heard.map_or(0, |last| last + 1));
        segments.retain(|(len, _)| *len > 0);
        segments
    }

    /// All of the media, or what iTunSMPB or the codec say of it.
    fn all(&self, end: Option<MediaEnd>) -> (u64, Option<u64>) {
        if let Some((info, packets)) = self.gapless {
            let accounted = info
                .delay
                .checked_add(info.length)
                .and_then(|n| n.checked_add(info.padding));
            let packet_len = self.clock.packet_len.map(u64::from);
            let decoded = packet_len.and_then(|len| packets.checked_mul(len));
            if accounted.is_some() && accounted == decoded {
                let rest = end.map_or(u64::MAX, |end| end.len.saturating_sub(info.delay));
                return (info.length.min(rest), Some(info.delay));
            }
        }
        let rest = end.map_or(u64::MAX, |end| end.len.saturating_sub(self.pre_skip));
        (rest, Some(self.pre_skip))
    }
}

/// The part of `segment` within `range`.
fn cut(segment: Segment, range: &Range<u64>) -> Option<Segment> {
    let start = segment.start.max(range.start);
    let end = segment.end().min(range.end);
    (start < end).then(|| Segment {
        start,
        len: end - start,
        media: segment
            .media
            .map(|from| from.saturating_add(start - segment.start)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AAC: MediaClock = MediaClock {
        timescale: 44_100,
        sample_rate: 44_100,
        packet_len: Some(1024),
        vary: false,
        instant: None,
    };

    /// Edits by duration and media time; −1: empty.
    fn edits(edits: &[(u64, i64)], movie_timescale: u32, timescale: u32) -> EditList {
        let edits = edits.iter().map(|&(duration, media_time)| Edit {
            duration,
            media_time: u64::try_from(media_time).ok(),
            at_full_speed: true,
        });
        EditList::new(edits.collect(), movie_timescale, timescale, false)
    }

    fn end(time: u64) -> Option<MediaEnd> {
        Some(MediaEnd { time, len: time })
    }

    #[test]
    fn what_the_codec_says_is_no_sound_is_left_out_where_no_edit_presents_it() {
        let opus = MediaClock {
            timescale: 48_000,
            sample_rate: 48_000,
            packet_len: None,
            vary: false,
            instant: None,
        };
        let segments = |list: &[(u64, i64)], media| {
            let timeline = Timeline::new(opus, edits(list, 1000, 48_000), None, None, media);
            let timeline = timeline.after(312, media);
            let segments = timeline.segments().iter();
            segments.map(|s| (s.len, s.media)).collect::<Vec<_>>()
        };
        assert_eq!(segments(&[], end(9600)), [(9288, Some(312))]);
        assert_eq!(segments(&[(100, 0)], end(9600)), [(4800, Some(0))]);
        assert_eq!(segments(&[], end(300)), []);
        assert_eq!(segments(&[], None)[0].1, Some(312));
    }

    /// Length and media of each segment of a track of `media` units, whose timescale is the sample rate.
    fn laid_out(list: &EditList, media: Option<u64>) -> Vec<(u64, Option<u64>)> {
        let clock = MediaClock {
            timescale: list.timescale,
            sample_rate: list.timescale,
            packet_len: None,
            vary: false,
            instant: None,
        };
        let timeline = Timeline::new(clock, list.clone(), None, None, media.and_then(end));
        let segments = timeline.segments().iter();
        segments.map(|s| (s.len, s.media)).collect()
    }

    /// The same with timescales of 1000 and ten seconds of media.
    fn of_ten_seconds(list: &[(u64, i64)]) -> Vec<(u64, Option<u64>)> {
        laid_out(&edits(list, 1000, 1000), Some(10_000))
    }

    #[test]
    fn a_short_last_duration_is_padding() {
        assert_eq!(AAC.media_len(10, 10 * 1024, Some(1024)), 10_240);
        assert_eq!(AAC.media_len(10, 10 * 1024 - 300, Some(724)), 9_940);
        assert_eq!(AAC.media_len(10, 10 * 1024 - 300, None), 9_940);
    }

    #[test]
    fn durations_that_are_not_padding_do_not_shorten() {
        // A whole packet or more is missing, or there is more time than packets: a gap.
        assert_eq!(AAC.media_len(10, 9 * 1024, Some(1024)), 10_240);
        assert_eq!(AAC.media_len(10, 50 * 1024, Some(1024)), 10_240);
        // Jitter: ten packets of 1020 units, then one of 1024, or one that is short beside.
        assert_eq!(AAC.media_len(11, 10 * 1020 + 1024, Some(1024)), 11_264);
        assert_eq!(AAC.media_len(11, 10 * 1020 + 900, Some(900)), 11_140);
        // Milliseconds: 232.2 ms were rounded down to 232.
        let coarse = MediaClock {
            timescale: 1000,
            ..AAC
        };
        assert_eq!(coarse.media_len(10, 232, Some(23)), 10_240);
        assert_eq!(coarse.media_len(10, 220, Some(11)), 9_702);
    }

    #[test]
    fn sbr_counts_at_its_output_rate() {
        let sbr = MediaClock {
            timescale: 22_050,
            sample_rate: 44_100,
            packet_len: Some(2048),
            vary: false,
            instant: None,
        };
        assert_eq!(sbr.media_len(10, 10 * 1024 - 100, Some(924)), 20_280);
        let list = edits(&[(0, 1637)], 1000, 22_050);
        let timeline = Timeline::new(sbr, list, None, None, None);
        assert_eq!(timeline.only_start(), Some(3274));
        assert_eq!(timeline.len(), None);
    }

    #[test]
    fn without_edits_all_of_the_media_is_presented() {
        for list in [&[][..], &[(7, -1)], &[(7, -1), (9, -1)]] {
            let list = edits(list, 1000, 48_000);
            assert_eq!(laid_out(&list, Some(480)), [(480, Some(0))]);
            assert_eq!(laid_out(&list, None), [(u64::MAX, Some(0))]);
            assert_eq!(list.delay(), Duration::ZERO);
        }
        assert_eq!(laid_out(&edits(&[], 0, 1), Some(5)), [(5, Some(0))]);
    }

    #[test]
    fn within_one_movie_tick_of_the_end_the_media_decides() {
        // 9.0 s and 348 PCM samples at 44.1 kHz: one tick of 1/600 s is 73.5 of them.
        let list = edits(&[(5400, 2112)], 600, 44_100);
        let media = 2112 + 44_100 * 9 + 60;
        assert_eq!(laid_out(&list, Some(media)), [(396_960, Some(2112))]);
        assert_eq!(laid_out(&list, Some(media + 20)), [(396_900, Some(2112))]);
        // The end of a fragmented file is not known before it is read.
        assert_eq!(laid_out(&list, None), [(396_900, Some(2112))]);
        let past_the_end = edits(&[(1 << 40, 1024)], 1000, 48_000);
        assert_eq!(
            laid_out(&past_the_end, Some(480_000)),
            [(478_976, Some(1024))]
        );
    }

    #[test]
    fn a_late_start_comes_first_if_it_is_wanted() {
        let list = edits(&[(500, -1), (250, -1), (2000, 1024)], 1000, 48_000);
        assert_eq!(list.delay(), Duration::from_millis(750));
        let clock = MediaClock {
            timescale: 48_000,
            sample_rate: 48_000,
            packet_len: Some(1024),
            vary: false,
            instant: None,
        };
        let timeline = Timeline::new(clock, list, None, None, end(480_000));
        assert_eq!(timeline.len(), Some(96_000));
        let late = timeline.part(true, 0..u64::MAX, end(480_000));
        let segments: Vec<_> = late.segments().iter().map(|s| (s.start, s.media)).collect();
        assert_eq!(segments, [(0, None), (36_000, Some(1024))]);
        assert_eq!(late.len(), Some(132_000));
        assert_eq!(late.media_len(), 96_000);
    }

    #[test]
    fn every_edit_is_played_in_order() {
        assert_eq!(
            of_ten_seconds(&[(500, 100), (500, 3000)]),
            [(500, Some(100)), (500, Some(3000))]
        );
        let repeated = [(500, 100); 3];
        assert_eq!(of_ten_seconds(&repeated), [(500, Some(100)); 3]);
        assert_eq!(
            of_ten_seconds(&[(500, 100), (200, -1), (50, -1), (500, 600)]),
            [(500, Some(100)), (250, None), (500, Some(600))]
        );
        // Back, over what was played.
        assert_eq!(
            of_ten_seconds(&[(900, 4000), (300, 4200), (1, -1)]),
            [(900, Some(4000)), (300, Some(4200))],
            "no silence at the end"
        );
        assert_eq!(
            of_ten_seconds(&[(500, 100), (0, 0), (500, 2000), (0, 7)]),
            [(500, Some(100)), (500, Some(2000))],
            "nothing has no length"
        );
        assert_eq!(of_ten_seconds(&[(0, 4000)]), [(6000, Some(4000))]);
    }

    #[test]
    fn what_is_played_through_is_one_segment() {
        let through = [(500, 100), (500, 600), (1000, 1101)];
        assert_eq!(of_ten_seconds(&through), [(2000, Some(100))]);
        // Twice through the whole of it, whose end the movie's timescale does not meet: no seam is lost or doubled.
        let twice = edits(&[(4010, 1024), (4010, 1024)], 1000, 44_100);
        let media = 1024 + 176_852;
        assert_eq!(laid_out(&twice, Some(media)), [(176_852, Some(1024)); 2]);
    }

    #[test]
    fn behind_the_end_of_the_media_there_is_silence_up_to_the_next_edit() {
        let list = [(3000, 9000), (1000, 20_000), (500, 0), (700, 30_000)];
        let expected = [
            (1000, Some(9000)),
            (2000, None),
            (1000, None),
            (500, Some(0)),
        ];
        assert_eq!(of_ten_seconds(&list), expected);
        let clock = MediaClock {
            timescale: 1000,
            sample_rate: 1000,
            packet_len: None,
            vary: false,
            instant: None,
        };
        let timeline = Timeline::new(clock, edits(&list, 1000, 1000), None, None, end(10_000));
        assert_eq!(timeline.beyond(), 3700);
        assert_eq!(of_ten_seconds(&[(5, 10_001)]), []);
    }

    #[test]
    fn a_part_presents_its_own_media_and_what_is_left_out_at_its_ends() {
        let list = edits(&[(4000, 1000), (500, -1), (2000, 7000)], 1000, 1000);
        let clock = MediaClock {
            timescale: 1000,
            sample_rate: 1000,
            ..AAC
        };
        let of = |part: Range<u64>| {
            let timeline = Timeline::new(clock, list.clone(), None, None, end(10_000));
            let timeline = timeline.part(false, part, end(10_000));
            let media = [
                0..10,
                900..1100,
                1500..1500,
                4000..4000,
                6000..6500,
                8000..8001,
                9500..9600,
            ];
            media.map(|range| timeline.presents(range))
        };
        assert_eq!(of(0..u64::MAX), [true, true, true, true, false, true, true]);
        assert_eq!(of(0..3000), [true, true, true, true, false, false, false]);
        assert_eq!(
            of(3000..u64::MAX),
            [false, false, false, true, false, true, true]
        );
        assert_eq!(of(3500..5000), [false; 7]);
    }

    #[test]
    fn in_a_fragmented_file_no_duration_is_all_there_is() {
        let entries = [(0, 1024), (500, 0)].map(|(duration, time)| Edit {
            duration,
            media_time: Some(time),
            at_full_speed: true,
        });
        let list = EditList::new(entries.to_vec(), 1000, 1000, true);
        assert!(list.turns_back());
        assert_eq!(laid_out(&list, None), [(u64::MAX, Some(1024))]);
        assert_eq!(
            laid_out(&list, Some(5000)),
            [(3976, Some(1024)), (500, Some(0))]
        );
    }

    #[test]
    fn a_stream_joined_in_the_middle_begins_with_its_first_packet() {
        let joined = |list: &[(u64, i64)], at: u64, media: u64| {
            let list = edits(list, 1000, 1000).from(at, 0);
            assert_eq!(list.delay(), Duration::ZERO);
            laid_out(&list, Some(media))
        };
        let from_the_start = [(0, 20)];
        assert_eq!(joined(&from_the_start, 0, 500), [(480, Some(20))]);
        assert_eq!(joined(&from_the_start, 15, 500), [(495, Some(5))]);
        assert_eq!(joined(&from_the_start, 1 << 40, 500), [(500, Some(0))]);
        // The edit ends where it did.
        assert_eq!(joined(&[(900, 20)], 120, 1000), [(800, Some(0))]);
        assert_eq!(joined(&[(900, 20)], 5000, 1000), [(1000, Some(0))]);
        assert_eq!(
            joined(&[(300, 20), (400, 500), (100, 0), (50, 600)], 120, 1000),
            [
                (200, Some(0)),
                (400, Some(380)),
                (100, None),
                (50, Some(480))
            ]
        );
    }

    #[test]
    fn edits_count_from_when_sound_is_presented() {
        for (offset, expected) in [(0, 480), (20, 500), (25, 500), (-10, 470)] {
            let list = edits(&[(0, 20)], 1000, 1000).from(0, offset);
            assert_eq!(laid_out(&list, Some(500))[0].0, expected, "{offset}");
        }
    }

    #[test]
    fn the_end_of_an_edit_by_a_coarse_clock_is_meant() {
        // Of 3.947 s.
        let list = |seconds| edits(&[(seconds, 1024)], 1, 44_100);
        let media = Some(174_080);
        assert_eq!(laid_out(&list(3), media), [(132_300, Some(1024))]);
        assert_eq!(laid_out(&list(4), media), [(173_056, Some(1024))]);
        assert_eq!(
            laid_out(&list(3), Some(1024 + 134_000)),
            [(134_000, Some(1024))]
        );
    }

    #[test]
    fn a_part_is_cut_out_of_all_segments() {
        let clock = MediaClock {
            timescale: 1000,
            sample_rate: 1000,
            packet_len: None,
            vary: false,
            instant: None,
        };
        let list = edits(&[(100, -1), (500, 300), (200, -1), (400, 0)], 1000, 1000);
        let timeline = Timeline::new(clock, list, None, None, end(5000));
        let part = |late, part| {
            let timeline = timeline.clone().part(late, part, end(5000));
            let segments: Vec<_> = timeline
                .segments()
                .iter()
                .map(|s| (s.start, s.len, s.media))
                .collect();
            segments
        };
        assert_eq!(
            part(false, 450..900),
            [(0, 50, Some(750)), (50, 200, None), (250, 200, Some(0))]
        );
        assert_eq!(part(true, 90..110), [(0, 10, None), (10, 10, Some(300))]);
        assert_eq!(part(false, 1100..2000), []);
        let open = Timeline::new(clock, edits(&[], 1000, 1000), None, None, None);
        let rest = open.clone().part(false, 40..u64::MAX, None);
        assert_eq!((rest.len(), rest.only_start()), (None, Some(40)));
        assert_eq!(open.part(false, 40..50, None).len(), Some(10));
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "each is a list of ranges")]
    fn media_times_are_presented_as_often_as_edits_say() {
        let list = edits(&[(500, 100), (200, -1), (500, 300)], 1000, 1000);
        let presenter = Timeline::of_units(list, 1000, 5000).presenter();
        assert_eq!(presenter.presented(200..400), [100..300, 700..800]);
        assert_eq!(presenter.presented(650..9000), [1050..1200]);
        assert_eq!(presenter.presented(0..50), [0..0]);
        assert_eq!(presenter.presented(900..1000), [1200..1200]);
        assert_eq!(presenter.presented(700..700), [1100..1100]);
        assert_eq!(presenter.presented(100..100), [0..0]);
        let nothing = Timeline::of_units(edits(&[(5, 10_001)], 1000, 1000), 1000, 10_000);
        assert_eq!(nothing.presenter().presented(0..9), [0..0]);
    }

    /// What a search through all segments finds.
    #[test]
    fn a_presenter_finds_what_is_presented_among_any_segments() {
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for count in [1, 2, 3, 7, 64, 100] {
            let list: Vec<_> = (0..count)
                .map(|_| (1 + random(30), random(400) as i64 - 20))
                .map(|(len, at)| (len, at.max(-1)))
                .collect();
            let timeline = Timeline::of_units(edits(&list, 1000, 1000), 1000, 500);
            let presenter = timeline.presenter();
            for _ in 0..200 {
                let from = random(450);
                let media = from..from + random(20);
                let pieces = timeline.segments().iter().filter_map(|segment| {
                    let at = segment.media?;
                    let (start, end) = (media.start.max(at), media.end.min(at + segment.len));
                    let within = start < end
                        || media.is_empty() && (at..at + segment.len).contains(&media.start);
                    within.then(|| segment.start + start - at..segment.start + end - at)
                });
                let mut expected: Vec<_> = pieces.collect();
                let presented = presenter.presented(media.clone());
                if expected.is_empty() {
                    expected.push(presented[0].start..presented[0].start);
                }
                assert_eq!(presented, expected, "{media:?} of {list:?}");
            }
        }
    }

    #[test]
    fn many_times_and_many_segments_cost_little_together() {
        let list: Vec<_> = (0..80_000).map(|i| (1, 2 * i)).collect();
        let mut list: Vec<_> = list.into_iter().rev().collect();
        list.push((400_000, 0));
        let timeline = Timeline::of_units(edits(&list, 1000, 1000), 1000, 500_000);
        let presenter = timeline.presenter();
        let begun = std::time::Instant::now();
        let found: usize = (0..16_000)
            .map(|i| presenter.presented(20 * i..20 * i + 1).len())
            .sum();
        assert!(found >= 16_000);
        // Through all segments for each of them, it would be minutes.
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn itunsmpb_counts_only_if_it_adds_up_and_there_is_no_edit() {
        let info = Gapless {
            delay: 2112,
            padding: 100,
            length: 8028,
        };
        let presented = |list: &[(u64, i64)], packets| {
            let list = edits(list, 44_100, 44_100);
            let timeline = Timeline::new(AAC, list, Some(info), packets, end(10_240));
            timeline.segments()[0]
        };
        let segment = |media, len| Segment {
            start: 0,
            len,
            media: Some(media),
        };
        assert_eq!(presented(&[], Some(10)), segment(2112, 8028));
        assert_eq!(presented(&[(10_240, 0)], Some(10)), segment(2112, 8028));
        assert_eq!(presented(&[], Some(11)), segment(0, 10_240));
        assert_eq!(presented(&[], None), segment(0, 10_240));
        assert_eq!(presented(&[(0, 1024)], Some(10)), segment(1024, 9216));
    }

    #[test]
    fn absurd_numbers_saturate() {
        let list = edits(
            &[
                (u64::MAX, -1),
                (u64::MAX, i64::MAX),
                (u64::MAX, -1),
                (u64::MAX, 0),
            ],
            0,
            u32::MAX,
        );
        assert_eq!(list.delay_units(), u64::MAX);
        for media in [None, Some(1), Some(u64::MAX)] {
            let clock = MediaClock {
                timescale: u32::MAX,
                sample_rate: u32::MAX,
                packet_len: None,
                vary: false,
                instant: None,
            };
            let timeline = Timeline::new(clock, list.clone(), None, None, media.and_then(end));
            let timeline = timeline.part(true, 5..u64::MAX, media.and_then(end));
            assert!(timeline.check(0, false).is_err(), "{media:?}");
        }
    }

    #[test]
    fn more_than_a_day_of_silence_or_repeats_is_refused() {
        const HOUR: u64 = 3600 * 1000;
        let clock = MediaClock {
            timescale: 1000,
            sample_rate: 1000,
            packet_len: None,
            vary: false,
            instant: None,
        };
        let check = |list: &[(u64, i64)], media: Option<u64>, in_order| {
            let list = edits(list, 1000, 1000);
            Timeline::new(clock, list, None, None, media.and_then(end)).check(7, in_order)
        };
        let ten = Some(10 * HOUR);
        let once_and = |times| {
            let mut list = vec![(10 * HOUR, 0)];
            list.extend([(HOUR, 8 * HOUR as i64), (HOUR, 4 * HOUR as i64)].repeat(times));
            list
        };
        assert!(check(&once_and(12), ten, false).is_ok());
        assert!(matches!(
            check(&once_and(13), ten, false),
            Err(Error::Limit {
                at: 7,
                limit: 86_400,
                ..
            })
        ));
        // Each step back decodes four hours again.
        assert!(check(&once_and(5), ten, true).is_err());
        // A long film, cut into pieces, is no longer than it was; and the end of a fragmented one is not known yet.
        let pieces: Vec<_> = (0..60).map(|i| (HOUR, (i * 2 * HOUR) as i64)).collect();
        for media in [None, Some(120 * HOUR)] {
            assert!(check(&pieces, media, false).is_ok());
            assert!(check(&[(1, 0), (25 * HOUR, -1), (1, 0)], media, false).is_err());
        }
        assert!(check(&[(1, 0), (1 << 50, 0), (1 << 50, 0)], None, false).is_err());
        assert!(check(&[(1, 0), (1 << 50, 7), (1, 0)], Some(HOUR), false).is_err());
    }

    #[test]
    fn rescale_rounds_and_does_not_overflow() {
        assert_eq!(rescale(1, 44_100, 1000), 44);
        assert_eq!(rescale(u64::MAX, 1, 1), u64::MAX);
        assert_eq!(rescale(u64::MAX, 2, 1), u64::MAX);
        assert_eq!(rescale(5, 1, 0), 5);
    }
}
