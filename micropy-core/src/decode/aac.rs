//! AAC: which decoder serves which object type.

use super::aac_config::{AacConfig, Extension, object_type};
use super::symphonia::Symphonia;
use super::{Decoder, Format};
use crate::error::{Error, Result};

/// What the track decodes to.
pub fn inspect(config: &[u8], _first_packets: &[impl AsRef<[u8]>]) -> Result<Format> {
    let aac = parse(config)?;
    match aac.layout {
        Some(layout) if is_plain_lc(&aac) => Ok(Format {
            name: "AAC-LC".into(),
            sample_rate: aac.core_rate,
            layout,
            packet_len: Some(aac.frame_len),
            roll: 1,
        }),
        _ => Err(Error::unsupported("AAC other than LC mono and stereo")),
    }
}

/// The decoder for it.
pub fn decoder(config: &[u8], format: &Format) -> Result<Box<dyn Decoder>> {
    let aac = parse(config)?;
    Ok(Box::new(Symphonia::aac_lc(
        aac.core_rate,
        format.layout.channels(),
    )?))
}

fn parse(config: &[u8]) -> Result<AacConfig> {
    AacConfig::parse(config).map_err(|why| Error::malformed(0, "AudioSpecificConfig", why))
}

fn is_plain_lc(aac: &AacConfig) -> bool {
    aac.object_type == object_type::LC
        && aac.frame_len == 1024
        && !matches!(aac.sbr, Extension::Present(_))
        && aac.layout.is_some_and(|l| l.channels() <= 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcm::Pcm;

    #[test]
    fn decodes_a_stereo_packet_of_silence_to_1024_zeros() {
        // ID_CPE, common_window 0, two empty individual_channel_streams, ID_END.
        let packet = [0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80];
        let config = [0x12, 0x10];
        let format = inspect(&config, &[packet]).unwrap();
        assert_eq!((format.sample_rate, format.layout.channels()), (44100, 2));
        let mut pcm = Pcm::new(2);
        decoder(&config, &format)
            .unwrap()
            .decode(&packet, &mut pcm)
            .unwrap();
        assert_eq!(pcm.len(), 1024);
        assert!(pcm.planes().iter().flatten().all(|&s| s == 0.0));
    }
}
