//! Resumable uploads: tus 1.0 (<https://tus.io/protocols/resumable-upload>) with creation,
//! creation-with-upload, termination, expiration and checksum.
//!
//! An upload is a job in the state `receiving`; its offset is the length of its unfinished video in the
//! storage, so what a client is told is what is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, stream};
use micropy_core::ports::jobs::{Created, Job, State as JobState};
use micropy_core::ports::storage::{self, Upload, UploadError};
use micropy_core::ports::{Id, Timestamp};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::body::{JobId, Path, Query, Refusal, Watch, watched};
use super::problem::Problem;
use super::session::Session;
use super::uploads::{clean_name, idempotency_key};
use super::view::system_time;
use super::{Gateway, Shared};
use crate::job::intake;
use crate::job::options::Conversion;

const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
const EXTENSIONS: &str = "creation,creation-with-upload,termination,expiration,checksum";
const CHECKSUMS: &str = "sha1,sha256";
const OFFSET_TYPE: &str = "application/offset+octet-stream";
/// What clients say in the metadata that is no option: the first is ours, the others are what tus clients
/// tell of a file by themselves.
const OF_THE_FILE: [&str; 9] = [
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

const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const JOB_ID: HeaderName = HeaderName::from_static("x-micropy-job-id");

/// What the server can do.
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

/// Begin an upload. `Upload-Metadata` may have `filename`, `batch` (24 hexadecimal digits that the files
/// of one selection share) and any of the conversion's options; what clients such as Uppy tell of a file
/// besides is passed over, and any other name refused.
#[utoipa::path(
    post, path = "/api/v1/tus", tag = "uploads", operation_id = "tus_create",
    params(
        Conversion,
        ("Tus-Resumable" = String, Header, description = "1.0.0", pattern = r"^1\.0\.0$"),
        ("Upload-Length" = u64, Header, description = "Bytes of the video"),
        ("Upload-Metadata" = Option<String>, Header, description = "Pairs of a name and base64"),
        ("Idempotency-Key" = Option<String>, Header, description = "Tells a repeated request", min_length = 1, max_length = 200),
    ),
    responses(
        (status = 201, description = "Location says where to send the bytes",
            headers(("Location" = String), ("Upload-Offset" = u64), ("X-Micropy-Job-Id" = String))),
        (status = 400, body = Problem),
        (status = 403, description = "The quota is exceeded", body = Problem),
        (status = 408, description = "Nothing arrived for too long", body = Problem),
        (status = 409, description = "Another request goes on with it", body = Problem),
        (status = 410, description = "It was begun before, and called off", body = Problem),
        (status = 412, description = "Another version of tus", body = Problem),
        (status = 413, description = "Too large", body = Problem),
        (status = 415, description = "Not MP4", body = Problem),
        (status = 422, description = "The Idempotency-Key of another upload", body = Problem),
        (status = 507, description = "No room left", body = Problem),
    )
)]
pub async fn create(
    State(gateway): State<Shared>,
    session: Session,
    Query(conversion): Query<Conversion>,
    request: Request,
) -> Result<Response, Problem> {
    check_version(request.headers())?;
    let length = number(request.headers(), &UPLOAD_LENGTH)?;
    let metadata = Metadata::read(request.headers())?;
    let conversion = metadata.conversion(conversion)?;
    let mut job = gateway.ports.draft(intake::Request {
        owner: session.email.clone(),
        key: idempotency_key(request.headers())?,
        batch: metadata.batch()?,
        file_name: metadata.file_name(),
        options: conversion.to_json(),
    });
    job.source_bytes = length;
    let mut offset = 0;
    let turn = gateway.entering.turn(&session.email).await;
    gateway.admit(&session, length).await?;
    let created = gateway.ports.jobs.create(&job, None).await?;
    drop(turn);
    if let Created::Existing(first) = created {
        if first.source_bytes != length {
            let detail = "This Idempotency-Key is that of another upload.";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
        job = not_called_off(*first)?;
        offset = gateway.offset_now(&job).await?;
    }
    let carries_bytes = content_type(request.headers()) == Some(OFFSET_TYPE);
    if job.state == JobState::Receiving && offset == 0 && (carries_bytes || length == 0) {
        offset = gateway.append(&job, 0, request).await?;
    }
    let mut response = gateway.answer(StatusCode::CREATED, &job, offset);
    if let Ok(location) = format!("/api/v1/tus/{}", job.id).parse() {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// How far an upload has come. A connection that still sends to it is cut off.
#[utoipa::path(
    head, path = "/api/v1/tus/{id}", tag = "uploads", operation_id = "tus_head",
    params(JobId, ("Tus-Resumable" = String, Header, description = "1.0.0", pattern = r"^1\.0\.0$")),
    responses(
        (status = 200, description = "Upload-Offset says how far", headers(("Upload-Offset" = u64), ("Upload-Length" = u64))),
        (status = 404, description = "No such upload"),
        (status = 410, description = "It was called off"),
        (status = 412, description = "Another version of tus"),
    )
)]
pub async fn head(
    State(gateway): State<Shared>,
    session: Session,
    Path(JobId { id }): Path<JobId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    let job = gateway.own_upload(&session, &id).await?;
    let offset = gateway.offset_now(&job).await?;
    Ok(gateway.answer(StatusCode::OK, &job, offset))
}

/// Go on with an upload. When the last byte is there, its job is queued.
#[utoipa::path(
    patch, path = "/api/v1/tus/{id}", tag = "uploads", operation_id = "tus_patch",
    params(
        JobId,
        ("Tus-Resumable" = String, Header, description = "1.0.0", pattern = r"^1\.0\.0$"),
        ("Upload-Offset" = u64, Header, description = "Where these bytes begin"),
        ("Upload-Checksum" = Option<String>, Header, description = "`sha1` or `sha256` and base64",
            pattern = "^(sha1 [A-Za-z0-9+/]{26}[AEIMQUYcgkosw048]=|sha256 [A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)$"),
    ),
    request_body(content_type = "application/offset+octet-stream"),
    responses(
        (status = 204, description = "Upload-Offset says how far", headers(("Upload-Offset" = u64))),
        (status = 400, body = Problem),
        (status = 404, body = Problem),
        (status = 408, description = "Nothing arrived for too long", body = Problem),
        (status = 409, description = "The upload stands at another offset", body = Problem),
        (status = 410, description = "It was called off", body = Problem),
        (status = 412, description = "Another version of tus", body = Problem),
        (status = 413, description = "More bytes than the upload has", body = Problem),
        (status = 415, description = "Another content type, or not MP4: then the upload is gone", body = Problem),
        (status = 460, description = "Checksum mismatch", body = Problem),
        (status = 507, description = "No room left", body = Problem),
    )
)]
pub async fn patch(
    State(gateway): State<Shared>,
    session: Session,
    Path(JobId { id }): Path<JobId>,
    request: Request,
) -> Result<Response, Problem> {
    check_version(request.headers())?;
    if content_type(request.headers()) != Some(OFFSET_TYPE) {
        let detail = format!("The content type is {OFFSET_TYPE}.");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let offset = number(request.headers(), &UPLOAD_OFFSET)?;
    let job = gateway.own_upload(&session, &id).await?;
    let offset = gateway.append(&job, offset, request).await?;
    Ok(gateway.answer(StatusCode::NO_CONTENT, &job, offset))
}

/// Give an upload up.
#[utoipa::path(
    delete, path = "/api/v1/tus/{id}", tag = "uploads", operation_id = "tus_delete",
    params(JobId, ("Tus-Resumable" = String, Header, description = "1.0.0", pattern = r"^1\.0\.0$")),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, body = Problem),
        (status = 409, description = "It is complete: delete the job", body = Problem),
        (status = 412, description = "Another version of tus", body = Problem),
    )
)]
pub async fn delete(
    State(gateway): State<Shared>,
    session: Session,
    Path(JobId { id }): Path<JobId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    let job = gateway.own_job(&session, &id).await?;
    let _turn = gateway.writers.take(job.id).await;
    // Whoever wrote to it may have completed it meanwhile.
    let job = gateway.ports.jobs.get(job.id).await?;
    if job.state != JobState::Receiving {
        return Err(Problem::conflict(
            "The upload is complete: delete the job instead.",
        ));
    }
    gateway.ports.discard(job.id).await?;
    Ok((StatusCode::NO_CONTENT, [(RESUMABLE, VERSION)]).into_response())
}

