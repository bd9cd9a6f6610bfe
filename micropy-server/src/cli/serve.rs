//! `micropy-server`: all services in one process, or with a service's name, that one alone.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use super::{failed, usage};
use crate::compose::{Service, Services};
use crate::config::{Config, ConfigError, Layers, LogFormat};
use micropy_core::ports::jobs::Topics;
use micropy_services::telemetry::{Messaging, Telemetry};

/// For the last traces, where stopping took all the time there was.
const LAST_TRACES: Duration = Duration::from_secs(1);

/// The arguments of `micropy-server` and of its services. Every setting can also be set as `MICROPY_…` in the environment
/// or in a file; `--print-config` shows them all.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address of the gateway: page, API, uploads [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,

    /// Address of the auth service [default: 127.0.0.1:5000]
    #[arg(long, value_name = "ADDRESS")]
    auth_listen: Option<String>,

    /// Folder of everything that is kept [default: micropy-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    /// Address of /healthz, /readyz and /metrics of a converter or notification service of its own
    #[arg(long, value_name = "ADDRESS")]
    health_listen: Option<String>,

    /// URL that users reach the gateway by, for links in mails
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// Conversions at the same time [default: one for every two cores]
    #[arg(long, value_name = "N")]
    workers: Option<String>,

    /// Form of the log on standard error: human or json
    #[arg(long, value_name = "FORM")]
    log: Option<String>,

    /// TOML file with settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print all settings, with where each comes from, and end
    #[arg(long)]
    print_config: bool,
}

/// Runs the services until SIGTERM or Ctrl-C.
pub fn run(args: Args, services: &[Service]) -> ExitCode {
    return_memory();
    let flags = [
        ("listen", args.listen),
        ("auth_listen", args.auth_listen),
        ("data_dir", args.data_dir),
        ("health_listen", args.health_listen),
        ("public_url", args.public_url),
        ("workers", args.workers),
        ("log", args.log),
    ];
    let flags = flags
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let layers = match Layers::read(flags, args.config.as_deref()) {
        Ok(layers) => layers,
        Err(e) => return usage(&e),
    };
    if args.print_config {
        print!("{}", layers.print());
        return ExitCode::SUCCESS;
    }
    let config = match layers
        .into_config()
        .and_then(|config| check(config, services))
    {
        Ok(config) => config,
        Err(e) => return usage(&e),
    };
    let telemetry = match telemetry(&config, services) {
        Ok(telemetry) => telemetry,
        Err(e) => return failed(&e),
    };
    log(&config, &telemetry);
    let grace = config.grace;
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => return failed(&e),
    };
    match runtime.block_on(serve(config, services)) {
        Ok(stopped) => {
            let left = grace.saturating_sub(stopped.elapsed());
            telemetry.close(left.max(LAST_TRACES));
            ExitCode::SUCCESS
        }
        Err(e) => failed(&e),
    }
}

/// Large blocks go back to the system when they are freed. Once it has seen one, glibc takes blocks up to its size from
/// heaps instead, one for each thread, which small blocks above them keep: 19 MiB stayed of every thread that had hashed
/// a password.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn return_memory() {
    const LARGE: libc::c_int = 128 * 1024;
    // SAFETY: it changes a number of the allocator's, before there is another thread.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn return_memory() {}

/// What collects traces, where the settings name a collector.
fn telemetry(config: &Config, services: &[Service]) -> std::io::Result<Telemetry> {
    if config.otlp_endpoint.is_empty() {
        return Ok(Telemetry::off());
    }
    let messaging = match config.urls.queue.starts_with("amqp") {
        true => Messaging {
            system: "rabbitmq",
            queues: Topics {
                video: config.video_queue.clone(),
                mp3: config.mp3_queue.clone(),
                failed: format!("{}.failed", config.mp3_queue),
            },
        },
        false => Messaging {
            system: "sqlite",
            queues: Topics::each(|topic| topic.name().to_owned()),
        },
    };
    Telemetry::open(&config.otlp_endpoint, name(services), messaging)
}

/// What the services of this process are called in traces.
fn name(services: &[Service]) -> &'static str {
    match services {
        [Service::Gateway, ..] if services.len() < Service::ALL.len() => "micropy-gateway",
        [Service::Auth] => "micropy-auth",
        [Service::Converter] => "micropy-converter",
        [Service::Notification] => "micropy-notification",
        _ => "micropy",
    }
}

/// Whoever makes tokens needs a secret.
fn check(config: Config, services: &[Service]) -> Result<Config, ConfigError> {
    let mut addresses = Vec::new();
    if services.contains(&Service::Gateway) && config.urls.auth.is_empty() {
        addresses.push(config.listen);
    }
    if services.contains(&Service::Auth) {
        addresses.push(config.auth_listen);
    }
    config.check_secret(&addresses)?;
    Ok(config)
}

/// Returns when it was told to stop, and has.
async fn serve(config: Config, services: &[Service]) -> std::io::Result<Instant> {
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let services = Services::open(config, services, &stop).await?;
    println!("micropy is ready: {}", services.url());
    let stopping = stop.clone();
    let told = tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping");
        stopping.cancel();
        Instant::now()
    });
    services.run(stop).await;
    tracing::info!("stopped");
    Ok(told.await?)
}

fn log(config: &Config, telemetry: &Telemetry) {
    // lapin reports as errors what its caller handles and reports, with the message's body.
    let filter = EnvFilter::new(format!("lapin=off,{}", config.log_level));
    let lines = fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = match config.log {
        LogFormat::Human => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter.add_directive(Telemetry::unlogged())))
        .with(telemetry.layer())
        .init();
}
