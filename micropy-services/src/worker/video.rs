//! Where the bytes of a video come from: the storage, or a URL.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use micropy_core::ports::Storage;
use micropy_core::ports::origins::{self, RemoteVideo};
use micropy_core::ports::storage::{self, Head};
use tokio::time::{Instant, timeout};

use super::Fault;
use super::protocol::MAX_READ;

/// How often all bytes of a remote video may be read: what is measured first is read twice, and boxes are looked at more
/// than once.
const READINGS: u64 = 4;
/// Bytes that may be read of a small one, too.
const LEAST: u64 = 16 << 20;

/// The longest that a URL is waited for beside the time that its bytes may take, and the bytes that have to arrive in each
/// second: the audio of most videos in real time. Who sends less would keep a worker for the whole of `conversion_time`.
const PATIENCE: Duration = Duration::from_secs(60);
const LEAST_SPEED: u64 = 16 << 10;

/// Why a video is not waited for any longer.
pub(crate) const TOO_SLOW: &str = "The video cannot be read: its server sends too slowly.";

/// A video that is there.
pub(crate) enum Video {
    /// In the storage.
    Stored(Arc<dyn Storage>, Head),
    /// Behind a URL.
    Remote(Box<dyn RemoteVideo>),
}

impl Video {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Video::Stored(_, head) => head.bytes,
            Video::Remote(video) => video.bytes(),
        }
    }

    /// Whether each read is a round trip to somewhere else, so that it is worth while to say what will be read.
    pub fn is_remote(&self) -> bool {
        matches!(self, Video::Remote(_))
    }

    /// Bytes that may be read of it.
    pub fn budget(&self) -> u64 {
        match self {
            Video::Stored(..) => u64::MAX,
            Video::Remote(video) => video.bytes().saturating_mul(READINGS).max(LEAST),
        }
    }

    /// Why there is no answer to a read.
    fn stalled(&self) -> Fault {
        match self {
            Video::Stored(..) => {
                Fault::Unavailable("the video cannot be read: its storage does not respond".into())
            }
            Video::Remote(_) => Fault::Unreachable(TOO_SLOW.into()),
        }
    }

    /// Says which bytes the process will ask for. It is not trusted.
    pub async fn will_read(&self, ranges: Vec<Range<u64>>) -> Result<(), Fault> {
        let bytes = self.bytes();
        let is_wrong = |range: &Range<u64>| range.start > range.end || range.end > bytes;
        if let Some(wrong) = ranges.iter().find(|range| is_wrong(range)) {
            return Err(Fault::Crashed(format!(
                "the worker process will ask for bytes {wrong:?} of {bytes}"
            )));
        }
        if let Video::Remote(video) = self {
            video.will_read(ranges).await;
        }
        Ok(())
    }

    /// The range that the process asked for, within the `longest` time for any, and as long as there is patience with a
    /// URL.
    pub async fn read_in_time(
        &self,
        range: Range<u64>,
        longest: Duration,
        patience: &mut Patience,
    ) -> Result<Vec<u8>, Fault> {
        let longest = match self {
            Video::Stored(..) => longest,
            Video::Remote(_) => longest.min(patience.with(range.end.saturating_sub(range.start))),
        };
        let asked = Instant::now();
        let bytes = timeout(longest, self.read(range)).await;
        let bytes = bytes.map_err(|_| self.stalled())??;
        if self.is_remote() {
            patience.spend(bytes.len() as u64, asked.elapsed())?;
        }
        Ok(bytes)
    }

    /// The range that the process asked for. It is not trusted.
    async fn read(&self, range: Range<u64>) -> Result<Vec<u8>, Fault> {
        let bytes = self.bytes();
        if range.start > range.end || range.end > bytes || range.end - range.start > MAX_READ as u64
        {
            return Err(Fault::Crashed(format!(
                "the worker process asks for bytes {range:?} of {bytes}"
            )));
        }
        match self {
            Video::Stored(videos, head) => read_stored(videos, head, range).await,
            Video::Remote(video) => video.read(range).await.map_err(Fault::from),
        }
    }
}

/// How long the server of a URL may still keep a worker waiting, beside the time that its bytes may take. Each wait that is
/// longer uses some of it up. A server that sends faster makes up for that, but gains no more: what it sends in the first
/// second buys no hour of silence.
#[derive(Debug)]
pub(crate) struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Patience(PATIENCE)
    }
}

impl Patience {
    /// How long the next so many bytes may take.
    fn with(&self, bytes: u64) -> Duration {
        let expected = bytes.saturating_mul(1_000_000) / LEAST_SPEED;
        self.0.saturating_add(Duration::from_micros(expected))
    }

