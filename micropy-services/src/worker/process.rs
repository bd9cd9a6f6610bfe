//! The worker process as its converter sees it: started for one attempt, served, and ended.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::protocol::{Cause, MAX_LINE, Message, Task};
use super::video::{Patience, Video};
use super::{Fault, NO_ROOM, Worker, protocol};
use crate::job::product::Product;

/// The signal that ends a process whose file grows beyond its limit.
const FILE_TOO_LARGE: i32 = rustix::process::Signal::XFSZ.as_raw();
/// How long a process may take to end after it closed its socket.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);
/// Threads beside those that the engine is told to have.
const MORE_THREADS: usize = 64;
/// How often a process may say what it will read before it reads anything.
const ANNOUNCEMENTS: u32 = 100;
/// How often the threads of a process are counted.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes by which it is tried out whether a disk takes more.
const MORE_BYTES: usize = 1 << 20;
/// Bytes kept of the end of its standard error.
const STDERR_BYTES: usize = 2048;
/// Characters of the longest reason.
const MAX_REASON: usize = 1000;
/// Bytes that a second of audio takes at least: a tenth of what it does at 8 kbit/s, the lowest bitrate of an MP3.
const LEAST_BYTES: u64 = 100;
/// The variables that a process inherits: a hostile file must not find our secrets.
const ENVIRONMENT: [&str; 5] = [
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "MALLOC_ARENA_MAX",
    "RUST_BACKTRACE",
    "LLVM_PROFILE_FILE",
];

/// A conversion that succeeded, as far as the process can be believed.
#[derive(Debug)]
pub(crate) struct Converted {
    /// What was made.
    pub product: Product,
    /// Length of the audio.
    pub audio: Duration,
    /// The report for the job's owner, in JSON.
    pub report: String,
}

impl Converted {
    /// What the process says that it has made, in so many bytes.
    fn read(said: protocol::Converted, bytes: u64) -> Result<Self, String> {
        if said.audio.as_secs() > bytes / LEAST_BYTES {
            return Err(format!("{:?} of audio in {bytes} bytes", said.audio));
        }
        Ok(Converted {
            product: said.product,
            audio: said.audio,
            report: said.report.into_json(said.product)?,
        })
    }
}

impl Worker {
    /// Converts `video` with `options`, as the ledger keeps them, in a process of its own, into `room` bytes at most.
    /// Dropping the future kills the process. `progress` holds the fraction done, as the bits of a float.
    pub(crate) async fn convert(
        &self,
        options: &str,
        video: &Video,
        room: u64,
        progress: &AtomicU32,
    ) -> Result<(Converted, File), Fault> {
        let threads = self.threads.unwrap_or(NonZeroUsize::MIN);
        let task = Task {
            options: options.into(),
            threads,
            video_bytes: video.bytes(),
            announce: video.is_remote(),
            memory: self.memory,
            // One thread more reads and writes.
            cpu: self.time.saturating_mul(threads.get() as u32 + 1),
            output: self.output.min(room),
        };
        let output = tempfile::tempfile_in(&self.folder).map_err(cannot_start)?;
        let mut process = WorkerProcess::start(self, &output, room).map_err(cannot_start)?;
        let too_many = too_many_threads(process.process.id(), threads.get() + MORE_THREADS);
        let work = process.work(&task, video, progress);
        let converted = tokio::select! {
            converted = timeout(self.time, work) => converted,
            threads = too_many => {
                let why = format!("the worker process has {threads} threads");
                return Err(Fault::Crashed(why));
            }
        };
        match converted {
            Ok(said) => {
                let (said, bytes) = (said?, output.metadata().map_err(cannot_start)?.len());
                let converted = Converted::read(said, bytes)
                    .map_err(|e| Fault::Crashed(format!("the worker process sent: {e}")))?;
                Ok((converted, output))
            }
            Err(_) => Err(Fault::Permanent(format!(
                "The conversion took longer than {}, the most that this service allows.",
                humantime::format_duration(self.time)
            ))),
        }
    }
}

