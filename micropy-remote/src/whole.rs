//! The body of a server that serves no ranges: read once, from its first byte to its last, a few pieces ahead.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver as Channel, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use micropy_core::CancelToken;

use crate::error::Error;
use crate::fetch::{LONGEST_WAIT, Stop};
use crate::ranges::TICK;

/// Bytes, none after the last of them, or why there are no more.
pub type Piece = Result<Vec<u8>, Error>;

/// Pieces that wait to be read.
pub const PIECES: usize = 16;

/// How long nothing may arrive: a silence ends in a new request, before which the server may ask for a pause.
pub fn silence(timeout: Duration) -> Duration {
    2 * timeout + LONGEST_WAIT
}

/// A body that a thread receives.
pub struct WholeBody {
    pub pieces: Channel<Piece>,
    pub piece: io::Cursor<Vec<u8>>,
    pub ended: bool,
    pub cancel: Arc<Mutex<CancelToken>>,
    pub while_waiting: Box<dyn FnMut() + Send>,
    pub timeout: Duration,
    pub shown: String,
    pub stop: Arc<Stop>,
}

impl Read for WholeBody {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let began = Instant::now();
        loop {
            let n = self.piece.read(buf)?;
            if n > 0 || buf.is_empty() || self.ended {
                return Ok(n);
            }
            match self.pieces.recv_timeout(TICK) {
                Ok(piece) => {
                    let piece = piece?;
                    self.ended = piece.is_empty();
                    self.piece = io::Cursor::new(piece);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Thread("the one that receives has ended".into()).into());
                }
                Err(RecvTimeoutError::Timeout) => {
                    (self.while_waiting)();
                    let cancel = self.cancel.lock();
                    if cancel
                        .unwrap_or_else(PoisonError::into_inner)
                        .is_cancelled()
                    {
                        return Err(Error::Cancelled.into());
                    }
                    if began.elapsed() > silence(self.timeout) {
                        return Err(Error::TimedOut {
                            url: self.shown.clone(),
                            what: "send the next bytes".into(),
                            seconds: silence(self.timeout).as_secs(),
                        }
                        .into());
                    }
                }
            }
        }
    }
}

impl Drop for WholeBody {
    fn drop(&mut self) {
        self.stop.stop();
    }
}
