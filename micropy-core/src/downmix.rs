//! Fewer channels: stereo and mono out of any layout, by ITU-R BS.775.

use crate::pcm::{Layout, Pcm, Speaker};

/// −3 dB.
const HALF_POWER: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// A matrix from the planes of one layout to those of mono or stereo.
#[derive(Clone, Debug, PartialEq)]
pub struct Downmix {
    /// For each output plane, the gain of each input plane.
    rows: Vec<Vec<f32>>,
}

impl Downmix {
    /// From `layout` to two channels: the centre at −3 dB to both, the surrounds at −3 dB to their side, no LFE
    /// (ITU-R BS.775-3, annex 4). A single surround is two that are each 3 dB lower (ETSI TS 102 366, 7.8.2). `scaled`:
    /// all gains are lowered so that no input can clip, by 7.7 dB for 5.1. Mono goes to both sides unchanged.
    pub fn stereo(layout: Layout, scaled: bool) -> Downmix {
        let rows = [left_gain, right_gain].map(|gain| row(layout, gain));
        Downmix::scaled(rows.into(), scaled)
    }

    /// From `layout` to one channel: half the sum of the stereo downmix.
    pub fn mono(layout: Layout, scaled: bool) -> Downmix {
        let half_sum = |speaker| (left_gain(speaker) + right_gain(speaker)) / 2.0;
        Downmix::scaled(vec![row(layout, half_sum)], scaled)
    }

    fn scaled(mut rows: Vec<Vec<f32>>, scaled: bool) -> Downmix {
        let loudest = rows.iter().map(|row| row.iter().sum()).fold(1.0, f32::max);
        if scaled {
            rows.iter_mut().flatten().for_each(|gain| *gain /= loudest);
        }
        Downmix { rows }
    }

    /// Whether nothing would change.
    pub fn is_identity(&self) -> bool {
        let unit = |row: usize, column: usize| if row == column { 1.0 } else { 0.0 };
        self.rows.iter().enumerate().all(|(r, row)| {
            row.len() == self.rows.len() && row.iter().enumerate().all(|(c, &g)| g == unit(r, c))
        })
    }

    /// Output channels.
    pub fn channels(&self) -> usize {
        self.rows.len()
    }

    /// Appends the mix of all of `from` to `to`.
    pub fn apply(&self, from: &Pcm, to: &mut Pcm) {
        for (row, to) in self.rows.iter().zip(to.planes_mut()) {
            let start = to.len();
            to.resize(start + from.len(), 0.0);
            for (&gain, from) in row.iter().zip(from.planes()) {
                if gain != 0.0 {
                    let mixed = to[start..].iter_mut().zip(from);
                    mixed.for_each(|(to, from)| *to += gain * from);
                }
            }
        }
    }
}

fn row(layout: Layout, gain: impl Fn(Speaker) -> f32) -> Vec<f32> {
    if layout == Layout::MONO {
        return vec![1.0];
    }
    layout.speakers().map(gain).collect()
}

fn left_gain(speaker: Speaker) -> f32 {
    use Speaker::*;
    match speaker {
        FrontLeft | FrontLeftOfCenter => 1.0,
        FrontCenter | BackLeft | SideLeft => HALF_POWER,
        BackCenter => 0.5,
        FrontRight | FrontRightOfCenter | BackRight | SideRight | LowFrequency => 0.0,
    }
}

fn right_gain(speaker: Speaker) -> f32 {
    use Speaker::*;
    match speaker {
        FrontRight | FrontRightOfCenter => 1.0,
        FrontCenter | BackRight | SideRight => HALF_POWER,
        BackCenter => 0.5,
        FrontLeft | FrontLeftOfCenter | BackLeft | SideLeft | LowFrequency => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `planes` of one PCM sample each.
    fn instant(planes: &[f32]) -> Pcm {
        let mut pcm = Pcm::new(planes.len());
        let channels = pcm.planes_mut().iter_mut().zip(planes);
        channels.for_each(|(plane, &sample)| plane.push(sample));
        pcm
    }

    fn mix(downmix: &Downmix, planes: &[f32]) -> Vec<f32> {
        let mut mixed = Pcm::new(downmix.channels());
        downmix.apply(&instant(planes), &mut mixed);
        mixed.planes().iter().map(|plane| plane[0]).collect()
    }

    #[test]
    fn five_one_by_the_table_of_bs_775() {
        let downmix = Downmix::stereo(Layout::SURROUND_5_1, false);
        let g = HALF_POWER;
        // FL FR FC LFE BL BR
        assert_eq!(mix(&downmix, &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]), [1.0, 0.0]);
        assert_eq!(mix(&downmix, &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]), [g, g]);
        assert_eq!(mix(&downmix, &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(mix(&downmix, &[0.0, 0.0, 0.0, 0.0, 1.0, 0.0]), [g, 0.0]);
        assert_eq!(mix(&downmix, &[0.0, 0.0, 0.0, 0.0, 0.0, 1.0]), [0.0, g]);
    }

    #[test]
    fn a_single_surround_is_as_loud_as_a_pair() {
        let downmix = Downmix::stereo(
            Layout::of(&[Speaker::FrontLeft, Speaker::FrontRight, Speaker::BackCenter]),
            false,
        );
        assert_eq!(mix(&downmix, &[0.0, 0.0, 1.0]), [0.5, 0.5]);
    }

    #[test]
    fn scaled_full_scale_everywhere_does_not_clip() {
        for channels in 1..=8 {
            let layout = Layout::usual(channels).unwrap();
            let loud = vec![1.0; layout.channels()];
            for downmix in [Downmix::stereo(layout, true), Downmix::mono(layout, true)] {
                for sample in mix(&downmix, &loud) {
                    assert!(sample <= 1.000_001, "{channels} channels: {sample}");
                    assert!(
                        sample > 0.99,
                        "{channels} channels: needlessly quiet, {sample}"
                    );
                }
            }
        }
    }

    #[test]
    fn mono_and_stereo_are_unchanged() {
        assert!(Downmix::stereo(Layout::STEREO, true).is_identity());
        assert!(Downmix::mono(Layout::MONO, true).is_identity());
        assert!(!Downmix::stereo(Layout::MONO, true).is_identity());
        assert!(!Downmix::stereo(Layout::SURROUND_5_1, false).is_identity());
        assert_eq!(
            mix(&Downmix::stereo(Layout::MONO, true), &[0.7]),
            [0.7, 0.7]
        );
        assert_eq!(
            mix(&Downmix::mono(Layout::STEREO, true), &[0.5, 0.25]),
            [0.375]
        );
    }
}
