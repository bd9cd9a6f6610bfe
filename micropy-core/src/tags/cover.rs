//! Cover pictures.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// A picture: a front cover, or that of a chapter. Its bytes are unchanged, and clones share them.
#[derive(Clone, PartialEq, Eq)]
pub struct Cover {
    mime: &'static str,
    data: Arc<Vec<u8>>,
}

impl Cover {
    /// The largest picture accepted, in bytes: players that read a tag into memory stop about here.
    pub const MAX_SIZE: usize = 16 << 20;

    /// A cover of a picture format that players show.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the bytes are not JPEG, PNG, GIF, BMP, WebP or TIFF, or more than
    /// [`Cover::MAX_SIZE`].
    pub fn new(data: Vec<u8>) -> Result<Cover> {
        if data.len() > Cover::MAX_SIZE {
            return Err(Error::InvalidOption(format!(
                "a cover of {} bytes is over the limit of {}",
                data.len(),
                Cover::MAX_SIZE
            )));
        }
        let Some(mime) = sniff(&data) else {
            return Err(Error::InvalidOption(
                "the cover is neither JPEG, PNG, GIF, BMP, WebP nor TIFF".into(),
            ));
        };
        Ok(Cover {
            mime,
            data: Arc::new(data),
        })
    }

    /// Its media type, from its bytes.
    pub fn mime(&self) -> &'static str {
        self.mime
    }

    /// The bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

impl fmt::Debug for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cover({}, {} bytes)", self.mime, self.data.len())
    }
}

/// The media type of a picture from its first bytes: the type that files declare is often wrong.
fn sniff(data: &[u8]) -> Option<&'static str> {
    match data {
        [0xFF, 0xD8, 0xFF, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some("image/tiff"),
        [b'B', b'M', ..] if data.len() > 14 => Some("image/bmp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_say_the_type() {
        let mut bmp = b"BM".to_vec();
        bmp.resize(60, 0);
        for (data, mime) in [
            (&b"\xFF\xD8\xFF\xE0\x00\x10JFIF"[..], "image/jpeg"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
            (b"GIF89a\x01\0\x01\0", "image/gif"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
            (b"II*\0\x08\0\0\0", "image/tiff"),
            (&bmp, "image/bmp"),
        ] {
            let cover = Cover::new(data.to_vec()).unwrap();
            assert_eq!((cover.mime(), cover.data()), (mime, data));
        }
        assert!(Cover::new(b"<svg>".to_vec()).is_err());
        assert!(Cover::new(Vec::new()).is_err());
    }

    #[test]
    fn a_picture_that_no_player_would_load_is_refused() {
        let mut data = b"\xFF\xD8\xFF".to_vec();
        data.resize(Cover::MAX_SIZE, 0);
        assert!(Cover::new(data.clone()).is_ok());
        data.push(0);
        assert!(
            Cover::new(data)
                .unwrap_err()
                .to_string()
                .contains("16777217 bytes")
        );
    }
}
