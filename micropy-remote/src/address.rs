//! URLs as people type them: what they name, what of them may be shown.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::Error;

/// What reads a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`, `https`.
    Http,
    /// `s3`, `gs`, `az`.
    Store,
}

/// A URL taken apart.
#[derive(Clone, Debug)]
pub struct Address {
    pub scheme: Scheme,
    /// Without user and password.
    pub url: Url,
    /// Those of the URL, decoded.
    pub login: Option<Login>,
    /// The name of a store's object, as it is typed: there is no escaping in it.
    #[cfg_attr(not(feature = "stores"), allow(dead_code))]
    pub key: String,
    /// What may be shown of it.
    pub shown: String,
}

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(…)")
    }
}

/// Whether `text` is a URL and not a path: it begins with a scheme and `://`.
///
/// ```
/// use micropy_remote::is_url;
///
/// assert!(is_url("https://example.com/a.mp4") && is_url("s3://bucket/a.mp4"));
/// assert!(!is_url("talk.mp4") && !is_url("./https://talk.mp4") && !is_url(r"C:\talk.mp4"));
/// ```
pub fn is_url(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else {
        return false;
    };
    // One letter is a drive of Windows.
    scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// What may be shown of a URL: neither user and password nor the query, which signs many links.
///
/// ```
/// use micropy_remote::without_secrets;
///
/// let url = "https://ann:secret@example.com/a%20b.mp4?signature=secret#t=10";
/// assert_eq!(without_secrets(url), "https://example.com/a%20b.mp4?…");
/// ```
pub fn without_secrets(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => shown(&url),
        // Which part of it is a secret cannot be told.
        Err(_) => match url.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://…"),
            None => "the URL".into(),
        },
    }
}

/// The same of a URL that is parsed.
pub fn shown(url: &Url) -> String {
    let mut plain = url.clone();
    let had_query = plain.query().is_some();
    plain.set_query(None);
    plain.set_fragment(None);
    // Neither fails where there is a host, and without one there is no user.
    let _ = plain.set_username("");
    let _ = plain.set_password(None);
    match had_query {
        true => format!("{plain}?…"),
        false => plain.into(),
    }
}

/// The name of the file that a URL names, decoded, as it stands there: the last part of its path. It may hold anything,
/// separators too.
///
/// ```
/// use micropy_remote::file_name;
///
/// assert_eq!(file_name("https://example.com/talks/a%20talk.mp4?token=1").as_deref(), Some("a talk.mp4"));
/// assert_eq!(file_name("https://example.com/"), None);
/// ```
pub fn file_name(url: &str) -> Option<String> {
    let parsed = Url::parse(url).ok()?;
    let last = |path: &str| {
        path.rsplit('/')
            .find(|part| !part.is_empty())
            .map(str::to_owned)
    };
    let name = match is_store(&parsed) {
        true => last(key(url))?,
        false => percent_decode_str(&last(parsed.path())?)
            .decode_utf8_lossy()
            .into_owned(),
    };
    (!name.trim().is_empty()).then_some(name)
}

fn is_store(url: &Url) -> bool {
    matches!(url.scheme(), "s3" | "gs" | "az")
}

/// What follows bucket and slash.
fn key(url: &str) -> &str {
    let behind = url.split_once("://").map_or("", |(_, behind)| behind);
    behind.split_once('/').map_or("", |(_, key)| key)
}

/// Takes a URL apart.
pub fn parse(text: &str) -> Result<Address, Error> {
    let invalid = |why: String| Error::InvalidUrl {
        url: without_secrets(text),
        why,
    };
    let mut url = Url::parse(text).map_err(|error| invalid(format!("it is no URL: {error}")))?;
    let scheme = match url.scheme() {
        "http" | "https" => Scheme::Http,
        _ if is_store(&url) => Scheme::Store,
        other => {
            return Err(invalid(format!(
                "{other}:// is not supported; http, https, s3, gs and az are"
            )));
        }
    };
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid(match scheme {
            Scheme::Http => "it names no host".into(),
            Scheme::Store => "it names no bucket or container".into(),
        }));
    }
    if scheme == Scheme::Store && key(text).is_empty() {
        return Err(invalid(
            "it names no object in its bucket or container".into(),
        ));
    }
    let shown = shown(&url);
    let login = login(&url);
    // Neither fails: there is a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    Ok(Address {
        scheme,
        url,
        login,
        key: key(text).to_owned(),
        shown,
    })
}

fn login(url: &Url) -> Option<Login> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = url.password().unwrap_or_default();
    (!url.username().is_empty() || !password.is_empty()).then(|| Login {
        user: decode(url.username()),
        password: decode(password),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_no_urls() {
        for url in [
            "http://h/a",
            "HTTPS://h",
            "s3://b/k",
            "ftp://h/a",
            "a+b.c-1://x",
        ] {
            assert!(is_url(url), "{url}");
        }
        for path in [
            "a.mp4",
            "-",
            "/a://b",
            "c://a.mp4",
            "://a",
            "1a://b",
            "a b://c",
            "",
        ] {
            assert!(!is_url(path), "{path}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (url, shown) in [
            ("https://a:b@h/p", "https://h/p"),
            (
                "https://a:p%40ss@h:8080/p?X-Amz-Signature=s",
                "https://h:8080/p?…",
            ),
            ("s3://bucket/key", "s3://bucket/key"),
            // Not a URL: the password has a slash.
            ("https://user:pa/ss@host/a", "https://…"),
            ("https://a:b@[x/p", "https://…"),
        ] {
            assert_eq!(without_secrets(url), shown, "{url}");
        }
    }

    #[test]
    fn an_error_of_a_url_shows_none_of_its_secrets() {
        for url in [
            "https://user:pa/ss@host/a",
            "ftp://ann:pass@host/a?pass",
            "https://ann:pass@/a",
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(
                !error.contains("pa/ss") && !error.contains("pass"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_login_is_decoded_and_taken_out_of_the_url() {
        let address = parse("https://ann%40example.com:p%3Ass@host/a#t=1").unwrap();
        let login = address.login.unwrap();
        assert_eq!(
            (&*login.user, &*login.password),
            ("ann@example.com", "p:ss")
        );
        assert_eq!(address.url.as_str(), "https://host/a");
        assert_eq!(format!("{login:?}"), "Login(…)");
        assert!(parse("https://host/a").unwrap().login.is_none());
    }

    #[test]
    fn keys_of_stores_are_taken_as_they_are() {
        let address = parse("s3://my-Bucket/a b/50%25?#1.mp4").unwrap();
        assert_eq!(address.key, "a b/50%25?#1.mp4");
        assert_eq!(address.url.host_str(), Some("my-Bucket"));
        assert!(parse("s3://bucket/").is_err() && parse("gs:///key").is_err());
    }

    #[test]
    fn names_come_from_the_path() {
        for (url, name) in [
            ("https://h/a.mp4", Some("a.mp4")),
            ("https://h/a/b%2Fc.mp4?x=y.mp3", Some("b/c.mp4")),
            ("https://h/folder/", Some("folder")),
            ("https://h/k%C3%A4se.m4b", Some("käse.m4b")),
            ("s3://bucket/a/50%25 #1?.m4b", Some("50%25 #1?.m4b")),
            ("s3://bucket", None),
            ("https://h", None),
            ("https://h/%20", None),
        ] {
            assert_eq!(file_name(url).as_deref(), name, "{url}");
        }
    }
}
