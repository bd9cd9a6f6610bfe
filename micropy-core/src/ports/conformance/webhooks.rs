//! The suite of [`Webhooks`].

use std::time::Duration;

use super::{Fixture, both, id};
use crate::ports::Id;
use crate::ports::notifier::SigningSecret;
use crate::ports::webhooks::{
    Delivery, DeliveryState, Endpoint, Error, LONGEST_PAUSE, Outgoing, Webhooks, too_many,
};

const TERM: Duration = Duration::from_secs(30);
/// More than the suite plans.
const MOST: usize = 1000;
/// What is sent.
const PAYLOAD: &str = r#"{"type":"job.done","data":{"file_name":"K\u00fcche.mp4"}}"#;
const ANN: &str = "ann@example.com";
const BOB: &str = "bob@example.com";

/// Runs the suite on an empty store, and leaves it empty.
pub async fn run(fixture: &dyn Fixture, webhooks: &dyn Webhooks) {
    let suite = Suite { fixture, webhooks };
    suite.endpoints_are_of_one_owner().await;
    suite.the_secret_for_jobs_is_replaced().await;
    suite
        .a_delivery_is_planned_once_and_listed_to_its_owner()
        .await;
    suite
        .one_of_several_claims_a_delivery_until_it_is_due_again()
        .await;
    suite.what_came_of_an_attempt_is_kept().await;
    suite.a_slow_owner_keeps_nobody_waiting().await;
    suite.an_owner_asks_for_a_delivery_again().await;
    suite.an_attempt_that_was_overtaken_changes_nothing().await;
    suite.an_endpoint_has_so_many_deliveries_and_no_more().await;
    suite.deliveries_go_with_their_endpoint().await;
    suite.deliveries_go_with_their_job().await;
    suite.old_deliveries_are_forgotten().await;
    suite.a_clock_that_was_ahead_keeps_nothing_back().await;
}

fn outgoing(delivery: &Delivery) -> Outgoing {
    Outgoing {
        delivery: delivery.clone(),
        payload: PAYLOAD.into(),
    }
}

struct Suite<'a> {
    fixture: &'a dyn Fixture,
    webhooks: &'a dyn Webhooks,
}

