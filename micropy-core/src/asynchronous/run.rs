//! Work on a thread of its own, for the task that polls it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::{io, thread};

use bytes::Bytes;

use crate::asynchronous::feed::Feed;
use crate::asynchronous::pipe::{Pipe, PipeSink};
use crate::asynchronous::source::AsyncSource;
use crate::error::{Error, Result};
use crate::pipeline::message_of;
use crate::progress::CancelToken;
use crate::source::Source;

/// Bytes of input that one poll moves before others have their turn.
const TURN: usize = 256 << 10;

/// What the thread has done.
pub enum Step<T> {
    /// It has written these bytes.
    Output(Bytes),
    /// It has ended, and everything that it wrote was given before.
    End(Result<T>),
}

/// Reads an async source on a thread of its own, which starts with the first poll and ends when this is dropped.
pub struct Run<'a, T> {
    pipe: Arc<Pipe>,
    /// Cancels the work alone.
    cancel: CancelToken,
    /// `None`: the thread reads the source by itself.
    feed: Option<Box<dyn Feed + 'a>>,
    /// Starts the thread.
    start: Option<Box<dyn FnOnce() -> io::Result<()> + Send>>,
    result: Arc<Mutex<Option<Result<T>>>>,
}

impl<'a, T: Send + 'static> Run<'a, T> {
    /// Does `work`, which `cancel` ends, with `source` and with the sink of the output.
    pub fn new(
        source: AsyncSource<'a>,
        cancel: CancelToken,
        work: impl FnOnce(&mut dyn Source, PipeSink) -> Result<T> + Send + 'static,
    ) -> Self {
        let pipe = Pipe::new(cancel.clone());
        let (feed, mut source) = source.connect(&pipe);
        let result = Arc::new(Mutex::new(None));
        let sink = PipeSink::new(&pipe);
        let (end, slot, token) = (EndOnDrop(pipe.clone()), result.clone(), cancel.clone());
        let body = move || {
            let end = end;
            // What `work` and `source` hold is gone before the end is told.
            let work = AssertUnwindSafe(move || work(&mut *source, sink));
            let done = catch_unwind(work).unwrap_or_else(|panic| {
                let why = message_of(panic.as_ref());
                Err(Error::Internal(format!(
                    "a conversion's thread panicked: {why}"
                )))
            });
            let done = done.map_err(|error| match error {
                Error::Read(_) | Error::Write(_) if token.is_cancelled() => Error::Cancelled,
                error => error,
            });
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            drop(end);
        };
        let start = move || {
            let thread = thread::Builder::new().name("micropy".into());
            thread.spawn(body).map(drop)
        };
        Run {
            pipe,
            cancel,
            feed,
            start: Some(Box::new(start)),
            result,
        }
    }

    /// What the thread has done since the last poll. Nothing comes after the end.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step<T>> {
        self.poll_feed(cx);
        if let Some(start) = self.start.take()
            && let Err(error) = start()
        {
            return Poll::Ready(Step::End(Err(Error::Thread(error))));
        }
        // Asked before the output: when it has ended, all of that is there.
        let ended = self.pipe.has_ended();
        if let Some(bytes) = self.pipe.take_output() {
            return Poll::Ready(Step::Output(bytes));
        }
        if !ended {
            return Poll::Pending;
        }
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        let result = { result }.take();
        let result = result.unwrap_or_else(|| {
            let why = "a conversion's thread has left no result";
            Err(Error::Internal(why.into()))
        });
        Poll::Ready(Step::End(result))
    }

    /// Moves input to the thread as long as there is some, and room for it.
    pub fn poll_feed(&mut self, cx: &mut Context<'_>) {
        self.pipe.register(cx);
        let Some(feed) = &mut self.feed else { return };
        let mut moved = 0;
        while let Some(wanted) = self.pipe.wanted() {
            if moved >= TURN {
                cx.waker().wake_by_ref();
                return;
            }
            let Poll::Ready(bytes) = feed.poll_bytes(cx, wanted.offset, wanted.most) else {
                return;
            };
            moved += bytes.as_ref().map_or(0, |bytes| bytes.len());
            self.pipe.feed(wanted, bytes);
        }
    }
}

impl<T> Drop for Run<'_, T> {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.pipe.abandon();
    }
}

/// Tells the end of the thread, however it comes.
struct EndOnDrop(Arc<Pipe>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}
