//! Sets up the stages of a conversion: from the options and the track to the reader of spans and the recipe for
//! their PCM.

use std::collections::VecDeque;

use super::{Conversion, Survey, encoder};
use crate::audio::Beginning;
use crate::codec::Codec;
use crate::decode::{self, Format};
use crate::downmix::Downmix;
use crate::error::Result;
use crate::fade::Fade;
use crate::loudness::Loudness;
use crate::mp4::{AudioTrack, Packet};
use crate::options::Channels;
use crate::render::Recipe;
use crate::report::samples_of;
use crate::resample::Resampler;
use crate::span::{Mapping, Plan, SpanReader};
use crate::timeline::{MediaClock, MediaEnd, Timeline};

/// From packets to PCM, ready to run.
pub struct Setup {
    pub recipe: Recipe,
    pub reader: SpanReader,
    /// PCM samples that the container declares for the output, where it does.
    pub declared: Option<u64>,
}

impl Conversion<'_> {
    /// Sets up everything up to the PCM of the output.
    pub(super) fn set_up(
        &self,
        beginning: Beginning,
        survey: Option<&Survey>,
        measure: bool,
    ) -> Result<Setup> {
        let options = self.options;
        let clock = self.clock(&beginning);
        let end = self.media_end(&beginning, &clock);
        let timeline = self.part_of(self.timeline(&beginning), &clock, end);
        let Beginning {
            format,
            ahead,
            packets,
            ..
        } = beginning;
        let at = self.audio.parameters().at;
        let in_order = format.in_order(self.audio.parameters())?;
        let lengths = decode::lengths(self.audio.parameters(), &format);
        timeline.check(at, in_order.is_some())?;
        let rate = options.output_rate(format.sample_rate);
        let resampler = match rate == format.sample_rate {
            true => None,
            false => Some(Resampler::new(format.sample_rate, rate)?),
        };
        let gain = self.gain(survey);
        let mapping = Mapping {
            clock,
            timeline,
            resampler,
            roll: Recipe::roll(measure, gain.is_some(), rate),
            at,
        };
        let len = mapping.timeline.len();
        let declared = len.filter(|_| mapping.timeline.is_settled());
        let declared = declared.map(|len| mapping.output_len(len));
        let frame_len = encoder::frame_len(rate);
        let plan = Plan::new(
            declared.map(|len| encoder::frames_for(len, frame_len)),
            encoder::span_unit(rate),
            self.frame_bytes(&clock, &format, &ahead, rate),
        );
        let resampler = mapping.resampler.clone();
        let reader = SpanReader::new(
            ahead,
            packets,
            mapping,
            plan,
            frame_len,
            format.roll,
            in_order,
        )
        .with_lengths(lengths);
        let end = survey.map(|survey| survey.extent.output_len).or(declared);
        Ok(Setup {
            recipe: Recipe {
                parameters: self.audio.parameters().clone(),
                downmix: self.downmix(&format),
                format,
                resampler,
                sample_rate: rate,
                gain,
                fade: self.fade(rate, end),
                measure,
                envelope: None,
            },
            reader,
            declared,
        })
    }

    pub(super) fn clock(&self, beginning: &Beginning) -> MediaClock {
        beginning.clock(self.audio.track(), self.audio.parameters())
    }

    /// What the file presents, without the silence of a late start.
    pub(super) fn timeline(&self, beginning: &Beginning) -> Timeline {
        let gapless = self.audio.metadata().gapless;
        let end = self.media_end(beginning, &self.clock(beginning));
        beginning.timeline(self.audio.track(), self.audio.parameters(), gapless, end)
    }

    /// The end of the media, as far as the container declares it.
    fn media_end(&self, beginning: &Beginning, clock: &MediaClock) -> Option<MediaEnd> {
        let track = self.audio.track();
        let format = &beginning.format;
        let lengths = decode::lengths(self.audio.parameters(), format);
        // What a pause adds to the sound is known once the packets around it were seen, and so is what packets of another
        // length add.
        let is_known_later = format.has_unknown_lengths()
            || track.has_pauses(clock)
            || track.has_samples_without_time()
            || may_hold_more_frames(track, beginning)
            || match clock.instant {
                Some(_) => track.any_packet_stands_out(clock),
                None => lengths
                    .is_some_and(|lengths| track.may_hold_other_than_usual(lengths.step, clock)),
            };
        if is_known_later {
            return None;
        }
        let declared = track.samples.zip(track.duration);
        declared.map(|(packets, units)| MediaEnd {
            time: units,
            len: clock.media_len(packets, units, track.last_duration()),
        })
    }

    /// The part of `timeline` that is converted.
    fn part_of(
        &self,
        timeline: Timeline,
        clock: &MediaClock,
        media_end: Option<MediaEnd>,
    ) -> Timeline {
        let samples = |time| samples_of(time, clock.sample_rate);
        let end = self.part.end.map_or(u64::MAX, samples);
        timeline.part(
            self.options.late_start,
            samples(self.part.start)..end,
            media_end,
        )
    }

    fn downmix(&self, format: &Format) -> Downmix {
        let scaled = !self.options.unscaled_downmix;
        match self.options.channels {
            Some(Channels::Mono) => Downmix::mono(format.layout, scaled),
            None if format.layout.channels() == 1 => Downmix::mono(format.layout, scaled),
            Some(Channels::Stereo) | None => Downmix::stereo(format.layout, scaled),
        }
    }

    /// The factor that brings the audio to the loudness asked for. Silence has no loudness, and stays silence.
    fn gain(&self, survey: Option<&Survey>) -> Option<f32> {
        let loudness = survey?.loudness.as_ref();
        let measured = loudness.and_then(Loudness::integrated)?;
        let target = self.options.normalize?;
        Some(10f64.powf((target - measured) / 20.0) as f32)
    }

    /// The fades of an output at `rate` Hz that is `end` PCM samples long.
    fn fade(&self, rate: u32, end: Option<u64>) -> Fade {
        let fade_out = samples_of(self.options.fade_out, rate);
        Fade {
            rise: samples_of(self.options.fade_in, rate),
            fall: match end {
                Some(end) if fade_out > 0 => end.saturating_sub(fade_out)..end,
                _ => 0..0,
            },
        }
    }

    /// Bytes that spans carry for each frame of an output at `rate` Hz, on average: by the sample table, or, where
    /// the length stands in movie fragments still to come, by the first packets.
    fn frame_bytes(
        &self,
        clock: &MediaClock,
        format: &Format,
        ahead: &VecDeque<(Packet, Vec<u8>)>,
        rate: u32,
    ) -> u64 {
        let track = self.audio.track();
        let known = track.samples.zip(track.duration);
        let (bytes, samples) = match (format.carried(), known) {
            (Some(bytes), _) => (bytes, 1),
            (None, Some((packets, units))) => {
                (track.bytes(), clock.media_len(packets, units, None))
            }
            (None, None) => {
                let sum =
                    |of: fn(&Packet) -> u32| ahead.iter().map(|(p, _)| u64::from(of(p))).sum();
                let units = sum(|packet| packet.duration);
                let len = clock.media_len(ahead.len() as u64, units, None);
                (sum(|packet| packet.size), len)
            }
        };
        let second = u128::from(bytes) * u128::from(clock.sample_rate) / u128::from(samples.max(1));
        let frame = second * u128::from(encoder::frame_len(rate)) / u128::from(rate);
        u64::try_from(frame).unwrap_or(u64::MAX)
    }
}

/// Whether some packet may have more frames than the first ones, though its duration does not say so: MPEG audio is coded at
/// about one bitrate.
fn may_hold_more_frames(track: &AudioTrack, beginning: &Beginning) -> bool {
    let is_mpeg_audio = matches!(beginning.format.codec, Codec::Mp1 | Codec::Mp2 | Codec::Mp3);
    let first = beginning.ahead.iter().map(|(packet, _)| packet.size).max();
    is_mpeg_audio && track.largest_packet() > first.unwrap_or_default().saturating_mul(7) / 4
}
