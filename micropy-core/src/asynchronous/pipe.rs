//! The bounded pipe between an async task and the thread of a conversion, both ways.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::progress::CancelToken;
use crate::sink::Sink;
use crate::source::Source;

/// Bytes of input that are read ahead, or a chunk more.
const READ_AHEAD: usize = 192 << 10;

/// Bytes of input that are taken at once.
const CHUNK: usize = 64 << 10;

/// Bytes of the MP3 that may wait to be taken.
const WINDOW: usize = 64 << 10;

/// Bytes that a jump in an input with ranges asks for, where the engine has not said what it will read.
const JUMP: u64 = 16 << 10;

/// How often the thread looks at its token while it waits.
const TICK: Duration = Duration::from_millis(50);

/// What both sides share.
pub struct Pipe {
    state: Mutex<State>,
    /// The thread waits here. The async side has a waker.
    changed: Condvar,
}

struct State {
    input: Input,
    output: BytesMut,
    /// Of the task that polled last.
    waker: Option<Waker>,
    /// The token of the conversion.
    cancel: CancelToken,
    /// Nobody is there any more who wants the result.
    abandoned: bool,
    /// The thread has ended.
    ended: bool,
}

/// Bytes on their way to the thread.
struct Input {
    bytes: VecDeque<u8>,
    /// The offset of the first of them.
    start: u64,
    /// The offset up to which more are wanted.
    wanted: u64,
    /// Counts the jumps: what was read for an earlier one is not wanted any more.
    jump: u64,
    /// The feed has no more, or has failed.
    end: Option<io::Result<()>>,
}

/// Bytes that the thread wants.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub offset: u64,
    pub most: usize,
    jump: u64,
}

impl State {
    /// Whether this input is full enough.
    fn is_ahead(&self) -> bool {
        self.input.bytes.len() >= READ_AHEAD
    }
}

impl Pipe {
    pub fn new(cancel: CancelToken) -> Arc<Self> {
        Arc::new(Pipe {
            state: Mutex::new(State {
                input: Input {
                    bytes: VecDeque::new(),
                    start: 0,
                    wanted: 0,
                    jump: 0,
                    end: None,
                },
                output: BytesMut::new(),
                waker: None,
                cancel,
                abandoned: false,
                ended: false,
            }),
            changed: Condvar::new(),
        })
    }

    /// Locks, even if a thread panicked while it held the lock: every change is a single step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The async side.

    /// Wakes this task when something changes.
    pub fn register(&self, cx: &Context<'_>) {
        self.lock().waker = Some(cx.waker().clone());
    }

    /// The bytes that the thread wants next, if there is room for them.
    pub fn wanted(&self) -> Option<Wanted> {
        let state = self.lock();
        let input = &state.input;
        let offset = input.start + input.bytes.len() as u64;
        let wants = offset < input.wanted && input.end.is_none();
        (wants && !state.is_ahead() && !state.ended).then(|| Wanted {
            offset,
            most: (input.wanted - offset).min(CHUNK as u64) as usize,
            jump: input.jump,
        })
    }

