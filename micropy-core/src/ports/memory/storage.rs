use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use super::lock;
use crate::ports::binding::Identity;
use crate::ports::storage::{
    ByteStream, Error, Head, Label, Listing, Storage, Upload, UploadError,
};
use crate::ports::{Clock, Id, Timestamp};

/// Objects in memory.
pub struct MemoryStorage {
    clock: Arc<dyn Clock>,
    objects: Mutex<BTreeMap<Id, Object>>,
    binding: Mutex<Option<Identity>>,
}

#[derive(Clone)]
struct Object {
    bytes: Vec<u8>,
    whole: bool,
    written: Timestamp,
}

impl Object {
    fn head(&self, id: Id) -> Head {
        Head {
            id,
            bytes: self.bytes.len() as u64,
            written: self.written,
        }
    }
}

impl MemoryStorage {
    /// An empty storage.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryStorage {
            clock,
            objects: Mutex::default(),
            binding: Mutex::default(),
        }
    }

    fn find(&self, id: Id, whole: bool) -> Result<Object, Error> {
        let found = lock(&self.objects)
            .get(&id)
            .filter(|object| object.whole == whole)
            .cloned();
        found.ok_or(Error::NotFound)
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn append(&self, id: Id, offset: u64, mut body: Upload) -> Result<u64, Error> {
        let present = lock(&self.objects).get(&id).cloned();
        let length = present
            .as_ref()
            .map_or(0, |object| object.bytes.len() as u64);
        if present.is_some_and(|object| object.whole) || offset != length {
            return Err(Error::Rejected(format!(
                "{id} does not end at byte {offset}"
            )));
        }
        let mut arrived = Vec::new();
        let ended = loop {
            match poll_fn(|context| body.as_mut().poll_next(context)).await {
                Some(Ok(bytes)) => arrived.extend_from_slice(&bytes),
                Some(Err(e)) => break Err(e),
                None => break Ok(()),
            }
        };
        if matches!(ended, Err(UploadError::Refused(_))) {
            arrived.clear();
        }
        let mut objects = lock(&self.objects);
        let object = objects.entry(id).or_insert_with(|| Object {
            bytes: Vec::new(),
            whole: false,
            written: Timestamp::default(),
        });
        object.bytes.extend_from_slice(&arrived);
        object.written = self.clock.now();
        ended?;
        Ok(object.bytes.len() as u64)
    }

    async fn unfinished(&self, id: Id) -> Result<Head, Error> {
        Ok(self.find(id, false)?.head(id))
    }

    async fn commit(&self, id: Id, _label: &Label) -> Result<Head, Error> {
        let mut objects = lock(&self.objects);
        let object = objects.get_mut(&id).ok_or(Error::NotFound)?;
        object.whole = true;
        Ok(object.head(id))
    }

    async fn get(&self, id: Id, range: Range<u64>) -> Result<ByteStream, Error> {
        let object = self.find(id, true)?;
        let length = object.bytes.len() as u64;
        let end = range.end.min(length) as usize;
        let start = (range.start.min(length) as usize).min(end);
        let bytes = Bytes::copy_from_slice(&object.bytes[start..end]);
        Ok(Box::pin(Items([Ok(bytes)].into())))
    }

    async fn head(&self, id: Id) -> Result<Head, Error> {
        Ok(self.find(id, true)?.head(id))
    }

    async fn delete(&self, id: Id) -> Result<(), Error> {
        lock(&self.objects).remove(&id);
        Ok(())
    }

    async fn list_older_than(&self, before: Timestamp) -> Result<Listing, Error> {
        let objects = lock(&self.objects);
        let heads = objects.iter().map(|(id, object)| object.head(*id));
        let old = heads.filter(|head| head.written < before);
        Ok(Box::pin(Items(old.map(Ok).collect())))
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        Ok(self.clock.now())
    }

    async fn binding(&self) -> Result<Option<Identity>, Error> {
        Ok(*lock(&self.binding))
    }

    async fn bind(&self, previous: Option<Identity>, ledger: Identity) -> Result<(), Error> {
        let mut binding = lock(&self.binding);
        if *binding != previous {
            return Err(Error::Rejected("the store was bound meanwhile".into()));
        }
        *binding = Some(ledger);
        Ok(())
    }
}

/// A stream of items that are all there.
struct Items<T>(VecDeque<T>);

impl<T: Unpin> Stream for Items<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        Poll::Ready(self.0.pop_front())
    }
}
