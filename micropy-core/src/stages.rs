//! Stages of a conversion one by one, for benchmarks and for the fuzzer. Not part of the public interface: it changes
//! with the stages.

use micropy_lame::Bitrate;

use crate::audio::{self, Beginning};
use crate::decode;
use crate::error::{Error, Result};
use crate::mp3::RateControl;
use crate::mp3::frame::{Frame, FrameSplitter};
use crate::mp3::info_tag::{self, Encoding, InfoTag, Trim};
use crate::mp3::side_info;
use crate::mp4::{AfterPreamble, Movie, Packet};
use crate::pcm::Pcm;
use crate::pipeline::WARM_UP;
use crate::runner::rate_control;

use crate::stitch::{SeamSearch, Tail, Verdict};
use crate::timeline::Lag;

/// What [`demux`] read.
#[derive(Clone, Copy, Debug)]
pub struct Demuxed {
    /// Packets of the first audio track.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Reads all packets of the first audio track.
pub fn demux(mut file: &[u8]) -> Result<Demuxed> {
    let mut packets = Movie::read(&mut file)?.packets(&mut file, 0)?;
    let (mut read, mut data) = (
        Demuxed {
            packets: 0,
            bytes: 0,
        },
        Vec::new(),
    );
    while packets.next(&mut file, &mut data)?.is_some() {
        read.packets += 1;
        read.bytes += data.len() as u64;
        data.clear();
    }
    Ok(read)
}

/// Decodes all packets of the first audio track, and counts the PCM samples of one channel.
pub fn decode(mut file: &[u8]) -> Result<u64> {
    let mut movie = Movie::read(&mut file)?;
    let mut packets = movie.packets(&mut file, 0)?;
    let parameters = movie.audio.swap_remove(0).codec?;
    let mut first = Vec::new();
    while first.len() < decode::INSPECTED_PACKETS {
        let mut data = Vec::new();
        if packets.next(&mut file, &mut data)?.is_none() {
            break;
        }
        first.push(data);
    }
    let format = decode::inspect(&parameters, &first)?;
    let mut decoder = decode::decoder(&parameters, &format)?;
    let (mut samples, mut pcm, mut data) = (0, Pcm::default(), Vec::new());
    let mut add = |packet: &[u8]| {
        pcm.reset(format.layout.channels());
        let decoded = decoder.decode(packet, &mut pcm);
        samples += pcm.len() as u64;
        decoded.map_err(|why| Error::Internal(why.to_string()))
    };
    first.iter().try_for_each(|packet| add(packet))?;
    while packets.next(&mut file, &mut data)?.is_some() {
        add(&data)?;
        data.clear();
    }
    Ok(samples)
}

/// What [`pcm`] decoded.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// The coding with its profile.
    pub codec: String,
    /// Hz.
    pub sample_rate: u32,
    /// The channels in WAVE order, in full scale ±1.
    pub planes: Vec<Vec<f32>>,
    /// PCM samples of the first packets that decode to nothing: silence.
    pub lead: usize,
    /// Why packets could not be decoded: silence stands for them.
    pub faults: Vec<String>,
}

