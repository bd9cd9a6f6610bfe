//! `micropy-server queue`: the dead letters, for an operator.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::{Subcommand, ValueEnum};
use micropy_core::ports::Timestamp;
use micropy_core::ports::jobs::{Topic, Topics};
use micropy_core::ports::queue::{DeadLetter, DeadLetters};

use super::failed;
use crate::compose;
use crate::settings::{Flags, Layers, Settings};

/// The arguments of `micropy-server queue`.
#[derive(Debug, clap::Args)]
#[command(mut_args(|arg| {
    let is_about_queues = QUEUES.contains(&arg.get_id().as_str());
    arg.global(true).hide(!is_about_queues)
}))]
pub struct Args {
    #[command(flatten)]
    pub flags: Flags,

    /// TOML file with settings [env: MICROPY_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    action: Action,
}

/// The arguments that concern queues; the help shows no others.
const QUEUES: [&str; 6] = [
    "data_dir",
    "queue_url",
    "video_queue",
    "mp3_queue",
    "failed_queue",
    "config",
];

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the dead letters: queue, time, number of deliveries, reason and message, separated by tabs
    List(Which),
    /// Put the dead letters back into their queues, as if they were new
    ///
    /// A mail that was sent meanwhile is not sent again.
    Replay(Which),
    /// Remove the dead letters for good
    Drop(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Only those of this queue
    #[arg(value_name = "QUEUE")]
    queue: Option<QueueName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum QueueName {
    /// Videos to be converted
    Video,
    /// Videos behind URLs to be converted
    Import,
    /// Mails about MP3s
    Mp3,
    /// Mails about failed jobs
    Failed,
}

impl Which {
    fn topics(&self) -> Vec<Topic> {
        match self.queue {
            Some(QueueName::Video) => vec![Topic::Video],
            Some(QueueName::Import) => vec![Topic::Import],
            Some(QueueName::Mp3) => vec![Topic::Mp3],
            Some(QueueName::Failed) => vec![Topic::Failed],
            None => Topic::ALL.to_vec(),
        }
    }
}

/// Lists, replays or drops dead letters. Services may be at work.
pub fn run(args: Args) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failed(&e),
    }
}

fn try_run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let layers = Layers::read(args.flags, args.config.as_deref())?;
    let settings = Settings::from_layers(&layers)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let act = async |queues: Topics<Arc<dyn DeadLetters>>| {
        match &args.action {
            Action::List(which) => {
                for topic in which.topics() {
                    for letter in queues.of(topic).dead_letters(usize::MAX).await? {
                        println!("{}", line(topic, &letter));
                    }
                }
            }
            Action::Replay(which) => {
                for topic in which.topics() {
                    let count = queues.of(topic).replay(usize::MAX).await?;
                    println!("{count} of {}", topic.name());
                }
            }
            Action::Drop(which) => {
                for topic in which.topics() {
                    let count = queues.of(topic).drop_dead(usize::MAX).await?;
                    println!("{count} of {}", topic.name());
                }
            }
        }
        Ok(())
    };
    Ok(runtime.block_on(compose::dead_letters(settings, act))?)
}

fn line(topic: Topic, letter: &DeadLetter) -> String {
    let died = letter.died.map_or_else(|| "-".into(), date);
    let message = String::from_utf8_lossy(&letter.payload);
    let words = [
        topic.name(),
        &died,
        &letter.deliveries.to_string(),
        &letter.reason,
        &message,
    ];
    // What strangers wrote moves no cursor and makes no line.
    let plain = words.map(|word| word.replace(|c: char| c.is_control(), " "));
    plain.join("\t")
}

fn date(at: Timestamp) -> String {
    let since = Duration::from_millis(at.as_millis().unsigned_abs());
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since).to_string()
}
