//! How far the sound of a track falls behind the clock of its container: packets that are missing, and pauses of a
//! recorder.

use super::{MediaClock, rescale};

/// Parts of a PCM sample, so that a clock of milliseconds adds up; and the share of the time that a lag of so much may
/// be drift, which grows with every packet: no clock is off by one part in a thousand.
const PARTS: i64 = 1024;

/// A lag of such a part of a second is a pause. The clocks of recorders are not as far off.
const SHORTEST_PAUSE: u32 = 10;

/// PCM samples of the longest frame of those coders whose packets may hold several (MPEG audio, and AAC without SBR).
const LONGEST_FRAME: u32 = 1152;

/// How far the sound may run ahead of the clock, in seconds, before that is no rounding any more.
const MOST_AHEAD: i64 = 1;

/// Tells where silence is to stand in for what is missing, packet by packet.
///
/// A packet that is said to last much longer than its sound has a pause behind it, and so does a fragment that begins a
/// packet later than the one in front of it ends. A smaller lag may be the jitter of a clock, which makes up for it with
/// the packets behind: it counts once it has added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// [`PARTS`] of PCM samples by which the sound is late; below 0, it is early.
    late: i64,
    /// How much of it may be drift, in the same.
    drift: i64,
    /// PCM samples of a pause behind the last packet, unless the next one makes up for it.
    pause: u64,
    /// PCM samples of the last packet; 0 before the first.
    usual: u64,
    /// Timescale units between fragments that are in `late`.
    gaps: u64,
    /// Some packet lasts about as long as its sound: the others that do not are late.
    regular: bool,
}

/// Silence that is to stand in front of a packet, in timescale units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// How much.
    pub units: u64,
    /// How much of it the durations of the packets before count already.
    pub counted: u64,
}

impl Lag {
    /// What is missing in front of the next packet, which lasts for `duration`. `gap`: how much later it begins than the
    /// one before it ends, where a fragment tells that. Whoever asks has to believe it: the lag is then made up for.
    ///
    /// After a packet that was late, the next ones may seem to last no time, until the clock has caught up.
    pub fn before(&mut self, clock: &MediaClock, gap: Option<u64>, duration: u32) -> Silence {
        let usual = self.usual(clock);
        let goes_on = 2 * clock.samples(duration.into()) >= usual;
        let mut missing = 0;
        match std::mem::take(&mut self.pause) {
            pause if goes_on => missing = pause,
            pause => self.late = self.late.saturating_add(parts(pause)),
        }
        let gap = gap.map(|gap| {
            self.gaps = self.gaps.saturating_add(gap);
            let between = clock.parts(gap);
            // What durations were rounded down by, the fragment's time brings back.
            self.late = self.late.saturating_add(between).max(0);
            between
        });
        // Rounding is no gap.
        let tick = clock.sample_rate.div_ceil(clock.timescale.max(1));
        let shortest = u64::from(clock.sample_rate / 1000).max(4 * u64::from(tick));
        let packet = parts(usual.max(shortest));
        let late = self.late - self.drift;
        let is_gap = gap.is_some_and(|gap| {
            gap > 0 && late > packet / 2 && (gap > packet / 2 || late >= packet)
        });
        let is_pause = goes_on && late > shortest_pause(clock);
        let between = self.gaps;
        if is_gap || is_pause {
            missing += samples(self.late);
            self.late = 0;
        }
        self.forget_the_early();
        if missing == 0 {
            return Silence::default();
        }
        let units = rescale(missing, clock.timescale, clock.sample_rate);
        Silence {
            units,
            counted: units.saturating_sub(between),
        }
    }

    /// A packet of `len` PCM samples follows that is said to last for `duration`.
    pub fn after(&mut self, clock: &MediaClock, duration: u32, len: u64) {
        self.usual = len;
        if len == 0 {
            return;
        }
        let excess = clock.excess(duration, len);
        if Lag::has_pause(clock, duration, len) {
            self.pause = samples(excess);
        } else if self.regular && excess >= parts(len) / 2 {
            self.late = self.late.saturating_add(excess);
            self.drift = self.drift.saturating_add(parts(len) / PARTS);
        } else {
            self.pass(clock, 1, duration, len);
        }
    }

    /// Whether a packet of `len` PCM samples that is said to last for `duration` has a pause behind it.
    pub fn has_pause(clock: &MediaClock, duration: u32, len: u64) -> bool {
        clock.excess(duration, len) > shortest_pause(clock)
    }

    /// Takes so many packets of one `duration`, and tells whether silence is to stand between them.
    pub fn adds_up(&mut self, clock: &MediaClock, packets: u64, duration: u32) -> bool {
        let len = clock.packet_len.unwrap_or_default();
        let is_late = clock.excess(duration, len.into()) >= parts(len.into()) / 2;
        if !is_late || !self.regular && clock.excess(duration, len.into()) <= shortest_pause(clock)
        {
            self.skip(clock, packets, duration);
            return false;
        }
        // They are so late that a few of them are enough.
        for _ in 0..packets {
            if self.before(clock, None, duration).units > 0 {
                return true;
            }
            self.after(clock, duration, len.into());
        }
        false
    }

