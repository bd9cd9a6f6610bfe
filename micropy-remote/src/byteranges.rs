//! `multipart/byteranges` (RFC 9110, 14.6): several ranges in one response, each with a head that says which it is.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;

/// The longest line of a part's head, and the most lines of all heads together.
const LONGEST_LINE: u64 = 4096;
const MOST_LINES: usize = 64;

/// A `Content-Range`: which bytes, and how many the file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRange {
    pub bytes: Range<u64>,
    pub size: Option<u64>,
}

impl ContentRange {
    /// Reads `bytes 0-99/1000`, `bytes 0-99/*`.
    pub fn parse(value: &str) -> Option<Self> {
        let (range, size) = unit(value)?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let size = match size.trim() {
            "*" => None,
            size => Some(number(size)?),
        };
        let end = last.checked_add(1)?;
        (first < end && size.is_none_or(|size| end <= size)).then_some(ContentRange {
            bytes: first..end,
            size,
        })
    }

    /// The size in `bytes */1000`, which says that no such range is there.
    pub fn size_alone(value: &str) -> Option<u64> {
        number(unit(value)?.strip_prefix("*/")?)
    }
}

fn unit(value: &str) -> Option<&str> {
    let (unit, rest) = value.trim().split_once(' ')?;
    unit.eq_ignore_ascii_case("bytes").then(|| rest.trim())
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    // `parse` would take a sign.
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// The boundary between the parts, if a `Content-Type` is that of several ranges.
pub fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/byteranges") {
        return None;
    }
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case("boundary") && !value.is_empty())
            .then(|| value.to_owned())
    })
}

/// Why the parts cannot be read.
#[derive(Debug)]
pub enum Fault<E> {
    /// The connection broke, or the server closed it.
    Read(io::Error),
    /// They are malformed.
    Malformed(String),
    /// What takes the bytes has had enough.
    Taker(E),
}

