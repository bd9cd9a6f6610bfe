//! The headers of resumable uploads.
#![no_main]

use micropy_services::hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hostile::metadata(data);
    hostile::checksum(data);
    hostile::length(data);
});
