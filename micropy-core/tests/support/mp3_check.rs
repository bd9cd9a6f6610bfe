//! A structural checker of MP3 streams, independent of the library that it checks: it shares no code with
//! `micropy-core`, and its errors are sentences.

use std::collections::BTreeSet;

/// The parts of a sound stream.
#[derive(Debug)]
pub struct Stream {
    /// Where each frame begins in the file, not counting the tag's frame.
    pub frames: Vec<usize>,
    /// The frames' bitrates in kbit/s.
    pub bitrates: BTreeSet<u32>,
    /// PCM samples per channel of a frame.
    pub samples_per_frame: u32,
    /// The Info or Xing tag.
    pub tag: Option<Tag>,
}

/// A checked Info or Xing tag.
#[derive(Debug)]
pub struct Tag {
    /// `Xing` rather than `Info`.
    pub variable: bool,
    /// PCM samples to cut off at the start.
    pub delay: u32,
    /// PCM samples to cut off at the end.
    pub padding: u32,
    /// The CRC over the audio is present and right; the tag of a pipe has 0.
    pub audio_crc: bool,
}

struct Frame {
    len: usize,
    bitrate: u32,
    mpeg1: bool,
    /// Bytes of header, CRC and side information.
    overhead: usize,
    main_data_begin: usize,
    main_data_bits: usize,
}

/// Walks over every frame of `file`, after an ID3v2 tag, and checks that there is nothing between frames, that all main
/// data is where it should be, without overlap, and that an Info tag, if there is one, is true.
pub fn check(file: &[u8]) -> Result<Stream, String> {
    let start = id3v2_len(file);
    let mut at = start;
    let mut first: Option<[u8; 4]> = None;
    let mut stream = Stream {
        frames: Vec::new(),
        bitrates: BTreeSet::new(),
        samples_per_frame: 0,
        tag: None,
    };
    let mut tag_len = 0;
    // The stream of main data: where the slot begins in it, and where the last frame's data ended.
    let (mut slot_start, mut used) = (0usize, 0usize);
    while at < file.len() {
        let frame = frame(&file[at..]).map_err(|why| format!("byte {at}: {why}"))?;
        let bytes = file
            .get(at..at + frame.len)
            .ok_or_else(|| format!("byte {at}: the last frame is cut short"))?;
        stream.samples_per_frame = if frame.mpeg1 { 1152 } else { 576 };
        if at == start && tag_at(bytes, &frame).is_some() {
            tag_len = frame.len;
            at += frame.len;
            continue;
        }
        // Version, layer, protection; sample rate; mode: these never change.
        let fixed = [bytes[0], bytes[1], bytes[2] & 0x0C, bytes[3] & 0xC0];
        if *first.get_or_insert(fixed) != fixed {
            return Err(format!("byte {at}: the header does not fit the first"));
        }
        let begin = slot_start
            .checked_sub(frame.main_data_begin)
            .ok_or_else(|| format!("byte {at}: main data begins before the first frame"))?;
        if begin < used {
            return Err(format!(
                "byte {at}: main data overlaps that of the frame before by {} bytes",
                used - begin
            ));
        }
        used = begin + frame.main_data_bits.div_ceil(8);
        slot_start += frame.len - frame.overhead;
        if used > slot_start {
            return Err(format!("byte {at}: main data extends past the frame"));
        }
        stream.frames.push(at);
        stream.bitrates.insert(frame.bitrate);
        at += frame.len;
    }
    if tag_len > 0 {
        stream.tag = Some(check_tag(&file[start..], start, tag_len, &stream)?);
    }
    Ok(stream)
}

fn frame(bytes: &[u8]) -> Result<Frame, String> {
    let header: [u8; 4] = *bytes.first_chunk().ok_or("no room for a header")?;
    if header[0] != 0xFF || header[1] & 0xE6 != 0xE2 {
        return Err(format!("no layer III header: {header:02X?}"));
    }
    let mpeg1 = header[1] & 0x18 == 0x18;
    let divisor = match header[1] & 0x18 {
        0x18 => 1,
        0x10 => 2,
        0x00 => 4,
        _ => return Err("reserved version".into()),
    };
    let index = usize::from(header[2] >> 4);
    let bitrate = match mpeg1 {
        true => [
            0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0,
        ],
        false => [
            0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0,
        ],
    }[index];
    let rate = [44_100, 48_000, 32_000, 0][usize::from(header[2] >> 2 & 3)] / divisor;
    if bitrate == 0 || rate == 0 {
        return Err(format!("no bitrate or sample rate: {header:02X?}"));
    }
    let padding = usize::from(header[2] >> 1 & 1);
    let len = (if mpeg1 { 144_000 } else { 72_000 } * bitrate / rate) as usize + padding;
    let stereo = header[3] >> 6 != 3;
    let side_info_at = if header[1] & 1 == 0 { 6 } else { 4 };
    let side_info_len = match (mpeg1, stereo) {
        (true, true) => 32,
        (false, false) => 9,
        _ => 17,
    };
    let side_info = bytes
        .get(side_info_at..side_info_at + side_info_len)
        .ok_or("no room for the side information")?;
    let (main_data_begin, granule, step) = match (mpeg1, stereo) {
        (true, true) => (bits(side_info, 0, 9), 20, 59),
        (true, false) => (bits(side_info, 0, 9), 18, 59),
        (false, true) => (bits(side_info, 0, 8), 10, 63),
        (false, false) => (bits(side_info, 0, 8), 9, 63),
    };
    let count = if mpeg1 { 2 } else { 1 } * if stereo { 2 } else { 1 };
    for i in 0..count {
        let switching = granule + i * step + if mpeg1 { 33 } else { 38 };
        if bits(side_info, switching, 1) == 1 && bits(side_info, switching + 1, 2) == 0 {
            return Err(format!("granule {i} switches windows, but to none"));
        }
    }
    Ok(Frame {
        len,
        bitrate,
        mpeg1,
        overhead: side_info_at + side_info_len,
        main_data_begin,
        main_data_bits: (0..count)
            .map(|i| bits(side_info, granule + i * step, 12))
            .sum(),
    })
}

