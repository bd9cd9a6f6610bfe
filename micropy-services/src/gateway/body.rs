//! What clients send: bytes that are checked as they arrive, and JSON and queries whose rejections are problem details.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use micropy_core::ports::storage::{Upload, UploadError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, IntoResponses};

use super::problem::Problem;

/// How long a body of JSON may take. It fits into a few packets.
const JSON_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of a form that multer may buffer in memory before it makes progress.
const MAX_BUFFERED: usize = 128 * 1024;

/// Like axum's, but a rejection is a problem.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = axum::Json::from_request(request, state);
        let Ok(body) = tokio::time::timeout(JSON_TIMEOUT, body).await else {
            let detail = "The body took too long.";
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
        };
        Ok(Json(body?.0))
    }
}

/// Like axum's, but a rejection is a problem.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await?;
        Ok(Query(query.0))
    }
}

/// Like axum's, but a rejection is a problem.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await?;
        Ok(Path(path.0))
    }
}

/// The id of a job, in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct JobId {
    /// The id of the job
    #[param(pattern = "^[0-9a-fA-F]{24}$", example = "65a1b2c3d4e5f60718293a4b")]
    pub id: String,
}

impl From<JsonRejection> for Problem {
    fn from(e: JsonRejection) -> Self {
        Problem::new(e.status(), e.body_text())
    }
}

/// A path that is not UTF-8 does not exist.
impl From<PathRejection> for Problem {
    fn from(_: PathRejection) -> Self {
        Problem::not_found()
    }
}

impl From<QueryRejection> for Problem {
    fn from(e: QueryRejection) -> Self {
        Problem::new(e.status(), e.body_text())
    }
}

/// The problems of a JSON body, for the API's document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it only describes")]
pub enum JsonProblems {
    #[response(status = 408, description = "The body took too long")]
    TooSlow(Problem),
    #[response(status = 413, description = "Too long")]
    TooLong(Problem),
    #[response(status = 415, description = "Not JSON")]
    NotJson(Problem),
    #[response(status = 422, description = "Other JSON")]
    OtherJson(Problem),
}

/// The problems of a video that is uploaded, for the API's document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it only describes")]
pub enum UploadProblems {
    #[response(status = 403, description = "The quota is exceeded")]
    Quota(Problem),
    #[response(status = 408, description = "The client paused for too long")]
    TooSlow(Problem),
    #[response(status = 413, description = "Too large")]
    TooLarge(Problem),
    #[response(status = 415, description = "Not MP4")]
    NotMp4(Problem),
    #[response(
        status = 429,
        description = "Too many uploads at the same time; see Retry-After"
    )]
    TooMany(Problem),
    #[response(status = 507, description = "The storage is full")]
    Full(Problem),
}

/// Why an upload is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("The file has more than {0} bytes.")]
    TooLarge(u64),
    #[error("The file does not fit into your storage.")]
    Quota,
    #[error("The upload paused for too long.")]
    TooSlow,
    #[error("This is not an MP4, M4A, MOV or 3GP file.")]
    NotMp4,
    #[error("This Idempotency-Key belongs to another request.")]
    KeyReused,
    #[error("The checksum does not match.")]
    Checksum,
    #[error("Another connection continues the upload.")]
    Superseded,
    #[error("Your session has ended.")]
    SessionEnded,
    #[error("The connection broke.")]
    Broken,
}

impl Rejection {
    /// The rejection that ended an upload with this error.
    pub fn of(e: &UploadError) -> Option<Self> {
        e.reason().downcast_ref().copied()
    }
}

/// Where the bytes themselves are wrong, a storage drops them. What arrived before a connection broke stays.
impl From<Rejection> for UploadError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::TooLarge(_)
            | Rejection::Quota
            | Rejection::NotMp4
            | Rejection::KeyReused
            | Rejection::Checksum => UploadError::Refused(rejection.into()),
            Rejection::TooSlow
            | Rejection::Superseded
            | Rejection::SessionEnded
            | Rejection::Broken => UploadError::Broken(rejection.into()),
        }
    }
}

/// What is checked while bytes arrive.
pub struct Checks {
    /// Bytes that may arrive.
    pub limit: u64,
    /// The rejection of more.
    pub too_large: Rejection,
    /// The longest pause.
    pub pause: Duration,
    /// Whether they must begin like an MP4 file.
    pub sniff: bool,
    /// Interrupts the upload: another connection continues it. What has arrived stays.
    pub superseded: CancellationToken,
    /// Interrupts the upload: the user is signed in no longer. What has arrived stays.
    pub session_ended: CancellationToken,
}

/// `bytes`, until a check fails.
pub fn checked<S, E>(bytes: S, checks: Checks) -> Upload
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
{
    let state = (Box::pin(bytes), checks, 0_u64);
    Box::pin(stream::try_unfold(
        state,
        |(mut bytes, checks, before)| async move {
            let next = tokio::time::timeout(checks.pause, bytes.next());
            let next = tokio::select! {
                biased;
                () = checks.superseded.cancelled() => return Err(Rejection::Superseded.into()),
                () = checks.session_ended.cancelled() => return Err(Rejection::SessionEnded.into()),
                next = next => next.map_err(|_| Rejection::TooSlow)?,
            };
            let piece = match next {
                None => return Ok(None),
                Some(Err(_)) => return Err(Rejection::Broken.into()),
                Some(Ok(piece)) => piece,
            };
            let length = before + piece.len() as u64;
            if length > checks.limit {
                return Err(checks.too_large.into());
            }
            if checks.sniff && before == 0 && !may_be_mp4(&piece) {
                return Err(Rejection::NotMp4.into());
            }
            Ok(Some((piece, (bytes, checks, length))))
        },
    ))
}

