// SPDX-License-Identifier: LGPL-2.0-or-later
//! The kernels against LAME's own functions, run beside them on everything that whole encodes ask of them.
#![cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with the other tests")]
mod support;

use micropy_lame::{Bitrate, Build, Encoder, SAMPLE_RATES, Settings, bitrates, builds, oracle};
use support::{Stereo, music, noise, speech};

fn encode(settings: &Settings, audio: &Stereo) {
    let mut encoder = Encoder::with_build(Build::Kernels, settings).unwrap();
    let mut mp3 = Vec::new();
    let right = (settings.channels == 2).then_some(&audio.right[..]);
    encoder.encode(&audio.left, right, &mut mp3).unwrap();
    encoder.flush(&mut mp3).unwrap();
}

/// Music, speech, noise, then clicks in silence, a full-scale square wave, one of a single bit, and a tone as loud as
/// the encoder takes it.
fn material() -> Stereo {
    let mut audio = music(1.0);
    for more in [speech(0.7), noise(0.3)] {
        audio.left.extend(more.left);
        audio.right.extend(more.right);
    }
    let extremes = (0..22_050_u32).map(|n| match n {
        0..7000 => f32::from(u8::from(n % 1500 == 700)),
        7000..14_000 => [1.0, -1.0][n as usize / 50 % 2],
        14_000..18_000 => [3e-5, -3e-5][n as usize / 9 % 2],
        18_000..20_000 => 16.0 * (n as f32 * 0.3).sin(),
        _ => 0.0,
    });
    audio.left.extend(extremes.clone());
    audio.right.extend(extremes.map(|sample| -0.5 * sample));
    audio
}

#[test]
fn kernels_return_what_lame_does() {
    if !builds().contains(&Build::Kernels) {
        println!("skipped: this processor or compiler has no build with kernels");
        return;
    }
    let audio = material();
    let tally = oracle::compare(|| {
        for sample_rate in SAMPLE_RATES {
            let kbps = bitrates(sample_rate).unwrap();
            let rates = [kbps[2], kbps[kbps.len() / 2], kbps[kbps.len() - 1]];
            let middle = kbps[kbps.len() / 2] + 3;
            let bitrates = rates
                .map(Bitrate::Cbr)
                .into_iter()
                .chain([Bitrate::Abr(middle)])
                .chain([0.0, 2.0, 5.0, 9.0].map(Bitrate::Vbr));
            for (n, bitrate) in bitrates.enumerate() {
                let quality = (n as u8 * 3 + (sample_rate / 50 % 10) as u8) % 10;
                for (channels, quality) in [(2, quality), (1, 9 - quality)] {
                    let settings = Settings {
                        sample_rate,
                        channels,
                        bitrate,
                        quality,
                    };
                    encode(&settings, &audio);
                }
            }
        }
    });
    println!("{tally:#?}");
    // How many of a million may differ. Where sums are rounded in another order, what lies on a border may fall to
    // either side: a quantized value between two, a band's noise at the threshold, tonality and the
    // addition of masking at one of their steps.
    for (stage, per_million) in [
        ("loudness", 0),
        ("masking of long blocks", 200),
        ("masking of short blocks", 200),
        ("scalefactor bands", 0),
        ("entropy", 0),
        ("filterbank", 0),
        ("allowed noise", 200),
        ("quantization", 200),
        ("quantization of bands", 200),
        ("bit count", 0),
        ("region division", 0),
        ("noise", 200),
        ("scalefactor length", 0),
        ("lowest gain", 0),
        ("scalefactor search", 200),
        ("huffman code", 0),
    ] {
        let tally = tally[stage];
        assert!(tally.compared > 10_000, "{stage}: {tally:?}");
        let differing = tally.differing as f64 / tally.compared as f64 * 1e6;
        assert!(
            differing <= f64::from(per_million),
            "{stage}: {differing} of a million differ"
        );
    }
}
