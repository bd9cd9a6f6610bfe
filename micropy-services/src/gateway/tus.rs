//! Resumable uploads: tus 1.0 (<https://tus.io/protocols/resumable-upload>) with creation,
//! creation-with-upload, termination, expiration and checksum.
//!
//! An upload is a job in the state `receiving`. Its offset is the length of the unfinished video in the storage, so a
//! client resumes exactly where the stored bytes end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, stream};
use micropy_core::ports::jobs::{Job, State as JobState};
use micropy_core::ports::storage::{self, Upload, UploadError};
use micropy_core::ports::{Id, Timestamp};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::body::{Checks, JobId, Query, Rejection, UploadProblems, checked};
use super::problem::Problem;
use super::session::{OwnJob, Session};
use super::uploads::{clean_name, idempotency_key};
use super::view::system_time;
use super::{Gateway, Shared};
use crate::job::intake::{Submission, fingerprint};
use crate::job::options::{ConversionOptions, JoinedVideo, check_videos};

const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
const EXTENSIONS: &str = "creation,creation-with-upload,termination,expiration,checksum";
const CHECKSUMS: &str = "sha1,sha256";
const OFFSET_TYPE: &str = "application/offset+octet-stream";
/// Names in the metadata that are not options: the first is ours, the others are what tus clients send by themselves.
const FILE_METADATA: [&str; 9] = [
    "batch",
    "contenttype",
    "filename",
    "filetype",
    "lastmodified",
    "name",
    "relativepath",
    "size",
    "type",
];

/// The name in the metadata of the files that are to be joined.
const VIDEOS: &str = "videos";

const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const JOB_ID: HeaderName = HeaderName::from_static("x-micropy-job-id");

