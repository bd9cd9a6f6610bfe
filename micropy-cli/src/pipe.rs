//! Standard input and named pipes, with reads that can be cancelled.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use micropy_core::CancelToken;

/// Bytes per read.
const PIECE: usize = 64 * 1024;
/// How long a silent input can keep a cancelled conversion waiting.
const PATIENCE: Duration = Duration::from_millis(50);

/// Reads in a thread of its own. Nothing interrupts a blocking read of a pipe, but the caller can stop waiting for the
/// thread.
pub struct Pipe {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Cursor<Vec<u8>>,
    cancel: CancelToken,
}

impl Pipe {
    /// Standard input until `cancel` is cancelled.
    pub fn stdin(cancel: CancelToken) -> io::Result<Self> {
        Pipe::new(cancel, || Ok(io::stdin().lock()))
    }

    /// The named pipe or device `path` until `cancel` is cancelled. That it cannot be opened is an error of the first
    /// read: a named pipe opens when its writer does.
    pub fn open(path: &Path, cancel: CancelToken) -> io::Result<Self> {
        let path = path.to_owned();
        Pipe::new(cancel, || File::open(path))
    }

    fn new<R: Read>(
        cancel: CancelToken,
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> io::Result<Self> {
        // Nothing is buffered but the piece the thread holds: the rest stays in the pipe.
        let (sender, pieces) = sync_channel(0);
        let thread = thread::Builder::new().name("micropy input".into());
        thread.spawn(move || match open() {
            Ok(input) => forward(input, &sender),
            Err(error) => drop(sender.send(Err(error))),
        })?;
        Ok(Pipe {
            pieces,
            piece: Cursor::default(),
            cancel,
        })
    }
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.piece.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            match self.pieces.recv_timeout(PATIENCE) {
                Ok(piece) => self.piece = Cursor::new(piece?),
                Err(RecvTimeoutError::Timeout) if self.cancel.is_cancelled() => {
                    return Err(io::Error::other("cancelled"));
                }
                Err(RecvTimeoutError::Timeout) => {}
                // The thread has reached the end of the input.
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
    }
}

/// Reads until the end, an error, or until the receiver is gone.
fn forward(mut input: impl Read, pieces: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = vec![0; PIECE];
        let read = match input.read(&mut piece) {
            Ok(0) => return,
            Ok(n) => {
                piece.truncate(n);
                Ok(piece)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let is_last = read.is_err();
        if pieces.send(read).is_err() || is_last {
            return;
        }
    }
}
