//! Audio that is MP3 already: its frames are copied as they are. Only a frame that cannot be decoded is replaced
//! by a silent one.

use std::collections::VecDeque;

use crate::audio::Beginning;
use crate::codec::Codec;
use crate::decode::Format;
use crate::error::{Error, Result};
use crate::frame_header::FrameHeader;
use crate::mp3::RateControl;
use crate::mp3::info_tag::{Encoding, MAX_TRIM, Trim};
use crate::mp3::reservoir::MAX_MAIN_DATA_BEGIN;
use crate::mp3::side_info::{self, SideInfo};
use crate::mp4::{Packet, Packets};
use crate::options::Options;
use crate::render::Faults;
use crate::source::Source;
use crate::span::Extent;
use crate::timeline::{MediaClock, Presented};
use crate::writer::Foreseen;

/// The delay of every layer III decoder in PCM samples, which players add to the delay in the Info tag: 528 of
/// the filter banks, and one by LAME's way of counting.
const DECODER_DELAY: u64 = 529;

/// Whether the MP3 that `options` ask for can hold the frames of such audio, cut as `presented` says.
pub fn applies(options: &Options, format: &Format, presented: &Presented) -> bool {
    let can_be_cut = presented.start == 0
        || (DECODER_DELAY..=DECODER_DELAY + u64::from(MAX_TRIM)).contains(&presented.start);
    let channels = format.layout.channels() as u16;
    format.codec == Codec::Mp3
        && can_be_cut
        && !options.change_audio()
        && options
            .sample_rate
            .is_none_or(|hz| hz == format.sample_rate)
        && options.channels.is_none_or(|c| c.count() == channels)
}

/// Reads a track of MP3 frame by frame.
pub struct Copier {
    ahead: VecDeque<(Packet, Vec<u8>)>,
    packets: Packets,
    clock: MediaClock,
    presented: Presented,
    /// The first valid header.
    header: FrameHeader,
    /// All frames so far have its bitrate.
    constant: bool,
    /// Bytes of main data in earlier frames that the next one can reach back to.
    reservoir: usize,
    frames: u64,
    units: u64,
    extent: Extent,
    faults: Faults,
}

/// What a [`Copier`] knows at the end.
pub struct End {
    /// What was read.
    pub extent: Extent,
    /// What decoders leave out.
    pub trim: Option<Trim>,
    /// PCM samples by which the MP3 is longer than what is presented.
    pub untrimmed: u64,
}

impl Copier {
    /// A copier at the first packet of `beginning`, of whose packets at least one has a header.
    pub fn new(beginning: Beginning, clock: MediaClock, presented: Presented) -> Result<Self> {
        let Beginning { ahead, packets, .. } = beginning;
        let mut headers = ahead.iter().filter_map(|(_, data)| header_of(data).ok());
        let header = headers
            .next()
            .ok_or_else(|| Error::malformed(0, "MP3 packet", "no frame header"))?;
        let constant = headers.all(|other| other.bitrate() == header.bitrate());
        Ok(Copier {
            ahead,
            packets,
            clock,
            presented,
            header,
            constant,
            reservoir: 0,
            frames: 0,
            units: 0,
            extent: Extent::default(),
            faults: Faults::default(),
        })
    }

    /// PCM samples per channel of a frame.
    pub fn frame_len(&self) -> u64 {
        self.header.samples().into()
    }

    /// The packets it reads from.
    pub fn packets(&self) -> &Packets {
        &self.packets
    }

    /// What could not be copied.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What the Info tag says of the frames so far.
    pub fn encoding(&self) -> Encoding {
        Encoding {
            rate: match self.constant {
                true => RateControl::Cbr,
                false => RateControl::Vbr,
            },
            bitrate: self.header.bitrate(),
            quality: 0,
            flags: 0,
            preset: 0,
            lowpass: 0,
            // Many players read delay and padding only after this name.
            encoder: "LAME".into(),
        }
    }

    /// What is known beforehand of an MP3 that presents `len` PCM samples.
    pub fn foresee(&self, len: Option<u64>) -> Foreseen {
        let frames = len.map(|len| {
            let end = self.presented.start.saturating_add(len);
            end.div_ceil(self.frame_len())
        });
        Foreseen {
            frames,
            trim: frames
                .zip(len)
                .and_then(|(frames, len)| self.trim(frames, len)),
            evenly: false,
        }
    }