    /// Whether a packet of `duration` and `size` bytes may be of another length than the others, or have a pause behind
    /// it: it has to be looked at.
    pub fn stands_out(clock: &MediaClock, duration: u32, size: u32) -> bool {
        if let Some(len) = clock.instant.and_then(|instant| size.checked_div(instant)) {
            let declared = u64::from(duration) * u64::from(clock.sample_rate);
            return declared != u64::from(len) * u64::from(clock.timescale);
        }
        clock.packet_len.is_some_and(|len| {
            if clock.vary {
                let declared = clock.samples(duration.into());
                return declared.abs_diff(len.into()) > clock.rounding();
            }
            let (excess, half) = (clock.excess(duration, len.into()), parts(len.into()) / 2);
            // A short one may have fewer frames, where the others have several.
            excess >= half || (excess <= -half && len > LONGEST_FRAME)
        })
    }

    /// Counts a packet that can be skipped: nothing is missing in front of it, and it does not [stand
    /// out](Lag::stands_out). Otherwise nothing changes.
    pub fn takes(
        &mut self,
        clock: &MediaClock,
        gap: Option<u64>,
        duration: u32,
        size: u32,
    ) -> bool {
        let mut with = *self;
        let can_be_skipped =
            with.before(clock, gap, duration).units == 0 && !Lag::stands_out(clock, duration, size);
        if can_be_skipped {
            with.skip(clock, 1, duration);
            *self = with;
        }
        can_be_skipped
    }

    /// So many packets follow that do not [stand out](Lag::stands_out), and are said to last for `duration` each.
    pub fn skip(&mut self, clock: &MediaClock, packets: u64, duration: u32) {
        if let Some(len) = clock.packet_len.filter(|&len| packets > 0 && len > 0) {
            self.usual = len.into();
            self.pass(clock, packets, duration, len.into());
        }
    }

    /// The same for any packets that no pause comes behind. One by one they add up to the same.
    fn pass(&mut self, clock: &MediaClock, packets: u64, duration: u32, len: u64) {
        let excess = clock.excess(duration, len);
        let packets = i64::try_from(packets).unwrap_or(i64::MAX);
        let sum = self.late.saturating_add(excess.saturating_mul(packets));
        let half = parts(len) / 2;
        self.regular |= excess.unsigned_abs() < half.unsigned_abs();
        if excess <= -half {
            // It makes up for one that was late, or ends in padding.
            self.late = sum.max(self.late.min(0));
        } else if excess < 0 {
            let most = parts(clock.sample_rate.into()).saturating_mul(MOST_AHEAD);
            self.late = sum.max(-most);
        } else if self.late < 0 {
            self.late = sum.min(0);
        } else {
            let drift = parts(len) / PARTS;
            self.drift = self.drift.saturating_add(drift.saturating_mul(packets));
            if self.late <= self.drift {
                self.late = 0;
            }
        }
        self.forget_the_early();
    }

    /// Where the sound is not late, there is no drift, nor do gaps count.
    fn forget_the_early(&mut self) {
        if self.late <= 0 {
            (self.drift, self.gaps) = (0, 0);
        }
    }

    /// PCM samples that a packet has, by the last one. Those of various lengths are taken to be as long as Opus's.
    fn usual(&self, clock: &MediaClock) -> u64 {
        match self.usual {
            0 => clock.packet_len.unwrap_or(clock.sample_rate / 50).into(),
            usual => usual,
        }
    }
}

/// [`PARTS`] of so many PCM samples.
fn parts(samples: u64) -> i64 {
    i64::try_from(samples)
        .unwrap_or(i64::MAX)
        .saturating_mul(PARTS)
}

/// The PCM samples nearest to so many [`PARTS`] of them, which are not below 0.
fn samples(parts: i64) -> u64 {
    (parts / PARTS + i64::from(parts % PARTS >= PARTS / 2)).cast_unsigned()
}

fn shortest_pause(clock: &MediaClock) -> i64 {
    parts((clock.sample_rate / SHORTEST_PAUSE).into())
}

impl MediaClock {
    /// `units` of media time in [`PARTS`] of PCM samples.
    fn parts(&self, units: u64) -> i64 {
        let rate = u128::from(self.sample_rate) * u128::from(PARTS.unsigned_abs());
        let parts = u128::from(units) * rate / u128::from(self.timescale.max(1));
        i64::try_from(parts).unwrap_or(i64::MAX)
    }

    /// By how many [`PARTS`] of PCM samples `duration` is longer than `len`.
    fn excess(&self, duration: u32, len: u64) -> i64 {
        self.parts(duration.into()).saturating_sub(parts(len))
    }
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

