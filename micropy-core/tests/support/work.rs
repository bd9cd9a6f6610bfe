//! Limits of work in processor time, which is the same on a busy machine as on an idle one.

use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Runs `work` in a thread and returns its result, for which this process may compute for as long as `limit` says, on
/// all cores together.
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    const LOOK: Duration = Duration::from_millis(50);
    // Even on a busy machine, a thread that has something to do computes more than this in a minute.
    const MINUTE: Duration = Duration::from_secs(60);
    const LITTLE: Duration = Duration::from_millis(300);

    let (sender, receiver) = mpsc::channel();
    let before = cpu_time();
    thread::spawn(move || sender.send(work()).ok());
    let (mut minute, mut at_minute) = (Instant::now(), before);
    loop {
        let result = receiver.recv_timeout(LOOK);
        let now = cpu_time();
        match result {
            Err(RecvTimeoutError::Disconnected) => panic!("the thread panicked"),
            _ => assert!(now - before < limit, "it took {:?}", now - before),
        }
        if let Ok(result) = result {
            return result;
        }
        if minute.elapsed() > MINUTE {
            assert!(now - at_minute > LITTLE, "it hangs");
            (minute, at_minute) = (Instant::now(), now);
        }
    }
}

/// How long the threads of this process have computed, on all cores together; on systems that are not Linux, how long
/// it has been since the first call.
pub fn cpu_time() -> Duration {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else {
        return BEGAN.get_or_init(Instant::now).elapsed();
    };
    // proc(5): the second field, a name in parentheses, may hold anything; fields 14 and 15 are ticks of 10 ms.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(|field| field.parse::<u64>().expect("a number of ticks"));
    Duration::from_millis(10 * ticks.sum::<u64>())
}
