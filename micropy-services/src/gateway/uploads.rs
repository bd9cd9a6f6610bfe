//! Uploads in one request: a form with any number of files, each of which becomes a job.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use micropy_core::ports::Id;
use micropy_core::ports::jobs::{self, Filter, Job};
use multer::{Field, Multipart};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::body::{
    Buffered, Checks, EndlessHeader, Query, Rejection, UploadProblems, checked, paced,
};
use super::problem::Problem;
use super::session::Session;
use super::slots::{Slot, Slots, share};
use super::view::JobView;
use super::{Gateway, Shared};
use crate::http::hold_text;
use crate::job::intake::{Submission, repeated, to_the_end};
use crate::job::options::{ConversionOptions, MAX_VALUE};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Uploads of one user at the same time, in forms and in parts.
const PER_USER: usize = 64;
const MAX_KEY: usize = 200;
const MAX_FILE_NAME: usize = 255;

/// Slots for uploads.
pub fn slots(connections: usize) -> Slots {
    Slots::new("uploads", usize::MAX, share(connections, PER_USER))
}

/// The result of one request.
#[derive(Serialize, ToSchema)]
pub struct Uploaded {
    /// The batch of the jobs, for the archive.
    pub batch: String,
    /// In the order of the files.
    pub files: Vec<UploadedFile>,
}

impl Uploaded {
    /// Itself in JSON, which holds the slot of the upload until nearly all of it is sent: the jobs of a request that is
    /// repeated may have long reports.
    pub fn response(&self, slot: Slot) -> impl IntoResponse + use<> {
        // Plain structs always serialise.
        let text = serde_json::to_string(self).unwrap_or_else(|e| unreachable!("{e}"));
        let json = [(CONTENT_TYPE, "application/json")];
        (json, hold_text(text, slot))
    }
}

/// The result for one file: a job or a problem.
#[derive(Serialize, ToSchema)]
pub struct UploadedFile {
    pub file_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Upload videos to be converted.
///
/// A job in the response is durable: no crash loses it. With `join`, the files become one job: what is in your storage
/// is all of them, and if one is refused, all are. With an `Idempotency-Key`, a repeated request gets the jobs of
/// the first one; a file that the first one did not get through is added. Another request with the same key is refused.
#[utoipa::path(
    post, path = "/api/v1/uploads", tag = "uploads",
    params(
        ConversionOptions,
        ("Idempotency-Key" = Option<String>, Header, description = "Identifies a repeated request", min_length = 1, max_length = 200),
    ),
    request_body(
        content = std::collections::HashMap<String, serde_json::Value>, content_type = "multipart/form-data",
        description = "Files, in fields of any name. Fields without a file name are options, and come before the first file.",
    ),
    responses(
        (status = 201, description = "At least one file became a job", body = Uploaded),
        (status = 400, description = "No files, or unknown or contradictory options", body = Problem),
        (status = 422, description = "The Idempotency-Key of another request", body = Problem),
        UploadProblems,
        (status = 503, description = "Nothing was accepted; see Retry-After", body = Problem),
    )
)]
pub async fn upload(
    State(gateway): State<Shared>,
    session: Session,
    Query(options): Query<ConversionOptions>,
    request: Request,
) -> Result<Response, Problem> {
    gateway.check_confirmed(&session)?;
    gateway.check_stores().await?;
    let form = Form::read(request, options, true)?;
    let slot = gateway.uploads.take(&session.email)?;
    let batch = gateway.ports.new_id();
    let received = gateway.receive_form(&session, form, batch).await?;
    let failed = received.iter().all(|file| file.result.is_err());
    let first = received
        .first()
        .and_then(|file| file.result.as_ref().err())
        .cloned();
    if let (true, Some(problem)) = (failed, first) {
        return Err(problem);
    }
    let uploaded = gateway.uploaded(batch, received).await;
    Ok((StatusCode::CREATED, uploaded.response(slot)).into_response())
}

