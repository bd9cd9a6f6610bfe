//! The name of a stored file or a job.

use std::fmt;
use std::str::FromStr;

use super::Timestamp;

/// Twelve bytes, written as 24 hexadecimal digits: the form of a MongoDB ObjectId, so that one id serves
/// every store.
///
/// Ids sort by the time they were made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 12]);

impl Id {
    /// An id made at `now`: seconds (4 bytes, as in an ObjectId), 1/65536 s (2 bytes), then `random`.
    pub fn new(now: Timestamp, random: [u8; 6]) -> Self {
        let millis = now.as_millis();
        let seconds = millis.div_euclid(1000) as u32;
        let fraction = ((millis.rem_euclid(1000) << 16) / 1000) as u16;
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&seconds.to_be_bytes());
        bytes[4..6].copy_from_slice(&fraction.to_be_bytes());
        bytes[6..].copy_from_slice(&random);
        Id(bytes)
    }

    /// The id with exactly these bytes.
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Id(bytes)
    }

    /// The twelve bytes.
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not 24 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 24 hexadecimal digits")]
pub struct NotAnId;

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let digits = text.as_bytes();
        if digits.len() != 24 {
            return Err(NotAnId);
        }
        let nibble = |digit: u8| char::from(digit).to_digit(16).ok_or(NotAnId);
        let mut bytes = [0; 12];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (nibble(pair[0])? << 4 | nibble(pair[1])?) as u8;
        }
        Ok(Id(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_one() {
        let id: Id = "0123456789abcdefABCDEF00".parse().unwrap();
        assert_eq!(id.to_string(), "0123456789abcdefabcdef00");
        for bad in [
            "",
            "0123456789abcdef0123456",
            "0123456789abcdef0123456g",
            "０123456789abcdef0123",
        ] {
            assert_eq!(bad.parse::<Id>(), Err(NotAnId), "{bad}");
        }
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let at = |millis| Id::new(Timestamp::from_millis(millis), [0xff; 6]);
        let earlier = Id::new(Timestamp::from_millis(1_700_000_000_001), [0xff; 6]);
        assert!(earlier < at(1_700_000_000_002));
        assert!(at(1_700_000_000_999) < at(1_700_000_001_000));
        assert_eq!(&at(1_700_000_000_000).to_string()[..8], "6553f100");
    }
}
