//! Uploads in one request: a form with any number of files, each its own job.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use micropy_core::ports::Id;
use micropy_core::ports::jobs::Job;
use multer::{Field, Multipart};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::{Endless, Held, Query, Watch, one_by_one, watched};
use super::problem::Problem;
use super::session::Session;
use super::view::JobView;
use super::{Gateway, Shared};
use crate::job::intake;
use crate::job::options::Conversion;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LONGEST_KEY: usize = 200;
const LONGEST_NAME: usize = 255;
/// No option has a longer value.
const LONGEST_VALUE: usize = 100;

/// What became of the files of one request.
#[derive(Serialize, ToSchema)]
pub struct Uploaded {
    /// The jobs of this request, for the archive.
    pub batch: String,
    /// In the order of the files.
    pub files: Vec<UploadedFile>,
}

/// What became of one file: a job or a problem.
#[derive(Serialize, ToSchema)]
pub struct UploadedFile {
    pub file_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Upload videos, each to be converted.
///
/// A job that is answered with is safe: no crash loses it. With an `Idempotency-Key`, a request that is
/// repeated gets the jobs of the first.
#[utoipa::path(
    post, path = "/api/v1/uploads", tag = "uploads",
    params(
        Conversion,
        ("Idempotency-Key" = Option<String>, Header, description = "Tells a repeated request", min_length = 1, max_length = 200),
    ),
    request_body(
        content = std::collections::HashMap<String, serde_json::Value>, content_type = "multipart/form-data",
        description = "Files, in fields of any name. Before the first one, fields without a file name may be options.",
    ),
    responses(
        (status = 201, description = "At least one file became a job", body = Uploaded),
        (status = 400, description = "No files, unknown options, or such that contradict each other", body = Problem),
        (status = 403, description = "The quota is exceeded", body = Problem),
        (status = 408, description = "Nothing arrived for too long", body = Problem),
        (status = 413, description = "Too large", body = Problem),
        (status = 415, description = "Not MP4", body = Problem),
        (status = 503, description = "Nothing was accepted; Retry-After says when again", body = Problem),
        (status = 507, description = "No room left", body = Problem),
    )
)]
pub async fn upload(
    State(gateway): State<Shared>,
    session: Session,
    Query(conversion): Query<Conversion>,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::read(request, conversion, true)?;
    let batch = gateway.ports.new_id();
    let taken = gateway.take_form(&session, form, batch).await?;
    let failed = taken.iter().all(|file| file.result.is_err());
    let first = taken
        .first()
        .and_then(|file| file.result.as_ref().err())
        .cloned();
    if let (true, Some(problem)) = (failed, first) {
        return Err(problem);
    }
    Ok((StatusCode::CREATED, Json(Uploaded::new(batch, taken))).into_response())
}

impl Uploaded {
    pub fn new(batch: Id, taken: Vec<Taken>) -> Self {
        let view = |file: Taken| {
            let (job, problem) = match file.result {
                Ok(job) => (Some(job.into()), None),
                Err(problem) => (None, Some(problem)),
            };
            UploadedFile {
                file_name: file.file_name,
                job,
                problem,
            }
        };
        Uploaded {
            batch: batch.to_string(),
            files: taken.into_iter().map(view).collect(),
        }
    }
}

/// A form with files, not read yet.
pub struct Form {
    multipart: Multipart<'static>,
    held: Held,
    /// What may be left of the part that came last.
    rest: Option<PartBytes>,
    conversion: Conversion,
    key: Option<String>,
    /// Refuse at once what is no MP4 and no option.
    strict: bool,
}

/// A part of a form.
struct Part {
    name: String,
    /// Of a file.
    file_name: Option<String>,
    bytes: PartBytes,
}

/// The bytes of a part, as they come. Who takes only some of them leaves the rest to the form.
#[derive(Clone)]
struct PartBytes {
    field: Arc<Mutex<Field<'static>>>,
    held: Held,
}

