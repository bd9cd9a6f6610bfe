//! A stored video as a source of the engine.

use std::io;
use std::sync::Arc;

use futures_util::TryStreamExt;
use micropy_core::Source;
use micropy_core::ports::Storage;
use micropy_core::ports::storage::Head;
use tokio::runtime::Handle;

/// Bytes fetched for a read that goes on somewhere else than the last one ended.
const FIRST: usize = 16 * 1024;
/// At most, when reads follow each other: each fetch is twice as long as the one before.
const MOST: usize = 1 << 20;

/// Reads ranges of an object, on a thread that may block.
///
/// The engine skips the video between pieces of audio, so what is fetched beyond a read begins small and
/// grows only while reads follow each other.
pub struct StorageSource {
    storage: Arc<dyn Storage>,
    object: Head,
    runtime: Handle,
    fetched: Vec<u8>,
    /// Offset in the object of the first fetched byte.
    start: u64,
}

impl StorageSource {
    pub fn new(storage: Arc<dyn Storage>, object: Head, runtime: Handle) -> Self {
        StorageSource {
            storage,
            object,
            runtime,
            fetched: Vec::new(),
            start: 0,
        }
    }

    fn end(&self) -> u64 {
        self.start + self.fetched.len() as u64
    }

    /// What is fetched, from `offset` on; nothing where it is not among it.
    fn fetched_from(&self, offset: u64) -> &[u8] {
        if (self.start..self.end()).contains(&offset) {
            &self.fetched[(offset - self.start) as usize..]
        } else {
            &[]
        }
    }

    fn fetch(&mut self, offset: u64, least: usize) -> io::Result<()> {
        let follows = offset == self.end() && !self.fetched.is_empty();
        let ahead = if follows {
            self.fetched.len() * 2
        } else {
            FIRST
        };
        let length = ahead.max(least).min(MOST) as u64;
        let end = offset.saturating_add(length).min(self.object.bytes);
        let (storage, id) = (self.storage.clone(), self.object.id);
        self.fetched = self.runtime.block_on(async move {
            let stream = storage
                .get(id, offset..end)
                .await
                .map_err(io::Error::other)?;
            let mut all = Vec::with_capacity((end - offset) as usize);
            let mut stream = stream;
            while let Some(piece) = stream.try_next().await? {
                all.extend_from_slice(&piece);
            }
            Ok::<_, io::Error>(all)
        })?;
        self.start = offset;
        Ok(())
    }
}

impl Source for StorageSource {
    fn size(&self) -> Option<u64> {
        Some(self.object.bytes)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset >= self.object.bytes || buf.is_empty() {
            return Ok(0);
        }
        if self.fetched_from(offset).is_empty() {
            self.fetch(offset, buf.len())?;
        }
        let fetched = self.fetched_from(offset);
        let n = fetched.len().min(buf.len());
        buf[..n].copy_from_slice(&fetched[..n]);
        Ok(n)
    }

    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use micropy_core::ports::memory::MemoryStorage;
    use micropy_core::ports::storage::{ByteStream, Error, Label, StorageExt};
    use micropy_core::ports::time::ManualClock;
    use micropy_core::ports::{Id, Timestamp};

    use super::*;

    /// Reads to the end of `buf` or of the source; a read may stop where what was fetched stops.
    fn fill(source: &mut StorageSource, offset: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            match source.read_at(at, &mut buf[done..]).unwrap() {
                0 => break,
                n => done += n,
            }
        }
        done
    }

    /// Notes what is asked of it.
    struct Watched(MemoryStorage, Mutex<Vec<Range<u64>>>);

    #[async_trait]
    impl Storage for Watched {
        async fn append(&self, id: Id, offset: u64, body: ByteStream) -> Result<u64, Error> {
            self.0.append(id, offset, body).await
        }
        async fn written(&self, id: Id) -> Result<u64, Error> {
            self.0.written(id).await
        }
        async fn commit(&self, id: Id, label: &Label) -> Result<Head, Error> {
            self.0.commit(id, label).await
        }
        async fn get(&self, id: Id, range: Range<u64>) -> Result<ByteStream, Error> {
            self.1.lock().unwrap().push(range.clone());
            self.0.get(id, range).await
        }
        async fn head(&self, id: Id) -> Result<Head, Error> {
            self.0.head(id).await
        }
        async fn delete(&self, id: Id) -> Result<(), Error> {
            self.0.delete(id).await
        }
        async fn list_older_than(
            &self,
            before: Timestamp,
            after: Option<Id>,
            limit: usize,
        ) -> Result<Vec<Id>, Error> {
            self.0.list_older_than(before, after, limit).await
        }
    }

    #[test]
    fn reads_are_right_and_video_between_them_is_not_fetched() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let storage = Arc::new(Watched(MemoryStorage::new(clock), Mutex::default()));
        let data: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
        let body = futures_util::stream::iter([Ok(data.clone().into())]);
        let id = Id::from_bytes([1; 12]);
        let label = Label::default();
        let put = storage.put(id, &label, Box::pin(body));
        let head = runtime.block_on(put).unwrap();

        let mut source = StorageSource::new(storage.clone(), head, runtime.handle().clone());
        let mut buf = [0; 1000];
        for offset in [
            0,
            1000,
            500_000,
            500_500,
            3_999_500,
            1_000_000,
            4_000_000,
            u64::MAX,
        ] {
            let n = fill(&mut source, offset, &mut buf);
            let start = (offset as usize).min(data.len());
            let end = (start + 1000).min(data.len());
            assert_eq!(buf[..n], data[start..end], "at {offset}");
        }
        let fetched: u64 = storage
            .1
            .lock()
            .unwrap()
            .iter()
            .map(|r| r.end - r.start)
            .sum();
        assert!(fetched < 6 * FIRST as u64, "{fetched} bytes for six reads");

        for offset in (0..4_000_000).step_by(1000) {
            let n = fill(&mut source, offset, &mut buf);
            assert!(
                buf[..n] == data[offset as usize..][..1000],
                "at {offset}: {n} bytes"
            );
        }
        let fetches = storage.1.lock().unwrap().len();
        assert!(
            fetches < 20,
            "reads that follow each other are fetched together: {fetches}"
        );
    }
}
