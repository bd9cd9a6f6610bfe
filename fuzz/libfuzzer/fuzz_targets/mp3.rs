//! libFuzzer drives [`Target::Mp3`].
#![no_main]

use micropy_fuzz::Target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(why) = Target::Mp3.run(data) {
        panic!("{why}");
    }
});
