// SPDX-License-Identifier: LGPL-2.0-or-later
//! For `glue/psychoacoustics.c`.

use std::ffi::c_int;
use std::slice;

use crate::kernels::block::Block;
use crate::kernels::fft::LONG;
use crate::kernels::masking::{MAX_BANDS, Model, Output, Planes};
use crate::kernels::psychoacoustics::Psychoacoustics;

/// `struct micropy_model` of the glue: arrays of LAME's `PsyConst_CB2SB_t`.
#[repr(C)]
struct CModel {
    bands: c_int,
    lines: *const [c_int; MAX_BANDS],
    maskers: *const [[c_int; 2]; MAX_BANDS],
    spreading: *const f32,
    limit: *const [f32; MAX_BANDS],
    lower: *const [f32; MAX_BANDS],
}

impl CModel {
    /// `None` when LAME's numbers are not what they may be.
    ///
    /// # Safety
    /// All arrays are valid, and `spreading` has a value for each masker of each of the `bands`.
    unsafe fn model(&self) -> Option<Model<'_>> {
        let bands = usize::try_from(self.bands).ok()?;
        // SAFETY: the caller's promise.
        let (lines, maskers, limit, lower) = unsafe {
            (
                (*self.lines).get(..bands)?,
                (*self.maskers).get(..bands)?,
                (*self.limit).get(..bands)?,
                (*self.lower).get(..bands)?,
            )
        };
        let mut spreading = 0;
        for [first, last] in maskers {
            spreading += usize::try_from(last - first + 1).ok()?;
        }
        Some(Model {
            lines,
            maskers,
            // SAFETY: the caller's promise.
            spreading: unsafe { slice::from_raw_parts(self.spreading, spreading) },
            limit,
            lower,
        })
    }
}

/// `values` of `struct micropy_psychoacoustics` in `glue/state.h`.
const _: () = assert!(size_of::<Psychoacoustics>() == 22_866 * size_of::<f32>());

/// Prepares `state` for the bands of a sample rate; 0 when they are not sound or `state`, of `size` bytes, is not of
/// the right size.
///
/// # Safety
/// As the module says; `state` is the caller's alone.
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_lay_out(
    state: *mut Psychoacoustics,
    size: usize,
    long: *const CModel,
    short: *const CModel,
) -> c_int {
    if size != size_of::<Psychoacoustics>() {
        return 0;
    }
    // SAFETY: the caller's promise.
    let (state, long, short) = unsafe { (&mut *state, (*long).model(), (*short).model()) };
    let sound = long
        .zip(short)
        .is_some_and(|(long, short)| state.lay_out(&long, &short));
    sound.into()
}

/// Masking of a long block: `right` may be null, `energy` and `weighted` are for four and two channels.
///
/// # Safety
/// As the module says; `state` and what is written to are the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_long_block(
    state: *mut Psychoacoustics,
    left: *const [f32; LONG],
    right: *const [f32; LONG],
    previous: *const [c_int; 2],
    lowest: f32,
    weights: *const [f32; LONG / 2],
    energies: *mut Planes,
    thresholds: *mut Planes,
    energy: *mut [f32; 4],
    weighted: *mut [f32; 2],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let block = (*state).long(
            (&*left, right.as_ref()),
            (*previous).map(Block::of),
            lowest,
            &*weights,
            Output {
                energy: &mut *energies,
                threshold: &mut *thresholds,
            },
        );
        *energy = block.energy;
        *weighted = block.weighted;
    }
}

/// Spectra of the three short blocks; `right` may be null.
///
/// # Safety
/// As the module says; `state` is the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_short_spectra(
    state: *mut Psychoacoustics,
    left: *const [f32; LONG],
    right: *const [f32; LONG],
) {
    // SAFETY: the caller's promise.
    unsafe { (*state).transform_short(&*left, right.as_ref()) }
}

/// Masking of one of the short blocks last transformed.
///
/// # Safety
/// As the module says; `block` is below 3, `state` and what is written to are the caller's alone.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,bmi2"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_kernel_short_block(
    state: *mut Psychoacoustics,
    block: c_int,
    lowest: f32,
    energies: *mut Planes,
    thresholds: *mut Planes,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let output = Output {
            energy: &mut *energies,
            threshold: &mut *thresholds,
        };
        (*state).short(block as usize, lowest, output);
    }
}
