//! What `scripts/with-servers` tells of the real servers.

use std::fs::OpenOptions;
use std::io::Write;

/// The value of a variable; `None`, noted for the summary of all tests, where there is none.
pub fn variable(name: &str, test: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        let line = format!("skipped {test}: no {name}\n");
        eprint!("{line}");
        if let Some(results) = std::env::var_os("MICROPY_RESULTS") {
            let file = OpenOptions::new().append(true).create(true).open(results);
            file.and_then(|mut file| file.write_all(line.as_bytes()))
                .unwrap();
        }
    }
    value
}
