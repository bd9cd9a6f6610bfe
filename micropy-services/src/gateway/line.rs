//! Where queued jobs stand, and when they will begin.
//!
//! Owners take turns, one job each. So a job that is in line has a place among those of all users, and one that waits for
//! its owner's turn has none yet. When either begins is an estimate by what the last conversions took.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use micropy_core::ports::Id;
use micropy_core::ports::jobs::{Job, JobViews, LINE_LENGTH, Line, State};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

/// How long an answer of the ledger holds, for all jobs of an owner.
const HOLDS: Duration = Duration::from_secs(3);
/// Owners whose answers are remembered, of some kilobytes each.
const CAPACITY: usize = 200;
/// Fewer conversions tell nothing of the next ones.
const FEW: usize = 3;

/// Where a queued job stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct QueueView {
    /// Its place among the jobs of all users that are in line; 1 is next. None while an earlier job of yours is in line:
    /// users take turns, one job each.
    #[schema(minimum = 1, maximum = 500)]
    pub position: Option<usize>,
    /// Seconds until it begins, roughly: from what the last conversions took, those that run, and the jobs before it, as
    /// long as all others in line have more. None where too little is known.
    pub begins_in: Option<u64>,
}

impl QueueView {
    /// Where `job` stands in its owner's `line`. None if it is in neither part of it that is known.
    fn of(job: Id, line: &Line) -> Option<Self> {
        let place = |jobs: &[Id]| jobs.iter().position(|other| *other == job);
        let (position, before) = match (place(&line.in_line), place(&line.waiting)) {
            (Some(place), _) => (Some(place + 1), Some(place)),
            (None, Some(earlier)) => (None, line.before_waiting(earlier)),
            (None, None) => return None,
        };
        let begins_in = before.and_then(|before| line.time_for(before + 1));
        Some(QueueView {
            position,
            begins_in,
        })
    }
}

/// What follows from a line.
trait Estimate {
    /// The jobs before that one of the owner's that has `earlier` ones waiting before it.
    fn before_waiting(&self, earlier: usize) -> Option<usize>;

    /// Seconds until so many more have begun.
    fn time_for(&self, jobs: usize) -> Option<u64>;
}

impl Estimate for Line {
    fn before_waiting(&self, earlier: usize) -> Option<usize> {
        // The rest of the line is not known. It takes a round for each of the owner's jobs; the present one is counted
        // whole, wherever in line the owner is.
        let length = self.in_line.len();
        (length < LINE_LENGTH).then(|| length.max(1) * (earlier + 1))
    }

    fn time_for(&self, jobs: usize) -> Option<u64> {
        // Where nobody converts, nobody knows when somebody will.
        if self.running == 0 || self.took.len() < FEW {
            return None;
        }
        let mean = self.took.iter().sum::<Duration>().as_secs_f64() / self.took.len() as f64;
        Some((jobs as f64 * mean / self.running as f64).ceil() as u64)
    }
}

/// The latest answers of the ledger, so that a list of many jobs asks once, and one that is looked at again and again
/// every few seconds.
#[derive(Default)]
pub struct Lines {
    known: Mutex<HashMap<String, (Arc<Line>, Instant)>>,
}

impl Lines {
    /// Where a job stands, if it is queued.
    pub async fn place(&self, jobs: &(impl JobViews + ?Sized), job: &Job) -> Option<QueueView> {
        if job.state != State::Queued {
            return None;
        }
        QueueView::of(job.id, &*self.of(jobs, &job.owner).await?)
    }

