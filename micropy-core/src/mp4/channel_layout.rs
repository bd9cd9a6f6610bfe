//! Which loudspeaker each channel of a sample entry is for: QuickTime's `chan` (Core Audio Format, "Channel Layout
//! chunk") and `chnl` (ISO/IEC 14496-12, 12.2.4).

use super::boxes::{Fields, SliceBox};
use crate::error::Result;
use crate::pcm::Speaker;

/// The loudspeakers of `channels` channels, in their order, as the box says; `None` where it says nothing, or something
/// that has no [`Speaker`].
pub fn read(layout: &SliceBox<'_>, channels: u16) -> Option<Vec<Speaker>> {
    let fields = layout.fields();
    let places = match &layout.kind.0 {
        b"chan" => read_chan(fields, channels),
        _ => read_chnl(fields, channels),
    };
    // A single channel is heard on both sides, whatever its name.
    let places = places.ok()??;
    (channels > 1 && places.len() == usize::from(channels))
        .then(|| speakers(&places))
        .flatten()
}

/// A place in a layout, as both standards name them.
type Place = &'static str;

/// `mChannelLabel` in `chan`, by number.
const LABELS: [(u32, Place); 16] = [
    (1, "L"),
    (2, "R"),
    (3, "C"),
    (4, "LFE"),
    (5, "Ls"),
    (6, "Rs"),
    (7, "Lc"),
    (8, "Rc"),
    (9, "Cs"),
    (10, "Lss"),
    (11, "Rss"),
    (33, "Lsr"),
    (34, "Rsr"),
    (38, "L"), // left total: matrixed, for two loudspeakers
    (39, "R"),
    (42, "C"), // mono
];

/// `speaker_position` in `chnl`, by number (ISO/IEC 23091-3, table 5).
const POSITIONS: [Place; 15] = [
    "L", "R", "C", "LFE", "Ls", "Rs", "Lc", "Rc", "Lsr", "Rsr", "Cs", "Lsd", "Rsd", "Lss", "Rss",
];

/// `mChannelLayoutTag`, of which the lower half is the number of channels, by its upper half.
const TAGS: [(u32, &str); 51] = [
    (100, "C"),
    (101, "L R"),
    (102, "L R"),
    (103, "L R"),
    (105, "L R"),
    (106, "L R"),
    (108, "L R Ls Rs"),
    (109, "L R Ls Rs C"),
    (110, "L R Ls Rs C Cs"),
    (113, "L R C"),
    (114, "C L R"),
    (115, "L R C Cs"),
    (116, "C L R Cs"),
    (117, "L R C Ls Rs"),
    (118, "L R Ls Rs C"),
    (119, "L C R Ls Rs"),
    (120, "C L R Ls Rs"),
    (121, "L R C LFE Ls Rs"),
    (122, "L R Ls Rs C LFE"),
    (123, "L C R Ls Rs LFE"),
    (124, "C L R Ls Rs LFE"),
    (125, "L R C LFE Ls Rs Cs"),
    (126, "L R C LFE Ls Rs Lc Rc"),
    (127, "C Lc Rc L R Ls Rs LFE"),
    (128, "L R C LFE Ls Rs Lsr Rsr"),
    (129, "L R Ls Rs C LFE Lc Rc"),
    (131, "L R Cs"),
    (132, "L R Ls Rs"),
    (133, "L R LFE"),
    (134, "L R LFE Cs"),
    (135, "L R LFE Ls Rs"),
    (136, "L R C LFE"),
    (137, "L R C LFE Cs"),
    (138, "L R Ls Rs LFE"),
    (139, "L R Ls Rs C Cs"),
    (140, "L R Ls Rs C Lsr Rsr"),
    (141, "C L R Ls Rs Cs"),
    (142, "C L R Ls Rs Cs LFE"),
    (143, "C L R Ls Rs Lsr Rsr"),
    (144, "C L R Ls Rs Lsr Rsr Cs"),
    (148, "L R Ls Rs C Lc Rc"),
    (149, "C LFE"),
    (150, "L C R"),
    (151, "L C R Cs"),
    (152, "L C R LFE"),
    (153, "L R Cs LFE"),
    (154, "L C R Cs LFE"),
    (155, "L C R Ls Rs Cs"),
    (156, "L C R Ls Rs Lsr Rsr"),
    (157, "L C R Ls Rs LFE Cs"),
    (160, "L C R Ls Rs LFE Lsr Rsr"),
];

