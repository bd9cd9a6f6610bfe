//! What the store knows of an unfinished object.

use micropy_core::ports::storage::Error;
use serde::{Deserialize, Serialize};

use super::fault::lasting;
use super::multipart::Part;

/// Of an unfinished object: how long it is, and where its bytes are.
///
/// Every writer replaces the record that it has read, and no other. So of two writers, one is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub state: State,
    /// Who wrote it. Never the same twice, so that no two records are alike.
    pub writer: String,
    /// The bytes that count.
    pub length: u64,
    /// The multipart upload, once there is one.
    pub upload: Option<String>,
    /// The parts that count, each of `part_bytes`.
    pub parts: Vec<Part>,
    pub part_bytes: u64,
    /// The first number that nobody may be storing a part under. A writer that stalled may do so long after another has
    /// taken its place, and would replace that one's part.
    pub next: u32,
    /// What follows the parts: objects of their own, until they are as long as a part.
    pub tails: Vec<Tail>,
}

/// Whether an object takes bytes, or is being made whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Open,
    Committing,
}

/// Some bytes at the end of an unfinished object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// No two tails of an object have the same.
    pub name: String,
    pub bytes: u64,
}

impl Record {
    /// That of an object of no bytes.
    pub fn new(writer: String, part_bytes: u64) -> Self {
        Record {
            state: State::Open,
            writer,
            length: 0,
            upload: None,
            parts: Vec::new(),
            part_bytes,
            next: 1,
            tails: Vec::new(),
        }
    }

    pub fn read(text: &[u8], key: &str) -> Result<Self, Error> {
        let unreadable = |why: String| Error::from(lasting(format!("{key} cannot be read: {why}")));
        let record: Record = serde_json::from_slice(text).map_err(|e| unreadable(e.to_string()))?;
        let parts = (record.parts.len() as u64).checked_mul(record.part_bytes);
        let sum = record
            .tails
            .iter()
            .try_fold(parts.unwrap_or(u64::MAX), |sum, tail| {
                sum.checked_add(tail.bytes)
            });
        let open = tails_length(&record.tails);
        if sum != Some(record.length) || open >= record.part_bytes {
            return Err(unreadable("its lengths do not fit".into()));
        }
        Ok(record)
    }

    pub fn to_text(&self) -> Vec<u8> {
        // Plain structs always serialise.
        serde_json::to_vec(self).unwrap_or_else(|e| unreachable!("{e}"))
    }
}

pub fn tails_length(tails: &[Tail]) -> u64 {
    tails
        .iter()
        .fold(0_u64, |sum, tail| sum.saturating_add(tail.bytes))
}

/// Takes those tails off the end that are to become one with `new` bytes behind them.
///
/// A tail for each of many small appends would be a request for each of them later. Up to `few` tails are kept as they
/// are. Of more, each is to be longer than the two after it: so they stay few, and no byte is copied often.
pub fn take_short(tails: &mut Vec<Tail>, new: u64, few: usize) -> Vec<Tail> {
    let mut from = tails.len();
    let mut together = new;
    while from >= few.max(1) && tails[from - 1].bytes < together.saturating_mul(2) {
        from -= 1;
        together += tails[from].bytes;
    }
    tails.split_off(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            length: 25,
            upload: Some("id".into()),
            parts: vec![Part {
                number: 1,
                tag: "\"tag\"".into(),
            }],
            next: 3,
            tails: vec![Tail {
                name: "a-0".into(),
                bytes: 5,
            }],
            ..Record::new("a".into(), 20)
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        assert_eq!(Record::read(&record().to_text(), "k").unwrap(), record());
    }

    #[test]
    fn a_damaged_record_is_named() {
        let damaged = [
            Record {
                length: 26,
                ..record()
            },
            Record {
                part_bytes: 0,
                ..record()
            },
            Record {
                part_bytes: u64::MAX,
                ..record()
            },
            Record {
                part_bytes: 4,
                length: 9,
                ..record()
            },
        ];
        for record in damaged {
            let e = Record::read(&record.to_text(), "unfinished/01").unwrap_err();
            assert!(e.to_string().contains("unfinished/01"), "{e}");
        }
        assert!(Record::read(b"{", "k").is_err());
    }

    #[test]
    fn many_small_appends_leave_few_tails_and_copy_little() {
        for size in [1, 7, 1000] {
            let (mut tails, mut copied, mut total) = (Vec::new(), 0, 0);
            for n in 0..10_000 {
                let merged = take_short(&mut tails, size, 16);
                copied += tails_length(&merged);
                total += size;
                tails.push(Tail {
                    name: n.to_string(),
                    bytes: size + tails_length(&merged),
                });
                assert!(tails.len() <= 40, "{}", tails.len());
                assert_eq!(tails_length(&tails), total);
            }
            assert!(copied < total * 16, "{copied} of {total}");
        }
    }
}
