//! Changes of jobs, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, StreamExt, stream};
use utoipa::ToSchema;

use super::Shared;
use super::problem::Problem;
use super::session::Session;
use super::slots::{Slots, share};

/// Shorter than the timeout of common proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams of one user at the same time: each open page has one.
const PER_USER: usize = 16;

/// Slots for streams. They leave half of the server's connections to requests that end.
pub fn slots(connections: usize) -> Slots {
    Slots::new(
        "streams of events",
        connections / 2,
        share(connections, PER_USER),
    )
}

/// An event.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes axum's type in the document")]
struct JobEvent {
    /// `ready` or `job`.
    #[schema(pattern = "^(ready|job)$")]
    event: String,
    /// A `JobView` in JSON; `{}` for `ready`.
    data: String,
}

/// Watch your jobs. Each change is an event `job` whose data is the job. The first event is `ready`: changes after it
/// are not missed. The stream ends when the token does.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "jobs",
    responses(
        (status = 200, content_type = "text/event-stream", body = JobEvent),
        (status = 429, description = "You have too many streams; see Retry-After", body = Problem),
    )
)]
pub async fn events(
    State(gateway): State<Shared>,
    session: Session,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let slot = gateway.streams.take(&session.email)?;
    let changes = gateway.ports.jobs.watch(&session.email).await?;
    let viewer = gateway.clone();
    let jobs = changes.filter_map(move |job| {
        let viewer = viewer.clone();
        async move {
            let job = viewer.view(job).await;
            Event::default().event("job").json_data(job).ok()
        }
    });
    let first = stream::iter([Event::default().event("ready").data("{}")]);
    let (shutdown, watched) = (gateway.shutdown.clone(), gateway.watch_token(&session));
    let over = async move {
        // All of it, and not its token alone: nobody looks after the session once it is dropped.
        let (watched, _slot) = (watched, slot);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = watched.ended.cancelled() => {}
        }
    };
    let events = first.chain(jobs).take_until(Box::pin(over)).map(Ok);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
