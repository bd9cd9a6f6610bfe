//! The files of a form that become one MP3: they are stored one behind another, as one video, and the job's options tell
//! where each of them is.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use micropy_core::ports::Id;
use micropy_core::ports::jobs::Job;
use tokio_util::sync::CancellationToken;

use super::{File, Form, Part, PartBytes, Received, Submission, file_key, form_problem};
use crate::gateway::Gateway;
use crate::gateway::body::{Rejection, may_be_mp4};
use crate::gateway::problem::Problem;
use crate::gateway::session::Session;
use crate::job::options::{ConversionOptions, JoinedVideo, MOST_JOINED, check_videos};

/// What has arrived of the files.
#[derive(Clone, Default)]
struct Arrived(Arc<Mutex<Files>>);

#[derive(Default)]
struct Files {
    /// Those that have begun.
    videos: Vec<JoinedVideo>,
    /// Why the form was read no further.
    problem: Option<Problem>,
}

impl Arrived {
    fn with<T>(&self, work: impl FnOnce(&mut Files) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Gateway {
    /// Refuses to join files where an original converter may come to do it: it would convert the first and leave out the
    /// others.
    pub fn check_join(&self, options: &ConversionOptions) -> Result<(), Problem> {
        match options.join == Some(true) && self.unowned_downloads {
            true => Err(Problem::bad_request(
                "join: the converters of this service may not be able to.",
            )),
            false => Ok(()),
        }
    }

    /// Receives the files of a form, of which `first` has begun, as one video. Either all of them become one job, or
    /// nothing does.
    pub(super) async fn receive_joined(
        &self,
        session: &Session,
        form: Form,
        first: Part,
        batch: Id,
        session_ended: CancellationToken,
    ) -> Result<Received, Problem> {
        let file_name = first.file_name.clone().unwrap_or_default();
        let options = form.options.clone();
        let submission = Submission {
            owner: session.email.clone(),
            key: form.key.as_ref().map(|key| file_key(key, 0)),
            batch: Some(batch),
            file_name: file_name.clone(),
            options: options.to_json(),
        };
        let arrived = Arrived::default();
        let most = form.length;
        let files = joined(form, first, self.limits.files, arrived.clone());
        let noted = arrived.clone();
        let file = File {
            video: Box::pin(files.inspect_err(move |problem| {
                noted.with(|files| files.problem = Some(problem.clone()));
            })),
            most,
            // Each was looked at.
            sniff: false,
        };
        let told = arrived.clone();
        let complete = move |job: &mut Job| {
            let videos = told.with(|files| std::mem::take(&mut files.videos));
            let options = ConversionOptions {
                videos: Some(videos),
                ..options
            };
            job.options = options.to_json();
        };
        let result = self.receive_file(session, submission, file, session_ended, complete);
        match result.await {
            Ok(job) => Ok(Received {
                file_name,
                result: Ok(job),
            }),
            // To the storage, every problem with the form is a broken connection.
            Err(problem) => Err(arrived
                .with(|files| files.problem.take())
                .unwrap_or(problem)),
        }
    }
}

/// The bytes of the files of a form, of which there are `most` at most.
fn joined(
    form: Form,
    first: Part,
    most: usize,
    arrived: Arrived,
) -> impl Stream<Item = Result<Bytes, Problem>> + Send {
    let state = (form, Some(first), None::<PartBytes>, arrived);
    stream::try_unfold(
        state,
        move |(mut form, mut part, mut file, arrived)| async move {
            loop {
                if let Some(begun) = part.take() {
                    begin(&begun, most, &arrived)?;
                    file = Some(begun.bytes);
                }
                if let Some(bytes) = &mut file {
                    match bytes.next().await.transpose().map_err(form_problem)? {
                        Some(piece) => {
                            note(&piece, form.strict, &arrived)?;
                            return Ok(Some((piece, (form, part, file, arrived))));
                        }
                        None => end(&arrived)?,
                    }
                }
                file = None;
                let Some(next) = form.next().await.map_err(form_problem)? else {
                    return Ok(None);
                };
                match &next.file_name {
                    Some(_) => part = Some(next),
                    None if form.strict => {
                        let detail = format!("{}: options come before the first file.", next.name);
                        return Err(Problem::bad_request(detail));
                    }
                    None => {}
                }
            }
        },
    )
}

/// Another file has begun.
fn begin(part: &Part, most: usize, arrived: &Arrived) -> Result<(), Problem> {
    arrived.with(|files| {
        if files.videos.len() >= most.min(MOST_JOINED) {
            let detail = format!("{} files at most are joined.", most.min(MOST_JOINED));
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        files.videos.push(JoinedVideo {
            name: part.file_name.clone().unwrap_or_default(),
            bytes: 0,
        });
        Ok(())
    })
}

/// A piece of the file that was begun last has arrived.
fn note(piece: &Bytes, sniff: bool, arrived: &Arrived) -> Result<(), Problem> {
    arrived.with(|files| {
        let Some(video) = files.videos.last_mut() else {
            return Ok(());
        };
        if sniff && video.bytes == 0 && !may_be_mp4(piece) {
            return Err(of_file(video, Rejection::NotMp4.into()));
        }
        video.bytes += piece.len() as u64;
        Ok(())
    })
}

/// The file that was begun last has arrived.
fn end(arrived: &Arrived) -> Result<(), Problem> {
    arrived.with(|files| match files.videos.last() {
        Some(empty) if empty.bytes == 0 => {
            let problem = Problem::bad_request("The file is empty.");
            Err(of_file(empty, problem))
        }
        _ => check_videos(&files.videos)
            .map(drop)
            .map_err(Problem::bad_request),
    })
}

/// A problem of one of several files.
fn of_file(video: &JoinedVideo, mut problem: Problem) -> Problem {
    let detail = problem.detail.unwrap_or_default();
    problem.detail = Some(format!("{}: {detail}", video.name));
    problem
}
