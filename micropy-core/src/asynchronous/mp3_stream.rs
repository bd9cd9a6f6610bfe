//! An MP3 as it is made.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use bytes::{Buf as _, Bytes};
use futures_core::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use crate::asynchronous::run::{Run, Step};
use crate::asynchronous::source::AsyncSource;
use crate::convert::Converter;
use crate::error::{Error, Result};
use crate::report::Report;

/// An MP3 as it is made: a stream of its bytes, and a reader of them.
///
/// [`Converter::into_stream`] makes one. Poll it, and it moves the input, too. It holds at most 64 KiB of the MP3; the
/// conversion waits until they are taken. Drop it, and the conversion ends soon, and the input is dropped at once.
///
/// An error is the last item: what came before is then no MP3. A reader gets it as an [`io::Error`] that holds the
/// [`Error`].
#[must_use = "nothing is converted before it is polled"]
pub struct Mp3Stream<'a> {
    /// `None` once it has ended.
    run: Option<Run<'a, Report>>,
    /// Bytes that are to be given before others.
    next: Bytes,
    report: Option<Report>,
}

impl fmt::Debug for Mp3Stream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mp3Stream")
            .field("ended", &self.run.is_none())
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl<'a> Mp3Stream<'a> {
    pub(super) fn new(mut converter: Converter<'static>, source: AsyncSource<'a>) -> Self {
        // The caller's token may be that of other conversions.
        let cancel = converter.token().child();
        converter = converter.cancel(cancel.clone());
        let run = Run::new(source, cancel, move |source, sink| {
            converter.convert(source, sink)
        });
        Mp3Stream {
            run: Some(run),
            next: Bytes::new(),
            report: None,
        }
    }

    /// Waits for the first bytes of the MP3, or for the reason why there are none. A web service can choose the status
    /// of its response by that; then the stream begins with these bytes.
    ///
    /// # Errors
    /// As [`Converter::convert_async`], less those of a writer.
    pub async fn started(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_started(cx)).await
    }

    /// What was made, once the stream has ended without an error.
    pub fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    pub(super) fn into_report(self) -> Result<Report> {
        let missing = || Error::Internal("a stream that has not ended".into());
        self.report.ok_or_else(missing)
    }

    /// Moves input to the conversion, which has begun.
    pub(super) fn poll_feed(&mut self, cx: &mut Context<'_>) {
        if let Some(run) = &mut self.run {
            run.poll_feed(cx);
        }
    }

    /// Waits until there are bytes, or the end is reached.
    fn poll_started(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(run) = self.run.as_mut().filter(|_| self.next.is_empty()) else {
            return Poll::Ready(Ok(()));
        };
        let result = match ready!(run.poll(cx)) {
            Step::Output(bytes) => {
                self.next = bytes;
                return Poll::Ready(Ok(()));
            }
            Step::End(result) => result,
        };
        self.run = None;
        self.report = Some(result?);
        Poll::Ready(Ok(()))
    }
}

impl Stream for Mp3Stream<'_> {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        ready!(self.poll_started(cx))?;
        let bytes = std::mem::take(&mut self.next);
        Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
    }
}

impl AsyncRead for Mp3Stream<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_started(cx)).map_err(io_error)?;
        let n = self.next.len().min(buf.remaining());
        buf.put_slice(&self.next[..n]);
        self.next.advance(n);
        Poll::Ready(Ok(()))
    }
}

fn io_error(error: Error) -> io::Error {
    match &error {
        Error::Read(why) | Error::Write(why) => io::Error::new(why.kind(), error),
        _ => io::Error::other(error),
    }
}
