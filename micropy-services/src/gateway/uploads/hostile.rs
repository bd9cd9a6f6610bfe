//! Forms that no browser would send: read to their end or refused, and what they call a file names one.

use std::convert::Infallible;
use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use axum::extract::Request;
use futures_util::{StreamExt as _, stream};

use super::{CONTENT_TYPE, Form, LONGEST_NAME};
use crate::job::options::Conversion;

const SOUND: &[u8] = b"multipart/form-data; boundary=XboundaryX";

fn begin(content_type: &[u8], body: Body) -> Option<Form> {
    let request = Request::builder().header(CONTENT_TYPE, content_type);
    let request = request.body(body).ok()?;
    Form::read(request, Conversion::default(), false).ok()
}

/// Whether it announces a form.
pub fn content_type(value: &[u8]) -> bool {
    begin(value, Body::empty()).is_some()
}

/// Whether a form, whose boundary is `XboundaryX`, has a file. How it is cut into pieces follows from its length.
///
/// # Panics
/// Where a file has a name that names none, or more is read than there is.
pub fn form(body: &[u8]) -> bool {
    let pieces: Vec<_> = body
        .chunks(1 + body.len() % 37)
        .map(|piece| Ok::<_, Infallible>(piece.to_vec()))
        .collect();
    let pieces = Body::from_stream(stream::iter(pieces));
    let mut form = begin(SOUND, pieces).expect("the boundary is sound");
    let reading = async {
        let (mut files, mut read) = (0, 0);
        while let Ok(Some(mut part)) = form.next().await {
            while let Some(Ok(piece)) = part.bytes.next().await {
                read += piece.len();
            }
            if let Some(name) = part.file_name {
                files += 1;
                assert!(!name.is_empty() && name.len() <= LONGEST_NAME, "{name:?}");
                assert!(
                    !name.contains(['/', '\\']) && !name.contains(char::is_control),
                    "{name:?}"
                );
            }
        }
        (files, read)
    };
    // All of it is there: where it waits, it only lets others go first.
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
        let taken = mutations("tests/seeds/form", 5000)
            .filter(|body| form(body))
            .count();
        assert!(taken > 300, "{taken} of 5000");
    }

    #[test]
    fn a_boundary_is_refused_or_one() {
        let taken = mutations("tests/seeds/form", 5000).filter(|value| content_type(value));
        let taken = taken.count();
        assert!(taken > 50 && taken < 2000, "{taken} of 5000");
    }
}
