// SPDX-License-Identifier: LGPL-2.0-or-later

use super::{FILTERED, GRANULE, STRETCH, high_pass, peak, twin};
use crate::kernels::materials::{DENORMAL, all, distance, processor_can};

#[test]
fn the_filter_equals_its_definition() {
    if !processor_can() {
        return;
    }
    for (name, pcm) in all() {
        let (granules, _) = pcm.as_chunks::<{ FILTERED }>();
        for pcm in granules {
            let mut out = [f32::NAN; GRANULE];
            // SAFETY: the processor has been asked.
            unsafe { high_pass(pcm, &mut out) };
            let expected = pcm.windows(22).take(GRANULE).map(twin::high_pass);
            let expected = expected.collect::<Vec<_>>();
            // A low tone is filtered out: what is left of it is known no better than the tone.
            let loudness = pcm
                .iter()
                .map(|&x| f64::from(x).powi(2))
                .sum::<f64>()
                .sqrt();
            let left = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
            let limit = 1e-6 * (loudness / left.max(DENORMAL)).max(1.0);
            let distance = distance(&out, &expected, DENORMAL);
            assert!(distance < limit, "{name}: {distance:e}");
        }
    }
}

#[test]
fn the_peak_is_the_greatest_value_or_one() {
    if !processor_can() {
        return;
    }
    for (name, pcm) in all() {
        for stretch in pcm.as_chunks::<STRETCH>().0 {
            let expected = stretch.iter().fold(1.0_f32, |peak, x| peak.max(x.abs()));
            // SAFETY: the processor has been asked.
            assert_eq!(unsafe { peak(stretch) }, expected, "{name}");
        }
    }
    for at in 0..STRETCH {
        let mut stretch = [0.5; STRETCH];
        stretch[at] = -3.0;
        // SAFETY: the processor has been asked.
        assert_eq!(unsafe { peak(&stretch) }, 3.0);
    }
}
