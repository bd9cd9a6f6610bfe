//! The worker process, which converts one video in isolation.
//!
//! The converter starts one for each attempt at a job. A panic, an abort in native code or a kill by the kernel ends
//! that process, and with it that attempt of that job; nothing else. The process gets no settings, no secrets and no
//! connection to the stores. It asks for the video's bytes over a socket, which is its standard input, and writes to a
//! file that the converter opened, which is its standard output. On Linux it can open no file, connect to nothing,
//! start no program and reach no other process: Landlock and a seccomp filter hold it, as far as the kernel has them.
//!
//! Any program can serve as the worker process if it calls [`run`] when it is started with the arguments that
//! [`Worker`] holds:
//!
//! ```no_run
//! use micropy_services::worker::{self, Worker};
//!
//! fn main() -> std::io::Result<()> {
//!     if std::env::args().nth(1).as_deref() == Some("convert-one") {
//!         return worker::run();
//!     }
//!     let worker = Worker::this_program(["convert-one"])?;
//!     // Give `worker` to a `ConverterService`.
//!     # drop(worker);
//!     Ok(())
//! }
//! ```

mod child;
mod conversion;
mod process;
mod protocol;
mod read_ahead;
mod report;
mod sandbox;
mod video;
mod window;

pub use child::run;

pub(crate) use process::Converted;
pub(crate) use sandbox::Sandbox;
pub(crate) use video::{TOO_SLOW, Video};

use std::ffi::OsString;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// How worker processes are started, and what each may use.
#[derive(Clone, Debug)]
pub struct Worker {
    program: PathBuf,
    /// What the process calls itself.
    name: Option<OsString>,
    arguments: Vec<OsString>,
    threads: Option<NonZeroUsize>,
    time: Duration,
    memory: u64,
    output: u64,
    folder: PathBuf,
    stall: Duration,
}

impl Worker {
    /// Worker processes that run `program` with `arguments`. With these arguments it must call [`run`].
    pub fn new<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Worker {
            program: program.into(),
            name: None,
            arguments: arguments.into_iter().map(Into::into).collect(),
            threads: None,
            time: Duration::from_secs(60 * 60),
            memory: 512 << 20,
            output: 4 << 30,
            folder: std::env::temp_dir(),
            stall: Duration::from_secs(5 * 60),
        }
    }

    /// Worker processes that run the program of this process, even after its file was replaced by another.
    ///
    /// # Errors
    /// When the system does not say which program this is.
    pub fn this_program<A: Into<OsString>>(
        arguments: impl IntoIterator<Item = A>,
    ) -> io::Result<Self> {
        let file = std::env::current_exe()?;
        let name = file.file_name().map(ToOwned::to_owned);
        let program = match cfg!(target_os = "linux") {
            true => "/proc/self/exe".into(),
            false => file,
        };
        Ok(Worker {
            name,
            ..Worker::new(program, arguments)
        })
    }

    /// Threads of the engine in each process. By default, the converter divides the cores among its workers.
    #[must_use]
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// How long an attempt may take. The default is one hour.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time = limit;
        self
    }

    /// Bytes that a process may allocate, where the system can limit it (Linux). The default is 512 MiB.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Bytes of the largest MP3, or ZIP file of chapters. The default is 4 GiB.
    #[must_use]
    pub fn output_limit(mut self, bytes: u64) -> Self {
        self.output = bytes;
        self
    }

    /// The folder for temporary files. It needs room for the output of every worker. The default is the system's.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// How long a process may neither read nor make progress. The default is five minutes: a healthy one needs seconds,
    /// even on a slow and busy machine.
    #[must_use]
    pub fn stall_limit(mut self, limit: Duration) -> Self {
        self.stall = limit;
        self
    }

    /// Sets the threads unless the embedder did.
    pub(crate) fn default_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads.get_or_insert(threads);
        self
    }
}

/// The reason that a job's owner is given when they may not store that much.
pub(crate) const NO_ROOM: &str =
    "The MP3 does not fit into your storage. Delete what you no longer need, then retry this job.";

/// Why an attempt made no MP3.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Every attempt would fail like this: the reason, for the job's owner.
    Permanent(String),
    /// Another attempt may succeed: the reason, for the log.
    Transient(String),
    /// A store or a disk is unavailable or full. It is not the video's fault, so the attempt does not count: the
    /// reason, for the log.
    Unavailable(String),
    /// What a URL names cannot be read now: the reason, for the job's owner, who may mend it.
    Unreachable(String),
    /// The worker process crashed, stalled or broke the protocol, as it may with this video every time: how, for the
    /// log.
    Crashed(String),
}
