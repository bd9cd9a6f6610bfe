//! What a file may cost in memory, whatever its boxes say of their sizes.
//!
//! The bytes that are held are counted by the allocator. The tests of this file take turns.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use build::{audio_entry, esds, ftyp, make, mdhd, mvhd, sample_tables, stsd, table, trak, words};
use micropy_core::{Converter, FileSink, Options, Source, StreamSource, probe};
use support::clip;
use support::zeros::Zeros;

mod support;

#[allow(dead_code, reason = "shared with other tests")]
#[path = "../src/mp4/tests/build.rs"]
mod build;

/// The system's allocator, which counts.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count(size: usize) {
    let held = HELD.fetch_add(size, Relaxed) + size;
    PEAK.fetch_max(held, Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        HELD.fetch_sub(layout.size(), Relaxed);
        count(size);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test after another.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most bytes held at once during `work`, beside those held before.
fn peak_of<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = work();
    (PEAK.load(Relaxed) - before, result)
}

/// Counts what is read, of a source that may read itself for a while.
struct Counted<S> {
    inner: S,
    read: u64,
}

impl<S: Source> Source for Counted<S> {
    fn size(&self) -> Option<u64> {
        self.inner.size()
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read_at(offset, buf)?;
        self.read += n as u64;
        Ok(n)
    }
    fn keep_from(&mut self, offset: u64) -> io::Result<()> {
        self.inner.keep_from(offset)
    }
}

/// The same zeros to whoever cannot seek.
struct Reader<S>(S, u64);

impl<S: Source> io::Read for Reader<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read_at(self.1, buf)?;
        self.1 += n as u64;
        Ok(n)
    }
}

/// A file with every kind of box that is read, and three packets.
fn every_box() -> Vec<u8> {
    let data = |kind: u32, value: &[u8]| make(b"data", &[&words(&[kind, 0]), value]);
    let item = |kind, data: &[u8]| make(kind, &[data]);
    let free = [
        make(b"mean", &[&[0; 4], b"com.apple.iTunes"]),
        make(b"name", &[&[0; 4], b"LABEL"]),
        data(1, b"a"),
    ];
    let items = [
        item(b"\xA9nam", &data(1, b"title")),
        item(b"trkn", &data(0, &[0, 0, 0, 1, 0, 2, 0, 0])),
        item(b"covr", &data(13, b"\xFF\xD8\xFF\xE0 picture")),
        make(b"----", &[&free.concat()]),
    ];
    let itunes = make(b"meta", &[&[0; 4], &make(b"ilst", &[&items.concat()])]);
    let keys = make(
        b"keys",
        &[
            &words(&[0, 1]),
            &make(b"mdta", &[b"com.apple.quicktime.title"]),
        ],
    );
    let named = make(b"ilst", &[&make(&[0, 0, 0, 1], &[&data(1, b"title")])]);
    let quicktime = make(b"meta", &[&make(b"hdlr", &[&[0; 25]]), &keys, &named]);
    let chpl = make(
        b"chpl",
        &[&[1, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 8], b"\x03One"],
    );
    let udta = [
        make(b"\xA9cmt", &[b"\0\x01\0\0c"]),
        make(b"titl", &[&[0, 0, 0, 0, 0x15, 0xC7], b"t\0"]),
        chpl,
        itunes,
    ];
    let edits = make(b"edts", &[&table(b"elst", &[[80, 1024, 1 << 16]])]);
    let tref = make(b"tref", &[&make(b"chap", &[&words(&[2, 3])])]);
    let trex = make(b"trex", &[&words(&[0, 1, 1, 1024, 3, 0])]);
    let mehd = make(b"mehd", &[&words(&[0, 100])]);
    let aac = stsd(&audio_entry(b"mp4a", &esds()));
    let old = [
        stsd(&make(b"text", &[&[0; 51]])),
        table(b"stts", &[[1, 1024]]),
        table(b"stsc", &[[1, 1, 1]]),
        make(b"stz2", &[&words(&[0, 8, 1]), &[5]]),
        make(b"co64", &[&words(&[0, 1, 0, 40])]),
    ];
    let pictures = [
        stsd(&make(b"jpeg", &[&[0; 78]])),
        sample_tables(&[5], 1, &[40]),
    ];
    let sound = [
        make(b"tkhd", &[&words(&[0x3, 0, 0, 1, 0, 0]), &[0; 60]]),
        edits,
        tref,
        make(
            b"mdia",
            &[
                &mdhd(44_100),
                &build::hdlr(b"soun"),
                &make(
                    b"minf",
                    &[&make(
                        b"stbl",
                        &[&aac, &sample_tables(&[3, 5, 7], 3, &[40])],
                    )],
                ),
            ],
        ),
    ];
    let moov = [
        mvhd(1000),
        make(b"trak", &[&sound.concat()]),
        trak(2, b"text", &[], &old.concat()),
        trak(3, b"vide", &[], &pictures.concat()),
        make(b"mvex", &[&mehd, &trex]),
        make(b"udta", &[&udta.concat()]),
        quicktime.clone(),
    ];
    let index = make(b"sidx", &[&words(&[0, 1, 44_100, 0, 0, 2]), &[0; 24]]);
    let run = make(b"trun", &[&words(&[0x301, 2, 100, 1024, 3, 1024, 4])]);
    let traf = [
        make(b"tfhd", &[&words(&[0x2_0000, 1])]),
        make(b"tfdt", &[&words(&[0, 3072])]),
        run,
    ];
    let moof = make(
        b"moof",
        &[
            &make(b"mfhd", &[&words(&[0, 1])]),
            &make(b"traf", &[&traf.concat()]),
        ],
    );
    [
        ftyp(),
        make(b"mdat", &[&[7; 64]]),
        quicktime,
        make(b"moov", &[&moov.concat()]),
        index,
        moof,
        make(b"mdat", &[&[7; 64]]),
    ]
    .concat()
}

