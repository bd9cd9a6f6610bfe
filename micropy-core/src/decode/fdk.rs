//! AAC by the Fraunhofer FDK library: everything beyond AAC-LC of one or two channels.

use super::aac_config::{AacConfig, Extension, object_type};
use super::{DecodeError, Decoder, Format, reconfigured};
use crate::codec::{Codec, CodecParameters};
use crate::error::{Error, Result};
use crate::pcm::{Layout, Pcm};

/// What the track decodes to. The first packets are decoded, since only they show implicit SBR and parametric stereo.
pub fn inspect(track: &CodecParameters, aac: &AacConfig, packets: &[&[u8]]) -> Result<Format> {
    let mut decoder = open(&configuration(track, aac)).map_err(|_| refused(aac))?;
    let mut first = Err("there is none".to_string());
    let mut sides_differ = false;
    for packet in packets {
        match decoder.decode(packet) {
            Ok((pcm, stream)) => {
                sides_differ |= stream.ps && pcm.chunks_exact(2).any(|pair| pair[0] != pair[1]);
                first = Ok(stream);
            }
            Err(e) if first.is_err() => first = Err(e.to_string()),
            Err(_) => {}
        }
    }
    let stream = first.map_err(|why| Error::malformed(0, "first AAC packets", why))?;
    // The library gives two channels for one wherever parametric stereo might follow.
    let ps = stream.ps && (aac.ps == Extension::Present(()) || sides_differ || track.channels == 2);
    let channels = if stream.ps && !ps { 1 } else { stream.channels };
    let layout = match aac.layout {
        Some(layout) if layout.channels() == channels => layout,
        _ => Layout::usual(channels as u16)
            .ok_or_else(|| Error::unsupported(format!("AAC of {channels} channels")))?,
    };
    Ok(Format {
        codec: Codec::Aac(aac.profile(stream.sbr, ps)),
        sample_rate: stream.sample_rate,
        layout,
        packet_len: Some(stream.frame_len as u32),
        roll: roll(aac, stream.sbr),
    })
}

/// Whether the library takes the configuration.
pub fn check(track: &CodecParameters, aac: &AacConfig) -> Result<()> {
    open(&configuration(track, aac))
        .map(drop)
        .map_err(|_| refused(aac))
}

/// Why the library does not take the configuration.
fn refused(aac: &AacConfig) -> Error {
    let codec = Codec::Aac(aac.profile(false, false));
    Error::unsupported(match aac.channel_configuration {
        0 => format!(
            "{codec} audio of a program_config_element that the FDK decoder does not take: its channels are in no \
             order of the standard, an element is listed twice, or there are more than eight"
        ),
        _ => format!("{codec} audio"),
    })
}

/// Packets until a restarted decoder gives what one run from the start does, as measured. The overlap of the transform
/// is one packet. SBR and PS are silent until their headers come, which encoders send every half a second (10 packets;
/// 16 were needed for PS). Most packets of USAC cannot be decoded without those before them.
fn roll(aac: &AacConfig, sbr: bool) -> u32 {
    match aac.object_type {
        object_type::USAC => super::ROLL_TO_THE_START,
        // With as many PCM samples as the core has (downsampled SBR), the rate does not tell.
        _ if sbr || matches!(aac.sbr, Extension::Present(_)) => 24,
        _ => 1,
    }
}

/// The decoder for it.
pub fn decoder(
    track: &CodecParameters,
    aac: &AacConfig,
    format: &Format,
) -> Result<Box<dyn Decoder>> {
    let explicit = explicit_config(aac, format);
    let config = explicit.unwrap_or_else(|| configuration(track, aac));
    Ok(Box::new(Fdk {
        inner: open(&config)?,
        layout: format.layout,
        planes: aac.planes(format.layout),
        other: Pcm::default(),
        sample_rate: format.sample_rate,
        packet_len: format.packet_len.map(|len| len as usize),
    }))
}

/// Whether most packets carry SBR data, though the configuration does not say so.
pub fn finds_sbr(aac: &AacConfig, blocks: &[&[u8]]) -> bool {
    let Ok(mut decoder) = open(&aac.plain()) else {
        return false;
    };
    let has_sbr = |block: &&&[u8]| decoder.decode(block).is_ok_and(|(_, stream)| stream.sbr);
    2 * blocks.iter().filter(has_sbr).count() > blocks.len()
}

/// Whether most of these packets are of the channels that `aac` says.
pub fn has_channels_of(aac: &AacConfig, blocks: &[&[u8]]) -> bool {
    let (Ok(mut decoder), Some(layout)) = (open(&aac.plain()), aac.layout) else {
        return false;
    };
    let fits = |block: &&&[u8]| {
        let decoded = decoder.decode(block);
        decoded.is_ok_and(|(_, stream)| stream.channels == layout.channels())
    };
    2 * blocks.iter().filter(fits).count() > blocks.len()
}

/// A decoder of the core coder alone, for packets that Symphonia does not know.
pub fn core_decoder(aac: &AacConfig) -> Result<Box<dyn Decoder>> {
    let layout = aac.layout.unwrap_or(Layout::STEREO);
    Ok(Box::new(Fdk {
        inner: open(&aac.plain())?,
        layout,
        planes: aac.planes(layout),
        other: Pcm::default(),
        sample_rate: aac.core_rate,
        packet_len: Some(aac.frame_len as usize),
    }))
}