impl Gateway {
    /// A job that is, or was, an upload in parts: not one that was called off.
    async fn own_upload(&self, session: &Session, id: &str) -> Result<Job, Problem> {
        not_called_off(self.own_job(session, id).await?)
    }

    /// How many bytes of a job's video are there when nobody writes to it any more. Where a crash came
    /// between the last byte and the queue, it is queued now.
    async fn offset_now(&self, job: &Job) -> Result<u64, Problem> {
        let (_turn, job) = self.turn(job.id).await?;
        let offset = self.offset(&job).await?;
        if job.state == JobState::Receiving && offset > 0 && offset == job.source_bytes {
            self.ports.complete(&job).await?;
        }
        Ok(offset)
    }

    /// The turn to write to an upload, and the upload as it is by then.
    async fn turn(&self, id: Id) -> Result<(Turn, Job), Problem> {
        let turn = self.writers.take(id).await;
        let job = not_called_off(self.ports.jobs.get(id).await?)?;
        Ok((turn, job))
    }

    /// How many bytes of a job's video are there.
    async fn offset(&self, job: &Job) -> Result<u64, Problem> {
        if job.state != JobState::Receiving {
            return Ok(job.source_bytes);
        }
        match self.ports.videos.unfinished(job.source).await {
            Ok(head) => Ok(head.bytes),
            // Not begun, or whole already.
            Err(storage::Error::NotFound) => match self.ports.videos.head(job.source).await {
                Ok(head) => Ok(head.bytes),
                Err(storage::Error::NotFound) => Ok(0),
                Err(e) => Err(e.into()),
            },
            Err(e) => Err(e.into()),
        }
    }