impl Suite<'_> {
    fn endpoint(&self, byte: u8, owner: &str) -> Endpoint {
        Endpoint {
            id: id(byte),
            owner: owner.into(),
            url: Some(format!("https://example.com/{byte}")),
            secret: SigningSecret::new(format!("whsec_{byte}")),
            created: self.fixture.now(),
        }
    }

    fn delivery(&self, byte: u8, owner: &str) -> Delivery {
        let now = self.fixture.now();
        Delivery {
            id: id(byte),
            owner: owner.into(),
            endpoint: id(100),
            job: id(byte / 2),
            url: "https://example.com/hook?a=\u{fc}".into(),
            event: "job.done".into(),
            state: DeliveryState::Pending,
            attempts: 0,
            due: now,
            answer: None,
            created: now,
            updated: now,
        }
    }

    async fn plan(&self, byte: u8, owner: &str) -> Delivery {
        let delivery = self.delivery(byte, owner);
        self.plan_one(&delivery).await;
        delivery
    }

    async fn plan_one(&self, delivery: &Delivery) {
        let planned = self.webhooks.plan(&[outgoing(delivery)], MOST).await;
        planned.expect("is planned, or known already");
    }

    async fn claim(&self) -> Option<Delivery> {
        self.claim_except(&[]).await
    }

    async fn claim_except(&self, owners: &[String]) -> Option<Delivery> {
        let claimed = self.webhooks.claim_due(owners, TERM).await;
        let Outgoing { delivery, payload } = claimed.expect("deliveries can be claimed")?;
        assert_eq!(payload, PAYLOAD, "the same bytes each time");
        Some(delivery)
    }

    async fn listed(&self, owner: &str) -> Vec<Delivery> {
        let listed = self.webhooks.deliveries(owner, None, None, 100).await;
        listed.expect("deliveries are listed")
    }

    async fn clear(&self) {
        for owner in [ANN, BOB] {
            let removed = self.webhooks.remove_owner(owner).await;
            removed.expect("all of an owner is removed");
            assert_eq!(self.listed(owner).await, [], "nothing is left");
        }
    }

    async fn endpoints_are_of_one_owner(&self) {
        let (one, two) = (self.endpoint(1, ANN), self.endpoint(2, ANN));
        let other = self.endpoint(3, BOB);
        for endpoint in [&two, &one, &other] {
            let kept = self.webhooks.add_endpoint(endpoint).await;
            assert_eq!(kept.expect("is added"), *endpoint);
        }
        let taken = self.webhooks.add_endpoint(&one).await;
        assert!(matches!(taken, Err(Error::Rejected(_))), "the id is taken");
        let own = self.webhooks.endpoints(ANN).await;
        assert_eq!(own.expect("are listed"), [one.clone(), two], "oldest first");
        let found = self.webhooks.endpoint(id(3)).await;
        assert_eq!(found.expect("is found"), other);
        let removed = self.webhooks.remove_endpoint(BOB, id(1)).await;
        assert!(matches!(removed, Err(Error::NotFound)), "another's is none");
        let removed = self.webhooks.remove_endpoint(ANN, id(1)).await;
        removed.expect("one's own is removed");
        let again = self.webhooks.remove_endpoint(ANN, id(1)).await;
        assert!(matches!(again, Err(Error::NotFound)));
        let gone = self.webhooks.endpoint(id(1)).await;
        assert!(matches!(gone, Err(Error::NotFound)));
        self.clear().await;
        assert_eq!(self.webhooks.endpoints(BOB).await.expect("is empty"), []);
    }

    async fn the_secret_for_jobs_is_replaced(&self) {
        let for_jobs = |byte| Endpoint {
            url: None,
            ..self.endpoint(byte, ANN)
        };
        for endpoint in [&for_jobs(1), &self.endpoint(2, ANN)] {
            let added = self.webhooks.add_endpoint(endpoint).await;
            added.expect("is added");
        }
        let kept = self.webhooks.add_endpoint(&for_jobs(3)).await;
        let kept = kept.expect("another secret");
        assert_eq!((kept.id, kept.secret.reveal()), (id(1), "whsec_3"));
        let own = self.webhooks.endpoints(ANN).await.expect("are listed");
        assert_eq!(own.len(), 2, "one without a URL");
        assert_eq!(own[0], kept);
        let others = Endpoint {
            owner: BOB.into(),
            ..for_jobs(4)
        };
        let other = self.webhooks.add_endpoint(&others).await;
        assert_eq!(other.expect("another's is another").id, id(4));
        self.clear().await;
    }

    async fn a_delivery_is_planned_once_and_listed_to_its_owner(&self) {
        let mut planned = Vec::new();
        for byte in [2, 3, 4] {
            planned.insert(0, self.plan(byte, ANN).await);
        }
        let changed = Outgoing {
            payload: "other".into(),
            ..outgoing(&planned[0])
        };
        let known = self.webhooks.plan(&[changed], MOST).await;
        known.expect("is known already");
        self.plan(5, BOB).await;
        assert_eq!(self.listed(ANN).await, planned, "newest first, as planned");
        let page = async |job, before, limit| {
            let page = self.webhooks.deliveries(ANN, job, before, limit).await;
            let page = page.expect("a page is listed");
            page.iter().map(|d| d.id).collect::<Vec<Id>>()
        };
        assert_eq!(page(None, None, 2).await, [id(4), id(3)]);
        assert_eq!(page(None, Some(id(3)), 2).await, [id(2)]);
        assert_eq!(page(Some(id(1)), None, 9).await, [id(3), id(2)]);
        assert_eq!(page(Some(id(9)), None, 9).await, []);
        self.clear().await;
    }

    async fn one_of_several_claims_a_delivery_until_it_is_due_again(&self) {
        let planned = self.plan(1, ANN).await;
        let (one, other) = both(self.claim(), self.claim()).await;
        assert!(one.is_none() != other.is_none(), "one of two has it");
        let claimed = one.or(other).expect("one");
        assert_eq!((claimed.id, claimed.attempts), (planned.id, 1));
        self.fixture.settle().await;
        assert_eq!(self.claim().await, None, "it is claimed");
        self.fixture.elapse(TERM).await;
        let again = self.claim().await.expect("who claimed it has died");
        assert_eq!(again.attempts, 2);
        let late = Delivery {
            state: DeliveryState::Failed,
            ..claimed
        };
        self.webhooks.settle(&late).await.expect("changes nothing");
        let [kept] = &self.listed(ANN).await[..] else {
            panic!("one");
        };
        assert_eq!(kept.state, DeliveryState::Pending, "it is another's now");
        self.clear().await;
    }

    async fn what_came_of_an_attempt_is_kept(&self) {
        self.plan(1, ANN).await;
        let claimed = self.claim().await.expect("is due");
        let now = self.fixture.now();
        let put_off = Delivery {
            due: now.plus(2 * TERM),
            answer: Some("status 500".into()),
            ..claimed
        };
        self.webhooks.settle(&put_off).await.expect("is put off");
        self.fixture.elapse(TERM + TERM / 2).await;
        assert_eq!(self.claim().await, None, "not due yet");
        self.fixture.elapse(TERM).await;
        let claimed = self.claim().await.expect("is due again");
        assert_eq!(claimed.answer.as_deref(), Some("status 500"));
        let done = Delivery {
            state: DeliveryState::Delivered,
            answer: Some("status 204".into()),
            ..claimed
        };
        self.webhooks.settle(&done).await.expect("is delivered");
        let [kept] = &self.listed(ANN).await[..] else {
            panic!("one");
        };
        assert_eq!((kept.state, kept.attempts), (done.state, 2));
        assert_eq!(kept.answer, done.answer);
        self.fixture.elapse(2 * TERM).await;
        assert_eq!(self.claim().await, None, "nothing is sent twice");
        self.clear().await;
        self.webhooks.settle(&done).await.expect("it is gone");
        assert_eq!(self.listed(ANN).await, [], "and stays so");
    }

    async fn a_slow_owner_keeps_nobody_waiting(&self) {
        self.plan(1, ANN).await;
        self.fixture.elapse(TERM).await;
        self.plan(2, BOB).await;
        let busy = [ANN.to_owned()];
        let claimed = self.claim_except(&busy).await.expect("another's");
        assert_eq!(claimed.owner, BOB);
        assert_eq!(self.claim().await.map(|d| d.id), Some(id(1)));
        self.clear().await;
    }

    async fn an_owner_asks_for_a_delivery_again(&self) {
        self.plan(1, ANN).await;
        let claimed = self.claim().await.expect("is due");
        let failed = Delivery {
            state: DeliveryState::Failed,
            answer: Some("status 410".into()),
            ..claimed
        };
        self.webhooks.settle(&failed).await.expect("has failed");
        let others = self.webhooks.resend(BOB, id(1), MOST).await;
        assert!(matches!(others, Err(Error::NotFound)), "another's is none");
        let again = self
            .webhooks
            .resend(ANN, id(1), MOST)
            .await
            .expect("is due");
        assert_eq!((again.state, again.attempts), (DeliveryState::Pending, 0));
        let claimed = self.claim().await.expect("is due at once");
        assert_eq!((claimed.id, claimed.attempts), (id(1), 1));
        self.clear().await;
    }

    async fn an_attempt_that_was_overtaken_changes_nothing(&self) {
        self.plan(1, ANN).await;
        let first = self.claim().await.expect("is due");
        let again = self.webhooks.resend(ANN, id(1), MOST).await;
        again.expect("is due again, while it is under way");
        let second = self.claim().await.expect("is due at once");
        assert_eq!((first.attempts, second.attempts), (1, 1));
        let settle = async |claimed: Delivery, state| {
            let settled = Delivery { state, ..claimed };
            let settled = self.webhooks.settle(&settled).await;
            settled.expect("is taken note of");
            self.listed(ANN).await[0].state
        };
        let state = settle(first, DeliveryState::Failed).await;
        assert_eq!(state, DeliveryState::Pending, "the second is under way");
        let state = settle(second, DeliveryState::Delivered).await;
        assert_eq!(state, DeliveryState::Delivered);
        self.clear().await;
    }

    async fn an_endpoint_has_so_many_deliveries_and_no_more(&self) {
        let to_other = |byte| Delivery {
            endpoint: id(101),
            ..self.delivery(byte, ANN)
        };
        let plan = async |deliveries: &[Delivery]| {
            let outgoing: Vec<_> = deliveries.iter().map(outgoing).collect();
            let planned = self.webhooks.plan(&outgoing, 2).await;
            planned.expect("is planned, or said not to be");
        };
        let states = async || {
            let listed = self.listed(ANN).await;
            let states = listed.iter().map(|d| (d.id, d.state.name()));
            states.collect::<Vec<_>>()
        };
        let one = self.delivery(1, ANN);
        plan(&[one, self.delivery(2, ANN)]).await;
        self.fixture.elapse(Duration::from_secs(1)).await;
        plan(&[self.delivery(3, ANN), to_other(4)]).await;
        let expected = [
            (id(4), "pending"),
            (id(3), "failed"),
            (id(2), "pending"),
            (id(1), "pending"),
        ];
        assert_eq!(states().await, expected, "another endpoint is called");
        let refused = &self.listed(ANN).await[1];
        assert_eq!(refused.answer, Some(too_many(2)), "its owner is told why");
        let early = self.webhooks.resend(ANN, id(3), 2).await;
        assert!(matches!(early, Err(Error::Rejected(_))), "{early:?}");
        let pending = self.webhooks.resend(ANN, id(2), 2).await;
        pending.expect("it is one of those that are pending");

        self.claim_and_deliver(&[1, 2]).await;
        let again = self.webhooks.resend(ANN, id(3), 2).await;
        assert_eq!(again.expect("there is room").state, DeliveryState::Pending);
        self.claim_and_deliver(&[3]).await;
        plan(&[self.delivery(3, ANN)]).await;
        assert_eq!(
            states().await.len(),
            4,
            "nothing is added, and nothing goes"
        );
        plan(&[self.delivery(5, ANN)]).await;
        let expected = [
            (id(5), "pending"),
            (id(4), "pending"),
            (id(3), "delivered"),
            (id(2), "delivered"),
        ];
        assert_eq!(
            states().await,
            expected,
            "the oldest that has ended is gone"
        );
        self.clear().await;
    }

    /// Claims what is due, and has these delivered, one after the other.
    async fn claim_and_deliver(&self, bytes: &[u8]) {
        let mut claimed = Vec::new();
        while let Some(delivery) = self.claim().await {
            claimed.push(delivery);
        }
        for byte in bytes {
            let of = claimed.iter().find(|delivery| delivery.id == id(*byte));
            let done = Delivery {
                state: DeliveryState::Delivered,
                ..of.expect("is due").clone()
            };
            self.webhooks.settle(&done).await.expect("is delivered");
            self.fixture.elapse(Duration::from_secs(1)).await;
        }
    }

    async fn deliveries_go_with_their_endpoint(&self) {
        let endpoint = self.endpoint(100, ANN);
        let added = self.webhooks.add_endpoint(&endpoint).await;
        added.expect("is added");
        self.plan(1, ANN).await;
        let other = Delivery {
            endpoint: id(101),
            ..self.delivery(2, ANN)
        };
        self.plan_one(&other).await;
        let removed = self.webhooks.remove_endpoint(ANN, id(100)).await;
        removed.expect("is removed");
        let left: Vec<_> = self.listed(ANN).await.iter().map(|d| d.id).collect();
        assert_eq!(left, [id(2)]);
        self.clear().await;
    }

    async fn deliveries_go_with_their_job(&self) {
        for byte in [2, 3, 4] {
            self.plan(byte, ANN).await;
        }
        for (owner, left) in [(BOB, 3), (ANN, 1), (ANN, 1)] {
            let removed = self.webhooks.remove_deliveries(owner, id(1)).await;
            removed.expect("are removed, if there are any");
            assert_eq!(self.listed(ANN).await.len(), left, "{owner}");
        }
        assert_eq!(self.listed(ANN).await[0].id, id(4), "it is about another");
        self.clear().await;
    }

    async fn old_deliveries_are_forgotten(&self) {
        self.plan(1, ANN).await;
        let claimed = self.claim().await.expect("is due");
        self.plan(2, ANN).await;
        let done = Delivery {
            state: DeliveryState::Delivered,
            ..claimed
        };
        self.webhooks.settle(&done).await.expect("is delivered");
        let forget = async |before| {
            let forgotten = self.webhooks.forget_deliveries(before).await;
            forgotten.expect("what is old goes");
            self.listed(ANN).await.len()
        };
        assert_eq!(forget(self.fixture.now().minus(TERM)).await, 2, "too new");
        self.fixture.elapse(TERM).await;
        assert_eq!(forget(self.fixture.now()).await, 1);
        assert_eq!(self.listed(ANN).await[0].id, id(2), "what is pending stays");
        self.clear().await;
    }

    async fn a_clock_that_was_ahead_keeps_nothing_back(&self) {
        let ahead = Delivery {
            due: self.fixture.now().plus(3 * LONGEST_PAUSE),
            ..self.delivery(1, ANN)
        };
        self.plan_one(&ahead).await;
        let next = Delivery {
            due: self.fixture.now().plus(LONGEST_PAUSE),
            ..self.delivery(2, ANN)
        };
        self.plan_one(&next).await;
        let claimed = self.claim().await.expect("no pause is as long");
        assert_eq!(claimed.id, ahead.id);
        assert_eq!(self.claim().await, None, "a day is one");
        self.clear().await;
    }
}
