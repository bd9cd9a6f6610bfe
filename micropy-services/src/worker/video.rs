//! Where the bytes of a video come from: the storage, or a URL.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use micropy_core::ports::Storage;
use micropy_core::ports::origins::{self, RemoteVideo};
use micropy_core::ports::storage::{self, Head};

use super::Fault;
use super::protocol::MAX_READ;

/// How often all bytes of a remote video may be read: what is measured first is read twice, and boxes are looked at more
/// than once.
const READINGS: u64 = 4;
/// Bytes that may be read of a small one, too.
const LEAST: u64 = 16 << 20;

/// What a remote video may be waited for at first, and the bytes that have to arrive in each second from then on: the
/// audio of most videos in real time. Who sends less would keep a worker for the whole of `conversion_time`.
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
    pub fn stalled(&self) -> Fault {
        match self {
            Video::Stored(..) => {
                Fault::Unavailable("the video cannot be read: its storage does not respond".into())
            }
            Video::Remote(_) => Fault::Unreachable(TOO_SLOW.into()),
        }
    }

    /// Refuses to wait longer for a URL of which so many bytes have arrived in that time.
    pub fn check_speed(&self, arrived: u64, waited: Duration) -> Result<(), Fault> {
        match waited <= PATIENCE + Duration::from_secs(arrived / LEAST_SPEED) {
            false if self.is_remote() => Err(Fault::Unreachable(TOO_SLOW.into())),
            _ => Ok(()),
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

    /// The range that the process asked for. It is not trusted.
    pub async fn read(&self, range: Range<u64>) -> Result<Vec<u8>, Fault> {
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

    /// A URL of which nothing is read.
    struct Unread;

    #[async_trait]
    impl RemoteVideo for Unread {
        fn bytes(&self) -> u64 {
            1 << 30
        }
        async fn will_read(&self, _: Vec<Range<u64>>) {}
        async fn read(&self, _: Range<u64>) -> Result<Vec<u8>, origins::Error> {
            Err(origins::Error::Rejected("nothing is read".into()))
        }
    }

    #[test]
    fn a_url_that_sends_too_slowly_is_no_outage_of_ours() {
        let url = Video::Remote(Box::new(Unread));
        let second = Duration::from_secs(1);
        for (arrived, waited) in [(0, PATIENCE), (LEAST_SPEED * 600, PATIENCE + 600 * second)] {
            url.check_speed(arrived, waited).unwrap();
            let slow = url.check_speed(arrived, waited + second);
            assert!(matches!(slow, Err(Fault::Unreachable(why)) if why == TOO_SLOW));
        }
        assert!(matches!(url.stalled(), Fault::Unreachable(_)));

        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let head = Head {
            id: Id::from_bytes([1; 12]),
            bytes: 1,
            written: Timestamp::default(),
        };
        let ours = Video::Stored(Arc::new(MemoryStorage::new(clock)), head);
        ours.check_speed(0, 1000 * PATIENCE).unwrap();
        assert!(matches!(ours.stalled(), Fault::Unavailable(_)));
    }
}
