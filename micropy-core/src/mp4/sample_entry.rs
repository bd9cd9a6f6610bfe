//! How a track is coded: the audio sample entry in `stsd` (ISO/IEC 14496-12, 12.2.3; QuickTime File Format, "Sound
//! sample descriptions"), and where each codec stores its decoder's configuration.

use super::boxes::{Boxes, Fields, FourCc, SliceBox};
use super::channel_layout;
use crate::codec::{AacProfile, Adpcm, Block, Codec, CodecParameters, Companding, PcmFormat};
use crate::error::{Error, Result};
use crate::pcm::Speaker;

/// What an audio sample entry says.
#[derive(Debug)]
pub struct SampleEntry {
    pub parameters: CodecParameters,
    /// What is wrong with it, if something had to be assumed instead.
    pub assumed: Option<Error>,
}

/// The audio sample entry `index` (counted from 1) of the payload of an `stsd` box that begins at `at`.
pub fn audio(stsd: &[u8], at: u64, index: u32) -> Result<SampleEntry> {
    let mut fields = Fields::new(FourCc(*b"stsd"), at, stsd);
    let (version, _) = fields.version_and_flags()?;
    let count = fields.u32()?;
    let mut entries = Boxes::new(fields.rest(), fields.at());
    let skipped = usize::try_from(index.saturating_sub(1)).unwrap_or(usize::MAX);
    let entry = entries.nth(skipped).ok_or_else(|| {
        Error::malformed(
            at,
            "stsd",
            format!("sample entry {index} is used, {count} are declared"),
        )
    })??;
    let entry = AudioEntry::read(&entry, version)?;
    Ok(SampleEntry {
        parameters: entry.parameters(index)?,
        assumed: entry.assumed(),
    })
}

/// The data reference of sample entry `index`, counted from 1.
pub fn data_reference(stsd: &[u8], at: u64, index: u32) -> Option<u16> {
    let mut entries = Boxes::new(stsd.get(8..)?, at + 8);
    let entry = entries.nth(index.checked_sub(1)? as usize)?.ok()?;
    let mut fields = entry.fields();
    let _reserved = fields.take(6).ok()?;
    fields.u16().ok()
}

/// Whether there is a sample entry `index`.
pub fn exists(stsd: &[u8], at: u64, index: u32) -> bool {
    let entries = stsd.get(8..).unwrap_or_default();
    let mut entries = Boxes::new(entries, at + 8);
    entries
        .nth(index.saturating_sub(1) as usize)
        .is_some_and(|entry| entry.is_ok())
}

/// The fields of all audio sample entries, and the boxes after them.
struct AudioEntry<'a> {
    kind: FourCc,
    at: u64,
    channels: u16,
    bits: u16,
    sample_rate: u32,
    lpcm: Option<Lpcm>,
    /// Samples per packet and bytes per frame of a version 1 description.
    packing: (u32, u32),
    boxes: Vec<SliceBox<'a>>,
}

/// What a version 2 description says of uncompressed audio (QuickTime File Format, "Sound sample description
/// (version 2)").
#[derive(Clone, Copy)]
struct Lpcm {
    /// `formatSpecificFlags`: 1 float, 2 big-endian, 4 signed, 8 packed, 16 aligned high, 32 not interleaved.
    flags: u32,
    bits: u32,
    bytes_per_packet: u32,
    /// Instants of a packet.
    frames_per_packet: u32,
}

impl Lpcm {
    /// Bytes of one PCM sample, where they are enough for its bits.
    fn width(&self, channels: u16) -> Option<u8> {
        let samples = self.frames_per_packet.checked_mul(channels.into())?;
        let width = self.bytes_per_packet.checked_div(samples)?;
        let fits = width * 8 >= self.bits && width * samples == self.bytes_per_packet;
        u8::try_from(width).ok().filter(|_| fits && width <= 8)
    }
}

impl<'a> AudioEntry<'a> {
    /// Reads `entry` in an `stsd` of version `stsd_version`.
    fn read(entry: &SliceBox<'a>, stsd_version: u8) -> Result<Self> {
        let mut fields = entry.fields();
        let _reserved_and_data_reference = fields.take(8)?;
        let version = fields.u16()?;
        let _revision_and_vendor = fields.take(6)?;
        let mut channels = fields.u16()?;
        let bits = fields.u16()?;
        let _compression_id_and_packet_size = fields.take(4)?;
        let mut sample_rate = fields.u32()? >> 16;
        let mut lpcm = None;
        let mut packing = (0, 0);
        match version {
            // ISO's AudioSampleEntryV1 has this number too, without QuickTime's four fields.
            1 if stsd_version == 0 && !is_followed_by_boxes(&fields) => {
                let samples_per_packet = fields.u32()?;
                let _bytes_per_packet = fields.u32()?;
                packing = (samples_per_packet, fields.u32()?);
                let _bytes_per_sample = fields.u32()?;
            }
            2 => {
                let _size_of_struct = fields.u32()?;
                sample_rate = f64::from_bits(fields.u64()?).round() as u32;
                channels = u16::try_from(fields.u32()?).unwrap_or(u16::MAX);
                let _always_7f000000 = fields.u32()?;
                lpcm = Some(Lpcm {
                    bits: fields.u32()?,
                    flags: fields.u32()?,
                    bytes_per_packet: fields.u32()?,
                    frames_per_packet: fields.u32()?,
                });
            }
            _ => {}
        }
        let boxes = extensions(&fields);
        Ok(AudioEntry {
            kind: unprotected(&boxes).unwrap_or(entry.kind),
            at: entry.at,
            channels,
            bits,
            sample_rate: sampling_rate(&boxes).unwrap_or(sample_rate),
            lpcm,
            packing,
            boxes,
        })
    }