impl Stream for PartBytes {
    type Item = multer::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut field = self.field.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Pin::new(&mut *field).poll_next(context);
        if next.is_ready() {
            self.held.clear();
        }
        next
    }
}

/// A file that was read.
pub struct Taken {
    pub file_name: String,
    pub result: Result<Job, Problem>,
}

impl Form {
    pub fn read(request: Request, conversion: Conversion, strict: bool) -> Result<Self, Problem> {
        conversion.options().map_err(Problem::bad_request)?;
        let key = idempotency_key(request.headers())?;
        let boundary = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| multer::parse_boundary(value).ok())
            .ok_or_else(|| Problem::bad_request("Files come as multipart/form-data."))?;
        let held = Held::default();
        let pieces = one_by_one(request.into_body().into_data_stream(), held.clone());
        Ok(Form {
            multipart: Multipart::new(pieces, boundary),
            held,
            rest: None,
            conversion,
            key,
            strict,
        })
    }

    /// The next part; what nobody took of the one before is passed over.
    async fn next(&mut self) -> multer::Result<Option<Part>> {
        if let Some(mut rest) = self.rest.take() {
            while rest.next().await.transpose()?.is_some() {}
        }
        let Some(field) = self.multipart.next_field().await? else {
            return Ok(None);
        };
        self.held.clear();
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().map(clean_name);
        let bytes = PartBytes {
            field: Arc::new(Mutex::new(field)),
            held: self.held.clone(),
        };
        self.rest = Some(bytes.clone());
        Ok(Some(Part {
            name,
            file_name,
            bytes,
        }))
    }

    /// Takes a part that is no file for an option.
    async fn set(&mut self, part: Part) -> Result<(), Problem> {
        let Part {
            name, mut bytes, ..
        } = part;
        let mut value = Vec::new();
        while let Some(piece) = bytes.next().await.transpose().map_err(of_form)? {
            value.extend_from_slice(&piece);
            if value.len() > LONGEST_VALUE {
                let detail = format!("{name}: no option is as long; a file has a file name.");
                return Err(Problem::bad_request(detail));
            }
        }
        let set = self
            .conversion
            .with(&name, &String::from_utf8_lossy(&value));
        self.conversion = set.map_err(Problem::bad_request)?;
        Ok(())
    }
}

fn of_form(e: multer::Error) -> Problem {
    Problem::bad_request(match e {
        multer::Error::StreamReadFailed(e) if e.is::<Endless>() => e.to_string(),
        e => e.to_string(),
    })
}

