//! The suite of a [`Ledger`]: [`Jobs`](crate::ports::Jobs), [`JobOutbox`](crate::ports::JobOutbox) and
//! [`JobViews`](crate::ports::JobViews).

use std::future::poll_fn;
use std::slice;
use std::time::Duration;

use super::{Fixture, both, id, within};
use crate::ports::jobs::{
    Begin, CLAIM_TIME, Created, Ended, Error, Filter, IN_LINE, Job, LONGEST_TERM, Lease, Ledger,
    Line, Message, Notice, Outcome, Output, Owed, State, Topic, Topics, Turn, Usage,
};
use crate::ports::time::ManualClock;
use crate::ports::{Clock as _, Id, Queue};

const TERM: Duration = Duration::from_secs(30);
const ANN: &str = "ann@example.com";
const BOB: &str = "bob@example.com";

/// Where the ledger's messages go.
#[derive(Clone, Copy)]
pub enum Queues<'a> {
    /// Into these queues: the ledger shares its database with them.
    Shared(Topics<&'a dyn Queue>),
    /// Nowhere: the ledger owes them.
    Owing,
}

/// Runs the suite on an empty ledger, and leaves it empty.
pub async fn run(fixture: &dyn Fixture, ledger: &dyn Ledger, queues: Queues<'_>) {
    let suite = Suite {
        fixture,
        ledger,
        queues,
    };
    suite.a_job_is_kept_as_it_was_entered().await;
    suite.a_key_enters_one_job().await;
    suite.of_two_with_one_key_one_is_new().await;
    suite.a_job_goes_through_its_states().await;
    suite.a_failed_job_says_why_and_can_be_tried_again().await;
    suite.a_lease_keeps_others_away_until_it_runs_out().await;
    suite.an_old_lease_changes_nothing().await;
    suite.of_two_workers_one_gets_the_lease().await;
    suite.a_cancelled_job_stops_its_worker().await;
    suite.a_released_job_can_be_begun_at_once().await;
    suite
        .attempts_outages_and_deliveries_are_counted_apart()
        .await;
    suite.an_outage_is_excused_after_another_has_begun().await;
    suite.owners_take_turns().await;
    suite.an_import_takes_its_turn_in_its_own_queue().await;
    suite.what_is_put_off_keeps_its_owners_next_waiting().await;
    suite
        .a_job_that_waits_can_be_cancelled_and_deleted_but_not_begun()
        .await;
    suite.a_lost_message_is_requested_once().await;
    suite.one_of_several_notifies().await;
    suite.a_deleted_job_is_gone().await;
    suite.states_forbid_what_makes_no_sense().await;
    suite.lists_are_of_one_owner_filtered_and_paged().await;
    suite.stale_jobs_are_found().await;
    suite.references_usage_and_census_count().await;
    suite.the_line_says_who_is_before_whom().await;
    suite.a_watcher_sees_changes_of_its_owner().await;
    suite.an_owed_message_has_one_sender_at_a_time().await;
    suite.what_is_void_is_not_owed().await;
    suite
        .the_ledger_keeps_its_name_and_counts_generations()
        .await;
    suite.one_sweeper_has_the_lease_until_it_ends().await;
    suite.no_lease_lasts_longer_than_the_longest().await;
    suite.a_job_that_has_changed_is_not_deleted().await;
}

/// What a clock that was ahead has left in a ledger keeps nobody waiting until that date. Runs on an empty ledger that
/// reads `clock`.
pub async fn run_with_clock(clock: &ManualClock, ledger: &dyn Ledger) {
    const AHEAD: Duration = Duration::from_secs(2 * 24 * 60 * 60);
    let now = clock.now();
    clock.set(now.plus(AHEAD));
    for byte in [1, 2] {
        let job = Job {
            state: State::Queued,
            ..Job::new(id(byte), ANN, id(byte + 100), now)
        };
        ledger.create(&job, None).await.expect("create");
        let begun = ledger.begin(id(byte), TERM).await.expect("begin");
        let Begin::Started(lease, _) = begun else {
            panic!("a queued job is {begun:?}");
        };
        if byte == 2 {
            let failed = Outcome::Failed("no audio".into());
            ledger.finish(lease, failed, None).await.expect("finish");
        }
    }
    let claimed = ledger.begin_notification(id(2), id(7), TERM).await;
    assert_eq!(claimed.expect("claim"), Notice::Yours);
    let waiting = Job {
        state: State::Queued,
        ..Job::new(id(3), BOB, id(103), now)
    };
    let created = ledger.create(&waiting, Some(video("go"))).await;
    let is_owing = matches!(created.expect("create"), Created::New(Some(_)));
    let swept = ledger.lease_sweep(id(7), TERM).await.expect("lease");
    assert!(matches!(swept, Turn::Own { .. }), "{swept:?}");

    clock.set(now);
    let begun = ledger.begin(id(1), TERM).await.expect("begin");
    assert!(
        matches!(begun, Begin::Started(..)),
        "a lease that ends in days has ended: {begun:?}"
    );
    let claimed = ledger.begin_notification(id(2), id(8), TERM).await;
    assert_eq!(
        claimed.expect("claim"),
        Notice::Yours,
        "so has such a claim on a mail"
    );
    let swept = ledger.lease_sweep(id(8), TERM).await.expect("lease");
    assert!(
        matches!(swept, Turn::Own { .. }),
        "so has a sweeper's lease: {swept:?}"
    );
    let owed = ledger.claim_owed(9).await.expect("claim_owed");
    assert_eq!(
        owed.len(),
        usize::from(is_owing),
        "and a claim on a message"
    );
    for byte in [1, 2, 3] {
        ledger.delete(id(byte)).await.expect("delete");
    }
}

struct Suite<'a> {
    fixture: &'a dyn Fixture,
    ledger: &'a dyn Ledger,
    queues: Queues<'a>,
}

fn message(topic: Topic, text: &str) -> Message {
    Message {
        topic,
        payload: text.as_bytes().to_vec(),
    }
}

fn video(text: &str) -> Message {
    message(Topic::Video, text)
}

fn output(mp3: Id) -> Output {
    Output {
        mp3,
        bytes: 7,
        report: "{\"frames\":1}".into(),
    }
}

fn is_rejected<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Rejected(_)))
}

