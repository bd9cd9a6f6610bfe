//! Forms that no browser would send: read to their end or rejected, and every file has a valid name.

use std::convert::Infallible;
use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use axum::extract::Request;
use futures_util::{StreamExt as _, stream};

use super::{CONTENT_TYPE, Form, MAX_FILE_NAME};
use crate::job::options::ConversionOptions;

const VALID: &[u8] = b"multipart/form-data; boundary=XboundaryX";

fn begin(content_type: &[u8], body: Body) -> Option<Form> {
    let request = Request::builder().header(CONTENT_TYPE, content_type);
    let request = request.body(body).ok()?;
    Form::read(request, ConversionOptions::default(), false).ok()
}

/// Whether it is the content type of a form.
pub fn content_type(value: &[u8]) -> bool {
    begin(value, Body::empty()).is_some()
}

/// Whether a form with the boundary `XboundaryX` has a file. Its length determines how it is cut into pieces.
///
/// # Panics
/// When the name of a file is not one, or more is read than there is.
pub fn form(body: &[u8]) -> bool {
    let pieces: Vec<_> = body
        .chunks(1 + body.len() % 37)
        .map(|piece| Ok::<_, Infallible>(piece.to_vec()))
        .collect();
    let pieces = Body::from_stream(stream::iter(pieces));
    let mut form = begin(VALID, pieces).expect("the boundary is valid");
    let reading = async {
        let (mut files, mut read) = (0, 0);
        while let Ok(Some(mut part)) = form.next().await {
            while let Some(Ok(piece)) = part.bytes.next().await {
                read += piece.len();
            }
            if let Some(name) = part.file_name {
                files += 1;
                assert!(!name.is_empty() && name.len() <= MAX_FILE_NAME, "{name:?}");
                assert!(
                    !name.contains(['/', '\\']) && !name.contains(char::is_control),
                    "{name:?}"
                );
            }
        }
        (files, read)
    };
    // All of it is there: where it is pending, it only yields.
    let (mut reading, mut context) = (pin!(reading), Context::from_waker(Waker::noop()));
    let (files, read) = loop {
        if let Poll::Ready(read) = reading.as_mut().poll(&mut context) {
            break read;
        }
    };
    let len = body.len();
    assert!(read <= len, "{read} bytes of files in a form of {len}");
    files > 0
}

#[cfg(test)]
mod tests {
    use super::{content_type, form};
    use crate::hostile::mutations;

    #[test]
    fn a_form_ends_and_its_files_have_names() {
        let accepted = mutations("tests/seeds/form", 5000)
            .filter(|body| form(body))
            .count();
        assert!(accepted > 300, "{accepted} of 5000");
    }

    #[test]
    fn a_boundary_is_rejected_or_valid() {
        let accepted = mutations("tests/seeds/form", 5000).filter(|value| content_type(value));
        let accepted = accepted.count();
        assert!(accepted > 50 && accepted < 2000, "{accepted} of 5000");
    }
}