impl Gateway {
    /// The response for the files of a request.
    pub async fn uploaded(&self, batch: Id, received: Vec<Received>) -> Uploaded {
        let mut files = Vec::with_capacity(received.len());
        for file in received {
            let (job, problem) = match file.result {
                Ok(job) => (Some(self.view(job).await), None),
                Err(problem) => (None, Some(problem)),
            };
            files.push(UploadedFile {
                file_name: file.file_name,
                job,
                problem,
            });
        }
        Uploaded {
            batch: batch.to_string(),
            files,
        }
    }
}

/// A form that is being read.
pub struct Form {
    multipart: Multipart<'static>,
    buffered: Buffered,
    /// The previous part, which may not have been read to its end.
    previous: Option<PartBytes>,
    options: ConversionOptions,
    key: Option<String>,
    /// Bytes of the whole form, where the client says so.
    length: Option<u64>,
    /// Whether to reject files that are not MP4 and fields that are not options.
    strict: bool,
}

/// A part of a form.
struct Part {
    name: String,
    /// Only files have one.
    file_name: Option<String>,
    bytes: PartBytes,
}

/// The bytes of a part. The form skips those that are not read.
#[derive(Clone)]
struct PartBytes {
    field: Arc<Mutex<Field<'static>>>,
    buffered: Buffered,
}

impl Stream for PartBytes {
    type Item = multer::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut field = self.field.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Pin::new(&mut *field).poll_next(context);
        if next.is_ready() {
            self.buffered.clear();
        }
        next
    }
}

/// A file of a form, once it was read.
pub struct Received {
    /// Its name.
    pub file_name: String,
    /// The job, or why there is none.
    pub result: Result<Job, Problem>,
}

impl Received {
    /// Bytes of the file, if it was taken.
    fn bytes(&self) -> u64 {
        self.result.as_ref().map_or(0, |job| job.source_bytes)
    }
}

/// A file of a form, or several that are joined, before it is read.
struct File<S> {
    video: S,
    /// The most bytes that it can have, where the client says so.
    most: Option<u64>,
    /// Whether it must begin like an MP4 file.
    sniff: bool,
}

impl Form {
    /// Begins to read a form.
    pub fn read(
        request: Request,
        options: ConversionOptions,
        strict: bool,
    ) -> Result<Self, Problem> {
        options.engine_options().map_err(Problem::bad_request)?;
        let key = idempotency_key(request.headers())?;
        let boundary = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| multer::parse_boundary(value).ok())
            .ok_or_else(|| Problem::bad_request("Files come as multipart/form-data."))?;
        let length = request.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let buffered = Buffered::default();
        let pieces = paced(request.into_body().into_data_stream(), buffered.clone());
        Ok(Form {
            multipart: Multipart::new(pieces, boundary),
            buffered,
            previous: None,
            options,
            key,
            length,
            strict,
        })
    }

    /// The next part. Skips what was not read of the previous one.
    async fn next(&mut self) -> multer::Result<Option<Part>> {
        if let Some(mut previous) = self.previous.take() {
            while previous.next().await.transpose()?.is_some() {}
        }
        let Some(field) = self.multipart.next_field().await? else {
            return Ok(None);
        };
        self.buffered.clear();
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().map(clean_name);
        let bytes = PartBytes {
            field: Arc::new(Mutex::new(field)),
            buffered: self.buffered.clone(),
        };
        self.previous = Some(bytes.clone());
        Ok(Some(Part {
            name,
            file_name,
            bytes,
        }))
    }

    /// Reads a part that is an option.
    async fn set_option(&mut self, part: Part) -> Result<(), Problem> {
        let Part {
            name, mut bytes, ..
        } = part;
        let mut value = Vec::new();
        while let Some(piece) = bytes.next().await.transpose().map_err(form_problem)? {
            value.extend_from_slice(&piece);
            if value.len() > MAX_VALUE {
                let detail =
                    format!("{name}: too long for an option, and a file needs a file name.");
                return Err(Problem::bad_request(detail));
            }
        }
        let options = self.options.with(&name, &String::from_utf8_lossy(&value));
        self.options = options.map_err(Problem::bad_request)?;
        Ok(())
    }
}

