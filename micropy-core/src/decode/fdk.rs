//! AAC by the Fraunhofer FDK library: whatever is more than AAC-LC of one or two channels.

use super::aac_config::{AacConfig, Extension, object_type};
use super::{DecodeError, Decoder, Format};
use crate::error::{Error, Result};
use crate::pcm::{Layout, Pcm};

/// What the track decodes to: the first packets are decoded, since only they tell of implicit SBR and
/// parametric stereo.
pub fn inspect(config: &[u8], aac: &AacConfig, first_packets: &[&[u8]]) -> Result<Format> {
    let mut decoder = open(config)?;
    let mut stream = None;
    let mut refusal = None;
    for packet in first_packets {
        match decoder.decode(packet) {
            Ok((_, decoded)) => stream = Some(decoded),
            Err(e) => refusal = Some(e),
        }
    }
    let stream = stream.ok_or_else(|| {
        let why = refusal.map_or("there is none".into(), |e| e.to_string());
        Error::malformed(0, "first AAC packets", why)
    })?;
    let layout = match aac.layout {
        Some(layout) if layout.channels() == stream.channels => layout,
        _ => Layout::usual(stream.channels as u16)
            .ok_or_else(|| Error::unsupported(format!("AAC of {} channels", stream.channels)))?,
    };
    Ok(Format {
        name: aac.name(stream.sbr, stream.ps),
        sample_rate: stream.sample_rate,
        layout,
        packet_len: Some(stream.frame_len as u32),
        roll: roll(aac, stream.sbr, stream.ps),
    })
}

/// Packets until a restarted decoder gives what one run from the start does, as measured.
fn roll(aac: &AacConfig, sbr: bool, ps: bool) -> u32 {
    match aac.object_type {
        object_type::USAC => 6,
        _ if ps => 8,
        _ if sbr => 4,
        _ => 2,
    }
}

/// The decoder for it.
pub fn decoder(config: &[u8], aac: &AacConfig, format: &Format) -> Result<Box<dyn Decoder>> {
    let explicit = explicit_config(aac, format);
    Ok(Box::new(Fdk {
        inner: open(explicit.as_deref().unwrap_or(config))?,
        planes: aac.planes(format.layout),
        sample_rate: format.sample_rate,
        packet_len: format.packet_len.unwrap_or(0) as usize,
    }))
}

fn open(config: &[u8]) -> Result<micropy_fdk::Decoder> {
    micropy_fdk::Decoder::new(config).map_err(|e| Error::unsupported(e.to_string()))
}

/// What implicit signalling left out is written into the configuration, so that a decoder started in the
/// middle gives the same rate and channels from its first packet on.
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

struct Fdk {
    inner: micropy_fdk::Decoder,
    /// The plane of each interleaved channel.
    planes: Vec<usize>,
    sample_rate: u32,
    packet_len: usize,
}

impl Decoder for Fdk {
    fn decode(&mut self, packet: &[u8], pcm: &mut Pcm) -> Result<(), DecodeError> {
        let (interleaved, stream) = self
            .inner
            .decode(packet)
            .map_err(|e| DecodeError(e.to_string()))?;
        if stream.sample_rate != self.sample_rate || stream.frame_len != self.packet_len {
            return Err(DecodeError("a packet of another format".into()));
        }
        // Parametric stereo begins as mono.
        let is_mono = stream.channels == 1;
        if !is_mono && stream.channels != self.planes.len() {
            return Err(DecodeError(format!("{} channels", stream.channels)));
        }
        for (channel, &plane) in self.planes.iter().enumerate() {
            let first = if is_mono { 0 } else { channel };
            let coded = interleaved[first..].iter().step_by(stream.channels);
            pcm.planes_mut()[plane].extend(coded.map(|&s| f32::from(s) / 32768.0));
        }
        Ok(())
    }
}