/// The number of a process's threads, once they are more than `most`: they need memory of the system that no limit of
/// the process counts.
async fn too_many_threads(pid: Option<u32>, most: usize) -> usize {
    loop {
        tokio::time::sleep(LOOK).await;
        match pid.and_then(threads_of) {
            Some(threads) if threads > most => return threads,
            _ => {}
        }
    }
}

/// The threads of a process, where the system tells (proc(5), `status`).
fn threads_of(pid: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let threads = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"));
    threads?.trim().parse().ok()
}

fn cannot_start(e: io::Error) -> Fault {
    Fault::Unavailable(format!("the worker process cannot be started: {e}"))
}

/// A running worker process; dropping it kills it.
struct WorkerProcess {
    process: Child,
    socket: BufReader<UnixStream>,
    stall: Duration,
    /// Why a job fails whose file grows beyond its limit.
    too_large: String,
    stderr: JoinHandle<String>,
    /// The file that it writes.
    output: File,
}

impl WorkerProcess {
    fn start(worker: &Worker, output: &File, room: u64) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(&worker.program);
        if let Some(name) = &worker.name {
            command.arg0(name);
        }
        let mut process = command
            .args(&worker.arguments)
            .env_clear()
            .envs(
                ENVIRONMENT
                    .into_iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .env("TMPDIR", &worker.folder)
            .stdin(OwnedFd::from(theirs))
            .stdout(output.try_clone()?)
            .stderr(Stdio::piped())
            // Ctrl-C reaches the service alone, which then ends this process in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let stderr = process.stderr.take();
        Ok(WorkerProcess {
            process,
            socket: BufReader::new(UnixStream::from_std(ours)?),
            stall: worker.stall,
            too_large: match worker.output <= room {
                true => format!(
                    "The MP3 would be larger than {} bytes, the most that this service allows.",
                    worker.output
                ),
                false => NO_ROOM.into(),
            },
            stderr: tokio::spawn(stderr_end(stderr)),
            output: output.try_clone()?,
        })
    }

    /// Sends it the task and the bytes that it asks for, until it sends the result.
    async fn work(
        &mut self,
        task: &Task,
        video: &Video,
        progress: &AtomicU32,
    ) -> Result<protocol::Converted, Fault> {
        let mut line = serde_json::to_vec(task).map_err(|e| cannot_start(e.into()))?;
        line.push(b'\n');
        self.send(&line).await?;
        let mut position = None;
        let mut alive = Instant::now();
        let mut budget = video.budget();
        let mut said = ANNOUNCEMENTS;
        let mut patience = Patience::default();
        loop {
            let message = match timeout_at(alive + self.stall, self.receive()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return Err(self.exit_fault().await),
                Ok(Err(e)) => return Err(Fault::Crashed(format!("the worker process sent: {e}"))),
                Err(_) => return Err(Fault::Crashed(self.stalled("did nothing"))),
            };
            match message {
                Message::WillRead(ranges) => {
                    said = said.checked_sub(1).ok_or_else(|| {
                        let why = "the worker process says what it will read, and does not read it";
                        Fault::Crashed(why.into())
                    })?;
                    video.will_read(ranges).await?;
                }
                Message::Read(range) => {
                    said = ANNOUNCEMENTS;
                    let bytes = video.read_in_time(range, self.stall, &mut patience).await?;
                    budget = budget.checked_sub(bytes.len() as u64).ok_or_else(|| {
                        let why = "the worker process reads the video again and again";
                        Fault::Crashed(why.into())
                    })?;
                    self.send(&bytes).await?;
                    alive = Instant::now();
                }
                Message::Progress(now) => {
                    let fraction = now.fraction.clamp(0.0, 1.0);
                    progress.store(fraction.to_bits(), Ordering::Relaxed);
                    if position.replace(now.position) != Some(now.position) {
                        alive = Instant::now();
                    }
                }
                Message::Converted(converted) => return Ok(*converted),
                Message::Failed(failure) => {
                    let reason = failure.reason.chars().take(MAX_REASON).collect();
                    return Err(match failure.cause {
                        Cause::Input => Fault::Permanent(reason),
                        Cause::Transient => Fault::Transient(reason),
                        Cause::Disk => self.disk_fault(reason).await,
                    });
                }
            }
        }
    }

