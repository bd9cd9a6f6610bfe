//! What clients may ask for.

use std::time::Duration;

/// What a client may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one video.
    pub upload: u64,
    /// Videos in one request.
    pub files: usize,
    /// Bytes that one user may store.
    pub quota_bytes: u64,
    /// Jobs that one user may have.
    pub quota_jobs: u64,
    /// How long a resumable upload may pause before it is removed.
    pub upload_expiry: Duration,
    /// Failed logins per account and address in five minutes.
    pub login_attempts: u32,
    /// How long a client may take to send a request's headers.
    pub header_timeout: Duration,
    /// The longest pause within a request's body, or of a client that stops reading a response.
    pub body_timeout: Duration,
    /// Believe `X-Forwarded-For`: a proxy in front of the service says where clients are.
    pub trust_forwarded: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            upload: 8 << 30,
            files: 100,
            quota_bytes: 100 << 30,
            quota_jobs: 10_000,
            upload_expiry: Duration::from_secs(24 * 60 * 60),
            login_attempts: 10,
            header_timeout: Duration::from_secs(20),
            body_timeout: Duration::from_secs(30),
            trust_forwarded: false,
        }
    }
}
