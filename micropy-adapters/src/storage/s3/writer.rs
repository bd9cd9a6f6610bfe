//! The end of an unfinished object, as somebody writes to it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::{self, Either};
use micropy_core::ports::Id;
use micropy_core::ports::storage::Error;
use object_store::PutPayload;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{JoinError, JoinHandle};

use super::fault::lasting;
use super::multipart::{MOST_PARTS, Part};
use super::record::{Record, Tail, tails_length, take_short};
use super::{Inner, Version, taken_over};
use crate::fault::Fault;

/// Bytes in a part. Stores want 5 MiB at least, and some the same for all parts but the last.
pub const PART: u64 = 8 << 20;
/// Bytes that every writer may hold back. Beyond that, writers share what follows.
const BLOCK: usize = 256 << 10;
/// Blocks that all writers together may hold back: 64 MiB, or eight parts.
pub const SHARED_BLOCKS: usize = 256;
/// Parts that are put together from tails at the same time.
pub const COMPOSING: usize = 2;
/// Tails that are kept as they are; more are merged.
const FEW_TAILS: usize = 16;

/// What a writer is sent.
pub enum Arrival {
    Piece(Bytes),
    /// Nothing of it stays.
    Refused,
}

/// Appends to one object.
///
/// Bytes gather in memory until they fill a part. Where memory is short, or no more bytes come, they are put away as a
/// tail; the part is then put together from tails later.
pub struct Writer {
    store: Arc<Inner>,
    id: Id,
    /// As the store has it.
    record: Record,
    version: Version,
    /// As it was when this writer began.
    begun: Record,
    /// Of the part that is being filled: the tails, and what follows them in memory.
    tails: Vec<Tail>,
    blocks: Vec<Bytes>,
    block: BytesMut,
    held: Option<OwnedSemaphorePermit>,
    /// The number of the next part, once nobody else takes it.
    number: Option<u32>,
    storing: Option<JoinHandle<Result<Option<Part>, Fault>>>,
    /// Tails that have become part of something else.
    obsolete: Vec<Tail>,
    /// Tails that this writer has stored.
    stored: u32,
}

impl Writer {
    /// A writer at the end of `record`, which is its own.
    pub fn new(store: Arc<Inner>, id: Id, record: Record, version: Version) -> Self {
        Writer {
            store,
            id,
            begun: record.clone(),
            tails: record.tails.clone(),
            record,
            version,
            blocks: Vec::new(),
            block: BytesMut::new(),
            held: None,
            number: None,
            storing: None,
            obsolete: Vec::new(),
            stored: 0,
        }
    }

    /// Writes what arrives until nothing more does. Returns the length.
    ///
    /// This goes on when whoever sends has gone: what had arrived by then stays.
    pub async fn write(mut self, mut arrivals: mpsc::Receiver<Arrival>) -> Result<u64, Error> {
        let written = async {
            while let Some(arrival) = self.next(&mut arrivals).await? {
                match arrival {
                    Arrival::Piece(piece) => self.take(piece).await?,
                    Arrival::Refused => return self.take_back().await,
                }
            }
            self.finish().await
        };
        let written = written.await;
        if written.is_err() {
            self.clear().await;
        }
        written
    }

    /// What arrives next. A part whose storing ends meanwhile is counted.
    async fn next(
        &mut self,
        arrivals: &mut mpsc::Receiver<Arrival>,
    ) -> Result<Option<Arrival>, Error> {
        if let Some(storing) = &mut self.storing {
            let arrival = std::pin::pin!(arrivals.recv());
            match future::select(storing, arrival).await {
                Either::Right((arrival, _)) => return Ok(arrival),
                Either::Left((part, _)) => {
                    self.storing = None;
                    self.count(part.map_err(ended)?).await?;
                }
            }
        }
        Ok(arrivals.recv().await)
    }

