//! Exit codes: each means one thing.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All of it was done.
    Done,
    /// Done, but an input broke off before its end.
    Incomplete,
    /// Something could not be done; the message says what and why.
    Failed,
    /// The command line asks for something that cannot be.
    Usage,
    /// The user (or the system) ended it.
    Interrupted,
}

/// The exit codes, for `--help`.
pub const HELP: &str = "Exit codes:
    0  done
    1  could not: unreadable, unsupported or no audio track; the message says which
    2  usage: the command line asks for something that cannot be
    3  done, but an input was incomplete (truncated): the MP3 is what was there
  130  interrupted (Ctrl-C); nothing half-written is left behind";

impl Exit {
    /// What the process returns to whoever started it.
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
