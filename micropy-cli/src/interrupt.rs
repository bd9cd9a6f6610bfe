//! Ctrl-C: the first cancels the conversion, the second ends the program.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io, process};

use micropy_core::{CancelToken, FileSink};

use crate::{Exit, message};

/// What a signal cancels, and the partial files it must not leave behind.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    cancel: CancelToken,
    /// The temporary files being written, and some that were.
    unfinished: Arc<Mutex<Vec<PathBuf>>>,
}

impl Interrupt {
    /// Watches for signals from now on.
    ///
    /// The first one cancels, and the program cleans up as usual. If that blocks (a pipe that nobody reads, a file
    /// server that is gone), a second one ends the program.
    pub fn watch() -> Self {
        let interrupt = Interrupt::default();
        let handler = interrupt.clone();
        let watched = ctrlc::set_handler(move || {
            if handler.cancel.is_cancelled() {
                handler.end();
            }
            handler.cancel.cancel();
        });
        if let Err(error) = watched {
            message::problem(format_args!("cannot watch for Ctrl-C: {error}"));
        }
        interrupt
    }

    /// Cancelled by the first signal.
    pub fn token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Creates the file `path`. A signal leaves no part of it behind.
    pub fn create(&self, path: &Path, overwrite: bool) -> io::Result<FileSink> {
        let file = FileSink::create(path, overwrite)?;
        let mut unfinished = self.unfinished();
        // What is finished or given up is no longer there.
        unfinished.retain(|path| path.exists());
        unfinished.extend(file.temporary().map(Path::to_owned));
        Ok(file)
    }

    fn unfinished(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) -> ! {
        // A file that is complete has its own name by now, and is not found under this one.
        for path in self.unfinished().drain(..) {
            let _ = fs::remove_file(path);
        }
        process::exit(Exit::Interrupted.code().into())
    }
}
