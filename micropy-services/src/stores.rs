//! Whether the stores belong to the ledger, before anything is put into them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use micropy_core::ports::{Storage, binding};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Ports;

/// How long a store may take to say whose it is, while somebody waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same at most where nobody waits. A store from before bindings may have to be looked through to its end.
const LONGEST: Duration = Duration::from_secs(600);
/// The pause between two checks.
const PAUSE: Duration = Duration::from_secs(5);

/// The check that the stores belong to the ledger, which has to pass once: see [`binding`].
///
/// Until then, a gateway takes no uploads and a converter begins no jobs. Otherwise a server that was away when the
/// service started could turn out to hold somebody else's files; and what was put among them meanwhile would make them
/// seem to belong to this ledger. Services of one process share one check, by their builders' `stores`.
///
/// ```
/// # use std::sync::Arc;
/// # use micropy_core::ports::time::{ManualClock, Timestamp};
/// use micropy_services::Ports;
/// use micropy_services::stores::StoreCheck;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let clock = Arc::new(ManualClock::new(Timestamp::default()));
/// let stores = StoreCheck::new(Ports::in_memory(clock));
/// assert!(!stores.has_passed());
/// stores.check().await.expect("they are new, all of them");
/// assert!(stores.has_passed());
/// # }
/// ```
pub struct StoreCheck {
    ports: Ports,
    has_passed: AtomicBool,
    /// Of those who check at once, one does.
    checking: Mutex<()>,
}

/// What a store is asked.
#[derive(Clone, Copy)]
enum Asked {
    /// Whether it belongs to the ledger.
    Verify,
    /// The same, and to remember that.
    Check,
}

/// Why the check of a store has not passed.
#[derive(Debug)]
pub struct StoreError {
    /// Which store: `videos` or `MP3s`.
    pub store: &'static str,
    /// What is wrong; none if the store, or the ledger, does not answer.
    pub cause: Option<binding::Error>,
}

impl StoreError {
    /// Whether it stays so until an operator acts. A server that does not answer may still come.
    pub fn is_refusal(&self) -> bool {
        self.cause.as_ref().is_some_and(binding::Error::is_refusal)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = self.store;
        match &self.cause {
            Some(e) if e.is_refusal() => write!(f, "the {store} are not this ledger's: {e}"),
            Some(e) => write!(f, "whose the {store} are is not known: {e}"),
            None => write!(f, "whose the {store} are is not known: no answer"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|e| e as _)
    }
}

impl StoreCheck {
    /// A check that has not passed yet.
    pub fn new(ports: Ports) -> Self {
        StoreCheck {
            ports,
            has_passed: AtomicBool::new(false),
            checking: Mutex::default(),
        }
    }

    /// Whether both stores are known to belong to the ledger.
    pub fn has_passed(&self) -> bool {
        self.has_passed.load(Ordering::Acquire)
    }

    /// Checks both stores, unless they have passed already.
    ///
    /// # Errors
    /// When one of them does not belong to the ledger, or cannot be asked for now.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.check_within(PATIENCE).await
    }

    async fn check_within(&self, patience: Duration) -> Result<(), StoreError> {
        let _checking = self.checking.lock().await;
        if self.has_passed() {
            return Ok(());
        }
        // Both are looked at before either is bound: an empty one would be bound to a ledger that the other refuses.
        self.ask(Asked::Verify, patience).await?;
        self.ask(Asked::Check, patience).await?;
        self.has_passed.store(true, Ordering::Release);
        Ok(())
    }

