//! Many MP3s as one ZIP file, made while it is sent.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::TryStreamExt;
use micropy_core::ports::jobs::{Filter, Job, State as JobState};
use micropy_core::ports::{Id, Storage};
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use utoipa::IntoParams;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::Shared;
use super::body::Query;
use super::download::content_disposition;
use super::problem::Problem;
use super::session::Session;
use crate::services::converter::mp3_name;

/// Jobs in one archive.
const MOST: usize = 1000;
/// Pieces that wait for a slow client.
const WAITING: usize = 4;

/// Which MP3s.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Selection {
    /// Those of this batch.
    batch: Option<String>,
    /// Those of these jobs, separated by commas.
    jobs: Option<String>,
}

/// The MP3s of a batch, of some jobs, or all, as a ZIP file.
#[utoipa::path(
    get, path = "/api/v1/archive", tag = "jobs",
    params(Selection),
    responses(
        (status = 200, content_type = "application/zip", description = "MP3s, not compressed again"),
        (status = 401, body = Problem),
        (status = 404, description = "No MP3 among them", body = Problem),
    )
)]
pub async fn archive(
    State(gateway): State<Shared>,
    session: Session,
    Query(selection): Query<Selection>,
) -> Result<Response, Problem> {
    let jobs = match &selection.jobs {
        Some(ids) => {
            let mut jobs = Vec::new();
            for id in ids.split(',').take(MOST) {
                jobs.push(gateway.own_job(&session, id.trim()).await?);
            }
            jobs
        }
        None => {
            let batch = selection.batch.as_ref().map(|batch| batch.parse());
            let filter = Filter {
                states: vec![JobState::Done],
                batch: batch.transpose().map_err(|_| Problem::not_found())?,
                before: None,
            };
            gateway
                .ports
                .jobs
                .list(&session.email, &filter, MOST)
                .await?
        }
    };
    let entries = entries(jobs);
    if entries.is_empty() {
        return Err(Problem::not_found());
    }
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let (storage, runtime) = (gateway.ports.mp3s.clone(), Handle::current());
    tokio::task::spawn_blocking(move || {
        let pipe = Pipe(sender.clone());
        if let Err(e) = write(pipe, entries, &storage, &runtime) {
            // Cuts the answer off, so that the client does not take it for whole.
            let _ = sender.blocking_send(Err(e));
        }
    });
    let body = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    let headers = [
        (CONTENT_TYPE, "application/zip".to_owned()),
        (
            CONTENT_DISPOSITION,
            content_disposition("attachment", "micropy.zip"),
        ),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

struct Entry {
    name: String,
    mp3: Id,
}

/// Done jobs under names of which no two are the same.
fn entries(jobs: Vec<Job>) -> Vec<Entry> {
    let mut taken = HashSet::new();
    let mut entries = Vec::new();
    for job in jobs {
        let Some(output) = job.output else { continue };
        let name = mp3_name(&job.file_name);
        let mut unique = name.clone();
        let mut n = 2;
        while !taken.insert(unique.clone()) {
            let stem = name.strip_suffix(".mp3").unwrap_or(&name);
            unique = format!("{stem} ({n}).mp3");
            n += 1;
        }
        entries.push(Entry {
            name: unique,
            mp3: output.mp3,
        });
    }
    entries
}

fn write(
    pipe: Pipe,
    entries: Vec<Entry>,
    storage: &Arc<dyn Storage>,
    runtime: &Handle,
) -> io::Result<()> {
    let mut zip = ZipWriter::new_stream(io::BufWriter::with_capacity(64 * 1024, pipe));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for entry in entries {
        let mut mp3 = runtime
            .block_on(storage.get(entry.mp3, 0..u64::MAX))
            .map_err(io::Error::other)?;
        zip.start_file(entry.name, options.large_file(true))?;
        while let Some(piece) = runtime.block_on(mp3.try_next())? {
            zip.write_all(&piece)?;
        }
    }
    zip.finish()?.into_inner().flush()
}

/// Writes into a channel; a client that is gone ends it.
struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        self.0
            .blocking_send(Ok(piece))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use micropy_core::ports::Timestamp;
    use micropy_core::ports::jobs::Output;

    #[test]
    fn names_in_an_archive_are_unique() {
        let job = |name: &str, done: bool| Job {
            file_name: name.into(),
            output: done.then(|| Output {
                mp3: Id::from_bytes([1; 12]),
                bytes: 1,
                report: String::new(),
            }),
            ..Job::new(
                Id::from_bytes([2; 12]),
                "a",
                Id::from_bytes([3; 12]),
                Timestamp::default(),
            )
        };
        let jobs = vec![
            job("a.mp4", true),
            job("a.mov", true),
            job("a (2).mp4", true),
            job("b.mp4", false),
        ];
        let names: Vec<String> = entries(jobs).into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["a.mp3", "a (2).mp3", "a (2) (2).mp3"]);
    }
}
