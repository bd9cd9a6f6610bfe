//! What a browser uploads: the form, and the header that announces it.
#![no_main]

use micropy_services::hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hostile::form(data);
    hostile::content_type(data);
});
