//! When nobody swept, and when a clock leapt: neither makes anything older.

use std::time::Duration;

use micropy_core::ports::Timestamp;
use serde::{Deserialize, Serialize};

/// How long nobody may have looked at the uploads before that counts as an absence. Rounds are minutes apart.
const ABSENCE: Duration = Duration::from_secs(30 * 60);
/// Gaps that are remembered; of more, the two oldest become one.
const REMEMBERED: usize = 100;

/// What a sweeper keeps in the ledger for whoever sweeps after it. Otherwise a restart would end each doubt.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// When the uploads were last looked at, by their store's clock: milliseconds since the epoch.
    looked: Option<i64>,
    /// When nobody looked, by the same clock.
    absences: Gaps,
    /// When somebody last swept, by the ledger's clock.
    swept: Option<i64>,
    /// Where that clock leapt, or nobody swept for so long that it may have.
    leaps: Gaps,
    /// Until when nothing is removed for its age, by the ledger's clock.
    doubt: Option<i64>,
}

/// Stretches of a clock in which nothing grows older: from when to when, the oldest first. No two overlap.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Gaps(Vec<(i64, i64)>);

impl Gaps {
    /// Adds one that ends at `end`, the present, and becomes one with those that it overlaps.
    fn add(&mut self, begin: Timestamp, end: Timestamp) {
        let mut begin = begin.as_millis();
        while let Some(last) = self.0.pop_if(|last| last.1 >= begin) {
            begin = begin.min(last.0);
        }
        self.0.push((begin, end.as_millis()));
        while self.0.len() > REMEMBERED {
            let (begin, _) = self.0.remove(0);
            self.0[0].0 = begin;
        }
    }

    /// Sets those right that a clock has noted which was ahead: they are still to come.
    fn end_by(&mut self, now: Timestamp) {
        self.0.retain(|(begin, _)| time(*begin) < now);
        for (_, end) in &mut self.0 {
            *end = (*end).min(now.as_millis());
        }
    }

    /// Forgets those that ended `expiry` ago: whatever is older than they are has expired without them.
    fn forget(&mut self, now: Timestamp, expiry: Duration) {
        let is_recent = |(_, end): &(i64, i64)| self.age_of(time(*end), now) < expiry;
        let forgotten = self.0.iter().take_while(|gap| !is_recent(gap)).count();
        self.0.drain(..forgotten);
    }

    /// How long ago `since` was, without the gaps.
    fn age_of(&self, since: Timestamp, now: Timestamp) -> Duration {
        let gaps = self.0.iter().map(|(begin, end)| {
            let begin = time(*begin).max(since);
            time(*end).min(now).since(begin)
        });
        now.since(since).saturating_sub(gaps.sum())
    }

    /// When that was which has this age now.
    fn time_of(&self, age: Duration, now: Timestamp) -> Timestamp {
        let (mut time_of, mut left) = (now, age);
        for (begin, end) in self.0.iter().rev() {
            let between = time_of.since(time(*end));
            if between >= left {
                break;
            }
            left -= between;
            time_of = time_of.min(time(*begin));
        }
        time_of.minus(left)
    }
}

impl Note {
    /// As the ledger keeps it. One that is no note of ours says nothing.
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// For the ledger.
    pub fn to_text(&self) -> String {
        // Plain structs always serialise.
        serde_json::to_string(self).unwrap_or_else(|e| unreachable!("{e}"))
    }

    /// Nothing is removed for its age for so long.
    pub fn begin_doubt(&mut self, now: Timestamp, length: Duration) {
        self.doubt = Some(now.plus(length).as_millis());
    }

    /// Whether nothing is to be removed for its age, which lasts `longest` at most: the clock that said until when may
    /// have been ahead.
    pub fn is_in_doubt(&mut self, now: Timestamp, longest: Duration) -> bool {
        let longest = now.plus(longest).as_millis();
        self.doubt = self.doubt.map(|until| until.min(longest));
        self.doubt = self.doubt.filter(|until| *until > now.as_millis());
        self.doubt.is_some()
    }

    /// When somebody last swept, by the ledger's clock, as far as that is known.
    pub fn swept(&self) -> Option<Timestamp> {
        self.swept.map(time)
    }

    /// The ledger's clock leapt from `begin` to `now`, or may have.
    pub fn leap(&mut self, begin: Timestamp, now: Timestamp) {
        self.leaps.add(begin, now);
    }

    /// Somebody sweeps, at `now` by the ledger's clock. Leaps after which as much time has passed as finished jobs are
    /// kept are forgotten.
    pub fn sweep(&mut self, now: Timestamp, retention: Duration) {
        self.swept = Some(now.as_millis());
        self.leaps.end_by(now);
        self.leaps.forget(now, retention);
    }

    /// When a job was finished that has this age now, without the leaps. `now` is that of the last sweep.
    pub fn finished(&self, age: Duration, now: Timestamp) -> Timestamp {
        self.leaps.time_of(age, now)
    }

    /// The uploads are looked at, at `now` by their store's clock. Absences after which those of an age of `expiry`
    /// were looked at for as long are forgotten.
    pub fn look(&mut self, now: Timestamp, expiry: Duration) {
        self.absences.end_by(now);
        let last = self.looked.replace(now.as_millis()).map(time);
        if let Some(last) = last.filter(|last| now.since(*last) > ABSENCE) {
            self.absences.add(last, now);
        }
        self.absences.forget(now, expiry);
    }

