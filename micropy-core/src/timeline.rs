//! From the times of a container to PCM samples: which part of a decoder's output is presented.

use crate::mp4::Edit;
use crate::tags::Gapless;

/// Converts media time of one track into PCM samples of its decoder.
#[derive(Clone, Copy, Debug)]
pub struct MediaClock {
    /// Media units per second.
    pub timescale: u32,
    /// PCM samples per channel and second of the decoder's output (after SBR).
    pub sample_rate: u32,
    /// PCM samples of every packet, if the codec fixes it.
    pub packet_len: Option<u32>,
}

impl MediaClock {
    /// `units` of media time as PCM samples, rounded to the nearest.
    pub fn samples(&self, units: u64) -> u64 {
        rescale(units, self.sample_rate, self.timescale)
    }

    /// Length of the decoder's output for `packets` packets whose durations sum to `units`: what the packets decode
    /// to, less the end padding that a short last duration declares.
    ///
    /// Durations that differ for another reason (a coarse timescale, gaps in a recording) say nothing about padding:
    /// then every PCM sample counts.
    pub fn media_len(&self, packets: u64, units: u64) -> u64 {
        let declared = self.samples(units);
        let Some(packet_len) = self.packet_len else {
            return declared;
        };
        let decoded = packets.saturating_mul(u64::from(packet_len));
        let tick = u64::from(self.sample_rate.div_ceil(self.timescale));
        let padding = decoded.saturating_sub(declared);
        let exact = tick == 1 || padding >= tick;
        if exact && padding < u64::from(packet_len) && declared <= decoded {
            declared
        } else {
            decoded
        }
    }
}

/// `value · to / from`, rounded to the nearest, without overflow up to `u64::MAX`.
pub fn rescale(value: u64, to: u32, from: u32) -> u64 {
    let from = u128::from(from.max(1));
    let scaled = (u128::from(value) * u128::from(to) + from / 2) / from;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// The part of a decoder's output that is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented {
    /// First PCM sample.
    pub start: u64,
    /// PCM samples; `None`: all to the end.
    pub length: Option<u64>,
}

impl Presented {
    /// The part by the edit list. If there is none, the part by iTunSMPB, provided that it accounts for every packet of
    /// the track (`packets`, if known). Otherwise everything.
    pub fn new(
        clock: &MediaClock,
        edit: &Edit,
        gapless: Option<Gapless>,
        packets: Option<u64>,
    ) -> Self {
        let trims = edit.start > 0 || edit.length.is_some();
        if !trims && let Some(info) = gapless {
            let accounted = info
                .delay
                .checked_add(info.length)
                .and_then(|n| n.checked_add(info.padding));
            let decoded = packets
                .zip(clock.packet_len)
                .and_then(|(n, len)| n.checked_mul(u64::from(len)));
            if accounted.is_some() && accounted == decoded {
                return Presented {
                    start: info.delay,
                    length: Some(info.length),
                };
            }
        }
        Presented {
            start: clock.samples(edit.start),
            length: edit.length.map(|units| clock.samples(units)),
        }
    }

    /// Its length if the media has `media_len` PCM samples.
    pub fn len_within(&self, media_len: u64) -> u64 {
        let rest = media_len.saturating_sub(self.start);
        self.length.map_or(rest, |length| length.min(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AAC: MediaClock = MediaClock {
        timescale: 44_100,
        sample_rate: 44_100,
        packet_len: Some(1024),
    };

    #[test]
    fn a_short_last_duration_is_padding() {
        assert_eq!(AAC.media_len(10, 10 * 1024), 10_240);
        assert_eq!(AAC.media_len(10, 10 * 1024 - 300), 9_940);
    }

    #[test]
    fn durations_that_are_not_padding_do_not_shorten() {
        // A whole packet or more is missing, or there is more time than packets: a gap.
        assert_eq!(AAC.media_len(10, 9 * 1024), 10_240);
        assert_eq!(AAC.media_len(10, 50 * 1024), 10_240);
        // Milliseconds: 232.2 ms were rounded down to 232.
        let coarse = MediaClock {
            timescale: 1000,
            ..AAC
        };
        assert_eq!(coarse.media_len(10, 232), 10_240);
        assert_eq!(coarse.media_len(10, 220), 9_702);
    }

    #[test]
    fn sbr_counts_at_its_output_rate() {
        let sbr = MediaClock {
            timescale: 22_050,
            sample_rate: 44_100,
            packet_len: Some(2048),
        };
        assert_eq!(sbr.media_len(10, 10 * 1024 - 100), 20_280);
        let edit = Edit {
            start: 1637,
            ..Edit::default()
        };
        assert_eq!(Presented::new(&sbr, &edit, None, None).start, 3274);
    }

    #[test]
    fn itunsmpb_counts_only_if_it_adds_up_and_there_is_no_edit() {
        let info = Gapless {
            delay: 2112,
            padding: 100,
            length: 8028,
        };
        let presented = |edit, packets| Presented::new(&AAC, &edit, Some(info), packets);
        let all = Presented {
            start: 0,
            length: None,
        };
        assert_eq!(
            presented(Edit::default(), Some(10)),
            Presented {
                start: 2112,
                length: Some(8028)
            }
        );
        assert_eq!(presented(Edit::default(), Some(11)), all);
        assert_eq!(presented(Edit::default(), None), all);
        let edit = Edit {
            start: 1024,
            ..Edit::default()
        };
        assert_eq!(presented(edit, Some(10)).start, 1024);
    }

    #[test]
    fn rescale_rounds_and_does_not_overflow() {
        assert_eq!(rescale(1, 44_100, 1000), 44);
        assert_eq!(rescale(u64::MAX, 1, 1), u64::MAX);
        assert_eq!(rescale(u64::MAX, 2, 1), u64::MAX);
        assert_eq!(rescale(5, 1, 0), 5);
    }
}