    /// The next frame; `None` at the end of what is presented.
    pub fn next(&mut self, source: &mut dyn Source) -> Result<Option<Vec<u8>>> {
        let end = |length: u64| self.presented.start.saturating_add(length);
        if let Some(length) = self.presented.length
            && self.frames * self.frame_len() >= end(length)
        {
            return Ok(None);
        }
        let Some((packet, data)) = self.next_packet(source)? else {
            return Ok(None);
        };
        if packet.read < packet.size {
            self.extent.cut_at = Some(packet.offset + u64::from(packet.read));
            return Ok(None);
        }
        self.extent.packets += 1;
        self.extent.audio_bytes += u64::from(packet.size);
        self.units = self.units.saturating_add(packet.duration.into());
        self.frames += 1;
        let frame = self.admit(packet.offset, data).unwrap_or_else(|why| {
            self.faults.add(packet.offset, why);
            self.reservoir = 0;
            self.silence()
        });
        Ok(Some(frame))
    }

    /// What was copied, once [`Copier::next`] has given `None`.
    pub fn end(&mut self) -> End {
        let media_len = self.clock.media_len(self.extent.packets, self.units);
        let presented = self.presented.len_within(media_len);
        let trim = self.trim(self.frames, presented);
        let output_len = match trim {
            Some(_) => presented,
            None => self.frames * self.frame_len(),
        };
        self.extent.input_len = output_len;
        self.extent.output_len = output_len;
        End {
            extent: self.extent.clone(),
            trim,
            untrimmed: output_len.saturating_sub(presented),
        }
    }

    fn next_packet(&mut self, source: &mut dyn Source) -> Result<Option<(Packet, Vec<u8>)>> {
        if let Some(ahead) = self.ahead.pop_front() {
            return Ok(Some(ahead));
        }
        let mut data = Vec::new();
        let packet = self.packets.next(source, &mut data)?;
        Ok(packet.map(|packet| (packet, data)))
    }

    /// What players leave out of so many frames so that `len` PCM samples remain; `None`: nothing.
    fn trim(&self, frames: u64, len: u64) -> Option<Trim> {
        let delay = self.presented.start.checked_sub(DECODER_DELAY)?;
        let padding = frames
            .saturating_mul(self.frame_len())
            .saturating_sub(delay.saturating_add(len));
        Some(Trim {
            delay: u16::try_from(delay).unwrap_or(MAX_TRIM),
            padding: u16::try_from(padding).unwrap_or(MAX_TRIM),
        })
    }

    /// The frame in `packet`, if it can be decoded after those before it. Where only its main data is missing, the
    /// frame stays and falls silent.
    fn admit(&mut self, offset: u64, mut packet: Vec<u8>) -> Result<Vec<u8>, String> {
        let header = header_of(&packet)?;
        if header.sample_rate() != self.header.sample_rate()
            || header.channels() != self.header.channels()
        {
            return Err("its sample rate or channels differ from those of the first frame".into());
        }
        packet.truncate(header.frame_len());
        let side_info = packet
            .get(header.side_info_offset()..)
            .and_then(|bytes| SideInfo::parse(header, bytes))
            .ok_or("its side information is cut short")?;
        let slot = packet.len() - header.main_data_offset();
        let begin = side_info.main_data_begin();
        if begin > self.reservoir || side_info.main_data_bits() > 8 * (begin + slot) {
            let why = format!("{begin} bytes of its main data are missing");
            self.faults.add(offset, why);
            side_info::silence(header, &mut packet);
        } else {
            self.faults.add_sound(1);
        }
        self.reservoir = (self.reservoir + slot).min(MAX_MAIN_DATA_BEGIN);
        self.constant &= header.bitrate() == self.header.bitrate();
        Ok(packet)
    }

    /// A frame without sound.
    fn silence(&self) -> Vec<u8> {
        let header = self.header.without_crc();
        let mut frame = header.to_bytes().to_vec();
        frame.resize(header.frame_len(), 0);
        frame
    }
}

/// The header of the frame that fills `packet`.
fn header_of(packet: &[u8]) -> Result<FrameHeader, String> {
    let bytes = packet.first_chunk().ok_or("too short for a frame")?;
    let header = FrameHeader::parse_layer_3(*bytes).map_err(|e| e.to_string())?;
    if packet.len() < header.frame_len() {
        return Err("shorter than its frame".into());
    }
    Ok(header)
}
