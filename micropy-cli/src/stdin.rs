//! The standard input, where waiting for it can be ended.

use std::io::{self, Cursor, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use micropy_core::CancelToken;

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;
/// How long a silent input keeps a cancelled conversion waiting, at most.
const PATIENCE: Duration = Duration::from_millis(50);

/// Reads in a thread of its own: nothing ends the read of a pipe that gives nothing, but whoever waits for
/// the thread can stop waiting.
pub struct Stdin {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Cursor<Vec<u8>>,
    cancel: CancelToken,
}

impl Stdin {
    /// The standard input until `cancel` is cancelled.
    pub fn new(cancel: CancelToken) -> io::Result<Self> {
        // No piece waits but the thread's own: what is not asked for stays in the pipe.
        let (sender, pieces) = sync_channel(0);
        let thread = thread::Builder::new().name("micropy stdin".into());
        thread.spawn(move || pass_on(&sender))?;
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
                // The thread has come to the end.
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
    }
}

/// Reads until the end, an error, or until nobody wants more.
fn pass_on(pieces: &SyncSender<io::Result<Vec<u8>>>) {
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
