//! One reader, a worker on each core, one writer: spans go out as packets and come back as frames, in
//! order, through a bounded window.
//!
//! The caller's thread reads and writes, so neither the source nor the sink has to be `Send`. A worker converts a
//! span with an encoder of its own and then goes on into the next span, until its frames and those of that span's
//! own encoder agree: there is the seam ([`crate::stitch`]). No worker waits for a neighbour: an encoder that
//! arrives at a span whose first frames are not there yet is parked, and put back to work once they are
//! published.

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::mp3::frame::Frame;
use crate::pcm::Pcm;
use crate::render::{Findings, Recipe, Renderer};
use crate::runner::{Runner, Stretch};
use crate::source::Source;
use crate::span::{Advance, Span, SpanReader};
use crate::stitch::{SeamSearch, Verdict};
use crate::window::{Arrival, Output, Task, Window};

/// How often progress is reported, and how soon at the latest a cancellation is seen.
const TICK: Duration = Duration::from_millis(50);

/// First frames of a span that are shown to its left neighbour: a seam is found within them or not at all.
const HEAD_FRAMES: usize = 224;

/// First frames of an encoder, which are never used: its psychoacoustic model has not heard enough yet.
pub const WARM_UP: usize = 8;

/// Worker threads at most: with more, the window would hold gigabytes.
const MOST_JOBS: usize = 1024;

/// What stays the same for all spans of a conversion.
pub struct Engine<'a> {
    /// From packets to PCM.
    pub recipe: &'a Recipe,
    /// From PCM to frames; `None`: the spans are only measured.
    pub encoder: Option<micropy_lame::Settings>,
    /// Worker threads. No more are started than [`MOST_JOBS`], or than there are spans.
    pub jobs: NonZeroUsize,
    /// Where faults and loudness are noted.
    pub findings: &'a Findings,
}

/// What the caller's thread does between reading spans.
pub trait Observer {
    /// Takes the next frames of the output.
    fn frames(&mut self, frames: &mut dyn Iterator<Item = &[u8]>) -> Result<()>;

    /// Called at least every [`TICK`] with the PCM samples encoded so far; an error ends the conversion.
    fn tick(&mut self, encoded: u64) -> Result<()>;
}

