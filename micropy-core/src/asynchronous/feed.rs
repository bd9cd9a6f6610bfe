//! Where the bytes of an async input come from.

use std::error::Error;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};

/// Bytes that are read from a reader at once.
const CHUNK: usize = 64 << 10;

/// Empty chunks that a stream may give before others have their turn.
const EMPTY_CHUNKS: usize = 32;

/// Gives the bytes of an input, up to so many at a time.
pub trait Feed: Send {
    /// The bytes at `offset`, at most `most` and none at the end of the input. Only a feed that can seek is asked for
    /// others than those that follow the last.
    fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
        offset: u64,
        most: usize,
    ) -> Poll<io::Result<&[u8]>>;
}

/// A reader, and the bytes that it gave last.
pub struct Reader<R> {
    reader: Pin<Box<R>>,
    buffer: Box<[u8]>,
}

impl<R: AsyncRead> Reader<R> {
    pub fn new(reader: R) -> Self {
        Reader {
            reader: Box::pin(reader),
            buffer: vec![0; CHUNK].into(),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<&[u8]>> {
        let most = most.min(self.buffer.len());
        let mut buffer = ReadBuf::new(&mut self.buffer[..most]);
        let read = loop {
            match ready!(self.reader.as_mut().poll_read(cx, &mut buffer)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) => break buffer.filled().len(),
            }
        };
        Poll::Ready(Ok(&self.buffer[..read]))
    }
}

impl<R: AsyncRead + Send> Feed for Reader<R> {
    fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
        _offset: u64,
        most: usize,
    ) -> Poll<io::Result<&[u8]>> {
        self.poll_read(cx, most)
    }
}

/// A reader that seeks.
pub struct SeekableReader<R> {
    reader: Reader<R>,
    /// Where it is; `None` while it seeks, or if a seek failed.
    position: Option<u64>,
    /// Where it seeks to.
    seeking: Option<u64>,
}

impl<R: AsyncRead + AsyncSeek> SeekableReader<R> {
    pub fn new(reader: R) -> Self {
        SeekableReader {
            reader: Reader::new(reader),
            position: None,
            seeking: None,
        }
    }

    /// The length of the input in bytes.
    pub async fn size(&mut self) -> io::Result<u64> {
        let reader = &mut self.reader.reader;
        std::future::poll_fn(|cx| reader.as_mut().poll_complete(cx)).await?;
        reader.as_mut().start_seek(SeekFrom::End(0))?;
        std::future::poll_fn(|cx| reader.as_mut().poll_complete(cx)).await
    }

    fn poll_seek(&mut self, cx: &mut Context<'_>, offset: u64) -> Poll<io::Result<()>> {
        while self.position != Some(offset) {
            let reader = &mut self.reader.reader;
            // A seek that has begun has to end before the next.
            let reached = ready!(reader.as_mut().poll_complete(cx))?;
            if self.seeking.take() == Some(offset) {
                if reached != offset {
                    let why = format!("the reader went to byte {reached} instead of {offset}");
                    return Poll::Ready(Err(io::Error::other(why)));
                }
                self.position = Some(offset);
            } else {
                self.position = None;
                reader.as_mut().start_seek(SeekFrom::Start(offset))?;
                self.seeking = Some(offset);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<R: AsyncRead + AsyncSeek + Send> Feed for SeekableReader<R> {
    fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
        offset: u64,
        most: usize,
    ) -> Poll<io::Result<&[u8]>> {
        ready!(self.poll_seek(cx, offset))?;
        let bytes = ready!(self.reader.poll_read(cx, most))?;
        self.position = Some(offset + bytes.len() as u64);
        Poll::Ready(Ok(bytes))
    }
}

/// A stream of chunks, of which the first may be given in part.
pub struct Chunks<S> {
    stream: Pin<Box<S>>,
    chunk: Bytes,
    given: Bytes,
}

impl<S> Chunks<S> {
    pub fn new(stream: S) -> Self {
        Chunks {
            stream: Box::pin(stream),
            chunk: Bytes::new(),
            given: Bytes::new(),
        }
    }
}

impl<S, B, E> Feed for Chunks<S>
where
    S: Stream<Item = Result<B, E>> + Send,
    B: Into<Bytes>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
        _offset: u64,
        most: usize,
    ) -> Poll<io::Result<&[u8]>> {
        let mut empty = 0;
        while self.chunk.is_empty() {
            if empty == EMPTY_CHUNKS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            empty += 1;
            self.chunk = match ready!(self.stream.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => chunk.into(),
                Some(Err(error)) => return Poll::Ready(Err(io_error(error.into()))),
                None => return Poll::Ready(Ok(&[])),
            };
        }
        self.given = self.chunk.split_to(most.min(self.chunk.len()));
        Poll::Ready(Ok(&self.given))
    }
}

/// The `io::Error` that `error` is or becomes.
fn io_error(error: Box<dyn Error + Send + Sync>) -> io::Error {
    match error.downcast::<io::Error>() {
        Ok(error) => *error,
        Err(error) => io::Error::other(error),
    }
}