/// `definedLayout` of `chnl`, from 1 on: ChannelConfiguration of ISO/IEC 23091-3, table 3. Empty: none of these places.
const DEFINED: [&str; 12] = [
    "C",
    "L R",
    "C L R",
    "C L R Cs",
    "C L R Ls Rs",
    "C L R Ls Rs LFE",
    "C Lc Rc L R Ls Rs LFE",
    "",
    "L R Cs",
    "L R Ls Rs",
    "C L R Ls Rs Cs LFE",
    "C L R Ls Rs Lsr Rsr LFE",
];

/// The inner `None`: it names none, or one that is not known.
fn read_chan(mut chan: Fields<'_>, channels: u16) -> Result<Option<Vec<Place>>> {
    const BY_DESCRIPTIONS: u32 = 0;
    const BY_BITMAP: u32 = 1 << 16;

    chan.version_and_flags()?;
    let tag = chan.u32()?;
    let bitmap = chan.u32()?;
    let count = chan.u32()?;
    Ok(match tag {
        BY_DESCRIPTIONS => {
            let mut places = Some(Vec::new());
            for _ in 0..count.min(channels.into()) {
                let label = chan.u32()?;
                let _flags_and_coordinates = chan.take(16)?;
                let known = LABELS.iter().find(|(number, _)| *number == label);
                places = places.zip(known).map(|(mut places, (_, place))| {
                    places.push(*place);
                    places
                });
            }
            places
        }
        BY_BITMAP => {
            let labels = LABELS.iter().filter(|(number, _)| *number <= 11);
            let named = labels.filter(|(number, _)| bitmap >> (number - 1) & 1 == 1);
            Some(named.map(|(_, place)| *place).collect())
        }
        _ => {
            let known = TAGS.iter().find(|(number, _)| *number == tag >> 16);
            known.map(|(_, places)| places.split(' ').collect())
        }
    })
}

/// The inner `None`: it names none, or one that is not known.
fn read_chnl(mut chnl: Fields<'_>, channels: u16) -> Result<Option<Vec<Place>>> {
    const CHANNEL_STRUCTURED: u8 = 1;

    let (version, _) = chnl.version_and_flags()?;
    let mut structure = chnl.u8()?;
    let mut count = channels;
    if version > 0 {
        let _base_channel_count = chnl.u8()?;
        structure >>= 4;
    }
    if structure & CHANNEL_STRUCTURED == 0 {
        return Ok(None);
    }
    let defined = chnl.u8()?;
    if defined == 0 {
        if version > 0 {
            count = chnl.u8()?.into();
        }
        let mut places = Vec::new();
        for _ in 0..count {
            let position = chnl.u8()?;
            match POSITIONS.get(usize::from(position)) {
                Some(place) => places.push(*place),
                None => return Ok(None),
            }
        }
        return Ok(Some(places));
    }
    let mut omits = true;
    if version > 0 {
        let flags = chnl.u8()?;
        let channel_order_definition = flags >> 1 & 7;
        if channel_order_definition != 0 {
            return Ok(None);
        }
        omits = flags & 1 == 1;
    }
    let omitted = if omits { chnl.u64()? } else { 0 };
    let known = DEFINED.get(usize::from(defined) - 1);
    Ok(known.filter(|places| !places.is_empty()).map(|places| {
        let all = places.split(' ').enumerate();
        all.filter(|(channel, _)| omitted >> channel & 1 == 0)
            .map(|(_, place)| place)
            .collect()
    }))
}

/// The loudspeakers of these places; `None` where two would be one. The surround pair is at the back, unless there is
/// another behind it.
fn speakers(places: &[Place]) -> Option<Vec<Speaker>> {
    use Speaker::*;
    let has_rear = places.contains(&"Lsr");
    let mut speakers = Vec::with_capacity(places.len());
    for place in places {
        let speaker = match *place {
            "L" => FrontLeft,
            "R" => FrontRight,
            "C" => FrontCenter,
            "LFE" => LowFrequency,
            "Lc" => FrontLeftOfCenter,
            "Rc" => FrontRightOfCenter,
            "Cs" => BackCenter,
            "Ls" if has_rear => SideLeft,
            "Rs" if has_rear => SideRight,
            "Ls" | "Lsr" => BackLeft,
            "Rs" | "Rsr" => BackRight,
            "Lss" | "Lsd" => SideLeft,
            "Rss" | "Rsd" => SideRight,
            _ => return None,
        };
        if speakers.contains(&speaker) {
            return None;
        }
        speakers.push(speaker);
    }
    Some(speakers)
}

