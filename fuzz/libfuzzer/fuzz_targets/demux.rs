//! libFuzzer drives [`Target::Demux`].
#![no_main]

use micropy_fuzz::Target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(why) = Target::Demux.run(data) {
        panic!("{why}");
    }
});
