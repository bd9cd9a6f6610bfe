//! Headers of a resumable upload that no client would send: a refusal, or what can be kept and read again.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::{Checksum, Metadata, UPLOAD_CHECKSUM, UPLOAD_LENGTH, UPLOAD_METADATA, number};
use crate::job::options::Conversion;

fn headers(name: HeaderName, value: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(value).ok()?;
    Some(HeaderMap::from_iter([(name, value)]))
}

/// Whether it is an `Upload-Metadata`.
///
/// # Panics
/// Where it makes options that cannot be kept.
pub fn metadata(value: &[u8]) -> bool {
    let conversion = headers(UPLOAD_METADATA, value)
        .and_then(|headers| Metadata::read(&headers).ok())
        .and_then(|metadata| metadata.conversion(Conversion::default()).ok());
    let Some(conversion) = conversion else {
        return false;
    };
    let again = Conversion::from_json(&conversion.to_json()).expect("what is kept can be read");
    assert!(again.options().is_ok(), "{}", conversion.to_json());
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
/// Where it is taken for another number.
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
    fn a_header_is_refused_or_can_be_kept() {
        let taken = |header: fn(&[u8]) -> bool| {
            let values = mutations("tests/seeds/tus", 7000);
            values.filter(|value| header(value)).count()
        };
        let taken = [metadata, checksum, length].map(taken);
        assert!(taken.iter().all(|&taken| taken > 50), "{taken:?} of 7000");
    }
}
