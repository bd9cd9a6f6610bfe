//! A movie header in compressed form, as QuickTime once wrote it for the web (QuickTime File Format, "Compressed movie
//! resources"): in `cmov`, `dcom` names the method, and `cmvd` holds the length of a `moov` box and its compressed
//! bytes.

use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};

use super::boxes::{BoxHeader, BoxReader, FourCc};
use crate::error::{Error, Result};

/// The most bytes of a compressed movie header.
const COMPRESSED_LIMIT: u64 = 16 << 20;

/// The most bytes that it expands to: the tables of days of audio.
const EXPANDED_LIMIT: usize = 32 << 20;

/// The bytes of the `moov` box in the box `cmov`.
pub fn expand(reader: &mut BoxReader<'_>, cmov: &BoxHeader) -> Result<Vec<u8>> {
    let mut compressed = None;
    reader.each_child(cmov, |reader, child| {
        match &child.kind.0 {
            b"dcom" => {
                let method = FourCc(reader.head::<4>(child)?);
                if method.0 != *b"zlib" {
                    return Err(Error::unsupported(format!(
                        "a movie header compressed with `{method}` (cmov)"
                    )));
                }
            }
            b"cmvd" => compressed = Some((*child, reader.payload(child, COMPRESSED_LIMIT)?)),
            _ => {}
        }
        Ok(())
    })?;
    let (cmvd, payload) = compressed.ok_or_else(|| cmov.malformed("it has no `cmvd` box"))?;
    // What it declares of its length, nobody needs.
    let stream = payload.get(4..).unwrap_or_default();
    decompress_to_vec_zlib_with_limit(stream, EXPANDED_LIMIT).map_err(|e| match e.status {
        TINFLStatus::HasMoreOutput => Error::Limit {
            at: cmvd.at,
            what: "the size of the expanded movie header".into(),
            limit: EXPANDED_LIMIT as u64,
        },
        _ => cmvd.malformed("its zlib stream is damaged"),
    })
}