    /// Writes a request's bytes to an upload, and queues its job when it is complete. Returns how far it
    /// is then.
    async fn append(&self, job: &Job, offset: u64, request: Request) -> Result<u64, Problem> {
        let checksum = Checksum::read(request.headers())?;
        let (turn, job) = self.turn(job.id).await?;
        let present = self.offset(&job).await?;
        if job.state != JobState::Receiving || offset != present {
            return Err(Problem::conflict(format!(
                "The upload stands at byte {present}."
            )));
        }
        let left = job.source_bytes - offset.min(job.source_bytes);
        let watch = Watch {
            limit: left,
            beyond: Refusal::TooLarge(job.source_bytes),
            pause: self.limits.body_timeout,
            sniff: offset == 0,
            cancel: turn.superseded.clone(),
        };
        let bytes = watched(request.into_body().into_data_stream(), watch);
        let bytes = match checksum {
            Some(checksum) => checksum.verified(bytes),
            None => bytes,
        };
        let offset = match self.ports.videos.append(job.source, offset, bytes).await {
            Err(storage::Error::Interrupted(e)) if Refusal::of(&e) == Some(Refusal::NotMp4) => {
                // No part of it is worth going on with.
                self.ports.discard(job.id).await?;
                return Err(Refusal::NotMp4.into());
            }
            appended => appended?,
        };
        self.metrics.uploaded(offset - present);
        if offset == job.source_bytes {
            self.ports.complete(&job).await?;
            tracing::info!(job_id = %job.id, bytes = offset, "video taken in");
        }
        Ok(offset)
    }

    fn answer(&self, status: StatusCode, job: &Job, offset: u64) -> Response {
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

fn not_called_off(job: Job) -> Result<Job, Problem> {
    match job.state {
        JobState::Cancelled => Err(Problem::new(StatusCode::GONE, "The upload was called off.")),
        _ => Ok(job),
    }
}

/// RFC 9110, section 5.6.7.
fn http_date(time: Timestamp) -> String {
    httpdate::fmt_http_date(system_time(time))
}

fn check_version(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.get(RESUMABLE) == Some(&VERSION) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "This is tus 1.0.0.",
    ))
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Problem> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    let number = value.and_then(|value| value.parse().ok());
    number.ok_or_else(|| Problem::bad_request(format!("{name} is a number of bytes.")))
}