    /// Gives the thread the bytes that it wanted; none at the end of the input.
    pub fn feed(&self, wanted: Wanted, bytes: io::Result<&[u8]>) {
        let mut state = self.lock();
        let input = &mut state.input;
        if input.jump != wanted.jump {
            return;
        }
        match bytes {
            Ok([]) => input.end = Some(Ok(())),
            Ok(bytes) => input.bytes.extend(bytes),
            // Only the caller knows what goes on after this: nobody here tries again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                input.end = Some(Err(io::Error::other(error)));
            }
            Err(error) => input.end = Some(Err(error)),
        }
        self.changed.notify_all();
    }

    /// What there is of the MP3.
    pub fn take_output(&self) -> Option<Bytes> {
        let mut state = self.lock();
        if state.output.is_empty() {
            return None;
        }
        self.changed.notify_all();
        Some(state.output.split().freeze())
    }

    /// Whether the thread has ended. Everything that it wrote is there then.
    pub fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Ends the conversion: nobody wants it any more.
    pub fn abandon(&self) {
        self.lock().abandoned = true;
        self.changed.notify_all();
    }

    // The thread's side.

    /// The thread has ended.
    pub fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        Self::wake(state);
    }

    /// Wakes the task, which may poll at once: nothing is locked then.
    fn wake(mut state: MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Fails if the conversion is to end.
    fn check(state: &State) -> io::Result<()> {
        // Which error it is does not matter: nobody sees it, or the caller gets `Error::Cancelled`.
        match state.abandoned || state.cancel.is_cancelled() {
            true => Err(io::Error::other("cancelled")),
            false => Ok(()),
        }
    }

    /// Waits until the other side has made it `ready`.
    fn wait(&self, ready: impl Fn(&State) -> bool) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        loop {
            Self::check(&state)?;
            if ready(&state) {
                return Ok(state);
            }
            let waited = self.changed.wait_timeout(state, TICK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for input and takes some.
    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let arrived = |state: &State| !state.input.bytes.is_empty() || state.input.end.is_some();
        let mut state = self.wait(arrived)?;
        let was_ahead = state.is_ahead();
        let input = &mut state.input;
        if input.bytes.is_empty() {
            return match &mut input.end {
                // An error is told once. Whoever reads again must not take it for the end of the input.
                Some(end @ Err(_)) => {
                    let again = io::Error::other("the input has failed before");
                    std::mem::replace(end, Err(again)).map(|()| 0)
                }
                _ => Ok(0),
            };
        }
        let n = input.bytes.read(buf)?;
        input.start += n as u64;
        if was_ahead && !state.is_ahead() {
            Self::wake(state);
        }
        Ok(n)
    }
}

/// The input as the thread reads it: from the first byte to the last.
pub struct PipeReader(Arc<Pipe>);

impl PipeReader {
    pub fn new(pipe: &Arc<Pipe>) -> Self {
        pipe.lock().input.wanted = u64::MAX;
        PipeReader(pipe.clone())
    }
}

impl Read for PipeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

/// The input as the thread reads it: by ranges.
pub struct RangeReader {
    pipe: Arc<Pipe>,
    size: u64,
    announced: Vec<Range<u64>>,
}

impl RangeReader {
    pub fn new(pipe: &Arc<Pipe>, size: u64) -> Self {
        RangeReader {
            pipe: pipe.clone(),
            size,
            announced: Vec::new(),
        }
    }

    /// Up to where is read for `len` bytes at `offset`.
    fn end_of_range(&self, offset: u64, len: usize) -> u64 {
        let announced = self.announced.iter().find(|range| range.contains(&offset));
        let end = announced.map_or(offset.saturating_add(JUMP), |range| range.end);
        end.max(offset.saturating_add(len as u64)).min(self.size)
    }
}

impl Source for RangeReader {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset >= self.size {
            return Ok(0);
        }
        let end = self.end_of_range(offset, buf.len());
        let mut state = self.pipe.lock();
        let input = &mut state.input;
        let arrived = input.start + input.bytes.len() as u64;
        if input.start <= offset && offset < arrived {
            input.bytes.drain(..(offset - input.start) as usize);
            input.start = offset;
        } else if offset != arrived || input.wanted <= offset || input.end.is_some() {
            input.bytes.clear();
            input.start = offset;
            input.wanted = end;
            input.jump += 1;
            input.end = None;
            Pipe::wake(state);
            return self.pipe.read(buf);
        } else {
            // It is on its way.
            input.bytes.clear();
            input.start = offset;
        }
        drop(state);
        self.pipe.read(buf)
    }

    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }

    fn will_read(&mut self, ranges: &[Range<u64>]) {
        self.announced = ranges.to_vec();
    }
}

/// A source that fails once its conversion is to end, whatever is behind it.
pub struct Guarded<S> {
    inner: S,
    pipe: Arc<Pipe>,
}

impl<S> Guarded<S> {
    pub fn new(inner: S, pipe: &Arc<Pipe>) -> Self {
        Guarded {
            inner,
            pipe: pipe.clone(),
        }
    }
}

impl<S: Source> Source for Guarded<S> {
    fn size(&self) -> Option<u64> {
        self.inner.size()
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Pipe::check(&self.pipe.lock())?;
        self.inner.read_at(offset, buf)
    }
    fn keep_from(&mut self, offset: u64) -> io::Result<()> {
        Pipe::check(&self.pipe.lock())?;
        self.inner.keep_from(offset)
    }
    fn will_read(&mut self, ranges: &[Range<u64>]) {
        self.inner.will_read(ranges);
    }
    fn cancel_with(&mut self, token: &CancelToken) {
        self.pipe.lock().cancel = token.clone();
        self.inner.cancel_with(token);
    }
}

/// The output as the thread writes it.
pub struct PipeSink(Arc<Pipe>);

impl PipeSink {
    pub fn new(pipe: &Arc<Pipe>) -> Self {
        PipeSink(pipe.clone())
    }
}

impl Sink for PipeSink {
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut state = self.0.wait(|state| state.output.len() < WINDOW)?;
            let room = WINDOW - state.output.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            state.output.extend_from_slice(now);
            Pipe::wake(state);
            bytes = later;
        }
        Ok(())
    }
    fn can_rewrite(&self) -> bool {
        false
    }
    fn rewrite(&mut self, _back: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}
