//! The names that the Flask services read from their environment, and what they mean here.

use std::fmt::Write as _;

use micropy_services::accounts::Secret;

use super::{SettingsError, Url};

/// A setting, and its name in the environment of the Flask services or of OpenTelemetry.
pub const NAMES: [(&str, &str); 8] = [
    ("auth_url", "AUTH_SVC_ADDRESS"),
    ("video_queue", "VIDEO_QUEUE"),
    ("mp3_queue", "MP3_QUEUE"),
    ("legacy_passwords", "MICROPY_AUTH_LEGACY_PASSWORDS"),
    ("jwt_secret", "JWT_SECRET"),
    ("mail_from", "GMAIL_ADDRESS"),
    ("mail_password", "GMAIL_PASSWORD"),
    ("otlp_endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT"),
];

/// The parts of `users_url` in the environment of the Flask auth service, and a file of certificates for TLS.
pub const MYSQL: [&str; 6] = [
    "MYSQL_HOST",
    "MYSQL_USER",
    "MYSQL_PASSWORD",
    "MYSQL_PORT",
    "MYSQL_DB",
    "MYSQL_SSL_CA",
];

/// The URL of the Flask auth service's database, where its host is named. `read` gives a variable's value.
pub fn mysql(
    mut read: impl FnMut(&str) -> Result<Option<String>, SettingsError>,
) -> Result<Option<String>, SettingsError> {
    let Some(host) = read("MYSQL_HOST")? else {
        return Ok(None);
    };
    let mut part = |name, default: &str| -> Result<String, SettingsError> {
        Ok(read(name)?.unwrap_or_else(|| default.to_owned()))
    };
    let tls = match part("MYSQL_SSL_CA", "")? {
        none if none.is_empty() => none,
        path => format!("?ssl-mode=VERIFY_IDENTITY&ssl-ca={}", escape(&path)),
    };
    Ok(Some(format!(
        "mysql://{}:{}@{host}:{}/{}{tls}",
        escape(&part("MYSQL_USER", "root")?),
        escape(&part("MYSQL_PASSWORD", "")?),
        part("MYSQL_PORT", "3306")?.trim(),
        escape(&part("MYSQL_DB", "auth")?),
    )))
}

/// The mail server of the Flask notification service.
pub fn gmail(user: &str, password: &Secret) -> Url {
    let (user, password) = (escape(user), escape(password.reveal()));
    Url::new(&format!("smtp://{user}:{password}@smtp.gmail.com:587"))
}

/// Text as a part of a URL (RFC 3986).
fn escape(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::super::{Layers, Settings, find};
    use super::NAMES;

    #[test]
    fn each_name_is_a_settings() {
        for (setting, name) in NAMES {
            assert!(find(setting).is_some(), "{name}");
        }
    }

    #[test]
    fn our_names_count_more() {
        let ours = "0123456789abcdef0123456789abcdef";
        let weak = [("JWT_SECRET", "sarcasm"), ("MICROPY_DEVELOPMENT", "true")];
        let both = [("JWT_SECRET", "sarcasm"), ("MICROPY_JWT_SECRET", ours)];
        for (variables, expected) in [(weak, "sarcasm"), (both, ours)] {
            let layers = Layers::of_environment(&variables).unwrap();
            let settings = Settings::from_layers(&layers).unwrap();
            let secret = settings.accounts.jwt_secret.unwrap();
            assert_eq!(secret.reveal(), expected);
        }
    }

    #[test]
    fn database_and_mail_become_urls() {
        let variables = [
            ("MYSQL_HOST", "db"),
            ("MYSQL_PORT", "3307"),
            ("MYSQL_USER", "auth_user"),
            ("MYSQL_PASSWORD", "Aauth/123"),
            ("MYSQL_DB", "auth"),
            ("GMAIL_ADDRESS", "micropy@example.com"),
            ("GMAIL_PASSWORD", "p w"),
            ("AUTH_SVC_ADDRESS", "auth:5000"),
        ];
        let layers = Layers::of_environment(&variables).unwrap();
        let printed = layers.print();
        assert!(
            !printed.contains("Aauth") && !printed.contains("p w"),
            "{printed}"
        );
        let settings = Settings::from_layers(&layers).unwrap();
        let url = |url: Option<super::Url>| url.unwrap().as_str().to_owned();
        assert_eq!(
            url(settings.stores.users_url.clone()),
            "mysql://auth_user:Aauth%2F123@db:3307/auth"
        );
        assert_eq!(
            url(settings.stores.notifier_url()),
            "smtp://micropy%40example.com:p%20w@smtp.gmail.com:587"
        );
        assert_eq!(url(settings.addresses.auth_url()), "http://auth:5000");

        let with_tls = [("MYSQL_HOST", "db"), ("MYSQL_SSL_CA", "/run/ca.pem")];
        let settings = Settings::from_layers(&Layers::of_environment(&with_tls).unwrap()).unwrap();
        assert_eq!(
            url(settings.stores.users_url.clone()),
            "mysql://root:@db:3306/auth?ssl-mode=VERIFY_IDENTITY&ssl-ca=%2Frun%2Fca.pem"
        );
    }
}
