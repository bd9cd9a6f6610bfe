//! What a broker hands over.
#![no_main]

use micropy_services::hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hostile::message(data);
});