    /// So many bytes took so long.
    fn spend(&mut self, bytes: u64, waited: Duration) -> Result<(), Fault> {
        let left = self.with(bytes).checked_sub(waited);
        let left = left.ok_or_else(|| Fault::Unreachable(TOO_SLOW.into()))?;
        self.0 = left.min(PATIENCE);
        Ok(())
    }
}

async fn read_stored(
    videos: &Arc<dyn Storage>,
    video: &Head,
    range: Range<u64>,
) -> Result<Vec<u8>, Fault> {
    let unread =
        |e: &dyn std::fmt::Display| Fault::Transient(format!("the video cannot be read: {e}"));
    let length = (range.end - range.start) as usize;
    let stream = videos.get(video.id, range).await;
    let mut stream = stream.map_err(|e| match e {
        storage::Error::NotFound => unread(&e),
        e => Fault::Unavailable(format!("the video cannot be read: {e}")),
    })?;
    let mut bytes = Vec::with_capacity(length);
    while let Some(piece) = stream.try_next().await.map_err(|e| unread(&e))? {
        bytes.extend_from_slice(&piece);
    }
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err(unread(&format!(
            "{} of {length} bytes arrived",
            bytes.len()
        ))),
    }
}

impl From<origins::Error> for Fault {
    fn from(e: origins::Error) -> Self {
        let reason = format!("The video cannot be read: {e}.");
        match e {
            origins::Error::Unavailable(_) => Fault::Unreachable(reason),
            _ => Fault::Permanent(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use micropy_core::ports::Id;
    use micropy_core::ports::memory::MemoryStorage;
    use micropy_core::ports::time::{ManualClock, Timestamp};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    /// A URL whose server sends a range as fast as it has to for so long, and then nothing.
    struct Tiring(Instant);

    #[async_trait]
    impl RemoteVideo for Tiring {
        fn bytes(&self) -> u64 {
            1 << 30
        }
        async fn will_read(&self, _: Vec<Range<u64>>) {}
        async fn read(&self, range: Range<u64>) -> Result<Vec<u8>, origins::Error> {
            if Instant::now() > self.0 {
                std::future::pending().await
            }
            let bytes = range.end - range.start;
            tokio::time::sleep(Duration::from_micros(bytes * 1_000_000 / LEAST_SPEED)).await;
            Ok(vec![0; bytes as usize])
        }
    }

    fn is_too_slow<T>(read: &Result<T, Fault>) -> bool {
        matches!(read, Err(Fault::Unreachable(why)) if why == TOO_SLOW)
    }

    #[tokio::test(start_paused = true)]
    async fn a_url_is_read_as_long_as_it_sends_and_no_minute_longer() {
        let begun = Instant::now();
        let url = Video::Remote(Box::new(Tiring(begun + HOUR)));
        let mut patience = Patience::default();
        let end = loop {
            match url.read_in_time(0..1 << 16, HOUR, &mut patience).await {
                Ok(bytes) => assert_eq!(bytes.len(), 1 << 16),
                end => break end,
            }
        };
        assert!(is_too_slow(&end), "{end:?}: it is no outage of ours");
        let lasted = begun.elapsed();
        assert!(lasted > HOUR && lasted < HOUR + 2 * PATIENCE, "{lasted:?}");
    }

    #[test]
    fn what_was_sent_at_first_buys_no_silence() {
        for waits in [
            &[2 * PATIENCE][..],
            &[SECOND; 61],
            &[40 * SECOND, 21 * SECOND],
        ] {
            let mut patience = Patience::default();
            patience.spend(1 << 30, SECOND).unwrap();
            let (last, waits) = waits.split_last().unwrap();
            for wait in waits {
                patience.spend(0, *wait).unwrap();
            }
            let end = patience.spend(0, *last);
            assert!(is_too_slow(&end), "{waits:?}: {end:?}");
        }
    }

    #[test]
    fn a_server_that_pauses_and_catches_up_is_waited_for() {
        let mut patience = Patience::default();
        for _ in 0..1000 {
            patience.spend(100, PATIENCE - SECOND).unwrap();
            patience.spend(LEAST_SPEED * 90, 20 * SECOND).unwrap();
        }
        // Small reads are not for nothing.
        for _ in 0..100_000 {
            patience.spend(LEAST_SPEED / 100, SECOND / 100).unwrap();
        }
    }

    #[test]
    fn a_storage_that_does_not_answer_is_an_outage() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let head = Head {
            id: Id::from_bytes([1; 12]),
            bytes: 1,
            written: Timestamp::default(),
        };
        let ours = Video::Stored(Arc::new(MemoryStorage::new(clock)), head);
        assert!(matches!(ours.stalled(), Fault::Unavailable(_)));
    }
}
