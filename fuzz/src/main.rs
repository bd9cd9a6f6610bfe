//! The bounded run: so many mutations of the seeds, the same every time, on a stable Rust.
//!
//! ```text
//! micropy-fuzz run [--cases N] [--seed N] [--found DIR] [TARGET…]
//! micropy-fuzz one TARGET FILE…       these files, and what each costs
//! micropy-fuzz seeds TARGET DIR       the seeds as files, for libFuzzer
//! ```
//!
//! The cases run in child processes, so that an abort in native code, a stack that overflows or a case without
//! end costs that case only: it is written to the folder of what was found, and the rest goes on.
//!
//! What a case may cost ([`MEMORY`], [`TIME`]) is measured: the highest sum of what Rust has allocated, and the
//! time on a processor of all threads together.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use micropy_fuzz::mutation::mutated;
use micropy_fuzz::seed::seeds;
use micropy_fuzz::{Outcome, Target};

/// Bytes that an input of less than 1 MB may take, beside itself and the MP3 in memory.
const MEMORY: usize = 64 << 20;
/// Time on a processor that it may take, beside what its audio takes.
const TIME: Duration = Duration::from_secs(5);
/// Seconds of audio that a second on a processor converts at the least, in a build like this one.
const SPEED: u32 = 20;
/// A case over this is ended: on a processor, where it computes, or by the clock, where it waits for itself.
const NO_END: Duration = Duration::from_secs(30);
const NO_END_BY_THE_CLOCK: Duration = Duration::from_secs(300);
/// No sound allocation comes near it.
const ALLOCATION_LIMIT: usize = 1 << 30;

/// The system's allocator, which counts.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count(size: usize) -> bool {
    let live = LIVE.fetch_add(size, Relaxed) + size;
    PEAK.fetch_max(live, Relaxed);
    live < ALLOCATION_LIMIT
}

// SAFETY: every call goes to the system's allocator as it came, or is refused by a null pointer.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !count(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !count(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !count(size) {
            return std::ptr::null_mut();
        }
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Time on a processor of all threads of this process.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name in brackets; the kernel counts in hundredths of a second.
    let ticks = stat
        .rsplit(')')
        .next()
        .into_iter()
        .flat_map(|rest| rest.split(' ').skip(12).take(2))
        .filter_map(|field| field.parse::<u64>().ok())
        .sum::<u64>();
    Duration::from_millis(10 * ticks)
}

/// What a case cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    bytes: usize,
    time: Duration,
    outcome: Outcome,
}

static PANIC: Mutex<String> = Mutex::new(String::new());

/// Runs one case; the reason why it is not as it should be.
fn run_case(target: Target, data: &[u8]) -> (Cost, Result<(), String>) {
    let (bytes, time) = (LIVE.load(Relaxed), processor_time());
    PEAK.store(bytes, Relaxed);
    let done = catch_unwind(AssertUnwindSafe(|| target.run(data)));
    let mut cost = Cost {
        bytes: PEAK.load(Relaxed).saturating_sub(bytes),
        time: processor_time().saturating_sub(time),
        outcome: Outcome::default(),
    };
    match done {
        Err(_) => {
            let why = PANIC.lock().map(|why| why.clone()).unwrap_or_default();
            return (cost, Err(format!("panic: {why}")));
        }
        Ok(Err(why)) => return (cost, Err(why)),
        Ok(Ok(outcome)) => cost.outcome = outcome,
    }
    // A vector that grows is there twice for a moment.
    let room = MEMORY + 3 * cost.outcome.bytes;
    let most = TIME + cost.outcome.audio / SPEED;
    let verdict = if cost.bytes > room {
        Err(format!("{} MB of memory", cost.bytes >> 20))
    } else if cost.time > most {
        let audio = cost.outcome.audio;
        Err(format!(
            "{:?} on a processor for {audio:?} of audio",
            cost.time
        ))
    } else {
        Ok(())
    };
    (cost, verdict)
}

/// When the running case began, on the processor and by the clock.
static CASE_BEGAN: Mutex<Option<(Duration, Instant)>> = Mutex::new(None);

