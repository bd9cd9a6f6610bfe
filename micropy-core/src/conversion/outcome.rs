//! What came of a conversion, whether its frames were copied or encoded, and the report of it.

use std::time::Duration;

use crate::decode::Format;
use crate::error::{Error, Result};
use crate::mp3::info_tag::Trim;
use crate::mp4::{Jump, Missing, NotedJump, Packets};
use crate::render::Faults;
use crate::report::{MeasuredLoudness, Report, duration_of};
use crate::span::Extent;
use crate::tags::{ReplayGain, Tags};
use crate::timeline::{Timeline, rescale};
use crate::warning::Warning;

/// An MP3 whose frames are written; lengths are PCM samples per channel.
pub struct Outcome<'a> {
    /// What the source decodes to.
    pub format: Format,
    /// Units per second of the container's times.
    pub timescale: u32,
    /// How long the index of the segments says the media is, in those units.
    pub indexed: Option<u64>,
    /// Its frames were copied as they are.
    pub copied: bool,
    /// What was read.
    pub extent: Extent,
    /// Where it was read from.
    pub packets: &'a Packets,
    /// What of that is presented; `None`: all of it.
    pub presented: Option<&'a Timeline>,
    /// Packets that could not be decoded, or not whole.
    pub faults: Faults,
    /// It is of a part that ends before the audio may.
    pub ends_early: bool,
    /// Length that the container declares, where it does.
    pub declared: Option<u64>,
    /// Hz of the MP3.
    pub output_sample_rate: u32,
    /// Channels of the MP3.
    pub output_channels: u16,
    /// What decoders leave out of the MP3; `None`: nothing.
    pub trim: Option<Trim>,
    /// How much longer it is than what the source presents.
    pub untrimmed: u64,
    /// Bytes of its ID3 tag.
    pub tag_bytes: usize,
    /// How loud the source is, where it was measured.
    pub loudness: Option<MeasuredLoudness>,
    /// How loud the MP3 is, where its tags are to say so.
    pub replay_gain: Option<ReplayGain>,
}