/// `decoder` without the packets that end early: what is left of one of more channels may pass for it.
pub fn whole_packets(aac: &AacConfig, decoder: Box<dyn Decoder>) -> Box<dyn Decoder> {
    Box::new(Whole {
        decoder,
        shortened: Shortened::of(aac.plain()),
    })
}

/// The track's configuration, or one made anew where `aac` says what that does not.
fn configuration(track: &CodecParameters, aac: &AacConfig) -> Vec<u8> {
    if let Some(reordered) = aac.reordered() {
        return reordered;
    }
    if AacConfig::parse(&track.config).as_ref() == Ok(aac) {
        return track.config.clone();
    }
    match (aac.sbr, aac.ps) {
        (Extension::Present(rate), Extension::Present(())) => {
            aac.hierarchical(object_type::PS, rate)
        }
        (Extension::Present(rate), _) => aac.hierarchical(object_type::SBR, rate),
        _ => None,
    }
    .unwrap_or_else(|| aac.plain())
}

fn open(config: &[u8]) -> Result<micropy_fdk::Decoder> {
    micropy_fdk::Decoder::new(config).map_err(|e| Error::unsupported(e.to_string()))
}

/// A configuration with explicit signalling in place of implicit, so that a decoder started in the middle gives the
/// same rate and channels from its first packet on.
fn explicit_config(aac: &AacConfig, format: &Format) -> Option<Vec<u8>> {
    let implicit_sbr = aac.sbr == Extension::Unsaid && format.sample_rate != aac.core_rate;
    let implicit_ps = aac.ps == Extension::Unsaid
        && aac.layout == Some(Layout::MONO)
        && format.layout == Layout::STEREO;
    if aac.object_type != object_type::LC || !(implicit_sbr || implicit_ps) {
        return None;
    }
    let extension = if format.layout == Layout::STEREO && aac.layout == Some(Layout::MONO) {
        object_type::PS
    } else {
        object_type::SBR
    };
    aac.hierarchical(extension, format.sample_rate)
}

/// Finds packets that end early, with something behind their end: what damage to one of many channels may leave. The
/// library takes them, since padding may stand there.
struct Shortened {
    config: Vec<u8>,
    /// Opened for the first packet.
    decoder: Option<micropy_fdk::Decoder>,
}

impl Shortened {
    fn of(config: Vec<u8>) -> Self {
        Shortened {
            config,
            decoder: None,
        }
    }

    /// Whether more than zeros follows the end of a packet that can be decoded: it can be without its last byte as
    /// well.
    fn can_be(&mut self, packet: &[u8]) -> Result<bool, DecodeError> {
        // An end (ID_END) is no zero.
        let len = packet.iter().rposition(|&byte| byte != 0).unwrap_or(0);
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(open(&self.config).map_err(|e| DecodeError(e.to_string()))?),
        };
        Ok(decoder.decode(&packet[..len]).is_ok())
    }

    fn check(&mut self, packet: &[u8]) -> Result<(), DecodeError> {
        match self.can_be(packet)? {
            true => Err(DecodeError("it ends before its last byte".into())),
            false => Ok(()),
        }
    }
}

/// See [`whole_packets`].
struct Whole {
    decoder: Box<dyn Decoder>,
    shortened: Shortened,
}

impl Decoder for Whole {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let start = pcm.len();
        self.decoder.decode(packet, pcm)?;
        let checked = self.shortened.check(packet);
        if checked.is_err() {
            pcm.resize(start);
        }
        checked
    }
}

struct Fdk {
    inner: micropy_fdk::Decoder,
    layout: Layout,
    /// The plane of each interleaved channel.
    planes: Vec<usize>,
    /// What a packet of other channels gave.
    other: Pcm,
    sample_rate: u32,
    packet_len: Option<usize>,
}

impl Decoder for Fdk {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let (interleaved, stream) = self
            .inner
            .decode(packet)
            .map_err(|e| DecodeError(e.to_string()))?;
        let is_as_long = self.packet_len.is_none_or(|len| stream.frame_len == len);
        if stream.sample_rate != self.sample_rate || !is_as_long {
            return Err(DecodeError("a packet of another format".into()));
        }
        let coded = stream.channels;
        let samples = |channel: usize| {
            let own = interleaved[channel..].iter().step_by(coded);
            own.map(|&sample| f32::from(sample) / 32768.0)
        };
        if coded == self.planes.len() {
            for (channel, &plane) in self.planes.iter().enumerate() {
                pcm.planes_mut()[plane].extend(samples(channel));
            }
            return Ok(());
        }
        // The library takes packets that lack the last of the channels, but then the others are not where it says.
        if self.planes.len() > 2 {
            return Err(DecodeError(format!("a packet of {coded} channels")));
        }
        // Parametric stereo was expected and did not come, or has ended; or the stream has changed.
        let layout =
            Layout::usual(coded as u16).ok_or_else(|| DecodeError(format!("{coded} channels")))?;
        self.other.reset(coded);
        for (channel, plane) in self.other.planes_mut().iter_mut().enumerate() {
            plane.extend(samples(channel));
        }
        reconfigured::place(&self.other, layout, pcm, self.layout);
        Ok(())
    }
}