/// Ends the process where a case has no end.
fn watch() {
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(500));
            let Some((computed, began)) = CASE_BEGAN.lock().ok().and_then(|began| *began) else {
                continue;
            };
            if processor_time().saturating_sub(computed) > NO_END
                || began.elapsed() > NO_END_BY_THE_CLOCK
            {
                println!("! {:?} after its begin, and no end", began.elapsed());
                std::process::exit(3);
            }
        }
    });
}

fn begin_cases() {
    std::panic::set_hook(Box::new(|panic| {
        if let Ok(mut why) = PANIC.lock() {
            *why = panic.to_string();
        }
    }));
    watch();
}

fn case_begins() {
    if let Ok(mut began) = CASE_BEGAN.lock() {
        *began = Some((processor_time(), Instant::now()));
    }
}

fn corpus() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("MICROPY_CORPUS")?);
    folder.is_dir().then_some(folder)
}

/// A child: the cases `first`, `first + step`… below `end`. Tells `= CASE` before each, `! WHY` where one is not
/// as it should be, and in the end what they cost at most.
fn shard(target: Target, seed: u64, [first, step, end]: [u64; 3]) {
    let seeds = seeds(target, corpus().as_deref());
    begin_cases();
    let mut most = Cost::default();
    // Not locked: whoever ends a case without an end says so here, too.
    let mut out = io::stdout();
    for case in (first..end).step_by(step as usize) {
        _ = writeln!(out, "= {case}").and_then(|()| out.flush());
        let data = mutated(target, &seeds, seed, case);
        case_begins();
        let (cost, verdict) = run_case(target, &data);
        if let Err(why) = verdict {
            _ = writeln!(out, "! {}", why.replace('\n', " "));
        }
        most.bytes = most.bytes.max(cost.bytes);
        most.time = most.time.max(cost.time);
    }
    _ = writeln!(out, "# {} {}", most.bytes, most.time.as_millis());
}

/// What all cases of a target came to.
#[derive(Default)]
struct Tally {
    cases: u64,
    found: u64,
    bytes: usize,
    millis: u64,
}

