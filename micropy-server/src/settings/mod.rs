//! The settings of the service, each declared once: a field of [`Settings`].
//!
//! From a field follow its flag (`--max-upload`), its environment variable (`MICROPY_MAX_UPLOAD`), its key in a file
//! (`max_upload`), for secrets and URLs also the flag `--…-file`, its type and default, its help, its line in
//! `--print-config` and in `docs/settings.md`. The declarations are clap's: clap is there for the command line anyway,
//! knows names, types, defaults and help, and can be asked for all of them ([`declared`]). Of the crates for layered
//! settings, confique takes a file and the environment but no flags, so every setting would be declared twice; figment
//! has had no release for long and declares neither help nor defaults. What clap lacks, the layers below the flags and
//! where each value came from, is `layers.rs`.
//!
//! Nothing else in the program reads the environment for settings.

mod flags;
mod flask;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod layers;
mod page;
mod value;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use axum::http::Uri;
use clap::{Arg, Command, FromArgMatches as _};
use micropy_remote::Guard;
use micropy_services::accounts::Secret;
use micropy_services::gateway::Limits;

pub use flags::{Flags, HELP};
pub use layers::Layers;
pub use page::page;
pub use value::Url;
use value::{positive_size, positive_time, secret, size, time};

/// A shorter secret is weaker than the signature it makes.
const SECRET_BYTES: usize = 32;

// Everything that can be set. (Not a doc comment: clap would show it as the help of each command.)
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    #[command(flatten)]
    pub addresses: Addresses,
    #[command(flatten)]
    pub stores: Stores,
    #[command(flatten)]
    pub accounts: Accounts,
    #[command(flatten)]
    pub conversions: Conversions,
    #[command(flatten)]
    pub requests: Requests,
    #[command(flatten)]
    pub operation: Operation,
}

// Where the services are reached.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Addresses")]
pub struct Addresses {
    /// Address of the gateway: page, API and uploads
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Address of the auth service
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    pub auth_listen: SocketAddr,

    /// Address of /healthz, /readyz and /metrics [default: with a gateway, 127.0.0.1:8081 if it is free]
    #[arg(long, value_name = "ADDRESS")]
    pub health_listen: Option<SocketAddr>,

    /// URL at which users reach the gateway, for the links in mails [default: the gateway's address]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// The auth service, for a gateway without users of its own: http://auth:5000, or https://auth?ca=/path.pem
    #[arg(long, value_name = "URL")]
    auth_url: Option<Url>,

    /// Believe X-Forwarded-For, -Host and -Proto; only where nothing but proxies reaches the service
    #[arg(long, value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set)]
    pub trust_forwarded: bool,
}

// Where everything is kept.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Stores")]
pub struct Stores {
    /// Folder for everything that no other store keeps
    #[arg(long, value_name = "DIR", default_value = "micropy-data")]
    pub data_dir: PathBuf,

    /// Videos and MP3s: file:///folder, mongodb://… or s3://bucket/prefix?endpoint=…&region=… [default: in data_dir]
    #[arg(long, value_name = "URL")]
    pub storage_url: Option<Url>,

    /// Messages: sqlite:, amqp://… or amqps://…?cacertfile=/path.pem [default: sqlite: in data_dir]
    #[arg(long, value_name = "URL")]
    pub queue_url: Option<Url>,

    /// Let the store serve what users save, by links that last so long, such as 5min; with s3: only [default: off]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub direct_downloads: Option<Duration>,

    /// The ledger of jobs: sqlite: or mongodb://… [default: beside the videos in MongoDB, otherwise in data_dir]
    #[arg(long, value_name = "URL")]
    pub jobs_url: Option<Url>,

    /// Users: sqlite: or mysql://…, also with ?ssl-mode=VERIFY_IDENTITY&ssl-ca=/path.pem [default: sqlite: in data_dir]
    #[arg(long, value_name = "URL")]
    pub users_url: Option<Url>,

    /// Mail: outbox:folder, smtp://user:password@host:587 or smtps://… [default: an outbox in data_dir]
    #[arg(long, value_name = "URL")]
    notifier_url: Option<Url>,

    /// Sender of the mails
    #[arg(long, value_name = "EMAIL", default_value = "micropy@localhost")]
    pub mail_from: String,

    /// Password of mail_from at smtp.gmail.com, used when there is no notifier_url
    #[arg(long, value_name = "SECRET", value_parser = secret)]
    mail_password: Option<Secret>,

