//! The packets of a clip in another container: plain or in fragments, with such times as a writer may give them.

/// A box of `kind`.
pub fn atom(kind: &[u8], payload: &[u8]) -> Vec<u8> {
    let size = (8 + payload.len()) as u32;
    [&size.to_be_bytes()[..], kind, payload].concat()
}

/// The big-endian bytes of 32-bit words.
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The packets of one track, and how they are coded.
#[derive(Clone)]
pub struct Remux {
    stsd: Vec<u8>,
    /// Units per second of the track.
    pub timescale: u32,
    /// Units of its first packet in the file that it is from.
    pub len: u32,
    /// The same of the movie.
    pub movie_timescale: u32,
    /// Durations in movie units and media times, −1 for an empty edit.
    pub edits: Vec<(u32, i32)>,
    /// The composition offset of every packet.
    pub composition: Option<u32>,
    /// The sample entry of fragments, counted from 1, where it is another than `trex` says.
    pub entry: Option<u32>,
    /// Their bytes.
    pub packets: Vec<Vec<u8>>,
}

/// The payload of the box at this path.
fn find<'a>(file: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    let (kind, rest) = path.split_first()?;
    boxes(file)
        .filter(|(other, _)| other == *kind)
        .find_map(|(_, payload)| match rest {
            [] => Some(payload),
            rest => find(payload, rest),
        })
}

/// Kinds and payloads of boxes.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (size, _) = rest.split_first_chunk::<4>()?;
        let (whole, after) = rest.split_at(u32::from_be_bytes(*size) as usize);
        rest = after;
        Some((&whole[4..8], &whole[8..]))
    })
}

/// The words of a box behind version and flags.
fn table(stbl: &[u8], kind: &[u8; 4]) -> Vec<u32> {
    let payload = find(stbl, &[kind]).unwrap();
    let (words, _) = payload[4..].as_chunks::<4>();
    words.iter().map(|&word| u32::from_be_bytes(word)).collect()
}

impl Remux {
    /// The packets of the sound in a plain file.
    pub fn of(file: &[u8]) -> Remux {
        let moov = find(file, &[b"moov"]).unwrap();
        let sound = |(kind, trak): &(&[u8], &[u8])| {
            *kind == b"trak" && find(trak, &[b"mdia", b"hdlr"]).unwrap()[8..12] == *b"soun"
        };
        let (_, trak) = boxes(moov).find(sound).unwrap();
        let mdhd = find(trak, &[b"mdia", b"mdhd"]).unwrap();
        let stbl = find(trak, &[b"mdia", b"minf", b"stbl"]).unwrap();
        let sizes = table(stbl, b"stsz");
        let runs = table(stbl, b"stsc");
        let (runs, _) = runs[1..].as_chunks::<3>();
        let mut packets = Vec::new();
        for (chunk, &offset) in table(stbl, b"stco")[1..].iter().enumerate() {
            let run = runs.iter().rfind(|run| run[0] as usize <= chunk + 1);
            let mut at = offset as usize;
            for _ in 0..run.unwrap()[1] {
                let size = match sizes[0] {
                    0 => sizes[2 + packets.len()],
                    all => all,
                };
                packets.push(file[at..at + size as usize].to_vec());
                at += size as usize;
            }
        }
        Remux {
            stsd: find(stbl, &[b"stsd"]).unwrap().to_vec(),
            timescale: u32::from_be_bytes(mdhd[12..16].try_into().unwrap()),
            len: table(stbl, b"stts")[2],
            movie_timescale: 1000,
            edits: Vec::new(),
            composition: None,
            entry: None,
            packets,
        }
    }

    /// The first `count` packets.
    pub fn first(mut self, count: usize) -> Remux {
        self.packets.truncate(count);
        self
    }

    /// Its only sample entry.
    pub fn entry(&self) -> &[u8] {
        &self.stsd[8..]
    }

    /// The same with these sample entries.
    pub fn described(mut self, entries: &[Vec<u8>]) -> Remux {
        self.stsd = [words(&[0, entries.len() as u32]), entries.concat()].concat();
        self
    }

    /// A plain file: so many packets of so many units each.
    pub fn plain(&self, durations: &[(u32, u32)]) -> Vec<u8> {
        self.plain_of(durations, &[(self.packets.len(), 1)])
    }

    /// The same in chunks of so many packets of one sample entry.
    pub fn plain_of(&self, durations: &[(u32, u32)], chunks: &[(usize, u32)]) -> Vec<u8> {
        let ftyp = atom(b"ftyp", b"isom\0\0\0\0isom");
        let mdat = atom(b"mdat", &self.packets.concat());
        let tables = self.tables(durations, chunks, ftyp.len() + 8);
        let moov = [self.mvhd(), self.trak(&tables)].concat();
        [ftyp, mdat, atom(b"moov", &moov)].concat()
    }

    /// The first `count` packets, of `len` units each, outside of fragments, which follow.
    pub fn in_front_of_fragments(&self, count: usize, len: u32) -> Vec<u8> {
        let first = self.clone().first(count);
        let ftyp = atom(b"ftyp", b"iso5\0\0\0\0iso5");
        let moov = |at| {
            let tables = first.tables(&[(count as u32, len)], &[(count, 1)], at);
            atom(b"moov", &[self.mvhd(), self.trak(&tables), mvex()].concat())
        };
        let at = ftyp.len() + moov(0).len() + 8;
        [ftyp, moov(at), atom(b"mdat", &first.packets.concat())].concat()
    }

