//! One test suite per port: its contract as code that any adapter can be run through.
//!
//! A suite takes an empty adapter and panics with the sentence of the contract that does not hold. Each suite runs in
//! one task. It waits for [`Fixture::settle`] before it concludes that something does not happen.

pub mod auth;
pub mod binding;
pub mod jobs;
pub mod notifier;
pub mod queue;
pub mod storage;
pub mod webhooks;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;

use super::{Id, Timestamp};

/// The surroundings of an adapter under test.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The time by the adapter's clock.
    fn now(&self) -> Timestamp;

    /// Lets `by` pass: moves the adapter's clock, or sleeps.
    async fn elapse(&self, by: Duration);

    /// Waits long enough for the adapter to do what it should not do, such as delivering a message that is not due:
    /// at least one of its polling intervals.
    async fn settle(&self);
}

/// The id made of `byte` twelve times.
const fn id(byte: u8) -> Id {
    Id::from_bytes([byte; 12])
}

/// The result of `wanted`; none if `limit` is over first.
async fn within<T>(limit: impl Future<Output = ()>, wanted: impl Future<Output = T>) -> Option<T> {
    let (mut limit, mut wanted) = (pin!(limit), pin!(wanted));
    poll_fn(|context| {
        if let Poll::Ready(value) = wanted.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        limit.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// The results of `first` and `second`, run concurrently.
async fn both<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> (A, B) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut a, mut b) = (None, None);
    poll_fn(|context| {
        if a.is_none()
            && let Poll::Ready(value) = first.as_mut().poll(context)
        {
            a = Some(value);
        }
        if b.is_none()
            && let Poll::Ready(value) = second.as_mut().poll(context)
        {
            b = Some(value);
        }
        match (a.take(), b.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (first, second) => {
                (a, b) = (first, second);
                Poll::Pending
            }
        }
    })
    .await
}
