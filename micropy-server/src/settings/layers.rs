//! Where values come from: flags over the environment over a file over defaults.
//!
//! An empty value counts as not set, so that a compose file can pass `MICROPY_X: ${X:-}`. Each value remembers its
//! origin, for `--print-config` and for errors.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::{Flags, Kind, Setting, SettingsError, Url, declared, find, flask};

/// The variable that names the file, where no flag does.
const CONFIG: &str = "MICROPY_CONFIG";
const PREFIX: &str = "MICROPY_";

/// Values by the name of their setting.
#[derive(Debug, Default)]
pub struct Layers {
    values: BTreeMap<&'static str, Value>,
    /// Variables that begin with `MICROPY_` and resemble no setting.
    ignored: Vec<String>,
}

#[derive(Debug)]
struct Value {
    text: String,
    origin: String,
}

/// A file of settings: its name and its text.
type File = (String, String);

impl Layers {
    /// The layers of this process: `flags`, the environment, and the file that `file` or `MICROPY_CONFIG` names.
    pub fn read(flags: Flags, file: Option<&Path>) -> Result<Self, SettingsError> {
        let named = env::var_os(CONFIG).filter(|path| !path.is_empty());
        let file = match file.map(Path::to_owned).or(named.map(PathBuf::from)) {
            Some(path) => {
                let path = path.display().to_string();
                let text = read(&path)?;
                Some((path, text))
            }
            None => None,
        };
        Self::merge(flags, env::vars_os(), file)
    }

    /// As [`Layers::read`], of what is given.
    pub(super) fn merge(
        flags: Flags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        file: Option<File>,
    ) -> Result<Self, SettingsError> {
        let mut layers = Layers::default();
        if let Some((path, text)) = file {
            layers.add_file(&path, &text)?;
        }
        layers.add_environment(environment)?;
        for (name, value) in flags.0 {
            if let Some(setting) = find(&name) {
                layers.set(setting, value, format!("--{}", setting.flag));
            } else if let Some(setting) = name.strip_suffix("_file").and_then(find) {
                let origin = format!("--{}", setting.file_flag);
                layers.set(setting, read_secret(&value)?, origin);
            }
        }
        Ok(layers)
    }

    fn set(&mut self, setting: &'static Setting, text: String, origin: String) {
        if !text.is_empty() {
            self.values.insert(&setting.name, Value { text, origin });
        }
    }