    /// The payload of the first box `kind`.
    fn find(&self, kind: &[u8; 4]) -> Option<&SliceBox<'a>> {
        self.boxes.iter().find(|b| b.kind.0 == *kind)
    }

    fn require(&self, kind: &[u8; 4]) -> Result<&SliceBox<'a>> {
        self.find(kind).ok_or_else(|| {
            Error::malformed(
                self.at,
                self.kind.to_string(),
                format!("it has no `{}` box", FourCc(*kind)),
            )
        })
    }

    /// What is missing that [`AudioEntry::parameters`] assumes.
    fn assumed(&self) -> Option<Error> {
        let assumes = &self.kind.0 == b"ipcm" && self.find(b"pcmC").is_none();
        assumes.then(|| {
            Error::malformed(
                self.at,
                self.kind.to_string(),
                format!(
                    "it has no `pcmC` box: big-endian PCM of {} bits is assumed",
                    self.bits
                ),
            )
        })
    }

    fn parameters(&self, index: u32) -> Result<CodecParameters> {
        let (codec, config) = self.codec_and_config()?;
        Ok(CodecParameters {
            block: self.block(&codec),
            speakers: self.speakers(&codec),
            codec,
            channels: self.channels,
            sample_rate: self.sample_rate,
            config,
            at: self.at,
            entry: index,
            others: Vec::new(),
        })
    }

    /// What is always coded together, where samples may be single instants: blocks of ADPCM, of which QuickTime's are
    /// fixed, and frames of a constant bitrate.
    fn block(&self, codec: &Codec) -> Option<Block> {
        let (samples, bytes) = match codec {
            Codec::Adpcm(Adpcm::ImaQuickTime) => (64, 34 * u32::from(self.channels)),
            Codec::Adpcm(_) | Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => self.packing,
            _ => return None,
        };
        (samples > 0 && bytes > 0).then_some(Block { samples, bytes })
    }

    /// The loudspeakers of the channels of PCM, if a box names them.
    fn speakers(&self, codec: &Codec) -> Option<Vec<Speaker>> {
        let layouts = [b"chan", b"chnl"].map(|kind| self.find(kind));
        let layout = layouts.into_iter().flatten().next();
        match codec {
            Codec::Pcm(_) => channel_layout::read(layout?, self.channels),
            _ => None,
        }
    }

    fn codec_and_config(&self) -> Result<(Codec, Vec<u8>)> {
        Ok(match &self.kind.0 {
            b"enca" | b"drms" | b"aavd" => return Err(self.encrypted()),
            b"mp4a" => return self.mp4a(),
            b".mp3" | b"mp3 " | b"ms\0\x55" | b".mp2" | b".mp1" | b"ms\0\x50" => {
                (Codec::Mp3, Vec::new())
            }
            b"msVo" => (Codec::Vorbis, self.optional(b"glbl")),
            b"ima4" => (Codec::Adpcm(Adpcm::ImaQuickTime), Vec::new()),
            b"ms\0\x11" => (Codec::Adpcm(Adpcm::ImaWave), Vec::new()),
            b"ms\0\x02" => (Codec::Adpcm(Adpcm::Microsoft), Vec::new()),
            b"alac" => (Codec::Alac, full_box_body(self.require(b"alac")?)),
            b"fLaC" => (Codec::Flac, full_box_body(self.require(b"dfLa")?)),
            b"Opus" => (Codec::Opus, self.require(b"dOps")?.payload.to_vec()),
            b"ac-3" | b"sac3" => (Codec::Ac3, self.optional(b"dac3")),
            b"ec-3" => (Codec::Eac3, self.optional(b"dec3")),
            _ => match self.pcm()? {
                Some(layout) => (Codec::Pcm(layout), Vec::new()),
                None => (Codec::Other(name(self.kind)), Vec::new()),
            },
        })
    }

    fn optional(&self, kind: &[u8; 4]) -> Vec<u8> {
        self.find(kind)
            .map(|b| b.payload.to_vec())
            .unwrap_or_default()
    }

    /// The codec of an `mp4a` entry, which its `esds` gives (ISO/IEC 14496-14, 5.6).
    fn mp4a(&self) -> Result<(Codec, Vec<u8>)> {
        let descriptor = DecoderConfig::read(self.require(b"esds")?)?;
        let object_type = match (descriptor.object_type, descriptor.specific.is_empty()) {
            // 0 is forbidden, and says nothing: the configuration does.
            (0, false) => 0x40,
            (object_type, _) => object_type,
        };
        let codec = match object_type {
            0x40 => match audio_object_type(&descriptor.specific) {
                Some(8) => Codec::Other("MPEG-4 CELP".into()),
                Some(9) => Codec::Other("MPEG-4 HVXC".into()),
                Some(32 | 33) => Codec::Other("MPEG-1/2 audio layer I or II in MPEG-4".into()),
                Some(34) => Codec::Other("MP3 on MPEG-4 (mp3on4)".into()),
                Some(35) => Codec::Other("DST".into()),
                Some(36) => Codec::Other("MPEG-4 ALS".into()),
                Some(37 | 38) => Codec::Other("MPEG-4 SLS".into()),
                _ => Codec::Aac(AacProfile::Unknown),
            },
            0x66..=0x68 => Codec::Aac(AacProfile::Unknown),
            0x69 | 0x6B => Codec::Mp3,
            0xA5 => Codec::Ac3,
            0xA6 => Codec::Eac3,
            0xA9..=0xAC => Codec::Other("DTS".into()),
            0xAD => Codec::Opus,
            0xDD => Codec::Vorbis,
            0xE1 => Codec::Other("QCELP".into()),
            other => Codec::Other(format!("mp4a with object type 0x{other:02X}")),
        };
        let specific = match codec {
            Codec::Opus => opus_config(descriptor.specific),
            _ => descriptor.specific,
        };
        Ok((codec, specific))
    }

    /// The format of uncompressed audio; `None` for compressed audio.
    fn pcm(&self) -> Result<Option<PcmFormat>> {
        let little = |layout: PcmFormat| PcmFormat {
            big_endian: layout.big_endian && !self.little_endian(),
            ..layout
        };
        let integer = |bits: u16| -> Result<PcmFormat> {
            let bits = bits_of(bits.into(), self.at)?;
            Ok(PcmFormat {
                bits,
                float: false,
                big_endian: true,
                signed: true,
                width: bits / 8,
                high: false,
                companding: None,
            })
        };
        let float = |bits: u16| {
            integer(bits).map(|layout| PcmFormat {
                float: true,
                ..layout
            })
        };
        let layout = match &self.kind.0 {
            // 16 bits in `raw ` are two's complement; `NONE` and a zero code mean the same.
            b"raw " | b"NONE" | b"\0\0\0\0" => PcmFormat {
                signed: self.bits > 8,
                ..integer(self.bits)?
            },
            b"twos" => little(integer(in_whole_bytes(self.bits))?),
            b"sowt" => PcmFormat {
                big_endian: false,
                ..integer(in_whole_bytes(self.bits))?
            },
            b"in24" => little(integer(24)?),
            b"in32" => little(integer(32)?),
            b"fl32" => little(float(32)?),
            b"fl64" => little(float(64)?),
            b"alaw" | b"ms\0\x06" => PcmFormat {
                companding: Some(Companding::ALaw),
                ..integer(8)?
            },
            b"ulaw" | b"ms\0\x07" => PcmFormat {
                companding: Some(Companding::MuLaw),
                ..integer(8)?
            },
            b"lpcm" => {
                let lpcm = self.lpcm.unwrap_or(Lpcm {
                    flags: 0b110,
                    bits: self.bits.into(),
                    bytes_per_packet: 0,
                    frames_per_packet: 0,
                });
                let high = lpcm.flags & 16 != 0;
                let bits = match u16::try_from(lpcm.bits) {
                    Ok(bits) if high => in_whole_bytes(bits).into(),
                    _ => lpcm.bits,
                };
                let bits = bits_of(bits, self.at)?;
                if lpcm.flags & 32 != 0 && self.channels > 1 {
                    return Err(Error::unsupported(format!(
                        "PCM whose channels are not interleaved (sample entry at byte {})",
                        self.at
                    )));
                }
                PcmFormat {
                    bits,
                    float: lpcm.flags & 1 != 0,
                    big_endian: lpcm.flags & 2 != 0,
                    signed: lpcm.flags & 4 != 0 || lpcm.flags & 1 != 0,
                    width: lpcm.width(self.channels).unwrap_or(bits / 8),
                    high,
                    companding: None,
                }
            }
            // As ffmpeg reads it.
            b"ipcm" if self.find(b"pcmC").is_none() => integer(self.bits)?,
            b"ipcm" | b"fpcm" => self.pcm_config(&self.kind.0 == b"fpcm")?,
            _ => return Ok(None),
        };
        Ok(Some(layout))
    }

    /// QuickTime's `enda`: 1 means little-endian.
    fn little_endian(&self) -> bool {
        self.find(b"enda")
            .is_some_and(|b| b.payload.starts_with(&[0, 1]))
    }

    /// `pcmC` (ISO/IEC 23003-5).
    fn pcm_config(&self, float: bool) -> Result<PcmFormat> {
        let mut fields = self.require(b"pcmC")?.fields();
        fields.version_and_flags()?;
        let flags = fields.u8()?;
        let bits = fields.u8()?;
        Ok(PcmFormat {
            bits: bits_of(bits.into(), self.at)?,
            float,
            big_endian: flags & 1 == 0,
            signed: true,
            width: bits / 8,
            high: false,
            companding: None,
        })
    }

    /// Names the scheme of a protected entry (`sinf`: `schm`).
    fn encrypted(&self) -> Error {
        let scheme = self.find(b"sinf").and_then(|sinf| {
            let mut boxes = sinf.children(0).map_while(Result::ok);
            let mut fields = boxes.find(|b| b.kind.0 == *b"schm")?.fields();
            fields.version_and_flags().ok()?;
            fields.four_cc().ok()
        });
        let scheme = match scheme.map(|s| s.0) {
            Some([b'i', b't', b'u', b'n']) => "FairPlay, itun".to_owned(),
            Some(code) => FourCc(code).to_string(),
            None if &self.kind.0 == b"drms" => "FairPlay, drms".to_owned(),
            None if &self.kind.0 == b"aavd" => "Audible, aavd".to_owned(),
            None => self.kind.to_string(),
        };
        Error::Encrypted { scheme }
    }
}