    /// Name of the queue of videos to convert; the queue of those behind URLs is NAME.import
    #[arg(long, value_name = "NAME", default_value = "video")]
    pub video_queue: String,

    /// Name of the queue of finished MP3s; the queue of failed jobs is NAME.failed
    #[arg(long, value_name = "NAME", default_value = "mp3")]
    pub mp3_queue: String,
}

// Who may do what.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Accounts")]
pub struct Accounts {
    /// Signs the tokens: 32 bytes or more [default: on loopback addresses, one made once and kept in data_dir]
    #[arg(long, value_name = "SECRET", value_parser = secret)]
    pub jwt_secret: Option<Secret>,

    /// Accept a weak jwt_secret
    #[arg(long, value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set)]
    development: bool,

    /// Let people register themselves [default: only where gateway and auth service listen on loopback addresses, and
    /// no proxy lets others in: without trust_forwarded and a public_url elsewhere]
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    registration: Option<bool>,

    /// Let users convert nothing before they have confirmed their address by a mail; here and at the auth service
    /// [default: where notifier_url or mail_password is set]
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    confirmation: Option<bool>,

    /// Registrations per address in 5 minutes; of an IPv6 address, 64 bits count
    #[arg(long, value_name = "N", default_value = "100")]
    pub registrations: u32,

    /// Failed logins per account and address in 5 minutes; ten times as many per address, whatever the account
    #[arg(long, value_name = "N", default_value = "10")]
    pub login_attempts: u32,

    /// Passwords stored by the Flask auth service [default: verify in MySQL, upgrade in SQLite]
    #[arg(long, value_name = "MODE")]
    pub legacy_passwords: Option<LegacyPasswords>,

    /// Let any signed-in user download an MP3 that belongs to no job; for as long as a Flask converter makes some.
    /// Users' jobs do not take turns then
    #[arg(long, value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set)]
    pub unowned_downloads: bool,
}

// What one conversion may take.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Conversions")]
pub struct Conversions {
    /// Conversions at the same time; 0: one for every two cores
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u16).range(..=1024))]
    workers: u16,

    /// Longest time of one conversion
    #[arg(long, value_name = "TIME", default_value = "1hour", value_parser = positive_time)]
    pub conversion_time: Duration,

    /// Memory that the process of one conversion may allocate (on Linux)
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = positive_size)]
    pub conversion_memory: u64,

    /// Largest MP3, or ZIP file of chapters
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = positive_size)]
    pub conversion_output: u64,
}

// What clients may ask for.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct Requests {
    /// Largest video
    #[arg(long, value_name = "SIZE", default_value = "8GiB", value_parser = size)]
    max_upload: u64,

    /// Most videos in one request
    #[arg(long, value_name = "N", default_value = "100")]
    max_files: usize,

    /// Bytes that one user may store, videos and MP3s together
    #[arg(long, value_name = "SIZE", default_value = "100GiB", value_parser = size)]
    quota_bytes: u64,

    /// Jobs that one user may have
    #[arg(long, value_name = "N", default_value = "10000")]
    quota_jobs: u64,

    /// Private addresses that users' webhooks and imports may reach, besides all public ones: 10.1.0.0/16,192.168.7.7
    /// [default: none]
    #[arg(long, value_name = "NETWORKS")]
    pub allowed_networks: Option<Guard>,

    /// How long a finished job and its files are kept
    #[arg(long, value_name = "TIME", default_value = "30days", value_parser = time)]
    pub retention: Duration,

    /// How long a resumable upload may pause
    #[arg(long, value_name = "TIME", default_value = "1day", value_parser = time)]
    pub upload_expiry: Duration,

    /// How long a client may take to send the headers of a request
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = time)]
    pub header_timeout: Duration,

    /// Longest pause within an upload, or of a client that stops reading a download
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub body_timeout: Duration,
}

// Stopping, logs and traces.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Operation")]
pub struct Operation {
    /// Time to stop after SIGTERM: requests and conversions may end, and what has not is handed back
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = time)]
    pub grace: Duration,

    /// Format of the log on standard error
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub log: LogFormat,

    /// error, warn, info, debug or trace, also per module
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    /// Collector of traces, by OTLP over HTTP, such as http://127.0.0.1:4318 [default: no traces]
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<Url>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Human,
    Json,
}

