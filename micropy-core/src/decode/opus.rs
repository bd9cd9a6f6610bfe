//! Opus (RFC 6716) in ISO base media files (Encapsulation of Opus in ISO BMFF 0.8.1).

use ropus::OpusMSDecoder;

use super::frames::{Lengths, told_len};
use super::{DecodeError, Decoder, Format};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::pcm::{Layout, Pcm, Speaker};

/// Opus decodes to this rate whatever the input was.
const SAMPLE_RATE: u32 = 48000;

/// The longest packet by RFC 6716, 120 ms.
const MAX_PACKET_LEN: usize = 5760;

/// The body of a `dOps` box.
#[derive(Clone, Debug, PartialEq)]
struct Config {
    layout: Layout,
    /// The plane of each coded channel.
    planes: Vec<usize>,
    gain: f32,
    streams: u8,
    coupled: u8,
    mapping: Vec<u8>,
}

impl Config {
    fn parse(track: &CodecParameters) -> Result<Config> {
        let malformed = |why| Error::malformed(track.at, "dOps", why);
        let fixed = track.config.split_at_checked(11);
        let (fixed, table) = fixed.ok_or_else(|| malformed("it is too short".to_owned()))?;
        let channels = usize::from(fixed[1]);
        let family = fixed[10];
        if matches!(family, 2 | 3) {
            return Err(Error::unsupported("Opus of ambisonics"));
        }
        let order = channel_order(channels);
        let order = order.ok_or_else(|| malformed(format!("{channels} channels")))?;
        let gain_db = f32::from(i16::from_be_bytes([fixed[8], fixed[9]])) / 256.0;
        let (streams, coupled, mapping) = match (family, table) {
            (0, _) if channels <= 2 => (1, fixed[1] - 1, vec![0, 1]),
            // In family 255 the channels mean nothing: they are taken for the usual ones.
            (1 | 255, [streams, coupled, mapping @ ..]) if mapping.len() >= channels => {
                (*streams, *coupled, mapping.to_vec())
            }
            _ => return Err(malformed(format!("channel mapping family {family}"))),
        };
        let layout = Layout::of(order);
        Ok(Config {
            layout,
            planes: order.iter().filter_map(|&s| layout.plane_of(s)).collect(),
            gain: 10f32.powf(gain_db / 20.0),
            streams,
            coupled,
            mapping: mapping.into_iter().take(channels).collect(),
        })
    }
}

/// Vorbis I, 4.3.9, as RFC 7845, 5.1.1.2 has it.
fn channel_order(channels: usize) -> Option<&'static [Speaker]> {
    use Speaker::*;
    Some(match channels {
        1 => &[FrontCenter],
        2 => &[FrontLeft, FrontRight],
        3 => &[FrontLeft, FrontCenter, FrontRight],
        4 => &[FrontLeft, FrontRight, BackLeft, BackRight],
        5 => &[FrontLeft, FrontCenter, FrontRight, BackLeft, BackRight],
        6 => &[
            FrontLeft,
            FrontCenter,
            FrontRight,
            BackLeft,
            BackRight,
            LowFrequency,
        ],
        7 => &[
            FrontLeft,
            FrontCenter,
            FrontRight,
            SideLeft,
            SideRight,
            BackCenter,
            LowFrequency,
        ],
        8 => &[
            FrontLeft,
            FrontCenter,
            FrontRight,
            SideLeft,
            SideRight,
            BackLeft,
            BackRight,
            LowFrequency,
        ],
        _ => return None,
    })
}

/// PCM samples at the start that are to be discarded (PreSkip).
pub fn pre_skip(track: &CodecParameters) -> u64 {
    match track.config[..] {
        [_, _, high, low, ..] => u16::from_be_bytes([high, low]).into(),
        _ => 0,
    }
}

/// What the track decodes to. Packets may vary in length.
pub fn inspect(track: &CodecParameters, first_packets: &[&[u8]]) -> Result<Format> {
    let config = Config::parse(track)?;
    let shortest = first_packets.iter().filter_map(|p| frame_len(p)).min();
    Ok(Format {
        codec: Codec::Opus,
        sample_rate: SAMPLE_RATE,
        layout: config.layout,
        packet_len: told_len(first_packets, packet_len),
        roll: ROLL.div_ceil(shortest.unwrap_or(960)),
    })
}

/// How long its packets are.
pub fn lengths(_track: &CodecParameters, _format: &Format) -> Option<Lengths> {
    Some(Lengths {
        tell: |packet, _| packet_len(packet),
        unit: 0,
        step: 120,
        vary: true,
        // Any first byte tells some length.
        doubtful: true,
    })
}

/// PCM samples per channel of a packet, by its TOC byte and the number of its frames (RFC 6716, 3.1 and 3.2).
fn packet_len(packet: &[u8]) -> Option<u32> {
    let frames = match packet.first()? & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3F),
    };
    let len = frames * frame_len(packet)?;
    (1..=MAX_PACKET_LEN as u32).contains(&len).then_some(len)
}

/// PCM samples per channel to decode until the output is right. RFC 7845, 4.6 asks for 80 ms, after which a tone was
/// still wrong by −19 dB of full scale: band energies are coded as differences, whose errors decay by 6 dB a packet.
/// After half a second the difference is lost in the rounding to 16 bits.
const ROLL: u32 = SAMPLE_RATE / 2;

/// PCM samples per channel of one frame of a packet, by its TOC byte (RFC 6716, table 2).
fn frame_len(packet: &[u8]) -> Option<u32> {
    let config = packet.first()? >> 3;
    Some(match config {
        0..12 => [480, 960, 1920, 2880][usize::from(config % 4)],
        12..16 => [480, 960][usize::from(config % 2)],
        _ => [120, 240, 480, 960][usize::from(config % 4)],
    })
}

/// The decoder for it.
pub fn decoder(track: &CodecParameters, _format: &Format) -> Result<Box<dyn Decoder>> {
    let config = Config::parse(track)?;
    let channels = config.planes.len();
    let inner = OpusMSDecoder::new(
        SAMPLE_RATE as i32,
        channels as i32,
        config.streams.into(),
        config.coupled.into(),
        &config.mapping,
    )
    .map_err(|code| Error::malformed(track.at, "dOps", format!("Opus error {code}")))?;
    Ok(Box::new(Opus {
        inner,
        planes: config.planes,
        gain: config.gain,
        interleaved: vec![0; MAX_PACKET_LEN * channels],
    }))
}

struct Opus {
    inner: OpusMSDecoder,
    planes: Vec<usize>,
    gain: f32,
    interleaved: Vec<i16>,
}

impl Decoder for Opus {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        if packet.is_empty() {
            return Err(DecodeError("an empty packet".into()));
        }
        let packet_len = i32::try_from(packet.len())
            .map_err(|_| DecodeError("a packet of over 2 GiB".into()))?;
        let len = self
            .inner
            .decode(
                Some(packet),
                packet_len,
                &mut self.interleaved,
                MAX_PACKET_LEN as i32,
                false,
            )
            .map_err(|code| DecodeError(format!("Opus error {code}")))?;
        let len = usize::try_from(len).unwrap_or(0);
        let channels = self.planes.len();
        let scale = self.gain / 32768.0;
        for (channel, &plane) in self.planes.iter().enumerate() {
            let coded = self.interleaved[channel..].iter().step_by(channels);
            pcm.planes_mut()[plane].extend(coded.take(len).map(|&s| f32::from(s) * scale));
        }
        Ok(())
    }
}
