//! Outlines of videos, whose sound the gateway takes out.
#![no_main]

use micropy_services::hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hostile::outline(data);
});
