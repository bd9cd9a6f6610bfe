//! Headers of a resumable upload that no client would send: a refusal, or what can be kept and read again.

use axum::http::{HeaderMap, HeaderValue};

use super::{Checksum, Metadata, UPLOAD_CHECKSUM, UPLOAD_LENGTH, UPLOAD_METADATA, number};
use crate::hostile::mutations;
use crate::services::options::Conversion;

fn headers(name: axum::http::HeaderName, value: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(value).ok()?;
    Some(HeaderMap::from_iter([(name, value)]))
}

#[test]
fn metadata_is_refused_or_makes_options_that_can_be_kept() {
    // {"bitrate": 128}, {"mono": true}, {"preset": "original"}, {"start": 1e3}
    let seeds: [&[u8]; 4] = [
        b"filename dGFsay5tcDQ=,filetype dmlkZW8vbXA0,bitrate MTI4",
        b"filename,mono dHJ1ZQ==, vbr Mi41",
        b"preset b3JpZ2luYWw=,filename w6kubXA0",
        b"start MWUz,duration MC41,quality OQ==",
    ];
    let mut kept = 0;
    for value in mutations(&seeds, 4000) {
        let Some(headers) = headers(UPLOAD_METADATA, &value) else {
            continue;
        };
        let Ok(metadata) = Metadata::read(&headers) else {
            continue;
        };
        if let Ok(conversion) = metadata.conversion(Conversion::default()) {
            kept += 1;
            let again = Conversion::from_json(&conversion.to_json()).unwrap();
            assert!(again.options().is_ok(), "{}", conversion.to_json());
        }
    }
    assert!(kept > 100, "{kept}");
}

#[test]
fn checksums_and_lengths_are_refused_or_numbers() {
    let seeds: [&[u8]; 3] = [
        b"sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        b"sha256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        b"18446744073709551615",
    ];
    let (mut sums, mut lengths) = (0, 0);
    for value in mutations(&seeds, 3000) {
        let Some(given) = headers(UPLOAD_CHECKSUM, &value) else {
            continue;
        };
        sums += usize::from(matches!(Checksum::read(&given), Ok(Some(_))));
        if let Some(given) = headers(UPLOAD_LENGTH, &value)
            && let Ok(length) = number(&given, &UPLOAD_LENGTH)
        {
            lengths += 1;
            let text = String::from_utf8_lossy(&value);
            assert_eq!(
                text.trim_start_matches(['+', '0']).parse().unwrap_or(0),
                length
            );
        }
    }
    assert!(sums > 100 && lengths > 50, "{sums} sums, {lengths} lengths");
}
