//! What an error of a store asks of the caller.

use micropy_core::ports::BackendError;

use crate::fault::{Fault, Kind};

/// As logs name this adapter.
pub const ADAPTER: &str = "S3 storage";

/// Codes by which stores say that they have no room left.
const FULL: [&str; 5] = [
    "QuotaExceeded",
    "StorageFull",
    "InsufficientStorage",
    "EntityTooLarge",
    "507 ",
];

/// An error for an operator, who reads why.
pub fn lasting(why: impl Into<BackendError>) -> Fault {
    Fault::lasting(ADAPTER, why)
}

impl From<object_store::Error> for Fault {
    fn from(e: object_store::Error) -> Self {
        use object_store::Error as E;
        let kind = match &e {
            // After retries: the store or the network is not well.
            E::Generic { .. } | E::JoinError { .. } => of_text(&e.to_string()),
            // An object that is not there is looked for before: this is the bucket.
            _ => Kind::Lasting,
        };
        Fault::new(ADAPTER, kind, e)
    }
}

/// Whether what a store says means that it is full.
pub fn of_text(said: &str) -> Kind {
    match FULL.iter().any(|code| said.contains(code)) {
        true => Kind::Full,
        false => Kind::Passing,
    }
}