#[cfg(test)]
mod tests {
    use super::super::boxes::Boxes;
    use super::super::tests::build::{make, words};
    use super::*;
    use Speaker::*;

    fn layout(whole: &[u8], channels: u16) -> Option<Vec<Speaker>> {
        let mut boxes = Boxes::new(whole, 0);
        read(&boxes.next().unwrap().unwrap(), channels)
    }

    fn chan(tag: u32, bitmap: u32, labels: &[u32]) -> Vec<u8> {
        let count = labels.len() as u32;
        let described: Vec<u8> = labels
            .iter()
            .flat_map(|&label| words(&[label, 0, 0, 0, 0]))
            .collect();
        make(b"chan", &[&words(&[0, tag, bitmap, count]), &described])
    }

    #[test]
    fn tags_bitmaps_and_labels_of_chan() {
        let film = [
            FrontLeft,
            FrontCenter,
            FrontRight,
            BackLeft,
            BackRight,
            LowFrequency,
        ];
        assert_eq!(layout(&chan(123 << 16 | 6, 0, &[]), 6).unwrap(), film);
        assert_eq!(layout(&chan(0, 0, &[1, 3, 2, 5, 6, 4]), 6).unwrap(), film);
        assert_eq!(
            layout(&chan(1 << 16, 0b10_0000_1111, &[]), 5).unwrap(),
            [FrontLeft, FrontRight, FrontCenter, LowFrequency, SideLeft]
        );
        let rear = layout(&chan(128 << 16 | 8, 0, &[]), 8).unwrap();
        assert_eq!(rear[4..], [SideLeft, SideRight, BackLeft, BackRight]);
        let swapped = layout(&chan(0, 0, &[2, 1]), 2).unwrap();
        assert_eq!(swapped, [FrontRight, FrontLeft]);
    }

    #[test]
    fn positions_and_layouts_of_chnl() {
        let chnl = |version: u8, rest: &[u8]| make(b"chnl", &[&[version, 0, 0, 0], rest]);
        let swapped = Some(vec![FrontRight, FrontLeft]);
        assert_eq!(layout(&chnl(0, &[1, 0, 1, 0]), 2), swapped);
        assert_eq!(layout(&chnl(1, &[0x10, 2, 0, 2, 1, 0]), 2), swapped);
        let five = [
            FrontCenter,
            FrontLeft,
            FrontRight,
            BackLeft,
            BackRight,
            LowFrequency,
        ];
        let all = [&[1, 6][..], &[0; 8]].concat();
        assert_eq!(layout(&chnl(0, &all), 6).unwrap(), five);
        let without_lfe = [&[1, 6][..], &[0; 7], &[1 << 5]].concat();
        assert_eq!(layout(&chnl(0, &without_lfe), 5).unwrap(), five[..5]);
        assert_eq!(layout(&chnl(1, &[0x10, 6, 6, 0]), 6).unwrap(), five);
        let omitted = [&[0x10, 5, 6, 1][..], &[0; 7], &[1 << 5]].concat();
        assert_eq!(layout(&chnl(1, &omitted), 5).unwrap(), five[..5]);
        // Another order; objects without places; a place above; the end in the middle.
        assert_eq!(layout(&chnl(1, &[0x10, 6, 6, 0b10]), 6), None);
        assert_eq!(layout(&chnl(0, &[2, 2]), 2), None);
        assert_eq!(layout(&chnl(0, &[1, 0, 0, 17]), 2), None);
        assert_eq!(layout(&chnl(0, &[1, 0, 0]), 2), None);
    }

    #[test]
    fn what_does_not_fit_says_nothing() {
        for (chan, channels) in [
            (chan(121 << 16 | 6, 0, &[]), 5),
            (chan(147 << 16, 0, &[]), 2),
            (chan(0, 0, &[1, 1]), 2),
            (chan(0, 0, &[1, 400]), 2),
            (chan(0, 0, &[1]), 1),
            (make(b"chan", &[&words(&[0, 0])]), 2),
        ] {
            assert_eq!(layout(&chan, channels), None);
        }
    }
}
