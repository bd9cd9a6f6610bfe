//! Standard input, with reads that can be cancelled.

use std::io::{self, Cursor, Read};
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
pub struct Stdin {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Cursor<Vec<u8>>,
    cancel: CancelToken,
}

impl Stdin {
    /// Standard input until `cancel` is cancelled.
    pub fn new(cancel: CancelToken) -> io::Result<Self> {
        // Nothing is buffered but the piece the thread holds: the rest stays in the pipe.
        let (sender, pieces) = sync_channel(0);
        let thread = thread::Builder::new().name("micropy stdin".into());
        thread.spawn(move || forward(&sender))?;
        Ok(Stdin {
            pieces,
            piece: Cursor::default(),
            cancel,
        })
    }
}

impl Read for Stdin {
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
fn forward(pieces: &SyncSender<io::Result<Vec<u8>>>) {
    let mut stdin = io::stdin().lock();
    loop {
        let mut piece = vec![0; PIECE];
        let read = match stdin.read(&mut piece) {
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
