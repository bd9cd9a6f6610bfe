//! What clients send: bytes watched as they arrive; JSON and queries, refused with problem details.

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
use utoipa::IntoParams;

use super::problem::Problem;

/// For a body of JSON, all of which fits into a few packets.
const JSON_TIME: Duration = Duration::from_secs(20);
/// Bytes of a form that may arrive before something of it can be handed on: multer keeps them in memory.
const MOST_HELD: usize = 128 * 1024;

/// As axum's, but a refusal is a problem.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = axum::Json::from_request(request, state);
        let Ok(body) = tokio::time::timeout(JSON_TIME, body).await else {
            let detail = "The body took too long.";
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
        };
        Ok(Json(body?.0))
    }
}

/// As axum's, but a refusal is a problem.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await?;
        Ok(Query(query.0))
    }
}

/// As axum's, but a refusal is a problem.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await?;
        Ok(Path(path.0))
    }
}

/// Which job, in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct JobId {
    /// The job
    #[param(pattern = "^[0-9a-fA-F]{24}$", example = "65a1b2c3d4e5f60718293a4b")]
    pub id: String,
}

impl From<JsonRejection> for Problem {
    fn from(e: JsonRejection) -> Self {
        Problem::new(e.status(), e.body_text())
    }
}

/// What is no text names nothing that is there.
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

/// Why an upload is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("The file has more than {0} bytes.")]
    TooLarge(u64),
    #[error("The file does not fit into your storage.")]
    Quota,
    #[error("Nothing arrived for too long.")]
    TooSlow,
    #[error("This is not an MP4, M4A, MOV or 3GP file.")]
    NotMp4,
    #[error("The checksum does not match.")]
    Checksum,
    #[error("The client has begun again elsewhere.")]
    Superseded,
    #[error("The upload broke off.")]
    Broken,
}

impl Refusal {
    /// The refusal that ended an upload with this error.
    pub fn of(e: &UploadError) -> Option<Self> {
        e.reason().downcast_ref().copied()
    }
}

/// Bytes that are wrong in themselves are taken back. What arrived before a connection broke stays.
impl From<Refusal> for UploadError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooLarge(_) | Refusal::Quota | Refusal::NotMp4 | Refusal::Checksum => {
                UploadError::Refused(refusal.into())
            }
            Refusal::TooSlow | Refusal::Superseded | Refusal::Broken => {
                UploadError::Broken(refusal.into())
            }
        }
    }
}

/// What is asked of arriving bytes.
pub struct Watch {
    /// At most so many bytes…
    pub limit: u64,
    /// …or else this.
    pub beyond: Refusal,
    /// The longest pause.
    pub pause: Duration,
    /// They must begin as an MP4 file does.
    pub sniff: bool,
    /// Ends the upload; what has arrived stays.
    pub cancel: CancellationToken,
}

/// `bytes`, as long as all is well with them.
pub fn watched<S, E>(bytes: S, watch: Watch) -> Upload
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
{
    let state = (Box::pin(bytes), watch, 0_u64);
    Box::pin(stream::try_unfold(
        state,
        |(mut bytes, watch, before)| async move {
            let next = tokio::time::timeout(watch.pause, bytes.next());
            let next = match watch.cancel.run_until_cancelled(next).await {
                None => return Err(Refusal::Superseded.into()),
                Some(Err(_)) => return Err(Refusal::TooSlow.into()),
                Some(Ok(next)) => next,
            };
            let piece = match next {
                None => return Ok(None),
                Some(Err(_)) => return Err(Refusal::Broken.into()),
                Some(Ok(piece)) => piece,
            };
            let length = before + piece.len() as u64;
            if length > watch.limit {
                return Err(watch.beyond.into());
            }
            if watch.sniff && before == 0 && !may_be_mp4(&piece) {
                return Err(Refusal::NotMp4.into());
            }
            Ok(Some((piece, (bytes, watch, length))))
        },
    ))
}

/// What arrived of a form since something of it was handed on.
#[derive(Clone, Debug, Default)]
pub struct Held(Arc<AtomicUsize>);

impl Held {
    /// Something was handed on.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A form has a part whose head does not end, or none at all.
#[derive(Debug, thiserror::Error)]
#[error(
    "Where a part of the form should begin, there are more than {MOST_HELD} bytes of something else."
)]
pub struct Endless;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// `pieces` for multer, which takes into its memory what it cannot hand on: so few of them, and with a pause after
/// each, as otherwise it takes all that arrives without one, which is what a fast client makes of it.
pub fn one_by_one<S, E>(
    pieces: S,
    held: Held,
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
            let before = held.0.fetch_add(piece.len(), Ordering::Relaxed);
            match before + piece.len() > MOST_HELD {
                true => Err(Endless.into()),
                false => Ok(piece),
            }
        }))
    })
}

/// Whether a file may begin so: with a box of ISO/IEC 14496-12 or QuickTime. Fewer than eight bytes tell
/// nothing; the engine looks closer.
fn may_be_mp4(start: &[u8]) -> bool {
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

    async fn outcome(pieces: &[&'static [u8]], limit: u64) -> Result<usize, Refusal> {
        let pieces: Vec<Result<Bytes, io::Error>> = pieces
            .iter()
            .map(|piece| Ok(Bytes::from_static(piece)))
            .collect();
        let watch = Watch {
            limit,
            beyond: Refusal::TooLarge(limit),
            pause: Duration::from_secs(60),
            sniff: true,
            cancel: CancellationToken::new(),
        };
        let mut stream = watched(stream::iter(pieces), watch);
        let mut length = 0;
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => length += piece.len(),
                Err(e) => return Err(Refusal::of(&e).unwrap()),
            }
        }
        Ok(length)
    }

    #[tokio::test]
    async fn bytes_pass_until_something_is_wrong() {
        let mp4: &[u8] = b"\0\0\0\x18ftypisom";
        assert_eq!(outcome(&[mp4, b"more"], 16).await, Ok(16));
        assert_eq!(
            outcome(&[mp4, b"more"], 15).await,
            Err(Refusal::TooLarge(15))
        );
        assert_eq!(
            outcome(&[b"PK\x03\x04\x14\0\x08\0"], 99).await,
            Err(Refusal::NotMp4)
        );
        assert_eq!(outcome(&[b"\0\0"], 99).await, Ok(2), "too short to tell");
        assert_eq!(outcome(&[], 0).await, Ok(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_client_is_cut_off_and_a_superseded_one_too() {
        let watch = |cancel| Watch {
            limit: 99,
            beyond: Refusal::TooLarge(99),
            pause: Duration::from_secs(30),
            sniff: false,
            cancel,
        };
        let silent = || stream::pending::<Result<Bytes, io::Error>>();
        let broken_by = |e: &UploadError| match e {
            UploadError::Broken(_) => Refusal::of(e),
            UploadError::Refused(_) => None,
        };
        let error = watched(silent(), watch(CancellationToken::new()))
            .next()
            .await;
        let error = error.unwrap().unwrap_err();
        assert_eq!(broken_by(&error), Some(Refusal::TooSlow));
        let cancel = CancellationToken::new();
        cancel.cancel();
        let error = watched(silent(), watch(cancel)).next().await;
        let error = error.unwrap().unwrap_err();
        assert_eq!(broken_by(&error), Some(Refusal::Superseded));
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
                multer::Multipart::new(one_by_one(stream::iter(pieces), Held::default()), "x");
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
