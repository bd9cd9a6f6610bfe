//! What an async program has to convert.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncSeek};

use crate::asynchronous::feed::{Chunks, Feed, Reader, SeekableReader};
use crate::asynchronous::pipe::{Guarded, Pipe, PipeReader, RangeReader};
use crate::asynchronous::run::{Run, Step};
use crate::error::Result;
use crate::progress::CancelToken;
use crate::source::{Source, StreamSource};

/// What an async program has to convert: a reader, a stream of chunks such as the body of a request, or a [`Source`].
///
/// Convert it with [`Converter::into_stream`](crate::Converter::into_stream) or
/// [`Converter::convert_async`](crate::Converter::convert_async). Anything else that reads a [`Source`], such as
/// [`probe`](crate::probe()), gets it from [`AsyncSource::run`].
///
/// It is read by whoever polls that stream or future, at most 256 KiB ahead of the engine. Which runtime polls it does
/// not matter, and it may borrow.
#[must_use = "nothing is read before it is converted"]
pub struct AsyncSource<'a> {
    kind: Kind<'a>,
    spool_folder: Option<PathBuf>,
    spool_limit: Option<u64>,
}

enum Kind<'a> {
    Stream(Box<dyn Feed + 'a>),
    Ranges(Box<dyn Feed + 'a>, u64),
    Blocking(Box<dyn Source + Send>),
}

impl fmt::Debug for AsyncSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Stream(_) => "stream",
            Kind::Ranges(..) => "ranges",
            Kind::Blocking(_) => "blocking",
        };
        f.debug_struct("AsyncSource")
            .field("kind", &kind)
            .field("spool_folder", &self.spool_folder)
            .field("spool_limit", &self.spool_limit)
            .finish()
    }
}

impl<'a> AsyncSource<'a> {
    fn new(kind: Kind<'a>) -> Self {
        AsyncSource {
            kind,
            spool_folder: None,
            spool_limit: None,
        }
    }

    /// Reads `reader` from its current position, forward: a socket, a pipe, a field of a form. Bytes that are needed
    /// again, such as the media before a `moov` box at the end, are spooled to a temporary file, as by a
    /// [`StreamSource`].
    pub fn from_reader(reader: impl AsyncRead + Send + 'a) -> Self {
        Self::new(Kind::Stream(Box::new(Reader::new(reader))))
    }

    /// Reads the chunks of `stream`, in order: the body of a request. An error of the stream ends the conversion with
    /// [`Error::Read`](crate::Error::Read), which holds it. Otherwise it is as [`AsyncSource::from_reader`].
    ///
    /// ```
    /// use futures_util::stream;
    /// use micropy_core::{AsyncSource, Converter, Options};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let video = std::fs::read("tests/media/moov-last-stereo-44100.mp4")?;
    /// let chunks = video.chunks(10_000).map(|chunk| std::io::Result::Ok(chunk.to_vec()));
    /// let source = AsyncSource::from_stream(stream::iter(chunks)).spool_limit(100_000_000);
    /// let report = Converter::new(Options::new()).convert_async(source, tokio::io::sink()).await?;
    /// assert!(report.complete);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_stream<S, B, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'a,
        B: Into<Bytes> + 'a,
        E: Into<Box<dyn StdError + Send + Sync>> + 'a,
    {
        Self::new(Kind::Stream(Box::new(Chunks::new(stream))))
    }

    /// Reads `reader` from its first byte, whatever its current position, and only the parts that are needed: of a
    /// video, the audio. Nothing is spooled.
    ///
    /// The engine waits for each range. A tokio `File` is read faster by the engine itself: give `into_std().await` as
    /// a [`SeekSource`](crate::SeekSource) to [`AsyncSource::from_source`].
    ///
    /// # Errors
    /// Those of `reader` when it seeks to its end, for the length.
    pub async fn from_seekable(reader: impl AsyncRead + AsyncSeek + Send + 'a) -> io::Result<Self> {
        let mut reader = SeekableReader::new(reader);
        let size = reader.size().await?;
        Ok(Self::new(Kind::Ranges(Box::new(reader), size)))
    }

    /// Reads a synchronous source on the conversion's thread: a file, bytes in memory, a remote object. Where it blocks,
    /// the conversion ends only once it returns: see [`CancelToken`].
    ///
    /// ```
    /// use micropy_core::{AsyncSource, Converter, FileSource, Options};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let video = FileSource::open("tests/media/moov-first-stereo-44100.mp4")?;
    /// let mut mp3 = Converter::new(Options::new()).into_stream(AsyncSource::from_source(video));
    /// tokio::io::copy(&mut mp3, &mut tokio::io::sink()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_source(source: impl Source + Send + 'static) -> Self {
        Self::new(Kind::Blocking(Box::new(source)))
    }

    /// As [`StreamSource::spool_folder`]. It says nothing for what is not read as a stream.
    pub fn spool_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.spool_folder = Some(folder.into());
        self
    }

    /// As [`StreamSource::spool_limit`]. Set one where others choose the input. It says nothing for what is not read as
    /// a stream.
    pub fn spool_limit(mut self, bytes: u64) -> Self {
        self.spool_limit = Some(bytes);
        self
    }

    /// Does `work` with this source on a thread of its own, and gives what it returns.
    ///
    /// ```
    /// use micropy_core::{AsyncSource, Converter, Error, FileSink, Options, probe};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let path = "tests/media/moov-first-stereo-44100.mp4";
    /// let video = AsyncSource::from_reader(tokio::fs::File::open(path).await?);
    /// let found = video.run(|video| probe(video)).await?;
    /// assert_eq!(found.tracks[0].sample_rate, Some(44_100));
    ///
    /// // A file that appears when it is whole.
    /// # let folder = tempfile::tempdir()?;
    /// # let talk = folder.path().join("talk.mp3");
    /// let video = AsyncSource::from_reader(tokio::fs::File::open(path).await?);
    /// let report = video
    ///     .run(move |video| {
    ///         let mp3 = FileSink::create(talk, false).map_err(Error::Write)?;
    ///         Converter::new(Options::new()).convert(video, mp3)
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Once the future is dropped, the source fails, and with it whatever reads it.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Thread`](crate::Error::Thread) if no thread can be started,
    /// [`Error::Internal`](crate::Error::Internal) if it panics.
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut dyn Source) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut run = Run::new(self, CancelToken::new(), |source, _| work(source));
        poll_fn(|cx| {
            loop {
                match run.poll(cx) {
                    // There is none: `work` has no sink.
                    Poll::Ready(Step::Output(_)) => {}
                    Poll::Ready(Step::End(result)) => return Poll::Ready(result),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// What feeds `pipe`, if anything does, and the source at its other end.
    pub(super) fn connect(
        self,
        pipe: &Arc<Pipe>,
    ) -> (Option<Box<dyn Feed + 'a>>, Box<dyn Source + Send>) {
        match self.kind {
            Kind::Stream(feed) => {
                let mut stream = StreamSource::new(PipeReader::new(pipe));
                if let Some(folder) = self.spool_folder {
                    stream = stream.spool_folder(folder);
                }
                if let Some(bytes) = self.spool_limit {
                    stream = stream.spool_limit(bytes);
                }
                (Some(feed), Box::new(Guarded::new(stream, pipe)))
            }
            Kind::Ranges(feed, size) => {
                let ranges = RangeReader::new(pipe, size);
                (Some(feed), Box::new(Guarded::new(ranges, pipe)))
            }
            Kind::Blocking(source) => (None, Box::new(Guarded::new(source, pipe))),
        }
    }
}
