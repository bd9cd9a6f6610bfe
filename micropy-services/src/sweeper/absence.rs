//! When nobody swept, and when the clock leapt: neither makes anything older.

use std::time::Duration;

use micropy_core::ports::Timestamp;
use serde::{Deserialize, Serialize};

/// How long nobody may have looked at the uploads before that counts as an absence. Rounds are minutes apart.
const ABSENCE: Duration = Duration::from_secs(30 * 60);
/// Absences that are remembered; of more, the two oldest become one.
const REMEMBERED: usize = 100;

/// What a sweeper keeps in the ledger for whoever sweeps after it. Otherwise a restart would end each doubt.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// When the uploads were last looked at, by their store's clock: milliseconds since the epoch.
    looked: Option<i64>,
    /// From when to when nobody looked, by the same clock, the oldest first.
    absences: Vec<(i64, i64)>,
    /// Until when nothing is removed for its age, by the ledger's clock.
    doubt: Option<i64>,
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

    /// The uploads are looked at, at `now` by their store's clock. Absences after which those of an age of `expiry`
    /// were looked at for as long are forgotten: whatever is older than they are has expired without them.
    pub fn look(&mut self, now: Timestamp, expiry: Duration) {
        // A clock that was ahead, and was set back, has noted what is still to come.
        self.absences.retain(|(begin, _)| time(*begin) < now);
        for (_, end) in &mut self.absences {
            *end = (*end).min(now.as_millis());
        }
        let last = self.looked.replace(now.as_millis());
        if let Some(last) = last.filter(|last| now.since(time(*last)) > ABSENCE) {
            self.absences.push((last, now.as_millis()));
        }
        let is_recent = |(_, end): &(i64, i64)| self.age_of(time(*end), now) < expiry;
        let forgotten = self.absences.iter().take_while(|gap| !is_recent(gap));
        let forgotten = forgotten.count();
        self.absences.drain(..forgotten);
        while self.absences.len() > REMEMBERED {
            let (begin, _) = self.absences.remove(0);
            self.absences[0].0 = begin;
        }
    }

    /// How long ago `since` was, without the time in which nobody looked. `now` is that of the last look.
    pub fn age_of(&self, since: Timestamp, now: Timestamp) -> Duration {
        let absent = self.absences.iter().map(|(begin, end)| {
            let begin = time(*begin).max(since);
            time(*end).min(now).since(begin)
        });
        now.since(since).saturating_sub(absent.sum())
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
        assert_eq!(note.absences, []);
    }

    #[test]
    fn old_absences_are_forgotten_and_many_become_few() {
        let mut note = Note::default();
        let mut now = NOW;
        for _ in 0..1000 {
            note.look(now, DAY);
            now = now.plus(HOUR);
        }
        assert!(note.absences.len() <= REMEMBERED);
        assert!(note.age_of(NOW, now) <= HOUR, "nothing is older for it");
        // Looked at every ten minutes for more than a day.
        for _ in 0..150 {
            note.look(now, DAY);
            now = now.plus(HOUR / 6);
        }
        assert_eq!(note.absences, []);
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
