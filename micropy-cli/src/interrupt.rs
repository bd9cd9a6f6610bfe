//! Ctrl-C: the first ends the conversion, the second the program.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io, process};

use micropy_core::{CancelToken, FileSink};

use crate::Exit;

/// What a signal ends, and what it must not leave behind.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    cancel: CancelToken,
    /// The temporary file that is being written.
    unfinished: Arc<Mutex<Option<PathBuf>>>,
}

impl Interrupt {
    /// Watches for signals from now on.
    ///
    /// The first cancels, and everything is cleared up on the usual way. Where that waits for somebody else
    /// (a pipe that nobody reads, a server of files that is gone), a second one ends the program.
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
            eprintln!("micropy: cannot watch for Ctrl-C: {error}");
        }
        interrupt
    }

    /// Cancelled by the first signal.
    pub fn token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Creates the file `path`, of which no signal leaves a part behind.
    pub fn create(&self, path: &Path, overwrite: bool) -> io::Result<FileSink> {
        let file = FileSink::create(path, overwrite)?;
        *self.unfinished() = Some(file.temporary().to_owned());
        Ok(file)
    }

    fn unfinished(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) -> ! {
        // One that has its name by now is not found under this one.
        if let Some(path) = self.unfinished().take() {
            let _ = fs::remove_file(path);
        }
        process::exit(Exit::Interrupted.code().into())
    }
}
