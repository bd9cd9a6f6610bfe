//! Audio that is MP3 already: its frames are copied as they are. Only a frame that cannot be decoded is replaced
//! by a silent one.

use std::collections::VecDeque;

use crate::audio::Beginning;
use crate::codec::Codec;
use crate::decode::{Format, ROLL_TO_THE_START};
use crate::error::{Error, Result};
use crate::frame_header::{FrameHeader, from_first_frame};
use crate::mp3::RateControl;
use crate::mp3::info_tag::{Encoding, MAX_TRIM, Trim};
use crate::mp3::reservoir::MAX_MAIN_DATA_BEGIN;
use crate::mp3::side_info::{self, SideInfo};
use crate::mp4::{Packet, Packets};
use crate::options::Options;
use crate::render::Faults;
use crate::source::Source;
use crate::span::Extent;
use crate::timeline::{Lag, MediaClock, MediaEnd, Timeline};
use crate::writer::Foreseen;

/// The delay of every layer III decoder in PCM samples, which players add to the delay in the Info tag: 528 of
/// the filter banks, and one by LAME's way of counting.
const DECODER_DELAY: u64 = 529;

/// Whether the MP3 that `options` ask for can hold the frames of such audio, cut as `timeline` says. Frames of several
/// segments do not fit together, and silence has none.
pub fn applies(options: &Options, format: &Format, timeline: &Timeline) -> bool {
    let can_be_cut = timeline
        .only_start()
        .is_some_and(|start| start <= DECODER_DELAY + u64::from(MAX_TRIM));
    let channels = format.layout.channels() as u16;
    format.codec == Codec::Mp3
        && format.roll != ROLL_TO_THE_START
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
    /// The frames of the last packet that are still to come, with the packet's place.
    pieces: VecDeque<(u64, Vec<u8>)>,
    clock: MediaClock,
    timeline: Timeline,
    /// Where what is presented begins in the decoder's output, with the silent frame in front.
    start: u64,
    /// The silent frame in front is still to come.
    lead: bool,
    /// The first valid header.
    header: FrameHeader,
    /// All frames so far have its bitrate.
    constant: bool,
    /// Bytes of main data in earlier frames that the next one can reach back to.
    reservoir: usize,
    frames: u64,
    /// Those of them that are silence in place of missing packets, and how many are still to come.
    filled: u64,
    to_fill: u64,
    units: u64,
    /// Timescale units of the last packet.
    last: Option<u32>,
    /// PCM samples of the last packet, and of all of them.
    last_len: u32,
    decoded: u64,
    /// Timescale units of the silence in place of what is missing.
    gaps: u64,
    /// How far the sound is behind the container's clock.
    lag: Lag,
    /// There are no more packets.
    ended: bool,
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
    pub fn new(beginning: Beginning, clock: MediaClock, timeline: Timeline) -> Result<Self> {
        let Beginning { ahead, packets, .. } = beginning;
        let headers = ahead.iter().map(|(_, data)| from_first_frame(data));
        let mut headers = headers.filter_map(|data| header_of(data).ok());
        let header = headers
            .next()
            .ok_or_else(|| Error::malformed(0, "MP3 packet", "no frame header"))?;
        let constant = headers.all(|other| other.bitrate() == header.bitrate());
        let frame_len = u64::from(header.samples());
        let start = timeline.only_start().unwrap_or_default();
        // Players cut off at least their own delay, and nothing at the end unless something at the start. A silent
        // frame in front takes what they cut, so that what is presented begins and ends exactly.
        let ends_in_a_frame = timeline
            .len()
            .is_some_and(|len| !start.saturating_add(len).is_multiple_of(frame_len));
        let lead = start < DECODER_DELAY && (start > 0 || ends_in_a_frame);
        Ok(Copier {
            ahead,
            packets,
            pieces: VecDeque::new(),
            clock,
            start: if lead { start + frame_len } else { start },
            lead,
            timeline,
            header,
            constant,
            reservoir: 0,
            frames: 0,
            filled: 0,
            to_fill: 0,
            units: 0,
            last: None,
            last_len: 0,
            decoded: 0,
            gaps: 0,
            lag: Lag::default(),
            ended: false,
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
            let end = self.start.saturating_add(len);
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
        if self.lead {
            self.lead = false;
            self.frames += 1;
            return Ok(Some(self.silence()));
        }
        if let Some(len) = self.timeline.len()
            && self.frames * self.frame_len() >= self.start.saturating_add(len)
        {
            // The media may end with the very packet.
            self.ended = !self.timeline.is_settled() && self.next_packet(source)?.is_none();
            return Ok(None);
        }
        if self.to_fill > 0 {
            self.to_fill -= 1;
            self.filled += 1;
            self.frames += 1;
            return Ok(Some(self.silence()));
        }
        if self.pieces.is_empty() {
            let Some((packet, data)) = self.next_packet(source)? else {
                self.ended = true;
                return Ok(None);
            };
            if packet.read < packet.size {
                self.extent.cut_at = Some(packet.offset + u64::from(packet.read));
                self.ended = true;
                return Ok(None);
            }
            let silence = self.lag.before(&self.clock, packet.gap, packet.duration);
            let from = packet.time.saturating_sub(silence.units);
            if silence.units > 0 && self.packets.miss(from, packet.time) {
                self.units = self.units.saturating_sub(silence.counted);
                self.fill(silence.units);
                let gap = None;
                self.ahead.push_front((Packet { gap, ..packet }, data));
                return self.next(source);
            }
            self.extent.packets += 1;
            self.extent.audio_bytes += u64::from(packet.size);
            self.units = self.units.saturating_add(packet.duration.into());
            self.last = Some(packet.duration);
            let pieces = self.pieces_of(&data).into_iter();
            self.pieces
                .extend(pieces.map(|piece| (packet.offset, piece)));
            let len = self.pieces.len() as u64 * self.frame_len();
            self.decoded = self.decoded.saturating_add(len);
            self.last_len = u32::try_from(len).unwrap_or(u32::MAX);
            self.lag.after(&self.clock, packet.duration, len);
        }
        let Some((offset, piece)) = self.pieces.pop_front() else {
            return Ok(None);
        };
        self.frames += 1;
        let frame = self.admit(offset, piece).unwrap_or_else(|why| {
            self.faults.conceal(offset, why);
            self.reservoir = 0;
            self.silence()
        });
        Ok(Some(frame))
    }

    /// Puts silence in place of `gap` timescale units: as many frames as come nearest to all of it so far.
    fn fill(&mut self, gap: u64) {
        self.gaps = self.gaps.saturating_add(gap);
        let missing = self.clock.samples(self.gaps);
        let frames = (missing + self.frame_len() / 2) / self.frame_len();
        self.to_fill = frames.saturating_sub(self.filled);
        self.reservoir = 0;
    }

    /// The frames in a packet. What is no frame counts as many as packets have: silence replaces them.
    fn pieces_of(&self, packet: &[u8]) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        let mut rest = from_first_frame(packet);
        while let Ok(header) = header_of(rest)
            && let Some((frame, next)) = rest.split_at_checked(header.frame_len())
            && header_of(next).is_ok_and(|next| next.version() == header.version())
        {
            pieces.push(frame.to_vec());
            rest = next;
        }
        if pieces.is_empty() && header_of(rest).is_err() {
            let usual = u64::from(self.clock.packet_len.unwrap_or(0)) / self.frame_len().max(1);
            return vec![Vec::new(); usual.max(1) as usize];
        }
        pieces.push(rest.to_vec());
        pieces
    }

    /// What was copied, once [`Copier::next`] has given `None`.
    pub fn end(&mut self) -> End {
        if self.ended {
            self.extent.ended = Some(self.units.saturating_add(self.gaps));
            let filled = self.filled * self.frame_len();
            let len = match self.clock.packet_len {
                Some(_) => self
                    .clock
                    .sound_len(self.decoded, self.last_len, self.units, self.last),
                None => self.decoded,
            };
            self.timeline.settle(MediaEnd {
                time: self.units.saturating_add(self.gaps),
                len: len.saturating_add(filled),
            });
        }
        let presented = self.timeline.len().unwrap_or_default();
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
        let delay = self.start.checked_sub(DECODER_DELAY)?;
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
            self.faults.conceal(offset, why);
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