/// The boxes after an entry's fields, including those inside QuickTime's `wave`, behind those around them. Some writers
/// leave a few bytes of their own there: what cannot be read as a box ends the list.
fn extensions<'a>(fields: &Fields<'a>) -> Vec<SliceBox<'a>> {
    /// Some writers nest `wave` in `wave`, or put `esds` into the box that names the codec there.
    const DEPTH: usize = 3;
    let mut boxes: Vec<_> = Boxes::new(fields.rest(), fields.at())
        .map_while(Result::ok)
        .collect();
    let mut outer = 0;
    for _ in 0..DEPTH {
        let inner: Vec<_> = boxes[outer..].iter().flat_map(nested).collect();
        outer = boxes.len();
        boxes.extend(inner);
    }
    boxes
}

/// The boxes inside `outer`, if extensions of a sample entry may stand there.
fn nested<'a>(outer: &SliceBox<'a>) -> impl Iterator<Item = SliceBox<'a>> + use<'a> {
    let children = match &outer.kind.0 {
        b"wave" => Some(outer.children(0)),
        // Behind four bytes that are 0.
        b"mp4a" => Some(outer.children(4)),
        _ => None,
    };
    children.into_iter().flatten().map_while(Result::ok)
}

/// What an encrypted entry is without encryption (`sinf`: `frma`), where it says that its samples are not encrypted
/// (`schi`: `tenc`; ISO/IEC 23001-7, 8.2).
fn unprotected(boxes: &[SliceBox<'_>]) -> Option<FourCc> {
    let sinf = boxes.iter().find(|b| b.kind.0 == *b"sinf")?;
    let scheme: Vec<SliceBox<'_>> = sinf.children(0).map_while(Result::ok).collect();
    let schi = scheme.iter().find(|b| b.kind.0 == *b"schi")?;
    let mut information = schi.children(0).map_while(Result::ok);
    let mut tenc = information.find(|b| b.kind.0 == *b"tenc")?.fields();
    tenc.version_and_flags().ok()?;
    let _reserved_and_pattern = tenc.take(2).ok()?;
    let is_protected = tenc.u8().ok()?;
    let frma = scheme.iter().find(|b| b.kind.0 == *b"frma")?;
    let original = frma.fields().four_cc().ok();
    original.filter(|_| is_protected == 0)
}

/// Whether boxes alone follow the fields of every entry. Some writers give an entry version 1 without its four fields,
/// which are no box.
fn is_followed_by_boxes(fields: &Fields<'_>) -> bool {
    let is_name = |kind: FourCc| kind.0.iter().all(|c| matches!(c, b' '..=b'~'));
    let mut boxes = Boxes::new(fields.rest(), fields.at()).peekable();
    boxes.peek().is_some() && boxes.all(|found| found.is_ok_and(|found| is_name(found.kind)))
}

/// `sampling_rate` of `srat`, for rates that 16 bits do not hold (ISO/IEC 14496-12, 12.2.3).
fn sampling_rate(boxes: &[SliceBox<'_>]) -> Option<u32> {
    let mut fields = boxes.iter().find(|b| b.kind.0 == *b"srat")?.fields();
    fields.version_and_flags().ok()?;
    fields.u32().ok().filter(|&rate| rate > 0)
}

/// The body of a full box, without version and flags.
fn full_box_body(full_box: &SliceBox<'_>) -> Vec<u8> {
    full_box.payload.get(4..).unwrap_or_default().to_vec()
}

/// The bits of PCM samples with those that fill up their bytes: samples of 12 and 20 bits are the high ones.
fn in_whole_bytes(bits: u16) -> u16 {
    match bits {
        9..=32 => bits.next_multiple_of(8),
        _ => bits,
    }
}

fn bits_of(bits: u32, at: u64) -> Result<u8> {
    match bits {
        8 | 16 | 24 | 32 | 64 => Ok(bits as u8),
        _ => Err(Error::unsupported(format!(
            "PCM of {bits} bits (sample entry at byte {at})"
        ))),
    }
}

/// The common name of a codec that is not decoded here.
fn name(kind: FourCc) -> String {
    let known = match &kind.0 {
        b"samr" => "AMR narrow band",
        b"sawb" => "AMR wide band",
        b"sawp" => "AMR wide band plus",
        b"sqcp" => "QCELP",
        b"sevc" => "EVRC",
        b"ssmv" => "SMV",
        b"dtsc" | b"dtsh" | b"dtsl" | b"dtse" | b"dtsx" => "DTS",
        b"mlpa" => "Dolby TrueHD",
        b"ac-4" => "Dolby AC-4",
        b"mha1" | b"mha2" | b"mhm1" | b"mhm2" => "MPEG-H 3D audio",
        b"iamf" => "IAMF",
        b"apac" => "Apple Positional Audio Codec",
        b"wma " => "Windows Media Audio",
        b"Opvb" => "Vorbis",
        b"QDM2" | b"QDMC" => "QDesign Music",
        b"Qclp" => "Qualcomm PureVoice",
        b"MAC3" | b"MAC6" => "MACE",
        b"agsm" => "GSM 06.10",
        b"g719" => "G.719",
        b"ms\0\x31" => "GSM 06.10 (Microsoft)",
        [b'm', b's', hi, lo] if !hi.is_ascii_graphic() => {
            return format!("WAVE format 0x{hi:02X}{lo:02X}");
        }
        _ => return format!("`{kind}`"),
    };
    format!("{known} ({kind})")
}

/// The body of a `dOps` box that says what an identification header of Ogg does (RFC 7845, 5.1): the same fields in the
/// other byte order.
fn opus_config(head: Vec<u8>) -> Vec<u8> {
    let Some([_, channels, skip @ ..]) = head.strip_prefix(b"OpusHead") else {
        return head;
    };
    let Some((&[a, b, c, d, e, f, g, h], mapping)) = skip.split_first_chunk() else {
        return head;
    };
    [&[0, *channels, b, a, f, e, d, c, h, g], mapping].concat()
}

/// The DecoderConfigDescriptor of an `esds` box (ISO/IEC 14496-1, 7.2.6).
struct DecoderConfig {
    /// objectTypeIndication.
    object_type: u8,
    /// The DecoderSpecificInfo: an AudioSpecificConfig if the object type is AAC.
    specific: Vec<u8>,
}

impl DecoderConfig {
    fn read(esds: &SliceBox<'_>) -> Result<Self> {
        let mut fields = esds.fields();
        fields.version_and_flags()?;
        let mut config = decoder_config(&mut fields)?;
        let object_type = config.u8()?;
        let _stream_type_buffer_and_bitrates = config.take(12)?;
        // MP3 has no decoder-specific information.
        let specific = match descriptor(&mut config, &[SPECIFIC_INFO]) {
            Ok((_, specific)) => specific.rest().to_vec(),
            Err(_) => Vec::new(),
        };
        Ok(DecoderConfig {
            object_type,
            specific,
        })
    }
}

/// The tags of descriptors (7.2.2.1).
const ES: u8 = 0x03;
const DECODER_CONFIG: u8 = 0x04;
const SPECIFIC_INFO: u8 = 0x05;

/// The DecoderConfigDescriptor: in the ES_Descriptor, or in its place.
fn decoder_config<'a>(esds: &mut Fields<'a>) -> Result<Fields<'a>> {
    let (tag, mut es) = descriptor(esds, &[ES, DECODER_CONFIG])?;
    if tag == DECODER_CONFIG {
        return Ok(es);
    }
    let _es_id = es.u16()?;
    let flags = es.u8()?;
    if flags & 0x80 != 0 {
        let _depends_on = es.u16()?;
    }
    if flags & 0x40 != 0 {
        let url_len = es.u8()?;
        es.take(url_len.into())?;
    }
    if flags & 0x20 != 0 {
        let _ocr_es_id = es.u16()?;
    }
    Ok(descriptor(&mut es, &[DECODER_CONFIG])?.1)
}

