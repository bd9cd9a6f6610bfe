//! Sound bytes made hostile, repeatably.

use std::ops::Range;

use crate::Target;
use crate::random::Random;

/// Numbers that arithmetic trips over.
const EDGES: [u32; 12] = [
    0,
    1,
    2,
    7,
    8,
    0xFF,
    0xFFFF,
    0x0100_0000,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFF0,
    0xFFFF_FFFF,
];

/// The `case`th mutation of a seed out of `seeds`.
pub fn mutated(target: Target, seeds: &[Vec<u8>], seed: u64, case: u64) -> Vec<u8> {
    let mut random = Random::new(seed ^ case.wrapping_mul(0xA076_1D64_78BD_642F));
    // xorshift's first numbers are alike for like seeds.
    (0..4).for_each(|_| _ = random.next_u32());
    let mut data = seeds[case as usize % seeds.len()].clone();
    for _ in 0..[1, 1, 1, 2, 3, 6][random.between(0, 6)] {
        if data.len() < 16 {
            break;
        }
        match target {
            Target::Mp3 => mutate_bytes(&mut random, &mut data, seeds),
            _ => match random.between(0, 10) {
                0..6 => mutate_box(&mut random, &mut data),
                6 => {
                    let boxes = boxes(&data);
                    let end = boxes.last().map_or(data.len(), |b| b.range.end);
                    change(&mut random, &mut data, 0..end);
                }
                _ => mutate_bytes(&mut random, &mut data, seeds),
            },
        }
    }
    data
}

/// Mutations that know nothing of the format.
fn mutate_bytes(random: &mut Random, data: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let len = data.len();
    match random.between(0, 8) {
        0..4 => change(random, data, 0..len),
        4 => data.truncate(random.between(1, len)),
        5 => {
            let range = part(random, len);
            data.drain(range);
        }
        6 => {
            let range = part(random, len);
            let at = random.between(0, len);
            let copy = data[range].to_vec();
            data.splice(at..at, copy);
        }
        _ => {
            let other = &seeds[random.between(0, seeds.len())];
            let range = part(random, other.len());
            let at = random.between(0, len);
            let end = (at + range.len()).min(len);
            data.splice(at..end, other[range].to_vec());
        }
    }
}

/// Some bytes of `range` become others.
fn change(random: &mut Random, data: &mut [u8], range: Range<usize>) {
    for _ in 0..random.between(1, 12) {
        let at = random.between(range.start, range.end);
        match random.between(0, 3) {
            0 => data[at] ^= 1 << random.between(0, 8),
            1 => data[at] = random.next_u32() as u8,
            _ => put(random, data, at),
        }
    }
}

/// A number of 32 bits that trips.
fn put(random: &mut Random, data: &mut [u8], at: usize) {
    let number = match random.between(0, 4) {
        0 => random.next_u32() >> random.between(0, 32),
        _ => EDGES[random.between(0, EDGES.len())],
    };
    if let Some(place) = data.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}

fn part(random: &mut Random, len: usize) -> Range<usize> {
    let most = [16, 64, 1024, len][random.between(0, 4)].min(len);
    let size = random.between(0, most) + 1;
    let at = random.between(0, len - size + 1);
    at..at + size
}

/// A box in the file.
struct Place {
    range: Range<usize>,
    /// Indices of those around it.
    parents: Vec<usize>,
}

/// Boxes whose payload is boxes, and how many bytes come before them.
const CONTAINERS: [(&[u8; 4], usize); 21] = [
    (b"moov", 0),
    (b"trak", 0),
    (b"mdia", 0),
    (b"minf", 0),
    (b"stbl", 0),
    (b"dinf", 0),
    (b"edts", 0),
    (b"udta", 0),
    (b"tref", 0),
    (b"mvex", 0),
    (b"moof", 0),
    (b"traf", 0),
    (b"ilst", 0),
    (b"wave", 0),
    (b"meta", 4),
    (b"stsd", 8),
    (b"mp4a", 28),
    (b"Opus", 28),
    (b"fLaC", 28),
    (b"alac", 28),
    (b"enca", 28),
];

/// All boxes, the outer ones first; media is one box.
fn boxes(data: &[u8]) -> Vec<Place> {
    let mut found = Vec::new();
    let mut open = vec![(0..data.len(), Vec::new())];
    while let Some((range, parents)) = open.pop() {
        let mut at = range.start;
        while let Some(&[a, b, c, d, ref kind @ ..]) = data
            .get(at..range.end)
            .and_then(|rest| rest.first_chunk::<8>())
        {
            let size = u32::from_be_bytes([a, b, c, d]) as usize;
            if size < 8 || at + size > range.end || found.len() > 2000 {
                break;
            }
            if let Some((_, before)) = CONTAINERS.iter().find(|(name, _)| *name == kind)
                && 8 + before <= size
            {
                let mut around: Vec<usize> = parents.clone();
                around.push(found.len());
                open.push((at + 8 + before..at + size, around));
            }
            found.push(Place {
                range: at..at + size,
                parents: parents.clone(),
            });
            at += size;
        }
    }
    found
}

/// Mutations that keep the boxes around the place sound, so that what lies deep in them is reached.
fn mutate_box(random: &mut Random, data: &mut Vec<u8>) {
    // The convert target's first byte.
    let skip = usize::from(data[0] != 0);
    let boxes = boxes(&data[skip..]);
    if boxes.is_empty() {
        let head = data.len().min(64);
        return change(random, data, 0..head);
    }
    let place = &boxes[random.between(0, boxes.len())];
    let range = place.range.start + skip..place.range.end + skip;
    let payload = range.start + 8..range.end;
    match random.between(0, 12) {
        // A number in the head of the payload, where versions, counts and sizes stand.
        0..5 if !payload.is_empty() => {
            let words = payload.len().div_ceil(4).min(16);
            let at = payload.start + 4 * random.between(0, words);
            put(random, data, at);
        }
        5 if !payload.is_empty() => change(random, data, payload),
        6 => put(random, data, range.start),
        // Another kind: one of the file's own.
        7 => {
            let other = boxes[random.between(0, boxes.len())].range.start + skip + 4;
            data.copy_within(other..other + 4, range.start + 4);
        }
        8 => resize(data, skip, &boxes, place, range, Vec::new()),
        9 => {
            let twice = data[range.clone()].repeat(random.between(2, 4));
            resize(data, skip, &boxes, place, range, twice);
        }
        // One box in the place of another, or inside itself.
        10 => {
            let other = &boxes[random.between(0, boxes.len())].range;
            let other = data[other.start + skip..other.end + skip].to_vec();
            resize(data, skip, &boxes, place, range, other);
        }
        _ => {
            let mut shorter = data[range.clone()].to_vec();
            let len = random.between(8, shorter.len() + 1);
            shorter.truncate(len);
            shorter[..4].copy_from_slice(&(len as u32).to_be_bytes());
            resize(data, skip, &boxes, place, range, shorter);
        }
    }
}

/// Puts `with` in the place of `range` and corrects the sizes of the boxes around it.
fn resize(
    data: &mut Vec<u8>,
    skip: usize,
    boxes: &[Place],
    place: &Place,
    range: Range<usize>,
    with: Vec<u8>,
) {
    let (before, after) = (range.len(), with.len());
    data.splice(range, with);
    for &parent in &place.parents {
        let at = boxes[parent].range.start + skip;
        let size = boxes[parent].range.len() + after - before;
        data[at..at + 4].copy_from_slice(&(size as u32).to_be_bytes());
    }
}
