//! `micropy presets`: what `--preset` takes.

use micropy_core::Preset;

use crate::{Exit, message};

/// Lists the presets, one a line.
pub fn run() -> Exit {
    let line = |preset: Preset| format!("{:8}  {}\n", preset.name(), preset.description());
    let lines: String = Preset::ALL.into_iter().map(line).collect();
    message::output(lines.as_bytes())
}
