//! What users and clients may do.

use std::time::Duration;

/// How long a resumable upload may pause, unless [`Limits`] say otherwise.
pub(crate) const UPLOAD_EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);

/// What users and clients may do.
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
    /// How long a resumable upload may pause before the sweeper removes it.
    pub upload_expiry: Duration,
    /// The longest pause within the body of an upload.
    pub body_timeout: Duration,
}

impl Default for Limits {
    /// 8 GiB for a video, 100 videos in a request, 100 GiB and 10,000 jobs for a user; a resumable upload may pause for
    /// a day, and the body of a request for 30 seconds.
    fn default() -> Self {
        Limits {
            upload: 8 << 30,
            files: 100,
            quota_bytes: 100 << 30,
            quota_jobs: 10_000,
            upload_expiry: UPLOAD_EXPIRY,
            body_timeout: Duration::from_secs(30),
        }
    }
}