    /// Silence in front of each packet, by their gaps and durations.
    fn silence(clock: &MediaClock, packets: &[(Option<u64>, u32)]) -> Vec<u64> {
        let mut lag = Lag::default();
        let len = clock.packet_len.unwrap_or_default();
        let mut silence = Vec::new();
        for &(gap, duration) in packets {
            silence.push(lag.before(clock, gap, duration).units);
            lag.after(clock, duration, len.into());
        }
        silence
    }

    /// The same for durations alone, summed up.
    fn of_durations(durations: impl IntoIterator<Item = u32>) -> u64 {
        let packets: Vec<_> = durations.into_iter().map(|d| (None, d)).collect();
        silence(&AAC, &packets).iter().sum()
    }

    #[test]
    fn many_short_pauses_add_up() {
        let every_second = (0..170).map(|i| 1024 << (i % 2));
        // Behind the last packet nothing is missing, and four are too little to tell from jitter.
        assert_eq!(of_durations(every_second), 80 * 1024);
        assert_eq!(of_durations([1024, 4096, 1024, 1024]), 0);
        assert_eq!(of_durations([1024, 1024 + 4411, 1024, 1024]), 4411);
        // That is how long they are, whoever wrote them.
        assert_eq!(of_durations([2048; 1000]), 0);
    }

    #[test]
    fn jitter_and_drift_are_no_pauses() {
        for late in [100u32, 600, 1000, 2047, 4000] {
            let catches_up = [1024 + late, 1024, 1024].into_iter();
            let catches_up =
                catches_up.chain((0..late.div_ceil(500)).map(|i| 1024 - 500.min(late - 500 * i)));
            let catches_up: Vec<u32> = catches_up.collect();
            assert_eq!(of_durations(catches_up.repeat(1000)), 0, "{late}");
        }
        // An hour by a clock that is a hundred parts in a million off, whose packets come in threes.
        let threes = (0..155_000).map(|i| [1024, 1624, 424][i % 3] + u32::from(i % 10 == 0));
        assert_eq!(of_durations(threes), 0);
        // A clock that is late by far makes up for it.
        assert_eq!(of_durations([1024, 6144, 0, 0, 0, 0, 0, 1024, 1024]), 0);
    }

    #[test]
    fn a_fragment_that_begins_a_packet_later_follows_a_gap() {
        let with = |gap| vec![(Some(0), 1024), (Some(gap), 1024), (None, 1024)];
        assert_eq!(silence(&AAC, &with(1024)), [0, 1024, 0]);
        assert_eq!(silence(&AAC, &with(700)), [0, 700, 0]);
        assert_eq!(silence(&AAC, &with(400)), [0, 0, 0]);
        // Shorter ones add up to a packet.
        let each = vec![(Some(300), 1024); 8];
        assert_eq!(silence(&AAC, &each), [0, 0, 0, 1200, 0, 0, 0, 1200]);
        // Drift does not.
        assert_eq!(silence(&AAC, &vec![(Some(1), 1024); 10_000]), [0; 10_000]);
    }

    #[test]
    fn what_durations_are_rounded_by_is_no_gap() {
        // 23.22 ms each, rounded down; ten seconds in a fragment.
        let clock = MediaClock {
            timescale: 1000,
            ..AAC
        };
        let fragment = |gap| std::iter::once((Some(gap), 23)).chain([(None, 23); 430]);
        let all: Vec<_> = fragment(0)
            .chain(fragment(95))
            .chain(fragment(95))
            .collect();
        assert_eq!(silence(&clock, &all).iter().sum::<u64>(), 0);
        let lost: Vec<_> = fragment(0).chain(fragment(95 + 23)).collect();
        assert_eq!(silence(&clock, &lost).iter().sum::<u64>(), 23);
    }

    #[test]
    fn packets_that_are_skipped_add_up_as_others_do() {
        let mut one_by_one = Lag::default();
        let mut state = 1u64;
        for _ in 0..2000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (packets, duration) = (state >> 40 & 7, 513 + (state >> 33) as u32 % 1022);
            assert!(!Lag::stands_out(&AAC, duration, 1));
            let mut at_once = one_by_one;
            at_once.skip(&AAC, packets, duration);
            for _ in 0..packets {
                one_by_one.after(&AAC, duration, 1024);
            }
            assert_eq!(at_once, one_by_one);
        }
        let mut lag = Lag::default();
        lag.skip(&AAC, u64::MAX, u32::MAX);
        lag.skip(&AAC, u64::MAX, 0);
        lag.before(&AAC, Some(u64::MAX), u32::MAX);
    }

    #[test]
    fn durations_that_do_not_stand_out_are_about_as_long_as_the_sound() {
        for (duration, expected) in [
            (0, false),
            (512, false),
            (513, false),
            (1535, false),
            (1536, true),
        ] {
            assert_eq!(Lag::stands_out(&AAC, duration, 1), expected, "{duration}");
        }
        // Of two frames, one may be missing.
        let of_two = MediaClock {
            packet_len: Some(2048),
            ..AAC
        };
        assert!(Lag::stands_out(&of_two, 1024, 1) && !Lag::stands_out(&of_two, 1025, 1));
    }
}
