//! A ledger of the tests, from which others remove what has just been looked up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use micropy_core::ports::binding::Identity;
use micropy_core::ports::jobs::{
    Begin, Census, Created, Ended, Error, Filter, Job, JobOutbox, JobStream, JobViews, Jobs, Lease,
    LedgerIdentity, Line, Message, Notice, Outcome, Owed, State, SweepLease, Turn, Usage,
};
use micropy_core::ports::{Id, Ledger, Timestamp};

/// Whoever asks for a job by its key gets it, and it is removed before they do anything with it.
pub struct Fleeting(pub Arc<dyn Ledger>);

macro_rules! pass_on {
    ($trait:ident: $(fn $name:ident($($value:ident: $type:ty),*) -> $result:ty;)*) => {
        #[async_trait]
        impl $trait for Fleeting {
            $(async fn $name(&self, $($value: $type),*) -> Result<$result, Error> {
                self.0.$name($($value),*).await
            })*
        }
    };
}

pass_on! { Jobs:
    fn create(job: &Job, message: Option<Message>) -> Created;
    fn get(id: Id) -> Job;
    fn enqueue(id: Id, message: Message) -> Option<Owed>;
    fn begin(id: Id, term: Duration) -> Begin;
    fn renew(lease: Lease, term: Duration, progress: f32) -> ();
    fn release(lease: Lease, ended: Ended) -> ();
    fn request(seen: &Job, message: Message) -> Option<Owed>;
    fn finish(lease: Lease, outcome: Outcome, message: Option<Message>) -> Option<Owed>;
    fn cancel(id: Id) -> ();
    fn retry(id: Id, message: Message) -> Option<Owed>;
    fn delete(id: Id) -> Job;
    fn delete_unchanged(seen: &Job) -> Job;
    fn begin_notification(id: Id, notifier: Id, term: Duration) -> Notice;
    fn release_notification(id: Id, notifier: Id) -> ();
    fn announced(id: Id, retries: u32) -> ();
    fn notified(id: Id) -> ();
}

pass_on! { JobOutbox:
    fn claim_owed(limit: usize) -> Vec<Owed>;
    fn sent(owed: &[Id]) -> ();
}

pass_on! { LedgerIdentity:
    fn identity() -> Option<Identity>;
    fn advance(name: Id) -> Identity;
}

pass_on! { SweepLease:
    fn lease_sweep(holder: Id, duration: Duration) -> Turn;
    fn note_sweep(holder: Id, note: &str) -> ();
}

#[async_trait]
impl JobViews for Fleeting {
    async fn by_key(&self, owner: &str, key: &str) -> Result<Job, Error> {
        let job = self.0.by_key(owner, key).await?;
        self.0.delete(job.id).await
    }
    async fn by_mp3(&self, mp3: Id) -> Result<Job, Error> {
        self.0.by_mp3(mp3).await
    }
    async fn list(&self, owner: &str, filter: &Filter, limit: usize) -> Result<Vec<Job>, Error> {
        self.0.list(owner, filter, limit).await
    }
    async fn stale(
        &self,
        states: &[State],
        before: Timestamp,
        after: Option<&Job>,
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        self.0.stale(states, before, after, limit).await
    }
    async fn referenced(&self, objects: &[Id]) -> Result<Vec<Id>, Error> {
        self.0.referenced(objects).await
    }
    async fn usage(&self, owner: &str) -> Result<Usage, Error> {
        self.0.usage(owner).await
    }
    async fn census(&self) -> Result<Census, Error> {
        self.0.census().await
    }
    async fn line(&self, owner: &str) -> Result<Line, Error> {
        self.0.line(owner).await
    }
    async fn watch(&self, owner: &str) -> Result<JobStream, Error> {
        self.0.watch(owner).await
    }
}
