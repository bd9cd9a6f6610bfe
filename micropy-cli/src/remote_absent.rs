//! Inputs that are URLs, in a build that reads none.

use std::io;

use micropy_core::{CancelToken, Source};

/// Whether an input was meant to be a URL: it begins with a scheme and `://`. One letter is a drive of Windows.
pub fn is_url(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else {
        return false;
    };
    scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// The scheme alone: what is secret in the rest is not known.
pub fn without_secrets(url: &str) -> String {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    format!("{scheme}://…")
}

/// None.
pub fn file_name(_url: &str) -> Option<String> {
    None
}

/// Says that this build reads none.
pub fn open(_url: &str, _cancel: &CancelToken) -> io::Result<Box<dyn Source>> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this program was built without the feature `http`, and reads no URLs",
    ))
}