    async fn of(&self, jobs: &(impl JobViews + ?Sized), owner: &str) -> Option<Arc<Line>> {
        if let Some((line, since)) = self.lock().get(owner)
            && since.elapsed() < HOLDS
        {
            return Some(line.clone());
        }
        let line = match jobs.line(owner).await {
            Ok(line) => Arc::new(line),
            Err(e) => {
                tracing::debug!(error = %e, "where jobs stand in line is not told");
                return None;
            }
        };
        let mut known = self.lock();
        if known.len() >= CAPACITY {
            known.retain(|_, (_, since)| since.elapsed() < HOLDS);
        }
        if known.len() >= CAPACITY {
            known.clear();
        }
        known.insert(owner.to_owned(), (line.clone(), Instant::now()));
        Some(line)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Arc<Line>, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use micropy_core::ports::jobs::{Jobs as _, Message, Topic};
    use micropy_core::ports::memory::MemoryJobs;
    use micropy_core::ports::time::{ManualClock, Timestamp};

    use super::*;

    fn id(number: usize) -> Id {
        let mut id = [0; 12];
        id[4..].copy_from_slice(&(number as u64).to_be_bytes());
        Id::from_bytes(id)
    }

    fn line(in_line: &[usize], waiting: &[usize], running: u64, seconds: &[u64]) -> Line {
        let ids = |numbers: &[usize]| numbers.iter().copied().map(id).collect();
        Line {
            in_line: ids(in_line),
            waiting: ids(waiting),
            running,
            took: seconds.iter().copied().map(Duration::from_secs).collect(),
        }
    }

    fn place(job: usize, line: &Line) -> Option<(Option<usize>, Option<u64>)> {
        QueueView::of(id(job), line).map(|view| (view.position, view.begins_in))
    }

    #[test]
    fn a_job_in_line_has_a_place_and_one_that_waits_comes_a_round_later() {
        // Two converters, of which each needs ten seconds for a job: one begins every five seconds.
        let line = line(&[7, 1, 8], &[2, 3], 2, &[5, 10, 15]);
        assert_eq!(place(7, &line), Some((Some(1), Some(5))));
        assert_eq!(place(1, &line), Some((Some(2), Some(10))));
        assert_eq!(place(8, &line), Some((Some(3), Some(15))));
        // Then 1, and before 2 the next of the two other owners.
        assert_eq!(place(2, &line), Some((None, Some(20))));
        assert_eq!(place(3, &line), Some((None, Some(35))));
        assert_eq!(place(4, &line), None, "it is not queued any more");
    }

    #[test]
    fn whoever_is_alone_waits_for_their_own_jobs() {
        let line = line(&[1], &[2, 3], 1, &[10, 10, 10]);
        let times = [1, 2, 3].map(|job| place(job, &line).unwrap().1);
        assert_eq!(times, [Some(10), Some(20), Some(30)]);
    }

    #[test]
    fn where_too_little_is_known_no_time_is_told() {
        for (running, took) in [(0, &[10, 10, 10][..]), (1, &[10, 10]), (1, &[])] {
            let line = line(&[1], &[2], running, took);
            assert_eq!(place(1, &line), Some((Some(1), None)));
            assert_eq!(place(2, &line), Some((None, None)));
        }
        let many: Vec<usize> = (1..=LINE_LENGTH).collect();
        let cut = line(&many, &[1000], 1, &[1, 1, 1]);
        assert_eq!(place(1000, &cut), Some((None, None)));
        assert_eq!(place(500, &cut), Some((Some(500), Some(500))));
    }

    #[tokio::test(start_paused = true)]
    async fn the_ledger_is_asked_once_for_all_jobs_of_an_owner_and_again_after_seconds() {
        let jobs = MemoryJobs::new(Arc::new(ManualClock::new(Timestamp::default())));
        let lines = Lines::default();
        let enter = async |number| {
            let job = Job {
                state: State::Queued,
                ..Job::new(
                    id(number),
                    "ann@example.com",
                    id(number + 100),
                    Timestamp::default(),
                )
            };
            let message = Message {
                topic: Topic::Video,
                payload: Vec::new(),
            };
            jobs.create(&job, Some(message)).await.unwrap();
            job
        };
        let first = enter(1).await;
        let next = QueueView {
            position: Some(1),
            begins_in: None,
        };
        assert_eq!(lines.place(&jobs, &first).await, Some(next));
        let second = enter(2).await;
        assert_eq!(lines.place(&jobs, &second).await, None, "a moment ago");
        tokio::time::advance(HOLDS).await;
        assert_eq!(
            lines.place(&jobs, &second).await,
            Some(QueueView::default())
        );
        let done = Job {
            state: State::Done,
            ..first
        };
        assert_eq!(lines.place(&jobs, &done).await, None);
        for number in 0..2 * CAPACITY {
            lines.of(&jobs, &number.to_string()).await.unwrap();
            assert!(lines.lock().len() <= CAPACITY);
        }
    }
}
