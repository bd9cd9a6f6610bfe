//! Why a URL could not be read.

use std::io;

/// Why a URL could not be read.
///
/// `url` is always without user, password and query: [`without_secrets`](crate::without_secrets). As an [`io::Error`]
/// it has the nearest [`io::ErrorKind`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is malformed, or of a scheme that this build does not read.
    #[error("{url} cannot be read: {why}")]
    #[non_exhaustive]
    InvalidUrl {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },

    /// The server answered with a status that is an error.
    #[error("{url}: the server responds with status {status}{}", advice(*status))]
    #[non_exhaustive]
    Status {
        /// The URL.
        url: String,
        /// The HTTP status.
        status: u16,
    },

    /// The server cannot be reached, or the connection broke too often.
    #[error("{url}: {why}")]
    #[non_exhaustive]
    Connection {
        /// The URL.
        url: String,
        /// What happened.
        why: String,
    },

    /// The server did not respond in time.
    #[error("{url}: the server did not {what} within {seconds} s")]
    #[non_exhaustive]
    TimedOut {
        /// The URL.
        url: String,
        /// What it was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },

    /// The file is not the one that was begun with.
    #[error("{url}: the file changed while it was read ({what}): convert it again")]
    #[non_exhaustive]
    Changed {
        /// The URL.
        url: String,
        /// In what it differs.
        what: String,
    },

    /// The response is not what HTTP asks for.
    #[error("{url}: the server's response is wrong: {why}")]
    #[non_exhaustive]
    Response {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },

    /// A redirect leads where it must not be followed.
    #[error("{url}: the redirect is not followed: {why}")]
    #[non_exhaustive]
    Redirect {
        /// The URL that responds with the redirect.
        url: String,
        /// Why not.
        why: String,
    },

    /// Its host has an address that the [`Guard`](crate::Guard) does not permit.
    #[error("{url}: its address is not public")]
    #[non_exhaustive]
    NotPermitted {
        /// The URL.
        url: String,
    },

    /// A store cannot be used as it is set up, or refuses.
    #[error("{url}: {why}")]
    #[non_exhaustive]
    Store {
        /// The URL.
        url: String,
        /// What is missing or refused.
        why: String,
        /// What it is as an [`io::Error`].
        kind: io::ErrorKind,
    },

    /// [`Options::cancel`](crate::Options::cancel) was cancelled.
    #[error("cancelled")]
    Cancelled,

    /// The operating system refused a thread or a runtime.
    #[error("cannot start a thread: {0}")]
    Thread(String),
}

/// What can be done about a status.
fn advice(status: u16) -> &'static str {
    match status {
        401 => " (unauthorized): give user and password in the URL or in ~/.netrc",
        403 => " (forbidden): the link may have expired, or ask for a login",
        404 | 410 => " (not found): check the URL",
        407 => " (proxy authentication required): give user and password in the proxy's URL",
        408 | 425 | 429 => " (too many requests): try again later",
        500..=599 => ": try again later",
        _ => "",
    }
}

impl Error {
    fn kind(&self) -> io::ErrorKind {
        match self {
            Error::InvalidUrl { .. } => io::ErrorKind::InvalidInput,
            Error::Status { status, .. } => match status {
                401 | 403 | 407 => io::ErrorKind::PermissionDenied,
                404 | 410 => io::ErrorKind::NotFound,
                _ => io::ErrorKind::Other,
            },
            Error::NotPermitted { .. } => io::ErrorKind::PermissionDenied,
            Error::Connection { .. } => io::ErrorKind::ConnectionAborted,
            Error::TimedOut { .. } => io::ErrorKind::TimedOut,
            Error::Changed { .. } | Error::Response { .. } => io::ErrorKind::InvalidData,
            Error::Store { kind, .. } => *kind,
            Error::Redirect { .. } | Error::Cancelled | Error::Thread(_) => io::ErrorKind::Other,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do_and_keep_their_kind() {
        let error = Error::Status {
            url: "https://host/a.mp4".into(),
            status: 401,
        };
        assert_eq!(
            error.to_string(),
            "https://host/a.mp4: the server responds with status 401 (unauthorized): give user and password in the URL \
             or in ~/.netrc"
        );
        assert_eq!(
            io::Error::from(error).kind(),
            io::ErrorKind::PermissionDenied
        );
    }
}
