//! Many MP3s as one ZIP file, which is made while it is sent.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use micropy_core::ports::jobs::{Filter, Job, State as JobState};
use micropy_core::ports::{Id, Storage};
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};
use utoipa::IntoParams;
use zip::read::read_zipfile_from_stream;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::Shared;
use super::body::Query;
use super::download::content_disposition;
use super::problem::Problem;
use super::session::{Session, while_it_lasts};
use super::slots::Slots;
use crate::job::intake::STEP;
use crate::job::product::Product;

/// Jobs in one archive.
const MAX_JOBS: usize = 1000;
/// Pieces that may wait for a slow client.
const QUEUED: usize = 4;
/// Archives made at the same time. Each occupies a thread of the pool for blocking work until its client has received
/// it.
const MAX_ARCHIVES: usize = 32;

/// Archives of one user made at the same time.
const PER_USER: usize = 2;

/// Slots for the archives that are being made.
pub fn slots() -> Slots {
    Slots::new("archives", MAX_ARCHIVES, PER_USER)
}

/// The MP3s to download.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Selection {
    /// The jobs of this batch.
    batch: Option<String>,
    /// These jobs, separated by commas.
    jobs: Option<String>,
}

/// Download the MP3s of a batch, of some jobs, or all, as a ZIP file. The chapters of a video are in a folder.
#[utoipa::path(
    get, path = "/api/v1/archive", tag = "jobs",
    params(Selection),
    responses(
        (status = 200, content_type = "application/zip", description = "The ZIP file, not compressed"),
        (status = 400, description = "Invalid query", body = Problem),
        (status = 404, description = "None of them has an MP3", body = Problem),
        (status = 429, description = "You have too many archives made; see Retry-After", body = Problem),
    )
)]
pub async fn archive(
    State(gateway): State<Shared>,
    session: Session,
    Query(selection): Query<Selection>,
) -> Result<Response, Problem> {
    let slot = gateway.archives.take(&session.email)?;
    let turn = gateway.readers.wait(session.email.clone()).await;
    let mut entries = Entries::default();
    match &selection.jobs {
        Some(ids) => {
            let mut named = HashSet::new();
            for id in ids.split(',').map(|id| id.trim().to_ascii_lowercase()) {
                // A job that is named twice is in the archive once.
                if named.contains(&id) {
                    continue;
                }
                if named.len() == MAX_JOBS {
                    let detail = format!("An archive takes {MAX_JOBS} jobs.");
                    return Err(Problem::bad_request(detail));
                }
                entries.add(gateway.own_job(&session, &id).await?);
                named.insert(id);
            }
        }
        None => {
            let batch = selection.batch.as_ref().map(|batch| batch.parse());
            let mut filter = Filter {
                states: vec![JobState::Done],
                batch: batch.transpose().map_err(|_| Problem::not_found())?,
                before: None,
            };
            for _ in 0..MAX_JOBS / STEP {
                let jobs = gateway.ports.jobs.list(&session.email, &filter, STEP);
                let jobs = jobs.await?;
                let is_last = jobs.len() < STEP;
                filter.before = jobs.last().map(|job| job.id);
                jobs.into_iter().for_each(|job| entries.add(job));
                if is_last {
                    break;
                }
            }
        }
    }
    drop(turn);
    let entries = entries.all;
    if entries.is_empty() {
        return Err(Problem::not_found());
    }
    let (sender, mut receiver) = mpsc::channel(QUEUED);
    let (storage, runtime) = (gateway.ports.mp3s.clone(), Handle::current());
    tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let pipe = Pipe(sender.clone());
        if let Err(e) = write(pipe, entries, &storage, &runtime) {
            // Breaks the connection, so that the client does not mistake the file for complete.
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
    let body = while_it_lasts(gateway.watch(&session), body);
    Ok((headers, Body::from_stream(body)).into_response())
}

struct Entry {
    /// The name of the MP3, or of the folder of its chapters.
    name: String,
    product: Product,
    mp3: Id,
}

/// The entries for jobs, under names that are unique, also where case does not count, and lie in the archive's folder.
#[derive(Default)]
struct Entries {
    all: Vec<Entry>,
    /// Their names in lower case.
    taken: HashSet<String>,
}

impl Entries {
    /// Adds what a job has made, if it has made anything.
    fn add(&mut self, job: Job) {
        let Some(output) = job.output else { return };
        let product = Product::of(&output);
        let stem = Product::stem(&job.file_name);
        let extension = match product {
            Product::Mp3 => ".mp3",
            // It becomes a folder.
            Product::Zip => "",
        };
        let mut unique = format!("{stem}{extension}");
        let mut n = 2;
        while !self.taken.insert(unique.to_lowercase()) {
            unique = format!("{stem} ({n}){extension}");
            n += 1;
        }
        self.all.push(Entry {
            name: unique,
            product,
            mp3: output.mp3,
        });
    }
}

fn write(
    pipe: Pipe,
    entries: Vec<Entry>,
    storage: &Arc<dyn Storage>,
    runtime: &Handle,
) -> io::Result<()> {
    let mut zip = ZipWriter::new_stream(io::BufWriter::with_capacity(64 * 1024, pipe));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(true);
    for entry in entries {
        let bytes = runtime
            .block_on(storage.get(entry.mp3, 0..u64::MAX))
            .map_err(io::Error::other)?;
        let mut bytes = SyncIoBridge::new_with_handle(StreamReader::new(bytes), runtime.clone());
        match entry.product {
            Product::Mp3 => {
                zip.start_file(entry.name, options)?;
                io::copy(&mut bytes, &mut zip)?;
            }
            Product::Zip => {
                while let Some(mut mp3) = read_zipfile_from_stream(&mut bytes)? {
                    let chapter = Product::Mp3.file_name(&mp3.name()?);
                    zip.start_file(format!("{}/{chapter}", entry.name), options)?;
                    io::copy(&mut mp3, &mut zip)?;
                }
            }
        }
    }
    zip.finish()?.into_inner().flush()
}

/// Writes into a channel, until the client is gone.
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
        let job = |name: &str, report: Option<&str>| Job {
            file_name: name.into(),
            output: report.map(|report| Output {
                mp3: Id::from_bytes([1; 12]),
                bytes: 1,
                report: report.into(),
            }),
            ..Job::new(
                Id::from_bytes([2; 12]),
                "a",
                Id::from_bytes([3; 12]),
                Timestamp::default(),
            )
        };
        let jobs = vec![
            job("a.mp4", Some("{}")),
            job("a.mov", Some("{}")),
            job("a (2).mp4", Some("{}")),
            job("b.mp4", None),
            job("a.m4b", Some(r#"{"chapters": 2}"#)),
            job("a.m4a", Some(r#"{"chapters": 2}"#)),
            job("A.mp4", Some("{}")),
            job("...m4b", Some(r#"{"chapters": 2}"#)),
            job("../b.m4b", Some(r#"{"chapters": 2}"#)),
            job("con.mp4", Some("{}")),
        ];
        let mut entries = Entries::default();
        jobs.into_iter().for_each(|job| entries.add(job));
        let names: Vec<String> = entries.all.into_iter().map(|entry| entry.name).collect();
        assert_eq!(
            names,
            [
                "a.mp3",
                "a (2).mp3",
                "a (2) (2).mp3",
                "a",
                "a (2)",
                "A (3).mp3",
                "audio",
                "_b",
                "_con.mp3"
            ]
        );
    }
}
