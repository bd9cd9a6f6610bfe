//! The worker process, `micropy worker-exec`: converts one video and ends.
//!
//! What LAME or a decoder does to a process, it does to this one. It is given no settings, no secrets and no
//! connection to the stores: it asks the converter, its parent, for the video's bytes, and what it makes goes
//! into a file that the parent opened.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::conversion::Work;
use super::protocol::{Failed, LONGEST_LINE, Made, Progress, Said, Task};
use super::read_ahead::ReadAhead;
use crate::job::options::Conversion;

/// Between two words about progress.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// Does what the converter says at the other end of standard input.
pub fn run() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let product = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut answers = BufReader::new(socket.try_clone()?);
    let mut line = String::new();
    (&mut answers).take(LONGEST_LINE).read_line(&mut line)?;
    let task: Task = serde_json::from_str(&line)?;
    limit(&task)?;
    let mouth = Mouth::new(socket);
    let ended = match convert(&task, &mouth, answers, product) {
        Ok(made) => Said::Made(made),
        Err(failed) => Said::Failed(failed),
    };
    mouth.say(&ended)
}

/// Whatever happens to this process must not happen to the machine, also when the parent is no more.
fn limit(task: &Task) -> io::Result<()> {
    for (resource, most) in [
        (Resource::Data, task.memory),
        (Resource::Cpu, task.cpu.as_secs() + 1),
        // The signal that comes of it tells the parent why.
        (Resource::Fsize, task.output),
        (Resource::Core, 0),
    ] {
        let maximum = getrlimit(resource).maximum;
        let most = Some(maximum.map_or(most, |maximum| maximum.min(most)));
        setrlimit(
            resource,
            Rlimit {
                current: most,
                maximum: most,
            },
        )?;
    }
    Ok(())
}

fn convert(
    task: &Task,
    mouth: &Mouth,
    mut answers: BufReader<UnixStream>,
    product: File,
) -> Result<Made, Failed> {
    let conversion =
        Conversion::from_json(&task.options).map_err(|e| Failed::refused(e.to_string()))?;
    let options = conversion.options_with(task.threads);
    let work = Work {
        options: options.map_err(Failed::refused)?,
        split: conversion.split,
    };
    let fetch = |range: Range<u64>| {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        mouth.say(&Said::Read(range))?;
        answers.read_exact(&mut bytes)?;
        Ok(bytes)
    };
    let source = ReadAhead::new(task.video_bytes, fetch);
    work.run(source, product, |done| mouth.progress(done))
}

/// Says things to the parent.
struct Mouth {
    socket: UnixStream,
    /// When it last told how much is done.
    told: Mutex<Instant>,
}

impl Mouth {
    fn new(socket: UnixStream) -> Self {
        Mouth {
            socket,
            told: Mutex::new(Instant::now()),
        }
    }

    fn say(&self, said: &Said) -> io::Result<()> {
        let mut line = serde_json::to_vec(said)?;
        line.push(b'\n');
        (&self.socket).write_all(&line)
    }

    fn progress(&self, done: Progress) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() < PROGRESS_PAUSE {
            return;
        }
        *told = Instant::now();
        if self.say(&Said::Progress(done)).is_err() {
            // The parent is gone: nobody waits for the rest.
            process::exit(1);
        }
    }
}
