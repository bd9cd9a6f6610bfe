//! The substreams of E-AC-3: which syncframes of a packet make the programme, and for which loudspeakers their channels
//! are (ATSC A/52, E2.3.1 and E3.8).
//!
//! The programme is the first independent substream. Dependent ones behind it bring it to 7.1. One that is for
//! loudspeakers beyond (of height, or further to the side) is left out: the others are whole without it.

use super::fault::Fault;
use super::header::{Header, Stream, Syntax};
use super::{LFE, OUTPUTS};
use crate::codec::Codec;
use crate::pcm::Speaker::{self, *};

/// One syncframe.
pub struct Syncframe<'a> {
    pub header: Header,
    pub bytes: &'a [u8],
    /// The loudspeakers of its channels, by place.
    pub speakers: [Option<Speaker>; OUTPUTS],
}

/// The syncframes of the programme that are heard at the same time, the independent one first.
pub type Together<'a> = Vec<Syncframe<'a>>;

/// The syncframes of a packet, one after the other. The list ends at the first that is none.
fn syncframes(packet: &[u8]) -> impl Iterator<Item = Result<(Header, &[u8]), Fault>> {
    let mut rest = packet;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let frame = Header::parse(rest).and_then(|header| {
            let whole = rest.split_at_checked(header.frame_bytes);
            let (frame, after) = whole.ok_or(Fault::Truncated)?;
            if header.end > 8 * frame.len() {
                return Err(Fault::Truncated);
            }
            Ok((header, frame, after))
        });
        rest = frame.as_ref().map_or(&[], |(_, _, after)| after);
        Some(frame.map(|(header, frame, _)| (header, frame)))
    })
}

/// The programme's syncframes of a packet.
pub fn programme(packet: &[u8]) -> Result<Vec<Together<'_>>, Fault> {
    let mut all: Vec<Together<'_>> = Vec::new();
    let mut in_programme = false;
    for syncframe in syncframes(packet) {
        let (header, bytes) = match syncframe {
            Ok(syncframe) => syncframe,
            // Padding; that a frame is missing is seen from the length.
            Err(_) if !all.is_empty() => break,
            Err(fault) => return Err(fault),
        };
        let frame = Syncframe {
            header,
            bytes,
            speakers: [None; OUTPUTS],
        };
        match frame.header.stream {
            Stream::Independent => {
                in_programme = frame.header.substream == 0;
                if in_programme {
                    all.push(vec![frame]);
                }
            }
            Stream::Dependent if in_programme => {
                if let Some(together) = all.last_mut() {
                    together.push(frame);
                }
            }
            Stream::Dependent => {}
        }
    }
    if all.is_empty() {
        return Err(Fault::NoSyncframe);
    }
    all.iter_mut().for_each(place);
    Ok(all)
}

/// Says which loudspeakers the channels are for, and leaves out the substreams that are for others.
fn place(together: &mut Together<'_>) {
    let maps = together.iter().filter_map(|frame| frame.header.channel_map);
    let behind = maps.fold(0, |all, map| all | map) & (bit(6) | bit(7)) != 0;
    together.retain_mut(|frame| {
        let header = &frame.header;
        let speakers = match header.channel_map {
            Some(map) => mapped(map, header, behind),
            None => Some(by_mode(header, behind)),
        };
        frame.speakers = speakers.unwrap_or_default();
        speakers.is_some()
    });
}

/// The loudspeakers of `acmod`. With others behind them, the surround channels are at the sides.
fn by_mode(header: &Header, behind: bool) -> [Option<Speaker>; OUTPUTS] {
    let (left, right) = surround(behind);
    let full: &[Speaker] = match header.acmod {
        1 => &[FrontCenter],
        3 => &[FrontLeft, FrontCenter, FrontRight],
        4 => &[FrontLeft, FrontRight, BackCenter],
        5 => &[FrontLeft, FrontCenter, FrontRight, BackCenter],
        6 => &[FrontLeft, FrontRight, left, right],
        7 => &[FrontLeft, FrontCenter, FrontRight, left, right],
        _ => &[FrontLeft, FrontRight], // 2/0, and 1+1
    };
    let mut speakers = [None; OUTPUTS];
    for (to, &speaker) in speakers.iter_mut().zip(full) {
        *to = Some(speaker);
    }
    speakers[LFE] = header.lfeon.then_some(LowFrequency);
    speakers
}

/// The loudspeakers of `chanmap`, whose bits stand in the order of the channels. `None`: it names others than we
/// have, or not as many as there are channels.
fn mapped(map: u16, header: &Header, behind: bool) -> Option<[Option<Speaker>; OUTPUTS]> {
    let (left, right) = surround(behind);
    let locations: [&[Speaker]; 8] = [
        &[FrontLeft],
        &[FrontCenter],
        &[FrontRight],
        &[left],
        &[right],
        &[FrontLeftOfCenter, FrontRightOfCenter],
        &[BackLeft, BackRight],
        &[BackCenter],
    ];
    let known = (0..8).fold(bit(15), |all, location| all | bit(location));
    if map & !known != 0 {
        return None;
    }
    let named = locations.into_iter().enumerate();
    let named = named.filter(|&(location, _)| map & bit(location) != 0);
    let full: Vec<Speaker> = named.flat_map(|(_, speakers)| speakers).copied().collect();
    let lfe = map & bit(15) != 0;
    if full.len() != header.full_channels() || lfe != header.lfeon {
        return None;
    }
    let mut speakers = [None; OUTPUTS];
    for (to, speaker) in speakers.iter_mut().zip(full) {
        *to = Some(speaker);
    }
    speakers[LFE] = lfe.then_some(LowFrequency);
    Some(speakers)
}

fn surround(behind: bool) -> (Speaker, Speaker) {
    match behind {
        true => (SideLeft, SideRight),
        false => (BackLeft, BackRight),
    }
}

/// Bit `location` of a channel map; 0 is the first that is sent.
fn bit(location: usize) -> u16 {
    0x8000 >> location
}

/// The coding.
pub fn codec(together: &Together<'_>) -> Codec {
    let syntaxes = together.iter().map(|frame| frame.header.syntax);
    match syntaxes.max() {
        Some(Syntax::Enhanced) => Codec::Eac3,
        _ => Codec::Ac3,
    }
}