    /// The boxes of a sample table with packets from byte `at` on.
    fn tables(&self, durations: &[(u32, u32)], chunks: &[(usize, u32)], at: usize) -> Vec<u8> {
        let count = self.packets.len() as u32;
        let mut left = &self.packets[..];
        let (mut at, mut offsets, mut runs_of_chunks) = (at as u32, Vec::new(), Vec::new());
        for (number, &(packets, entry)) in (1..).zip(chunks) {
            let (chunk, rest) = left.split_at(packets);
            offsets.push(at);
            runs_of_chunks.extend([number, packets as u32, entry]);
            at += chunk.concat().len() as u32;
            left = rest;
        }
        let chunks = chunks.len() as u32;
        let sizes: Vec<u32> = self.packets.iter().map(|p| p.len() as u32).collect();
        let runs: Vec<u32> = durations.iter().flat_map(|&(n, len)| [n, len]).collect();
        let ctts = self.composition.map(|offset| words(&[0, 1, count, offset]));
        let tables = [
            atom(
                b"stts",
                &words(&[&[0, durations.len() as u32], &runs[..]].concat()),
            ),
            ctts.map_or_else(Vec::new, |ctts| atom(b"ctts", &ctts)),
            atom(
                b"stsc",
                &words(&[&[0, chunks], &runs_of_chunks[..]].concat()),
            ),
            atom(b"stsz", &words(&[&[0, 0, count], &sizes[..]].concat())),
            atom(b"stco", &words(&[&[0, chunks], &offsets[..]].concat())),
        ];
        tables.concat()
    }

    /// The file in front of fragments.
    pub fn init(&self) -> Vec<u8> {
        let tables = [
            atom(b"stts", &words(&[0, 0])),
            atom(b"stsc", &words(&[0, 0])),
            atom(b"stsz", &words(&[0, 0, 0])),
            atom(b"stco", &words(&[0, 0])),
        ];
        let moov = [self.mvhd(), self.trak(&tables.concat()), mvex()].concat();
        let ftyp = atom(b"ftyp", b"iso5\0\0\0\0iso5");
        [ftyp, atom(b"moov", &moov)].concat()
    }

    /// A fragment of these packets, of `len` units each, at a time that is counted in 64 bits or in 32.
    pub fn fragment(
        &self,
        packets: std::ops::Range<usize>,
        len: u32,
        time: u64,
        wide: bool,
    ) -> Vec<u8> {
        let packets = &self.packets[packets];
        let tfdt = match wide {
            true => [&words(&[1 << 24])[..], &time.to_be_bytes()].concat(),
            false => words(&[0, time as u32]),
        };
        let moof = |offset: u32| {
            let mut flags = 0x301;
            flags |= self.composition.map_or(0, |_| 0x800);
            let mut trun = words(&[flags, packets.len() as u32, offset]);
            for packet in packets {
                trun.extend(words(&[len, packet.len() as u32]));
                trun.extend(
                    self.composition
                        .map_or_else(Vec::new, |offset| words(&[offset])),
                );
            }
            let tfhd = match self.entry {
                Some(entry) => words(&[0x2_0002, 1, entry]),
                None => words(&[0x2_0000, 1]),
            };
            let traf = [
                atom(b"tfhd", &tfhd),
                atom(b"tfdt", &tfdt),
                atom(b"trun", &trun),
            ];
            let mfhd = atom(b"mfhd", &words(&[0, 1]));
            atom(b"moof", &[mfhd, atom(b"traf", &traf.concat())].concat())
        };
        let offset = moof(0).len() as u32 + 8;
        [moof(offset), atom(b"mdat", &packets.concat())].concat()
    }

    fn mvhd(&self) -> Vec<u8> {
        let head = words(&[0, 0, 0, self.movie_timescale, 0, 1 << 16, 1 << 24, 0, 0]);
        atom(
            b"mvhd",
            &[head, matrix(), words(&[0, 0, 0, 0, 0, 0, 2])].concat(),
        )
    }

    fn trak(&self, tables: &[u8]) -> Vec<u8> {
        let tkhd = [
            words(&[7, 0, 0, 1, 0, 0, 0, 0, 0, 1 << 24]),
            matrix(),
            words(&[0, 0]),
        ]
        .concat();
        let mut elst = words(&[0, self.edits.len() as u32]);
        for &(duration, time) in &self.edits {
            elst.extend(words(&[duration, time.cast_unsigned(), 1 << 16]));
        }
        let edts = match self.edits[..] {
            [] => Vec::new(),
            _ => atom(b"edts", &atom(b"elst", &elst)),
        };
        let hdlr = [&words(&[0, 0])[..], b"soun", &[0; 13]].concat();
        let url = atom(b"url ", &words(&[1]));
        let dinf = atom(b"dinf", &atom(b"dref", &[words(&[0, 1]), url].concat()));
        let stbl = [atom(b"stsd", &self.stsd), tables.to_vec()].concat();
        let minf = [atom(b"smhd", &[0; 8]), dinf, atom(b"stbl", &stbl)].concat();
        let mdia = [
            atom(b"mdhd", &words(&[0, 0, 0, self.timescale, 0, 0x55C4_0000])),
            atom(b"hdlr", &hdlr),
            atom(b"minf", &minf),
        ];
        let trak = [atom(b"tkhd", &tkhd), edts, atom(b"mdia", &mdia.concat())];
        atom(b"trak", &trak.concat())
    }
}

/// Fragments follow.
fn mvex() -> Vec<u8> {
    atom(b"mvex", &atom(b"trex", &words(&[0, 1, 1, 0, 0, 0])))
}

fn matrix() -> Vec<u8> {
    words(&[1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30])
}