fn bits(bytes: &[u8], at: usize, count: usize) -> usize {
    (at..at + count).fold(0, |value, i| {
        value << 1 | usize::from(bytes[i / 8] >> (7 - i % 8) & 1)
    })
}

fn tag_at<'a>(bytes: &'a [u8], frame: &Frame) -> Option<&'a [u8]> {
    let tag = bytes.get(frame.overhead..)?;
    (tag.starts_with(b"Info") || tag.starts_with(b"Xing")).then_some(tag)
}

/// Checks the tag in the first `tag_len` bytes of `file`, of which the first `start` bytes (ID3) are cut off.
fn check_tag(file: &[u8], start: usize, tag_len: usize, stream: &Stream) -> Result<Tag, String> {
    let frame = frame(file)?;
    let tag = tag_at(&file[..tag_len], &frame).ok_or("no tag")?;
    if tag.len() < 156 {
        return Err(format!("the tag has only {} bytes", tag.len()));
    }
    let u32_at = |at: usize| u32::from_be_bytes([tag[at], tag[at + 1], tag[at + 2], tag[at + 3]]);
    let u16_at = |at: usize| u16::from_be_bytes([tag[at], tag[at + 1]]);
    let expect = |what: &str, said: u64, is: u64| match said == is {
        true => Ok(()),
        false => Err(format!("the tag says {said} {what}, but there are {is}")),
    };
    expect("flags", u64::from(u32_at(4)), 0xF)?;
    expect("frames", u64::from(u32_at(8)), stream.frames.len() as u64)?;
    expect("bytes", u64::from(u32_at(12)), file.len() as u64)?;
    expect("bytes of music", u64::from(u32_at(148)), file.len() as u64)?;
    let places: Vec<usize> = stream.frames.iter().map(|at| at - start).collect();
    check_toc(&tag[16..116], &places, file.len())?;
    if &tag[120..124] != b"LAME" {
        return Err("the encoder's name does not begin with LAME".into());
    }
    let variable = &tag[..4] == b"Xing";
    let method = tag[129] & 0xF;
    if variable == (method == 1) {
        return Err(format!("method {method} does not fit the tag's name"));
    }
    if !variable {
        if stream.bitrates.len() > 1 {
            return Err(format!("Info, but bitrates {:?}", stream.bitrates));
        }
        let smallest_frame = stream.bitrates.first().copied().unwrap_or(frame.bitrate);
        let would_fit =
            frame.len * smallest_frame as usize / frame.bitrate as usize >= frame.overhead + 156;
        if would_fit && frame.bitrate != smallest_frame {
            return Err(format!("the tag's frame has {} kbit/s", frame.bitrate));
        }
    }
    let tag_crc_at = frame.overhead + 154;
    expect(
        "as its own CRC",
        u64::from(u16_at(154)),
        u64::from(crc16(&file[..tag_crc_at])),
    )?;
    let audio_crc = u16_at(152) != 0;
    if audio_crc {
        let is = crc16(&file[tag_len..]);
        expect(
            "as the CRC of the audio",
            u64::from(u16_at(152)),
            u64::from(is),
        )?;
    }
    Ok(Tag {
        variable,
        delay: u32::from(tag[141]) << 4 | u32::from(tag[142]) >> 4,
        padding: u32::from(tag[142] & 0xF) << 8 | u32::from(tag[143]),
        audio_crc,
    })
}

/// Each entry is the position of the frame at that per cent of the time, in 256ths of the file, to ±1.
fn check_toc(toc: &[u8], frames: &[usize], bytes: usize) -> Result<(), String> {
    if !toc.is_sorted() {
        return Err(format!("the TOC is not monotone: {toc:?}"));
    }
    for (percent, &said) in toc.iter().enumerate() {
        let Some(at) = frames.get(percent * frames.len() / 100) else {
            break;
        };
        let is = (at * 256 / bytes).min(255);
        if is.abs_diff(usize::from(said)) > 1 {
            return Err(format!("TOC entry {percent} is {said}, not {is}"));
        }
    }
    Ok(())
}

/// CRC-16 with the reflected polynomial 0xA001, from 0, bit by bit.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc: u16, _| match crc & 1 {
            1 => crc >> 1 ^ 0xA001,
            _ => crc >> 1,
        })
    })
}

/// Bytes of the ID3v2 tag at the start, if there is one.
fn id3v2_len(file: &[u8]) -> usize {
    match file {
        [b'I', b'D', b'3', _, _, _, a, b, c, d, ..] => {
            10 + [a, b, c, d]
                .iter()
                .fold(0, |len, &&byte| len << 7 | usize::from(byte & 0x7F))
        }
        _ => 0,
    }
}
