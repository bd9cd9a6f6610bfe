//! `micropy-server adopt`: binds the stores to another ledger, on purpose.

use std::process::ExitCode;

use super::once;
use crate::compose;

const DONE: &str =
    "videos and MP3s belong to this ledger now: files that it does not know will be removed\n";

/// Binds the stores that the settings name to the ledger that they name. No service may be using an embedded ledger.
pub fn run(args: once::SettingsArgs) -> ExitCode {
    once::run(args, async |settings| {
        compose::adopt(settings).await?;
        Ok(DONE)
    })
}
