//! Inputs that are URLs.

use std::io;

use micropy_core::{CancelToken, Source};
use micropy_remote::Options;

pub use micropy_remote::{file_name, is_url, without_secrets};

/// Opens a URL, until `cancel` is cancelled.
pub fn open(url: &str, cancel: &CancelToken) -> io::Result<Box<dyn Source>> {
    let options = Options::new().cancel(cancel.clone());
    Ok(Box::new(micropy_remote::open(url, options)?))
}
