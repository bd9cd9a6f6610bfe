//! The bounded window of spans between the reader, the workers and the writer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::mp3::frame::Frame;
use crate::runner::{Runner, Stretch};
use crate::span::{SPAN_BYTES, Span};

/// A task for a worker.
pub enum Task {
    /// Convert a span with an encoder of its own.
    Begin(Arc<Span>),
    /// An encoder that was parked at the start of a span can go on.
    Resume(Box<Runner>, usize),
}

/// What an encoder finds at the start of a span.
pub enum Arrival {
    /// Nothing yet: the window keeps the encoder, and later makes a [`Task::Resume`] of it.
    Parked,
    /// There is no such span: the file ends here.
    End(Runner),
    /// The span, and the first frames of its own encoder.
    Seam(Runner, Arc<Span>, Arc<[Frame]>),
}

/// What one encoder has made, from the first frame of its span to its seam or to the end of the file.
pub struct Output {
    /// Its frames.
    pub frames: Stretch,
    /// Which span's encoder continues, from which of its frames on; `None` at the end of the file.
    pub next: Option<(usize, usize)>,
}

struct Slot {
    span: Arc<Span>,
    head: Option<Arc<[Frame]>>,
    output: Option<Output>,
}

#[derive(Default)]
struct State {
    /// Index of the span in the first slot.
    base: usize,
    slots: VecDeque<Slot>,
    /// Bytes of the spans in them.
    bytes: usize,
    tasks: VecDeque<Task>,
    /// Encoders that wait at the start of a span.
    parked: Vec<(usize, Runner)>,
    /// How many spans there are, once the reader knows.
    total: Option<usize>,
    error: Option<Error>,
}

impl State {
    fn slot(&mut self, index: usize) -> Option<&mut Slot> {
        self.slots.get_mut(index.checked_sub(self.base)?)
    }

    /// Puts encoders back to work that wait at a span for which `ready` holds.
    fn resume(&mut self, ready: impl Fn(usize) -> bool) {
        for (boundary, runner) in std::mem::take(&mut self.parked) {
            if ready(boundary) {
                // First in the queue: it holds memory, and the writer waits for it.
                self.tasks
                    .push_front(Task::Resume(Box::new(runner), boundary));
            } else {
                self.parked.push((boundary, runner));
            }
        }
    }
}

/// Shared between the caller's thread and the workers.
#[derive(Default)]
pub struct Window {
    state: Mutex<State>,
    /// Workers wait here for tasks.
    work: Condvar,
    /// The caller's thread waits here for outputs.
    done: Condvar,
    stopped: AtomicBool,
    encoded: AtomicU64,
}

impl Window {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A worker that panicked has reported it through `fail`.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another span may be read: fewer than `most` are in flight, with no more bytes than so many take on
    /// average; or the encoder of span `needed`, which the writer waits for, has passed all of them.
    pub fn has_room(&self, most: usize, needed: usize) -> bool {
        let state = self.lock();
        let next = state.base + state.slots.len();
        state.slots.len() < most && state.bytes < most * SPAN_BYTES
            || state
                .parked
                .iter()
                .any(|(boundary, runner)| *boundary == next && runner.span == needed)
    }

    /// Opens a span to the workers.
    pub fn add(&self, span: Span) {
        let span = Arc::new(span);
        let mut state = self.lock();
        debug_assert_eq!(span.index, state.base + state.slots.len());
        state.bytes += span.bytes();
        state.slots.push_back(Slot {
            span: Arc::clone(&span),
            head: None,
            output: None,
        });
        state.tasks.push_back(Task::Begin(span));
        self.work.notify_one();
    }

    /// No span follows those added.
    pub fn close(&self) {
        let mut state = self.lock();
        let total = state.base + state.slots.len();
        state.total = Some(total);
        state.resume(|boundary| boundary >= total);
        self.work.notify_all();
    }

    /// The next task; `None` when the conversion is over.
    pub fn next_task(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if self.is_stopped() {
                return None;
            }
            match state.tasks.pop_front() {
                // A neighbour went on through the whole span: it is no longer needed.
                Some(Task::Begin(span)) if span.index < state.base => {}
                Some(task) => return Some(task),
                None => {
                    state = self
                        .work
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// `runner` stands at the start of span `boundary`.
    pub fn arrive(&self, runner: Runner, boundary: usize) -> Arrival {
        let mut state = self.lock();
        if state.total.is_some_and(|total| boundary >= total) {
            return Arrival::End(runner);
        }
        if let Some(slot) = state.slot(boundary)
            && let Some(head) = &slot.head
        {
            return Arrival::Seam(runner, Arc::clone(&slot.span), Arc::clone(head));
        }
        state.parked.push((boundary, runner));
        Arrival::Parked
    }

    /// The first frames of span `index`, for its left neighbour.
    pub fn publish(&self, index: usize, head: Vec<Frame>) {
        let mut state = self.lock();
        if let Some(slot) = state.slot(index) {
            slot.head = Some(head.into());
            state.resume(|boundary| boundary == index);
            self.work.notify_all();
        }
    }

    /// What the encoder that began with span `index` has made.
    pub fn put_output(&self, index: usize, output: Output) {
        if let Some(slot) = self.lock().slot(index) {
            slot.output = Some(output);
            self.done.notify_one();
        }
    }

    /// Waits up to `timeout` for the output of span `index`; `None` if it is not there yet.
    pub fn take_output(&self, index: usize, timeout: Duration) -> Result<Option<Output>> {
        let pending = |state: &mut State| {
            state.error.is_none() && state.slot(index).is_none_or(|slot| slot.output.is_none())
        };
        let (mut state, _) = self
            .done
            .wait_timeout_while(self.lock(), timeout, pending)
            .unwrap_or_else(PoisonError::into_inner);
        match state.error.take() {
            Some(error) => Err(error),
            None => Ok(state.slot(index).and_then(|slot| slot.output.take())),
        }
    }

    /// Forgets the spans before `index`, and the encoders that began with them.
    pub fn release(&self, index: usize) {
        let mut state = self.lock();
        while state.base < index
            && let Some(slot) = state.slots.pop_front()
        {
            state.base += 1;
            state.bytes -= slot.span.bytes();
        }
        state.parked.retain(|(_, runner)| runner.span >= index);
    }

    /// Counts PCM samples of the output that were encoded.
    pub fn count_encoded(&self, samples: usize) {
        self.encoded.fetch_add(samples as u64, Ordering::Relaxed);
    }

    /// PCM samples of the output that were encoded so far.
    pub fn encoded(&self) -> u64 {
        self.encoded.load(Ordering::Relaxed)
    }

    /// Ends the conversion with `error`, if it is the first.
    pub fn fail(&self, error: Error) {
        self.lock().error.get_or_insert(error);
        self.stop();
        self.done.notify_one();
    }

    /// Ends the workers.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Under the lock, so that no worker is between its check and its wait.
        let _state = self.lock();
        self.work.notify_all();
    }

    /// An error where the workers are to end.
    pub fn check(&self) -> Result<()> {
        if self.is_stopped() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
