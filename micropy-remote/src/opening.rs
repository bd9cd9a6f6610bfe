//! The first request: whether the file is there, how long it is, and whether it can be read by ranges.

use std::sync::mpsc::{Receiver as Channel, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use std::{io, thread};

use crate::Options;
use crate::blocks::Shared;
use crate::error::Error;
use crate::fetch::{Fault, Head, Origin, Receiver, Stop, fetch};
use crate::ranges::{FIRST, RangeSource, TICK};
use crate::whole::{PIECES, Piece, WholeBody, silence};

/// A file that is there.
pub enum Opened {
    Ranges(Box<RangeSource>),
    Whole(WholeBody),
}

/// What the thread that asks says.
enum News {
    /// Something of the response has arrived.
    Arriving,
    /// It is of ranges; these are the first bytes.
    Ranges(Box<dyn Origin>, Head, Vec<u8>),
    /// It is all of the file, piece by piece.
    Whole(Channel<Piece>),
    Failed(Error),
}

/// Asks for the first bytes of the file.
pub fn open(origin: Box<dyn Origin>, shown: String, mut options: Options) -> Result<Opened, Error> {
    let (tell, news) = sync_channel(4);
    let stop = Arc::new(Stop::default());
    let asking = Asking {
        shown: shown.clone(),
        retries: options.retries,
        stop: Arc::clone(&stop),
        tell,
    };
    let thread = thread::Builder::new().name("micropy remote".into());
    thread
        .spawn(move || asking.run(origin))
        .map_err(|error| Error::Thread(error.to_string()))?;
    let stopped = StopUnlessOpened(Some(&stop));
    match answer(&news, &shown, &mut options)? {
        News::Ranges(origin, head, first) => {
            let shared = Shared::new(
                origin,
                shown,
                head.version.clone(),
                options.retries,
                Arc::clone(&stop),
            );
            stopped.opened();
            let source =
                RangeSource::new(shared, &head, first, options.cancel, options.while_waiting);
            Ok(Opened::Ranges(Box::new(source)))
        }
        News::Whole(pieces) => {
            stopped.opened();
            Ok(Opened::Whole(WholeBody {
                pieces,
                piece: io::Cursor::default(),
                ended: false,
                cancel: Arc::new(Mutex::new(options.cancel)),
                while_waiting: options.while_waiting,
                timeout: options.timeout,
                shown,
                stop: Arc::clone(&stop),
            }))
        }
        News::Failed(error) => Err(error),
        News::Arriving => Err(Error::Thread("the one that opens has ended".into())),
    }
}

/// Ends the thread where nobody waits for it any more.
struct StopUnlessOpened<'a>(Option<&'a Stop>);

impl StopUnlessOpened<'_> {
    fn opened(mut self) {
        self.0 = None;
    }
}

impl Drop for StopUnlessOpened<'_> {
    fn drop(&mut self) {
        if let Some(stop) = self.0 {
            stop.stop();
        }
    }
}

/// Waits for what the thread has to say.
fn answer(news: &Channel<News>, shown: &str, options: &mut Options) -> Result<News, Error> {
    // Until a response begins, its request has timeouts of its own.
    let mut last: Option<Instant> = None;
    let patience = silence(options.timeout);
    loop {
        match news.recv_timeout(TICK) {
            Ok(News::Arriving) => last = Some(Instant::now()),
            Ok(other) => return Ok(other),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Thread("the one that opens has ended".into()));
            }
            Err(RecvTimeoutError::Timeout) => {
                (options.while_waiting)();
                if options.cancel.is_cancelled() {
                    return Err(Error::Cancelled);
                }
                if last.is_some_and(|last| last.elapsed() > patience) {
                    return Err(Error::TimedOut {
                        url: shown.into(),
                        what: "send the first bytes".into(),
                        seconds: patience.as_secs(),
                    });
                }
            }
        }
    }
}

/// The thread that asks.
struct Asking {
    shown: String,
    retries: u32,
    stop: Arc<Stop>,
    tell: SyncSender<News>,
}

impl Asking {
    fn run(self, origin: Box<dyn Origin>) {
        let mut first = First {
            tell: self.tell.clone(),
            head: None,
            bytes: Vec::new(),
            pieces: None,
        };
        let got = fetch(
            &*origin,
            &self.shown,
            &[0..FIRST],
            None,
            self.retries,
            &self.stop,
            &mut first,
        );
        let failed = match got {
            Ok(()) => None,
            Err(Fault::Stopped) => return,
            Err(Fault::Passing(error, _) | Fault::Lasting(error)) => Some(error),
        };
        // Whoever does not listen any more has been told, or has given up.
        let _ = match (first.pieces, failed, first.head) {
            (Some(pieces), Some(error), _) => return drop(pieces.send(Err(error))),
            (Some(pieces), None, _) => return drop(pieces.send(Ok(Vec::new()))),
            (None, Some(error), _) => self.tell.send(News::Failed(error)),
            (None, None, Some(head)) => self.tell.send(News::Ranges(origin, head, first.bytes)),
            (None, None, None) => return,
        };
    }
}

/// Takes the first bytes, or all of them.
struct First {
    tell: SyncSender<News>,
    head: Option<Head>,
    bytes: Vec<u8>,
    pieces: Option<SyncSender<Piece>>,
}

impl Receiver for First {
    fn begin(&mut self, head: &Head) -> Result<(), Fault> {
        self.head = Some(head.clone());
        let news = match head.ranged {
            true => News::Arriving,
            false => {
                let (send, pieces) = sync_channel(PIECES);
                self.pieces = Some(send);
                News::Whole(pieces)
            }
        };
        self.tell.send(news).map_err(|_| Fault::Stopped)
    }

    fn take(&mut self, _offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        match &self.pieces {
            // Waits while the reader has enough.
            Some(pieces) => pieces.send(Ok(bytes.to_vec())).map_err(|_| Fault::Stopped),
            None => {
                self.bytes.extend_from_slice(bytes);
                let told = self.tell.send(News::Arriving);
                told.map_err(|_| Fault::Stopped)
            }
        }
    }
}
