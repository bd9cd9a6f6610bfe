//! What the service is told: flags before environment before file before defaults. The only reader of
//! the environment and of configuration files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use std::{env, fs};

use micropy_services::accounts::Secret;
use micropy_services::gateway::Limits;

/// One thing that can be set: as `--listen`, `MICROPY_LISTEN` or `listen = …`.
struct Setting {
    name: &'static str,
    /// The name it has in the environment of the original services.
    original: Option<&'static str>,
    default: &'static str,
    meaning: &'static str,
}

const fn setting(
    name: &'static str,
    original: Option<&'static str>,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting {
        name,
        original,
        default,
        meaning,
    }
}

/// A shorter secret is weaker than the signature it makes.
const SECRET_BYTES: usize = 32;

const JWT_SECRET: &str = "jwt_secret";
const MAIL_PASSWORD: &str = "mail_password";
const STORAGE_URL: &str = "storage_url";
const QUEUE_URL: &str = "queue_url";
const JOBS_URL: &str = "jobs_url";
const USERS_URL: &str = "users_url";
const NOTIFIER_URL: &str = "notifier_url";
const OTLP_ENDPOINT: &str = "otlp_endpoint";

/// URLs may carry a password.
const URLS: [&str; 7] = [
    STORAGE_URL,
    QUEUE_URL,
    JOBS_URL,
    USERS_URL,
    NOTIFIER_URL,
    "auth_url",
    OTLP_ENDPOINT,
];

const SETTINGS: &[Setting] = &[
    setting(
        "listen",
        None,
        "127.0.0.1:8080",
        "Address of the gateway: page, API, uploads",
    ),
    setting(
        "auth_listen",
        None,
        "127.0.0.1:5000",
        "Address of the auth service",
    ),
    setting(
        "data_dir",
        None,
        "micropy-data",
        "Folder of everything that is kept",
    ),
    setting(
        "health_listen",
        None,
        "",
        "Address of /healthz, /readyz and /metrics of a converter or notification service of its own",
    ),
    setting(
        STORAGE_URL,
        None,
        "",
        "Videos and MP3s: file:///folder or mongodb://…; default: in data_dir",
    ),
    setting(
        QUEUE_URL,
        None,
        "",
        "Messages: sqlite: or amqp://…; default: in data_dir",
    ),
    setting(
        JOBS_URL,
        None,
        "",
        "The ledger of jobs: sqlite: or mongodb://…; default: beside the storage",
    ),
    setting(
        USERS_URL,
        None,
        "",
        "Users: sqlite: or mysql://…; default: in data_dir, or from MYSQL_HOST …",
    ),
    setting(
        NOTIFIER_URL,
        None,
        "",
        "Mail: outbox:folder, smtp://user:password@host:587 or smtps://…; default: an outbox in data_dir",
    ),
    setting(
        "auth_url",
        Some("AUTH_SVC_ADDRESS"),
        "",
        "The auth service, for a gateway without users of its own: http://auth:5000",
    ),
    setting(
        "video_queue",
        Some("VIDEO_QUEUE"),
        "video",
        "Name of the queue of videos to convert",
    ),
    setting(
        "mp3_queue",
        Some("MP3_QUEUE"),
        "mp3",
        "Name of the queue of MP3s to tell of; that of failures ends in .failed",
    ),
    setting(
        "legacy_passwords",
        Some("MICROPY_AUTH_LEGACY_PASSWORDS"),
        "",
        "Passwords stored by the original auth service: verify, upgrade or reject; default: verify in MySQL, upgrade in SQLite",
    ),
    setting(
        "unowned_downloads",
        None,
        "false",
        "Give an MP3 that no job owns to anybody signed in: for as long as original converters make some",
    ),
    setting(
        "trust_forwarded",
        None,
        "false",
        "Believe X-Forwarded-For, where only proxies reach the service",
    ),
    setting(
        "public_url",
        None,
        "",
        "URL that users reach the gateway by; default: from listen",
    ),
    setting(
        JWT_SECRET,
        Some("JWT_SECRET"),
        "",
        "Signs the tokens: 32 bytes or more; made and kept in data_dir on loopback addresses",
    ),
    setting("development", None, "false", "Accept a weak jwt_secret"),
    setting(
        "registration",
        None,
        "true",
        "Let people register themselves",
    ),
    setting(
        "workers",
        None,
        "0",
        "Conversions at the same time; 0: one for every two cores",
    ),
    setting(
        "conversion_time",
        None,
        "1hour",
        "How long one conversion may take",
    ),
    setting(
        "conversion_memory",
        None,
        "512MiB",
        "What the process of one conversion may allocate (on Linux)",
    ),
    setting(
        "conversion_output",
        None,
        "4GiB",
        "Largest MP3, or ZIP file of chapters",
    ),
    setting("max_upload", None, "8GiB", "Largest video"),
    setting("max_files", None, "100", "Most videos in one request"),
    setting(
        "quota_bytes",
        None,
        "100GiB",
        "What one user may have stored",
    ),
    setting(
        "quota_jobs",
        None,
        "10000",
        "How many jobs one user may have",
    ),
    setting(
        "retention",
        None,
        "30days",
        "How long a finished job and its files are kept",
    ),
    setting(
        "upload_expiry",
        None,
        "1day",
        "How long an upload may pause",
    ),
    setting(
        "login_attempts",
        None,
        "10",
        "Failed logins per account and address in 5 minutes",
    ),
    setting(
        "header_timeout",
        None,
        "20s",
        "Time a client has to send its request's headers",
    ),
    setting(
        "body_timeout",
        None,
        "30s",
        "Longest pause within an upload, and of a client that takes nothing of a download",
    ),
    setting("grace", None, "20s", "Time to stop in after SIGTERM"),
    setting(
        "mail_from",
        Some("GMAIL_ADDRESS"),
        "micropy@localhost",
        "Sender of the mails",
    ),
    setting(
        MAIL_PASSWORD,
        Some("GMAIL_PASSWORD"),
        "",
        "Password of mail_from at smtp.gmail.com, where there is no notifier_url",
    ),
    setting(
        "log",
        None,
        "human",
        "Form of the log on standard error: human or json",
    ),
    setting(
        "log_level",
        None,
        "info",
        "error, warn, info, debug, trace, or per module",
    ),
    setting(
        OTLP_ENDPOINT,
        Some("OTEL_EXPORTER_OTLP_ENDPOINT"),
        "",
        "Collector that traces go to, by OTLP over HTTP: http://127.0.0.1:4318; none without it",
    ),
];

