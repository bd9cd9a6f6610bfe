//! The suite of a store and a ledger together: see [`binding`].

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;

use super::id;
use crate::ports::binding::{self, Error};
use crate::ports::jobs::Ledger;
use crate::ports::storage::{Label, Storage, StorageExt, UploadError};

/// Runs the suite on an empty store and an empty ledger, neither of which was ever bound.
pub async fn run(storage: &dyn Storage, ledger: &dyn Ledger) {
    files_beside_a_ledger_that_knows_none_are_refused_until_they_are_adopted(storage, ledger).await;
}

struct Nothing;

impl Stream for Nothing {
    type Item = Result<Bytes, UploadError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

/// As it is where a ledger from before there were bindings was moved aside.
async fn files_beside_a_ledger_that_knows_none_are_refused_until_they_are_adopted(
    storage: &dyn Storage,
    ledger: &dyn Ledger,
) {
    storage
        .put(id(1), &Label::default(), Box::pin(Nothing))
        .await
        .expect("put");
    for _ in 0..2 {
        let refused = binding::check(storage, ledger, id(8)).await;
        let refused = refused.expect_err("its files are nobody's");
        assert!(matches!(refused, Error::Unknown), "{refused}");
        assert!(refused.is_refusal(), "no service starts beside it");
        assert!(refused.to_string().contains("adopt the store"), "{refused}");
        assert_eq!(
            storage.binding().await.expect("binding"),
            None,
            "the store is not bound by the attempt"
        );
        assert_eq!(
            ledger.identity().await.expect("identity"),
            None,
            "nor is the ledger given a name"
        );
    }
    let adopted = binding::adopt(storage, ledger, id(9)).await.expect("adopt");
    assert_eq!(adopted.ledger, id(9));
    let bound = binding::check(storage, ledger, id(8)).await;
    assert_eq!(bound.expect("it is this ledger's now").ledger, id(9));
}
