//! What to do where the MP3 is there already.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use micropy_core::OutputFormat;

use crate::{input, output, system};

/// What the user wants where a file of the MP3's name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    Refuse,
    /// It stays as it is (`--no-clobber`).
    Keep,
    /// It is replaced unless it is newer than the input, and whole (`--update`).
    Update,
    /// It is replaced (`--force`).
    Replace,
}

impl Existing {
    /// Whether a file may be replaced.
    pub fn may_replace(self) -> bool {
        matches!(self, Existing::Update | Existing::Replace)
    }

    /// Why no MP3 is to be made of `input`; `None`: it is to be made.
    ///
    /// # Errors
    /// [`NoTime`] where the times of both decide, and `input` has none.
    pub fn reason_to_keep(
        self,
        input: &Path,
        output: &Path,
    ) -> Result<Option<&'static str>, NoTime> {
        match self {
            Existing::Keep if output.exists() => Ok(Some("it exists")),
            Existing::Update if output.exists() && !input::has_time(input) => Err(NoTime),
            Existing::Update if is_up_to_date(input, output) => Ok(Some("it is up to date")),
            _ => Ok(None),
        }
    }
}

/// An input, a URL or a pipe, has no time of its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTime;

/// When a file was written last and, as far as the system tells, came to be as it is.
#[derive(Clone, Copy, Debug)]
struct Times {
    modified: SystemTime,
    changed: SystemTime,
}

impl Times {
    fn of(path: &Path) -> Option<Self> {
        let found = path.metadata().ok()?;
        let modified = found.modified().ok()?;
        let changed = system::changed(&found).map_or(modified, |changed| changed.max(modified));
        Some(Times { modified, changed })
    }
}

/// Whether `output` was made after the last change of `input`, and is whole. A file that is copied with its time
/// (`cp -p`, `rsync -t`) is newer than that says.
fn is_up_to_date(input: &Path, output: &Path) -> bool {
    let (Some(input), Some(made)) = (Times::of(input), Times::of(output)) else {
        return false;
    };
    input.modified <= made.modified
        && input.changed <= made.changed
        && is_whole(output).unwrap_or(false)
}

/// Refuses to replace what is behind a link if it is not what would be put there: of all names in a folder, a link is the
/// one that may lead to somebody's original.
///
/// # Errors
/// The file behind the link.
pub fn check_link(output: &Path, format: OutputFormat) -> Result<(), PathBuf> {
    if !output.is_symlink() || !output.is_file() {
        return Ok(());
    }
    let target = output::behind_links(output);
    match is_made_here(&target, format) {
        Ok(true) => Ok(()),
        _ => Err(target),
    }
}

/// Whether a file is of this format, or empty. PCM has nothing to know it by but its name.
fn is_made_here(path: &Path, format: OutputFormat) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut head)?;
    Ok(match (format, head.as_slice()) {
        (_, []) => true,
        (OutputFormat::Wav(_), head) => head == b"RIFF" || head == b"RF64",
        (OutputFormat::Raw(_), _) => {
            let extension = path.extension();
            extension.is_some_and(|extension| extension.eq_ignore_ascii_case("pcm"))
        }
        // A tag, or the first frame: its sync word and layer III (ISO/IEC 11172-3, 2.4.2.3).
        (_, head) => {
            head.starts_with(b"ID3")
                || matches!(head, [0xFF, second, ..] if second & 0b1110_0110 == 0b1110_0010)
        }
    })
}

/// Whether an MP3 has all the bytes that it says it has. One that does not say is taken for whole, unless it is shorter
/// than any.
fn is_whole(path: &Path) -> io::Result<bool> {
    /// As much of the first frame as can hold what it says.
    const FIRST: u64 = 64;
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut head = [0; 10];
    if len < head.len() as u64 {
        return Ok(false);
    }
    file.read_exact(&mut head)?;
    let tag = match &head[..3] {
        b"ID3" => id3_len(&head),
        _ => 0,
    };
    if len < tag + FIRST {
        return Ok(false);
    }
    let mut first = Vec::new();
    file.seek(SeekFrom::Start(tag))?;
    file.take(FIRST).read_to_end(&mut first)?;
    // At its end, other programs put an ID3v1 tag or the like.
    Ok(declared(&first).is_none_or(|declared| len - tag >= declared))
}

