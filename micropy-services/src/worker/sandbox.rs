//! What a worker process may do once it has its task: compute, and read and write the descriptors it was given.
//!
//! Whoever finds a way to run code of their own in it, by a hostile video, finds no file, no network, no other program
//! and no other process. Two mechanisms of Linux hold that, each without the other: Landlock takes the files, the TCP
//! ports and the signals to other processes away, and a seccomp filter refuses every system call but some that a
//! conversion needs. Elsewhere a process of its own with limited resources is all there is.

use std::fmt;
use std::io;

/// Which mechanisms hold a worker process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// No file, no TCP port and no signal to others, as far as this kernel's Landlock goes.
    pub landlock: bool,
    /// No system call but those that a conversion needs.
    pub seccomp: bool,
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.landlock, self.seccomp) {
            (true, true) => "Landlock and seccomp",
            (true, false) => "Landlock alone",
            (false, true) => "seccomp alone",
            (false, false) => "neither Landlock nor seccomp",
        })
    }
}

#[cfg(not(target_os = "linux"))]
impl Sandbox {
    /// What this system supports: nothing.
    pub fn supported() -> Self {
        Sandbox::default()
    }

    /// Confines nothing, since this system has neither mechanism.
    pub fn enter() -> io::Result<Self> {
        Ok(Sandbox::default())
    }
}

#[cfg(target_os = "linux")]
impl Sandbox {
    /// What this system supports.
    pub fn supported() -> Self {
        Sandbox {
            landlock: linux::ruleset(landlock::CompatLevel::HardRequirement).is_ok(),
            seccomp: linux::ARCHITECTURE.is_some(),
        }
    }

    /// Confines the calling thread, and every thread that it starts, for good. Returns what holds it.
    ///
    /// # Errors
    /// When the system supports a mechanism and refuses it nevertheless.
    pub fn enter() -> io::Result<Self> {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};

