//! Webhooks: where users want their programs to be told of their jobs, and what was sent there.
//!
//! Two traits, by what they keep: [`Endpoints`] the URLs and their secrets, [`Deliveries`] what is to be sent to them, when,
//! and how it went. A [`Webhooks`] is both.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;

use super::notifier::SigningSecret;
use super::{BackendError, Id, Timestamp};

/// Why webhooks were refused, or their store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such endpoint or delivery.
    #[error("no such webhook")]
    NotFound,
    /// Another has the id, or the endpoint has too many deliveries.
    #[error("{0}")]
    Rejected(String),
    /// Out of reach for now.
    #[error("the webhooks cannot be reached: {0}")]
    Unavailable(BackendError),
    /// The backend failed in a way only an operator can mend.
    #[error("{adapter} failed: {cause}")]
    Backend {
        /// Which adapter.
        adapter: &'static str,
        /// Its own error.
        cause: BackendError,
    },
}

/// Where a user's jobs are announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub id: Id,
    /// E-mail address of the user it belongs to.
    pub owner: String,
    /// Where all of the user's jobs are announced. Without it, the secret signs what is sent to URLs that single jobs
    /// name.
    pub url: Option<String>,
    /// What is sent there is signed with it.
    pub secret: SigningSecret,
    /// When it was made, or its secret last was.
    pub created: Timestamp,
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryState {
    /// It is to be sent, for the first time or again.
    Pending,
    /// The endpoint has it.
    Delivered,
    /// It is not sent any more, unless its owner asks for it.
    Failed,
}

impl DeliveryState {
    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Failed => "failed",
        }
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a delivery is one of pending, delivered, failed")]
pub struct NotADeliveryState;

impl FromStr for DeliveryState {
    type Err = NotADeliveryState;

    fn from_str(text: &str) -> Result<Self, NotADeliveryState> {
        [Self::Pending, Self::Delivered, Self::Failed]
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or(NotADeliveryState)
    }
}

/// One announcement to one endpoint, without what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its name, by which the endpoint recognises what it is sent twice.
    pub id: Id,
    /// E-mail address of the user it belongs to.
    pub owner: String,
    /// The endpoint whose secret signs it.
    pub endpoint: Id,
    /// The job that it is about.
    pub job: Id,
    /// Where it is sent.
    pub url: String,
    /// What has happened, such as `job.done`.
    pub event: String,
    /// How far it has come.
    pub state: DeliveryState,
    /// How often it was sent since it was planned, or since its owner last asked for it.
    pub attempts: u32,
    /// When it is to be sent, while it is pending.
    pub due: Timestamp,
    /// What came of the last attempt, in words for its owner.
    pub answer: Option<String>,
    /// When it was planned.
    pub created: Timestamp,
    /// When anything about it last changed.
    pub updated: Timestamp,
}

/// A delivery with what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where, and how it went.
    pub delivery: Delivery,
    /// What is sent: the same bytes each time.
    pub payload: String,
}

/// Why nothing more is sent to an endpoint of which `most` deliveries are pending, in words for its owner.
pub fn too_many(most: usize) -> String {
    format!("{most} other deliveries to this webhook have not ended yet")
}

/// When something changes that last changed at `before`: now, but never at the same time.
pub fn later(now: Timestamp, before: Timestamp) -> Timestamp {
    now.max(before.plus(Duration::from_millis(1)))
}

/// The longest time until a delivery is due. One that is due later than twice that was put off by a clock that was
/// ahead, and is due now.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where users' jobs are announced. Every change is durable when its method returns.
#[async_trait]
pub trait Endpoints: Send + Sync {
    /// Adds an endpoint, and returns it as it is kept. A user has one without a URL: adding another gives that a new
    /// secret, and its id stays. [`Error::Rejected`] if another endpoint has the id.
    async fn add_endpoint(&self, endpoint: &Endpoint) -> Result<Endpoint, Error>;

    /// Looks up an endpoint.
    async fn endpoint(&self, id: Id) -> Result<Endpoint, Error>;

    /// All of a user's, oldest first.
    async fn endpoints(&self, owner: &str) -> Result<Vec<Endpoint>, Error>;

    /// Removes a user's endpoint with its deliveries; [`Error::NotFound`] if it is another's.
    async fn remove_endpoint(&self, owner: &str, id: Id) -> Result<(), Error>;

    /// Removes all that a user has: endpoints and deliveries.
    async fn remove_owner(&self, owner: &str) -> Result<(), Error>;
}

/// What is sent to endpoints. Every change is durable when its method returns.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Plans deliveries. One with an id that is known already stays as it is. Of an endpoint, `most` may be pending: one
    /// more is kept as failed, and [`too_many`] is its answer. As many that have ended are kept of it, the latest.
    async fn plan(&self, deliveries: &[Outgoing], most: usize) -> Result<(), Error>;

    /// Claims the pending delivery that has been due for longest, unless its owner is one of `except`. It counts as an
    /// attempt, and is due again after `term`: if the caller dies, somebody else claims it then. Of several who ask,
    /// one is given it.
    async fn claim_due(&self, except: &[String], term: Duration)
    -> Result<Option<Outgoing>, Error>;

    /// Records what came of a claimed delivery: state, time due and answer. Changes nothing if it was claimed or asked for
    /// again since, or removed: its `updated` tells, which rises with every change.
    async fn settle(&self, claimed: &Delivery) -> Result<(), Error>;

    /// Up to `limit` of a user's deliveries, newest first: those of one job, if it is given, and older than `before`. What
    /// is sent stays in the store.
    async fn deliveries(
        &self,
        owner: &str,
        job: Option<Id>,
        before: Option<Id>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error>;

    /// Makes a user's delivery due now, as if it had never been sent. [`Error::NotFound`] if it is another's;
    /// [`Error::Rejected`] if `most` others of its endpoint are pending.
    async fn resend(&self, owner: &str, id: Id, most: usize) -> Result<Delivery, Error>;

    /// Removes a user's deliveries about a job, in any state. None is fine.
    async fn remove_deliveries(&self, owner: &str, job: Id) -> Result<(), Error>;

    /// Forgets those that are not pending and have not changed since `before`.
    async fn forget_deliveries(&self, before: Timestamp) -> Result<(), Error>;
}

/// All of the webhooks, for those who need both sides. Implemented for everything that has them.
pub trait Webhooks: Endpoints + Deliveries {}

impl<W: Endpoints + Deliveries + ?Sized> Webhooks for W {}