/// The bytes of an ID3v2 tag whose header this is: its length has four times seven bits (ID3v2.4, 3.1).
fn id3_len(header: &[u8; 10]) -> u64 {
    let body = header[6..]
        .iter()
        .fold(0, |len, &byte| len << 7 | u64::from(byte & 0x7F));
    let footer = if header[5] & 0x10 != 0 { 10 } else { 0 };
    10 + body + footer
}

/// What the Info tag in the first frame says of the bytes from that frame to the end.
fn declared(frame: &[u8]) -> Option<u64> {
    const HAS_FRAMES: u32 = 1;
    const HAS_BYTES: u32 = 2;
    // It follows the side information, whose length depends on the version and the channels (ISO/IEC 11172-3, 2.4.1.7).
    let tag = [13, 21, 36].into_iter().find_map(|at| {
        let tag = frame.get(at..)?;
        (tag.starts_with(b"Info") || tag.starts_with(b"Xing")).then_some(tag)
    })?;
    let number = |at: usize| Some(u32::from_be_bytes(*tag.get(at..)?.first_chunk()?));
    let flags = number(4)?;
    let at = if flags & HAS_FRAMES != 0 { 12 } else { 8 };
    (flags & HAS_BYTES != 0).then(|| number(at).map(u64::from))?
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The beginning of an MP3 of this many bytes after its ID3 tag of 20.
    fn mp3(bytes: u32, side_info_end: usize) -> Vec<u8> {
        let mut mp3 = b"ID3\x04\0\0\0\0\0\x0A".to_vec();
        mp3.extend([0; 10]);
        let mut frame = vec![0; side_info_end];
        frame[..2].copy_from_slice(&[0xFF, 0xFB]);
        frame.extend(b"Info\0\0\0\x0F\0\0\0\x01");
        frame.extend(bytes.to_be_bytes());
        frame.resize(bytes as usize, 0);
        mp3.extend(frame);
        mp3
    }

    #[test]
    fn an_mp3_is_whole_if_it_has_the_bytes_that_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp3");
        let whole = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            is_whole(&path).unwrap()
        };
        for side_info_end in [13, 21, 36] {
            let mp3 = mp3(500, side_info_end);
            assert!(whole(&mp3), "{side_info_end}");
            assert!(whole(&[&mp3[..], &[0; 128]].concat()), "with an ID3v1 tag");
            for len in [0, 5, 15, 40, 100, mp3.len() - 1] {
                assert!(!whole(&mp3[..len]), "{side_info_end}: {len}");
            }
        }
        assert!(whole(&[0xFF; 200]), "it does not say");
    }

    #[test]
    fn what_is_older_than_its_input_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let [input, output] = ["a.mp4", "a.mp3"].map(|name| folder.path().join(name));
        fs::write(&input, "video").unwrap();
        let keep = |existing: Existing| existing.reason_to_keep(&input, &output).unwrap();
        assert_eq!(keep(Existing::Update), None);
        assert_eq!(keep(Existing::Keep), None);
        fs::write(&output, mp3(500, 36)).unwrap();
        assert!(keep(Existing::Update).is_some());
        let set = |path: &Path, seconds: u64| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(time)
                .unwrap();
        };
        set(&input, 2_000_000_000);
        set(&output, 1_999_999_999);
        assert_eq!(keep(Existing::Update), None);
        assert!(keep(Existing::Keep).is_some());
        assert_eq!(keep(Existing::Replace), None);
        assert_eq!(keep(Existing::Refuse), None);
        set(&output, 2_000_000_000);
        assert!(keep(Existing::Update).is_some());
    }

    #[test]
    fn what_has_no_time_is_not_compared() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("a.mp3");
        let keep =
            |existing: Existing, input: &str| existing.reason_to_keep(Path::new(input), &output);
        for input in ["https://h/a.mp4", "-"] {
            assert_eq!(keep(Existing::Update, input), Ok(None), "{input}");
        }
        fs::write(&output, mp3(500, 36)).unwrap();
        for input in ["https://h/a.mp4", "-"] {
            assert_eq!(keep(Existing::Update, input), Err(NoTime), "{input}");
            assert_eq!(keep(Existing::Replace, input), Ok(None), "{input}");
            assert_eq!(
                keep(Existing::Keep, input),
                Ok(Some("it exists")),
                "{input}"
            );
        }
    }
}
