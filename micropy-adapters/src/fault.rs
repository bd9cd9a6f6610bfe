//! What a backend's error asks of the caller, and each port's word for it.

use micropy_core::ports::{BackendError, auth, jobs, notifier, queue, storage, webhooks};

/// A backend's error, classified.
#[derive(Debug)]
pub(crate) struct Fault {
    adapter: &'static str,
    cause: BackendError,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// It may pass: try again.
    Passing,
    /// It stays until an operator mends it.
    Lasting,
    /// The backend has no room left.
    Full,
}

impl Fault {
    pub(crate) fn new(adapter: &'static str, kind: Kind, cause: impl Into<BackendError>) -> Self {
        Fault {
            adapter,
            cause: cause.into(),
            kind,
        }
    }

    pub(crate) fn lasting(adapter: &'static str, cause: impl Into<BackendError>) -> Self {
        Self::new(adapter, Kind::Lasting, cause)
    }
}

/// Ports without a word for a backend that is full: that passes when somebody makes room.
macro_rules! port_error {
    ($($port:ident),*) => {$(
        impl From<Fault> for $port::Error {
            fn from(fault: Fault) -> Self {
                match fault.kind {
                    Kind::Passing | Kind::Full => $port::Error::Unavailable(fault.cause),
                    Kind::Lasting => $port::Error::Backend {
                        adapter: fault.adapter,
                        cause: fault.cause,
                    },
                }
            }
        }
    )*};
}

port_error!(auth, jobs, notifier, queue, webhooks);

impl From<Fault> for storage::Error {
    fn from(fault: Fault) -> Self {
        match fault.kind {
            Kind::Passing => storage::Error::Unavailable(fault.cause),
            Kind::Full => {
                tracing::warn!(adapter = fault.adapter, error = %fault.cause, "the storage is full");
                storage::Error::Full
            }
            Kind::Lasting => storage::Error::Backend {
                adapter: fault.adapter,
                cause: fault.cause,
            },
        }
    }
}