/// Where a box is, and those that it is in.
struct Found {
    at: usize,
    kind: [u8; 4],
    around: Vec<usize>,
}

/// All boxes of `every_box`.
fn boxes(file: &[u8]) -> Vec<Found> {
    const CONTAINERS: [&[u8; 4]; 15] = [
        b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"tref", b"mvex", b"udta", b"ilst",
        b"moof", b"traf", b"----", b"covr", b"trkn",
    ];
    fn walk(file: &[u8], from: usize, to: usize, around: &[usize], found: &mut Vec<Found>) {
        let mut at = from;
        while at + 8 <= to {
            let size = u32::from_be_bytes(*file[at..].first_chunk().unwrap()) as usize;
            let kind: [u8; 4] = *file[at + 4..].first_chunk().unwrap();
            assert!(
                size >= 8 && at + size <= to,
                "{} at {at}",
                kind.escape_ascii()
            );
            found.push(Found {
                at,
                kind,
                around: around.to_vec(),
            });
            let is_item = kind[0] == 0xA9 && file.get(at + 12..at + 16) == Some(b"data");
            let skip = match &kind {
                b"meta" if file[at + 8..at + 12] == [0; 4] => Some(4),
                b"meta" => Some(0),
                b"keys" | b"stsd" => Some(8),
                [0, 0, 0, 1] => Some(0),
                kind if CONTAINERS.contains(&kind) || is_item => Some(0),
                _ => None,
            };
            if let Some(skip) = skip {
                let inner = [around, &[at]].concat();
                walk(file, at + 8 + skip, at + size, &inner, found);
            }
            at += size;
        }
    }
    let mut found = Vec::new();
    walk(file, 0, file.len(), &[], &mut found);
    found
}

/// How a box may lie about its size.
#[derive(Clone, Copy, Debug)]
enum Size {
    /// In 32 bits; 0: to the end of the file.
    Short(u32),
    /// In 64 bits, in the place of the first bytes of the payload.
    Long(u64),
}

fn lie(file: &mut [u8], at: usize, size: Size) {
    let short = match size {
        Size::Short(size) => size,
        Size::Long(_) => 1,
    };
    file[at..at + 4].copy_from_slice(&short.to_be_bytes());
    if let Size::Long(size) = size
        && let Some(place) = file.get_mut(at + 8..at + 16)
    {
        place.copy_from_slice(&size.to_be_bytes());
    }
}

const SIZES: [Size; 9] = [
    Size::Short(0),
    Size::Short(2),
    Size::Short(9),
    Size::Short(0x1000_0000),
    Size::Short(u32::MAX),
    Size::Long(0),
    Size::Long(16),
    Size::Long(1 << 33),
    Size::Long(u64::MAX),
];

/// No box of any kind makes a small file cost much, whatever size it says it has, and whether those around it agree.
#[test]
fn no_size_of_any_box_costs_memory() {
    /// Beside what is read of a file in steps: the largest is a cover, whose buffer doubles as it grows.
    const MOST: usize = 40 << 20;
    let _turn = alone();
    let file = every_box();
    let found = boxes(&file);
    for kind in [
        b"ftyp", b"moov", b"mvhd", b"trak", b"tkhd", b"edts", b"elst", b"tref", b"chap", b"mdia",
        b"mdhd", b"hdlr", b"minf", b"stbl", b"stsd", b"mp4a", b"stts", b"stsc", b"stsz", b"stz2",
        b"stco", b"co64", b"udta", b"meta", b"keys", b"mdta", b"ilst", b"data", b"covr", b"----",
        b"mean", b"name", b"chpl", b"titl", b"mvex", b"mehd", b"trex", b"sidx", b"moof", b"traf",
        b"tfhd", b"tfdt", b"trun", b"mdat",
    ] {
        assert!(
            found.iter().any(|f| f.kind == *kind),
            "{}",
            kind.escape_ascii()
        );
    }
    let mut worst = (0, 0);
    for found in &found {
        for size in SIZES {
            for open in [false, true] {
                let mut head = file.clone();
                if open {
                    for &outer in &found.around {
                        lie(&mut head, outer, Size::Short(0));
                    }
                }
                lie(&mut head, found.at, size);
                let what = format!("{} {size:?}, open: {open}", found.kind.escape_ascii());
                let far = |size| Zeros {
                    head: head.clone(),
                    size,
                };
                let mut seekable = Counted {
                    inner: far(1 << 40),
                    read: 0,
                };
                let mut pipe = StreamSource::new(Reader(far(12 << 20), 0));
                // Of a pipe, whose length is not known, the end of the file is no size at all.
                let is_endless = open && matches!(size, Size::Short(0));
                let (peak, outcome) = peak_of(|| {
                    catch_unwind(AssertUnwindSafe(|| {
                        let _ = probe(&mut seekable);
                        let _ = is_endless.then(|| probe(&mut pipe));
                    }))
                });
                assert!(outcome.is_ok(), "{what}: it panicked");
                assert!(peak < MOST, "{what}: {peak} bytes of memory");
                assert!(
                    seekable.read < MOST as u64,
                    "{what}: {} bytes",
                    seekable.read
                );
                worst = (worst.0.max(peak), worst.1.max(seekable.read));
            }
        }
    }
    println!("at most {} bytes held, {} read", worst.0, worst.1);
}