fn form_problem(e: multer::Error) -> Problem {
    Problem::bad_request(match e {
        multer::Error::StreamReadFailed(e) if e.is::<EndlessHeader>() => e.to_string(),
        e => e.to_string(),
    })
}

impl Gateway {
    /// Receives the files of a form, each on its own. The caller has a slot for it.
    pub async fn receive_form(
        &self,
        session: &Session,
        mut form: Form,
        batch: Id,
    ) -> Result<Vec<Received>, Problem> {
        let mut received = Vec::new();
        let watched = self.watch(session);
        loop {
            let part = match form.next().await {
                Ok(Some(part)) => part,
                Ok(None) => break,
                Err(e) if received.is_empty() => return Err(form_problem(e)),
                // Complete files were received; the others must not seem to be.
                Err(e) => {
                    received.push(Received {
                        file_name: "the rest of the request".into(),
                        result: Err(form_problem(e)),
                    });
                    break;
                }
            };
            let Some(file_name) = part.file_name.clone() else {
                if !form.strict {
                    continue;
                }
                if !received.is_empty() {
                    self.remove_received(&received, batch).await;
                    let detail = format!("{}: options come before the first file.", part.name);
                    return Err(Problem::bad_request(detail));
                }
                form.set_option(part).await?;
                continue;
            };
            if received.is_empty() {
                form.options
                    .engine_options()
                    .map_err(Problem::bad_request)?;
                self.check_webhook(session, &form.options).await?;
                self.check_join(&form.options)?;
                if form.options.videos.is_some() {
                    let detail = "videos: the files of a form tell it by themselves";
                    return Err(Problem::bad_request(detail));
                }
                if form.options.join == Some(true) {
                    let ended = watched.ended.clone();
                    let joined = self.receive_joined(session, form, part, batch, ended);
                    return Ok(vec![joined.await?]);
                }
            }
            if received.len() >= self.limits.files {
                let problem = Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("One request takes {} files.", self.limits.files),
                );
                received.push(Received {
                    file_name,
                    result: Err(problem),
                });
                break;
            }
            let submission = Submission {
                owner: session.email.clone(),
                key: form.key.as_ref().map(|key| file_key(key, received.len())),
                batch: Some(batch),
                file_name: file_name.clone(),
                options: form.options.to_json(),
            };
            let ended = watched.ended.clone();
            // What has arrived of the form is in no file to come.
            let before: u64 = received.iter().map(Received::bytes).sum();
            let most = form.length.map(|length| length.saturating_sub(before));
            let file = File {
                video: part.bytes,
                most,
                sniff: form.strict,
            };
            let result = self.receive_file(session, submission, file, ended, |_| {});
            let result = result.await;
            // There is no point in waiting for the rest of a file that is too large, or not allowed any more.
            let status = result.as_ref().err().map(Problem::status);
            if let (Some(StatusCode::UNPROCESSABLE_ENTITY), Err(problem)) = (status, &result) {
                self.remove_received(&received, batch).await;
                return Err(problem.clone());
            }
            let stop = matches!(
                status,
                Some(StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNAUTHORIZED)
            );
            received.push(Received { file_name, result });
            if stop {
                break;
            }
        }
        if received.is_empty() {
            return Err(Problem::bad_request("There is no file in this request."));
        }
        if let Some(key) = &form.key
            && self.had_more_files(key, &received, batch).await?
        {
            self.remove_received(&received, batch).await;
            return Err(Problem::key_reused());
        }
        Ok(received)
    }

    /// Whether the request that this one repeats, if it does, had more files.
    async fn had_more_files(
        &self,
        key: &str,
        received: &[Received],
        batch: Id,
    ) -> Result<bool, Problem> {
        let last = received.last().and_then(|file| file.result.as_ref().ok());
        let Some(last) = last.filter(|job| job.batch != Some(batch)) else {
            return Ok(false);
        };
        let first_request = Filter {
            batch: last.batch,
            ..Filter::default()
        };
        let (owner, most) = (&last.owner, self.limits.files);
        let jobs = self.ports.jobs.list(owner, &first_request, most).await?;
        let next = file_key(key, received.len());
        Ok(jobs.iter().any(|job| job.key.as_ref() == Some(&next)))
    }

    /// The owner's job with this key, where there is one: the request is repeated, or is another with its key.
    async fn first_request(&self, owner: &str, key: Option<&str>) -> Result<Option<Job>, Problem> {
        let Some(key) = key else {
            return Ok(None);
        };
        match self.ports.jobs.by_key(owner, key).await {
            Ok(first) => Ok(Some(first)),
            Err(jobs::Error::NotFound) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The job of the request that `job`, which is not in the ledger yet, repeats.
    pub(super) async fn repeated(&self, job: &Job) -> Result<Option<Job>, Problem> {
        let first = self.first_request(&job.owner, job.key.as_deref()).await?;
        Ok(first.map(|first| repeated(first, job)).transpose()?)
    }

    /// Removes the jobs of this request, but not those of an earlier one that it repeats.
    pub async fn remove_received(&self, received: &[Received], batch: Id) {
        for job in received.iter().filter_map(|file| file.result.as_ref().ok()) {
            if job.batch == Some(batch) {
                // Where this fails, the sweeper removes it.
                let _ = self.ports.remove(job.id).await;
            }
        }
    }

    /// Takes in one file. What has arrived of it whole becomes a job, or nothing, also when the client goes away.
    /// `complete` adds to the job what is known then.
    async fn receive_file<S, E>(
        &self,
        session: &Session,
        submission: Submission,
        file: File<S>,
        session_ended: CancellationToken,
        complete: impl FnOnce(&mut Job) + Send + 'static,
    ) -> Result<Job, Problem>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Send + 'static,
    {
        let (gateway, session) = (self.clone(), session.clone());
        to_the_end(async move {
            gateway
                .take_in(&session, submission, file, session_ended, complete)
                .await
        })
        .await
    }

    async fn take_in<S, E>(
        &self,
        session: &Session,
        submission: Submission,
        file: File<S>,
        session_ended: CancellationToken,
        complete: impl FnOnce(&mut Job) + Send,
    ) -> Result<Job, Problem>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Send + 'static,
    {
        let checks = |limit, too_large| Checks {
            limit,
            too_large,
            pause: self.limits.body_timeout,
            sniff: file.sniff,
            superseded: CancellationToken::new(),
            session_ended,
        };
        let key = submission.key.as_deref();
        if let Some(first) = self.first_request(&submission.owner, key).await? {
            // It needs no room, however much is left since the first, and so nothing of it is stored.
            let checks = checks(first.source_bytes, Rejection::KeyReused);
            let video = checked(file.video, checks);
            let again = self.ports.identify(submission, video, complete).await?;
            if self.has_ended(session).await {
                return Err(Problem::session_ended());
            }
            let first = self.repeated(&again).await?;
            return first.ok_or_else(Problem::first_removed);
        }
        let (room, limit, too_large) = self.reserve(session, file.most).await?;
        let room = Arc::new(room);
        let reserved = room.clone();
        let video = checked(file.video, checks(limit, too_large));
        let video = video.map(move |piece| match piece {
            Ok(piece) if !reserved.take(piece.len() as u64) => Err(Rejection::Quota.into()),
            piece => piece,
        });
        let stored = self.ports.store(submission, Box::pin(video), complete);
        let job = stored.await?;
        if self.has_ended(session).await {
            // Where this fails, the sweeper removes it.
            let _ = self.ports.videos.delete(job.source).await;
            return Err(Problem::session_ended());
        }
        let mut is_submitted = false;
        let submitting = async {
            is_submitted = true;
            self.ports.submit(job.clone()).await
        };
        let admitted = self.admit(session, &job, Some(&room), submitting).await;
        if !is_submitted {
            // Where this fails, the sweeper removes it.
            let _ = self.ports.videos.delete(job.source).await;
        }
        let job = admitted?;
        self.metrics.uploaded(job.source_bytes);
        tracing::info!(job_id = %job.id, bytes = job.source_bytes, "video received");
        Ok(job)
    }
}

/// The key of one of the files of a request.
fn file_key(key: &str, number: usize) -> String {
    format!("{key}#{number}")
}

/// The key of a request that the client may repeat.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    match key.to_str() {
        Ok(key) if (1..=MAX_KEY).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Problem::bad_request(
            "An Idempotency-Key has 1 to 200 visible characters.",
        )),
    }
}