    async fn take(&mut self, mut piece: Bytes) -> Result<(), Error> {
        while !piece.is_empty() {
            let room = self.record.part_bytes - tails_length(&self.tails) - self.in_memory();
            let most = (BLOCK - self.block.len()).min(usize::try_from(room).unwrap_or(usize::MAX));
            let part = piece.split_to(most.min(piece.len()));
            // A copy: a piece of a few bytes may keep a whole buffer of its connection from being freed.
            self.block.extend_from_slice(&part);
            if part.len() as u64 == room {
                self.end_block();
                self.store_part().await?;
            } else if self.block.len() == BLOCK {
                self.end_block();
                self.make_room().await?;
            }
        }
        Ok(())
    }

    fn in_memory(&self) -> u64 {
        self.blocks.iter().map(Bytes::len).sum::<usize>() as u64 + self.block.len() as u64
    }

    fn end_block(&mut self) {
        if !self.block.is_empty() {
            self.blocks.push(std::mem::take(&mut self.block).freeze());
        }
    }

    /// Gets the right to hold another block, or puts away those that are held.
    async fn make_room(&mut self) -> Result<(), Error> {
        if self.hold() {
            return Ok(());
        }
        // A part that is on its way gives back what it holds.
        self.stored_part().await?;
        if self.hold() {
            return Ok(());
        }
        let blocks = std::mem::take(&mut self.blocks);
        self.store_tail(blocks).await?;
        self.held = None;
        Ok(())
    }

    fn hold(&mut self) -> bool {
        let permit = self.store.shared.clone().try_acquire_owned();
        match (permit, &mut self.held) {
            (Err(_), _) => false,
            (Ok(permit), Some(held)) => {
                held.merge(permit);
                true
            }
            (Ok(permit), held) => {
                *held = Some(permit);
                true
            }
        }
    }

    /// Begins to store the part that is full.
    async fn store_part(&mut self) -> Result<(), Error> {
        self.stored_part().await?;
        let (number, upload) = self.reserve().await?;
        let blocks = std::mem::take(&mut self.blocks);
        let tails = std::mem::take(&mut self.tails);
        let held = self.held.take();
        let (store, id) = (self.store.clone(), self.id);
        self.obsolete.extend(tails.iter().cloned());
        let storing = async move {
            let composing = match tails.is_empty() {
                true => None,
                // Nobody closes the semaphore.
                false => store.composing.acquire().await.ok(),
            };
            let mut all = Vec::new();
            for tail in &tails {
                all.push(store.tail(id, tail).await?);
            }
            all.extend(blocks);
            let bytes = PutPayload::from_iter(all);
            let part = store
                .multiparts
                .put(&store.whole(id), &upload, number, bytes)
                .await;
            drop((composing, held));
            part
        };
        self.storing = Some(tokio::spawn(storing));
        Ok(())
    }

    /// Waits for the part that is on its way, and counts it.
    async fn stored_part(&mut self) -> Result<(), Error> {
        match self.storing.take() {
            Some(storing) => {
                let part = storing.await.map_err(ended)?;
                self.count(part).await
            }
            None => Ok(()),
        }
    }

    async fn count(&mut self, part: Result<Option<Part>, Fault>) -> Result<(), Error> {
        let Some(part) = part? else {
            let upload = self.record.upload.as_deref();
            return Err(self.store.upload_lost(self.id, upload).await);
        };
        let next = part.number + 1;
        let mut record = self.record.clone();
        record.parts.push(part);
        record.tails = self.tails.clone();
        record.length = record.parts.len() as u64 * record.part_bytes + tails_length(&record.tails);
        // The next part's number, too.
        record.next = next + 1;
        self.replace(record).await?;
        self.number = Some(next);
        Ok(())
    }

