//! Forms that no browser would send: read to their end or refused, and what they call a file names one.

use axum::body::Body;
use axum::extract::Request;

use super::{Form, LONGEST_NAME, clean_name};
use crate::hostile::mutations;
use crate::services::options::Conversion;

const BOUNDARY: &str = "XboundaryX";

#[tokio::test]
async fn a_form_ends_and_its_files_have_names() {
    let seeds: [&[u8]; 3] = [
        b"--XboundaryX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"talk.mp4\"\r\n\
          Content-Type: video/mp4\r\n\r\n0000ftypisom\r\n--XboundaryX--\r\n",
        b"--XboundaryX\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--XboundaryX\r\n\
          Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''%c3%a9.mp4\r\n\r\nabc\r\n--XboundaryX--\r\n",
        b"--XboundaryX\r\nContent-Disposition: form-data; name=a; filename=\"../../etc/passwd\"\r\n\r\n\r\n--XboundaryX--",
    ];
    let mut files = 0;
    for (i, body) in mutations(&seeds, 3000).enumerate() {
        let len = body.len();
        // In pieces of other lengths, as a network cuts them.
        let pieces: Vec<_> = body
            .chunks(1 + i % 37)
            .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
            .collect();
        let request = Request::builder()
            .header(
                "content-type",
                format!("multipart/form-data; boundary={BOUNDARY}"),
            )
            .body(Body::from_stream(futures_util::stream::iter(pieces)))
            .unwrap();
        let Ok(mut form) = Form::read(request, Conversion::default(), false) else {
            panic!("the boundary is sound");
        };
        let mut read = 0;
        while let Ok(Some(mut field)) = form.multipart.next_field().await {
            let name = field.file_name().map(clean_name);
            while let Ok(Some(piece)) = field.chunk().await {
                read += piece.len();
            }
            if let Some(name) = name {
                files += 1;
                assert!(!name.is_empty() && name.len() <= LONGEST_NAME, "{name:?}");
                assert!(
                    !name.contains(['/', '\\']) && !name.contains(char::is_control),
                    "{name:?}"
                );
            }
        }
        assert!(read <= len, "{read} bytes of files in a form of {len}");
    }
    assert!(files > 300, "{files}");
}

#[test]
fn a_boundary_is_refused_or_one() {
    let seeds: [&[u8]; 2] = [
        b"multipart/form-data; boundary=XboundaryX",
        b"multipart/form-data; charset=utf-8; boundary=\"a b\"",
    ];
    let mut refused = 0;
    for value in mutations(&seeds, 3000) {
        let Ok(request) = Request::builder()
            .header("content-type", value)
            .body(Body::empty())
        else {
            continue;
        };
        refused += usize::from(Form::read(request, Conversion::default(), true).is_err());
    }
    assert!(refused > 100, "{refused}");
}
