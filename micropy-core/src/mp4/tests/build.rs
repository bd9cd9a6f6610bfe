//! Builds small files box by box.

/// A box of `kind` that holds `parts` one after another.
pub fn make(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    let size = u32::try_from(payload.len() + 8).unwrap();
    [&size.to_be_bytes()[..], kind, &payload].concat()
}

/// The same with a 64-bit size.
pub fn make_large(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let size = payload.len() as u64 + 16;
    [&1u32.to_be_bytes()[..], kind, &size.to_be_bytes(), payload].concat()
}

/// The big-endian bytes of 32-bit words.
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_be_bytes()).collect()
}

/// A table box: version and flags, the number of `rows`, the rows.
pub fn table<const N: usize>(kind: &[u8; 4], rows: &[[u32; N]]) -> Vec<u8> {
    make(
        kind,
        &[&words(&[0, rows.len() as u32]), &words(rows.as_flattened())],
    )
}

pub fn ftyp() -> Vec<u8> {
    make(b"ftyp", &[b"isom", &words(&[512]), b"isom"])
}

pub fn mvhd(timescale: u32) -> Vec<u8> {
    make(b"mvhd", &[&words(&[0, 0, 0, timescale, 0]), &[0; 80]])
}

pub fn tkhd(id: u32) -> Vec<u8> {
    make(b"tkhd", &[&words(&[0x3, 0, 0, id, 0, 0]), &[0; 60]])
}

pub fn mdhd(timescale: u32) -> Vec<u8> {
    // `deu`
    make(
        b"mdhd",
        &[&words(&[0, 0, 0, timescale, 0]), &[0x10, 0xB5, 0, 0]],
    )
}

pub fn hdlr(handler: &[u8; 4]) -> Vec<u8> {
    make(b"hdlr", &[&words(&[0, 0]), handler, &[0; 13]])
}

/// An `esds` box of AAC-LC, 44.1 kHz, two channels.
pub fn esds() -> Vec<u8> {
    let specific = [0x05, 2, 0x12, 0x10];
    let config = [&[0x04, 13 + 4, 0x40, 0x15][..], &[0; 11], &specific].concat();
    let es = [&[0x03, 3 + 2 + 13 + 4, 0, 1, 0][..], &config].concat();
    make(b"esds", &[&[0; 4], &es])
}

/// A version 0 audio sample entry of two channels and 16 bits at 44.1 kHz.
pub fn audio_entry(kind: &[u8; 4], boxes: &[u8]) -> Vec<u8> {
    make(
        kind,
        &[
            &[0; 6],
            &[0, 1],
            &[0; 8],
            &[0, 2, 0, 16, 0, 0, 0, 0],
            &words(&[44_100 << 16]),
            boxes,
        ],
    )
}

pub fn stsd(entry: &[u8]) -> Vec<u8> {
    make(b"stsd", &[&words(&[0, 1]), entry])
}

/// `stts`, `stsc`, `stsz` and `stco` of samples of `sizes` that last 1024 units each, in chunks that begin at
/// `offsets` and hold `per_chunk` each.
pub fn sample_tables(sizes: &[u32], per_chunk: u32, offsets: &[u32]) -> Vec<u8> {
    let rows: Vec<[u32; 1]> = offsets.iter().map(|&o| [o]).collect();
    [
        table(b"stts", &[[sizes.len() as u32, 1024]]),
        table(b"stsc", &[[1, per_chunk, 1]]),
        make(
            b"stsz",
            &[&words(&[0, 0, sizes.len() as u32]), &words(sizes)],
        ),
        table(b"stco", &rows),
    ]
    .concat()
}

/// A `trak` with `stbl` as the contents of its sample table box and `more` after its header.
pub fn trak(id: u32, handler: &[u8; 4], more: &[u8], stbl: &[u8]) -> Vec<u8> {
    let minf = make(b"minf", &[&make(b"stbl", &[stbl])]);
    let mdia = make(b"mdia", &[&mdhd(44_100), &hdlr(handler), &minf]);
    make(b"trak", &[&tkhd(id), more, &mdia])
}

/// An AAC track.
pub fn aac_trak(id: u32, tables: &[u8]) -> Vec<u8> {
    let stsd = stsd(&audio_entry(b"mp4a", &esds()));
    trak(id, b"soun", &[], &[&stsd, tables].concat())
}

/// Five samples of the sizes 3, 5, 7, 2 and 4 in chunks of two, between other bytes.
pub struct Media {
    /// The payload of the `mdat`.
    pub bytes: Vec<u8>,
    /// Where the chunks begin in it.
    pub chunks: [u32; 3],
}

pub const SIZES: [u32; 5] = [3, 5, 7, 2, 4];

impl Media {
    pub fn new() -> Self {
        let mut bytes = vec![0xEE; 64];
        let chunks = [10, 25, 50];
        for (chunk, samples) in chunks.iter().zip([&[0, 1][..], &[2, 3], &[4]]) {
            let mut at = *chunk as usize;
            for &sample in samples {
                let size = SIZES[sample] as usize;
                bytes[at..at + size].fill(sample as u8);
                at += size;
            }
        }
        Media { bytes, chunks }
    }

    /// The samples that should be read.
    pub fn samples() -> Vec<Vec<u8>> {
        (0..)
            .zip(SIZES)
            .map(|(i, size)| vec![i; size as usize])
            .collect()
    }

    /// The tables for it if the payload begins at `at`.
    pub fn tables(&self, at: usize) -> Vec<u8> {
        let offsets = self.chunks.map(|chunk| chunk + at as u32);
        sample_tables(&SIZES, 2, &offsets)
    }
}

/// A file with `moov` first, made by `moov` from the offset of the media.
pub fn faststart(media: &Media, moov: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let head = ftyp().len() + moov(0).len() + 8;
    [ftyp(), moov(head), make(b"mdat", &[&media.bytes])].concat()
}

/// A plain file with `moov` first.
pub fn plain_file() -> Vec<u8> {
    let media = Media::new();
    faststart(&media, |at| {
        make(b"moov", &[&mvhd(1000), &aac_trak(1, &media.tables(at))])
    })
}

/// A plain file with `moov` last.
pub fn moov_last() -> Vec<u8> {
    let media = Media::new();
    let at = ftyp().len() + 8;
    let moov = make(b"moov", &[&mvhd(1000), &aac_trak(1, &media.tables(at))]);
    [ftyp(), make(b"mdat", &[&media.bytes]), moov].concat()
}
