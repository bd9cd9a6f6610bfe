//! Progress to the caller, and frames to the writer.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::pipeline::Observer;
use crate::progress::{CancelToken, Progress};
use crate::report::duration_of;
use crate::writer::Mp3Writer;

/// Reports the progress of one pass over the audio, and ends it when the caller has cancelled.
pub struct Watch<'a> {
    pub cancel: &'a CancelToken,
    pub on_progress: &'a mut dyn FnMut(Progress),
    /// Hz of the output.
    pub rate: u32,
    /// Length of the output, where it is known.
    pub total: Option<Duration>,
    /// Which pass it is, from 0.
    pub pass: u8,
    /// How many passes there are.
    pub passes: u8,
}

impl Observer for Watch<'_> {
    fn frames(&mut self, _none: &mut dyn Iterator<Item = &[u8]>) -> Result<()> {
        Ok(())
    }

    fn tick(&mut self, encoded: u64) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        (self.on_progress)(Progress {
            done: duration_of(encoded, self.rate),
            total: self.total,
            pass: self.pass,
            passes: self.passes,
        });
        Ok(())
    }
}

/// Writes the frames of the pass that makes the MP3.
pub struct FrameWriter<'a, 'b> {
    pub writer: Mp3Writer<'a>,
    pub watch: Watch<'b>,
}

impl Observer for FrameWriter<'_, '_> {
    fn frames(&mut self, frames: &mut dyn Iterator<Item = &[u8]>) -> Result<()> {
        for frame in frames {
            self.writer.frame(frame)?;
        }
        Ok(())
    }

    fn tick(&mut self, encoded: u64) -> Result<()> {
        self.watch.tick(encoded)
    }
}