impl Suite<'_> {
    fn job(&self, byte: u8, owner: &str) -> Job {
        Job {
            file_name: format!("{byte}.mp4"),
            source_bytes: 100,
            ..Job::new(id(byte), owner, id(byte + 100), self.fixture.now())
        }
    }

    async fn get(&self, byte: u8) -> Job {
        self.ledger.get(id(byte)).await.expect("get")
    }

    async fn enter_queued(&self, byte: u8, owner: &str) {
        let job = Job {
            state: State::Queued,
            ..self.job(byte, owner)
        };
        let created = self
            .ledger
            .create(&job, Some(video("go")))
            .await
            .expect("create");
        let Created::New(owed) = created else {
            panic!("a new job is {created:?}");
        };
        self.expect_message(owed, Topic::Video, "go").await;
    }

    async fn begin(&self, byte: u8) -> (Lease, Job) {
        match self.ledger.begin(id(byte), TERM).await.expect("begin") {
            Begin::Started(lease, job) => (lease, job),
            other => panic!("job {byte} can be begun, but it is {other:?}"),
        }
    }

    async fn delete(&self, bytes: impl IntoIterator<Item = u8>) {
        for byte in bytes {
            self.ledger.delete(id(byte)).await.expect("delete");
        }
    }

    /// A job whose message the suite has taken out of its queue.
    async fn enter_requested(&self, byte: u8, owner: &str) {
        let job = Job {
            state: State::Queued,
            requested: Some(self.fixture.now()),
            ..self.job(byte, owner)
        };
        let created = self.ledger.create(&job, None).await.expect("create");
        assert_eq!(created, Created::New(None));
    }

    /// Enters a job with a message of its own, whether or not it is its turn.
    async fn ask(&self, byte: u8, owner: &str) {
        let job = Job {
            state: State::Queued,
            ..self.job(byte, owner)
        };
        let message = video(&byte.to_string());
        let created = self.ledger.create(&job, Some(message)).await;
        match created.expect("create") {
            // As a sender that died.
            Created::New(_) => {}
            other => panic!("a new job is {other:?}"),
        }
    }

    /// The jobs whose conversion is now requested by messages that nobody has taken yet, in the order of the messages.
    async fn requested(&self) -> Vec<u8> {
        let mut found = Vec::new();
        let read = |payload: &[u8]| String::from_utf8_lossy(payload).parse().expect("a number");
        match self.queues {
            Queues::Shared(queues) => {
                while let Some(delivery) =
                    within(self.fixture.settle(), queues.video.receive()).await
                {
                    let delivery = delivery.expect("receive");
                    found.push(read(delivery.payload()));
                    delivery.ack().await.expect("ack");
                }
            }
            Queues::Owing => {
                self.fixture
                    .elapse(CLAIM_TIME + Duration::from_secs(1))
                    .await;
                for owed in self.ledger.claim_owed(99).await.expect("claim_owed") {
                    found.push(read(&owed.message.payload));
                    self.ledger.sent(&[owed.id]).await.expect("sent");
                }
            }
        }
        found
    }

    /// Takes the one message that the ledger sent, or owes.
    async fn expect_message(&self, owed: Option<Owed>, topic: Topic, text: &str) {
        match self.queues {
            Queues::Shared(queues) => {
                let delivery = queues.of(topic).receive().await.expect("receive");
                assert_eq!(
                    delivery.payload(),
                    text.as_bytes(),
                    "the message of the change"
                );
                delivery.ack().await.expect("ack");
            }
            Queues::Owing => {
                let owed = owed.expect("the message of the change is owed");
                assert_eq!(owed.message, message(topic, text));
                self.ledger.sent(&[owed.id]).await.expect("sent");
                return;
            }
        }
        assert_eq!(owed, None, "what is in its queue is not owed");
        assert!(
            self.ledger
                .claim_owed(9)
                .await
                .expect("claim_owed")
                .is_empty(),
            "and no other"
        );
    }

    async fn expect_no_message(&self) {
        match self.queues {
            Queues::Shared(queues) => {
                let got = both(queues.video.receive(), queues.mp3.receive());
                let got = within(self.fixture.settle(), got).await;
                assert!(got.is_none(), "a refused change sends nothing");
            }
            Queues::Owing => {
                self.fixture
                    .elapse(CLAIM_TIME + Duration::from_secs(1))
                    .await
            }
        }
        assert!(
            self.ledger
                .claim_owed(9)
                .await
                .expect("claim_owed")
                .is_empty(),
            "a refused change sends nothing"
        );
    }

    async fn what_is_void_is_not_owed(&self) {
        let Queues::Owing = self.queues else { return };
        self.ask(1, ANN).await;
        // While the queue is away.
        for _ in 0..3 {
            self.ledger.cancel(id(1)).await.expect("cancel");
            let owed = self.ledger.retry(id(1), video("1")).await;
            assert!(owed.expect("retry").is_some());
        }
        assert_eq!(self.requested().await, [1], "that of the last retry");
        self.ask(2, BOB).await;
        self.delete([1, 2]).await;
        assert_eq!(self.requested().await, [0; 0]);
    }

    async fn an_owed_message_has_one_sender_at_a_time(&self) {
        let Queues::Owing = self.queues else { return };
        let job = Job {
            state: State::Queued,
            ..self.job(1, ANN)
        };
        let created = self.ledger.create(&job, Some(video("go"))).await;
        let Created::New(Some(first)) = created.expect("create") else {
            panic!("the message is owed");
        };
        let others = || async { self.ledger.claim_owed(9).await.expect("claim_owed") };
        assert!(others().await.is_empty(), "it is its creator who sends it");
        self.fixture
            .elapse(CLAIM_TIME + Duration::from_secs(1))
            .await;
        let (a, b) = both(others(), others()).await;
        assert_eq!(
            [a, b].concat(),
            slice::from_ref(&first),
            "a message that was not sent is given to one other"
        );
        self.fixture
            .elapse(CLAIM_TIME + Duration::from_secs(1))
            .await;
        assert_eq!(
            others().await,
            slice::from_ref(&first),
            "and, if that fails too, to the next"
        );
        self.ledger.sent(&[first.id]).await.expect("sent");
        self.fixture
            .elapse(CLAIM_TIME + Duration::from_secs(1))
            .await;
        assert!(
            others().await.is_empty(),
            "a message that was sent is no longer owed"
        );
        self.delete([1]).await;
    }

    async fn a_job_is_kept_as_it_was_entered(&self) {
        let missing = self.ledger.get(id(1)).await;
        assert!(matches!(missing, Err(Error::NotFound)), "no job yet");
        let job = Job {
            key: Some("key #1".into()),
            batch: Some(id(200)),
            file_name: "K\u{fc}che & 'Bad'.mp4".into(),
            options: "{\"bitrate\": 128}".into(),
            fingerprint: Some("0123abc".into()),
            source_bytes: u64::from(u32::MAX) * 5,
            origin: Some("https://example.com/K%C3%BCche.mp4?token=1".into()),
            ..self.job(1, ANN)
        };
        assert_eq!(
            self.ledger.create(&job, None).await.expect("create"),
            Created::New(None)
        );
        assert_eq!(self.get(1).await, job, "kept as it was entered");

        let same_source = Job {
            source: job.source,
            ..self.job(2, ANN)
        };
        assert!(
            is_rejected(&self.ledger.create(&same_source, None).await),
            "one video has one job"
        );
        assert!(
            is_rejected(&self.ledger.create(&self.job(1, BOB), None).await),
            "one id, one job"
        );
        self.expect_no_message().await;
        self.delete([1]).await;
    }

    async fn a_key_enters_one_job(&self) {
        let keyed = |byte, owner| Job {
            key: Some("k".into()),
            ..self.job(byte, owner)
        };
        let first = keyed(1, ANN);
        assert_eq!(
            self.ledger.create(&first, None).await.expect("create"),
            Created::New(None)
        );
        let again = self
            .ledger
            .create(&keyed(2, ANN), Some(video("twice")))
            .await
            .expect("create");
        assert_eq!(
            again,
            Created::Existing(Box::new(first)),
            "a repeated key gives the first job"
        );
        self.expect_no_message().await;
        let other = self
            .ledger
            .create(&keyed(3, BOB), None)
            .await
            .expect("create");
        assert_eq!(
            other,
            Created::New(None),
            "another user's keys are their own"
        );
        self.delete([1, 3]).await;
    }

    async fn of_two_with_one_key_one_is_new(&self) {
        let keyed = |byte| Job {
            key: Some("race".into()),
            ..self.job(byte, ANN)
        };
        let (a, b) = (keyed(1), keyed(2));
        let (first, second) =
            both(self.ledger.create(&a, None), self.ledger.create(&b, None)).await;
        let created = [first.expect("create"), second.expect("create")];
        let new = created
            .iter()
            .filter(|created| **created == Created::New(None))
            .count();
        assert_eq!(new, 1, "one of two is new: {created:?}");
        let all = self
            .ledger
            .list(ANN, &Filter::default(), 9)
            .await
            .expect("list");
        assert_eq!(all.len(), 1);
        self.ledger.delete(all[0].id).await.expect("delete");
    }

    async fn a_job_goes_through_its_states(&self) {
        self.ledger
            .create(&self.job(1, ANN), None)
            .await
            .expect("create");
        let over = self.ledger.begin(id(1), TERM).await.expect("begin");
        assert!(
            matches!(over, Begin::NotQueued(_)),
            "what is still arriving cannot be begun"
        );
        let owed = self.ledger.enqueue(id(1), video("start")).await;
        self.expect_message(owed.expect("enqueue"), Topic::Video, "start")
            .await;
        assert_eq!(self.get(1).await.state, State::Queued);

        self.fixture.elapse(Duration::from_secs(1)).await;
        let (lease, job) = self.begin(1).await;
        assert_eq!(
            (job.state, job.attempts, job.deliveries),
            (State::Running, 1, 1),
            "counted before the work"
        );
        assert!(job.started.expect("started") > job.created);
        assert_eq!(self.get(1).await, job, "and noted before the work");
        self.ledger.renew(lease, TERM, 0.5).await.expect("renew");
        assert_eq!(self.get(1).await.progress, 0.5);

        let done = Outcome::Done(output(id(50)));
        let told = message(Topic::Mp3, "done");
        let owed = self.ledger.finish(lease, done, Some(told)).await;
        self.expect_message(owed.expect("finish"), Topic::Mp3, "done")
            .await;
        let job = self.get(1).await;
        assert_eq!(
            (job.state, job.progress, job.failure.clone()),
            (State::Done, 1.0, None)
        );
        assert_eq!(job.output, Some(output(id(50))));
        assert!(job.finished.is_some() && job.notified.is_none());
        assert_eq!(self.ledger.by_mp3(id(50)).await.expect("by_mp3"), job);
        let keyed = self.ledger.by_key(ANN, "none").await;
        assert!(matches!(keyed, Err(Error::NotFound)), "a key of no job");
        let nobody = self.ledger.by_mp3(id(51)).await;
        assert!(matches!(nobody, Err(Error::NotFound)), "an MP3 of no job");
        self.ledger.notified(id(1)).await.expect("notified");
        assert!(self.get(1).await.notified.is_some());
        self.delete([1]).await;
    }

    async fn a_failed_job_says_why_and_can_be_tried_again(&self) {
        self.enter_queued(1, ANN).await;
        let (lease, _) = self.begin(1).await;
        let failed = Outcome::Failed("no audio track".into());
        let told = message(Topic::Failed, "sorry");
        let owed = self.ledger.finish(lease, failed, Some(told)).await;
        self.expect_message(owed.expect("finish"), Topic::Failed, "sorry")
            .await;
        let job = self.get(1).await;
        assert_eq!(job.state, State::Failed);
        assert_eq!(job.failure.as_deref(), Some("no audio track"));

        self.ledger.notified(id(1)).await.expect("notified");
        let announced = async |retries| {
            let announced = self.ledger.announced(id(1), retries).await;
            announced.expect("announced");
            self.get(1).await.is_announced()
        };
        assert!(!job.is_announced() && announced(0).await);
        let owed = self.ledger.retry(id(1), video("again")).await;
        self.expect_message(owed.expect("retry"), Topic::Video, "again")
            .await;
        let job = self.get(1).await;
        assert_eq!(job.notified, None, "how it ends now is other news");
        assert!(!job.is_announced(), "to programs, too");
        assert_eq!(
            (job.state, job.attempts, job.failure),
            (State::Queued, 0, None)
        );
        assert_eq!(job.finished, None);
        assert!(!announced(0).await, "that was the first end");
        assert!(announced(1).await);
        assert!(announced(0).await, "and comes late");
        self.delete([1]).await;
        let gone = self.ledger.announced(id(1), 1).await;
        assert!(matches!(gone, Err(Error::NotFound)));
    }

    async fn a_lease_keeps_others_away_until_it_runs_out(&self) {
        self.enter_queued(1, ANN).await;
        let (lease, _) = self.begin(1).await;
        let held = self.ledger.begin(id(1), TERM).await.expect("begin");
        assert!(
            matches!(held, Begin::Leased(until) if until > self.fixture.now()),
            "{held:?}"
        );
        self.fixture.elapse(TERM / 2).await;
        self.ledger.renew(lease, TERM, 0.1).await.expect("renew");
        self.fixture.elapse(TERM / 2 + Duration::from_secs(1)).await;
        let held = self.ledger.begin(id(1), TERM).await.expect("begin");
        assert!(
            matches!(held, Begin::Leased(_)),
            "a renewed lease holds longer"
        );

        self.fixture.elapse(TERM).await;
        let (second, job) = self.begin(1).await;
        assert_eq!(
            (job.attempts, job.progress),
            (2, 0.0),
            "taken up again, counted, from the start"
        );
        assert!(second.fence > lease.fence, "the fence grows");
        self.delete([1]).await;
    }

    async fn an_old_lease_changes_nothing(&self) {
        self.enter_queued(1, ANN).await;
        let (old, _) = self.begin(1).await;
        self.fixture.elapse(TERM * 2).await;
        let (new, _) = self.begin(1).await;
        let before = self.get(1).await;
        assert!(
            is_rejected(&self.ledger.renew(old, TERM, 0.9).await),
            "renew by an old lease"
        );
        assert!(
            is_rejected(&self.ledger.release(old, Ended::Failed).await),
            "release by an old lease"
        );
        let late = Outcome::Done(output(id(51)));
        let told = Some(message(Topic::Mp3, "late"));
        assert!(
            is_rejected(&self.ledger.finish(old, late, told.clone()).await),
            "finish by an old lease"
        );
        self.expect_no_message().await;
        assert_eq!(self.get(1).await, before, "an old lease changes nothing");

        self.ledger
            .finish(new, Outcome::Done(output(id(52))), None)
            .await
            .expect("finish");
        let twice = Outcome::Done(output(id(53)));
        assert!(
            is_rejected(&self.ledger.finish(new, twice, told).await),
            "a job ends once"
        );
        self.expect_no_message().await;
        assert_eq!(
            self.get(1).await.output,
            Some(output(id(52))),
            "one job, one MP3"
        );
        self.delete([1]).await;
    }

    async fn of_two_workers_one_gets_the_lease(&self) {
        self.enter_queued(1, ANN).await;
        let (first, second) = both(
            self.ledger.begin(id(1), TERM),
            self.ledger.begin(id(1), TERM),
        )
        .await;
        let begun = [first.expect("begin"), second.expect("begin")];
        let started = begun
            .iter()
            .filter(|begin| matches!(begin, Begin::Started(..)))
            .count();
        assert_eq!(started, 1, "one of two gets the lease: {begun:?}");
        assert_eq!(self.get(1).await.attempts, 1);
        self.delete([1]).await;
    }

    async fn a_cancelled_job_stops_its_worker(&self) {
        self.enter_queued(1, ANN).await;
        let (lease, _) = self.begin(1).await;
        self.ledger.cancel(id(1)).await.expect("cancel");
        let job = self.get(1).await;
        assert!(job.state == State::Cancelled && job.finished.is_some());
        assert!(
            is_rejected(&self.ledger.renew(lease, TERM, 0.9).await),
            "its worker hears of it"
        );
        let late = Outcome::Done(output(id(51)));
        assert!(
            is_rejected(&self.ledger.finish(lease, late, None).await),
            "and cannot finish it"
        );
        let over = self.ledger.begin(id(1), TERM).await.expect("begin");
        assert!(
            matches!(over, Begin::NotQueued(_)),
            "nor can another begin it"
        );
        let owed = self.ledger.retry(id(1), video("again")).await;
        self.expect_message(owed.expect("retry"), Topic::Video, "again")
            .await;
        assert!(
            is_rejected(&self.ledger.renew(lease, TERM, 0.9).await),
            "nor after a retry"
        );
        let (_, job) = self.begin(1).await;
        assert_eq!(job.attempts, 1);
        self.delete([1]).await;
    }

    async fn a_released_job_can_be_begun_at_once(&self) {
        self.enter_queued(1, ANN).await;
        let (lease, _) = self.begin(1).await;
        let released = self.ledger.release(lease, Ended::Failed).await;
        released.expect("release");
        assert_eq!(
            (self.get(1).await.state, self.get(1).await.attempts),
            (State::Queued, 1)
        );
        let (_, job) = self.begin(1).await;
        assert_eq!(job.attempts, 2);
        self.delete([1]).await;
    }

    async fn attempts_outages_and_deliveries_are_counted_apart(&self) {
        self.enter_queued(1, ANN).await;
        let counts = async || {
            let job = self.get(1).await;
            (job.attempts, job.outages, job.deliveries)
        };
        for (ended, counted) in [
            (Ended::Unavailable, (0, 1, 1)),
            (Ended::Interrupted, (0, 1, 2)),
            (Ended::Failed, (1, 1, 3)),
            (Ended::Unavailable, (1, 2, 4)),
        ] {
            let (lease, job) = self.begin(1).await;
            let (attempts, _, deliveries) = counted;
            let failed = u32::from(ended == Ended::Failed);
            assert_eq!(job.attempts, attempts + 1 - failed, "counted at first");
            assert_eq!(job.deliveries, deliveries);
            self.ledger.release(lease, ended).await.expect("release");
            assert_eq!(counts().await, counted, "after {ended:?}");
            assert!(
                is_rejected(&self.ledger.release(lease, ended).await),
                "a lease is given back once"
            );
        }
        let (lease, _) = self.begin(1).await;
        let failed = Outcome::Failed("no audio track".into());
        let finished = self.ledger.finish(lease, failed, None).await;
        finished.expect("finish");
        assert_eq!(counts().await, (2, 2, 5));
        let owed = self.ledger.retry(id(1), video("again")).await;
        self.expect_message(owed.expect("retry"), Topic::Video, "again")
            .await;
        assert_eq!(counts().await, (0, 0, 0), "as if never attempted");
        self.delete([1]).await;
    }

    async fn an_outage_is_excused_after_another_has_begun(&self) {
        self.enter_queued(1, ANN).await;
        let (old, _) = self.begin(1).await;
        self.fixture.elapse(TERM * 2).await;
        let (new, job) = self.begin(1).await;
        assert_eq!(job.attempts, 2);
        let excused = self.ledger.release(old, Ended::Unavailable).await;
        excused.expect("the first was an outage, and says so now");
        let job = self.get(1).await;
        assert_eq!((job.attempts, job.outages, job.deliveries), (1, 1, 2));
        assert_eq!(job.state, State::Running, "the second goes on");
        let done = Outcome::Done(output(id(50)));
        let finished = self.ledger.finish(new, done, None).await;
        finished.expect("finish");
        assert!(is_rejected(
            &self.ledger.release(old, Ended::Unavailable).await
        ));
        self.delete([1]).await;
    }

    async fn owners_take_turns(&self) {
        assert_eq!(IN_LINE, 1, "the suite counts on it");
        for byte in 1..=9 {
            self.ask(byte, ANN).await;
        }
        self.ask(10, BOB).await;
        assert_eq!(
            self.requested().await,
            [1, 10],
            "one job of each owner stands in line"
        );
        for byte in 2..=9 {
            let job = self.get(byte).await;
            assert_eq!((job.state, job.requested), (State::Queued, None));
        }
        self.begin(10).await;
        assert_eq!(self.requested().await, [0; 0], "it is nobody else's turn");
        let (lease, _) = self.begin(1).await;
        assert_eq!(
            self.requested().await,
            [2],
            "in the order they were asked for"
        );
        assert!(self.get(2).await.requested.is_some());
        // What comes back was in line before, and keeps nobody waiting.
        let released = self.ledger.release(lease, Ended::Failed).await;
        released.expect("release");
        assert_eq!(self.requested().await, [0; 0]);
        self.begin(2).await;
        assert_eq!(self.requested().await, [3]);

        self.ledger
            .create(&self.job(11, ANN), None)
            .await
            .expect("create");
        let owed = self.ledger.enqueue(id(11), video("11")).await;
        assert_eq!(owed.expect("enqueue"), None, "an upload waits, too");
        for byte in 3..=8 {
            self.begin(byte).await;
            assert_eq!(self.requested().await, [byte + 1]);
        }
        self.begin(9).await;
        assert_eq!(self.requested().await, [11]);
        self.delete(1..=11).await;
        assert_eq!(self.requested().await, [0; 0]);
    }

    async fn an_import_takes_its_turn_in_its_own_queue(&self) {
        let import = |byte| Job {
            state: State::Queued,
            origin: Some(format!("https://example.com/{byte}.mp4")),
            ..self.job(byte, ANN)
        };
        let request = |text| Some(message(Topic::Import, text));
        let created = self.ledger.create(&import(1), request("1")).await;
        let Created::New(owed) = created.expect("create") else {
            panic!("it is new");
        };
        self.expect_message(owed, Topic::Import, "1").await;
        let created = self.ledger.create(&import(2), request("2")).await;
        assert_eq!(created.expect("create"), Created::New(None), "it waits");
        self.begin(1).await;
        let owed = match self.queues {
            Queues::Shared(_) => None,
            Queues::Owing => {
                self.fixture
                    .elapse(CLAIM_TIME + Duration::from_secs(1))
                    .await;
                self.ledger.claim_owed(9).await.expect("claim_owed").pop()
            }
        };
        self.expect_message(owed, Topic::Import, "2").await;
        self.delete([1, 2]).await;
        self.expect_no_message().await;
    }

    async fn what_is_put_off_keeps_its_owners_next_waiting(&self) {
        for byte in 1..=4 {
            self.ask(byte, ANN).await;
        }
        assert_eq!(self.requested().await, [1]);
        let put_off = async |byte| {
            let (lease, _) = self.begin(byte).await;
            let again = self.requested().await;
            let released = self.ledger.release(lease, Ended::Unavailable).await;
            released.expect("release");
            again
        };
        assert_eq!(put_off(1).await, [2]);
        for _ in 0..3 {
            assert_eq!(put_off(2).await, [0; 0], "the first is put off");
            assert_eq!(put_off(1).await, [0; 0], "the second is put off");
        }
        self.begin(1).await;
        assert_eq!(self.requested().await, [0; 0]);
        self.begin(2).await;
        assert_eq!(self.requested().await, [3], "the outage is over");
        assert_eq!(put_off(3).await, [4]);
        self.begin(4).await;
        self.ledger.cancel(id(3)).await.expect("cancel");
        self.ask(5, ANN).await;
        assert_eq!(self.requested().await, [5], "it is put off no more");
        self.delete(1..=5).await;
    }

    async fn a_job_that_waits_can_be_cancelled_and_deleted_but_not_begun(&self) {
        for byte in 1..=7 {
            self.ask(byte, ANN).await;
        }
        assert_eq!(self.requested().await, [1]);
        self.ledger.cancel(id(2)).await.expect("cancel");
        self.delete([3]).await;
        assert_eq!(self.requested().await, [0; 0], "they were not in line");
        self.ledger.cancel(id(1)).await.expect("cancel");
        assert_eq!(
            self.requested().await,
            [4],
            "the cancelled one is passed over"
        );
        self.delete([4]).await;
        assert_eq!(self.requested().await, [5], "and so is the deleted one");
        let early = self.ledger.begin(id(6), TERM).await.expect("begin");
        assert!(
            matches!(early, Begin::NotQueued(_)),
            "its message has not been sent"
        );
        assert_eq!(self.requested().await, [0; 0]);
        self.begin(5).await;
        assert_eq!(self.requested().await, [6]);
        self.begin(6).await;
        assert_eq!(self.requested().await, [7]);
        let owed = self.ledger.retry(id(2), video("2")).await;
        assert_eq!(owed.expect("retry"), None, "a retry waits for its turn");
        assert_eq!(self.get(2).await.retries, 1);
        let void = self.ledger.begin(id(2), TERM).await.expect("begin");
        assert!(
            matches!(void, Begin::NotQueued(_)),
            "and no older message takes it"
        );
        self.begin(7).await;
        assert_eq!(self.requested().await, [2]);
        self.delete([1, 2, 5, 6, 7]).await;
    }

    async fn a_lost_message_is_requested_once(&self) {
        self.ask(1, ANN).await;
        self.ask(2, ANN).await;
        if let Queues::Owing = self.queues {
            let owed = self.get(1).await;
            assert!(
                is_rejected(&self.ledger.request(&owed, video("1")).await),
                "nothing was lost of what is still to be sent"
            );
        }
        assert_eq!(self.requested().await, [1], "and lost");
        let (seen, waits) = (self.get(1).await, self.get(2).await);
        assert!(
            is_rejected(&self.ledger.request(&waits, video("2")).await),
            "nothing was lost of what was not sent"
        );
        self.fixture.elapse(Duration::from_secs(3600)).await;
        let ask = async || self.ledger.request(&seen, video("1")).await;
        let (a, b) = both(ask(), ask()).await;
        let refused = [&a, &b].into_iter().filter(|asked| is_rejected(asked));
        assert_eq!(refused.count(), 1, "of two who ask, one asks: {a:?}, {b:?}");
        assert_eq!(
            self.requested().await,
            [1],
            "its owner's next goes on waiting: nobody may be there to begin any"
        );
        let job = self.get(1).await;
        assert!(job.requested > seen.requested);
        assert_eq!((seen.repeats, job.repeats), (0, 1));
        assert!(is_rejected(&ask().await), "it has changed since");
        let (lease, running) = self.begin(1).await;
        assert_eq!(running.repeats, 0, "it was not lost");
        assert_eq!(self.requested().await, [2]);
        self.fixture.elapse(TERM).await;
        let again = self.ledger.request(&running, video("1")).await;
        again.expect("its worker may have died with its message");
        assert_eq!(self.requested().await, [1]);
        let done = Outcome::Done(output(id(50)));
        let finished = self.ledger.finish(lease, done, None).await;
        finished.expect("finish");
        let seen = self.get(1).await;
        assert!(is_rejected(&self.ledger.request(&seen, video("1")).await));
        self.delete([1, 2]).await;
    }

    async fn one_of_several_notifies(&self) {
        let claim = async |notifier| {
            let notice = self.ledger.begin_notification(id(1), id(notifier), TERM);
            notice.await.expect("begin_notification")
        };
        self.enter_queued(1, ANN).await;
        let early = self.ledger.begin_notification(id(1), id(7), TERM).await;
        assert!(is_rejected(&early), "not done");
        let (lease, _) = self.begin(1).await;
        let done = Outcome::Done(output(id(50)));
        let finished = self.ledger.finish(lease, done, None).await;
        finished.expect("finish");

        let (a, b) = both(claim(7), claim(8)).await;
        let yours = [a, b].into_iter().filter(|claim| *claim == Notice::Yours);
        assert_eq!(yours.count(), 1, "one of two: {a:?}, {b:?}");
        let (own, other) = if a == Notice::Yours { (7, 8) } else { (8, 7) };
        let now = self.fixture.now();
        assert!(matches!(claim(other).await, Notice::Taken(until) if until > now));
        self.fixture.elapse(TERM / 2).await;
        assert_eq!(claim(own).await, Notice::Yours, "renewed");
        self.fixture.elapse(TERM / 2 + Duration::from_secs(1)).await;
        let release = async |notifier| {
            let released = self.ledger.release_notification(id(1), id(notifier)).await;
            released.expect("release_notification");
        };
        release(other).await;
        assert!(matches!(claim(other).await, Notice::Taken(_)));
        release(own).await;
        assert_eq!(claim(other).await, Notice::Yours, "given back");
        self.fixture.elapse(TERM + Duration::from_secs(1)).await;
        assert_eq!(claim(own).await, Notice::Yours, "run out");
        self.ledger.notified(id(1)).await.expect("notified");
        assert_eq!(claim(own).await, Notice::Sent);
        assert_eq!(claim(other).await, Notice::Sent);
        let unknown = self.ledger.begin_notification(id(9), id(7), TERM).await;
        assert!(matches!(unknown, Err(Error::NotFound)));
        self.delete([1]).await;
    }

    async fn a_deleted_job_is_gone(&self) {
        self.enter_queued(1, ANN).await;
        let (lease, job) = self.begin(1).await;
        assert_eq!(
            self.ledger.delete(id(1)).await.expect("delete"),
            job,
            "as it was"
        );
        let gone = |result| matches!(result, Err(Error::NotFound));
        assert!(gone(self.ledger.get(id(1)).await.map(drop)));
        assert!(gone(self.ledger.delete(id(1)).await.map(drop)));
        let renewed = self.ledger.renew(lease, TERM, 0.9).await;
        assert!(renewed.is_err(), "its worker hears of it");
        let late = Outcome::Done(output(id(51)));
        assert!(
            self.ledger.finish(lease, late, None).await.is_err(),
            "and cannot finish it"
        );
    }

    async fn states_forbid_what_makes_no_sense(&self) {
        self.enter_queued(1, ANN).await;
        assert!(
            is_rejected(&self.ledger.enqueue(id(1), video("x")).await),
            "queued already"
        );
        assert!(
            is_rejected(&self.ledger.retry(id(1), video("x")).await),
            "not failed"
        );
        assert!(is_rejected(&self.ledger.notified(id(1)).await), "not done");
        let (lease, _) = self.begin(1).await;
        assert!(
            is_rejected(&self.ledger.retry(id(1), video("x")).await),
            "not failed"
        );
        self.ledger
            .finish(lease, Outcome::Done(output(id(50))), None)
            .await
            .expect("finish");
        assert!(is_rejected(&self.ledger.cancel(id(1)).await), "over");
        assert!(
            is_rejected(&self.ledger.retry(id(1), video("x")).await),
            "done"
        );
        self.expect_no_message().await;
        self.delete([1]).await;
    }

    async fn lists_are_of_one_owner_filtered_and_paged(&self) {
        for byte in 1..=5 {
            self.enter_requested(byte, ANN).await;
        }
        self.enter_queued(6, BOB).await;
        let batched = Job {
            batch: Some(id(200)),
            ..self.job(7, ANN)
        };
        self.ledger.create(&batched, None).await.expect("create");
        self.ledger.cancel(id(2)).await.expect("cancel");

        let list = |filter: Filter, limit| async move {
            let found = self.ledger.list(ANN, &filter, limit).await.expect("list");
            found.into_iter().map(|job| job.id).collect::<Vec<_>>()
        };
        let all = list(Filter::default(), 9).await;
        assert_eq!(
            all,
            [7, 5, 4, 3, 2, 1].map(id),
            "an owner's own, newest first"
        );
        let next = Filter {
            before: Some(id(5)),
            ..Filter::default()
        };
        assert_eq!(list(next, 2).await, [4, 3].map(id), "the next page");
        let some = Filter {
            states: vec![State::Cancelled, State::Receiving],
            ..Filter::default()
        };
        assert_eq!(list(some, 9).await, [7, 2].map(id), "some states");
        let batch = Filter {
            batch: Some(id(200)),
            ..Filter::default()
        };
        assert_eq!(list(batch, 9).await, [7].map(id), "a batch");
        self.delete(1..=7).await;
    }

    async fn stale_jobs_are_found(&self) {
        for byte in 1..=3 {
            self.enter_requested(byte, ANN).await;
            self.fixture.elapse(Duration::from_secs(1)).await;
        }
        self.ledger.cancel(id(1)).await.expect("cancel");
        self.fixture.elapse(Duration::from_secs(1)).await;
        let stale = |states: &'static [State], limit| async move {
            let now = self.fixture.now();
            let found = self.ledger.stale(states, now, None, limit).await;
            found
                .expect("stale")
                .into_iter()
                .map(|job| job.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(stale(&[State::Queued], 9).await, [2, 3].map(id));
        let both_states = &[State::Queued, State::Cancelled];
        assert_eq!(
            stale(both_states, 2).await,
            [2, 3].map(id),
            "oldest change first"
        );
        let long_ago = self.fixture.now().minus(Duration::from_secs(3600));
        let none = self
            .ledger
            .stale(both_states, long_ago, None, 9)
            .await
            .expect("stale");
        assert_eq!(none, []);

        let now = self.fixture.now();
        let (mut paged, mut last) = (Vec::new(), None);
        loop {
            let page = self.ledger.stale(both_states, now, last.as_ref(), 1).await;
            let page = page.expect("stale");
            assert!(page.len() <= 1, "no more than asked for");
            last = page.into_iter().next();
            let Some(job) = &last else { break };
            paged.push(job.id);
        }
        assert_eq!(
            paged,
            [2, 3, 1].map(id),
            "pages get past jobs that stay as they are"
        );
        self.delete(1..=3).await;
    }

    async fn references_usage_and_census_count(&self) {
        self.enter_queued(1, ANN).await;
        self.enter_requested(2, ANN).await;
        let (lease, _) = self.begin(1).await;
        self.ledger
            .finish(lease, Outcome::Done(output(id(50))), None)
            .await
            .expect("finish");

        let mut referenced = self
            .ledger
            .referenced(&[id(50), id(101), id(1), id(99)])
            .await
            .expect("referenced");
        referenced.sort();
        assert_eq!(
            referenced,
            [id(50), id(101)],
            "videos and MP3s of jobs, nothing else"
        );
        let usage = self.ledger.usage(ANN).await.expect("usage");
        assert_eq!(
            usage,
            Usage {
                jobs: 2,
                bytes: 207
            }
        );
        assert_eq!(
            self.ledger.usage(BOB).await.expect("usage"),
            Usage::default()
        );

        let census = self.ledger.census().await.expect("census");
        let count = |state| {
            census
                .states
                .iter()
                .find(|(s, _)| *s == state)
                .map_or(0, |(_, n)| *n)
        };
        assert_eq!(
            [State::Queued, State::Running, State::Done].map(count),
            [1, 0, 1]
        );
        assert_eq!(census.oldest_queued, Some(self.get(2).await.created));
        self.delete([1, 2]).await;
    }

    async fn the_line_says_who_is_before_whom(&self) {
        let line = async |owner| self.ledger.line(owner).await.expect("line");
        let ids = |bytes: &[u8]| bytes.iter().copied().map(id).collect::<Vec<_>>();
        assert_eq!(line(ANN).await, Line::default(), "nobody is in line");
        let pause = || self.fixture.elapse(Duration::from_millis(5));
        // One that was asked for later is not always behind.
        for (byte, owner) in [(7, BOB), (1, ANN), (2, ANN), (3, ANN)] {
            self.ask(byte, owner).await;
            pause().await;
        }
        let of_ann = line(ANN).await;
        assert_eq!(of_ann.in_line, ids(&[7, 1]), "in the order of the requests");
        assert_eq!(of_ann.waiting, ids(&[2, 3]));
        assert_eq!((of_ann.running, of_ann.took), (0, Vec::new()));
        let of_bob = line(BOB).await;
        assert_eq!(of_bob.in_line, ids(&[7, 1]), "the line is of all owners");
        assert_eq!(of_bob.waiting, [], "what waits is its owner's alone");

        let (lease, _) = self.begin(1).await;
        pause().await;
        let begun = line(ANN).await;
        assert_eq!((begun.in_line, begun.running), (ids(&[7, 2]), 1));
        assert_eq!(begun.waiting, ids(&[3]));
        self.fixture.elapse(Duration::from_millis(300)).await;
        let done = Outcome::Done(output(id(50)));
        self.ledger.finish(lease, done, None).await.expect("finish");
        let [took] = line(ANN).await.took[..] else {
            panic!("one conversion is done");
        };
        let expected = Duration::from_millis(300)..Duration::from_secs(60);
        assert!(expected.contains(&took), "it took {took:?}");

        // What was put off is in line for its owner's others alone.
        let (lease, _) = self.begin(2).await;
        let released = self.ledger.release(lease, Ended::Unavailable).await;
        released.expect("release");
        let put_off = line(ANN).await;
        assert_eq!(put_off.in_line, ids(&[7, 3]));
        assert_eq!((put_off.waiting, put_off.running), (Vec::new(), 0));
        self.ledger.cancel(id(7)).await.expect("cancel");
        assert_eq!(line(BOB).await.in_line, ids(&[3]));
        // The messages of those that were begun are still in the queue.
        self.requested().await;
        self.delete([1, 2, 3, 7]).await;
        assert_eq!(line(ANN).await, Line::default());
    }

    async fn the_ledger_keeps_its_name_and_counts_generations(&self) {
        let identity = async || self.ledger.identity().await.expect("identity");
        assert_eq!(identity().await, None, "the suite needs a new ledger");
        let (a, b) = both(self.ledger.advance(id(1)), self.ledger.advance(id(2))).await;
        let (a, b) = (a.expect("advance"), b.expect("advance"));
        assert_eq!(a.ledger, b.ledger, "one of two gives the name");
        assert!([id(1), id(2)].contains(&a.ledger));
        let mut generations = [a.generation, b.generation];
        generations.sort_unstable();
        assert_eq!(generations, [1, 2], "each has a generation of its own");
        let third = self.ledger.advance(id(3)).await.expect("advance");
        assert_eq!((third.ledger, third.generation), (a.ledger, 3));
        assert_eq!(identity().await, Some(third));
    }

    async fn one_sweeper_has_the_lease_until_it_ends(&self) {
        const MINUTE: Duration = Duration::from_secs(60);
        let lease = async |holder, duration| {
            let turn = self.ledger.lease_sweep(id(holder), duration).await;
            turn.expect("lease")
        };
        let (a, b) = both(
            self.ledger.lease_sweep(id(1), MINUTE),
            self.ledger.lease_sweep(id(2), MINUTE),
        )
        .await;
        let turns = [a.expect("lease"), b.expect("lease")];
        let first = Turn::Own {
            previous: None,
            note: String::new(),
        };
        let own = |turn: &Turn| *turn == first;
        assert_eq!(
            turns.iter().filter(|turn| own(turn)).count(),
            1,
            "{turns:?}"
        );
        let (holder, other) = if own(&turns[0]) { (1, 2) } else { (2, 1) };
        let Turn::Other(end) = lease(other, MINUTE).await else {
            panic!("{other} has it, too");
        };
        let note = "{\"seen\": \"\u{e4}\"}";
        let noted = self.ledger.note_sweep(id(holder), note).await;
        noted.expect("note_sweep");
        let noted = self.ledger.note_sweep(id(other), "forged").await;
        assert!(is_rejected(&noted), "another has the lease");
        let renewed = lease(holder, 2 * MINUTE).await;
        assert_eq!(
            renewed,
            Turn::Own {
                previous: Some(end),
                note: note.into()
            }
        );
        let Turn::Other(later) = lease(other, MINUTE).await else {
            panic!("{other} has it, too");
        };
        assert!(later > end, "it was not renewed");
        lease(holder, Duration::ZERO).await;
        let taken = lease(other, MINUTE).await;
        let Turn::Own {
            previous: Some(previous),
            note: kept,
        } = taken
        else {
            panic!("it was not given back: {taken:?}");
        };
        assert!(previous < later);
        assert_eq!(kept, note, "the next sweeper is told");
        lease(other, Duration::ZERO).await;
    }

    async fn no_lease_lasts_longer_than_the_longest(&self) {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        self.enter_queued(1, ANN).await;
        let begun = self.ledger.begin(id(1), DAY).await.expect("begin");
        assert!(matches!(begun, Begin::Started(..)), "{begun:?}");
        let taken = self.ledger.lease_sweep(id(1), DAY).await.expect("lease");
        assert!(matches!(taken, Turn::Own { .. }), "{taken:?}");
        self.fixture.elapse(LONGEST_TERM - TERM).await;
        let other = self.ledger.begin(id(1), TERM).await.expect("begin");
        assert!(matches!(other, Begin::Leased(_)), "{other:?}");
        let other = self.ledger.lease_sweep(id(2), TERM).await.expect("lease");
        assert!(matches!(other, Turn::Other(_)), "{other:?}");
        self.fixture.elapse(TERM).await;
        let other = self.ledger.begin(id(1), TERM).await.expect("begin");
        assert!(matches!(other, Begin::Started(..)), "it was cut: {other:?}");
        let other = self.ledger.lease_sweep(id(2), TERM).await.expect("lease");
        assert!(matches!(other, Turn::Own { .. }), "{other:?}");
        let back = self.ledger.lease_sweep(id(2), Duration::ZERO).await;
        back.expect("give back");
        self.delete([1]).await;
    }

    async fn a_job_that_has_changed_is_not_deleted(&self) {
        self.enter_queued(1, ANN).await;
        self.ledger.cancel(id(1)).await.expect("cancel");
        let seen = self.get(1).await;
        let owed = self.ledger.retry(id(1), video("again")).await;
        self.expect_message(owed.expect("retry"), Topic::Video, "again")
            .await;
        let deleted = self.ledger.delete_unchanged(&seen).await;
        assert!(is_rejected(&deleted), "it was retried meanwhile");
        let retried = self.get(1).await;
        assert_eq!(retried.state, State::Queued, "and stays");
        let deleted = self.ledger.delete_unchanged(&retried).await;
        assert_eq!(deleted.expect("delete").id, id(1), "as it is now, it goes");
        let again = self.ledger.delete_unchanged(&retried).await;
        assert!(matches!(again, Err(Error::NotFound)), "once");
    }

    async fn a_watcher_sees_changes_of_its_owner(&self) {
        let mut ann = self.ledger.watch(ANN).await.expect("watch");
        self.enter_queued(2, BOB).await;
        self.enter_queued(1, ANN).await;
        let (_, running) = self.begin(1).await;
        loop {
            let seen = poll_fn(|context| ann.as_mut().poll_next(context)).await;
            let seen = seen.expect("the stream does not end");
            assert_eq!(seen.owner, ANN, "nobody sees another's jobs");
            if seen == running {
                break;
            }
        }
        self.delete([1, 2]).await;
    }
}
