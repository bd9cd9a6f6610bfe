//! Exit codes: each has one meaning.

use std::process::ExitCode;

/// How a command ended. The later of two is the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything was done.
    Done,
    /// Done, but an input ended early or was damaged.
    Incomplete,
    /// Something failed; a message said what and why.
    Failed,
    /// The command line asks for something impossible.
    Usage,
    /// The user or the system interrupted it.
    Interrupted,
}

/// The exit codes, for `--help`.
pub const HELP: &str = "Exit codes:
    0  done; with --watch, ended by Ctrl-C while nothing was being converted
    1  failed: unreadable, unsupported, or no audio track; the message says which
    2  usage: the command line asks for something impossible
    3  done, but an input was incomplete, truncated or damaged: the MP3 holds what was there,
       and a warning says what is missing
  130  interrupted (Ctrl-C); no partial file is left behind";

impl Exit {
    /// The exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Incomplete => 3,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
