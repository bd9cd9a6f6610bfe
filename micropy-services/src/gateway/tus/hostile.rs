//! Headers of resumable uploads that no client would send: rejected, or stored and read again.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::{Checksum, Metadata, UPLOAD_CHECKSUM, UPLOAD_LENGTH, UPLOAD_METADATA, number};
use crate::job::options::ConversionOptions;

fn headers(name: HeaderName, value: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(value).ok()?;
    Some(HeaderMap::from_iter([(name, value)]))
}

/// Whether it is an `Upload-Metadata`.
///
/// # Panics
/// When it makes options that cannot be stored.
pub fn metadata(value: &[u8]) -> bool {
    let options = headers(UPLOAD_METADATA, value)
        .and_then(|headers| Metadata::read(&headers).ok())
        .and_then(|metadata| metadata.options(ConversionOptions::default()).ok());
    let Some(options) = options else {
        return false;
    };
    let again =
        ConversionOptions::from_json(&options.to_json()).expect("what is stored can be read");
    assert!(again.engine_options().is_ok(), "{}", options.to_json());
    true
}

/// Whether it is an `Upload-Checksum`.
pub fn checksum(value: &[u8]) -> bool {
    headers(UPLOAD_CHECKSUM, value)
        .is_some_and(|given| matches!(Checksum::read(&given), Ok(Some(_))))
}

/// Whether it is an `Upload-Length`.
///
/// # Panics
/// When it is read as another number.
pub fn length(value: &[u8]) -> bool {
    let Some(length) =
        headers(UPLOAD_LENGTH, value).and_then(|given| number(&given, &UPLOAD_LENGTH).ok())
    else {
        return false;
    };
    let text = String::from_utf8_lossy(value);
    let digits = text.trim_start_matches(['+', '0']);
    assert_eq!(digits.parse().unwrap_or(0), length);
    true
}

#[cfg(test)]
mod tests {
    use super::{checksum, length, metadata};
    use crate::hostile::mutations;

    #[test]
    fn a_header_is_rejected_or_can_be_stored() {
        let accepted = |header: fn(&[u8]) -> bool| {
            let values = mutations("tests/seeds/tus", 7000);
            values.filter(|value| header(value)).count()
        };
        let accepted = [metadata, checksum, length].map(accepted);
        assert!(
            accepted.iter().all(|&count| count > 50),
            "{accepted:?} of 7000"
        );
    }
}
