//! A worker process as its converter sees it: started for one attempt at one job, answered, and ended.
//!
//! A panic, an abort in native code or the kernel's hand takes the process, and with it this attempt of this
//! job; nothing else.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use micropy_core::ports::Storage;
use micropy_core::ports::storage::{self, Head};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::protocol::{Cause, LONGEST_LINE, MOST_READ, Made, Said, Task};
use crate::converter::Fault;

/// The command that makes this program a worker process.
const COMMAND: &str = "worker-exec";
/// A process that neither reads nor gets on for so long never will. An engine that is well needs seconds for
/// that, on a slow machine with much else to do.
pub const SILENCE: Duration = Duration::from_secs(5 * 60);
/// What ends a process that writes more to a file than it may: `SIGXFSZ`.
const TOO_LARGE: i32 = rustix::process::Signal::XFSZ.as_raw();
/// For a process that has hung up to end.
const PARTING: Duration = Duration::from_secs(1);
/// Bytes of its last words that are kept.
const LAST_WORDS: usize = 2048;
/// Letters of the longest reason.
const LONGEST_REASON: usize = 1000;
/// What of the environment a process is given: a hostile file must not find our secrets.
const ENVIRONMENT: [&str; 5] = [
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "MALLOC_ARENA_MAX",
    "RUST_BACKTRACE",
    "LLVM_PROFILE_FILE",
];

/// How worker processes are run.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// This program.
    pub program: PathBuf,
    /// Threads that the engine may use for one job.
    pub threads: NonZeroUsize,
    /// How long one attempt may take.
    pub time: Duration,
    /// Bytes that one process may allocate.
    pub memory: u64,
    /// Bytes of the largest product.
    pub output: u64,
    /// Where products are written: a place with room for as many as there are workers.
    pub folder: PathBuf,
    /// How long a process may neither read nor get on.
    pub silence: Duration,
}

impl Workshop {
    /// Converts `video` with `options` as the ledger keeps them, in a process of its own, which is killed
    /// when this future is dropped; `progress` holds how much is done, as the bits of a float.
    pub(crate) async fn convert(
        &self,
        options: &str,
        videos: &Arc<dyn Storage>,
        video: &Head,
        progress: &AtomicU32,
    ) -> Result<(Made, File), Fault> {
        let task = Task {
            options: options.into(),
            threads: self.threads,
            video_bytes: video.bytes,
            memory: self.memory,
            // Beside its threads there is the one that reads and writes.
            cpu: self.time.saturating_mul(self.threads.get() as u32 + 1),
            output: self.output,
        };
        let product = tempfile::tempfile_in(&self.folder).map_err(unstarted)?;
        let mut worker = WorkerProcess::start(self, &product).map_err(unstarted)?;
        let made = timeout(self.time, worker.answer(&task, videos, video, progress)).await;
        match made {
            Ok(made) => Ok((made?, product)),
            Err(_) => Err(Fault::Permanent(format!(
                "The conversion took longer than {}, which is all that this service gives to one.",
                humantime::format_duration(self.time)
            ))),
        }
    }
}

/// The file that runs as this process, also when another was put in its place meanwhile.
pub fn this_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok("/proc/self/exe".into());
    }
    std::env::current_exe()
}

fn unstarted(e: io::Error) -> Fault {
    Fault::Away(format!("no worker process can be started: {e}"))
}

/// A running worker process; dropping it kills it.
struct WorkerProcess {
    process: Child,
    socket: BufReader<UnixStream>,
    silence: Duration,
    output: u64,
    last_words: JoinHandle<String>,
}

impl WorkerProcess {
    fn start(workshop: &Workshop, product: &File) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut process = Command::new(&workshop.program)
            .arg0("micropy")
            .arg(COMMAND)
            .env_clear()
            .envs(
                ENVIRONMENT
                    .into_iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .env("TMPDIR", &workshop.folder)
            .stdin(OwnedFd::from(theirs))
            .stdout(product.try_clone()?)
            .stderr(Stdio::piped())
            // What Ctrl-C ends are the services, which end this in their own time.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let stderr = process.stderr.take();
        Ok(WorkerProcess {
            process,
            socket: BufReader::new(UnixStream::from_std(ours)?),
            silence: workshop.silence,
            output: workshop.output,
            last_words: tokio::spawn(last_words(stderr)),
        })
    }