        // No program that is started, if any were, gets more rights; and no other process of this user reads or changes
        // this one's memory.
        rustix::thread::set_no_new_privs(true)?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        let landlock = linux::take_files()?;
        let seccomp = linux::filter_system_calls()?;
        Ok(Sandbox { landlock, seccomp })
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::io;

    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset,
        RulesetAttr as _, RulesetCreated, RulesetError, RulesetStatus, Scope,
    };
    use seccompiler::SeccompCmpArgLen::{Dword, Qword};
    use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };

    /// The architecture as the filter's compiler calls it; none for those it does not know.
    pub const ARCHITECTURE: Option<TargetArch> = match () {
        #[cfg(target_arch = "x86_64")]
        () => Some(TargetArch::x86_64),
        #[cfg(target_arch = "aarch64")]
        () => Some(TargetArch::aarch64),
        #[cfg(target_arch = "riscv64")]
        () => Some(TargetArch::riscv64),
        #[cfg(not(any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64"
        )))]
        () => None,
    };

    /// A ruleset that takes everything away which Landlock can take: it has no rule that would allow anything. With
    /// `compatibility` for the oldest version of Landlock; what came later is taken where the kernel knows it.
    pub fn ruleset(compatibility: CompatLevel) -> Result<RulesetCreated, RulesetError> {
        Ruleset::default()
            .set_compatibility(compatibility)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V5))?
            .handle_access(AccessNet::from_all(ABI::V5))?
            .scope(Scope::from_all(ABI::V6))?
            .create()
    }

    /// Whether Landlock holds now.
    pub fn take_files() -> io::Result<bool> {
        let restricted = ruleset(CompatLevel::BestEffort).and_then(RulesetCreated::restrict_self);
        let status = restricted.map_err(io::Error::other)?;
        Ok(status.ruleset != RulesetStatus::NotEnforced)
    }

    /// Whether a filter holds now.
    pub fn filter_system_calls() -> io::Result<bool> {
        let Some(architecture) = ARCHITECTURE else {
            return Ok(false);
        };
        // Callers who get this error try again in another way, which the second filter can judge: it cannot see the
        // flags of clone3, and statx may name a file.
        let newer = BTreeMap::from([(libc::SYS_clone3, vec![]), (libc::SYS_statx, vec![])]);
        let refusal = SeccompAction::Errno(libc::ENOSYS as u32);
        let unknown = SeccompFilter::new(newer, SeccompAction::Allow, refusal, architecture);
        let needed = SeccompFilter::new(
            needed().map_err(io::Error::other)?,
            SeccompAction::Errno(libc::EPERM as u32),
            SeccompAction::Allow,
            architecture,
        );
        for filter in [unknown, needed] {
            let program = filter.and_then(BpfProgram::try_from);
            let program = program.map_err(io::Error::other)?;
            seccompiler::apply_filter(&program).map_err(io::Error::other)?;
        }
        Ok(true)
    }

    /// The system calls that a conversion needs, each with the arguments it may have; none: any.
    fn needed() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
        let mut needed: BTreeMap<i64, Vec<SeccompRule>> = [
            // The video, the MP3 and standard error.
            libc::SYS_read,
            libc::SYS_readv,
            libc::SYS_pread64,
            libc::SYS_recvfrom,
            libc::SYS_write,
            libc::SYS_writev,
            libc::SYS_pwrite64,
            libc::SYS_sendto,
            libc::SYS_lseek,
            libc::SYS_ftruncate,
            libc::SYS_fstat,
            libc::SYS_close,
            libc::SYS_shutdown,
            // Memory.
            libc::SYS_brk,
            libc::SYS_munmap,
            libc::SYS_mremap,
            libc::SYS_madvise,
            // Threads.
            libc::SYS_clone3,
            libc::SYS_futex,
            libc::SYS_set_robust_list,
            libc::SYS_rseq,
            libc::SYS_sched_getaffinity,
            libc::SYS_sched_yield,
            libc::SYS_sigaltstack,
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigreturn,
            libc::SYS_restart_syscall,
            libc::SYS_gettid,
            libc::SYS_getpid,
            libc::SYS_exit,
            libc::SYS_exit_group,
            // Time and chance.
            libc::SYS_clock_gettime,
            libc::SYS_clock_nanosleep,
            libc::SYS_nanosleep,
            libc::SYS_getrandom,
        ]
        .map(|call| (call, vec![]))
        .into();
        let thread = libc::CLONE_THREAD as u64;
        needed.insert(
            libc::SYS_clone,
            vec![rule(0, Qword, MaskedEq(thread), thread)?],
        );
        // Memory that no code runs in, and that the limit of the process's data counts: it counts neither shared memory
        // nor memory that grows like a stack.
        // Memory that can only be read is not counted either, though its page tables take room.
        let written = (libc::PROT_EXEC | libc::PROT_WRITE) as u64;
        let written = MaskedEq(written);
        let uncounted = (libc::MAP_SHARED | libc::MAP_GROWSDOWN) as u64;
        let mut rules = (Vec::new(), Vec::new());
        for (comparison, protection) in [(written, libc::PROT_WRITE), (Eq, libc::PROT_NONE)] {
            let protection = || condition(2, Dword, comparison.clone(), protection as u64);
            let counted = condition(3, Dword, MaskedEq(uncounted), 0)?;
            rules
                .0
                .push(SeccompRule::new(vec![protection()?, counted])?);
            rules.1.push(SeccompRule::new(vec![protection()?])?);
        }
        needed.insert(libc::SYS_mmap, rules.0);
        needed.insert(libc::SYS_mprotect, rules.1);
        // Of the signals, those to itself: an abort.
        let this = u64::from(std::process::id());
        needed.insert(libc::SYS_tgkill, vec![rule(0, Dword, Eq, this)?]);
        // A thread's name.
        let name = libc::PR_SET_NAME as u64;
        needed.insert(libc::SYS_prctl, vec![rule(0, Dword, Eq, name)?]);
        let duplicate = libc::F_DUPFD_CLOEXEC as u64;
        needed.insert(libc::SYS_fcntl, vec![rule(1, Dword, Eq, duplicate)?]);
        Ok(needed)
    }

    /// The argument at `index` has `value`.
    fn rule(
        index: u8,
        length: SeccompCmpArgLen,
        comparison: SeccompCmpOp,
        value: u64,
    ) -> Result<SeccompRule, seccompiler::BackendError> {
        SeccompRule::new(vec![condition(index, length, comparison, value)?])
    }

    fn condition(
        index: u8,
        length: SeccompCmpArgLen,
        comparison: SeccompCmpOp,
        value: u64,
    ) -> Result<SeccompCondition, seccompiler::BackendError> {
        SeccompCondition::new(index, length, comparison, value)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::{self, File};
    use std::io::{Read as _, Seek as _, Write as _};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use std::thread;

    use rustix::process::{Pid, Signal, getppid, kill_process};

    use super::*;

    /// What a thread of a confined process attains.
    fn within<T: Send>(attempt: impl FnOnce() -> T + Send) -> T {
        let supported = Sandbox::supported();
        thread::scope(|scope| {
            let confined = scope.spawn(|| {
                assert_eq!(Sandbox::enter().expect("a sandbox"), supported);
                attempt()
            });
            confined.join().expect("no panic")
        })
    }

    #[test]
    fn nothing_but_its_own_descriptors_is_in_reach() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        fs::write(&secret, "s").unwrap();
        let parent = getppid().unwrap();
        let environment = format!("/proc/{}/environ", parent.as_raw_nonzero());
        let memory = format!("/proc/{}/mem", parent.as_raw_nonzero());
        let attained: Vec<&str> = within(|| {
            let attempts: [(&str, bool); 15] = [
                ("/etc/passwd", File::open("/etc/passwd").is_ok()),
                ("the parent's environment", File::open(environment).is_ok()),
                ("the parent's memory", File::open(memory).is_ok()),
                ("its own memory", File::open("/proc/self/mem").is_ok()),
                ("the data folder", fs::read_dir(folder.path()).is_ok()),
                ("a file of the service", File::open(&secret).is_ok()),
                ("a file's size", fs::metadata(&secret).is_ok()),
                (
                    "a new file",
                    File::create(folder.path().join("new")).is_ok(),
                ),
                ("removing", fs::remove_file(&secret).is_ok()),
                ("a connection", TcpStream::connect(address).is_ok()),
                ("a listener", TcpListener::bind("127.0.0.1:0").is_ok()),
                ("a datagram", UdpSocket::bind("127.0.0.1:0").is_ok()),
                ("a local socket", UnixStream::pair().is_ok()),
                ("a program", Command::new("/bin/true").spawn().is_ok()),
                (
                    "a signal to the parent",
                    kill_process(parent, Signal::CONT).is_ok(),
                ),
            ];
            attempts
                .into_iter()
                .filter_map(|(what, attained)| attained.then_some(what))
                .collect()
        });
        assert_eq!(attained, Vec::<&str>::new());
        assert!(secret.exists());
    }

    /// The raw system calls that no safe function of the standard library makes.
    #[test]
    fn no_process_is_made_traced_or_given_code() {
        let parent = getppid().map(Pid::as_raw_nonzero).unwrap();
        let attained: Vec<(&str, i64)> = within(move || {
            let parent = i64::from(parent.get());
            let call = |number, a: i64, b: i64, c: i64| {
                // SAFETY: no pointer is passed that the kernel would write to, and a child, if there were one, ends.
                let result = unsafe { libc::syscall(number, a, b, c, 0, 0, 0) };
                if result == 0 && matches!(number, libc::SYS_clone) {
                    // SAFETY: ends the child alone.
                    unsafe { libc::_exit(0) };
                }
                result
            };
            let (trace, executable) = (libc::PTRACE_ATTACH, libc::PROT_EXEC | libc::PROT_READ);
            // SAFETY: a new page, which stays.
            let page = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    4096,
                    executable,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            [
                ("fork", call(libc::SYS_clone, libc::SIGCHLD.into(), 0, 0)),
                ("clone3", call(libc::SYS_clone3, 0, 0, 0)),
                ("execve", call(libc::SYS_execve, 0, 0, 0)),
                ("ptrace", call(libc::SYS_ptrace, trace.into(), parent, 0)),
                ("memfd", call(libc::SYS_memfd_create, 0, 0, 0)),
                ("io_uring", call(libc::SYS_io_uring_setup, 1, 0, 0)),
                ("bpf", call(libc::SYS_bpf, 0, 0, 0)),
                ("keys", call(libc::SYS_keyctl, 0, 0, 0)),
                ("kill", call(libc::SYS_tgkill, parent, parent, 0)),
                ("pidfd", call(libc::SYS_pidfd_open, parent, 0, 0)),
                ("userns", call(libc::SYS_unshare, 0x1000_0000, 0, 0)),
                ("code", if page == libc::MAP_FAILED { -1 } else { 0 }),
            ]
            .into_iter()
            .filter(|(_, result)| *result != -1)
            .collect()
        });
        assert_eq!(attained, []);
    }

    /// Memory that `RLIMIT_DATA` does not count is not to be had, and what it counts ends with it.
    #[test]
    fn no_memory_escapes_the_limit() {
        let map = |protection, flags| {
            const LENGTH: usize = 1 << 20;
            // SAFETY: new pages, which nothing refers to.
            let page = unsafe {
                let flags = flags | libc::MAP_ANONYMOUS;
                libc::mmap(std::ptr::null_mut(), LENGTH, protection, flags, -1, 0)
            };
            page != libc::MAP_FAILED
        };
        let (read, write) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
        let attempts = [
            ("shared", write, libc::MAP_SHARED),
            ("shared, to be written later", read, libc::MAP_SHARED),
            ("a stack", write, libc::MAP_PRIVATE | libc::MAP_GROWSDOWN),
            (
                "to be read alone",
                read,
                libc::MAP_PRIVATE | libc::MAP_NORESERVE,
            ),
        ];
        for (what, protection, flags) in attempts {
            assert!(
                map(protection, flags),
                "{what}: it is there without a sandbox"
            );
        }
        let attained: Vec<&str> = within(|| {
            assert!(map(write, libc::MAP_PRIVATE), "what is counted is there");
            attempts
                .into_iter()
                .filter_map(|(what, protection, flags)| map(protection, flags).then_some(what))
                .collect()
        });
        assert_eq!(attained, Vec::<&str>::new());
    }

    #[test]
    fn what_a_conversion_needs_is_there() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let mut output = tempfile::tempfile().unwrap();
        theirs.write_all(b"video").unwrap();
        within(|| {
            let mut video = [0; 5];
            ours.read_exact(&mut video).unwrap();
            let copies: Vec<Vec<u8>> = thread::scope(|scope| {
                let named = |n: usize| {
                    let thread = thread::Builder::new().name(format!("encoder {n}"));
                    thread.spawn_scoped(scope, move || vec![video[n]; 1 << 20])
                };
                let threads = [0, 1].map(|n| named(n).unwrap());
                threads.map(|thread| thread.join().unwrap()).into()
            });
            output.write_all(&copies.concat()).unwrap();
            output.rewind().unwrap();
            output.set_len(3).unwrap();
            ours.try_clone().unwrap().write_all(b"done").unwrap();
        });
        let mut done = [0; 4];
        theirs.read_exact(&mut done).unwrap();
        assert_eq!((&done, output.metadata().unwrap().len()), (b"done", 3));
    }
}
