//! An application of its own that converts videos under `/audio`, with everything in memory:
//!
//! ```sh
//! cargo run -p micropy-services --example embedded -- 127.0.0.1:8080
//! ```
//!
//! Started with `convert-one-video`, this program is also the worker process that converts them.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::get;
use micropy_core::ports::memory::MemoryAuth;
use micropy_core::ports::{Clock, Timestamp};
use micropy_services::Ports;
use micropy_services::accounts::{LocalAccounts, Secret};
use micropy_services::converter::ConverterService;
use micropy_services::gateway::Gateway;
use micropy_services::http::Server;
use micropy_services::sweeper::Sweeper;
use micropy_services::worker::{self, Worker};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The argument that makes this program a worker process.
const WORKER: &str = "convert-one-video";

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Timestamp::from_millis(now.map_or(0, |now| now.as_millis() as i64))
    }
}

fn main() -> io::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some(WORKER) => worker::run(),
        address => serve(address.unwrap_or("127.0.0.1:8080")),
    }
}

#[tokio::main]
async fn serve(address: &str) -> io::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // In production, ports are backed by stores that survive the process: see `micropy-adapters`.
    let ports = Ports::in_memory(clock.clone());
    // So is this secret: `openssl rand -hex 32` makes one.
    let secret = Secret::new("an example, and so no secret at all");
    let accounts = LocalAccounts::new(Arc::new(MemoryAuth::default()), clock, &secret);

    let gateway = Gateway::new(ports.clone(), Arc::new(accounts)).mounted_at("/audio");
    let converter = ConverterService::new(ports.clone(), Worker::this_program([WORKER])?);
    let sweeper = Sweeper::new(ports);
    let app = Router::new()
        .route("/", get(|| async { "This is my application.\n" }))
        .nest("/audio", gateway.router());

    let listener = TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    let shutdown = CancellationToken::new();
    let ctrl_c = async {
        let _ = tokio::signal::ctrl_c().await;
        shutdown.cancel();
    };
    tokio::join!(
        gateway.run(shutdown.clone()),
        converter.run(shutdown.clone()),
        sweeper.run(shutdown.clone()),
        Server::new(app).run(listener, shutdown.clone()),
        ctrl_c,
    );
    Ok(())
}