    /// Gives it the task and the bytes it asks for, until it has ended.
    async fn answer(
        &mut self,
        task: &Task,
        videos: &Arc<dyn Storage>,
        video: &Head,
        progress: &AtomicU32,
    ) -> Result<Made, Fault> {
        let mut line = serde_json::to_vec(task).map_err(|e| unstarted(e.into()))?;
        line.push(b'\n');
        self.tell(&line).await?;
        let mut place = None;
        let mut alive = Instant::now();
        loop {
            let said = match timeout_at(alive + self.silence, self.hear()).await {
                Ok(Ok(Some(said))) => said,
                Ok(Ok(None)) => return Err(self.end().await),
                Ok(Err(e)) => return Err(Fault::Died(format!("the worker process says: {e}"))),
                Err(_) => return Err(Fault::Died(self.nothing("did nothing"))),
            };
            match said {
                Said::Read(range) => {
                    let bytes = timeout(self.silence, fetch(videos, video, range)).await;
                    let bytes = bytes.map_err(|_| {
                        Fault::Away("the video cannot be read: its storage is silent".into())
                    })??;
                    self.tell(&bytes).await?;
                    alive = Instant::now();
                }
                Said::Progress(done) => {
                    let fraction = done.fraction.clamp(0.0, 1.0);
                    progress.store(fraction.to_bits(), Ordering::Relaxed);
                    if place.replace(done.place) != Some(done.place) {
                        alive = Instant::now();
                    }
                }
                Said::Made(made) => return Ok(made),
                Said::Failed(failed) => {
                    let reason = failed.reason.chars().take(LONGEST_REASON).collect();
                    return Err(match failed.cause {
                        Cause::Video => Fault::Permanent(reason),
                        Cause::Chance => Fault::Transient(reason),
                        Cause::Disk => Fault::Away(reason),
                    });
                }
            }
        }
    }

    /// Sends it what it waits for.
    async fn tell(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match timeout(self.silence, self.socket.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.end().await),
            Err(_) => Err(Fault::Died(self.nothing("took nothing"))),
        }
    }

    fn nothing(&self, what: &str) -> String {
        let silence = humantime::format_duration(self.silence);
        format!("the worker process {what} for {silence}")
    }

    /// The next thing it says; nothing when it has hung up.
    async fn hear(&mut self) -> io::Result<Option<Said>> {
        let mut line = Vec::new();
        let mut socket = (&mut self.socket).take(LONGEST_LINE);
        match socket.read_until(b'\n', &mut line).await {
            Ok(0) => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            read => read?,
        };
        Ok(Some(serde_json::from_slice(&line)?))
    }

    /// Why it ended before its work did.
    async fn end(&mut self) -> Fault {
        let ended = async {
            let status = self.process.wait().await?;
            let words = (&mut self.last_words).await.unwrap_or_default();
            io::Result::Ok((status, words))
        };
        match timeout(PARTING, ended).await {
            Ok(Ok((status, _))) if status.signal() == Some(TOO_LARGE) => Fault::Permanent(format!(
                "The MP3 is larger than {} bytes, which is all that this service makes of one video.",
                self.output
            )),
            Ok(Ok((status, words))) => Fault::Died(died(status, &words)),
            Ok(Err(e)) => Fault::Died(e.to_string()),
            Err(_) => Fault::Died("the worker process hung up".into()),
        }
    }
}

fn died(status: ExitStatus, words: &str) -> String {
    let words = words.trim().replace('\n', "; ");
    match words.is_empty() {
        true => format!("the worker process ended: {status}"),
        false => format!("the worker process ended: {status}: {words}"),
    }
}