    /// Why a process failed that says it could not write. That would count as no attempt, and a process that was taken
    /// over says whatever suits it: so it is believed where we cannot write either.
    async fn disk_fault(&mut self, reason: String) -> Fault {
        let written = match self.output.try_clone() {
            Ok(output) => tokio::task::spawn_blocking(move || write_more(&output)).await,
            Err(e) => Ok(Err(e)),
        };
        match written {
            Ok(Ok(())) => Fault::Crashed(format!(
                "the worker process says that it cannot write, where we can: {reason}"
            )),
            Ok(Err(_)) | Err(_) => Fault::Unavailable(reason),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match timeout(self.stall, self.socket.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.exit_fault().await),
            Err(_) => Err(Fault::Crashed(self.stalled("read nothing"))),
        }
    }

    fn stalled(&self, what: &str) -> String {
        let stall = humantime::format_duration(self.stall);
        format!("the worker process {what} for {stall}")
    }

    /// The next message; `None` when the process has closed its socket.
    async fn receive(&mut self) -> io::Result<Option<Message>> {
        let mut line = Vec::new();
        let mut socket = (&mut self.socket).take(MAX_LINE);
        match socket.read_until(b'\n', &mut line).await {
            Ok(0) => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            read => read?,
        };
        Ok(Some(serde_json::from_slice(&line)?))
    }

    /// Why the process ended before its work was done.
    async fn exit_fault(&mut self) -> Fault {
        let ended = async {
            let status = self.process.wait().await?;
            let stderr = (&mut self.stderr).await.unwrap_or_default();
            io::Result::Ok((status, stderr))
        };
        match timeout(EXIT_TIMEOUT, ended).await {
            Ok(Ok((status, _))) if status.signal() == Some(FILE_TOO_LARGE) => {
                Fault::Permanent(self.too_large.clone())
            }
            Ok(Ok((status, stderr))) => Fault::Crashed(exit_reason(status, &stderr)),
            Ok(Err(e)) => Fault::Crashed(e.to_string()),
            Err(_) => Fault::Crashed("the worker process closed its socket".into()),
        }
    }
}

/// Writes at the end of a file as much as tells whether its disk takes more.
fn write_more(file: &File) -> io::Result<()> {
    let end = file.metadata()?.len();
    file.write_all_at(&[0; MORE_BYTES], end)?;
    file.sync_data()
}

fn exit_reason(status: ExitStatus, stderr: &str) -> String {
    let stderr = stderr.trim().replace('\n', "; ");
    match stderr.is_empty() {
        true => format!("the worker process ended: {status}"),
        false => format!("the worker process ended: {status}: {stderr}"),
    }
}

