//! Packets of other channels than those of the track: a stream may change in the middle, and the MP3 keeps what it
//! began with.

use crate::pcm::{Layout, Pcm, Speaker};

/// Appends `from`, which is in the channels of `layout`, in those of `wanted`: each channel at its own loudspeaker, or
/// at those [next to it](feeds). One channel alone goes to both sides as it is.
pub fn place(from: &Pcm, layout: Layout, to: &mut Pcm, wanted: Layout) {
    let start = to.len();
    to.resize(start + from.len());
    if (layout, wanted) == (Layout::MONO, Layout::STEREO) {
        for plane in to.planes_mut() {
            plane[start..].copy_from_slice(from.plane(0));
        }
        return;
    }
    for (speaker, plane) in layout.speakers().zip(from.planes()) {
        mix(plane, speaker, wanted, to, start);
    }
}

/// Adds the PCM of a loudspeaker to the planes from `start` on.
pub fn mix(from: &[f32], speaker: Speaker, layout: Layout, pcm: &mut Pcm, start: usize) {
    for &(speaker, gain) in feeds(speaker, layout) {
        let plane = layout.plane_of(speaker);
        if let Some(plane) = plane.and_then(|plane| pcm.planes_mut().get_mut(plane)) {
            let to = plane[start..].iter_mut();
            to.zip(from).for_each(|(to, from)| *to += gain * from);
        }
    }
}

/// The loudspeakers of `layout` that one's sound comes from: itself, or, where the track's layout lacks it since the
/// channels changed on the way, the next that are there (ITU-R BS.775).
fn feeds(speaker: Speaker, layout: Layout) -> &'static [(Speaker, f32)] {
    use Speaker::*;
    const H: f32 = std::f32::consts::FRAC_1_SQRT_2;
    let choices: &[&[(Speaker, f32)]] = match speaker {
        FrontLeft => &[&[(FrontLeft, 1.0)], &[(FrontCenter, 0.5)]],
        FrontRight => &[&[(FrontRight, 1.0)], &[(FrontCenter, 0.5)]],
        FrontCenter => &[&[(FrontCenter, 1.0)], &[(FrontLeft, H), (FrontRight, H)]],
        LowFrequency => &[&[(LowFrequency, 1.0)]],
        FrontLeftOfCenter => &[
            &[(FrontLeftOfCenter, 1.0)],
            &[(FrontLeft, 1.0)],
            &[(FrontCenter, 0.5)],
        ],
        FrontRightOfCenter => &[
            &[(FrontRightOfCenter, 1.0)],
            &[(FrontRight, 1.0)],
            &[(FrontCenter, 0.5)],
        ],
        BackCenter => &[
            &[(BackCenter, 1.0)],
            &[(BackLeft, H), (BackRight, H)],
            &[(SideLeft, H), (SideRight, H)],
            &[(FrontLeft, H), (FrontRight, H)],
            &[(FrontCenter, H)],
        ],
        BackLeft => &[
            &[(BackLeft, 1.0)],
            &[(SideLeft, 1.0)],
            &[(BackCenter, H)],
            &[(FrontLeft, H)],
            &[(FrontCenter, 0.5 * H)],
        ],
        BackRight => &[
            &[(BackRight, 1.0)],
            &[(SideRight, 1.0)],
            &[(BackCenter, H)],
            &[(FrontRight, H)],
            &[(FrontCenter, 0.5 * H)],
        ],
        SideLeft => &[
            &[(SideLeft, 1.0)],
            &[(BackLeft, 1.0)],
            &[(BackCenter, H)],
            &[(FrontLeft, H)],
            &[(FrontCenter, 0.5 * H)],
        ],
        SideRight => &[
            &[(SideRight, 1.0)],
            &[(BackRight, 1.0)],
            &[(BackCenter, H)],
            &[(FrontRight, H)],
            &[(FrontCenter, 0.5 * H)],
        ],
    };
    let has = |feeds: &&&[(Speaker, f32)]| feeds.iter().all(|&(to, _)| layout.contains(to));
    choices.iter().find(has).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_another_layout_find_their_places() {
        let stretch = |layout: Layout| {
            let mut pcm = Pcm::new(layout.channels());
            let planes = pcm.planes_mut().iter_mut();
            (1..)
                .zip(planes)
                .for_each(|(n, plane)| plane.push(n as f32));
            pcm
        };
        let placed = |from: Layout, wanted: Layout| {
            let mut to = Pcm::new(wanted.channels());
            place(&stretch(from), from, &mut to, wanted);
            to.planes().concat()
        };
        let surround = Layout::SURROUND_5_1;
        assert_eq!(placed(Layout::MONO, Layout::STEREO), [1.0, 1.0]);
        assert_eq!(placed(Layout::STEREO, Layout::MONO), [1.5]);
        let in_front = [1.0, 2.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(placed(Layout::STEREO, surround), in_front);
        let in_the_middle = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0];
        assert_eq!(placed(Layout::MONO, surround), in_the_middle);
        let half = std::f32::consts::FRAC_1_SQRT_2;
        let both = [1.0 + (3.0 + 5.0) * half, 2.0 + (3.0 + 6.0) * half];
        assert_eq!(placed(surround, Layout::STEREO), both);
        // Its second pair at the sides has no place of its own.
        assert_eq!(
            placed(Layout::SURROUND_7_1, surround),
            [1.0, 2.0, 3.0, 4.0, 5.0 + 7.0, 6.0 + 8.0]
        );
    }
}
