//! What a backend's error asks of the caller, and each port's word for it.

use micropy_core::ports::{BackendError, auth, jobs, notifier, queue, storage};

/// A backend's error, classified.
#[derive(Debug)]
pub(crate) struct Fault {
    adapter: &'static str,
    source: BackendError,
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
    pub(crate) fn new(adapter: &'static str, kind: Kind, source: impl Into<BackendError>) -> Self {
        Fault {
            adapter,
            source: source.into(),
            kind,
        }
    }

    pub(crate) fn lasting(adapter: &'static str, source: impl Into<BackendError>) -> Self {
        Self::new(adapter, Kind::Lasting, source)
    }
}

/// Ports without a word for a backend that is full: that passes when somebody makes room.
macro_rules! port_error {
    ($($port:ident),*) => {$(
        impl From<Fault> for $port::Error {
            fn from(fault: Fault) -> Self {
                match fault.kind {
                    Kind::Passing | Kind::Full => $port::Error::Unavailable(fault.source),
                    Kind::Lasting => $port::Error::Backend {
                        adapter: fault.adapter,
                        source: fault.source,
                    },
                }
            }
        }
    )*};
}

port_error!(auth, jobs, notifier, queue);

impl From<Fault> for storage::Error {
    fn from(fault: Fault) -> Self {
        match fault.kind {
            Kind::Passing => storage::Error::Unavailable(fault.source),
            Kind::Full => {
                tracing::warn!(adapter = fault.adapter, error = %fault.source, "the storage is full");
                storage::Error::Full
            }
            Kind::Lasting => storage::Error::Backend {
                adapter: fault.adapter,
                source: fault.source,
            },
        }
    }
}