/// The service's settings.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub auth_listen: SocketAddr,
    pub data_dir: PathBuf,
    pub health_listen: Option<SocketAddr>,
    pub urls: Urls,
    pub video_queue: String,
    pub mp3_queue: String,
    /// As the adapters name them; empty where each store has its own default.
    pub legacy_passwords: String,
    pub unowned_downloads: bool,
    pub public_url: String,
    pub jwt_secret: Option<Secret>,
    pub registration: bool,
    pub workers: usize,
    pub conversion_time: Duration,
    /// Bytes.
    pub conversion_memory: u64,
    /// Bytes.
    pub conversion_output: u64,
    pub limits: Limits,
    pub login_attempts: u32,
    pub header_timeout: Duration,
    pub trust_forwarded: bool,
    pub retention: Duration,
    pub grace: Duration,
    pub mail_from: String,
    pub log: LogFormat,
    pub log_level: String,
    /// Empty where no traces are wanted.
    pub otlp_endpoint: String,
}

/// Where everything is kept; empty where nothing is said. They may carry passwords.
#[derive(Clone)]
pub struct Urls {
    pub storage: String,
    pub queue: String,
    pub jobs: String,
    pub users: String,
    pub notifier: String,
    /// The auth service.
    pub auth: String,
}

impl std::fmt::Debug for Urls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(URLs)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Human,
    Json,
}

/// What is wrong with a configuration, in a sentence that names the setting.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

fn wrong(why: impl Into<String>) -> ConfigError {
    ConfigError(why.into())
}

