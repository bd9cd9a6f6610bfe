//! Mutations of valid input, the same every time.

use std::fs;
use std::path::Path;

/// Text that parsers stumble over.
const PIECES: [&str; 24] = [
    "\"",
    "'",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "=",
    "\r\n",
    "\n",
    "--",
    "\0",
    "\u{FEFF}",
    "\u{202E}",
    "é",
    "null",
    "-1",
    "18446744073709551616",
    "1e400",
    "0.1",
    "NaN",
    "\\ud800",
];

/// Mutations of the files in a folder, `count` of them.
pub fn mutations(folder: &str, count: usize) -> impl Iterator<Item = Vec<u8>> + use<> {
    let seeds = seeds(Path::new(folder));
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    (0..count).map(move |i| {
        let mut data = seeds[i % seeds.len()].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut random, &mut data, &seeds);
        }
        data
    })
}

/// The files in the order of their names.
fn seeds(folder: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn mutate(random: &mut Random, data: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = random.below(data.len() + 1);
    let end = at + random.below((data.len() - at).min(40) + 1);
    match random.below(8) {
        0 => drop(data.drain(at..end)),
        1 => data.truncate(at),
        2 => data.splice(at..end, data[at..end].repeat(2)).for_each(drop),
        3 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            data.splice(at..end, other[from..].iter().copied().take(40))
                .for_each(drop);
        }
        4 if at < data.len() => data[at] ^= 1 << random.below(8),
        5 if at < data.len() => data[at] = random.below(256) as u8,
        _ => {
            let piece = PIECES[random.below(PIECES.len())].bytes();
            data.splice(at..at, piece).for_each(drop);
        }
    }
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end
    }
}
