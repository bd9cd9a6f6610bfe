//! Which part of the media is presented (`elst`, ISO/IEC 14496-12, 8.6.6).

use super::boxes::Fields;
use crate::error::Result;

/// One entry of an edit list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// In movie timescale units; 0 in fragmented files: to the end.
    pub duration: u64,
    /// Where the edit begins in the media, in media timescale units; `None` for an empty edit
    /// (`media_time` −1).
    pub media_time: Option<u64>,
    /// Whether `media_rate` is 1.
    pub at_full_speed: bool,
}

/// The presented part of a track's media (`edts`/`elst`, first non-empty edit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Length of the empty edits before it, in `timescale` units: a late start.
    pub delay: u64,
    /// `media_time` of the edit in `timescale` units: what is skipped at the start.
    pub start: u64,
    /// Presented length in `timescale` units; `None`: to the end, also if it ends within one tick of the coarse movie
    /// timescale of the media's own end.
    pub length: Option<u64>,
    /// Edits behind that one which present anything else than what follows it in the media: they are not played.
    pub left_out: u32,
    /// An edit asks for another speed than the media's own.
    pub other_speed: bool,
}

/// The most entries kept of an edit list.
const MAX_ENTRIES: u32 = 1024;

/// Reads the payload of an `elst` box.
pub fn read(mut fields: Fields<'_>) -> Result<Vec<Entry>> {
    let (version, _) = fields.version_and_flags()?;
    let count = fields.u32()?;
    let mut entries = Vec::new();
    for _ in 0..count.min(MAX_ENTRIES) {
        let duration = fields.u32_or_u64(version)?;
        let media_time = match version {
            0 => i64::from(fields.u32()?.cast_signed()),
            _ => fields.u64()?.cast_signed(),
        };
        let media_rate = fields.u32()?;
        entries.push(Entry {
            duration,
            media_time: u64::try_from(media_time).ok(),
            at_full_speed: media_rate == 1 << 16,
        });
    }
    Ok(entries)
}

/// `value` in units of `from` per second, as units of `to` per second, rounded to nearest.
pub fn rescale(value: u64, from: u32, to: u32) -> u64 {
    let from = u128::from(from.max(1));
    let scaled = (u128::from(value) * u128::from(to) + from / 2) / from;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

impl Edit {
    /// What `entries` present of media of `media_duration` units, if that is known.
    pub fn new(
        entries: &[Entry],
        movie_timescale: u32,
        timescale: u32,
        media_duration: Option<u64>,
    ) -> Edit {
        let empty = entries.iter().take_while(|e| e.media_time.is_none());
        let delay = empty.fold(0u64, |sum, e| sum.saturating_add(e.duration));
        let mut rest = entries.iter().skip_while(|e| e.media_time.is_none());
        let Some((start, mut duration)) =
            rest.next().and_then(|e| Some((e.media_time?, e.duration)))
        else {
            return Edit::default();
        };
        let tick = u64::from(timescale.div_ceil(movie_timescale.max(1)));
        let (mut left_out, mut silence) = (0, 0u64);
        let to_the_end = duration == 0;
        for entry in rest {
            match entry.media_time {
                // Nothing of it is presented.
                _ if entry.duration == 0 && !to_the_end => {}
                None => silence = silence.saturating_add(entry.duration),
                // What was cut in two, but is played through, is one edit.
                Some(next) => {
                    let end = start.saturating_add(rescale(duration, movie_timescale, timescale));
                    let follows = !to_the_end && next.abs_diff(end) <= tick;
                    if follows && silence == 0 && left_out == 0 {
                        duration = duration.saturating_add(entry.duration);
                    } else {
                        left_out += 1;
                    }
                }
            }
        }
        let length = rescale(duration, movie_timescale, timescale);
        let reaches_the_end = media_duration
            .is_some_and(|media| start.saturating_add(length).saturating_add(tick) >= media);
        Edit {
            delay: rescale(delay, movie_timescale, timescale),
            start,
            length: (duration != 0 && !reaches_the_end).then_some(length),
            left_out,
            other_speed: entries
                .iter()
                .any(|e| e.media_time.is_some() && !e.at_full_speed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(duration: u64, media_time: i64) -> Entry {
        Entry {
            duration,
            media_time: u64::try_from(media_time).ok(),
            at_full_speed: true,
        }
    }

    #[test]
    fn within_one_movie_tick_of_the_end_the_media_decides() {
        // 9.0 s and 348 PCM samples at 44.1 kHz: one tick of 1/600 s is 73.5 of them.
        let media = 2112 + 44_100 * 9 + 60;
        let edit = Edit::new(&[entry(5400, 2112)], 600, 44_100, Some(media));
        assert_eq!((edit.start, edit.length), (2112, None));
        let edit = Edit::new(&[entry(5400, 2112)], 600, 44_100, Some(media + 20));
        assert_eq!(edit.length, Some(44_100 * 9));
    }

    #[test]
    fn an_edit_past_the_end_extends_to_the_end() {
        let edit = Edit::new(&[entry(1 << 40, 1024)], 1000, 48_000, Some(480_000));
        assert_eq!((edit.start, edit.length), (1024, None));
    }

    #[test]
    fn empty_edits_delay_and_a_zero_length_is_open() {
        let list = [entry(500, -1), entry(250, -1), entry(0, 1024), entry(9, 0)];
        let edit = Edit::new(&list, 1000, 48_000, None);
        assert_eq!(edit.delay, 36_000);
        assert_eq!((edit.start, edit.length), (1024, None));
    }

    #[test]
    fn only_empty_edits_present_the_whole_media() {
        assert_eq!(
            Edit::new(&[entry(7, -1)], 1000, 48_000, None),
            Edit::default()
        );
        assert_eq!(Edit::new(&[], 0, 0, None), Edit::default());
    }

    #[test]
    fn absurd_numbers_saturate() {
        let edit = Edit::new(
            &[entry(u64::MAX, -1), entry(u64::MAX, i64::MAX)],
            0,
            u32::MAX,
            Some(1),
        );
        assert_eq!(edit.delay, u64::MAX);
        assert_eq!(edit.length, None);
    }

    #[test]
    fn edits_that_do_not_follow_each_other_are_counted() {
        let left_out = |entries: &[Entry]| Edit::new(entries, 1000, 1000, Some(10_000)).left_out;
        assert_eq!(left_out(&[entry(500, 100), entry(500, 3000)]), 1);
        assert_eq!(left_out(&[entry(500, 100), entry(500, 100)]), 1, "repeated");
        assert_eq!(
            left_out(&[entry(500, 100), entry(200, -1), entry(500, 600)]),
            1,
            "a gap"
        );
        assert_eq!(
            left_out(&[entry(100, -1), entry(500, 100)]),
            0,
            "a late start"
        );
        assert_eq!(
            left_out(&[entry(500, 100), entry(0, 0), entry(100, -1)]),
            0,
            "nothing after"
        );
        let through = [entry(500, 100), entry(500, 600), entry(1000, 1101)];
        let edit = Edit::new(&through, 1000, 1000, Some(10_000));
        assert_eq!(
            (edit.start, edit.length, edit.left_out),
            (100, Some(2000), 0)
        );
    }
}