/// Hands all parts of `body` to `take`, piece by piece, each with its range and how far in it stands. No more than
/// `most` bytes are taken.
pub fn read<E>(
    body: impl Read,
    boundary: &str,
    most: u64,
    mut take: impl FnMut(&ContentRange, u64, &[u8]) -> Result<(), E>,
) -> Result<(), Fault<E>> {
    let mut body = BufReader::with_capacity(64 << 10, body);
    let mut left = most;
    loop {
        if !next_part(&mut body, boundary)? {
            return Ok(());
        }
        let range = part_range(&mut body)?;
        let len = range.bytes.end - range.bytes.start;
        left = left
            .checked_sub(len)
            .ok_or_else(|| Fault::Malformed("it has more bytes than were asked for".into()))?;
        let mut done = 0;
        while done < len {
            let pending = body.fill_buf().map_err(Fault::Read)?;
            if pending.is_empty() {
                return Err(Fault::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            let n = pending
                .len()
                .min(usize::try_from(len - done).unwrap_or(usize::MAX));
            take(&range, range.bytes.start + done, &pending[..n]).map_err(Fault::Taker)?;
            body.consume(n);
            done += n as u64;
        }
    }
}

/// Goes behind the next boundary; whether a part follows.
fn next_part<E>(body: &mut impl BufRead, boundary: &str) -> Result<bool, Fault<E>> {
    for _ in 0..MOST_LINES {
        let line = line(body)?;
        match line
            .strip_prefix("--")
            .and_then(|rest| rest.strip_prefix(boundary))
        {
            Some("") => return Ok(true),
            Some("--") => {
                // What follows the last boundary has no meaning; read, it lets the connection be used again.
                let rest = io::copy(&mut body.take(LONGEST_LINE), &mut io::sink());
                return rest.map(|_| false).map_err(Fault::Read);
            }
            _ if line.is_empty() => {}
            _ => return Err(Fault::Malformed("a part is longer than it says".into())),
        }
    }
    Err(Fault::Malformed(
        "the boundary between its parts is missing".into(),
    ))
}

/// Reads the head of a part.
fn part_range<E>(body: &mut impl BufRead) -> Result<ContentRange, Fault<E>> {
    let mut found = None;
    for _ in 0..MOST_LINES {
        let line = line(body)?;
        if line.is_empty() {
            return found.ok_or_else(|| Fault::Malformed("a part has no Content-Range".into()));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.trim().eq_ignore_ascii_case("content-range")
        {
            let range = ContentRange::parse(value);
            found = Some(range.ok_or_else(|| {
                Fault::Malformed(format!(
                    "the Content-Range of a part is `{}`",
                    value.trim().escape_debug()
                ))
            })?);
        }
    }
    Err(Fault::Malformed("the head of a part is too long".into()))
}

fn line<E>(body: &mut impl BufRead) -> Result<String, Fault<E>> {
    let mut line = Vec::new();
    body.take(LONGEST_LINE)
        .read_until(b'\n', &mut line)
        .map_err(Fault::Read)?;
    match line.last() {
        None => return Err(Fault::Read(io::ErrorKind::UnexpectedEof.into())),
        Some(b'\n') => drop(line.pop()),
        // The last one may end without.
        Some(_) if (line.len() as u64) < LONGEST_LINE => {}
        Some(_) => {
            return Err(Fault::Malformed(
                "a line of a part's head is too long".into(),
            ));
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RFC 9110 shows it, and as nginx and Apache write it: a blank line first, one boundary after each part.
    const BODY: &str = "\r\n--AB 1\r\nContent-Type: video/mp4\r\nContent-Range: bytes 5-9/100\r\n\r\nfive!\r\n\
                        --AB 1\r\ncontent-range: bytes 20-22/100\r\n\r\n\r\n-\r\n--AB 1--\r\n";

    fn parts(body: &str, most: u64) -> Result<Vec<(u64, String)>, Fault<()>> {
        let mut parts: Vec<(u64, String)> = Vec::new();
        read(body.as_bytes(), "AB 1", most, |range, offset, bytes| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            assert!(range.bytes.contains(&offset) && range.size == Some(100));
            parts.push((offset, text));
            Ok(())
        })?;
        Ok(parts)
    }

    #[test]
    fn each_part_has_its_bytes() {
        let expected = [(5, "five!".to_owned()), (20, "\r\n-".to_owned())];
        assert_eq!(parts(BODY, 8).unwrap(), expected);
    }

    #[test]
    fn every_cut_and_every_surplus_is_an_error() {
        for end in 0..BODY.len() - 2 {
            assert!(parts(&BODY[..end], 8).is_err(), "cut at {end}");
        }
        assert!(matches!(parts(BODY, 7), Err(Fault::Malformed(_))));
        let longer = BODY.replace("five!", "fifteen");
        assert!(matches!(parts(&longer, 100), Err(Fault::Malformed(_))));
        let endless = "x: y\r\n".repeat(10_000);
        let head = format!("--AB 1\r\n{endless}");
        assert!(matches!(parts(&head, 100), Err(Fault::Malformed(_))));
        assert!(matches!(
            parts(&"-".repeat(1 << 20), 100),
            Err(Fault::Malformed(_))
        ));
    }

    #[test]
    fn boundaries_stand_in_the_content_type() {
        for (kind, expected) in [
            ("multipart/byteranges; boundary=THIS", Some("THIS")),
            (
                "Multipart/ByteRanges; charset=x; Boundary=\"a b\"",
                Some("a b"),
            ),
            ("multipart/byteranges", None),
            ("multipart/byteranges; boundary=", None),
            ("video/mp4; boundary=a", None),
        ] {
            assert_eq!(boundary(kind).as_deref(), expected, "{kind}");
        }
    }

    #[test]
    fn content_ranges_are_read() {
        let range = |bytes, size| Some(ContentRange { bytes, size });
        for (value, expected) in [
            ("bytes 0-0/1", range(0..1, Some(1))),
            (" Bytes 5-9/* ", range(5..10, None)),
            ("bytes 9-5/10", None),
            ("bytes 0-10/10", None),
            ("bytes */10", None),
            ("bytes +1-5/10", None),
            ("bytes 0-18446744073709551615/*", None),
            ("items 0-1/2", None),
            ("", None),
        ] {
            assert_eq!(ContentRange::parse(value), expected, "{value}");
        }
        assert_eq!(ContentRange::size_alone("bytes */10"), Some(10));
        assert_eq!(ContentRange::size_alone("bytes 0-1/10"), None);
    }
}