/// What a password that the Flask auth service stored is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LegacyPasswords {
    Verify,
    Upgrade,
    Reject,
}

/// What is wrong with the settings, in a sentence that names the setting.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

impl SettingsError {
    fn new(why: impl Into<String>) -> Self {
        SettingsError(why.into())
    }
}

/// One declared setting.
#[derive(Debug)]
pub struct Setting {
    /// Its key in a file: `max_upload`.
    pub name: String,
    /// Its flag: `max-upload`.
    pub flag: String,
    /// Its variable: `MICROPY_MAX_UPLOAD`.
    pub variable: String,
    /// The key of a file that holds its value: `max_upload_file`.
    pub file_key: String,
    /// The flag of a file that holds its value: `max-upload-file`.
    pub file_flag: String,
    pub heading: String,
    pub help: String,
    /// What happens without a value, where that is not simply `default`.
    pub fallback: String,
    pub value_name: String,
    /// Empty where it has none.
    pub default: String,
    pub kind: Kind,
    arg: Arg,
}

/// How a value is shown, and whether a file may hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// It may carry a password.
    Url,
    Secret,
}

impl Setting {
    /// The values it can have, where they are few.
    pub fn choices(&self) -> Vec<String> {
        let choices = self.arg.get_possible_values();
        choices.iter().map(|c| c.get_name().to_owned()).collect()
    }

    /// Parses a value; an error ends the sentence "it is not".
    fn check(&self, value: &str) -> Result<(), String> {
        let command = bare(Command::new("setting").arg(self.arg.clone()));
        let Err(error) = command.try_get_matches_from([format!("--{}={value}", self.flag)]) else {
            return Ok(());
        };
        let choices = self.choices();
        Err(match &*self.value_name {
            _ if !choices.is_empty() => choices.join(" or "),
            "ADDRESS" => "an address such as 127.0.0.1:8080".into(),
            "NETWORKS" => "networks such as 10.1.0.0/16,192.168.7.7".into(),
            "SIZE" => "a size such as 8GiB".into(),
            "TIME" => "a duration such as 90s or 2h".into(),
            "N" => match std::error::Error::source(&error) {
                Some(why) => format!("a number that fits: {why}"),
                None => "a number".into(),
            },
            _ => "what this setting takes".into(),
        })
    }
}

/// All settings, in the order of [`Settings`].
pub fn declared() -> &'static [Setting] {
    static DECLARED: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let command = <Settings as clap::Args>::augment_args(Command::new("settings"));
        command.get_arguments().map(Setting::of).collect()
    });
    &DECLARED
}

/// The declared setting with this name.
fn find(name: &str) -> Option<&'static Setting> {
    declared().iter().find(|setting| setting.name == name)
}

impl Setting {
    fn of(arg: &Arg) -> Self {
        let value_type = arg.get_value_parser().type_id();
        let name = arg.get_id().to_string();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let (help, fallback) = match help.split_once(" [default: ") {
            Some((help, fallback)) => (help.to_owned(), fallback.trim_end_matches(']').to_owned()),
            None => (help, String::new()),
        };
        let flag = name.replace('_', "-");
        Setting {
            variable: format!("MICROPY_{}", name.to_uppercase()),
            file_key: format!("{name}_file"),
            file_flag: format!("{flag}-file"),
            name,
            flag,
            heading: arg.get_help_heading().unwrap_or_default().to_owned(),
            help,
            fallback,
            value_name: arg
                .get_value_names()
                .and_then(|names| names.first())
                .map(ToString::to_string)
                .unwrap_or_default(),
            default: arg
                .get_default_values()
                .first()
                .map(|value| value.to_string_lossy().into_owned())
                .unwrap_or_default(),
            kind: if value_type == std::any::TypeId::of::<Secret>() {
                Kind::Secret
            } else if value_type == std::any::TypeId::of::<Url>() {
                Kind::Url
            } else {
                Kind::Plain
            },
            arg: arg.clone(),
        }
    }
}

/// Without a program's name, help and version.
fn bare(command: Command) -> Command {
    command
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
}