/// A fragment of so many runs of `size` bytes, of which only the beginnings are stored.
struct Holes {
    head: Vec<u8>,
    run: Vec<u8>,
    size: u64,
    runs: u64,
}

impl Source for Holes {
    fn size(&self) -> Option<u64> {
        Some(self.head.len() as u64 + self.size * self.runs)
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let Some(behind) = offset.checked_sub(self.head.len() as u64) else {
            return self.head.as_slice().read_at(offset, buf);
        };
        let (run, at) = (behind / self.size, behind % self.size);
        if run >= self.runs {
            return Ok(0);
        }
        if at < self.run.len() as u64 {
            return self.run.as_slice().read_at(at, buf);
        }
        let n = buf.len().min((self.size - at) as usize);
        buf[..n].fill(0);
        Ok(n)
    }
    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_runs_of_a_fragment_do_not_fill_the_memory() {
    let _turn = alone();
    let trex = make(b"trex", &[&words(&[0, 1, 1, 1024, 3, 0])]);
    let sound = trak(
        1,
        b"soun",
        &[],
        &[
            stsd(&audio_entry(b"mp4a", &esds())),
            sample_tables(&[], 1, &[]),
        ]
        .concat(),
    );
    let moov = make(b"moov", &[&mvhd(1000), &sound, &make(b"mvex", &[&trex])]);
    let tfhd = make(b"tfhd", &[&words(&[0x2_0000, 1])]);
    // Four million sizes, all 0, in 16 MB that no disk has to hold.
    let (size, runs) = (16_000_000, 40);
    let run = [
        &words(&[size])[..],
        b"trun",
        &words(&[0x201, (size - 20) / 4, 100]),
    ]
    .concat();
    let traf = size * runs + tfhd.len() as u32 + 8;
    let head = [
        ftyp(),
        moov,
        words(&[traf + 8]),
        b"moof".to_vec(),
        words(&[traf]),
        b"traf".to_vec(),
        tfhd,
    ]
    .concat();
    let source = Holes {
        head,
        run,
        size: size.into(),
        runs: runs.into(),
    };
    let (peak, _) = peak_of(|| probe(source).map(|found| found.tracks.len()));
    assert!(peak < 120 << 20, "{peak} bytes of memory");
}

/// A clip with a cover of so many bytes in a `udta` box of its own, at the end of its `moov`.
fn with_cover(len: usize) -> Vec<u8> {
    let mut file = clip("moov-last-stereo-44100.mp4");
    let moov = file.windows(4).rposition(|w| w == b"moov").unwrap() - 4;
    let mut picture = b"\xFF\xD8\xFF\xE0".to_vec();
    picture.resize(len, 7);
    let data = make(b"data", &[&words(&[13, 0]), &picture]);
    let ilst = make(b"ilst", &[&make(b"covr", &[&data])]);
    let udta = make(b"udta", &[&make(b"meta", &[&[0; 4], &ilst])]);
    let size = (file.len() - moov + udta.len()) as u32;
    file[moov..moov + 4].copy_from_slice(&size.to_be_bytes());
    file.extend(udta);
    file
}

/// It is in memory as it was read, and once more in the tag that is written.
#[test]
fn a_cover_is_held_twice_at_most() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let convert = |len: usize| {
        let file = with_cover(len);
        let path = folder.path().join(format!("{len}.mp3"));
        let (peak, report) = peak_of(|| {
            let sink = FileSink::create(&path, true).unwrap();
            Converter::new(Options::new().jobs(1)).convert(file.as_slice(), sink)
        });
        assert!(report.unwrap().warnings.is_empty());
        let written = std::fs::metadata(&path).unwrap().len() as usize;
        assert!(written > len);
        peak
    };
    // The second time, so that tables made once do not count.
    convert(1000);
    let small = convert(1000);
    let len = 15 << 20;
    let large = convert(len);
    println!("{} bytes for a cover of {len}", large - small);
    assert!(large - small < 2 * len + (1 << 20), "{}", large - small);
}
