//! The files that `aws configure` writes: keys in `~/.aws/credentials`, region and endpoint in `~/.aws/config`.

use std::env;
use std::fs;
use std::path::PathBuf;

/// What the files say of one profile.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub keys: Option<Keys>,
    pub region: Option<String>,
    pub endpoint: Option<String>,
}

/// A pair of keys.
#[derive(PartialEq, Eq)]
pub struct Keys {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// The profile that `AWS_PROFILE` names, or else `default`.
pub fn read() -> Profile {
    let file = |variable: &str, name: &str| {
        let path = match env::var_os(variable) {
            Some(path) => Some(PathBuf::from(path)),
            None => env::home_dir().map(|home| home.join(".aws").join(name)),
        };
        path.and_then(|path| fs::read_to_string(path).ok())
            .unwrap_or_default()
    };
    let name = env::var("AWS_PROFILE").unwrap_or_else(|_| "default".into());
    profile(
        &file("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
        &file("AWS_CONFIG_FILE", "config"),
        &name,
    )
}

fn profile(credentials: &str, config: &str, name: &str) -> Profile {
    let in_config = match name {
        "default" => name.to_owned(),
        name => format!("profile {name}"),
    };
    // Where both files have a value, that of the credentials counts.
    let value = |key: &str| find(credentials, name, key).or_else(|| find(config, &in_config, key));
    let keys = value("aws_access_key_id").zip(value("aws_secret_access_key"));
    Profile {
        keys: keys.map(|(id, secret)| Keys {
            id,
            secret,
            token: value("aws_session_token"),
        }),
        region: value("region"),
        endpoint: value("endpoint_url"),
    }
}

/// The value of `key` in `[section]`. Lines that are indented belong to the value before them.
fn find(text: &str, section: &str, key: &str) -> Option<String> {
    let mut inside = false;
    let mut found = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let words: Vec<&str> = name.0.split_whitespace().collect();
            inside = words.join(" ") == section;
        } else if inside
            && !line.starts_with([' ', '\t', '#', ';'])
            && let Some((name, value)) = line.split_once('=')
            && name.trim().eq_ignore_ascii_case(key)
        {
            found = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_as_the_aws_program_writes_them() {
        let credentials = "[default]\naws_access_key_id = ID\naws_secret_access_key=SE=CRET\n\n[work]\n\
                           aws_access_key_id=W\naws_secret_access_key=X\naws_session_token = T\n[half]\n\
                           aws_access_key_id=H\n";
        let config = "[default]\nregion = eu-central-1\ns3 =\n  endpoint_url = http://nested\n# region = x\n\
                      [profile work]\nregion=us-west-2\nendpoint_url = http://127.0.0.1:9000\n";
        let found = profile(credentials, config, "default");
        let keys = found.keys.unwrap();
        assert_eq!(
            (&*keys.id, &*keys.secret, &keys.token),
            ("ID", "SE=CRET", &None)
        );
        assert_eq!(
            (found.region.as_deref(), found.endpoint),
            (Some("eu-central-1"), None)
        );
        let found = profile(credentials, config, "work");
        assert_eq!(found.keys.unwrap().token.as_deref(), Some("T"));
        assert_eq!(found.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(profile(credentials, config, "half"), Profile::default());
        assert_eq!(profile(credentials, config, "none"), Profile::default());
    }
}