/// Get the version and extensions of tus that are supported.
#[utoipa::path(
    options, path = "/api/v1/tus", tag = "uploads", operation_id = "tus_options", security(()),
    responses((status = 204, description = "See the headers Tus-Version, Tus-Extension, Tus-Max-Size"))
)]
pub async fn options(State(gateway): State<Shared>) -> Response {
    let headers = [
        ("tus-resumable", "1.0.0".to_owned()),
        ("tus-version", "1.0.0".to_owned()),
        ("tus-extension", EXTENSIONS.to_owned()),
        ("tus-checksum-algorithm", CHECKSUMS.to_owned()),
        ("tus-max-size", gateway.limits.upload.to_string()),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Begin a resumable upload. `Upload-Metadata` may have `filename`, `batch` (24 hexadecimal digits that the files of
/// one selection share) and any of the conversion's options. What clients such as Uppy add by themselves is ignored;
/// any other name is an error.
///
/// Files that are to be joined are one upload: their bytes one behind another, with `join` (`true`) and `videos`, a JSON
/// array with the `name` and the `bytes` of each, in the metadata.
#[utoipa::path(
    post, path = "/api/v1/tus", tag = "uploads", operation_id = "tus_create",
    params(
        ConversionOptions,
        ("Tus-Resumable" = String, Header, description = "1.0.0", pattern = r"^1\.0\.0$"),
        ("Upload-Length" = u64, Header, description = "Bytes of the video"),
        ("Upload-Metadata" = Option<String>, Header, description = "Pairs of a name and base64"),
        ("Idempotency-Key" = Option<String>, Header, description = "Identifies a repeated request", min_length = 1, max_length = 200),
    ),
    responses(
        (status = 201, description = "Location is where to send the bytes",
            headers(("Location" = String), ("Upload-Offset" = u64), ("X-Micropy-Job-Id" = String))),
        (status = 400, body = Problem),
        (status = 409, description = "Another request continues it", body = Problem),
        (status = 410, description = "It was begun before, and cancelled", body = Problem),
        (status = 412, description = "Another version of tus", body = Problem),
        (status = 422, description = "The Idempotency-Key of another upload", body = Problem),
        UploadProblems,
        (status = 503, description = "Nothing was accepted; see Retry-After", body = Problem),
    )
)]
pub async fn create(
    State(gateway): State<Shared>,
    session: Session,
    _: Resumable,
    Query(options): Query<ConversionOptions>,
    request: Request,
) -> Result<Response, Problem> {
    gateway.check_confirmed(&session)?;
    gateway.check_stores().await?;
    let length = number(request.headers(), &UPLOAD_LENGTH)?;
    let metadata = Metadata::read(request.headers())?;
    let options = metadata.options(options)?;
    options.check_length(length).map_err(Problem::bad_request)?;
    gateway.check_join(&options)?;
    gateway.check_webhook(&session, &options).await?;
    let mut job = gateway.ports.draft(Submission {
        owner: session.email.clone(),
        key: idempotency_key(request.headers())?,
        batch: metadata.batch()?,
        file_name: metadata.file_name(),
        options: options.to_json(),
    });
    job.source_bytes = length;
    // The bytes are still to come.
    job.fingerprint = (job.key.as_ref()).map(|_| fingerprint(&job, &length.to_be_bytes()));
    let mut offset = 0;
    let beginning = gateway.ports.begin_upload(&job);
    let begun = gateway.admit(&session, &job, None, beginning).await?;
    if begun.id != job.id {
        job = not_cancelled(begun)?;
        offset = match gateway.settled_offset(&job).await {
            // It was there a moment ago. Clients give up where there is nothing.
            Err(e) if e.status() == StatusCode::NOT_FOUND => return Err(Problem::first_removed()),
            offset => offset?,
        };
    }
    let carries_bytes = content_type(request.headers()) == Some(OFFSET_TYPE);
    if job.state == JobState::Receiving && offset == 0 && (carries_bytes || length == 0) {
        offset = gateway.append(&session, &job, 0, request).await?;
    }
    let mut response = gateway.tus_response(StatusCode::CREATED, &job, offset);
    if let Ok(location) = gateway.url(format_args!("/api/v1/tus/{}", job.id)).parse() {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Get the offset of an upload. Interrupts a connection that still sends to it.
#[utoipa::path(
    head, path = "/api/v1/tus/{id}", tag = "uploads", operation_id = "tus_head",
    params(JobId, ("Tus-Resumable" = String, Header, description = "1.0.0", pattern = r"^1\.0\.0$")),
    responses(
        (status = 200, description = "Upload-Offset is its offset", headers(("Upload-Offset" = u64), ("Upload-Length" = u64))),
        (status = 404, description = "No such upload"),
        (status = 410, description = "It was cancelled"),
        (status = 412, description = "Another version of tus"),
    )
)]
pub async fn head(
    State(gateway): State<Shared>,
    OwnUpload(job): OwnUpload,
) -> Result<Response, Problem> {
    let offset = gateway.settled_offset(&job).await?;
    Ok(gateway.tus_response(StatusCode::OK, &job, offset))
}

/// Continue an upload. The job is queued when the last byte has arrived.
#[utoipa::path(
    patch, path = "/api/v1/tus/{id}", tag = "uploads", operation_id = "tus_patch",
    params(
        JobId,
        ("Tus-Resumable" = String, Header, description = "1.0.0", pattern = r"^1\.0\.0$"),
        ("Upload-Offset" = u64, Header, description = "Offset of the first of these bytes"),
        ("Upload-Checksum" = Option<String>, Header, description = "`sha1` or `sha256` and base64",
            pattern = "^(sha1 [A-Za-z0-9+/]{26}[AEIMQUYcgkosw048]=|sha256 [A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)$"),
    ),
    request_body(content_type = "application/offset+octet-stream"),
    responses(
        (status = 204, description = "Upload-Offset is the new offset", headers(("Upload-Offset" = u64))),
        (status = 400, body = Problem),
        (status = 404, body = Problem),
        (status = 408, description = "The client paused for too long", body = Problem),
        (status = 409, description = "The upload has another offset", body = Problem),
        (status = 410, description = "It was cancelled", body = Problem),
        (status = 412, description = "Another version of tus", body = Problem),
        (status = 413, description = "More bytes than Upload-Length", body = Problem),
        (status = 415, description = "Another content type; or not MP4, and then the upload is removed", body = Problem),
        (status = 429, description = "Too many uploads at the same time; see Retry-After", body = Problem),
        (status = 460, description = "Checksum mismatch", body = Problem),
        (status = 507, description = "The storage is full", body = Problem),
    )
)]
pub async fn patch(
    State(gateway): State<Shared>,
    session: Session,
    OwnUpload(job): OwnUpload,
    request: Request,
) -> Result<Response, Problem> {
    if content_type(request.headers()) != Some(OFFSET_TYPE) {
        let detail = format!("The content type is {OFFSET_TYPE}.");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let offset = number(request.headers(), &UPLOAD_OFFSET)?;
    gateway.check_stores().await?;
    let offset = gateway.append(&session, &job, offset, request).await?;
    Ok(gateway.tus_response(StatusCode::NO_CONTENT, &job, offset))
}

/// Remove an upload.
#[utoipa::path(
    delete, path = "/api/v1/tus/{id}", tag = "uploads", operation_id = "tus_delete",
    params(JobId, ("Tus-Resumable" = String, Header, description = "1.0.0", pattern = r"^1\.0\.0$")),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, body = Problem),
        (status = 409, description = "It is complete: delete the job", body = Problem),
        (status = 412, description = "Another version of tus", body = Problem),
    )
)]
pub async fn delete(
    State(gateway): State<Shared>,
    OwnJob(job): OwnJob,
    _: Resumable,
) -> Result<Response, Problem> {
    let _lock = gateway.writers.lock(job.id).await;
    // The previous writer may have completed it meanwhile.
    let job = gateway.ports.jobs.get(job.id).await?;
    if job.state != JobState::Receiving {
        return Err(Problem::conflict(
            "The upload is complete: delete the job instead.",
        ));
    }
    gateway.ports.remove(job.id).await?;
    Ok((StatusCode::NO_CONTENT, [(RESUMABLE, VERSION)]).into_response())
}

