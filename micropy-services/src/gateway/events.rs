//! Jobs as they change: server-sent events.

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
use super::view::JobView;

/// Shorter than what proxies wait for.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// An event of the stream.
#[derive(ToSchema)]
#[expect(dead_code, reason = "this is for the document; axum has its own")]
struct JobEvent {
    /// `ready` or `job`.
    #[schema(pattern = "^(ready|job)$")]
    event: String,
    /// A job in JSON, as a `JobView`; `{}` where it is ready.
    data: String,
}

/// Your jobs as they change: events `job`, each with a job as its data, and first one `ready`: changes
/// after it are told.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "jobs",
    responses((status = 200, content_type = "text/event-stream", body = JobEvent))
)]
pub async fn events(
    State(gateway): State<Shared>,
    session: Session,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let changes = gateway.ports.jobs.watch(&session.email).await?;
    let jobs = changes.filter_map(|job| async move {
        Event::default()
            .event("job")
            .json_data(JobView::from(job))
            .ok()
    });
    let ready = stream::iter([Event::default().event("ready").data("{}")]);
    let stop = gateway.stop.clone().cancelled_owned();
    let events = ready.chain(jobs).take_until(stop).map(Ok);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