    /// How long ago an upload was written to, at `since`, without the time in which nobody looked. `now` is that of the
    /// last look.
    pub fn age_of(&self, since: Timestamp, now: Timestamp) -> Duration {
        self.absences.age_of(since, now)
    }
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn the_time_in_which_nobody_looked_makes_nothing_older() {
        let mut note = Note::default();
        let (written, mut now) = (NOW, NOW);
        let look = |note: &mut Note, now: Timestamp| {
            note.look(now, DAY);
            *note = Note::read(&note.to_text());
        };
        look(&mut note, now);
        // Two hours at work, then twenty-two away, day after day.
        for day in 1..=12_u32 {
            for _ in 0..12 {
                now = now.plus(HOUR / 6);
                look(&mut note, now);
            }
            assert_eq!(note.age_of(written, now), 2 * HOUR * day);
            now = now.plus(22 * HOUR);
            look(&mut note, now);
        }
        assert_eq!(note.age_of(written, now), DAY);
        assert_eq!(note.age_of(now.minus(HOUR), now), Duration::ZERO);
        // A clock that leaps is no different.
        let later = now.plus(400 * DAY);
        look(&mut note, later);
        assert_eq!(note.age_of(written, later), DAY);
    }

    #[test]
    fn a_clock_that_was_ahead_keeps_nothing_for_long() {
        let mut note = Note::default();
        note.look(NOW, DAY);
        // 400 days ahead for one look, then set back.
        note.look(NOW.plus(400 * DAY), DAY);
        let mut now = NOW.plus(HOUR / 6);
        let begun = now;
        for _ in 0..150 {
            note.look(now, DAY);
            now = now.plus(HOUR / 6);
        }
        assert!(note.age_of(begun, now) > DAY, "{note:?}");
        assert_eq!(note.absences.0, []);
    }

    #[test]
    fn old_absences_are_forgotten_and_many_become_few() {
        let mut note = Note::default();
        let mut now = NOW;
        for _ in 0..1000 {
            note.look(now, DAY);
            now = now.plus(HOUR);
        }
        assert!(note.absences.0.len() <= REMEMBERED);
        assert!(note.age_of(NOW, now) <= HOUR, "nothing is older for it");
        // Looked at every ten minutes for more than a day.
        for _ in 0..150 {
            note.look(now, DAY);
            now = now.plus(HOUR / 6);
        }
        assert_eq!(note.absences.0, []);
    }

    #[test]
    fn leaps_make_no_job_older() {
        let mut note = Note::default();
        let begun = NOW.minus(400 * DAY);
        let sweep = |note: &mut Note, now: Timestamp| {
            note.sweep(now, 30 * DAY);
            *note = Note::read(&note.to_text());
        };
        sweep(&mut note, begun);
        let finished = begun.plus(HOUR);
        assert_eq!(note.finished(HOUR, begun.plus(2 * HOUR)), finished);
        // Put right two hours later; a second sweeper notices later than the first.
        note.leap(begun.plus(2 * HOUR), NOW);
        sweep(&mut note, NOW);
        note.leap(begun.plus(2 * HOUR), NOW.plus(HOUR));
        let is_past = |note: &Note, age, now| finished <= note.finished(age, now);
        for (hours, age) in [(1, 1), (2, 2), (24, 24)] {
            let now = NOW.plus(HOUR * hours);
            sweep(&mut note, now);
            assert!(is_past(&note, HOUR * age, now), "{hours}");
            assert!(!is_past(&note, HOUR * age + HOUR / 60, now), "{hours}");
        }
        // In thirty days in all, its time is over.
        let now = NOW.plus(30 * DAY);
        sweep(&mut note, now);
        assert!(is_past(&note, 30 * DAY, now) && !is_past(&note, 31 * DAY, now));
        sweep(&mut note, NOW.plus(31 * DAY + 2 * HOUR));
        assert_eq!(note.leaps.0, [], "whatever is older has expired");
    }

    #[test]
    fn ages_and_times_agree() {
        let mut gaps = Gaps::default();
        for (begin, end) in [(10, 12), (20, 30), (25, 40), (41, 60)] {
            gaps.add(NOW.plus(begin * HOUR), NOW.plus(end * HOUR));
        }
        assert_eq!(gaps.0.len(), 3, "{gaps:?}");
        let now = NOW.plus(70 * HOUR);
        let ages = [0, 5, 10, 11, 15, 19].map(|hours| hours * HOUR + HOUR / 2);
        for age in ages {
            assert_eq!(gaps.age_of(gaps.time_of(age, now), now), age, "{age:?}");
        }
        // Between two gaps, and at their ends.
        assert_eq!(gaps.age_of(NOW.plus(41 * HOUR), now), 10 * HOUR);
        assert_eq!(gaps.age_of(NOW.plus(40 * HOUR), now), 11 * HOUR);
        assert_eq!(gaps.age_of(NOW.plus(12 * HOUR), now), 19 * HOUR);
        // A clock that was ahead, and was set back.
        gaps.end_by(NOW.plus(50 * HOUR));
        assert_eq!(
            gaps.age_of(NOW.plus(40 * HOUR), NOW.plus(51 * HOUR)),
            2 * HOUR
        );
        gaps.end_by(NOW);
        assert_eq!(gaps, Gaps::default());
    }

    #[test]
    fn a_doubt_outlives_the_process_and_not_the_clock_that_was_ahead() {
        let mut note = Note::default();
        assert!(!note.is_in_doubt(NOW, 6 * HOUR));
        note.begin_doubt(NOW.plus(400 * DAY), 6 * HOUR);
        let mut note = Note::read(&note.to_text());
        assert!(note.is_in_doubt(NOW, 6 * HOUR));
        assert!(note.is_in_doubt(NOW.plus(5 * HOUR), 6 * HOUR));
        assert!(!note.is_in_doubt(NOW.plus(6 * HOUR), 6 * HOUR));
        for odd in ["", "null", "{\"absences\": 7}", "{\"looked\": 1e99}"] {
            assert_eq!(Note::read(odd), Note::default(), "{odd:?}");
        }
    }
}