impl Gateway {
    /// The offset of an upload, once nobody writes to it any more. If a crash came between the last byte and the queue,
    /// the job is queued now.
    async fn settled_offset(&self, job: &Job) -> Result<u64, Problem> {
        let (_lock, job) = self.lock_upload(job.id).await?;
        let offset = self.offset(&job).await?;
        if job.state == JobState::Receiving && offset > 0 && offset == job.source_bytes {
            self.ports.complete_upload(&job).await?;
        }
        Ok(offset)
    }

    /// The right to write to an upload, and the upload as it is by then.
    async fn lock_upload(&self, id: Id) -> Result<(WriteLock, Job), Problem> {
        let lock = self.writers.lock(id).await;
        let job = not_cancelled(self.ports.jobs.get(id).await?)?;
        Ok((lock, job))
    }

    /// How many bytes of a job's video are stored.
    async fn offset(&self, job: &Job) -> Result<u64, Problem> {
        if job.state != JobState::Receiving {
            return Ok(job.source_bytes);
        }
        match self.ports.videos.unfinished(job.source).await {
            Ok(head) => Ok(head.bytes),
            // Not begun, or complete already.
            Err(storage::Error::NotFound) => match self.ports.videos.head(job.source).await {
                Ok(head) => Ok(head.bytes),
                Err(storage::Error::NotFound) => Ok(0),
                Err(e) => Err(e.into()),
            },
            Err(e) => Err(e.into()),
        }
    }