/// Runs the cases of one child after the other until all are through.
fn drive(
    target: Target,
    seed: u64,
    [first, step, end]: [u64; 3],
    found: &Path,
    tally: &Mutex<Tally>,
) -> io::Result<()> {
    let program = std::env::current_exe()?;
    let mut next = first;
    while next < end {
        let mut child = Command::new(&program)
            .args(["shard", target.name()])
            .args([seed, next, step, end].map(|n| n.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (mut case, mut whole) = (next, false);
        let keep = |case: u64, why: &str| -> io::Result<()> {
            let seeds = seeds(target, corpus().as_deref());
            let name = found.join(format!("{}-{seed}-{case}", target.name()));
            fs::create_dir_all(found)?;
            fs::write(&name, mutated(target, &seeds, seed, case))?;
            println!("{}: {why}", name.display());
            Ok(())
        };
        let mut ended = false;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines() {
                let line = line?;
                let mut tally = tally.lock().map_err(|_| io::Error::other("poisoned"))?;
                match line.split_at_checked(2) {
                    Some(("= ", number)) => {
                        case = number.parse().unwrap_or(case);
                        tally.cases += 1;
                    }
                    Some(("! ", why)) => {
                        ended = why.ends_with("no end");
                        tally.found += 1;
                        keep(case, why)?;
                    }
                    Some(("# ", most)) => {
                        whole = true;
                        if let Some((bytes, millis)) = most.split_once(' ') {
                            tally.bytes = tally.bytes.max(bytes.parse().unwrap_or(0));
                            tally.millis = tally.millis.max(millis.parse().unwrap_or(0));
                        }
                    }
                    _ => {}
                }
            }
        }
        let output = child.wait_with_output()?;
        if !whole && !ended {
            let said = String::from_utf8_lossy(&output.stderr);
            let mut tally = tally.lock().map_err(|_| io::Error::other("poisoned"))?;
            tally.found += 1;
            keep(case, &format!("{}: {}", output.status, said.trim()))?;
        }
        next = if whole { end } else { case + step };
    }
    Ok(())
}

fn run(args: &[String]) -> io::Result<bool> {
    let mut cases = 20_000;
    let mut seed = 1;
    let mut found = PathBuf::from("target/fuzz-found");
    let mut targets = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse().ok());
        match arg.as_str() {
            "--cases" => cases = number().ok_or(io::ErrorKind::InvalidInput)?,
            "--seed" => seed = number().ok_or(io::ErrorKind::InvalidInput)?,
            "--found" => found = args.next().ok_or(io::ErrorKind::InvalidInput)?.into(),
            name => targets.push(Target::named(name).ok_or(io::ErrorKind::InvalidInput)?),
        }
    }
    if targets.is_empty() {
        targets = Target::ALL.to_vec();
    }
    let children = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let mut sound = true;
    for &target in &targets {
        // A conversion takes as long as many looks into a file.
        let share = match (target, targets.len()) {
            (_, 1) => cases,
            (Target::Demux, _) => cases * 6 / 10,
            (Target::Convert, _) => cases * 2 / 10,
            (Target::Mp3, _) => cases * 2 / 10,
        };
        let tally = Mutex::new(Tally::default());
        let began = Instant::now();
        thread::scope(|scope| {
            let drivers: Vec<_> = (0..children)
                .map(|first| {
                    let (found, tally) = (&found, &tally);
                    scope.spawn(move || drive(target, seed, [first, children, share], found, tally))
                })
                .collect();
            drivers.into_iter().try_for_each(|driver| {
                driver
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a driver panicked")))
            })
        })?;
        let tally = tally
            .into_inner()
            .map_err(|_| io::Error::other("poisoned"))?;
        println!(
            "{}: {} cases, {} found, at most {:.1} MB and {} ms of a processor, {} s",
            target.name(),
            tally.cases,
            tally.found,
            tally.bytes as f64 / f64::from(1 << 20),
            tally.millis,
            began.elapsed().as_secs()
        );
        sound &= tally.found == 0 && tally.cases == share;
    }
    Ok(sound)
}

fn one(target: Target, files: &[String]) -> io::Result<bool> {
    begin_cases();
    let mut sound = true;
    for file in files {
        let data = fs::read(file)?;
        println!("{file}");
        case_begins();
        let (cost, verdict) = run_case(target, &data);
        println!(
            "  {:.1} MB, {:?}, {:?} of audio: {}",
            cost.bytes as f64 / f64::from(1 << 20),
            cost.time,
            cost.outcome.audio,
            verdict.as_ref().err().map_or("well", String::as_str)
        );
        sound &= verdict.is_ok();
    }
    Ok(sound)
}

fn write_seeds(target: Target, folder: &str) -> io::Result<bool> {
    fs::create_dir_all(folder)?;
    for (i, seed) in seeds(target, corpus().as_deref()).iter().enumerate() {
        fs::write(Path::new(folder).join(format!("seed-{i:03}")), seed)?;
    }
    Ok(true)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let target = words.get(1).and_then(|name| Target::named(name));
    let done = match (words.first(), target) {
        (Some(&"run"), _) => run(&args[1..]),
        (Some(&"one"), Some(target)) => one(target, &args[2..]),
        (Some(&"seeds"), Some(target)) if args.len() == 3 => write_seeds(target, &args[2]),
        (Some(&"shard"), Some(target)) => {
            let numbers: Vec<u64> = args[2..].iter().filter_map(|n| n.parse().ok()).collect();
            let [seed, first, step, end] = numbers[..] else {
                return ExitCode::from(2);
            };
            shard(target, seed, [first, step, end]);
            Ok(true)
        }
        _ => {
            eprintln!("micropy-fuzz run [--cases N] [--seed N] [--found DIR] [TARGET…]");
            eprintln!("micropy-fuzz one TARGET FILE…");
            eprintln!("micropy-fuzz seeds TARGET DIR");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("micropy-fuzz: {e}");
            ExitCode::from(2)
        }
    }
}
