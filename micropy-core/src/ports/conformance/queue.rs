//! The suite of [`Queue`].

use std::time::Duration;

use super::{Fixture, both, within};
use crate::ports::queue::{Delivery, Queue};

/// Longer than any adapter leaves a delivery to a receiver that is gone.
const HOLD: Duration = Duration::from_secs(300);

/// Runs the suite on an empty queue, and leaves it empty.
pub async fn run(fixture: &dyn Fixture, queue: &dyn Queue) {
    an_empty_queue_delivers_nothing(fixture, queue).await;
    messages_come_in_order_and_unchanged(fixture, queue).await;
    a_waiting_receiver_gets_what_is_published(queue).await;
    two_receivers_never_hold_one_delivery(fixture, queue).await;
    a_dropped_delivery_comes_back(fixture, queue).await;
    a_retried_delivery_comes_back_when_due(fixture, queue).await;
    a_dead_delivery_stays_away(fixture, queue).await;
}

async fn publish(queue: &dyn Queue, payload: &[u8]) {
    queue.publish(payload.to_vec()).await.expect("publish");
}

async fn receive(queue: &dyn Queue) -> Box<dyn Delivery> {
    queue.receive().await.expect("receive")
}

async fn expect_nothing(fixture: &dyn Fixture, queue: &dyn Queue, why: &str) {
    let got = within(fixture.settle(), queue.receive()).await;
    assert!(got.is_none(), "{why}");
}

async fn an_empty_queue_delivers_nothing(fixture: &dyn Fixture, queue: &dyn Queue) {
    expect_nothing(fixture, queue, "an empty queue keeps its receivers waiting").await;
}

async fn messages_come_in_order_and_unchanged(fixture: &dyn Fixture, queue: &dyn Queue) {
    let payloads: [&[u8]; 3] = [b"{\"video_fid\": \"k\xc3\xbc\"}", b"", b"\0\xff"];
    for payload in payloads {
        publish(queue, payload).await;
    }
    for payload in payloads {
        let delivery = receive(queue).await;
        assert_eq!(delivery.payload(), payload, "in order and unchanged");
        assert_eq!(delivery.attempt(), 1, "the first delivery counts 1");
        delivery.ack().await.expect("ack");
    }
    fixture.elapse(HOLD).await;
    expect_nothing(fixture, queue, "an acknowledged message is gone for good").await;
}

async fn a_waiting_receiver_gets_what_is_published(queue: &dyn Queue) {
    let (delivery, ()) = both(receive(queue), publish(queue, b"late")).await;
    assert_eq!(delivery.payload(), b"late");
    delivery.ack().await.expect("ack");
}

async fn two_receivers_never_hold_one_delivery(fixture: &dyn Fixture, queue: &dyn Queue) {
    publish(queue, b"one").await;
    publish(queue, b"two").await;
    let (first, second) = both(receive(queue), receive(queue)).await;
    assert_ne!(
        first.payload(),
        second.payload(),
        "two receivers hold two messages"
    );
    expect_nothing(
        fixture,
        queue,
        "a message that a receiver has is not delivered again",
    )
    .await;
    first.ack().await.expect("ack");
    second.ack().await.expect("ack");
}

async fn a_dropped_delivery_comes_back(fixture: &dyn Fixture, queue: &dyn Queue) {
    publish(queue, b"dropped").await;
    drop(receive(queue).await);
    fixture.settle().await;
    fixture.elapse(HOLD).await;
    let again = receive(queue).await;
    assert_eq!(again.payload(), b"dropped", "a dropped delivery comes back");
    assert!(again.attempt() >= 2, "and its delivery count grows");
    again.ack().await.expect("ack");
}

async fn a_retried_delivery_comes_back_when_due(fixture: &dyn Fixture, queue: &dyn Queue) {
    publish(queue, b"later").await;
    receive(queue)
        .await
        .retry(Duration::from_secs(2))
        .await
        .expect("retry");
    expect_nothing(
        fixture,
        queue,
        "a retried message does not come before it is due",
    )
    .await;
    publish(queue, b"meanwhile").await;
    let other = receive(queue).await;
    assert_eq!(other.payload(), b"meanwhile", "but others are not delayed");
    other.ack().await.expect("ack");
    fixture.elapse(Duration::from_secs(2)).await;
    let again = receive(queue).await;
    assert_eq!(
        (again.payload(), again.attempt()),
        (&b"later"[..], 2),
        "it comes when due, with its delivery count"
    );
    again.ack().await.expect("ack");
}

async fn a_dead_delivery_stays_away(fixture: &dyn Fixture, queue: &dyn Queue) {
    publish(queue, b"poison").await;
    receive(queue).await.dead("not JSON").await.expect("dead");
    fixture.elapse(HOLD).await;
    expect_nothing(fixture, queue, "a dead message is never delivered again").await;
}
