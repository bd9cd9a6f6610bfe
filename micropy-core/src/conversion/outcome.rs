//! What came of a conversion, whether its frames were copied or encoded, and the report of it.

use crate::decode::Format;
use crate::error::{Error, Result};
use crate::mp3::info_tag::Trim;
use crate::mp4::Packets;
use crate::render::Faults;
use crate::report::{MeasuredLoudness, Report, duration_of};
use crate::span::Extent;
use crate::tags::ReplayGain;
use crate::warning::Warning;

/// An MP3 whose frames are written; lengths are PCM samples per channel.
pub struct Outcome<'a> {
    /// What the source decodes to.
    pub format: Format,
    /// Its frames were copied as they are.
    pub copied: bool,
    /// What was read.
    pub extent: Extent,
    /// Where it was read from.
    pub packets: &'a Packets,
    /// Packets that were replaced by silence.
    pub faults: Faults,
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

    /// The report of an MP3 of so many frames and bytes. `container` are the warnings from before its packets.
    pub fn report(self, container: &[Warning], frames: u64, bytes: u64) -> Report {
        let missing = self.packets.missing();
        let rate = self.output_sample_rate;
        Report {
            warnings: self.warnings(container),
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
            frames,
            complete: self.extent.cut_at.is_none() && missing.is_empty(),
            expected_duration: self.declared.map(|len| duration_of(len, rate)),
            loudness: self.loudness,
        }
    }

    fn warnings(&self, container: &[Warning]) -> Vec<Warning> {
        let mut warnings = container.to_vec();
        warnings.extend_from_slice(self.packets.warnings());
        warnings.extend(self.faults.warnings());
        let packets = self.extent.packets;
        warnings.extend(self.extent.cut_at.map(|at| Warning::BreaksOff {
            at,
            packets,
            expected_packets: packets + self.packets.missing().packets,
        }));
        if self.untrimmed > 0 {
            warnings.push(Warning::Untrimmed {
                samples: self.untrimmed,
            });
        }
        warnings
    }
}