impl Engine<'_> {
    /// Converts all spans of `reader`, in order.
    pub fn run(
        &self,
        reader: &mut SpanReader,
        source: &mut dyn Source,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let window = Window::default();
        let window = &window;
        thread::scope(|scope| {
            // However this ends, the workers must stop before the scope waits for them.
            let _stop = StopOnDrop(window);
            let mut workers = 0;
            let mut refused = false;
            let employ = |spans: usize| {
                if refused || workers >= spans.min(self.jobs()) {
                    return Ok(());
                }
                let thread = thread::Builder::new().name(format!("micropy {}", workers + 1));
                match thread.spawn_scoped(scope, || self.work(window)) {
                    Ok(_) => workers += 1,
                    Err(why) if workers == 0 => {
                        return Err(Error::Thread(why));
                    }
                    // Fewer workers write the same bytes.
                    Err(_) => refused = true,
                }
                Ok(())
            };
            self.drive(window, reader, source, observer, employ)
        })
    }

    fn jobs(&self) -> usize {
        self.jobs.get().min(MOST_JOBS)
    }

    /// The caller's thread: passes on the output and keeps the window full. It calls `employ` with the number of
    /// spans so far after each new one, so that no worker is started without work.
    fn drive(
        &self,
        window: &Window,
        reader: &mut SpanReader,
        source: &mut dyn Source,
        observer: &mut dyn Observer,
        mut employ: impl FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let most = 2 * self.jobs();
        let (mut exhausted, mut total) = (false, 0);
        // What is written next: frame `from` of the encoder that began with span `index`.
        let (mut index, mut from) = (0, 0);
        loop {
            observer.tick(window.encoded())?;
            if exhausted && index == total {
                return Ok(());
            }
            let reads = !exhausted && window.has_room(most, index);
            // Reading from a pipe may take long: neither output nor errors wait for it.
            let patience = if reads { Duration::ZERO } else { TICK };
            if let Some(output) = window.take_output(index, patience)? {
                observer.frames(&mut output.frames.iter_from(from))?;
                match output.next {
                    Some(next) => (index, from) = next,
                    None => return observer.tick(window.encoded()),
                }
                window.release(index);
            } else if reads {
                match reader.advance(source)? {
                    Advance::Reading => {}
                    Advance::Span(span) => {
                        total = span.index + 1;
                        window.add(span);
                        employ(total)?;
                    }
                    Advance::End => {
                        exhausted = true;
                        window.close();
                    }
                }
            }
        }
    }

    /// A worker: does tasks until the conversion is over.
    ///
    /// A panic is caught, so that it ends this conversion and not the caller's process. The process's panic hook
    /// still runs: a bug of ours should be shown with its place, and a library replaces no hook.
    fn work(&self, window: &Window) {
        while let Some(task) = window.next_task() {
            let done = catch_unwind(AssertUnwindSafe(|| match task {
                Task::Begin(span) => match &self.encoder {
                    Some(encoder) => self.begin(window, span, encoder),
                    None => self.measure(window, span),
                },
                Task::Resume(runner, boundary) => self.arrive(window, *runner, boundary),
            }));
            match done {
                Ok(Ok(())) => {}
                Ok(Err(error)) => window.fail(error),
                Err(panic) => window.fail(Error::Internal(message_of(panic.as_ref()))),
            }
        }
    }

    /// Converts `span` from its start to its end.
    fn begin(
        &self,
        window: &Window,
        span: Arc<Span>,
        encoder: &micropy_lame::Settings,
    ) -> Result<()> {
        let index = span.index;
        let mut runner = Runner::new(&span, encoder)?;
        let mut renderer = Renderer::new(self.recipe, span, Some(self.findings))?;
        let mut pcm = Pcm::default();
        // The first frames, until they are published. Those of the first span have no left neighbour.
        let mut head = (index > 0).then(Vec::new);
        let mut more = true;
        while more {
            window.check()?;
            more = renderer.render(&mut pcm)?;
            for (_, frame) in runner.encode(&pcm)? {
                if let Some(head) = &mut head {
                    head.push(frame.clone());
                }
                runner.keep(frame);
            }
            window.count_encoded(pcm.len());
            if let Some(head) = head.take_if(|head| head.len() >= HEAD_FRAMES || !more) {
                window.publish(index, head);
            }
        }
        self.arrive(window, runner, index + 1)
    }

    /// Renders `span` only to measure it.
    fn measure(&self, window: &Window, span: Arc<Span>) -> Result<()> {
        let index = span.index;
        let mut renderer = Renderer::new(self.recipe, span, Some(self.findings))?;
        let mut pcm = Pcm::default();
        let mut more = true;
        while more {
            window.check()?;
            more = renderer.render(&mut pcm)?;
            window.count_encoded(pcm.len());
        }
        let frames = Stretch::default();
        let next = Some((index + 1, 0));
        window.put_output(index, Output { frames, next });
        Ok(())
    }

    /// `runner` has encoded everything before span `boundary`. It ends there if the file does; otherwise it goes on
    /// until a seam with that span is found.
    fn arrive(&self, window: &Window, runner: Runner, boundary: usize) -> Result<()> {
        match window.arrive(runner, boundary) {
            Arrival::Parked => Ok(()),
            Arrival::End(runner) => {
                let index = runner.span;
                let frames = runner.finish()?;
                window.put_output(index, Output { frames, next: None });
                Ok(())
            }
            Arrival::Seam(runner, span, head) => self.join(window, runner, span, &head),
        }
    }

    /// Goes on into `span`, which begins with the frames `head`, until the seam with them is found.
    fn join(
        &self,
        window: &Window,
        mut runner: Runner,
        span: Arc<Span>,
        head: &[Frame],
    ) -> Result<()> {
        let right = span.index;
        let start = span.first_frame;
        let all = span.last && head.len() < HEAD_FRAMES;
        let mut renderer = Renderer::new(self.recipe, span, None)?;
        let mut pcm = Pcm::default();
        let mut search = None;
        let mut given_up = false;
        let mut more = true;
        while more {
            window.check()?;
            more = renderer.render(&mut pcm)?;
            for (number, frame) in runner.encode(&pcm)? {
                if given_up || number < start {
                    runner.keep(frame);
                    continue;
                }
                let mut current = search.take().unwrap_or_else(|| {
                    let tail = runner.take_tail();
                    SeamSearch::new(tail, head, runner.rate_control(), WARM_UP).of_all(all)
                });
                match current.offer(frame) {
                    Verdict::GoOn => search = Some(current),
                    Verdict::Seam(seam) => {
                        let index = runner.span;
                        let frames = runner.end_with(current.join(seam));
                        let next = Some((right, seam.k));
                        window.put_output(index, Output { frames, next });
                        return Ok(());
                    }
                    Verdict::NoSeam => {
                        runner.put_back(current.into_tail());
                        given_up = true;
                    }
                }
            }
        }
        if let Some(search) = search {
            // The span is shorter than its head, and A's reservoir still holds back a frame that B's does not: A has
            // gone through the whole span.
            runner.put_back(search.into_tail());
        }
        self.arrive(window, runner, right + 1)
    }
}

/// Ends the workers when the caller's thread leaves, however it does.
struct StopOnDrop<'a>(&'a Window);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What a thread said when it panicked.
pub fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a worker panicked".into())
}

#[cfg(test)]
pub mod tests;
