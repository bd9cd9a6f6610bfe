//! The types of values that clap does not know.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use micropy_services::accounts::Secret;

/// A URL, which may carry a password: shown without it.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// The URL `text`, without spaces around it.
    pub fn new(text: &str) -> Self {
        Url(text.trim().to_owned())
    }

    /// The whole URL, with its password.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is before the colon.
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(scheme, _)| scheme)
    }
}

impl FromStr for Url {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Url::new(text))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return f.write_str(&self.0);
        };
        // A password that was not escaped may hold anything, also a slash.
        match rest.rsplit_once('@') {
            Some((login, host)) => {
                let user = login.split(':').next().unwrap_or_default();
                write!(f, "{scheme}://{user}:(secret)@{host}")
            }
            None => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A secret, as it stands.
pub fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// `90s`, `2h`, `30days`.
pub fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| e.to_string())
}

/// As [`time`], but not zero.
pub fn positive_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("it is zero".into()),
        time => Ok(time),
    }
}

/// `8GiB`, `500 MB`, `1024`: in bytes.
pub fn size(text: &str) -> Result<u64, String> {
    bytes(text).ok_or_else(|| "not a size such as 8GiB".into())
}

/// As [`size`], but not zero.
pub fn positive_size(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err("it is zero".into()),
        bytes => Ok(bytes),
    }
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
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
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("1", 1),
            ("5 MB", 5_000_000),
            ("2KiB", 2048),
            ("3g", 3 << 30),
        ] {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        assert!(size("0").is_ok() && positive_size("0").is_err());
        for text in ["", "x", "1.5GB", "-1", "99999999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            (
                "amqp://user:pass@host:5672/%2f",
                "amqp://user:(secret)@host:5672/%2f",
            ),
            (
                "mysql://user:p/a@s@host/auth",
                "mysql://user:(secret)@host/auth",
            ),
            ("mongodb://host", "mongodb://host"),
            ("sqlite:", "sqlite:"),
        ] {
            assert_eq!(Url::new(url).to_string(), shown);
        }
    }
}