    /// Appends a request's bytes to an upload, and queues the job when it is complete. Returns the new offset.
    async fn append(
        &self,
        session: &Session,
        job: &Job,
        offset: u64,
        request: Request,
    ) -> Result<u64, Problem> {
        let _slot = self.uploads.take(&session.email)?;
        let watched = self.watch(session);
        let checksum = Checksum::read(request.headers())?;
        let (lock, job) = self.lock_upload(job.id).await?;
        let present = self.offset(&job).await?;
        if job.state != JobState::Receiving || offset != present {
            return Err(Problem::conflict(format!(
                "The offset of the upload is {present}."
            )));
        }
        let left = job.source_bytes - offset.min(job.source_bytes);
        let checks = Checks {
            limit: left,
            too_large: Rejection::TooLarge(job.source_bytes),
            pause: self.limits.body_timeout,
            sniff: offset == 0,
            superseded: lock.superseded.clone(),
            session_ended: watched.ended.clone(),
        };
        let bytes = checked(request.into_body().into_data_stream(), checks);
        let bytes = match checksum {
            Some(checksum) => checksum.verified(bytes),
            None => bytes,
        };
        let offset = match self.ports.videos.append(job.source, offset, bytes).await {
            Err(storage::Error::Interrupted(e)) if Rejection::of(&e) == Some(Rejection::NotMp4) => {
                // There is nothing to resume.
                self.ports.remove(job.id).await?;
                return Err(Rejection::NotMp4.into());
            }
            appended => appended?,
        };
        self.metrics.uploaded(offset - present);
        if offset == job.source_bytes {
            self.ports.complete_upload(&job).await?;
            tracing::info!(job_id = %job.id, bytes = offset, "video received");
        }
        Ok(offset)
    }

    fn tus_response(&self, status: StatusCode, job: &Job, offset: u64) -> Response {
        let expires = self.ports.clock.now().plus(self.limits.upload_expiry);
        let headers = [
            (RESUMABLE, VERSION),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (UPLOAD_OFFSET, offset.into()),
            (UPLOAD_LENGTH, job.source_bytes.into()),
        ];
        let mut response = (status, headers).into_response();
        if let Ok(id) = job.id.to_string().parse() {
            response.headers_mut().insert(JOB_ID, id);
        }
        if offset < job.source_bytes
            && let Ok(date) = http_date(expires).parse()
        {
            response.headers_mut().insert(UPLOAD_EXPIRES, date);
        }
        response
    }
}

fn not_cancelled(job: Job) -> Result<Job, Problem> {
    match job.state {
        JobState::Cancelled => Err(Problem::new(StatusCode::GONE, "The upload was cancelled.")),
        _ => Ok(job),
    }
}

/// RFC 9110, section 5.6.7.
fn http_date(time: Timestamp) -> String {
    httpdate::fmt_http_date(system_time(time))
}

/// A request that names our version of tus.
pub struct Resumable;

impl FromRequestParts<Shared> for Resumable {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        match parts.headers.get(RESUMABLE) == Some(&VERSION) {
            true => Ok(Resumable),
            false => Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "This is tus 1.0.0.",
            )),
        }
    }
}

/// A job of the user that is, or was, a resumable upload and is not cancelled.
pub struct OwnUpload(Job);

impl FromRequestParts<Shared> for OwnUpload {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Problem> {
        let OwnJob(job) = OwnJob::from_request_parts(parts, gateway).await?;
        Resumable::from_request_parts(parts, gateway).await?;
        not_cancelled(job).map(OwnUpload)
    }
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Problem> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    let number = value.and_then(|value| value.parse().ok());
    number.ok_or_else(|| Problem::bad_request(format!("{name} is a number of bytes.")))
}

/// The `Upload-Metadata` of a file.
#[derive(Debug, Default)]
struct Metadata(HashMap<String, String>);

