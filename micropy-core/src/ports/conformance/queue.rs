//! The suites of [`Queue`] and [`DeadLetters`].

use std::time::Duration;

use super::{Fixture, both, within};
use crate::ports::Clock as _;
use crate::ports::queue::{DeadLetters, Delivery, LONGEST_DELAY, Queue};
use crate::ports::time::ManualClock;

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

/// What a clock that was ahead has put off is not put off until that date. Runs on an empty queue that reads `clock`,
/// and leaves it empty.
pub async fn run_with_clock(clock: &ManualClock, fixture: &dyn Fixture, queue: &dyn Queue) {
    let now = clock.now();
    clock.set(now.plus(2 * LONGEST_DELAY));
    publish(queue, b"put off").await;
    let delivery = receive(queue).await;
    delivery
        .retry(Duration::from_secs(60))
        .await
        .expect("retry");
    clock.set(now);
    let delivery = receive(queue).await;
    assert_eq!(delivery.payload(), b"put off", "it is due");
    delivery.retry(7 * LONGEST_DELAY).await.expect("retry");
    expect_nothing(fixture, queue, "a pause is cut, and not left out").await;
    clock.advance(LONGEST_DELAY);
    // Receivers of a queue that does not poll are woken by this.
    publish(queue, b"next").await;
    for payload in [&b"put off"[..], b"next"] {
        let delivery = receive(queue).await;
        assert_eq!(delivery.payload(), payload);
        delivery.ack().await.expect("ack");
    }
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

/// Runs the suite of [`DeadLetters`] on a queue that is empty and has none, and leaves it so.
pub async fn run_dead_letters(fixture: &dyn Fixture, queue: &dyn Queue, dead: &dyn DeadLetters) {
    let list = async |limit| dead.dead_letters(limit).await.expect("dead_letters");
    assert_eq!(list(9).await, [], "the suite needs a new queue");
    assert_eq!(dead.replay(9).await.expect("replay"), 0);
    for payload in [b"one", b"two", b"six"] {
        publish(queue, payload).await;
        let delivery = receive(queue).await;
        delivery.dead("the server was away").await.expect("dead");
    }
    for _ in 0..2 {
        let found = list(2).await;
        let payloads: Vec<_> = found.iter().map(|letter| &*letter.payload).collect();
        assert_eq!(payloads, [b"one", b"two"], "oldest first, and they stay");
        assert_eq!(found[0].reason, "the server was away");
        assert_eq!(found[0].deliveries, 1);
        let died = found[0].died.expect("the time");
        let age = Duration::max(fixture.now().since(died), died.since(fixture.now()));
        assert!(age < Duration::from_secs(60), "{age:?} ago");
    }
    expect_nothing(fixture, queue, "who lists dead letters delivers none").await;

    assert_eq!(dead.replay(2).await.expect("replay"), 2);
    for payload in [b"one", b"two"] {
        let again = receive(queue).await;
        assert_eq!(again.payload(), payload, "oldest first");
        assert_eq!(again.attempt(), 1, "as if it were new");
        again.ack().await.expect("ack");
    }
    let left = list(9).await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(dead.replay(9).await.expect("replay"), 1);
    let delivery = receive(queue).await;
    delivery.dead("again").await.expect("dead");
    assert_eq!(list(9).await[0].reason, "again");
    assert_eq!(dead.replay(9).await.expect("replay"), 1);
    receive(queue).await.ack().await.expect("ack");
    assert_eq!(list(9).await, []);
    expect_nothing(fixture, queue, "each was put back once").await;

    for payload in [b"one", b"two", b"six"] {
        publish(queue, payload).await;
        let delivery = receive(queue).await;
        delivery.dead("too late").await.expect("dead");
    }
    assert_eq!(dead.drop_dead(2).await.expect("drop"), 2);
    let left = list(9).await;
    let left: Vec<_> = left.iter().map(|letter| &*letter.payload).collect();
    assert_eq!(left, [b"six"], "oldest first");
    assert_eq!(dead.drop_dead(9).await.expect("drop"), 1);
    assert_eq!(dead.drop_dead(9).await.expect("drop"), 0);
    assert_eq!(list(9).await, []);
    expect_nothing(fixture, queue, "what was dropped is gone").await;
}
