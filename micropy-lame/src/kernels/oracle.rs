// SPDX-License-Identifier: LGPL-2.0-or-later
//! LAME as the oracle: its own functions run beside the kernels and are compared with them, in tests.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

static ON: AtomicBool = AtomicBool::new(false);
static TALLY: Mutex<BTreeMap<String, Tally>> = Mutex::new(BTreeMap::new());

/// How often a kernel was compared with LAME's own function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls of both.
    pub compared: u64,
    /// Of these, with another result.
    pub differing: u64,
}

/// Runs `encode` with comparisons on, for the whole process, and returns the tally of each stage.
pub fn compare(encode: impl FnOnce()) -> BTreeMap<String, Tally> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    let tally = || {
        TALLY
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    };
    tally().clear();
    ON.store(true, Ordering::SeqCst);
    encode();
    ON.store(false, Ordering::SeqCst);
    std::mem::take(&mut *tally())
}

#[unsafe(no_mangle)]
extern "C" fn micropy_oracle_is_on() -> c_int {
    ON.load(Ordering::Relaxed).into()
}

/// # Safety
/// `stage` is a string that ends in zero.
#[unsafe(no_mangle)]
unsafe extern "C" fn micropy_oracle_report(stage: *const c_char, equal: c_int) {
    // SAFETY: the caller's promise.
    let stage = unsafe { CStr::from_ptr(stage) }.to_string_lossy();
    let mut tally = TALLY
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let tally = match tally.get_mut(&*stage) {
        Some(tally) => tally,
        None => tally.entry(stage.into_owned()).or_default(),
    };
    tally.compared += 1;
    tally.differing += u64::from(equal == 0);
}