/// The end of what the process writes to standard error. All of it is read, so that the process never blocks.
async fn stderr_end(stderr: Option<ChildStderr>) -> String {
    let mut kept = Vec::new();
    let mut piece = [0; STDERR_BYTES];
    if let Some(mut stderr) = stderr {
        while let Ok(n @ 1..) = stderr.read(&mut piece).await {
            kept.extend_from_slice(&piece[..n]);
            kept.drain(..kept.len().saturating_sub(STDERR_BYTES));
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use bytes::Bytes;
    use micropy_core::ports::memory::MemoryStorage;
    use micropy_core::ports::storage::{Label, StorageExt as _};
    use micropy_core::ports::time::ManualClock;
    use micropy_core::ports::{Id, Storage, Timestamp};

    use super::*;

    fn worker(program: PathBuf, folder: &Path) -> Worker {
        Worker::new(program, ["worker"])
            .time_limit(Duration::from_secs(20))
            .memory_limit(1 << 30)
            .output_limit(1000)
            .folder(folder)
            .stall_limit(Duration::from_millis(500))
    }

    /// The outcome for a video of ten bytes when the worker process runs `script` once it has its task. File descriptor
    /// 3 is a copy of the socket, its standard input.
    async fn convert(script: &str) -> Result<(Converted, File), Fault> {
        convert_into(u64::MAX, script).await
    }

    /// The same, where the owner has room for so many bytes.
    async fn convert_into(room: u64, script: &str) -> Result<(Converted, File), Fault> {
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
        let worker = worker(program, folder.path());
        let video = Video::Stored(videos, video);
        worker.convert("{}", &video, room, &AtomicU32::new(0)).await
    }

    async fn crash(script: &str) -> String {
        match convert(script).await {
            Err(Fault::Crashed(why)) => why,
            other => panic!("{script}: {other:?}"),
        }
    }

    const CONVERTED: &str = r#"{"converted":{"product":"mp3","audio":{"secs":0,"nanos":500000000},"report":{"codec":null,"duration":0.5,"sample_rate":8000,"channels":1,"mean_bitrate":8000.0,"samples":4000,"complete":true,"warnings":[]}}}"#;

    #[tokio::test]
    async fn a_process_gets_the_bytes_it_asks_for() {
        let script = format!(
            r#"echo '{{"read":{{"start":2,"end":6}}}}' >&3
               head -c 4
               echo '{{"progress":{{"fraction":0.5,"position":[0,1.5]}}}}' >&3
               echo '{CONVERTED}' >&3"#
        );
        let (converted, mut file) = convert(&script).await.unwrap();
        assert_eq!(converted.audio, Duration::from_millis(500));
        let report: serde_json::Value = serde_json::from_str(&converted.report).unwrap();
        assert_eq!(report["samples"], 4000);
        io::Seek::rewind(&mut file).unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "2345");
    }

    #[tokio::test]
    async fn a_failure_has_the_cause_that_the_process_names() {
        let input = r#"echo '{"failed":{"reason":"no audio","cause":"input"}}' >&3"#;
        assert!(matches!(convert(input).await, Err(Fault::Permanent(why)) if why == "no audio"));
        let transient = r#"echo '{"failed":{"reason":"a bug","cause":"transient"}}' >&3"#;
        assert!(matches!(convert(transient).await, Err(Fault::Transient(why)) if why == "a bug"));
        let disk = r#"echo '{"failed":{"reason":"disk full","cause":"disk"}}' >&3"#;
        let why = crash(disk).await;
        assert!(why.ends_with("where we can: disk full"), "{why}");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let refused = write_more(&full).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        let large = convert("kill -XFSZ $$").await;
        assert!(matches!(large, Err(Fault::Permanent(why)) if why.contains("1000 bytes")));
    }

    #[tokio::test]
    async fn the_file_is_no_larger_than_the_owners_room() {
        for (room, limit) in [(5000, 1000), (999, 999), (1, 1)] {
            let script =
                format!(r#"case "$task" in *'"output":{limit}}}'*) echo '{CONVERTED}' >&3;; esac"#);
            convert_into(room, &script).await.unwrap();
        }
        let large = convert_into(999, "kill -XFSZ $$").await;
        assert!(matches!(large, Err(Fault::Permanent(why)) if why == NO_ROOM));
    }

    #[tokio::test]
    async fn a_crash_is_one_failed_attempt() {
        let why = crash("echo 'munmap_chunk(): invalid pointer' >&2; kill -ABRT $$").await;
        assert!(
            why.contains("signal: 6") && why.ends_with("invalid pointer"),
            "{why}"
        );
        let why = crash("exit 101").await;
        assert!(why.contains("exit status: 101"), "{why}");
        let why = crash("head -c 100000 /dev/zero >&2; echo the end >&2; exit 1").await;
        assert!(
            why.ends_with("the end") && why.len() < 3000,
            "{}",
            why.len()
        );
    }

    #[tokio::test]
    async fn stalls_and_nonsense_end_the_process() {
        assert!(
            crash("exec sleep 60")
                .await
                .contains("did nothing for 500ms")
        );
        let idle = r#"while sleep 0.1; do echo '{"progress":{"fraction":0.5,"position":[0,1.5]}}' >&3; done"#;
        assert!(crash(idle).await.contains("did nothing for 500ms"));
        for nonsense in [
            "echo '{\"read\":{\"start\":2,\"end\":11}}'",
            "echo '{\"read\":{\"start\":6,\"end\":2}}'",
            "echo '{\"read\":{\"start\":0,\"end\":18446744073709551615}}'",
            "echo '{\"willread\":[{\"start\":0,\"end\":11}]}'",
            "echo '{\"sing\":1}'",
            "head -c 3000000 /dev/zero",
        ] {
            let why = crash(&format!("{nonsense} >&3; exec sleep 60")).await;
            assert!(why.starts_with("the worker process "), "{nonsense}: {why}");
            assert!(!why.contains("did nothing"), "{nonsense}: {why}");
        }
    }

    #[tokio::test]
    async fn a_process_reads_what_it_says_that_it_will() {
        let said = r#"echo '{"willread":[{"start":0,"end":9}]}' >&3"#;
        let read = r#"echo '{"read":{"start":0,"end":9}}' >&3; head -c 9 >/dev/null"#;
        let script = |after: &str| {
            format!("for i in $(seq 100); do {said}; done; {after}; {said}; echo '{CONVERTED}' >&3")
        };
        let why = crash(&script("true")).await;
        assert!(why.ends_with("and does not read it"), "{why}");
        convert(&script(read)).await.unwrap();
    }

    #[tokio::test]
    async fn what_no_conversion_would_report_is_not_kept() {
        let long = format!(r#""warnings":["{}"]"#, "x".repeat(20_000));
        for (said, instead) in [
            (r#""warnings":[]"#, long.as_str()),
            (r#""warnings":[]"#, r#""warnings":[],"more":1"#),
            (r#""warnings":[]"#, r#""warnings":[],"chapters":2"#),
            (r#""warnings":[]"#, r#""warnings":"none""#),
            (r#""mp3""#, r#""zip""#),
            (r#""secs":0"#, r#""secs":1"#),
            ("0.5", "1e999"),
        ] {
            assert!(CONVERTED.contains(said), "{said}");
            let odd = CONVERTED.replace(said, instead);
            let why = crash(&format!("echo '{odd}' >&3; exec sleep 60")).await;
            assert!(
                why.starts_with("the worker process sent: "),
                "{instead}: {why}"
            );
        }
    }

    #[tokio::test]
    async fn a_process_with_too_many_threads_is_noticed() {
        let (here, most) = (Some(std::process::id()), 200);
        let watched = || timeout(Duration::from_secs(20), too_many_threads(here, most));
        let none = timeout(LOOK * 3, too_many_threads(here, most)).await;
        assert!(none.is_err(), "{none:?}");
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let ended = Arc::new(std::sync::Mutex::new(ended));
        let threads: Vec<_> = (0..=most)
            .map(|_| {
                let ended = ended.clone();
                std::thread::spawn(move || ended.lock().unwrap().recv().is_err())
            })
            .collect();
        let found = watched().await.unwrap();
        drop(end);
        for thread in threads {
            assert!(thread.join().unwrap());
        }
        assert!(found > most, "{found}");
    }

    #[tokio::test]
    async fn a_missing_program_is_a_failed_attempt() {
        let worker = worker("/nowhere/micropy".into(), Path::new("/"));
        let Err(e) = WorkerProcess::start(&worker, &tempfile::tempfile().unwrap(), 1) else {
            panic!("started");
        };
        assert_eq!(e.kind(), io::ErrorKind::NotFound);
    }
}