/// The end of what it writes to standard error, all of which is read: it must not wait for us.
async fn last_words(stderr: Option<ChildStderr>) -> String {
    let mut kept = Vec::new();
    let mut piece = [0; LAST_WORDS];
    if let Some(mut stderr) = stderr {
        while let Ok(n @ 1..) = stderr.read(&mut piece).await {
            kept.extend_from_slice(&piece[..n]);
            kept.drain(..kept.len().saturating_sub(LAST_WORDS));
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// A range of the video, as the process asked for it; it may have gone mad.
async fn fetch(
    videos: &Arc<dyn Storage>,
    video: &Head,
    range: Range<u64>,
) -> Result<Vec<u8>, Fault> {
    if range.start > range.end
        || range.end > video.bytes
        || range.end - range.start > MOST_READ as u64
    {
        return Err(Fault::Died(format!(
            "the worker process asks for bytes {range:?} of {}",
            video.bytes
        )));
    }
    let unread =
        |e: &dyn std::fmt::Display| Fault::Transient(format!("the video cannot be read: {e}"));
    let length = (range.end - range.start) as usize;
    let stream = videos.get(video.id, range).await;
    let mut stream = stream.map_err(|e| match e {
        storage::Error::NotFound => unread(&e),
        e => Fault::Away(format!("the video cannot be read: {e}")),
    })?;
    let mut bytes = Vec::with_capacity(length);
    while let Some(piece) = stream.try_next().await.map_err(|e| unread(&e))? {
        bytes.extend_from_slice(&piece);
    }
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err(unread(&format!("{} of {length} bytes came", bytes.len()))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::path::Path;

    use bytes::Bytes;
    use micropy_core::ports::memory::MemoryStorage;
    use micropy_core::ports::storage::{Label, StorageExt as _};
    use micropy_core::ports::time::ManualClock;
    use micropy_core::ports::{Id, Timestamp};

    use super::*;

    fn workshop(program: PathBuf, folder: &Path) -> Workshop {
        Workshop {
            program,
            threads: NonZeroUsize::MIN,
            time: Duration::from_secs(20),
            memory: 1 << 30,
            output: 1000,
            folder: folder.into(),
            silence: Duration::from_millis(500),
        }
    }

    /// What comes of a video of ten bytes where the worker process does what `script` says once it has its
    /// task; `3` is a copy of the socket that is its standard input.
    async fn convert(script: &str) -> Result<(Made, File), Fault> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o700)
            .open(&program)
            .unwrap();
        write!(file, "#!/bin/sh\nexec 3>&0\nread -r task\n{script}\n").unwrap();
        drop(file);
        let videos: Arc<dyn Storage> = Arc::new(MemoryStorage::new(Arc::new(ManualClock::new(
            Timestamp::default(),
        ))));
        let body = futures_util::stream::iter([Ok(Bytes::from_static(b"0123456789"))]);
        let id = Id::from_bytes([1; 12]);
        let video = videos
            .put(id, &Label::default(), Box::pin(body))
            .await
            .unwrap();
        let workshop = workshop(program, folder.path());
        workshop
            .convert("{}", &videos, &video, &AtomicU32::new(0))
            .await
    }

    async fn death(script: &str) -> String {
        match convert(script).await {
            Err(Fault::Died(why)) => why,
            other => panic!("{script}: {other:?}"),
        }
    }

    const MADE: &str = r#"{"made":{"product":"mp3","audio":{"secs":1,"nanos":0},"report":"{}"}}"#;

    #[tokio::test]
    async fn a_process_is_given_what_it_asks_for() {
        let script = format!(
            r#"echo '{{"read":{{"start":2,"end":6}}}}' >&3
               head -c 4
               echo '{{"progress":{{"fraction":0.5,"place":[0,1.5]}}}}' >&3
               echo '{MADE}' >&3"#
        );
        let (made, mut file) = convert(&script).await.unwrap();
        assert_eq!(made.audio, Duration::from_secs(1));
        io::Seek::rewind(&mut file).unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "2345");
    }

    #[tokio::test]
    async fn what_it_cannot_do_is_told_as_it_says() {
        let refused = r#"echo '{"failed":{"reason":"no audio","cause":"video"}}' >&3"#;
        assert!(matches!(convert(refused).await, Err(Fault::Permanent(why)) if why == "no audio"));
        let chance = r#"echo '{"failed":{"reason":"a bug","cause":"chance"}}' >&3"#;
        assert!(matches!(convert(chance).await, Err(Fault::Transient(why)) if why == "a bug"));
        let disk = r#"echo '{"failed":{"reason":"disk full","cause":"disk"}}' >&3"#;
        assert!(matches!(convert(disk).await, Err(Fault::Away(why)) if why == "disk full"));
        let large = convert("kill -XFSZ $$").await;
        assert!(matches!(large, Err(Fault::Permanent(why)) if why.contains("1000 bytes")));
    }

    #[tokio::test]
    async fn its_death_is_one_failed_attempt() {
        let why = death("echo 'munmap_chunk(): invalid pointer' >&2; kill -ABRT $$").await;
        assert!(
            why.contains("signal: 6") && why.ends_with("invalid pointer"),
            "{why}"
        );
        let why = death("exit 101").await;
        assert!(why.contains("exit status: 101"), "{why}");
        let why = death("head -c 100000 /dev/zero >&2; echo the end >&2; exit 1").await;
        assert!(
            why.ends_with("the end") && why.len() < 3000,
            "{}",
            why.len()
        );
    }

    #[tokio::test]
    async fn silence_and_nonsense_end_it() {
        assert!(
            death("exec sleep 60")
                .await
                .contains("did nothing for 500ms")
        );
        let idle =
            r#"while sleep 0.1; do echo '{"progress":{"fraction":0.5,"place":[0,1.5]}}' >&3; done"#;
        assert!(death(idle).await.contains("did nothing for 500ms"));
        for nonsense in [
            "echo '{\"read\":{\"start\":2,\"end\":11}}'",
            "echo '{\"read\":{\"start\":6,\"end\":2}}'",
            "echo '{\"read\":{\"start\":0,\"end\":18446744073709551615}}'",
            "echo '{\"sing\":1}'",
            "head -c 3000000 /dev/zero",
        ] {
            let why = death(&format!("{nonsense} >&3; exec sleep 60")).await;
            assert!(why.starts_with("the worker process "), "{nonsense}: {why}");
            assert!(!why.contains("did nothing"), "{nonsense}: {why}");
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_a_failed_attempt() {
        let workshop = workshop("/nowhere/micropy".into(), Path::new("/"));
        let Err(e) = WorkerProcess::start(&workshop, &tempfile::tempfile().unwrap()) else {
            panic!("started");
        };
        assert_eq!(e.kind(), io::ErrorKind::NotFound);
    }
}
