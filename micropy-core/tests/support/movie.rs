//! QuickTime movies with one track of linear PCM, built box by box: no encoder is needed, and every PCM sample is
//! known.

/// PCM samples per channel of a chunk.
const CHUNK: usize = 4096;
/// Bytes between two chunks, where a film has its video.
const BETWEEN: usize = 1000;

/// Where `moov` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moov {
    /// Before the media, as for streaming.
    First,
    /// After it, as a camera leaves it.
    Last,
}

/// A movie of `planes`, full scale ±1, in 16 bits, at `rate` Hz.
pub fn pcm_movie(planes: &[Vec<f32>], rate: u32, moov: Moov) -> Vec<u8> {
    edited_movie(planes, rate, moov, &[])
}

/// The same with an edit list: durations and media times in PCM samples, −1 for an empty edit.
pub fn edited_movie(planes: &[Vec<f32>], rate: u32, moov: Moov, edits: &[(u32, i32)]) -> Vec<u8> {
    let len = planes[0].len();
    let head = head(planes.len(), rate, len, moov, edits);
    let mut file = head.before;
    for start in (0..len).step_by(CHUNK) {
        for i in start..(start + CHUNK).min(len) {
            for plane in planes {
                file.extend(((plane[i].clamp(-1.0, 1.0) * 32767.0) as i16).to_le_bytes());
            }
        }
        file.extend([0x55; BETWEEN]);
    }
    file.extend(head.after);
    file
}

/// A movie's bytes around its media.
struct Head {
    before: Vec<u8>,
    after: Vec<u8>,
}

fn head(channels: usize, rate: u32, len: usize, moov: Moov, edits: &[(u32, i32)]) -> Head {
    let media_len = 2 * channels * len + len.div_ceil(CHUNK) * BETWEEN;
    let mut before = atom(
        b"ftyp",
        &[b"qt  ", &0u32.to_be_bytes()[..], b"qt  "].concat(),
    );
    let mdat = [&(8 + media_len as u32).to_be_bytes()[..], b"mdat"].concat();
    // The size of `moov` does not depend on the offsets in it.
    let moov_len = moov_atom(channels, rate, len, 0, edits).len();
    let media_at = match moov {
        Moov::First => before.len() + moov_len + mdat.len(),
        Moov::Last => before.len() + mdat.len(),
    };
    let atom = moov_atom(channels, rate, len, media_at, edits);
    if moov == Moov::First {
        before.extend(&atom);
    }
    before.extend(mdat);
    let after = if moov == Moov::Last { atom } else { Vec::new() };
    Head { before, after }
}

fn moov_atom(
    channels: usize,
    rate: u32,
    len: usize,
    media_at: usize,
    edits: &[(u32, i32)],
) -> Vec<u8> {
    let matrix = [0x1_0000u32, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
    let numbers =
        |numbers: &[u32]| -> Vec<u8> { numbers.iter().flat_map(|n| n.to_be_bytes()).collect() };
    let len = len as u32;
    // Version and flags, then times of making and change.
    let mut mvhd = numbers(&[0, 0, 0, rate, len, 0x1_0000, 0x100_0000, 0, 0]);
    mvhd.extend(numbers(&matrix));
    mvhd.extend(numbers(&[0, 0, 0, 0, 0, 0, 2]));
    let mut tkhd = numbers(&[1, 0, 0, 1, 0, len, 0, 0, 0, 0x100_0000]);
    tkhd.extend(numbers(&matrix));
    tkhd.extend(numbers(&[0, 0]));
    let mdhd = numbers(&[0, 0, 0, rate, len, 0x55C4_0000]);
    let hdlr = [&numbers(&[0])[..], b"mhlrsoun", &numbers(&[0, 0, 0]), &[0]].concat();

    let frame = 2 * channels as u32;
    // Reserved, data reference 1; version 0; channels, bits; no compression; rate in 16.16.
    let mut entry = numbers(&[0, 1, 0, 0, (channels as u32) << 16 | 16, 0, rate << 16]);
    entry = atom(b"sowt", &entry);
    let stsd = [numbers(&[0, 1]), entry].concat();
    let stts = numbers(&[0, 1, len, 1]);
    let stsz = numbers(&[0, frame, len]);
    let chunk = CHUNK as u32;
    let chunks = len.div_ceil(chunk);
    let last = len - (chunks - 1) * chunk;
    let stsc = match last == chunk || chunks == 1 {
        true => numbers(&[0, 1, 1, last.max(chunk.min(len)), 1]),
        false => numbers(&[0, 2, 1, chunk, 1, chunks, last, 1]),
    };
    let mut stco = numbers(&[0, chunks]);
    let step = CHUNK * frame as usize + BETWEEN;
    stco.extend((0..chunks as usize).flat_map(|i| ((media_at + i * step) as u32).to_be_bytes()));
    let dref = [numbers(&[0, 1]), atom(b"alis", &numbers(&[1]))].concat();

    let stbl = [
        atom(b"stsd", &stsd),
        atom(b"stts", &stts),
        atom(b"stsc", &stsc),
        atom(b"stsz", &stsz),
        atom(b"stco", &stco),
    ];
    let minf = [
        atom(b"smhd", &numbers(&[0, 0])),
        atom(b"dinf", &atom(b"dref", &dref)),
        atom(b"stbl", &stbl.concat()),
    ];
    let mdia = [
        atom(b"mdhd", &mdhd),
        atom(b"hdlr", &hdlr),
        atom(b"minf", &minf.concat()),
    ];
    let mut elst = numbers(&[0, edits.len() as u32]);
    for &(duration, media_time) in edits {
        elst.extend(numbers(&[duration, media_time.cast_unsigned(), 0x1_0000]));
    }
    let edts = match edits.is_empty() {
        true => Vec::new(),
        false => atom(b"edts", &atom(b"elst", &elst)),
    };
    let trak = [atom(b"tkhd", &tkhd), edts, atom(b"mdia", &mdia.concat())];
    let trak = trak.concat();
    atom(
        b"moov",
        &[atom(b"mvhd", &mvhd), atom(b"trak", &trak)].concat(),
    )
}

fn atom(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let size = (8 + payload.len()) as u32;
    [&size.to_be_bytes()[..], kind, payload].concat()
}