impl Metadata {
    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let wrong = || Problem::bad_request("Upload-Metadata is pairs of a name and base64.");
        let Some(header) = headers.get(UPLOAD_METADATA) else {
            return Ok(Metadata::default());
        };
        let header = header.to_str().map_err(|_| wrong())?;
        let mut pairs = HashMap::new();
        for pair in header
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let value = STANDARD.decode(value.trim()).map_err(|_| wrong())?;
            let value = String::from_utf8_lossy(&value).into_owned();
            pairs.insert(name.to_ascii_lowercase(), value);
        }
        Ok(Metadata(pairs))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn file_name(&self) -> String {
        let name = self.get("filename").or_else(|| self.get("name"));
        clean_name(name.unwrap_or("video"))
    }

    fn batch(&self) -> Result<Option<Id>, Problem> {
        let batch = self.get("batch").map(str::parse).transpose();
        batch.map_err(|_| Problem::bad_request("batch is 24 hexadecimal digits."))
    }

    /// The options of the query, overridden by those of the metadata.
    fn options(&self, query: ConversionOptions) -> Result<ConversionOptions, Problem> {
        let mut options = query;
        for (name, value) in &self.0 {
            if name == VIDEOS {
                options.videos = Some(videos(value).map_err(Problem::bad_request)?);
            } else if !FILE_METADATA.contains(&name.as_str()) {
                options = options.with(name, value).map_err(Problem::bad_request)?;
            }
        }
        options.engine_options().map_err(Problem::bad_request)?;
        Ok(options)
    }
}

/// The files of an upload that are to be joined. They are more than the value of an option may have.
fn videos(json: &str) -> Result<Vec<JoinedVideo>, String> {
    let videos: Vec<JoinedVideo> =
        serde_json::from_str(json).map_err(|e| format!("{VIDEOS}: {e}"))?;
    check_videos(&videos)?;
    let cleaned = videos.into_iter().map(|video| JoinedVideo {
        name: clean_name(&video.name),
        ..video
    });
    Ok(cleaned.collect())
}

/// The checksum of the bytes of one request.
enum Checksum {
    Sha1(Vec<u8>),
    Sha256(Vec<u8>),
}

impl Checksum {
    fn read(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(header) = headers.get(UPLOAD_CHECKSUM) else {
            return Ok(None);
        };
        let header = header
            .to_str()
            .ok()
            .and_then(|header| header.split_once(' '));
        let wrong = || Problem::bad_request(format!("Upload-Checksum is {CHECKSUMS} and base64."));
        let (algorithm, sum) = header.ok_or_else(wrong)?;
        let sum = STANDARD.decode(sum.trim()).map_err(|_| wrong())?;
        match algorithm {
            "sha1" => Ok(Some(Checksum::Sha1(sum))),
            "sha256" => Ok(Some(Checksum::Sha256(sum))),
            _ => Err(wrong()),
        }
    }

    fn verified(self, bytes: Upload) -> Upload {
        match self {
            Checksum::Sha1(sum) => verified::<Sha1>(bytes, sum),
            Checksum::Sha256(sum) => verified::<Sha256>(bytes, sum),
        }
    }
}

/// `bytes`, ending with an error where their checksum is not `sum`, or where they break off: a checksum of a part tells
/// nothing.
fn verified<D: Digest + Send + 'static>(bytes: Upload, sum: Vec<u8>) -> Upload {
    let state = Some((bytes, D::new(), sum));
    Box::pin(stream::unfold(state, |state| async move {
        let (mut bytes, mut hasher, sum) = state?;
        match bytes.next().await {
            Some(Ok(piece)) => {
                hasher.update(&piece);
                Some((Ok(piece), Some((bytes, hasher, sum))))
            }
            Some(Err(e)) => Some((Err(invalid(e)), None)),
            None if hasher.finalize().as_slice() == sum => None,
            None => Some((Err(Rejection::Checksum.into()), None)),
        }
    }))
}

/// The same error, but so that a storage drops the bytes before it.
fn invalid(e: UploadError) -> UploadError {
    match e {
        UploadError::Broken(reason) | UploadError::Refused(reason) => UploadError::Refused(reason),
    }
}

