//! Files of settings.
#![no_main]

use micropy_server::hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hostile::settings(data);
});
