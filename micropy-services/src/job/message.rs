//! The messages on the queues, in the format of the original services.

use micropy_core::ports::Id;
use micropy_core::ports::jobs::{Job, Message, Topic};
use serde::{Deserialize, Serialize};

use crate::accounts::MailCode;
use crate::telemetry;

/// The body of a message on any queue. The converter fills in `mp3_fid`.
///
/// An original converter keeps the keys of a body that it does not know, but drops everything outside of the body. So
/// whatever must pass through it is part of the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    pub video_fid: String,
    pub mp3_fid: Option<String>,
    pub username: String,
    /// Absent in messages of the original gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// How often the owner had retried the job when it was requested.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// Why the job failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// A mail about the user's account, and about no job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<MailCode>,
    /// Keys that are not ours.
    #[serde(flatten)]
    pub others: serde_json::Map<String, serde_json::Value>,
}

impl Body {
    /// The body of a message about a job.
    pub fn of(job: &Job) -> Self {
        Body {
            video_fid: job.source.to_string(),
            mp3_fid: None,
            username: job.owner.clone(),
            job_id: Some(job.id.to_string()),
            file_name: Some(job.file_name.clone()),
            retries: job.retries,
            failure: None,
            account: None,
            others: serde_json::Map::new(),
        }
    }

    /// The message that asks for a mail about an account. Its queue is one that original notification services do not
    /// know.
    pub fn about_account(email: String, code: MailCode) -> Message {
        let body = Body {
            video_fid: String::new(),
            mp3_fid: None,
            username: email,
            job_id: None,
            file_name: None,
            retries: 0,
            failure: None,
            account: Some(code),
            others: serde_json::Map::new(),
        };
        body.message(Topic::Failed)
    }

    /// Reads a message's payload.
    pub fn parse(payload: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(payload)
    }

    /// The job, unless the message comes from an original gateway.
    pub fn job(&self) -> Option<Id> {
        self.job_id.as_ref()?.parse().ok()
    }

    /// The video in the storage.
    pub fn video(&self) -> Option<Id> {
        self.video_fid.parse().ok()
    }

    /// The MP3 in the storage.
    pub fn mp3(&self) -> Option<Id> {
        self.mp3_fid.as_ref()?.parse().ok()
    }

    /// The message that asks for the conversion of a job.
    pub fn conversion_request(job: &Job) -> Message {
        Self::of(job).message(job.request_topic())
    }

    /// The message that asks for a conversion once more, of a job that is about to be retried.
    pub fn another_request(job: &Job) -> Message {
        let mut body = Self::of(job);
        body.retries = body.retries.saturating_add(1);
        body.message(job.request_topic())
    }

    /// The message that announces the MP3.
    pub fn mp3_ready(mut self, mp3: Id) -> Message {
        self.mp3_fid = Some(mp3.to_string());
        self.message(Topic::Mp3)
    }

    /// The message that announces a failure. It goes to a queue of its own: an original notification service would
    /// announce an MP3 called `None`.
    pub fn conversion_failed(mut self, reason: &str) -> Message {
        self.failure = Some(reason.to_owned());
        self.message(Topic::Failed)
    }

    pub(super) fn message(mut self, topic: Topic) -> Message {
        telemetry::inject_into_message(&mut self.others);
        Message {
            topic,
            // Text and JSON values always serialise.
            payload: serde_json::to_vec(&self).unwrap_or_else(|e| unreachable!("{e}")),
        }
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(any(test, feature = "hostile"))]
pub mod hostile;
#[cfg(test)]
mod tests {
    use micropy_core::ports::Timestamp;

    use super::*;

    #[test]
    fn a_message_of_the_original_gateway_is_read_and_unknown_keys_are_kept() {
        let original = br#"{"video_fid": "0123456789abcdef01234567", "mp3_fid": null,
            "username": "ann@example.com", "traceparent": "00-x"}"#;
        let body = Body::parse(original).unwrap();
        assert_eq!((body.job(), &*body.username), (None, "ann@example.com"));
        let ready = body.mp3_ready("00112233445566778899aabb".parse().unwrap());
        let ready: serde_json::Value = serde_json::from_slice(&ready.payload).unwrap();
        assert_eq!(ready["mp3_fid"], "00112233445566778899aabb");
        assert_eq!(ready["traceparent"], "00-x");
        assert!(ready.get("job_id").is_none());
        assert!(ready.get("retries").is_none());
    }

    #[test]
    fn another_request_tells_itself_from_those_before() {
        let id = |byte| Id::from_bytes([byte; 12]);
        let job = Job::new(id(1), "ann@example.com", id(2), Timestamp::default());
        let job = Job { retries: 3, ..job };
        let retries = |message: Message| Body::parse(&message.payload).unwrap().retries;
        assert_eq!(retries(Body::conversion_request(&job)), 3);
        assert_eq!(retries(Body::another_request(&job)), 4);
    }
}
