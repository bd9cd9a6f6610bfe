//! What the service is told: flags before environment before file before defaults. The only reader of
//! the environment and of configuration files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use std::{env, fs};

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

const JWT_SECRET: &str = "jwt_secret";

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
        "Longest pause within an upload",
    ),
    setting("grace", None, "20s", "Time to stop in after SIGTERM"),
    setting(
        "mail_from",
        Some("GMAIL_ADDRESS"),
        "micropy@localhost",
        "Sender of the mails",
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
];

/// The service's settings.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub auth_listen: SocketAddr,
    pub data_dir: PathBuf,
    pub public_url: String,
    pub jwt_secret: Option<Secret>,
    pub registration: bool,
    pub workers: usize,
    pub limits: Limits,
    pub retention: Duration,
    pub grace: Duration,
    pub mail_from: String,
    pub log: LogFormat,
    pub log_level: String,
}

/// What a client may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one video.
    pub upload: u64,
    pub files: usize,
    pub quota_bytes: u64,
    pub quota_jobs: u64,
    pub upload_expiry: Duration,
    pub login_attempts: u32,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Human,
    Json,
}

/// Something that is in no log and no error message.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(secret: String) -> Self {
        Secret(secret)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
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
        let table: toml::Table = text.parse().map_err(|e| wrong(format!("{path}: {e}")))?;
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

    /// The settings as a TOML file, without secrets.
    pub fn print(&self) -> String {
        let mut text = String::new();
        for setting in SETTINGS {
            let (value, origin) = self.get(setting.name);
            let value = match (setting.name, value) {
                (JWT_SECRET, "") => "",
                (JWT_SECRET, _) => "(secret)",
                (_, value) => value,
            };
            let value = toml::Value::String(value.to_owned());
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "# {} [{origin}]\n{} = {value}\n",
                setting.meaning, setting.name
            );
        }
        text
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
            public_url: self.get("public_url").0.trim_end_matches('/').to_owned(),
            jwt_secret: Some(self.get(JWT_SECRET).0)
                .filter(|secret| !secret.is_empty())
                .map(|secret| Secret(secret.to_owned())),
            registration: self.parse("registration", "true or false")?,
            workers: match self.parse("workers", "a number")? {
                0 => {
                    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
                }
                workers => workers,
            },
            limits: Limits {
                upload: self.bytes("max_upload")?,
                files: self.parse("max_files", "a number")?,
                quota_bytes: self.bytes("quota_bytes")?,
                quota_jobs: self.parse("quota_jobs", "a number")?,
                upload_expiry: self.duration("upload_expiry")?,
                login_attempts: self.parse("login_attempts", "a number")?,
                header_timeout: self.duration("header_timeout")?,
                body_timeout: self.duration("body_timeout")?,
            },
            retention: self.duration("retention")?,
            grace: self.duration("grace")?,
            mail_from: self.get("mail_from").0.to_owned(),
            log: self.parse_with("log", "human or json", |text| match text {
                "human" => Some(LogFormat::Human),
                "json" => Some(LogFormat::Json),
                _ => None,
            })?,
            log_level: self.get("log_level").0.to_owned(),
        };
        let development: bool = self.parse("development", "true or false")?;
        check_secret(&config, development)?;
        Ok(config)
    }
}

impl Config {
    /// Nobody but this machine reaches the service.
    fn is_local(&self) -> bool {
        let local = |ip: IpAddr| ip.is_loopback();
        local(self.listen.ip()) && local(self.auth_listen.ip())
    }
}

fn check_secret(config: &Config, development: bool) -> Result<(), ConfigError> {
    const BYTES: usize = 32;
    match &config.jwt_secret {
        None if config.is_local() => Ok(()),
        None => Err(wrong(
            "jwt_secret is missing, and the service listens to more than this machine: set \
             JWT_SECRET or JWT_SECRET_FILE (`openssl rand -hex 32` makes one)",
        )),
        Some(Secret(secret)) if secret.len() < BYTES && !development => Err(wrong(format!(
            "jwt_secret has {} bytes and needs {BYTES}; `development = true` accepts it",
            secret.len()
        ))),
        Some(_) => Ok(()),
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

#[cfg(test)]
mod hostile;
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
        assert_eq!(config.jwt_secret, Some(Secret("sarcasm".into())));

        let long = "0123456789abcdef0123456789abcdef";
        let both = environment(&[("JWT_SECRET", "sarcasm"), ("MICROPY_JWT_SECRET", long)]);
        let config = Layers::merge(vec![], &both, None)
            .unwrap()
            .into_config()
            .unwrap();
        assert_eq!(config.jwt_secret, Some(Secret(long.into())));
    }

    #[test]
    fn a_weak_or_missing_secret_does_not_start() {
        let refused = |pairs: &[(&str, &str)]| {
            let layers = Layers::merge(vec![], &environment(pairs), None).unwrap();
            layers.into_config().unwrap_err().to_string()
        };
        assert!(refused(&[("JWT_SECRET", "sarcasm")]).contains("has 7 bytes"));
        assert!(refused(&[("MICROPY_LISTEN", "0.0.0.0:8080")]).contains("missing"));
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
