//! `micropy serve`: all services in one process.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::Exit;
use crate::compose::Embedded;
use crate::config::{Config, Layers, LogFormat};

/// What may stand behind `micropy serve`. Every setting can also be set as `MICROPY_…` in the environment
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
pub fn run(args: Args) -> Exit {
    let flags = [
        ("listen", args.listen),
        ("auth_listen", args.auth_listen),
        ("data_dir", args.data_dir),
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
        return Exit::Done;
    }
    let config = match layers.into_config() {
        Ok(config) => config,
        Err(e) => return usage(&e),
    };
    log(&config);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => return failed(&e),
    };
    match runtime.block_on(serve(config)) {
        Ok(()) => Exit::Done,
        Err(e) => failed(&e),
    }
}

async fn serve(config: Config) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let services = Embedded::open(config).await?;
    println!("micropy is ready: {}", services.url());
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping");
        stopping.cancel();
    });
    services.run(stop).await;
    tracing::info!("stopped");
    Ok(())
}

fn log(config: &Config) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&config.log_level))
        .with_writer(std::io::stderr);
    match config.log {
        LogFormat::Human => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

fn usage(e: &dyn std::fmt::Display) -> Exit {
    eprintln!("micropy: {e}");
    Exit::Usage
}

fn failed(e: &dyn std::fmt::Display) -> Exit {
    eprintln!("micropy: {e}");
    Exit::Failed
}