impl Gateway {
    /// Takes the files of a form, each on its own.
    pub async fn take_form(
        &self,
        session: &Session,
        mut form: Form,
        batch: Id,
    ) -> Result<Vec<Taken>, Problem> {
        let mut taken = Vec::new();
        loop {
            let part = match form.next().await {
                Ok(Some(part)) => part,
                Ok(None) => break,
                Err(e) if taken.is_empty() => return Err(of_form(e)),
                // What is complete was taken; what is not must not look as if it were.
                Err(e) => {
                    taken.push(Taken {
                        file_name: "the rest of the request".into(),
                        result: Err(of_form(e)),
                    });
                    break;
                }
            };
            let Some(file_name) = part.file_name.clone() else {
                if !form.strict {
                    continue;
                }
                if !taken.is_empty() {
                    self.take_back(&taken, batch).await;
                    let detail = format!("{}: options come before the first file.", part.name);
                    return Err(Problem::bad_request(detail));
                }
                form.set(part).await?;
                continue;
            };
            if taken.is_empty() {
                form.conversion.options().map_err(Problem::bad_request)?;
            }
            if taken.len() >= self.limits.files {
                let problem = Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("One request takes {} files.", self.limits.files),
                );
                taken.push(Taken {
                    file_name,
                    result: Err(problem),
                });
                break;
            }
            let request = intake::Request {
                owner: session.email.clone(),
                key: form
                    .key
                    .as_ref()
                    .map(|key| format!("{key}#{}", taken.len())),
                batch: Some(batch),
                file_name: file_name.clone(),
                options: form.conversion.to_json(),
            };
            let result = self
                .take_file(session, request, part.bytes, form.strict)
                .await;
            // The rest of a file that is too large is not worth waiting for.
            let stop = result
                .as_ref()
                .is_err_and(|problem| problem.status() == StatusCode::PAYLOAD_TOO_LARGE);
            taken.push(Taken { file_name, result });
            if stop {
                break;
            }
        }
        if taken.is_empty() {
            return Err(Problem::bad_request("There is no file in this request."));
        }
        Ok(taken)
    }

    /// Removes what became jobs in this request, and not in an earlier one that it repeats.
    pub async fn take_back(&self, taken: &[Taken], batch: Id) {
        for job in taken.iter().filter_map(|file| file.result.as_ref().ok()) {
            if job.batch == Some(batch) {
                // A sweeper removes what a failure leaves.
                let _ = self.ports.discard(job.id).await;
            }
        }
    }

    async fn take_file(
        &self,
        session: &Session,
        request: intake::Request,
        video: PartBytes,
        sniff: bool,
    ) -> Result<Job, Problem> {
        let room = self.room(session).await?;
        let (limit, beyond) = self.allowed(room);
        let watch = Watch {
            limit,
            beyond,
            pause: self.limits.body_timeout,
            sniff,
            cancel: tokio_util::sync::CancellationToken::new(),
        };
        let job = self.ports.store(request, watched(video, watch)).await?;
        let turn = self.entering.turn(&session.email).await;
        // What came in meanwhile may have taken the room.
        if let Err(problem) = self.admit(session, job.source_bytes).await {
            // A sweeper removes what a failure leaves.
            let _ = self.ports.videos.delete(job.source).await;
            return Err(problem);
        }
        let job = self.ports.take_in(job).await?;
        drop(turn);
        self.metrics.uploaded(job.source_bytes);
        tracing::info!(job_id = %job.id, bytes = job.source_bytes, "video taken in");
        Ok(job)
    }
}

/// The client's name for this request.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    match key.to_str() {
        Ok(key) if (1..=LONGEST_KEY).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Problem::bad_request(
            "An Idempotency-Key has 1 to 200 visible characters.",
        )),
    }
}

/// A file's name without the folders that some clients send along, and short enough for any disk.
pub fn clean_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let mut clean: String = name.chars().filter(|c| !c.is_control()).collect();
    while clean.len() > LONGEST_NAME {
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
#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Body;
    use futures_util::stream;

    use super::*;

    const PIECE: usize = 64 * 1024;

    /// A form that begins with `start`, goes on with so many pieces of `filler`, and ends with `end`; and how many
    /// pieces of it were asked for.
    fn form(start: &str, pieces: usize, filler: u8, end: &str) -> (Form, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
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
        let form = Form::read(request, Conversion::default(), true);
        (form.unwrap_or_else(|_| panic!("a form")), asked)
    }

    const HEAD: &str =
        "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp4\"\r\n";

    #[tokio::test]
    async fn a_form_whose_part_never_begins_is_refused_before_it_is_in_memory() {
        for (start, filler) in [
            ("no boundary", b'a'),
            (HEAD, b'a'),
            (HEAD, b'\n'),
            ("--x", b' '),
        ] {
            let (mut form, asked) = form(start, 256, filler, "");
            let refusal = of_form(form.next().await.err().unwrap());
            assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
            let asked = asked.load(Ordering::Relaxed);
            assert!(asked < 5, "{asked} pieces of {start:?} and {filler}");
        }
    }

    #[tokio::test]
    async fn what_nobody_took_of_a_part_is_passed_over() {
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
        assert!(clean_name(&"\u{fc}".repeat(300)).len() <= LONGEST_NAME);
    }
}
