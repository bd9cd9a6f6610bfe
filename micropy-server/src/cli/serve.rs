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
use crate::settings::{Flags, Layers, LogFormat, Settings, SettingsError, Url};
use micropy_core::ports::jobs::Topics;
use micropy_services::telemetry::{Messaging, Telemetry};

/// Time for the last traces when stopping has used up the grace period.
const LAST_TRACES: Duration = Duration::from_secs(1);

/// The arguments of `micropy-server`, and of each service.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TOML file with settings [env: MICROPY_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print every setting and where it comes from, and exit
    #[arg(long)]
    print_config: bool,

    #[command(flatten)]
    pub flags: Flags,
}

/// Runs the services until SIGTERM or Ctrl-C.
pub fn run(args: Args, services: &[Service]) -> ExitCode {
    return_memory();
    allow_open_files();
    let layers = match Layers::read(args.flags, args.config.as_deref()) {
        Ok(layers) => layers,
        Err(e) => return usage(&e),
    };
    if args.print_config {
        print!("{}", layers.print());
        return ExitCode::SUCCESS;
    }
    let settings = Settings::from_layers(&layers);
    let settings = match settings.and_then(|settings| check(settings, services)) {
        Ok(settings) => settings,
        Err(e) => return usage(&e),
    };
    let telemetry = match telemetry(&settings, services) {
        Ok(telemetry) => telemetry,
        Err(e) => return failed(&e),
    };
    log(&settings, &telemetry);
    for name in layers.ignored() {
        tracing::warn!("{name} in the environment is no setting");
    }
    let grace = settings.operation.grace;
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => return failed(&e),
    };
    match runtime.block_on(serve(settings, services)) {
        Ok(stopped) => {
            let left = grace.saturating_sub(stopped.elapsed());
            telemetry.close(left.max(LAST_TRACES));
            ExitCode::SUCCESS
        }
        Err(e) => failed(&e),
    }
}

/// Makes glibc return large blocks to the system when they are freed.
///
/// By default, once a block of some size was freed, glibc takes later ones up to that size from per-thread heaps, where
/// a small block above them keeps them alive: every thread that had hashed a password kept 19 MiB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn return_memory() {
    const LARGE: libc::c_int = 128 * 1024;
    // SAFETY: it sets a parameter of the allocator while there is no other thread.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn return_memory() {}

/// Lets the process open as many files as the system allows it to. The limit that it starts with is often a low one,
/// for the sake of programs that wait for them by `select`.
#[cfg(target_os = "linux")]
fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum;
    // Where this is refused, there are fewer connections.
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
}

#[cfg(not(target_os = "linux"))]
fn allow_open_files() {}

/// What collects traces, where the settings name a collector.
fn telemetry(settings: &Settings, services: &[Service]) -> std::io::Result<Telemetry> {
    let Some(endpoint) = &settings.operation.otlp_endpoint else {
        return Ok(Telemetry::off());
    };
    let stores = &settings.stores;
    let queue = stores.queue_url.as_ref().map_or("", Url::scheme);
    let messaging = match queue.starts_with("amqp") {
        true => Messaging {
            system: "rabbitmq",
            queues: Topics {
                video: stores.video_queue.clone(),
                import: stores.import_queue(),
                mp3: stores.mp3_queue.clone(),
                failed: stores.failed_queue(),
            },
        },
        false => Messaging {
            system: "sqlite",
            queues: Topics::each(|topic| topic.name().to_owned()),
        },
    };
    Telemetry::open(endpoint.as_str(), name(services), messaging)
}

/// What the services of this process are called in traces.
fn name(services: &[Service]) -> &'static str {
    match services {
        [Service::Gateway, ..] if services.len() < Service::ALL.len() => "micropy-gateway",
        [Service::Auth] => "micropy-auth",
        [Service::Converter] => "micropy-converter",
        [Service::Notification] => "micropy-notification",
        [Service::Sweeper] => "micropy-sweeper",
        _ => "micropy",
    }
}

/// A service that makes tokens needs a secret that stays the same.
fn check(settings: Settings, services: &[Service]) -> Result<Settings, SettingsError> {
    let addresses = &settings.addresses;
    let mut makes_tokens = Vec::new();
    if services.contains(&Service::Gateway) && addresses.auth_url().is_none() {
        makes_tokens.push(addresses.listen);
    }
    if services.contains(&Service::Auth) {
        makes_tokens.push(addresses.auth_listen);
    }
    settings.check_secret(&makes_tokens)?;
    Ok(settings)
}

/// Runs until the process is told to stop, and returns when that was.
async fn serve(settings: Settings, services: &[Service]) -> std::io::Result<Instant> {
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let services = Services::open(settings, services, &stop).await?;
    println!("micropy is ready: {}", services.url());
    let stopping = stop.clone();
    let told_to_stop = tokio::spawn(async move {
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
    Ok(told_to_stop.await?)
}

fn log(settings: &Settings, telemetry: &Telemetry) {
    // lapin logs as errors what its caller handles and logs, and includes the message's body.
    let filter = EnvFilter::new(format!("lapin=off,{}", settings.operation.log_level));
    let lines = fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = match settings.operation.log {
        LogFormat::Human => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter.add_directive(Telemetry::unlogged())))
        .with(telemetry.layer())
        .init();
}