    /// A number for a part that nobody else uses, and the upload that it belongs to.
    async fn reserve(&mut self) -> Result<(u32, String), Error> {
        let number = match (self.number, &self.record.upload) {
            (Some(number), Some(_)) => number,
            _ => {
                let mut record = self.record.clone();
                let number = record.next;
                record.next += 1;
                let begun = match &record.upload {
                    Some(_) => None,
                    None => Some(
                        self.store
                            .multiparts
                            .begin(&self.store.whole(self.id))
                            .await?,
                    ),
                };
                if begun.is_some() {
                    record.upload.clone_from(&begun);
                }
                if let Err(e) = self.replace(record).await {
                    if let Some(upload) = begun {
                        self.store.abort_unrecorded(self.id, &upload).await;
                    }
                    return Err(e);
                }
                number
            }
        };
        // One is left for what is behind the last full part.
        if number >= MOST_PARTS {
            tracing::warn!(object = %self.id, "an object has as many parts as S3 allows");
            return Err(Error::Full);
        }
        self.number = Some(number);
        Ok((number, self.record.upload.clone().unwrap_or_default()))
    }

    async fn replace(&mut self, record: Record) -> Result<(), Error> {
        let replaced = self.store.replace(self.id, &record, Some(&self.version));
        let Some(version) = replaced.await? else {
            return Err(taken_over(self.id));
        };
        (self.record, self.version) = (record, version);
        Ok(())
    }

    /// Puts bytes away behind the tails that there are, together with short ones before them.
    async fn store_tail(&mut self, blocks: Vec<Bytes>) -> Result<(), Error> {
        let new: u64 = blocks.iter().map(|block| block.len() as u64).sum();
        if new == 0 {
            return Ok(());
        }
        let mut tails = self.tails.clone();
        let merged = take_short(&mut tails, new, FEW_TAILS);
        let composing = match merged.is_empty() {
            true => None,
            false => self.store.composing.acquire().await.ok(),
        };
        let mut all = Vec::new();
        for tail in &merged {
            all.push(self.store.tail(self.id, tail).await?);
        }
        all.extend(blocks);
        let tail = Tail {
            name: tail_name(&self.begun, self.stored),
            bytes: new + tails_length(&merged),
        };
        self.stored += 1;
        let bytes = PutPayload::from_iter(all);
        self.store.put_tail(self.id, &tail.name, bytes).await?;
        drop(composing);
        tails.push(tail);
        self.tails = tails;
        self.obsolete.extend(merged);
        Ok(())
    }

    /// Makes all that has arrived count.
    async fn finish(&mut self) -> Result<u64, Error> {
        self.stored_part().await?;
        self.end_block();
        let blocks = std::mem::take(&mut self.blocks);
        self.store_tail(blocks).await?;
        let mut record = self.record.clone();
        record.tails = self.tails.clone();
        record.length = record.parts.len() as u64 * record.part_bytes + tails_length(&record.tails);
        if let Some(number) = self.number {
            record.next = number;
        }
        let length = record.length;
        self.replace(record).await?;
        for tail in std::mem::take(&mut self.obsolete) {
            // Where this fails, a commit or a removal does the same.
            let _ = self.store.remove_tail(self.id, &tail.name).await;
        }
        Ok(length)
    }

    /// Makes nothing count that has arrived here.
    async fn take_back(&mut self) -> Result<u64, Error> {
        let is_over = self.stored_part().await.is_ok();
        let record = Record {
            upload: self.record.upload.clone(),
            // A part that may still be on its way keeps its number.
            next: match self.number {
                Some(number) if is_over => number,
                _ => self.record.next,
            },
            ..self.begun.clone()
        };
        let length = record.length;
        self.replace(record).await?;
        self.clear().await;
        Ok(length)
    }

    /// Removes the tails that this writer has stored and that do not count.
    async fn clear(&self) {
        // What this writer thinks does not matter: a record that it has given up for lost may have arrived.
        let Ok(now) = self.store.record(self.id).await else {
            return;
        };
        let tails = now.map_or_else(Vec::new, |(record, ..)| record.tails);
        for n in 0..self.stored {
            let name = tail_name(&self.begun, n);
            if !tails.iter().any(|tail| tail.name == name) {
                // Where this fails, a commit or a removal does the same.
                let _ = self.store.remove_tail(self.id, &name).await;
            }
        }
    }
}

/// A task that panicked, or ended with its runtime.
fn ended(e: JoinError) -> Error {
    lasting(e).into()
}

fn tail_name(begun: &Record, number: u32) -> String {
    format!("{}-{number}", begun.writer)
}
