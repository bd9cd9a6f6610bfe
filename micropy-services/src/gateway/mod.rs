//! The gateway: what people and programs reach over HTTP.

mod accounts;
mod archive;
mod body;
mod compat;
mod download;
mod events;
mod jobs;
mod operation;
mod problem;
mod quota;
mod routes;
mod session;
pub mod tus;
pub mod uploads;
mod view;

pub use problem::Problem;
pub use routes::router;

use std::sync::Arc;

use axum::extract::FromRef;
use micropy_core::ports::jobs::Job;
use micropy_core::ports::{Id, jobs as ledger};
use tokio_util::sync::CancellationToken;

use self::session::Session;
use crate::Limits;
use crate::Ports;
use crate::accounts::Accounts;
use crate::auth;
use crate::telemetry::metrics::Metrics;

/// What the gateway's routes work with.
pub struct Gateway {
    pub ports: Ports,
    pub accounts: Arc<dyn Accounts>,
    pub metrics: Arc<Metrics>,
    pub limits: Limits,
    /// People may register themselves.
    pub registration: bool,
    /// An MP3 that no job owns is anybody's who is signed in: those of an original converter are.
    pub unowned_downloads: bool,
    /// Cookies are for HTTPS only.
    pub secure: bool,
    pub writers: tus::Writers,
    pub entering: quota::Entering,
    pub archives: archive::Room,
    /// The service stops: streams without end must end.
    pub stop: CancellationToken,
}

type Shared = Arc<Gateway>;

impl FromRef<Shared> for auth::Shared {
    fn from_ref(gateway: &Shared) -> Self {
        auth::Shared(gateway.accounts.clone())
    }
}

impl Gateway {
    /// A job, for its owner alone: to anybody else there is no such job.
    async fn own_job(&self, session: &Session, id: &str) -> Result<Job, Problem> {
        let id: Id = id.parse().map_err(|_| Problem::not_found())?;
        let job = self.ports.jobs.get(id).await?;
        if job.owner != session.email {
            return Err(ledger::Error::NotFound.into());
        }
        Ok(job)
    }
}