    fn add_file(&mut self, path: &str, text: &str) -> Result<(), SettingsError> {
        // The parser's own message would show the line, which may hold a secret.
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let start = e.span().map_or(0, |span| span.start);
            let before = text.bytes().take(start);
            let line = before.filter(|byte| *byte == b'\n').count() + 1;
            SettingsError::new(format!("{path}: line {line}: {}", e.message()))
        })?;
        for (key, value) in table {
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(yes) => yes.to_string(),
                _ => {
                    return Err(SettingsError::new(format!(
                        "{path}: {key} is not text, a number or a boolean"
                    )));
                }
            };
            let origin = format!("{key} in {path}");
            if let Some(setting) = find(&key) {
                self.set(setting, value, origin);
            } else if let Some(setting) = key.strip_suffix("_file").and_then(find) {
                if !value.is_empty() {
                    self.set(setting, read_secret(&value)?, origin);
                }
            } else {
                return Err(SettingsError::new(match nearest_key(&key) {
                    Some(near) => format!("{origin} is no setting: did you mean {near}?"),
                    None => format!("{origin} is no setting"),
                }));
            }
        }
        Ok(())
    }

    fn add_environment(
        &mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), SettingsError> {
        // A name that is no Unicode is none of ours.
        let ours = |name: OsString| name.into_string().ok().filter(|name| is_ours(name));
        let environment: BTreeMap<String, OsString> = environment
            .into_iter()
            .filter_map(|(name, value)| Some((ours(name)?, value)))
            .collect();
        let value = |name: &str| -> Result<Option<(String, String)>, SettingsError> {
            let text = |name: &str| -> Result<Option<String>, SettingsError> {
                let Some(value) = environment.get(name).filter(|v| !v.is_empty()) else {
                    return Ok(None);
                };
                let text = value.to_str().map(str::to_owned);
                let text = text.ok_or_else(|| format!("{name} is not UTF-8 text"));
                text.map(Some).map_err(SettingsError::new)
            };
            if let Some(text) = text(name)? {
                return Ok(Some((text, name.to_owned())));
            }
            let file = format!("{name}_FILE");
            match text(&file)? {
                Some(path) => Ok(Some((read_secret(&path)?, file))),
                None => Ok(None),
            }
        };
        let mysql = flask::mysql(|name| Ok(value(name)?.map(|(text, _)| text)))?;
        if let (Some(url), Some(setting)) = (mysql, find("users_url")) {
            self.set(setting, url, "MYSQL_HOST …".into());
        }
        for setting in declared() {
            let flask = flask::NAMES.iter().find(|(name, _)| *name == setting.name);
            let ours = setting.variable.as_str();
            // The later name counts more.
            for name in flask.map(|(_, name)| *name).into_iter().chain([ours]) {
                if let Some((text, origin)) = value(name)? {
                    self.set(setting, text, origin);
                }
            }
        }
        for name in environment.keys() {
            if is_known_variable(name) {
                continue;
            }
            if let Some(near) = nearest_variable(name) {
                return Err(SettingsError::new(format!(
                    "{name} in the environment is no setting: did you mean {near}?"
                )));
            }
            self.ignored.push(name.clone());
        }
        Ok(())
    }

    /// Variables that begin with `MICROPY_` and set nothing.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The settings that have a value, and that.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Setting, &str)> {
        let values = self.values.iter();
        values.filter_map(|(name, value)| Some((find(name)?, &*value.text)))
    }

    /// Whether each value is of its setting's type.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        for (setting, text) in self.iter() {
            setting.check(text).map_err(|expected| {
                let origin = &self.values[&*setting.name].origin;
                let shown = match setting.kind {
                    Kind::Plain => format!("{text:?}"),
                    Kind::Url | Kind::Secret => "its value".into(),
                };
                SettingsError::new(format!("{origin}: {shown} is not {expected}"))
            })?;
        }
        Ok(())
    }

    /// All settings as a TOML file with their origins. A secret, or a URL that holds one, is a comment in it: read
    /// back, it would be another secret.
    pub fn print(&self) -> String {
        let mut text = String::new();
        for setting in declared() {
            let (value, origin) = match self.values.get(&*setting.name) {
                Some(value) => (&*value.text, &*value.origin),
                None => (&*setting.default, "default"),
            };
            let shown = match setting.kind {
                Kind::Secret if !value.is_empty() => "(secret)".into(),
                Kind::Url => Url::new(value).to_string(),
                _ => value.to_owned(),
            };
            let comment = if shown == value { "" } else { "# " };
            let shown = toml::Value::String(shown);
            let fallback = match &*setting.fallback {
                "" => String::new(),
                fallback => format!("; default: {fallback}"),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "# {}{fallback} [{origin}]\n{comment}{} = {shown}\n",
                setting.help, setting.name
            );
        }
        text
    }
}

/// Whether a variable is a setting's, by its own name or as a file.
fn is_known_variable(name: &str) -> bool {
    let is_name = |name: &str| {
        name == CONFIG
            || declared().iter().any(|setting| setting.variable == name)
            || flask::NAMES.iter().any(|(_, known)| *known == name)
            || flask::MYSQL.contains(&name)
    };
    is_name(name) || name.strip_suffix("_FILE").is_some_and(is_name)
}

/// Whether this program has anything to do with a variable.
fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) || is_known_variable(name)
}

/// The setting whose key `key` is most like, by clap's measure for misspelled flags.
fn nearest_key(key: &str) -> Option<&'static str> {
    const ALIKE: f64 = 0.7;
    declared()
        .iter()
        .map(|setting| (strsim::jaro(key, &setting.name), &*setting.name))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The variable that `name` is a misspelling of.
///
/// Other programs may set variables that begin with `MICROPY_`: our tests do, and Kubernetes does for a Service called
/// `micropy` (`MICROPY_PORT`, `MICROPY_SERVICE_HOST`, …). A service must start beside them. So only what is nearly a
/// setting's name is a mistake: at most a third of its letters (and at most three) are wrong, or it has all the words
/// of a setting of more than one. What is further away is named in the log.
fn nearest_variable(name: &str) -> Option<String> {
    let bare = name.strip_prefix(PREFIX)?;
    let bare = bare.strip_suffix("_FILE").unwrap_or(bare);
    let words: Vec<&str> = bare.split('_').collect();
    let by_letters = declared().iter().filter_map(|setting| {
        let upper = setting.name.to_uppercase();
        let wrong = strsim::osa_distance(bare, &upper);
        (wrong <= (upper.len() / 3).min(3)).then_some((wrong, setting))
    });
    let by_words = declared().iter().filter(|setting| {
        let upper = setting.name.to_uppercase();
        upper.contains('_') && upper.split('_').all(|word| words.contains(&word))
    });
    by_letters
        .min_by_key(|(wrong, _)| *wrong)
        .map(|(_, setting)| setting)
        .or_else(|| by_words.max_by_key(|setting| setting.name.len()))
        .map(|setting| setting.variable.clone())
}