/// The next descriptor with one of `tags`, behind any others, and its tag. Its length is in groups of 7 bits. A length
/// past the end of its parent is cut, since writers that reserve room for longer configurations write such lengths.
fn descriptor<'a>(fields: &mut Fields<'a>, tags: &[u8]) -> Result<(u8, Fields<'a>)> {
    loop {
        if fields.rest().is_empty() {
            let tag = tags[0];
            return Err(fields.malformed(format!("it has no descriptor 0x{tag:02X}")));
        }
        let tag = fields.u8()?;
        let mut len = 0usize;
        for _ in 0..4 {
            let byte = fields.u8()?;
            len = len << 7 | usize::from(byte & 0x7F);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let at = fields.at();
        let body = fields.take(len.min(fields.rest().len()))?;
        if tags.contains(&tag) {
            return Ok((tag, Fields::new(FourCc(*b"esds"), at, body)));
        }
    }
}

/// The first audioObjectType of an AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).
fn audio_object_type(config: &[u8]) -> Option<u8> {
    let &[first, ref rest @ ..] = config else {
        return None;
    };
    match first >> 3 {
        31 => Some(32 + ((first & 7) << 3 | rest.first()? >> 5)),
        short => Some(short),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::build::{audio_entry, esds, make, stsd, words};
    use super::*;

    fn read(entry: &[u8]) -> Result<CodecParameters> {
        audio(&stsd(entry)[8..], 8, 1).map(|found| found.parameters)
    }

    fn codec(entry: &[u8]) -> Codec {
        read(entry).unwrap().codec
    }

    /// A QuickTime description of version 1 (16 more bytes) or 2 (36 more).
    fn quicktime_entry(kind: &[u8; 4], version: u8, extra: &[u8], boxes: &[u8]) -> Vec<u8> {
        let mut entry = audio_entry(kind, &[extra, boxes].concat());
        entry[17] = version;
        entry
    }

    fn lpcm(bits: u32, flags: u32) -> Vec<u8> {
        lpcm_of(bits, flags, 0)
    }

    /// The same of six channels in packets of so many bytes.
    fn lpcm_of(bits: u32, flags: u32, bytes: u32) -> Vec<u8> {
        let rate = 96_000f64.to_be_bytes();
        let rest = words(&[6, 0x7F00_0000, bits, flags, bytes, 1]);
        quicktime_entry(b"lpcm", 2, &[&[0; 4], &rate[..], &rest].concat(), &[])
    }

    fn layout(bits: u8, float: bool, big_endian: bool, signed: bool) -> Codec {
        Codec::Pcm(PcmFormat {
            bits,
            float,
            big_endian,
            signed,
            width: bits / 8,
            high: false,
            companding: None,
        })
    }

    #[test]
    fn pcm_may_lie_in_larger_containers() {
        let pcm = |bits, flags, bytes| match codec(&lpcm_of(bits, flags, bytes)) {
            Codec::Pcm(pcm) => (pcm.bits, pcm.width, pcm.high),
            other => panic!("{other}"),
        };
        assert_eq!(pcm(24, 0b100, 24), (24, 4, false));
        assert_eq!(pcm(24, 0b1_0100, 24), (24, 4, true));
        assert_eq!(pcm(24, 0b1100, 18), (24, 3, false));
        // What cannot be meant.
        assert_eq!(pcm(24, 0b1100, 12), (24, 3, false));
        assert_eq!(pcm(24, 0b1100, 25), (24, 3, false));
        let planes = read(&lpcm_of(24, 0b10_1100, 18)).unwrap_err().to_string();
        assert!(planes.contains("not interleaved"), "{planes}");
    }

    #[test]
    fn a_version_1_entry_without_its_fields_has_its_boxes() {
        let entry = quicktime_entry(b"mp4a", 1, &[], &esds());
        assert_eq!(read(&entry).unwrap().config, [0x12, 0x10]);
    }

    #[test]
    fn opus_may_have_the_header_of_ogg() {
        let head = b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\xFE\xFF\0";
        let body = [0, 2, 0x01, 0x38, 0, 0, 0xBB, 0x80, 0xFF, 0xFE, 0];
        assert_eq!(opus_config(head.to_vec()), body);
        assert_eq!(opus_config(body.to_vec()), body);
        assert_eq!(opus_config(head[..12].to_vec()), head[..12]);
    }

    #[test]
    fn the_object_type_determines_what_mp4a_is() {
        let entry = audio_entry(b"mp4a", &esds());
        assert_eq!(read(&entry).unwrap().config, [0x12, 0x10]);
        let with = |object_type: u8, config: [u8; 2]| {
            let mut esds = esds();
            let at = esds.len() - 17;
            esds[at] = object_type;
            let end = esds.len();
            esds[end - 2..].copy_from_slice(&config);
            codec(&audio_entry(b"mp4a", &esds))
        };
        assert_eq!(with(0x40, [0x12, 0x10]), Codec::Aac(AacProfile::Unknown));
        assert_eq!(with(0x67, [0x12, 0x10]), Codec::Aac(AacProfile::Unknown));
        assert_eq!(with(0x6B, [0, 0]), Codec::Mp3);
        assert_eq!(with(0x69, [0, 0]), Codec::Mp3);
        assert_eq!(with(0xA5, [0, 0]), Codec::Ac3);
        // audioObjectType 36 and 42 (USAC) are written with an escape.
        assert_eq!(with(0x40, [0xF8, 0x80]), Codec::Other("MPEG-4 ALS".into()));
        assert_eq!(with(0x40, [0xF9, 0x40]), Codec::Aac(AacProfile::Unknown));
    }

    #[test]
    fn the_configuration_is_found_where_writers_leave_it() {
        // The ES_Descriptor of `esds`, its fields, and the DecoderConfigDescriptor.
        let whole = esds();
        let (es, config) = (&whole[12..], &whole[12 + 5..]);
        let sl_config = [0x06, 1, 2];
        let nested = |descriptors: &[&[u8]]| {
            let body = [&[0, 1, 0], &descriptors.concat()[..]].concat();
            let es = [&[0x03, body.len() as u8], &body[..]].concat();
            make(b"esds", &[&[0; 4], &es])
        };
        let in_wave = |inner: &[u8]| make(b"wave", &[&make(b"frma", &[b"mp4a"]), inner]);
        let mut of_no_type = whole.clone();
        of_no_type[12 + 5 + 2] = 0;
        for (what, boxes) in [
            ("no ES_Descriptor", make(b"esds", &[&[0; 4], config])),
            ("SLConfigDescriptor first", nested(&[&sl_config, config])),
            ("before all", make(b"esds", &[&[0; 4], &sl_config, es])),
            ("wave in wave", in_wave(&in_wave(&whole))),
            ("mp4a in wave", in_wave(&make(b"mp4a", &[&[0; 4], &whole]))),
            ("object type 0", of_no_type),
        ] {
            let found = read(&audio_entry(b"mp4a", &boxes));
            let found = found.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(found.codec, Codec::Aac(AacProfile::Unknown), "{what}");
            assert_eq!(found.config, [0x12, 0x10], "{what}");
        }
        // No deeper than anybody nests them.
        let deep = (0..9).fold(whole, |inner, _| in_wave(&inner));
        assert!(read(&audio_entry(b"mp4a", &deep)).is_err());
        let empty = make(b"esds", &[&[0; 4], &sl_config]);
        let error = read(&audio_entry(b"mp4a", &empty)).unwrap_err().to_string();
        assert!(error.contains("it has no descriptor 0x03"), "{error}");
    }

    #[test]
    fn quicktime_hides_the_configuration_in_wave() {
        let frma = make(b"frma", &[b"mp4a"]);
        let wave = make(
            b"wave",
            &[&frma, &make(b"mp4a", &[&[0; 4]]), &esds(), &[0; 8]],
        );
        let entry = quicktime_entry(b"mp4a", 1, &[0; 16], &wave);
        let parameters = read(&entry).unwrap();
        assert_eq!(
            (parameters.codec, parameters.config),
            (Codec::Aac(AacProfile::Unknown), vec![0x12, 0x10])
        );

        let cookie = make(b"alac", &[&[0; 4], &[7; 24]]);
        let wave = make(b"wave", &[&make(b"frma", &[b"alac"]), &cookie]);
        let entry = quicktime_entry(b"alac", 1, &[0; 16], &wave);
        assert_eq!(read(&entry).unwrap().config, [7; 24]);
        assert_eq!(
            read(&audio_entry(b"alac", &cookie)).unwrap().config,
            [7; 24]
        );
    }

    #[test]
    fn an_iso_version_1_entry_has_no_quicktime_fields() {
        let mut file = stsd(&quicktime_entry(b"mp4a", 1, &[], &esds()));
        file[8] = 1; // the version of `stsd`
        let found = audio(&file[8..], 8, 1).unwrap();
        assert_eq!(found.parameters.config, [0x12, 0x10]);
    }

    #[test]
    fn pcm_formats() {
        let enda = make(b"wave", &[&make(b"enda", &[&[0, 1]])]);
        for (entry, expected) in [
            (audio_entry(b"sowt", &[]), layout(16, false, false, true)),
            (audio_entry(b"twos", &[]), layout(16, false, true, true)),
            (audio_entry(b"raw ", &[]), layout(16, false, true, true)),
            (audio_entry(b"in24", &[]), layout(24, false, true, true)),
            (
                quicktime_entry(b"in24", 1, &[0; 16], &enda),
                layout(24, false, false, true),
            ),
            (
                quicktime_entry(b"fl32", 1, &[0; 16], &enda),
                layout(32, true, false, true),
            ),
            (audio_entry(b"fl64", &[]), layout(64, true, true, true)),
            (lpcm(24, 0b100), layout(24, false, false, true)),
            (lpcm(32, 0b011), layout(32, true, true, true)),
            (audio_entry(b"ipcm", &[]), layout(16, false, true, true)),
        ] {
            assert_eq!(codec(&entry), expected);
        }
        let parameters = read(&lpcm(24, 0b100)).unwrap();
        assert_eq!((parameters.channels, parameters.sample_rate), (6, 96_000));
        let pcm_c = make(b"pcmC", &[&[0, 0, 0, 0, 1, 24]]);
        assert_eq!(
            codec(&audio_entry(b"ipcm", &pcm_c)),
            layout(24, false, false, true)
        );
        for (kind, companding) in [
            (b"ulaw", Companding::MuLaw),
            (b"ms\0\x07", Companding::MuLaw),
            (b"alaw", Companding::ALaw),
            (b"ms\0\x06", Companding::ALaw),
        ] {
            let Codec::Pcm(pcm) = codec(&audio_entry(kind, &[])) else {
                panic!("{kind:?}");
            };
            assert_eq!((pcm.companding, pcm.width), (Some(companding), 1));
        }
        // The high bits of whole bytes.
        let mut of_20_bits = audio_entry(b"sowt", &[]);
        of_20_bits[27] = 20;
        assert_eq!(codec(&of_20_bits), layout(24, false, false, true));
        assert!(matches!(codec(&lpcm(20, 0b1_0100)), Codec::Pcm(pcm) if pcm.bits == 24));
        let odd = read(&lpcm(20, 0)).unwrap_err().to_string();
        assert!(odd.contains("PCM of 20 bits"), "{odd}");
    }

    #[test]
    fn rates_above_16_bits_stand_in_a_box_of_their_own() {
        let boxes = [
            make(b"pcmC", &[&[0, 0, 0, 0, 0, 16]]),
            make(b"srat", &[&words(&[0, 192_000])]),
        ];
        let mut file = stsd(&quicktime_entry(b"ipcm", 1, &[], &boxes.concat()));
        file[8] = 1; // the version of `stsd`
        let found = audio(&file[8..], 8, 1).unwrap();
        assert_eq!(found.parameters.sample_rate, 192_000);
    }

    #[test]
    fn blocks_of_adpcm() {
        let packing = words(&[1017, 512, 1024, 2]);
        let block = |entry: &[u8]| read(entry).unwrap().block;
        assert_eq!(
            block(&quicktime_entry(b"ms\0\x11", 1, &packing, &[])),
            Some(Block {
                samples: 1017,
                bytes: 1024
            })
        );
        assert_eq!(
            block(&quicktime_entry(b"ima4", 1, &[0; 16], &[])),
            Some(Block {
                samples: 64,
                bytes: 68
            })
        );
        assert_eq!(block(&audio_entry(b"ms\0\x02", &[])), None);
        assert_eq!(block(&quicktime_entry(b"twos", 1, &packing, &[])), None);
    }

    #[test]
    fn codecs_that_are_not_decoded_have_names() {
        for (kind, name) in [
            (b"samr", "AMR narrow band (samr)"),
            (b"ms\0\x31", "GSM 06.10 (Microsoft) (ms\\x001)"),
            (b"ms\x01\x61", "WAVE format 0x0161"),
            (b"zzzz", "`zzzz`"),
        ] {
            assert_eq!(codec(&audio_entry(kind, &[])), Codec::Other(name.into()));
        }
    }

    #[test]
    fn what_had_to_be_assumed_is_told() {
        let assumed = |entry: &[u8]| audio(&stsd(entry)[8..], 8, 1).unwrap().assumed;
        let pcm_c = make(b"pcmC", &[&[0, 0, 0, 0, 0, 16]]);
        assert!(assumed(&audio_entry(b"ipcm", &pcm_c)).is_none());
        let told = assumed(&audio_entry(b"ipcm", &[])).unwrap().to_string();
        let expected =
            "malformed ipcm at byte 16: it has no `pcmC` box: big-endian PCM of 16 bits is assumed";
        assert_eq!(told, expected);
    }

    #[test]
    fn encryption_is_named_by_its_scheme() {
        let schm = make(b"schm", &[&[0; 4], b"cbcs", &[0; 4]]);
        let sinf = make(b"sinf", &[&make(b"frma", &[b"mp4a"]), &schm]);
        let enca = audio_entry(b"enca", &[esds(), sinf].concat());
        let drms = audio_entry(b"drms", &[]);
        assert!(matches!(read(&enca), Err(Error::Encrypted { scheme }) if scheme == "cbcs"));
        assert!(
            matches!(read(&drms), Err(Error::Encrypted { scheme }) if scheme.contains("FairPlay"))
        );
    }

    #[test]
    fn a_missing_configuration_is_an_error() {
        let error = read(&audio_entry(b"mp4a", &[])).unwrap_err().to_string();
        assert_eq!(error, "malformed mp4a at byte 16: it has no `esds` box");
        let error = audio(&stsd(&audio_entry(b"mp4a", &esds()))[8..], 8, 2).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("sample entry 2 is used, 1 are declared"),
            "{error}"
        );
    }
}