impl Settings {
    /// The settings that layers of text mean together.
    pub fn from_layers(layers: &Layers) -> Result<Self, SettingsError> {
        layers.check()?;
        let command = bare(<Settings as clap::Args>::augment_args(Command::new(
            "settings",
        )));
        let words = layers
            .iter()
            .map(|(setting, value)| format!("--{}={value}", setting.flag));
        let settings = command
            .try_get_matches_from(words)
            .and_then(|matches| Settings::from_arg_matches(&matches));
        // Each value has been checked already, so the message, which may show a secret, is of no use.
        let settings =
            settings.map_err(|_| SettingsError::new("the settings do not fit together"))?;
        settings.check_strength()?;
        Ok(settings)
    }

    fn check_strength(&self) -> Result<(), SettingsError> {
        match &self.accounts.jwt_secret {
            Some(secret) if secret.reveal().len() < SECRET_BYTES && !self.accounts.development => {
                Err(SettingsError::new(format!(
                    "jwt_secret has {} bytes and needs {SECRET_BYTES}; `development = true` accepts it",
                    secret.reveal().len()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Refuses to make a secret for a service that other machines reach at one of `addresses`: restarted elsewhere, it
    /// would make another.
    pub fn check_secret(&self, addresses: &[SocketAddr]) -> Result<(), SettingsError> {
        let is_local = addresses.iter().all(|address| address.ip().is_loopback());
        if self.accounts.jwt_secret.is_some() || is_local {
            return Ok(());
        }
        Err(SettingsError::new(
            "jwt_secret is missing, and the service listens to more than this machine: set JWT_SECRET or \
             JWT_SECRET_FILE (`openssl rand -hex 32` makes one)",
        ))
    }

    /// Whether people may register themselves at services that listen to `addresses`: by default only where no others
    /// than those of this machine come, by way of a proxy neither.
    pub fn registration(&self, addresses: &[SocketAddr]) -> bool {
        let is_local = addresses.iter().all(|address| address.ip().is_loopback())
            && !self.addresses.trust_forwarded
            && self.addresses.public_url().is_none_or(is_here);
        self.accounts.registration.unwrap_or(is_local)
    }

    /// Whether users have to confirm their address: by default where a mail server is known.
    pub fn confirmation(&self) -> bool {
        let is_sent = self.stores.notifier_url();
        let is_sent = is_sent.is_some_and(|url| url.scheme() != "outbox");
        self.accounts.confirmation.unwrap_or(is_sent)
    }

    /// The limits of requests.
    pub fn limits(&self) -> Limits {
        Limits {
            upload: self.requests.max_upload,
            files: self.requests.max_files,
            quota_bytes: self.requests.quota_bytes,
            quota_jobs: self.requests.quota_jobs,
            upload_expiry: self.requests.upload_expiry,
            body_timeout: self.requests.body_timeout,
        }
    }
}

/// Whether a URL leads to this machine itself.
fn is_here(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else {
        return false;
    };
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: IpAddr| address.is_loopback();
    host == "localhost" || address.parse().is_ok_and(is_loopback)
}

impl Addresses {
    /// Where users reach the gateway, without a slash at its end.
    pub fn public_url(&self) -> Option<&str> {
        let url = self.public_url.as_deref()?;
        Some(url.trim_end_matches('/'))
    }

    /// The auth service. The Flask gateway's form, a host and a port, becomes a URL.
    pub fn auth_url(&self) -> Option<Url> {
        let url = self.auth_url.as_ref()?;
        match url.as_str().contains("://") {
            true => Some(url.clone()),
            false => Some(Url::new(&format!("http://{}", url.as_str()))),
        }
    }
}

impl Stores {
    /// Name of the queue of videos behind URLs.
    pub fn import_queue(&self) -> String {
        format!("{}.import", self.video_queue)
    }

    /// Name of the queue of failed jobs.
    pub fn failed_queue(&self) -> String {
        format!("{}.failed", self.mp3_queue)
    }

    /// Where mails go.
    pub fn notifier_url(&self) -> Option<Url> {
        match (&self.notifier_url, &self.mail_password) {
            (None, Some(password)) => Some(flask::gmail(&self.mail_from, password)),
            (url, _) => url.clone(),
        }
    }
}

impl Conversions {
    /// Conversions at the same time, at least one.
    pub fn workers(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
            workers => workers.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_setting_has_what_its_users_need() {
        let names: BTreeSet<_> = declared().iter().map(|s| &s.name).collect();
        assert_eq!(names.len(), declared().len());
        assert!(names.len() > 35, "{}", names.len());
        for setting in declared() {
            assert!(!setting.help.is_empty(), "{}", setting.name);
            assert!(!setting.help.contains("[default"), "{}", setting.name);
            assert!(!setting.heading.is_empty(), "{}", setting.name);
            assert!(!setting.value_name.is_empty(), "{}", setting.name);
            assert!(!setting.name.ends_with("_file"), "{}", setting.name);
            if !setting.default.is_empty() {
                assert_eq!(setting.check(&setting.default), Ok(()), "{}", setting.name);
            }
        }
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        let secret = "0123456789abcdef0123456789abcdef";
        let url = "mongodb://user:hunter2@host";
        let variables = [
            ("MICROPY_JWT_SECRET", secret),
            ("MICROPY_MAIL_PASSWORD", secret),
            ("MICROPY_STORAGE_URL", url),
        ];
        let layers = Layers::of_environment(&variables).unwrap();
        let settings = Settings::from_layers(&layers).unwrap();
        let shown = format!("{settings:?}{}", layers.print());
        assert!(
            !shown.contains(secret) && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn a_weak_or_missing_secret_does_not_start() {
        let variables = [("JWT_SECRET", "sarcasm")];
        let layers = Layers::of_environment(&variables).unwrap();
        let refused = Settings::from_layers(&layers).unwrap_err().to_string();
        assert!(
            refused.contains("has 7 bytes") && !refused.contains("sarcasm"),
            "{refused}"
        );

        let settings = Settings::from_layers(&Layers::default()).unwrap();
        let address = |text: &str| text.parse().unwrap();
        let (here, anywhere) = (address("127.0.0.1:8080"), address("0.0.0.0:8080"));
        assert!(settings.check_secret(&[here]).is_ok());
        let refused = settings.check_secret(&[here, anywhere]).unwrap_err();
        assert!(refused.to_string().contains("missing"));
    }

    #[test]
    fn strangers_register_where_no_stranger_comes_unless_somebody_says_otherwise() {
        let settings = |variables: &[(&str, &str)]| {
            let layers = Layers::of_environment(variables).unwrap();
            Settings::from_layers(&layers).unwrap()
        };
        let address = |text: &str| text.parse().unwrap();
        let (here, anywhere) = (address("[::1]:8080"), address("0.0.0.0:8080"));
        let silent = settings(&[]);
        assert!(silent.registration(&[here]));
        assert!(!silent.registration(&[anywhere]) && !silent.registration(&[here, anywhere]));
        for told in [true, false] {
            let told = settings(&[("MICROPY_REGISTRATION", &told.to_string())]);
            assert_eq!(told.registration(&[here]), told.registration(&[anywhere]));
        }
        assert!(settings(&[("MICROPY_REGISTRATION", "true")]).registration(&[anywhere]));
        // A proxy on the same machine lets others in.
        for (name, value, is_open) in [
            ("MICROPY_TRUST_FORWARDED", "true", false),
            ("MICROPY_PUBLIC_URL", "https://mp3.example.com", false),
            ("MICROPY_PUBLIC_URL", "http://192.0.2.1:8080/mp3", false),
            ("MICROPY_PUBLIC_URL", "http://localhost:9000", true),
            ("MICROPY_PUBLIC_URL", "http://127.0.0.1/mp3", true),
            ("MICROPY_PUBLIC_URL", "http://[::1]:8080", true),
        ] {
            assert_eq!(
                settings(&[(name, value)]).registration(&[here]),
                is_open,
                "{value}"
            );
        }
    }

    #[test]
    fn wrong_values_are_named_with_where_they_stand() {
        for (name, value, problem) in [
            ("workers", "x", "a number"),
            ("workers", "5000", "1024"),
            ("listen", "here", "an address such as"),
            ("max_upload", "8 gallons", "a size such as"),
            ("conversion_time", "0s", "a duration such as"),
            ("registration", "maybe", "true or false"),
            ("log", "loud", "human or json"),
            ("allowed_networks", "localhost", "networks such as"),
            ("legacy_passwords", "keep", "verify or upgrade or reject"),
        ] {
            let file = format!("{name} = {value:?}");
            let layers = Layers::of_file(&file).unwrap();
            let refused = Settings::from_layers(&layers).unwrap_err().to_string();
            let start = format!("{name} in m.toml: {value:?} is not ");
            assert!(
                refused.starts_with(&start) && refused.contains(problem),
                "{refused}"
            );
        }
    }
}
