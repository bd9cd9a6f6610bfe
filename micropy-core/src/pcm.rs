//! Decoded audio on its way from the decoder to the encoder.

/// A loudspeaker position, numbered as the bits of a WAVE channel mask (`dwChannelMask`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Speaker {
    FrontLeft,
    FrontRight,
    FrontCenter,
    LowFrequency,
    BackLeft,
    BackRight,
    FrontLeftOfCenter,
    FrontRightOfCenter,
    BackCenter,
    SideLeft,
    SideRight,
}

impl Speaker {
    pub(crate) const ALL: [Speaker; 11] = [
        Speaker::FrontLeft,
        Speaker::FrontRight,
        Speaker::FrontCenter,
        Speaker::LowFrequency,
        Speaker::BackLeft,
        Speaker::BackRight,
        Speaker::FrontLeftOfCenter,
        Speaker::FrontRightOfCenter,
        Speaker::BackCenter,
        Speaker::SideLeft,
        Speaker::SideRight,
    ];
}

/// Which loudspeaker each plane of a [`Pcm`] is for. The planes are in WAVE order: FL FR FC LFE BL BR FLC FRC BC
/// SL SR, without those that are absent. Mono is the centre alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout(u16);

impl Layout {
    /// One channel.
    pub const MONO: Layout = Layout::of(&[Speaker::FrontCenter]);
    /// Left and right.
    pub const STEREO: Layout = Layout::of(&[Speaker::FrontLeft, Speaker::FrontRight]);
    /// FL FR FC LFE BL BR.
    pub const SURROUND_5_1: Layout = Layout(0x3f);
    /// FL FR FC LFE BL BR SL SR.
    pub const SURROUND_7_1: Layout = Layout(0x63f);

    /// The layout of these loudspeakers, in any order.
    pub const fn of(speakers: &[Speaker]) -> Layout {
        let mut bits = 0;
        let mut i = 0;
        while i < speakers.len() {
            bits |= 1 << speakers[i] as u16;
            i += 1;
        }
        Layout(bits)
    }

    /// The layout of a WAVE channel mask; `None` where it is empty or names other positions.
    pub fn from_wave_mask(mask: u64) -> Option<Layout> {
        (mask > 0 && mask < 1 << Speaker::ALL.len()).then_some(Layout(mask as u16))
    }

    /// The usual layout of this many channels; `None` for 0 and above 8.
    pub fn usual(channels: u16) -> Option<Layout> {
        Some(match channels {
            1 => Layout::MONO,
            2 => Layout::STEREO,
            3 => Layout(0x7),
            4 => Layout(0x33),
            5 => Layout(0x37),
            6 => Layout::SURROUND_5_1,
            7 => Layout(0x70f),
            8 => Layout::SURROUND_7_1,
            _ => return None,
        })
    }

    /// How many channels.
    pub fn channels(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The loudspeakers in the order of the planes.
    pub fn speakers(self) -> impl Iterator<Item = Speaker> {
        Speaker::ALL.into_iter().filter(move |s| self.contains(*s))
    }

    /// Whether there is a plane for `speaker`.
    pub fn contains(self, speaker: Speaker) -> bool {
        self.0 & 1 << speaker as u16 != 0
    }

    /// The plane of `speaker`.
    pub fn plane_of(self, speaker: Speaker) -> Option<usize> {
        let before = (1 << speaker as u16) - 1;
        self.contains(speaker)
            .then(|| (self.0 & before).count_ones() as usize)
    }
}

/// A stretch of PCM: one plane of `f32` per channel, all of one length, full scale ±1.0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pcm {
    planes: Vec<Vec<f32>>,
}

impl Pcm {
    /// An empty stretch of `channels` channels.
    pub fn new(channels: usize) -> Self {
        Pcm {
            planes: vec![Vec::new(); channels],
        }
    }

    /// How many channels.
    pub fn channels(&self) -> usize {
        self.planes.len()
    }

    /// PCM samples per channel.
    pub fn len(&self) -> usize {
        self.planes.first().map_or(0, Vec::len)
    }

    /// No samples at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples of one channel.
    pub fn plane(&self, channel: usize) -> &[f32] {
        &self.planes[channel]
    }

    /// All channels.
    pub fn planes(&self) -> &[Vec<f32>] {
        &self.planes
    }

    /// All channels, to change them; every plane must be left with the same length.
    pub fn planes_mut(&mut self) -> &mut [Vec<f32>] {
        &mut self.planes
    }

    /// Removes the samples and keeps the memory.
    pub fn clear(&mut self) {
        self.planes.iter_mut().for_each(Vec::clear);
    }

    /// Makes this `channels` channels, empty.
    pub fn reset(&mut self, channels: usize) {
        self.planes.resize_with(channels, Vec::new);
        self.clear();
    }

    /// Makes every channel `len` samples long: cut, or continued with silence.
    pub fn resize(&mut self, len: usize) {
        self.planes.iter_mut().for_each(|p| p.resize(len, 0.0));
    }

    /// Appends `len` samples from `start` of `other`, which has as many channels.
    pub fn extend_from(&mut self, other: &Pcm, start: usize, len: usize) {
        debug_assert_eq!(self.channels(), other.channels());
        for (to, from) in self.planes.iter_mut().zip(&other.planes) {
            to.extend_from_slice(&from[start..start + len]);
        }
    }
}