impl Outcome<'_> {
    /// Refuses audio of which not one packet could be decoded.
    pub fn check(&self) -> Result<()> {
        match self.faults.first() {
            Some((at, why)) if self.faults.sound() == 0 => Err(Error::malformed(
                at,
                "audio",
                format!("not one of its packets can be decoded: {why}"),
            )),
            _ => Ok(()),
        }
    }

    /// Whether it is of a part that is wholly there: what the file lacks behind it is not missing from it.
    fn is_whole_part(&self) -> bool {
        self.ends_early && self.declared == Some(self.extent.output_len)
    }

    /// What the file does not have of it.
    fn missing(&self) -> Missing {
        match self.is_whole_part() {
            true => Missing::default(),
            false => self.packets.missing(),
        }
    }

    /// Where the media breaks off in it.
    fn cut_at(&self) -> Option<u64> {
        self.extent.cut_at.filter(|_| !self.is_whole_part())
    }

    /// Why sound is missing that the file declares, where it is.
    pub fn missing_sound(&self, container: &[Warning]) -> Vec<Warning> {
        let mut warnings = self.warnings(container);
        warnings.retain(Warning::is_of_missing_sound);
        warnings
    }

    /// The report of an MP3 of so many frames and bytes. `container` are the warnings from before its packets.
    pub fn report(self, container: &[Warning], frames: u64, bytes: u64) -> Report {
        let missing = self.missing();
        let warnings = self.warnings(container);
        let rate = self.output_sample_rate;
        Report {
            complete: !warnings.iter().any(Warning::is_of_missing_sound),
            warnings,
            codec: self.format.codec,
            copied: self.copied,
            input_sample_rate: self.format.sample_rate,
            input_channels: self.format.layout.channels() as u16,
            input_samples: self.extent.input_len,
            input_bytes: self.extent.audio_bytes,
            packets: self.extent.packets,
            expected_packets: self.extent.packets + missing.packets,
            concealed_packets: self.faults.count(),
            output_sample_rate: rate,
            output_channels: self.output_channels,
            output_samples: self.extent.output_len,
            output_bytes: bytes,
            tag_bytes: self.tag_bytes as u64,
            tags: Tags::new(),
            cover: None,
            frames,
            expected_duration: self.declared.map(|len| duration_of(len, rate)),
            loudness: self.loudness,
        }
    }

    /// The reason not to call the MP3 complete where too much of its sound is silence or was cut off.
    fn much_concealed(&self) -> Option<Warning> {
        /// One packet in a hundred, or so much of them together.
        const SHARE: u64 = 100;
        const DURATION: Duration = Duration::from_millis(100);

        let (packets, of) = (
            self.faults.count(),
            self.faults.count() + self.faults.sound(),
        );
        let (at, _) = self.faults.first()?;
        // Packets whose length the codec does not fix are taken to be of the mean length.
        let packet_len = match self.format.packet_len {
            Some(len) => len.into(),
            None => self.extent.input_len / of.max(1),
        };
        let duration = duration_of(self.faults.len(packet_len), self.format.sample_rate);
        (packets * SHARE > of || duration > DURATION).then_some(Warning::MuchConcealed {
            packets,
            of,
            duration,
            at,
        })
    }

    /// The reason not to call the MP3 complete where fragments at the end are missing altogether.
    fn ends_early(&self) -> Option<Warning> {
        /// The index and the fragments may be rounded differently.
        const ROUNDING: Duration = Duration::from_millis(100);

        let [at, indexed] =
            [self.extent.ended?, self.indexed?].map(|units| duration_of(units, self.timescale));
        let is_short = at.saturating_add(ROUNDING) < indexed;
        (is_short && !self.is_whole_part()).then_some(Warning::EndsEarly { at, indexed })
    }

    fn jump(&self, jump: &Jump) -> Warning {
        let time = |units: u64| duration_of(units, self.timescale);
        match *jump {
            Jump::Gap { from, to, filled } => Warning::Gap {
                at: time(from),
                length: time(to.saturating_sub(from)),
                filled,
            },
            Jump::Early { heard, begins } => Warning::OutOfOrder {
                at: time(heard),
                begins: time(begins),
            },
            Jump::Repeat { from, to } => Warning::Repeated {
                at: time(from),
                length: time(to.saturating_sub(from)),
            },
            Jump::Sorted { from } => Warning::Sorted { at: time(from) },
        }
    }

    /// The jumps in what is presented; the first of many. If that is nothing, what lies before may be why.
    fn jumps(&self) -> impl Iterator<Item = Warning> {
        /// As many as anybody reads.
        const MOST: usize = 16;
        let presented = self.presented.filter(|_| self.extent.output_len > 0);
        let samples = |units| rescale(units, self.format.sample_rate, self.timescale);
        let is_presented = move |noted: &&NotedJump| {
            let place = samples(noted.place.start)..samples(noted.place.end);
            presented.is_none_or(|timeline| timeline.presents(place))
        };
        let jumps = self.packets.jumps().iter().filter(is_presented);
        jumps.map(|noted| self.jump(&noted.jump)).take(MOST)
    }

    fn warnings(&self, container: &[Warning]) -> Vec<Warning> {
        let mut warnings = container.to_vec();
        warnings.extend_from_slice(self.packets.warnings());
        warnings.extend(self.faults.warnings());
        warnings.extend(self.much_concealed());
        warnings.extend(self.jumps());
        if self.packets.composition().varies {
            warnings.push(Warning::CompositionOffsets);
        }
        if self.extent.beyond > 0 {
            warnings.push(Warning::BehindTheMedia {
                length: duration_of(self.extent.beyond, self.format.sample_rate),
            });
        }
        let packets = self.extent.packets;
        let missing = self.missing();
        if self.cut_at().is_none() && !missing.is_empty() {
            warnings.push(Warning::Missing {
                packets: missing.packets,
                found: packets,
            });
        }
        warnings.extend(self.cut_at().map(|at| Warning::BreaksOff {
            at,
            packets,
            expected_packets: packets + self.missing().packets,
        }));
        if self.cut_at().is_none() && missing.is_empty() {
            warnings.extend(self.ends_early());
        }
        if self.untrimmed > 0 {
            warnings.push(Warning::Untrimmed {
                samples: self.untrimmed,
            });
        }
        warnings
    }
}