/// Decodes all packets of audio track `track`, without its edit list, each to the length that a conversion gives it.
pub fn pcm(mut file: &[u8], track: usize) -> Result<Decoded> {
    let mut source = AfterPreamble::find(&mut file).map_err(Error::Read)?;
    let movie = Movie::read(&mut source)?;
    let parameters = match &movie.audio[track].codec {
        Ok(parameters) => parameters,
        Err(why) => return Err(Error::Internal(why.to_string())),
    };
    let beginning = audio::begin(&movie, track, parameters, &mut source)?;
    let clock = beginning.clock(&movie.audio[track], parameters);
    let Beginning {
        format,
        ahead,
        mut packets,
        ..
    } = beginning;
    let lengths = decode::lengths(parameters, &format);
    let mut read: Vec<(Packet, Vec<u8>)> = ahead.into();
    let mut data = Vec::new();
    while let Some(packet) = packets.next(&mut source, &mut data)? {
        read.push((packet, std::mem::take(&mut data)));
    }
    let timescale = u64::from(movie.audio[track].timescale);
    let rate = u64::from(format.sample_rate);
    let mut decoder = decode::decoder(parameters, &format)?;
    let mut faults = Vec::new();
    let mut all = Pcm::new(format.layout.channels());
    let (mut units, mut end, mut lead) = (0, 0, 0);
    let mut begun = false;
    for (packet, data) in &read {
        decoder.follow(packet.entry);
        let start = all.len();
        let decoded = decoder.decode(data, &mut all);
        begun |= all.len() > start;
        units += u64::from(packet.duration);
        let is_usual = !Lag::stands_out(&clock, packet.duration, packet.size);
        let told = lengths.and_then(|lengths| lengths.of(data, is_usual));
        end = match told.or(format.packet_len) {
            Some(len) => end + u64::from(len),
            None if format.has_unknown_lengths() && decoded.is_ok() => all.len() as u64,
            None if format.has_unknown_lengths() => {
                end + u64::from(packet.duration) * rate / timescale
            }
            None => (units * rate + timescale / 2) / timescale,
        };
        if let Err(why) = decoded {
            faults.push(why.to_string());
        }
        all.resize(end as usize);
        if !begun {
            lead = all.len();
        }
    }
    Ok(Decoded {
        codec: format.codec.to_string(),
        sample_rate: format.sample_rate,
        planes: all.planes().to_vec(),
        lead,
        faults,
    })
}

/// Joins the frames of an encoder with those of another that began `start` frames later, at their first seam;
/// returns how many frames after that start it is.
pub fn stitch(left: &[u8], right: &[u8], start: usize, bitrate: Bitrate) -> Result<Option<usize>> {
    let (left, right) = (frames(left)?, frames(right)?);
    Ok(first_seam(left, &right, start, rate_control(bitrate)))
}

/// The frame of `right` at which the frames of `left`, from number `start` on, join it first.
fn first_seam(left: Vec<Frame>, right: &[Frame], start: usize, rate: RateControl) -> Option<usize> {
    let mut left = left.into_iter();
    let mut tail = Tail::new();
    left.by_ref().take(start).for_each(|frame| tail.push(frame));
    let mut search = SeamSearch::new(tail, right, rate, WARM_UP);
    for frame in left {
        match search.offer(frame) {
            Verdict::GoOn => {}
            Verdict::NoSeam => break,
            Verdict::Seam(seam) => {
                search.join(seam);
                return Some(seam.k);
            }
        }
    }
    None
}

/// Splits a stream of MP3 frames, `piece` bytes at a time, and reads all that is read of a frame anywhere, up to the
/// first malformed one. Returns how many there were.
pub fn mp3(stream: &[u8], piece: usize) -> u64 {
    let mut splitter = FrameSplitter::new();
    let mut audio = info_tag::FrameStats::new();
    let mut first = None;
    let mut taken: Vec<Frame> = Vec::new();
    'pieces: for bytes in stream.chunks(piece.max(1)) {
        splitter.push(bytes);
        loop {
            let frame = match splitter.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => break 'pieces,
            };
            first.get_or_insert(frame.header());
            if audio.add(frame.bytes()).is_err() {
                break 'pieces;
            }
            let windows = frame.side_info().last_windows().count();
            debug_assert_eq!(windows, frame.header().channels());
            let mut silent = frame.bytes().to_vec();
            side_info::silence(frame.header(), &mut silent);
            taken.push(frame);
        }
    }
    if let Some(header) = first {
        let encoding = Encoding {
            rate: RateControl::Vbr,
            bitrate: header.bitrate(),
            quality: 0,
            flags: 0,
            preset: 0,
            lowpass: 0,
            encoder: String::new(),
        };
        let trim = Trim {
            delay: 0,
            padding: 0,
        };
        InfoTag::new(header, &encoding, &audio, trim, None)
            .to_frame(InfoTag::header(header, RateControl::Vbr));
        // A seam of the frames with themselves, some frames later.
        let start = taken.len() / 4;
        let head = taken[start..].to_vec();
        first_seam(taken, &head, start, RateControl::Cbr);
    }
    audio.frames()
}

fn frames(bytes: &[u8]) -> Result<Vec<Frame>> {
    let mut splitter = FrameSplitter::new();
    splitter.push(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = splitter.next_frame()? {
        frames.push(frame);
    }
    Ok(frames)
}