/// Values by setting, with where each came from.
#[derive(Debug, Default)]
pub struct Layers(BTreeMap<&'static str, (String, String)>);

impl Layers {
    /// Flags by name, over the environment, over the file that a flag or `MICROPY_CONFIG` names.
    pub fn read(
        flags: Vec<(&'static str, String)>,
        file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let environment: BTreeMap<String, String> = env::vars().collect();
        let named = environment.get("MICROPY_CONFIG").map(PathBuf::from);
        let file = match file.map(Path::to_owned).or(named) {
            Some(path) => {
                let text = fs::read_to_string(&path)
                    .map_err(|e| wrong(format!("cannot read {}: {e}", path.display())))?;
                Some((path.display().to_string(), text))
            }
            None => None,
        };
        Self::merge(flags, &environment, file)
    }

    fn merge(
        flags: Vec<(&'static str, String)>,
        environment: &BTreeMap<String, String>,
        file: Option<(String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        if let Some((path, text)) = file {
            layers.read_toml(&path, &text)?;
        }
        layers.read_mysql(environment)?;
        layers.read_environment(environment)?;
        for (name, value) in flags {
            layers.set(name, value, format!("--{}", name.replace('_', "-")))?;
        }
        Ok(layers)
    }

    fn set(&mut self, name: &str, value: String, origin: String) -> Result<(), ConfigError> {
        let known = SETTINGS.iter().find(|setting| setting.name == name);
        let setting = known.ok_or_else(|| wrong(format!("{origin} is no setting")))?;
        self.0.insert(setting.name, (value, origin));
        Ok(())
    }

    fn read_toml(&mut self, path: &str, text: &str) -> Result<(), ConfigError> {
        // The parser's own words would show the line, and a secret may be in it.
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let before = e.span().map_or(0, |span| span.start);
            let line = text
                .bytes()
                .take(before)
                .filter(|byte| *byte == b'\n')
                .count()
                + 1;
            wrong(format!("{path}: line {line}: {}", e.message()))
        })?;
        for (name, value) in table {
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(yes) => yes.to_string(),
                _ => {
                    return Err(wrong(format!(
                        "{path}: {name} is text, a number or a boolean"
                    )));
                }
            };
            let (name, value) = match name.strip_suffix("_file") {
                Some(name) => (name.to_owned(), read_secret(&value)?),
                None => (name, value),
            };
            self.set(&name, value, format!("{name} in {path}"))?;
        }
        Ok(())
    }

    fn read_environment(&mut self, all: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        for setting in SETTINGS {
            let ours = format!("MICROPY_{}", setting.name.to_uppercase());
            // The later name counts more.
            for name in setting.original.into_iter().chain([ours.as_str()]) {
                let file = format!("{name}_FILE");
                if let Some(path) = all.get(&file) {
                    self.set(setting.name, read_secret(path)?, file)?;
                }
                if let Some(value) = all.get(name) {
                    self.set(setting.name, value.clone(), name.to_owned())?;
                }
            }
        }
        Ok(())
    }

    /// The original auth service's way of naming its database.
    fn read_mysql(&mut self, all: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        let named = |name: &str, default: &str| -> Result<String, ConfigError> {
            match (all.get(name), all.get(&format!("{name}_FILE"))) {
                (Some(value), _) => Ok(value.clone()),
                (None, Some(path)) => read_secret(path),
                (None, None) => Ok(default.to_owned()),
            }
        };
        let host = named("MYSQL_HOST", "")?;
        if host.is_empty() {
            return Ok(());
        }
        let url = format!(
            "mysql://{}:{}@{host}:{}/{}",
            percent(&named("MYSQL_USER", "root")?),
            percent(&named("MYSQL_PASSWORD", "")?),
            named("MYSQL_PORT", "3306")?.trim(),
            percent(&named("MYSQL_DB", "auth")?),
        );
        self.set(USERS_URL, url, "MYSQL_HOST …".into())
    }

    fn get(&self, name: &str) -> (&str, &str) {
        if let Some((value, origin)) = self.0.get(name) {
            return (value, origin);
        }
        let default = SETTINGS.iter().find(|setting| setting.name == name);
        (default.map_or("", |setting| setting.default), "default")
    }

    fn parse<T: FromStr>(&self, name: &str, what: &str) -> Result<T, ConfigError> {
        self.parse_with(name, what, |text| text.parse().ok())
    }

    fn parse_with<T>(
        &self,
        name: &str,
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let (value, origin) = self.get(name);
        parse(value.trim())
            .ok_or_else(|| wrong(format!("{name} ({origin}) is {what}, not {value:?}")))
    }

    fn duration(&self, name: &str) -> Result<Duration, ConfigError> {
        let parse = |text: &str| humantime::parse_duration(text).ok();
        self.parse_with(name, "a duration such as 90s, 12h or 30days", parse)
    }

    fn bytes(&self, name: &str) -> Result<u64, ConfigError> {
        self.parse_with(name, "a size such as 500MB or 8GiB", parse_bytes)
    }

    /// Bytes, and not none.
    fn size(&self, name: &'static str) -> Result<u64, ConfigError> {
        self.parse_with(name, "a size such as 512MiB", |text| {
            parse_bytes(text).filter(|bytes| *bytes > 0)
        })
    }

    /// The settings as a TOML file, without secrets.
    pub fn print(&self) -> String {
        let mut text = String::new();
        for setting in SETTINGS {
            let (value, origin) = self.get(setting.name);
            let value = match (setting.name, value) {
                (_, "") => String::new(),
                (JWT_SECRET | MAIL_PASSWORD, _) => "(secret)".into(),
                (name, url) if URLS.contains(&name) => without_password(url),
                (_, value) => value.into(),
            };
            let value = toml::Value::String(value);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "# {} [{origin}]\n{} = {value}\n",
                setting.meaning, setting.name
            );
        }
        text
    }

    /// What stands for the settings of the original services comes in here.
    fn urls(&self) -> Urls {
        let url = |name| self.get(name).0.trim().to_owned();
        let (from, password) = (self.get("mail_from").0, self.get(MAIL_PASSWORD).0);
        let notifier = match url(NOTIFIER_URL) {
            empty if empty.is_empty() && !password.is_empty() => {
                let (user, password) = (percent(from), percent(password));
                format!("smtp://{user}:{password}@smtp.gmail.com:587")
            }
            url => url,
        };
        let auth = match url("auth_url") {
            // The original's form: a host and a port.
            address if !address.is_empty() && !address.contains("://") => {
                format!("http://{address}")
            }
            url => url,
        };
        Urls {
            storage: url(STORAGE_URL),
            queue: url(QUEUE_URL),
            jobs: url(JOBS_URL),
            users: url(USERS_URL),
            notifier,
            auth,
        }
    }

    /// The folder of everything that is kept.
    pub fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.get("data_dir").0)
    }

    /// The settings, each of its type.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let address = "an address such as 127.0.0.1:8080";
        let config = Config {
            listen: self.parse("listen", address)?,
            auth_listen: self.parse("auth_listen", address)?,
            data_dir: self.data_dir(),
            health_listen: match self.get("health_listen").0 {
                "" => None,
                _ => Some(self.parse("health_listen", address)?),
            },
            urls: self.urls(),
            video_queue: self.get("video_queue").0.to_owned(),
            mp3_queue: self.get("mp3_queue").0.to_owned(),
            legacy_passwords: self.parse_with(
                "legacy_passwords",
                "verify, upgrade or reject",
                |text| {
                    ["", "verify", "upgrade", "reject"]
                        .contains(&text)
                        .then(|| text.to_owned())
                },
            )?,
            unowned_downloads: self.parse("unowned_downloads", "true or false")?,
            public_url: self.get("public_url").0.trim_end_matches('/').to_owned(),
            jwt_secret: Some(self.get(JWT_SECRET).0)
                .filter(|secret| !secret.is_empty())
                .map(Secret::new),
            registration: self.parse("registration", "true or false")?,
            workers: match self.parse("workers", "a number")? {
                0 => {
                    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
                }
                workers => workers,
            },
            conversion_time: self.parse_with(
                "conversion_time",
                "a duration such as 90s or 2h",
                |text| {
                    humantime::parse_duration(text)
                        .ok()
                        .filter(|time| !time.is_zero())
                },
            )?,
            conversion_memory: self.size("conversion_memory")?,
            conversion_output: self.size("conversion_output")?,
            limits: Limits {
                upload: self.bytes("max_upload")?,
                files: self.parse("max_files", "a number")?,
                quota_bytes: self.bytes("quota_bytes")?,
                quota_jobs: self.parse("quota_jobs", "a number")?,
                upload_expiry: self.duration("upload_expiry")?,
                body_timeout: self.duration("body_timeout")?,
            },
            login_attempts: self.parse("login_attempts", "a number")?,
            header_timeout: self.duration("header_timeout")?,
            trust_forwarded: self.parse("trust_forwarded", "true or false")?,
            retention: self.duration("retention")?,
            grace: self.duration("grace")?,
            mail_from: self.get("mail_from").0.to_owned(),
            log: self.parse_with("log", "human or json", |text| match text {
                "human" => Some(LogFormat::Human),
                "json" => Some(LogFormat::Json),
                _ => None,
            })?,
            log_level: self.get("log_level").0.to_owned(),
            otlp_endpoint: self.get(OTLP_ENDPOINT).0.trim().to_owned(),
        };
        if let Some(secret) = config.jwt_secret.as_ref().map(Secret::reveal)
            && secret.len() < SECRET_BYTES
            && !self.parse::<bool>("development", "true or false")?
        {
            return Err(wrong(format!(
                "jwt_secret has {} bytes and needs {SECRET_BYTES}; `development = true` accepts it",
                secret.len()
            )));
        }
        Ok(config)
    }
}

