//! The engine for async programs.
//!
//! The engine is synchronous: a conversion runs on a thread of its own, and its workers beside it. The async side has
//! no task of its own: whoever polls the stream or the future also moves the input. So it takes no runtime, the reader
//! need not be `'static`, and what is dropped is gone at once, the conversion with it.
//!
//! ```text
//! AsyncRead, Stream ─▶ feed ─▶ pipe ─▶ Source ─▶ engine ─▶ Sink ─▶ pipe ─▶ Mp3Stream
//! └────────── the caller's task ─────┘ └──── its thread ────────┘ └─ the caller's task
//! ```
//!
//! Each pipe holds a bounded number of bytes, and the side that is ahead waits for the other.

mod feed;
mod mp3_stream;
mod pipe;
mod run;
mod source;

use std::io;
use std::pin::pin;
use std::task::{Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_core::Stream as _;
use tokio::io::AsyncWrite;

use crate::convert::Converter;
use crate::error::{Error, Result};
use crate::report::Report;

pub use mp3_stream::Mp3Stream;
pub use source::AsyncSource;

/// For async programs.
impl Converter<'static> {
    /// Converts what `source` holds; the MP3 comes as a stream, while the input still arrives.
    ///
    /// Nothing happens until the stream is polled. Then a thread of its own converts, which ends soon after the stream
    /// is dropped. The callback of [`Converter::on_progress`] is called on that thread. As many conversions run at a
    /// time as are asked for: limit them with a semaphore, and the threads of each with
    /// [`Options::jobs`](crate::Options::jobs).
    ///
    /// The stream cannot be rewritten, so the MP3 is that of a [`StreamSink`](crate::StreamSink).
    ///
    /// ```
    /// use futures_util::TryStreamExt as _;
    /// use micropy_core::{AsyncSource, Converter, Options};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let video = tokio::fs::File::open("tests/media/moov-first-stereo-44100.mp4").await?;
    /// let mut mp3 = Converter::new(Options::new()).into_stream(AsyncSource::from_reader(video));
    /// let mut bytes = 0;
    /// while let Some(chunk) = mp3.try_next().await? {
    ///     bytes += chunk.len() as u64;
    /// }
    /// assert_eq!(mp3.report().map(|report| report.output_bytes), Some(bytes));
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_stream(self, source: AsyncSource<'_>) -> Mp3Stream<'_> {
        Mp3Stream::new(self, source)
    }

    /// Converts what `source` holds into `writer`, and flushes it. It is not shut down. Dropping the future ends the
    /// conversion.
    ///
    /// Otherwise it is as [`Converter::into_stream`]. To write a file, give a [`FileSink`](crate::FileSink) to
    /// [`AsyncSource::run`]: it appears when it is whole, and its Info tag is completed.
    ///
    /// ```
    /// use micropy_core::{AsyncSource, Converter, Options};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let video = tokio::fs::File::open("tests/media/moov-first-stereo-44100.mp4").await?;
    /// let mut mp3 = Vec::new();
    /// let report = Converter::new(Options::new())
    ///     .convert_async(AsyncSource::from_reader(video), &mut mp3)
    ///     .await?;
    /// assert_eq!(report.output_bytes, mp3.len() as u64);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Converter::convert`]; [`Error::Write`] with the error of `writer`, [`Error::Thread`] if no thread can be
    /// started.
    pub async fn convert_async(
        self,
        source: AsyncSource<'_>,
        writer: impl AsyncWrite,
    ) -> Result<Report> {
        let mut mp3 = self.into_stream(source);
        let mut stream = pin!(&mut mp3);
        let mut writer = pin!(writer);
        let mut chunk = Bytes::new();
        let mut unflushed = false;
        std::future::poll_fn(|cx| {
            loop {
                if !chunk.is_empty() {
                    match writer.as_mut().poll_write(cx, &chunk) {
                        Poll::Ready(Ok(0)) => {
                            let zero = io::ErrorKind::WriteZero.into();
                            return Poll::Ready(Err(Error::Write(zero)));
                        }
                        Poll::Ready(Ok(n)) => {
                            chunk.advance(n);
                            unflushed = true;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(Error::Write(error))),
                        // The input need not wait for the writer.
                        Poll::Pending => {
                            stream.poll_feed(cx);
                            return Poll::Pending;
                        }
                    }
                    continue;
                }
                match stream.as_mut().poll_next(cx) {
                    Poll::Ready(Some(next)) => chunk = next?,
                    Poll::Ready(None) => {
                        ready!(writer.as_mut().poll_flush(cx)).map_err(Error::Write)?;
                        return Poll::Ready(Ok(()));
                    }
                    // What there is of the MP3 need not wait for the input.
                    Poll::Pending => {
                        if unflushed {
                            ready!(writer.as_mut().poll_flush(cx)).map_err(Error::Write)?;
                            unflushed = false;
                        }
                        return Poll::Pending;
                    }
                }
            }
        })
        .await?;
        mp3.into_report()
    }
}
