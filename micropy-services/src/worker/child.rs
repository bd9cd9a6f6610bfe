//! The worker process as seen from within: reads its task, converts, ends.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::conversion::Conversion;
use super::protocol::{Converted, Failure, MAX_LINE, MAX_RANGES, Message, Progress, Task};
use super::read_ahead::ReadAhead;
use super::sandbox::Sandbox;

/// The pause between two reports of progress.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of the first thread's stack: what systems give it by default.
const STACK: u64 = 8 << 20;
/// Descriptors that the process may have.
const DESCRIPTORS: u64 = 64;

/// Runs this process as the worker process that a converter started, and returns when the video is converted or was
/// found to be unconvertible.
///
/// # Errors
/// When the converter at the other end of standard input is gone, or sends nonsense.
pub fn run() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut responses = BufReader::new(socket.try_clone()?);
    let mut line = String::new();
    (&mut responses).take(MAX_LINE).read_line(&mut line)?;
    let task: Task = serde_json::from_str(&line)?;
    limit_resources(&task)?;
    let conversion = Conversion::new(&task);
    Sandbox::enter()?;
    let parent = Parent::new(socket);
    let converted =
        conversion.and_then(|conversion| convert(conversion, &task, &parent, responses, output));
    let result = match converted {
        Ok(converted) => Message::Converted(Box::new(converted)),
        Err(failure) => Message::Failed(failure),
    };
    parent.send(&result)
}

/// Whatever goes wrong in this process must not harm the machine, even when the parent is gone.
fn limit_resources(task: &Task) -> io::Result<()> {
    for (resource, limit) in [
        (Resource::Data, task.memory),
        // That of the first thread; the others' count as data.
        (Resource::Stack, STACK),
        (Resource::Cpu, task.cpu.as_secs() + 1),
        // The signal that follows tells the parent the reason.
        (Resource::Fsize, task.output),
        (Resource::Core, 0),
        (Resource::Nofile, DESCRIPTORS),
    ] {
        let maximum = getrlimit(resource).maximum;
        let limit = Some(maximum.map_or(limit, |maximum| maximum.min(limit)));
        setrlimit(
            resource,
            Rlimit {
                current: limit,
                maximum: limit,
            },
        )?;
    }
    Ok(())
}

fn convert(
    conversion: Conversion,
    task: &Task,
    parent: &Parent,
    mut responses: BufReader<UnixStream>,
    output: File,
) -> Result<Converted, Failure> {
    let fetch = |range: Range<u64>| {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        parent.send(&Message::Read(range))?;
        responses.read_exact(&mut bytes)?;
        Ok(bytes)
    };
    let mut source = ReadAhead::new(task.video_bytes, fetch);
    if task.announce {
        source = source.announcing(|ranges| {
            // The parent may do without.
            let ranges = ranges[..ranges.len().min(MAX_RANGES)].to_vec();
            let _ = parent.send(&Message::WillRead(ranges));
        });
    }
    conversion.run(source, output, |progress| parent.report(progress))
}

/// The converter at the other end of the socket.
struct Parent {
    socket: UnixStream,
    /// When progress was last reported.
    reported: Mutex<Instant>,
}

impl Parent {
    fn new(socket: UnixStream) -> Self {
        Parent {
            socket,
            reported: Mutex::new(Instant::now()),
        }
    }

    fn send(&self, message: &Message) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        (&self.socket).write_all(&line)
    }

    fn report(&self, progress: Progress) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.elapsed() < PROGRESS_PAUSE {
            return;
        }
        *reported = Instant::now();
        if self.send(&Message::Progress(progress)).is_err() {
            // The parent is gone: nobody waits for the rest.
            process::exit(1);
        }
    }
}