impl Config {
    /// Refuses to make a secret of its own for a service that is reached at `addresses` from elsewhere.
    pub fn check_secret(&self, addresses: &[SocketAddr]) -> Result<(), ConfigError> {
        let is_local = addresses.iter().all(|address| address.ip().is_loopback());
        if self.jwt_secret.is_some() || is_local {
            return Ok(());
        }
        Err(wrong(
            "jwt_secret is missing, and the service listens to more than this machine: set \
             JWT_SECRET or JWT_SECRET_FILE (`openssl rand -hex 32` makes one)",
        ))
    }
}

/// Text as a part of a URL (RFC 3986).
fn percent(text: &str) -> String {
    let mut url = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                url.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => drop(write!(url, "%{byte:02X}")),
        }
    }
    url
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    // A password that was not escaped may hold anything, a slash too.
    match rest.rsplit_once('@') {
        Some((login, host)) => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:(secret)@{host}")
        }
        None => url.to_owned(),
    }
}

/// A secret's file, without the line's end.
fn read_secret(path: &str) -> Result<String, ConfigError> {
    let text = fs::read_to_string(path).map_err(|e| wrong(format!("cannot read {path}: {e}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn parse_bytes(text: &str) -> Option<u64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "kib" | "k" => 1 << 10,
        "mb" => 1_000_000,
        "mib" | "m" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" | "g" => 1 << 30,
        "tb" => 1_000_000_000_000,
        "tib" | "t" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(any(test, fuzzing))]
pub mod hostile;
#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn flags_beat_environment_beats_file_beats_defaults() {
        let file = "workers = 3\nmax_files = 7\nretention = '2h'\n".to_owned();
        let variables = environment(&[("MICROPY_WORKERS", "4"), ("MICROPY_MAX_FILES", "8")]);
        let flags = vec![("workers", "5".to_owned())];
        let layers = Layers::merge(flags, &variables, Some(("m.toml".into(), file))).unwrap();
        assert_eq!(layers.get("workers"), ("5", "--workers"));
        assert_eq!(layers.get("retention"), ("2h", "retention in m.toml"));
        let config = layers.into_config().unwrap();
        assert_eq!((config.workers, config.limits.files), (5, 8));
        assert_eq!(config.retention, Duration::from_secs(7200));
        assert_eq!(config.limits.upload, 8 << 30);
    }

    #[test]
    fn the_originals_names_are_known_and_ours_count_more() {
        let weak = environment(&[("JWT_SECRET", "sarcasm"), ("MICROPY_DEVELOPMENT", "true")]);
        let config = Layers::merge(vec![], &weak, None)
            .unwrap()
            .into_config()
            .unwrap();
        assert_eq!(config.jwt_secret, Some(Secret::new("sarcasm")));

        let long = "0123456789abcdef0123456789abcdef";
        let both = environment(&[("JWT_SECRET", "sarcasm"), ("MICROPY_JWT_SECRET", long)]);
        let config = Layers::merge(vec![], &both, None)
            .unwrap()
            .into_config()
            .unwrap();
        assert_eq!(config.jwt_secret, Some(Secret::new(long)));
    }

    #[test]
    fn a_weak_or_missing_secret_does_not_start() {
        let refused = |pairs: &[(&str, &str)]| {
            let layers = Layers::merge(vec![], &environment(pairs), None).unwrap();
            layers.into_config().unwrap_err().to_string()
        };
        assert!(refused(&[("JWT_SECRET", "sarcasm")]).contains("has 7 bytes"));
        let config = Layers::default().into_config().unwrap();
        let address = |text: &str| text.parse().unwrap();
        let (here, anywhere) = (address("127.0.0.1:8080"), address("0.0.0.0:8080"));
        assert!(config.check_secret(&[here]).is_ok());
        let e = config.check_secret(&[here, anywhere]).unwrap_err();
        assert!(e.to_string().contains("missing"));
    }

    #[test]
    fn the_originals_database_and_mail_become_urls() {
        let variables = environment(&[
            ("MYSQL_HOST", "db"),
            ("MYSQL_PORT", "3307"),
            ("MYSQL_USER", "auth_user"),
            ("MYSQL_PASSWORD", "Aauth/123"),
            ("MYSQL_DB", "auth"),
            ("GMAIL_ADDRESS", "micropy@example.com"),
            ("GMAIL_PASSWORD", "p w"),
            ("AUTH_SVC_ADDRESS", "auth:5000"),
        ]);
        let layers = Layers::merge(vec![], &variables, None).unwrap();
        let printed = layers.print();
        assert!(
            !printed.contains("Aauth") && !printed.contains("p w"),
            "{printed}"
        );
        let urls = layers.into_config().unwrap().urls;
        assert_eq!(urls.users, "mysql://auth_user:Aauth%2F123@db:3307/auth");
        let smtp = "smtp://micropy%40example.com:p%20w@smtp.gmail.com:587";
        assert_eq!(urls.notifier, smtp);
        assert_eq!(urls.auth, "http://auth:5000");
    }

    #[test]
    fn mistakes_are_named() {
        let named = |file: &str| {
            let layers = Layers::merge(
                vec![],
                &BTreeMap::new(),
                Some(("m.toml".into(), file.into())),
            );
            layers
                .and_then(Layers::into_config)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(named("wrokers = 3"), "wrokers in m.toml is no setting");
        assert_eq!(
            named("workers = 'x'"),
            "workers (workers in m.toml) is a number, not \"x\""
        );
        assert!(named("max_upload = '8 gallons'").contains("is a size such as"));
        assert!(named("workers = [").starts_with("m.toml: "));
    }

    #[test]
    fn a_printed_configuration_can_be_read_and_shows_no_secret() {
        let long = "0123456789abcdef0123456789abcdef";
        let layers =
            Layers::merge(vec![(JWT_SECRET, long.into())], &BTreeMap::new(), None).unwrap();
        let printed = layers.print();
        assert!(!printed.contains(long), "{printed}");
        let again = Layers::merge(vec![], &BTreeMap::new(), Some(("m.toml".into(), printed)));
        assert_eq!(again.unwrap().get("max_upload").0, "8GiB");
    }

    #[test]
    fn sizes_have_units() {
        let sizes = [
            ("1", 1),
            ("5 MB", 5_000_000),
            ("2KiB", 2048),
            ("3g", 3 << 30),
        ];
        for (text, bytes) in sizes {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "x", "1.5GB", "-1", "99999999999TiB"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}
