//! What the services tell each other through the queues, in the form of the original services.

use micropy_core::ports::Id;
use micropy_core::ports::jobs::{Job, Message, Topic};
use serde::{Deserialize, Serialize};

use crate::telemetry;

/// The body of a message on every queue: `mp3_fid` is filled on the way from `video` to `mp3`.
///
/// A Python converter keeps keys it does not know and drops everything outside of the body, so what must
/// survive it stands here.
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
    /// Why there is no MP3 and will be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Keys that are not ours.
    #[serde(flatten)]
    pub others: serde_json::Map<String, serde_json::Value>,
}

impl Body {
    /// What is told about a job.
    pub fn of(job: &Job) -> Self {
        Body {
            video_fid: job.source.to_string(),
            mp3_fid: None,
            username: job.owner.clone(),
            job_id: Some(job.id.to_string()),
            file_name: Some(job.file_name.clone()),
            failure: None,
            others: serde_json::Map::new(),
        }
    }

    pub fn parse(payload: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(payload)
    }

    /// The job it is about, if it is about one.
    pub fn job(&self) -> Option<Id> {
        self.job_id.as_ref()?.parse().ok()
    }

    /// The video it is about.
    pub fn video(&self) -> Option<Id> {
        self.video_fid.parse().ok()
    }

    /// The MP3 that was made of it.
    pub fn mp3(&self) -> Option<Id> {
        self.mp3_fid.as_ref()?.parse().ok()
    }

    /// The message that asks for a conversion.
    pub fn asking(self) -> Message {
        self.message(Topic::Video)
    }

    /// The message that says that the MP3 is there.
    pub fn telling(mut self, mp3: Id) -> Message {
        self.mp3_fid = Some(mp3.to_string());
        self.message(Topic::Mp3)
    }

    /// The message that says that there will be no MP3. It goes to a queue of its own: an original
    /// notification service would tell that an MP3 called `None` is ready.
    pub fn telling_failure(mut self, reason: &str) -> Message {
        self.failure = Some(reason.to_owned());
        self.message(Topic::Failed)
    }

    fn message(mut self, topic: Topic) -> Message {
        telemetry::name_message(&mut self.others);
        Message {
            topic,
            // Text and JSON values always serialise.
            payload: serde_json::to_vec(&self).unwrap_or_else(|e| unreachable!("{e}")),
        }
    }
}

#[cfg(any(test, feature = "hostile"))]
pub mod hostile;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_the_original_gateway_is_understood_and_unknown_keys_are_kept() {
        let original = br#"{"video_fid": "0123456789abcdef01234567", "mp3_fid": null,
            "username": "ann@example.com", "traceparent": "00-x"}"#;
        let body = Body::parse(original).unwrap();
        assert_eq!((body.job(), &*body.username), (None, "ann@example.com"));
        let told = body.telling("00112233445566778899aabb".parse().unwrap());
        let told: serde_json::Value = serde_json::from_slice(&told.payload).unwrap();
        assert_eq!(told["mp3_fid"], "00112233445566778899aabb");
        assert_eq!(told["traceparent"], "00-x");
        assert!(told.get("job_id").is_none());
    }
}
