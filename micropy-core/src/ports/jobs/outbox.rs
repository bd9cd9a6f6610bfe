//! Messages that become durable together with a change of the ledger, until their queue has them.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::ports::Id;

/// The queues that messages about jobs go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Videos to be converted.
    Video,
    /// Videos behind URLs, to be converted. Original converters look for each video in the storage: they must not be given
    /// these.
    Import,
    /// MP3s whose owners are to be notified.
    Mp3,
    /// Failed jobs whose owners are to be notified.
    Failed,
}

impl Topic {
    /// All of them.
    pub const ALL: [Topic; 4] = [Topic::Video, Topic::Import, Topic::Mp3, Topic::Failed];

    /// Whether its messages request conversions.
    pub const fn requests_conversion(self) -> bool {
        matches!(self, Topic::Video | Topic::Import)
    }

    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Topic::Video => "video",
            Topic::Import => "import",
            Topic::Mp3 => "mp3",
            Topic::Failed => "failed",
        }
    }
}

/// One of something, such as a queue, for each topic.
#[derive(Clone, Copy, Debug)]
pub struct Topics<T> {
    /// The one for [`Topic::Video`].
    pub video: T,
    /// The one for [`Topic::Import`].
    pub import: T,
    /// The one for [`Topic::Mp3`].
    pub mp3: T,
    /// The one for [`Topic::Failed`].
    pub failed: T,
}

impl<T> Topics<T> {
    /// Makes one for each topic.
    pub fn each(mut make: impl FnMut(Topic) -> T) -> Self {
        Topics {
            video: make(Topic::Video),
            import: make(Topic::Import),
            mp3: make(Topic::Mp3),
            failed: make(Topic::Failed),
        }
    }

    /// The one for `topic`.
    pub fn of(&self, topic: Topic) -> &T {
        match topic {
            Topic::Video => &self.video,
            Topic::Import => &self.import,
            Topic::Mp3 => &self.mp3,
            Topic::Failed => &self.failed,
        }
    }
}

/// A message about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The queue it goes to.
    pub topic: Topic,
    /// Its content.
    pub payload: Vec<u8>,
}

/// How many jobs of one owner stand in line at a time: requested of a queue of conversions, and not begun yet.
///
/// The ledger holds back the messages of the owner's other jobs. As one in line is begun, cancelled or deleted, the
/// next is requested. So the queue is a line of owners: whoever has thousands of jobs delays another's single one by no
/// more than these, and the ones that are being worked on.
///
/// A job that was put off since a service was unavailable ([`Ended::Unavailable`](super::Ended::Unavailable)) stands in
/// line again, beside the one that was requested as it was begun. So an outage does not have all of an owner's jobs
/// begun and put off, to come back together.
pub const IN_LINE: u64 = 1;

/// How long a claimed message is left to whoever claimed it.
pub const CLAIM_TIME: Duration = Duration::from_secs(30);

/// A message that the ledger holds and no queue has yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Its name, for [`JobOutbox::sent`].
    pub id: Id,
    /// The message.
    pub message: Message,
}

/// What the ledger owes the queues: a transactional outbox.
///
/// Whoever changes a job is given its message to send. This trait is for a process that sends what others did not
/// live to send, and what has come to its turn. A ledger that shares its database with the queues never owes anything.
#[async_trait]
pub trait JobOutbox: Send + Sync {
    /// Claims up to `limit` messages that no queue has yet and nobody is sending, oldest first. They are the
    /// caller's to send: nobody else is given them for [`CLAIM_TIME`].
    async fn claim_owed(&self, limit: usize) -> Result<Vec<Owed>, Error>;

    /// Forgets these messages: their queues have them. Unknown ids are fine.
    async fn sent(&self, owed: &[Id]) -> Result<(), Error>;
}
