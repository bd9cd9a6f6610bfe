//! Videos on web servers, read by ranges.
//!
//! Reading blocks, and goes ahead of what is asked for. So each video has a thread of its own, which is told what to read.

use std::io;
use std::ops::Range;
use std::thread;

use async_trait::async_trait;
use micropy_core::ports::origins::{Error, Origins, RemoteVideo};
use micropy_core::{CancelToken, Source as _};
use micropy_remote::{Guard, Options, RemoteSource};
use tokio::sync::{mpsc, oneshot};

/// Requests to a thread that it has not begun.
const REQUESTS: usize = 4;

/// Reads `http` and `https`, at the addresses that a guard permits.
#[derive(Clone, Debug)]
pub struct HttpOrigins {
    guard: Guard,
}

impl HttpOrigins {
    /// Reads what `guard` permits.
    pub fn new(guard: Guard) -> Self {
        HttpOrigins { guard }
    }
}

/// What the thread is to do.
enum Request {
    WillRead(Vec<Range<u64>>),
    Read(Range<u64>, oneshot::Sender<io::Result<Vec<u8>>>),
}

/// A video that a thread reads.
struct HttpVideo {
    bytes: u64,
    requests: mpsc::Sender<Request>,
    cancel: CancelOnDrop,
}

/// Ends what a thread is at when nobody waits for it any more.
struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[async_trait]
impl Origins for HttpOrigins {
    fn file_name(&self, url: &str) -> Result<Option<String>, Error> {
        self.guard.check(url).map_err(classified)?;
        Ok(micropy_remote::file_name(url))
    }

    async fn open(&self, url: &str) -> Result<Box<dyn RemoteVideo>, Error> {
        let cancel = CancelOnDrop(CancelToken::new());
        let options = Options::new()
            .guard(self.guard.clone())
            .cancel(cancel.0.clone());
        let (requests, taken) = mpsc::channel(REQUESTS);
        let (tell, opened) = oneshot::channel();
        let url = url.to_owned();
        let thread = thread::Builder::new().name("micropy import".into());
        let started = thread.spawn(move || match micropy_remote::open(&url, options) {
            Ok(source) => {
                if tell.send(Ok(source.size())).is_ok() {
                    serve(source, taken);
                }
            }
            Err(e) => drop(tell.send(Err(e))),
        });
        started.map_err(|e| Error::Unavailable(Box::new(e)))?;
        let opened = opened.await.map_err(|e| Error::Unavailable(Box::new(e)))?;
        match opened.map_err(classified)? {
            Some(bytes) => Ok(Box::new(HttpVideo {
                bytes,
                requests,
                cancel,
            })),
            None => Err(Error::Rejected(
                "the server of the URL sends no ranges of it (RFC 9110, section 14), and only these are read".into(),
            )),
        }
    }
}

/// Does what is asked, until nobody asks any more.
fn serve(mut source: RemoteSource, mut requests: mpsc::Receiver<Request>) {
    while let Some(request) = requests.blocking_recv() {
        match request {
            Request::WillRead(ranges) => source.will_read(&ranges),
            Request::Read(range, reply) => {
                let _ = reply.send(read(&mut source, range));
            }
        }
    }
}

fn read(source: &mut RemoteSource, range: Range<u64>) -> io::Result<Vec<u8>> {
    let length = usize::try_from(range.end.saturating_sub(range.start))
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        match source.read_at(range.start + done as u64, &mut bytes[done..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => done += n,
        }
    }
    Ok(bytes)
}

#[async_trait]
impl RemoteVideo for HttpVideo {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    async fn will_read(&self, ranges: Vec<Range<u64>>) {
        // Where the thread has ended, the next read says why.
        let _ = self.requests.send(Request::WillRead(ranges)).await;
    }

    async fn read(&self, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let ended = || Error::Unavailable("the thread that reads has ended".into());
        let (reply, bytes) = oneshot::channel();
        let asked = self.requests.send(Request::Read(range, reply)).await;
        asked.map_err(|_| ended())?;
        let read = bytes.await.map_err(|_| ended())?;
        read.map_err(|e| match e.downcast::<micropy_remote::Error>() {
            Ok(e) => classified(e),
            Err(e) => Error::Unavailable(Box::new(e)),
        })
    }
}

impl std::fmt::Debug for HttpVideo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpVideo")
            .field("bytes", &self.bytes)
            .field("is_cancelled", &self.cancel.0.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// Whether it stays as it is when it is tried again.
fn classified(e: micropy_remote::Error) -> Error {
    use micropy_remote::Error as Remote;
    match &e {
        Remote::Status {
            status: 408 | 425 | 429 | 500..=599,
            ..
        } => Error::Unavailable(Box::new(e)),
        Remote::InvalidUrl { .. }
        | Remote::NotPermitted { .. }
        | Remote::Redirect { .. }
        | Remote::Response { .. }
        | Remote::Status { .. } => Error::Rejected(e.to_string()),
        _ => Error::Unavailable(Box::new(e)),
    }
}