    /// Asks both stores. Of two errors, a refusal is the one to know of.
    async fn ask(&self, asked: Asked, patience: Duration) -> Result<(), StoreError> {
        let Ports { videos, mp3s, .. } = &self.ports;
        let mut failed: Option<StoreError> = None;
        for (store, storage) in [("videos", videos), ("MP3s", mp3s)] {
            let answer = timeout(patience, self.ask_one(asked, &**storage)).await;
            let cause = match answer {
                Ok(Ok(())) => continue,
                Ok(Err(e)) => Some(e),
                Err(_) => None,
            };
            let error = StoreError { store, cause };
            if failed.is_none() || error.is_refusal() {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn ask_one(&self, asked: Asked, storage: &dyn Storage) -> Result<(), binding::Error> {
        let ledger = &*self.ports.jobs;
        match asked {
            Asked::Verify => binding::verify(storage, ledger).await.map(drop),
            Asked::Check => {
                let checked = binding::check(storage, ledger, self.ports.new_id());
                checked.await.map(drop)
            }
        }
    }

    /// Checks until both stores have passed; none if `shutdown` comes first.
    pub(crate) async fn passed(&self, shutdown: &CancellationToken) -> Option<()> {
        let checking = async {
            let mut patience = PATIENCE;
            while !self.has_passed() {
                match self.check_within(patience).await {
                    Ok(()) => return,
                    Err(e) if e.cause.is_none() => {
                        patience = LONGEST.min(2 * patience);
                        tracing::warn!(error = %e, "nothing is put into the stores yet");
                    }
                    Err(e) if e.is_refusal() => {
                        tracing::error!(error = %e, "nothing is put into the stores: `micropy-server adopt` says more");
                    }
                    Err(e) => tracing::warn!(error = %e, "nothing is put into the stores yet"),
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        shutdown.run_until_cancelled(checking).await
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Arc;

    use async_trait::async_trait;
    use micropy_core::ports::Id;
    use micropy_core::ports::binding::Identity;
    use micropy_core::ports::jobs::{Job, State, Topic};
    use micropy_core::ports::storage::{ByteStream, Error, Head, Label, Listing, Upload};
    use micropy_core::ports::time::{ManualClock, Timestamp};

    use super::*;
    use crate::converter::ConverterService;
    use crate::job::message::Body;
    use crate::worker::Worker;

    fn ports() -> Ports {
        let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
        Ports::in_memory(Arc::new(clock))
    }

    /// The store of MP3s is another's.
    async fn misled() -> Ports {
        let (ours, other) = (ports(), ports());
        let bound = binding::check(&*ours.mp3s, &*other.jobs, ours.new_id());
        bound.await.unwrap();
        ours
    }

    #[tokio::test]
    async fn a_foreign_store_is_refused_until_it_is_adopted() {
        let ports = misled().await;
        let stores = StoreCheck::new(ports.clone());
        for _ in 0..2 {
            let refused = stores.check().await.unwrap_err();
            assert!(refused.is_refusal() && !stores.has_passed());
            let said = refused.to_string();
            assert!(
                said.starts_with("the MP3s are not this ledger's: "),
                "{said}"
            );
            let bound = ports.videos.binding().await.unwrap();
            assert_eq!(bound, None, "nor is the other one bound");
        }
        let adopted = binding::adopt(&*ports.mp3s, &*ports.jobs, ports.new_id());
        adopted.await.unwrap();
        stores.check().await.unwrap();
        assert!(stores.has_passed());
    }

    /// A store that takes a minute to be looked through.
    struct Large(Arc<dyn Storage>);

    #[async_trait]
    impl Storage for Large {
        async fn append(&self, id: Id, offset: u64, body: Upload) -> Result<u64, Error> {
            self.0.append(id, offset, body).await
        }
        async fn unfinished(&self, id: Id) -> Result<Head, Error> {
            self.0.unfinished(id).await
        }
        async fn commit(&self, id: Id, label: &Label) -> Result<Head, Error> {
            self.0.commit(id, label).await
        }
        async fn get(&self, id: Id, range: Range<u64>) -> Result<ByteStream, Error> {
            self.0.get(id, range).await
        }
        async fn head(&self, id: Id) -> Result<Head, Error> {
            self.0.head(id).await
        }
        async fn delete(&self, id: Id) -> Result<(), Error> {
            self.0.delete(id).await
        }
        async fn list_older_than(&self, before: Timestamp) -> Result<Listing, Error> {
            tokio::time::sleep(Duration::from_secs(60)).await;
            self.0.list_older_than(before).await
        }
        async fn now(&self) -> Result<Timestamp, Error> {
            self.0.now().await
        }
        async fn binding(&self) -> Result<Option<Identity>, Error> {
            self.0.binding().await
        }
        async fn bind(&self, previous: Option<Identity>, ledger: Identity) -> Result<(), Error> {
            self.0.bind(previous, ledger).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_store_from_before_bindings_passes_where_nobody_waits_for_it() {
        let ports = ports();
        let videos = Arc::new(Large(ports.videos.clone()));
        let stores = StoreCheck::new(Ports { videos, ..ports });
        let unanswered = stores.check().await.unwrap_err();
        assert!(unanswered.cause.is_none(), "{unanswered}");
        stores.passed(&CancellationToken::new()).await.unwrap();
        assert!(stores.has_passed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_converter_begins_no_job_before_the_stores_are_the_ledgers() {
        let ports = misled().await;
        let [id, video] = [1, 2].map(|byte| Id::from_bytes([byte; 12]));
        let job = Job {
            state: State::Queued,
            ..Job::new(id, "ann@example.com", video, ports.clock.now())
        };
        ports.jobs.create(&job, None).await.unwrap();
        let message = Body::conversion_request(&job);
        let queue = ports.queues.of(Topic::Video);
        queue.publish(message.payload).await.unwrap();

        let (shutdown, worker) = (CancellationToken::new(), Worker::new("/nowhere", [""; 0]));
        let converter = ConverterService::new(ports.clone(), worker).workers(2);
        let running = tokio::spawn(converter.run(shutdown.clone()));
        tokio::time::sleep(10 * PAUSE).await;
        let started = async || ports.jobs.get(id).await.unwrap().started;
        assert_eq!(started().await, None);
        let adopted = binding::adopt(&*ports.mp3s, &*ports.jobs, ports.new_id());
        adopted.await.unwrap();
        tokio::time::sleep(2 * PAUSE).await;
        assert!(started().await.is_some());
        shutdown.cancel();
        running.await.unwrap();
    }
}