/// What a client says about its file.
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

    /// The options of the query, and over them those of the metadata.
    fn conversion(&self, query: Conversion) -> Result<Conversion, Problem> {
        let mut conversion = query;
        for (name, value) in &self.0 {
            if !OF_THE_FILE.contains(&name.as_str()) {
                conversion = conversion.with(name, value).map_err(Problem::bad_request)?;
            }
        }
        conversion.options().map_err(Problem::bad_request)?;
        Ok(conversion)
    }
}

/// What the bytes of one request must hash to.
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

/// `bytes`, which end with an error where they do not hash to `sum`, or break off: a sum over a part says
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
            Some(Err(e)) => Some((Err(taken_back(e)), None)),
            None if hasher.finalize().as_slice() == sum => None,
            None => Some((Err(Refusal::Checksum.into()), None)),
        }
    }))
}

/// The same error, but so that a storage takes the bytes before it back.
fn taken_back(e: UploadError) -> UploadError {
    match e {
        UploadError::Broken(reason) | UploadError::Refused(reason) => UploadError::Refused(reason),
    }
}

/// Who writes to which upload. A newcomer supersedes the one before: a client that comes back knows
/// better than a connection that has not yet noticed that it is dead.
#[derive(Default)]
pub struct Writers(Mutex<HashMap<Id, Writer>>);

struct Writer {
    lock: Arc<tokio::sync::Mutex<()>>,
    superseded: CancellationToken,
}

/// The right to write to an upload, until somebody else comes.
pub struct Turn {
    pub superseded: CancellationToken,
    _lock: OwnedMutexGuard<()>,
}

impl Writers {
    /// Supersedes whoever writes to `id`, and waits until they have stopped.
    pub async fn take(&self, id: Id) -> Turn {
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
        Turn {
            superseded,
            _lock: lock.lock_owned().await,
        }
    }

    /// Supersedes whoever writes to `id`.
    pub async fn stop(&self, id: Id) {
        drop(self.take(id).await);
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
        let conversion = metadata.conversion(Conversion::default()).unwrap();
        assert_eq!(
            (conversion.bitrate, conversion.mono),
            (Some(128), Some(true))
        );
        let both = Conversion {
            vbr: Some(2.0),
            ..Conversion::default()
        };
        assert!(metadata.conversion(both).is_err(), "two bitrates");
        for (bad, why) in [("bitrat MQ==", "`bitrat`"), ("is_private", "`is_private`")] {
            headers.insert(UPLOAD_METADATA, bad.parse().unwrap());
            let metadata = Metadata::read(&headers).unwrap();
            let problem = metadata.conversion(Conversion::default()).unwrap_err();
            assert!(problem.detail.unwrap().contains(why), "{bad}");
        }
        headers.insert(UPLOAD_METADATA, "batch eA==".parse().unwrap());
        assert!(Metadata::read(&headers).unwrap().batch().is_err());
        headers.insert(UPLOAD_METADATA, "filename ???".parse().unwrap());
        assert!(Metadata::read(&headers).is_err());
    }

    #[tokio::test]
    async fn a_newcomer_supersedes_the_writer_before() {
        let writers = Arc::new(Writers::default());
        let id = Id::from_bytes([1; 12]);
        let first = writers.take(id).await;
        assert!(!first.superseded.is_cancelled());
        let superseded = first.superseded.clone();
        let again = writers.clone();
        let second = tokio::spawn(async move { again.take(id).await });
        superseded.cancelled().await;
        assert!(!second.is_finished(), "the second waits for the first");
        drop(first);
        let second = second.await.unwrap();
        assert!(!second.superseded.is_cancelled());
        drop(second);
        drop(writers.take(Id::from_bytes([2; 12])).await);
        assert_eq!(
            writers.0.lock().unwrap().len(),
            1,
            "those who are done are forgotten"
        );
    }
}
