//! Ranges on order and the bytes of them that have come, shared by the reader and the threads that get them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::fetch::{Fault, Head, Origin, Receiver, Stop, Version, fetch};

/// Requests at a time: what browsers ask of one server.
const THREADS: usize = 6;

/// One range on order.
#[derive(Debug, Default)]
pub struct Block {
    /// Its first byte is its key.
    pub end: u64,
    /// What has come of it.
    pub bytes: Vec<u8>,
    /// Why no more will.
    pub failure: Option<Error>,
    /// The engine said that it will read it.
    pub planned: bool,
    /// And has not yet.
    pub awaited: bool,
}

impl Block {
    pub fn is_done(&self, start: u64) -> bool {
        self.failure.is_some() || start + self.bytes.len() as u64 >= self.end
    }
}

/// The blocks, by their first bytes. They do not overlap.
#[derive(Default)]
pub struct Blocks {
    pub blocks: BTreeMap<u64, Block>,
    /// What is to be asked for, one request each; the first is needed first.
    orders: VecDeque<Vec<Range<u64>>>,
    threads: usize,
    idle: usize,
}

impl Blocks {
    /// The block that holds `offset`, and its first byte.
    pub fn holding(&self, offset: u64) -> Option<(u64, &Block)> {
        let (start, block) = self.blocks.range(..=offset).next_back()?;
        (offset < block.end).then_some((*start, block))
    }

    /// Where the next block after `offset` begins.
    pub fn next_after(&self, offset: u64) -> Option<u64> {
        self.blocks.range(offset..).next().map(|(start, _)| *start)
    }

    /// Takes the block at `start` back, if nobody has begun to get it.
    pub fn take_back(&mut self, start: u64) {
        for order in &mut self.orders {
            let before = order.len();
            order.retain(|range| range.start != start);
            if order.len() < before {
                self.blocks.remove(&start);
            }
        }
        self.orders.retain(|order| !order.is_empty());
    }

    fn fail(&mut self, order: &[Range<u64>], error: &Error) {
        for range in order {
            if let Some(block) = self.blocks.get_mut(&range.start)
                && !block.is_done(range.start)
            {
                block.failure = Some(error.clone());
            }
        }
    }
}

/// What reader and threads share.
pub struct Shared {
    pub origin: Box<dyn Origin>,
    pub shown: String,
    pub version: Version,
    pub retries: u32,
    pub stop: Arc<Stop>,
    blocks: Mutex<Blocks>,
    changed: Condvar,
}

impl Shared {
    pub fn new(
        origin: Box<dyn Origin>,
        shown: String,
        version: Version,
        retries: u32,
        stop: Arc<Stop>,
    ) -> Arc<Self> {
        Arc::new(Shared {
            origin,
            shown,
            version,
            retries,
            stop,
            blocks: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has come, or for so long.
    pub fn wait<'a>(
        &self,
        blocks: MutexGuard<'a, Blocks>,
        time: Duration,
    ) -> MutexGuard<'a, Blocks> {
        let waited = self.changed.wait_timeout(blocks, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Orders the ranges, of which no block holds a byte, in one request; `first`: before all others.
    pub fn order(
        self: &Arc<Self>,
        blocks: &mut Blocks,
        ranges: Vec<Range<u64>>,
        planned: bool,
        first: bool,
    ) -> Result<(), Error> {
        for range in &ranges {
            let block = Block {
                end: range.end,
                planned,
                awaited: planned,
                ..Block::default()
            };
            blocks.blocks.insert(range.start, block);
        }
        match first {
            true => blocks.orders.push_front(ranges),
            false => blocks.orders.push_back(ranges),
        }
        if blocks.idle < blocks.orders.len() && blocks.threads < THREADS {
            let shared = Arc::clone(self);
            let thread = thread::Builder::new().name("micropy remote".into());
            match thread.spawn(move || shared.work()) {
                Ok(_) => blocks.threads += 1,
                // The others will do.
                Err(_) if blocks.threads > 0 => {}
                Err(error) => return Err(Error::Thread(error.to_string())),
            }
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Ends all threads; one that waits for the server ends when that answers, or does not in time.
    pub fn end(&self) {
        self.stop.stop();
        self.changed.notify_all();
    }

    /// What each thread does: one order after the other.
    fn work(self: Arc<Self>) {
        while let Some(order) = self.next_order() {
            let mut unfinished = Unfinished {
                shared: &self,
                order: &order,
                error: Error::Thread("the one that receives has ended".into()),
            };
            let got = fetch(
                &*self.origin,
                &self.shown,
                &order,
                Some(&self.version),
                self.retries,
                &self.stop,
                &mut Filler(&self),
            );
            match got {
                Ok(()) => {}
                Err(Fault::Stopped) => return,
                Err(Fault::Passing(error, _) | Fault::Lasting(error)) => unfinished.error = error,
            }
        }
    }

    fn next_order(&self) -> Option<Vec<Range<u64>>> {
        let mut blocks = self.lock();
        loop {
            if self.stop.is_stopped() {
                return None;
            }
            if let Some(order) = blocks.orders.pop_front() {
                return Some(order);
            }
            blocks.idle += 1;
            // A stop may come between the look at it and the wait.
            blocks = self.wait(blocks, Duration::from_secs(1));
            blocks.idle -= 1;
        }
    }
}

/// Says of each block that did not get all of its bytes why, also where the thread panics.
struct Unfinished<'a> {
    shared: &'a Shared,
    order: &'a [Range<u64>],
    error: Error,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.shared.lock().fail(self.order, &self.error);
        self.shared.changed.notify_all();
    }
}

/// Puts what comes into its blocks.
struct Filler<'a>(&'a Shared);

impl Receiver for Filler<'_> {
    fn begin(&mut self, _head: &Head) -> Result<(), Fault> {
        match self.0.stop.is_stopped() {
            true => Err(Fault::Stopped),
            false => Ok(()),
        }
    }

    fn take(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        if self.0.stop.is_stopped() {
            return Err(Fault::Stopped);
        }
        let mut blocks = self.0.lock();
        // One that was dropped meanwhile is no longer there.
        if let Some((start, block)) = blocks.blocks.range_mut(..=offset).next_back()
            && offset == start + block.bytes.len() as u64
        {
            let room = (block.end - offset).min(bytes.len() as u64) as usize;
            block.bytes.extend_from_slice(&bytes[..room]);
        }
        drop(blocks);
        self.0.changed.notify_all();
        Ok(())
    }
}