/// The writers of uploads. A new writer supersedes the one before: a client that returns knows better than a connection
/// that has not noticed yet that it is dead.
#[derive(Default)]
pub struct Writers(Mutex<HashMap<Id, Writer>>);

struct Writer {
    lock: Arc<tokio::sync::Mutex<()>>,
    superseded: CancellationToken,
}

/// The right to write to an upload, until another writer comes.
pub struct WriteLock {
    pub superseded: CancellationToken,
    _lock: OwnedMutexGuard<()>,
}

impl Writers {
    /// Supersedes the writer of `id`, and waits until it has stopped.
    pub async fn lock(&self, id: Id) -> WriteLock {
        let superseded = CancellationToken::new();
        let lock = {
            let mut writers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            writers.retain(|other, writer| *other == id || Arc::strong_count(&writer.lock) > 1);
            let writer = writers.entry(id).or_insert_with(|| Writer {
                lock: Arc::default(),
                superseded: superseded.clone(),
            });
            let before = std::mem::replace(&mut writer.superseded, superseded.clone());
            if Arc::strong_count(&writer.lock) > 1 {
                before.cancel();
            }
            writer.lock.clone()
        };
        WriteLock {
            superseded,
            _lock: lock.lock_owned().await,
        }
    }

    /// Supersedes the writer of `id`, if there is one.
    pub async fn interrupt(&self, id: Id) {
        drop(self.lock(id).await);
    }
}

#[cfg(any(test, feature = "hostile"))]
pub mod hostile;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_names_the_file_and_options() {
        let mut headers = HeaderMap::new();
        let value = format!(
            "filename {},bitrate {},mono {},relativePath",
            STANDARD.encode("K\u{fc}che.mp4"),
            STANDARD.encode("128"),
            STANDARD.encode("true"),
        );
        headers.insert(UPLOAD_METADATA, value.parse().unwrap());
        let metadata = Metadata::read(&headers).unwrap();
        assert_eq!(metadata.get("filename"), Some("K\u{fc}che.mp4"));
        let options = metadata.options(ConversionOptions::default()).unwrap();
        assert_eq!((options.bitrate, options.mono), (Some(128), Some(true)));
        let both = ConversionOptions {
            vbr: Some(2.0),
            ..ConversionOptions::default()
        };
        assert!(metadata.options(both).is_err(), "two bitrates");
        for (bad, why) in [("bitrat MQ==", "`bitrat`"), ("is_private", "`is_private`")] {
            headers.insert(UPLOAD_METADATA, bad.parse().unwrap());
            let metadata = Metadata::read(&headers).unwrap();
            let problem = metadata.options(ConversionOptions::default()).unwrap_err();
            assert!(problem.detail.unwrap().contains(why), "{bad}");
        }
        headers.insert(UPLOAD_METADATA, "batch eA==".parse().unwrap());
        assert!(Metadata::read(&headers).unwrap().batch().is_err());
        headers.insert(UPLOAD_METADATA, "filename ???".parse().unwrap());
        assert!(Metadata::read(&headers).is_err());
    }

    #[tokio::test]
    async fn a_new_writer_supersedes_the_previous_one() {
        let writers = Arc::new(Writers::default());
        let id = Id::from_bytes([1; 12]);
        let first = writers.lock(id).await;
        assert!(!first.superseded.is_cancelled());
        let superseded = first.superseded.clone();
        let again = writers.clone();
        let second = tokio::spawn(async move { again.lock(id).await });
        superseded.cancelled().await;
        assert!(!second.is_finished(), "the second waits for the first");
        drop(first);
        let second = second.await.unwrap();
        assert!(!second.superseded.is_cancelled());
        drop(second);
        drop(writers.lock(Id::from_bytes([2; 12])).await);
        assert_eq!(
            writers.0.lock().unwrap().len(),
            1,
            "writers that are done are forgotten"
        );
    }
}