/// Bytes of a form that arrived since multer last made progress.
#[derive(Clone, Debug, Default)]
pub struct Buffered(Arc<AtomicUsize>);

impl Buffered {
    /// Multer made progress.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The header of a part does not end, or no part begins.
#[derive(Debug, thiserror::Error)]
#[error("More than {MAX_BUFFERED} bytes of the form are not the header of a part.")]
pub struct EndlessHeader;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// `pieces` for multer, which buffers as much as arrives without a pause, and so all that a fast client sends. There is
/// a pause after each piece, and a limit to what it may buffer.
pub fn paced<S, E>(
    pieces: S,
    buffered: Buffered,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError>,
{
    let mut pieces = Box::pin(pieces);
    let mut pause = false;
    stream::poll_fn(move |context| {
        if std::mem::take(&mut pause) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = ready!(pieces.as_mut().poll_next(context));
        pause = next.is_some();
        Poll::Ready(next.map(|piece| {
            let piece = piece.map_err(Into::into)?;
            let before = buffered.0.fetch_add(piece.len(), Ordering::Relaxed);
            match before + piece.len() > MAX_BUFFERED {
                true => Err(EndlessHeader.into()),
                false => Ok(piece),
            }
        }))
    })
}

/// Whether a file may begin like this: with a box of ISO/IEC 14496-12 or QuickTime. Fewer than eight bytes pass; the
/// engine looks closer.
pub fn may_be_mp4(start: &[u8]) -> bool {
    const FIRST_BOXES: [&[u8; 4]; 12] = [
        b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid",
        b"sidx", b"PICT",
    ];
    start
        .get(4..8)
        .is_none_or(|kind| FIRST_BOXES.iter().any(|known| kind == *known))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    async fn outcome(pieces: &[&'static [u8]], limit: u64) -> Result<usize, Rejection> {
        let pieces: Vec<Result<Bytes, io::Error>> = pieces
            .iter()
            .map(|piece| Ok(Bytes::from_static(piece)))
            .collect();
        let checks = Checks {
            limit,
            too_large: Rejection::TooLarge(limit),
            pause: Duration::from_secs(60),
            sniff: true,
            superseded: CancellationToken::new(),
            session_ended: CancellationToken::new(),
        };
        let mut stream = checked(stream::iter(pieces), checks);
        let mut length = 0;
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => length += piece.len(),
                Err(e) => return Err(Rejection::of(&e).unwrap()),
            }
        }
        Ok(length)
    }

    #[tokio::test]
    async fn bytes_pass_until_a_check_fails() {
        let mp4: &[u8] = b"\0\0\0\x18ftypisom";
        assert_eq!(outcome(&[mp4, b"more"], 16).await, Ok(16));
        assert_eq!(
            outcome(&[mp4, b"more"], 15).await,
            Err(Rejection::TooLarge(15))
        );
        assert_eq!(
            outcome(&[b"PK\x03\x04\x14\0\x08\0"], 99).await,
            Err(Rejection::NotMp4)
        );
        assert_eq!(outcome(&[b"\0\0"], 99).await, Ok(2), "too short to tell");
        assert_eq!(outcome(&[], 0).await, Ok(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_client_is_cut_off_and_so_is_one_that_may_not_go_on() {
        let checks = |superseded, session_ended| Checks {
            limit: 99,
            too_large: Rejection::TooLarge(99),
            pause: Duration::from_secs(30),
            sniff: false,
            superseded,
            session_ended,
        };
        let silent = || stream::pending::<Result<Bytes, io::Error>>();
        let broken_by = |e: &UploadError| match e {
            UploadError::Broken(_) => Rejection::of(e),
            UploadError::Refused(_) => None,
        };
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        let not = CancellationToken::new;
        for (checks, expected) in [
            (checks(not(), not()), Rejection::TooSlow),
            (checks(cancelled.clone(), not()), Rejection::Superseded),
            (checks(not(), cancelled), Rejection::SessionEnded),
        ] {
            let error = checked(silent(), checks).next().await;
            let error = error.unwrap().unwrap_err();
            assert_eq!(broken_by(&error), Some(expected));
        }
    }

    #[tokio::test]
    async fn a_form_is_read_in_pieces_of_any_size() {
        let form =
            b"--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nall of it\r\n--x--\r\n";
        for size in 1..=form.len() {
            let pieces: Vec<Result<Bytes, io::Error>> = form
                .chunks(size)
                .map(|piece| Ok(Bytes::copy_from_slice(piece)))
                .collect();
            let mut form =
                multer::Multipart::new(paced(stream::iter(pieces), Buffered::default()), "x");
            let field = form.next_field().await.unwrap().unwrap();
            assert_eq!(
                field.bytes().await.unwrap(),
                "all of it",
                "pieces of {size}"
            );
            assert!(form.next_field().await.unwrap().is_none());
        }
    }
}