/// The name of a file without the folders that some clients send, and short enough for any disk.
pub fn clean_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let mut clean: String = name.chars().filter(|c| !c.is_control()).collect();
    while clean.len() > MAX_FILE_NAME {
        clean.pop();
    }
    if clean.is_empty() {
        "video".into()
    } else {
        clean
    }
}

#[cfg(any(test, feature = "hostile"))]
pub mod hostile;
mod joined;

#[cfg(test)]
mod fleeting;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Body;
    use axum::http::header::AUTHORIZATION;
    use futures_util::stream;
    use micropy_core::ports::memory::MemoryAuth;
    use micropy_core::ports::time::{ManualClock, Timestamp};
    use micropy_core::ports::{Auth as _, binding};
    use tower::ServiceExt as _;

    use super::fleeting::Fleeting;
    use super::*;
    use crate::Ports;
    use crate::accounts::{Accounts as _, Credentials, LocalAccounts, Secret};

    const ANN: &str = "ann@example.com";
    const PIECE: usize = 64 * 1024;

    /// A form of `start`, so many pieces of `filler`, and `end`; and a counter of the pieces that were read.
    fn form(start: &str, pieces: usize, filler: u8, end: &str) -> (Form, Arc<AtomicUsize>) {
        let read = Arc::new(AtomicUsize::new(0));
        let counted = read.clone();
        let (start, end) = (Bytes::from(start.to_owned()), Bytes::from(end.to_owned()));
        let filler = (0..pieces).map(move |_| Bytes::from(vec![filler; PIECE]));
        let all = std::iter::once(start)
            .chain(filler)
            .chain(std::iter::once(end));
        let all = stream::iter(all.map(move |piece| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(piece)
        }));
        let request = Request::builder()
            .header(CONTENT_TYPE, "multipart/form-data; boundary=x")
            .body(Body::from_stream(all))
            .unwrap();
        let form = Form::read(request, ConversionOptions::default(), true);
        (form.unwrap_or_else(|_| panic!("a form")), read)
    }

    const HEAD: &str =
        "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp4\"\r\n";

    #[tokio::test]
    async fn a_form_without_parts_is_rejected_before_it_fills_the_memory() {
        for (start, filler) in [
            ("no boundary", b'a'),
            (HEAD, b'a'),
            (HEAD, b'\n'),
            ("--x", b' '),
        ] {
            let (mut form, read) = form(start, 256, filler, "");
            let problem = form_problem(form.next().await.err().unwrap());
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST);
            let read = read.load(Ordering::Relaxed);
            assert!(read < 5, "{read} pieces of {start:?} and {filler}");
        }
    }

    #[tokio::test]
    async fn the_unread_rest_of_a_part_is_skipped() {
        let last = "\r\n--x\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\nlast\r\n--x--\r\n";
        let (mut form, _) = form(&format!("{HEAD}\r\n"), 256, 0, last);
        let mut file = form.next().await.unwrap().unwrap();
        assert_eq!(file.file_name.as_deref(), Some("a.mp4"));
        assert!(file.bytes.next().await.unwrap().is_ok());
        drop(file);
        let mut last = form.next().await.unwrap().unwrap();
        assert_eq!((&*last.name, last.file_name.as_deref()), ("b", None));
        assert_eq!(last.bytes.next().await.unwrap().unwrap(), "last");
        drop(last);
        assert!(form.next().await.unwrap().is_none());
    }

    /// A gateway, its ports, and a token of Ann's.
    async fn gateway() -> (Gateway, Ports, String) {
        gateway_of(Arc::new(MemoryAuth::default())).await
    }

    async fn gateway_of(users: Arc<MemoryAuth>) -> (Gateway, Ports, String) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let ports = Ports::in_memory(clock.clone());
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let accounts = LocalAccounts::new(users, clock, &secret);
        let ann = Credentials {
            email: ANN.to_owned(),
            password: "correct horse".to_owned(),
        };
        let token = accounts.register(ann, [192, 0, 2, 1].into()).await;
        let gateway = Gateway::new(ports.clone(), Arc::new(accounts));
        (gateway, ports, token.unwrap())
    }

    /// A request that puts a video, or its beginning, into the store.
    fn upload_to(path: &str, token: &str, body: Body) -> Request {
        let request = Request::post(path)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "multipart/form-data; boundary=x")
            .header("tus-resumable", "1.0.0")
            .header("upload-length", "8");
        request.body(body).unwrap()
    }

    fn video() -> String {
        format!("{HEAD}\r\n\0\0\0\u{8}ftyp\r\n--x--\r\n")
    }

    #[tokio::test]
    async fn nothing_is_put_into_a_store_that_may_be_anothers() {
        let (gateway, ports, token) = gateway().await;
        // The server was away when the service started. Now it is there, and holds the files of another.
        let other = Ports::in_memory(ports.clock.clone());
        binding::check(&*ports.videos, &*other.jobs, ports.new_id())
            .await
            .unwrap();
        let routes = ["/api/v1/uploads", "/upload", "/api/v1/tus"];
        let status = async |path| {
            let request = upload_to(path, &token, Body::from(video()));
            let response = gateway.router().oneshot(request).await.unwrap();
            response.status().as_u16()
        };
        for path in routes {
            assert_eq!(status(path).await, 503, "{path}");
        }
        let all = ports.videos.list_older_than(Timestamp::MAX).await.unwrap();
        assert_eq!(all.count().await, 0);
        assert_eq!(ports.jobs.identity().await.unwrap(), None);
        for store in [&ports.videos, &ports.mp3s] {
            binding::adopt(&**store, &*ports.jobs, ports.new_id())
                .await
                .unwrap();
        }
        for (path, taken) in routes.into_iter().zip([201, 200, 201]) {
            assert_eq!(status(path).await, taken, "{path}");
        }
    }

    #[tokio::test]
    async fn a_repeated_request_needs_no_room() {
        for path in ["/api/v1/uploads", "/api/v1/tus"] {
            let (gateway, _, token) = gateway().await;
            let gateway = gateway.limits(crate::gateway::Limits {
                quota_jobs: 1,
                ..Default::default()
            });
            for (key, status) in [
                ("first", 201),
                ("first", 201),
                ("second", 403),
                ("first", 201),
            ] {
                let request = upload_to(path, &token, Body::from(video()));
                let request = with_key(request, key);
                let response = gateway.router().oneshot(request).await.unwrap();
                assert_eq!(response.status(), status, "{path}");
            }
        }
    }

    #[tokio::test]
    async fn a_job_that_is_removed_at_this_moment_leaves_its_place_to_no_upload_of_any_size() {
        const MOST: u64 = 100;
        let (gateway, ports, token) = gateway().await;
        let mut gateway = gateway.limits(crate::gateway::Limits {
            upload: MOST,
            ..Default::default()
        });
        gateway.ports.jobs = Arc::new(Fleeting(ports.jobs.clone()));
        for (again, refused) in [(8, 503), (MOST + 1, 422)] {
            for (length, status) in [(8, 201), (again, refused)] {
                let request = upload_to("/api/v1/tus", &token, Body::empty());
                let mut request = with_key(request, "first");
                let length = length.into();
                request.headers_mut().insert("upload-length", length);
                let response = gateway.router().oneshot(request).await.unwrap();
                assert_eq!(response.status(), status);
            }
            assert_eq!(ports.jobs.usage(ANN).await.unwrap().jobs, 0);
        }
    }

    #[tokio::test]
    async fn of_a_request_that_is_repeated_before_it_has_ended_one_is_stored() {
        let (gateway, ports, token) = gateway().await;
        let upload = |body| {
            let request = with_key(upload_to("/api/v1/uploads", &token, body), "first");
            tokio::spawn(gateway.router().oneshot(request))
        };
        let (sender, body) = endless(&format!("{HEAD}\r\n\0\0\0\u{8}"));
        let slow = upload(body);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let quick = upload(Body::from(video())).await.unwrap().unwrap();
        sender.send("ftyp\r\n--x--\r\n".into()).await.unwrap();
        drop(sender);
        let slow = slow.await.unwrap().unwrap();
        assert_eq!(
            (quick.status().as_u16(), slow.status().as_u16()),
            (201, 201)
        );
        assert_eq!(stored(&ports).await, [8]);
        assert_eq!(ports.jobs.usage(ANN).await.unwrap().jobs, 1);
        assert_eq!(gateway.admission.on_their_way(ANN), 0);
    }

    #[tokio::test]
    async fn what_arrives_just_after_its_user_was_removed_is_removed_too() {
        for path in ["/api/v1/uploads", "/api/v1/tus"] {
            let users = Arc::new(MemoryAuth::default());
            let (gateway, ports, token) = gateway_of(users.clone()).await;
            let status = async || {
                let request = upload_to(path, &token, Body::from(video()));
                let response = gateway.router().oneshot(request).await.unwrap();
                response.status().as_u16()
            };
            assert_eq!(status().await, 201, "{path}");
            // By way of another gateway: this one goes by what it has just found out.
            users.remove(ANN, None).await.unwrap();
            assert_eq!(status().await, 401, "{path}");
            let usage = ports.jobs.usage(ANN).await.unwrap();
            assert_eq!(usage.jobs, 1, "{path}: the first alone");
        }
    }

    fn with_key(mut request: Request, key: &str) -> Request {
        let key = key.parse().unwrap();
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        request
    }

    /// A body that lasts until the sender is dropped.
    fn endless(start: &str) -> (tokio::sync::mpsc::Sender<Bytes>, Body) {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(100);
        sender.try_send(start.to_owned().into()).unwrap();
        let body = stream::poll_fn(move |context| receiver.poll_recv(context));
        (sender, Body::from_stream(body.map(Ok::<_, Infallible>)))
    }

    /// Bytes of each of the videos that are stored, or are on their way there.
    async fn stored(ports: &Ports) -> Vec<u64> {
        let all = ports.videos.list_older_than(Timestamp::MAX).await.unwrap();
        all.map(|head| head.unwrap().bytes).collect().await
    }

    #[tokio::test]
    async fn a_user_has_no_more_bytes_on_their_way_than_the_quota_allows() {
        const QUOTA: usize = 10 * PIECE;
        // Nor does a key allow more that had a job before.
        let forms = ["/api/v1/uploads", "/api/v1/uploads?join=true"];
        for (path, key) in forms
            .map(|form| [(form, None), (form, Some("first"))])
            .concat()
        {
            let (gateway, ports, token) = gateway().await;
            let gateway = gateway.limits(crate::gateway::Limits {
                quota_bytes: QUOTA as u64,
                ..Default::default()
            });
            let first = upload_to(path, &token, Body::from(video()));
            let first = gateway.router().oneshot(with_key(first, "first")).await;
            assert_eq!(first.unwrap().status(), 201, "{path}");
            // None of them ever ends, nor says how much there is to come.
            let requests: Vec<_> = (0..20)
                .map(|_| {
                    let (sender, body) = endless(&format!("{HEAD}\r\n\0\0\0\u{8}ftyp"));
                    let request = upload_to(path, &token, body);
                    let request = match key {
                        Some(key) => with_key(request, key),
                        None => request,
                    };
                    (sender, tokio::spawn(gateway.router().oneshot(request)))
                })
                .collect();
            for _ in 0..QUOTA / PIECE {
                for (sender, _) in &requests {
                    let _ = sender.send(Bytes::from(vec![0; PIECE])).await;
                }
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                assert!(gateway.admission.on_their_way(ANN) <= QUOTA as u64);
                let bytes: u64 = stored(&ports).await.iter().sum();
                assert!(bytes <= QUOTA as u64, "{path} {key:?}: {bytes}");
            }
            let (senders, answers): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
            drop(senders);
            for answer in answers {
                let status = answer.await.unwrap().unwrap().status().as_u16();
                match key {
                    Some(_) => assert_eq!(status, 422, "{path}"),
                    None => assert!([400, 403].contains(&status), "{path}: {status}"),
                }
            }
            assert_eq!(gateway.admission.on_their_way(ANN), 0);
            let request = upload_to(path, &token, Body::from(video()));
            let response = gateway.router().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 201, "all of it is free again");
        }
    }

    #[tokio::test]
    async fn a_repeated_request_stores_nothing() {
        let (gateway, ports, token) = gateway().await;
        let other = video().replace("ftyp", "moov");
        let shorter = video().replace("ftyp", "");
        for (body, status) in [(video(), 201), (video(), 201), (other, 422), (shorter, 422)] {
            let request = upload_to("/api/v1/uploads", &token, Body::from(body));
            let request = with_key(request, "first");
            let response = gateway.router().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(stored(&ports).await, [8]);
            assert_eq!(ports.jobs.usage(ANN).await.unwrap().jobs, 1);
        }
    }

    #[tokio::test]
    async fn a_request_whose_first_job_is_removed_meanwhile_is_to_be_repeated() {
        let (gateway, ports, token) = gateway().await;
        let upload = async |body| {
            let request = with_key(upload_to("/api/v1/uploads", &token, body), "first");
            let response = gateway.router().oneshot(request).await.unwrap();
            response.status().as_u16()
        };
        assert_eq!(upload(Body::from(video())).await, 201);
        let (sender, body) = endless(&format!("{HEAD}\r\n\0\0\0\u{8}"));
        let rest = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            ports.remove_all(ANN).await.unwrap();
            sender.send("ftyp\r\n--x--\r\n".into()).await.unwrap();
            drop(sender);
        };
        let (status, ()) = tokio::join!(upload(body), rest);
        assert_eq!(status, 503);
        assert!(stored(&ports).await.is_empty());
        assert_eq!(upload(Body::from(video())).await, 201);
        assert_eq!(stored(&ports).await, [8]);
    }

    #[tokio::test]
    async fn a_user_has_so_many_uploads_at_the_same_time() {
        let (gateway, _, token) = gateway().await;
        let held: Vec<_> = (0..PER_USER)
            .map(|_| gateway.uploads.take(ANN).ok())
            .collect();
        assert!(held.iter().all(Option::is_some));
        let status = async || {
            let request = upload_to("/api/v1/uploads", &token, Body::from(video()));
            let response = gateway.router().oneshot(request).await.unwrap();
            response.status().as_u16()
        };
        assert_eq!(status().await, 429);
        drop(held);
        assert_eq!(status().await, 201);
    }

    #[test]
    fn names_lose_folders_and_control_characters() {
        for (sent, kept) in [
            ("talk.mp4", "talk.mp4"),
            ("C:\\videos\\talk.mp4", "talk.mp4"),
            ("../../etc/passwd", "passwd"),
            ("a\r\nb\0.mp4", "ab.mp4"),
            ("/", "video"),
        ] {
            assert_eq!(clean_name(sent), kept, "{sent:?}");
        }
        assert!(clean_name(&"\u{fc}".repeat(300)).len() <= MAX_FILE_NAME);
    }
}