fn read(path: &str) -> Result<String, SettingsError> {
    fs::read_to_string(path).map_err(|e| SettingsError::new(format!("cannot read {path}: {e}")))
}

/// A secret's file, without the end of its line.
fn read_secret(path: &str) -> Result<String, SettingsError> {
    Ok(read(path)?.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
impl Layers {
    /// Of a file `m.toml` alone.
    pub(super) fn of_file(text: &str) -> Result<Self, SettingsError> {
        Self::merge(Flags::default(), [], Some(("m.toml".into(), text.into())))
    }

    /// Of variables alone.
    pub(crate) fn of_environment(variables: &[(&str, &str)]) -> Result<Self, SettingsError> {
        let variables = variables.iter().map(|(n, v)| (n.into(), v.into()));
        Self::merge(Flags::default(), variables, None)
    }

    /// A setting's value and its origin.
    pub(super) fn get(&self, name: &str) -> Option<(&str, &str)> {
        let value = self.values.get(name)?;
        Some((&value.text, &value.origin))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Settings;
    use super::*;

    #[test]
    fn flags_beat_environment_beats_file_beats_defaults() {
        let file = "workers = 3\nmax_files = 7\nretention = '2h'\nqueue_url = 'sqlite:'\n";
        let variables = [("MICROPY_WORKERS", "4"), ("MICROPY_MAX_FILES", "8")];
        let variables = variables.map(|(n, v)| (n.into(), v.into()));
        let flags = Flags(vec![("workers".into(), "5".into())]);
        let layers = Layers::merge(flags, variables, Some(("m.toml".into(), file.into()))).unwrap();
        assert_eq!(layers.get("workers"), Some(("5", "--workers")));
        assert_eq!(layers.get("retention"), Some(("2h", "retention in m.toml")));
        let settings = Settings::from_layers(&layers).unwrap();
        assert_eq!(settings.conversions.workers(), 5);
        assert_eq!(settings.limits().files, 8);
        assert_eq!(settings.requests.retention, Duration::from_secs(7200));
        assert_eq!(settings.limits().upload, 8 << 30);
    }

    #[test]
    fn an_empty_value_is_not_set() {
        let layers = Layers::of_environment(&[
            ("MICROPY_WORKERS", ""),
            ("MICROPY_STORAGE_URL", ""),
            ("MICROPY_JWT_SECRET_FILE", ""),
            ("MICROPY_JWT_SECRET", ""),
            ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ]);
        let layers = layers.unwrap();
        assert_eq!(layers.get("workers"), None);
        assert_eq!(
            layers.get("jwt_secret").map(|(_, from)| from),
            Some("JWT_SECRET")
        );
    }

    #[test]
    fn every_setting_can_be_a_flag_a_variable_a_key_and_a_file() {
        let folder = tempfile::tempdir().unwrap();
        for setting in declared() {
            let value = match (&*setting.value_name, &*setting.default) {
                (_, default) if !default.is_empty() => default,
                ("ADDRESS", _) => "127.0.0.1:1",
                ("MODE", _) => "verify",
                ("BOOL", _) => "true",
                ("TIME", _) => "5min",
                ("NETWORKS", _) => "10.1.0.0/16",
                _ => "0123456789abcdef0123456789abcdef",
            };
            let file = folder.path().join(&setting.name);
            fs::write(&file, format!("{value}\n")).unwrap();
            let file = file.to_str().unwrap();
            let (flag, variable) = (&setting.flag, &setting.variable);
            let key = format!("{}_file", setting.name);
            let all = [
                Layers::merge(Flags(vec![(setting.name.clone(), value.into())]), [], None),
                Layers::merge(Flags(vec![(key.clone(), file.into())]), [], None),
                Layers::of_environment(&[(variable, value)]),
                Layers::of_environment(&[(&format!("{variable}_FILE"), file)]),
                Layers::of_file(&format!("{} = {value:?}", setting.name)),
                Layers::of_file(&format!("{key} = {file:?}")),
            ];
            let origins = [
                format!("--{flag}"),
                format!("--{flag}-file"),
                variable.clone(),
                format!("{variable}_FILE"),
                format!("{} in m.toml", setting.name),
                format!("{key} in m.toml"),
            ];
            for (layers, origin) in all.into_iter().zip(&origins) {
                let layers = layers.unwrap();
                assert_eq!(layers.get(&setting.name), Some((value, &**origin)));
                Settings::from_layers(&layers).unwrap();
            }
        }
    }

    #[test]
    fn a_misspelled_name_names_the_right_one() {
        let refused = |layers: Result<Layers, SettingsError>| layers.unwrap_err().to_string();
        for (wrong, right) in [
            ("wrokers", "workers"),
            ("max_uploads", "max_upload"),
            ("maxupload", "max_upload"),
            ("jwt-secret", "jwt_secret"),
            ("log_lvl", "log_level"),
        ] {
            let error = refused(Layers::of_file(&format!("{wrong:?} = 3")));
            assert_eq!(
                error,
                format!("{wrong} in m.toml is no setting: did you mean {right}?")
            );
        }
        assert_eq!(
            refused(Layers::of_file("colour = 'red'")),
            "colour in m.toml is no setting"
        );
        for (wrong, right) in [
            ("MICROPY_WROKERS", "MICROPY_WORKERS"),
            ("MICROPY_MAX_UPLOADS", "MICROPY_MAX_UPLOAD"),
            ("MICROPY_UPLOAD_MAX", "MICROPY_MAX_UPLOAD"),
            ("MICROPY_MAX_UPLOAD_SIZE", "MICROPY_MAX_UPLOAD"),
            ("MICROPY_STORAGEURL", "MICROPY_STORAGE_URL"),
            ("MICROPY_STORAGE_URI_FILE", "MICROPY_STORAGE_URL"),
            ("MICROPY_LOGS", "MICROPY_LOG"),
            ("MICROPY_LOGLEVEL", "MICROPY_LOG_LEVEL"),
            ("MICROPY_JWT_SECRETS", "MICROPY_JWT_SECRET"),
        ] {
            let error = refused(Layers::of_environment(&[(wrong, "3")]));
            let expected =
                format!("{wrong} in the environment is no setting: did you mean {right}?");
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn variables_of_others_are_ignored() {
        let names = [
            // Our tests and benchmarks.
            "API_EXAMPLES",
            "BENCH_FILE",
            "BIG",
            "BINARY",
            "CORPUS",
            "FAULTS_LOGS",
            "JOBS",
            "KILLS",
            "MUTATIONS",
            "MYSQL_DOWN",
            "OUTAGES",
            "PARTS",
            "PROGRAM",
            "QUICK",
            "RESULTS",
            "SEED",
            "SERVER",
            "TEST_AMQP_URL",
            "TEST_MONGODB_URL",
            "TEST_MYSQL_URL",
            "TEST_SMTP_DIR",
            "TEST_SMTP_URL",
            "UPLOADS",
            "UPLOAD_MB",
            // Kubernetes and docker, for a Service called micropy or micropy-gateway.
            "PORT",
            "PORT_8080_TCP",
            "PORT_8080_TCP_ADDR",
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "GATEWAY_SERVICE_HOST",
            "GATEWAY_PORT_8080_TCP_PROTO",
        ];
        for name in names {
            let name = format!("MICROPY_{name}");
            let layers = Layers::of_environment(&[(&name, "1"), ("PATH", "/bin")]).unwrap();
            assert_eq!(layers.ignored(), [name]);
        }
    }

    #[test]
    fn a_printed_configuration_can_be_read() {
        let variables = [("MICROPY_MAX_UPLOAD", "3GiB"), ("MICROPY_LOG", "json")];
        let printed = Layers::of_environment(&variables).unwrap().print();
        let again = Layers::of_file(&printed).unwrap();
        assert_eq!(
            again.get("max_upload").map(|(value, _)| value),
            Some("3GiB")
        );
        assert_eq!(again.get("public_url"), None);
        Settings::from_layers(&again).unwrap();
    }

    #[test]
    fn a_secret_is_printed_as_a_comment() {
        let variables = [
            ("MICROPY_JWT_SECRET", "0123456789abcdef0123456789abcdef"),
            ("MICROPY_QUEUE_URL", "amqp://micropy:hunter2@rabbitmq:5672"),
            ("MICROPY_STORAGE_URL", "mongodb://mongo:27017"),
        ];
        let printed = Layers::of_environment(&variables).unwrap().print();
        for line in [
            "# jwt_secret = \"(secret)\"",
            "# queue_url = \"amqp://micropy:(secret)@rabbitmq:5672\"",
            "storage_url = \"mongodb://mongo:27017\"",
        ] {
            assert!(
                printed.lines().any(|printed| printed == line),
                "{line}: {printed}"
            );
        }
        let again = Layers::of_file(&printed).unwrap();
        assert_eq!(
            (again.get("jwt_secret"), again.get("queue_url")),
            (None, None)
        );
    }

    #[test]
    fn a_broken_file_is_named_with_its_line() {
        let error = Layers::of_file("listen = 'x'\nworkers = [").unwrap_err();
        assert!(error.to_string().starts_with("m.toml: line 2: "), "{error}");
    }
}
