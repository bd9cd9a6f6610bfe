//! `~/.netrc`: users and passwords by host, as curl, wget and git read them.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::address::Login;

/// More than that is no file of passwords.
const LONGEST: u64 = 1 << 20;

/// The login for `host` in the file that `NETRC` names, or else in the user's `.netrc`.
pub fn login(host: &str) -> Option<Login> {
    let path = match env::var_os("NETRC") {
        Some(path) => PathBuf::from(path),
        None => env::home_dir()?.join(if cfg!(windows) { "_netrc" } else { ".netrc" }),
    };
    let readable = fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= LONGEST);
    let text = readable.then(|| fs::read_to_string(&path).ok()).flatten()?;
    find(&text, host)
}

/// The first entry for `host`, or else the default one.
fn find(text: &str, host: &str) -> Option<Login> {
    let mut words = words(text).into_iter();
    let mut login: Option<Login> = None;
    let mut ours = false;
    while let Some(word) = words.next() {
        match word.as_str() {
            "machine" | "default" => {
                if login.is_some() {
                    break;
                }
                ours = word == "default" || words.next()?.eq_ignore_ascii_case(host);
                login = ours.then(|| Login {
                    user: String::new(),
                    password: String::new(),
                });
            }
            "login" | "password" | "account" => {
                let value = words.next()?;
                match (&mut login, word.as_str()) {
                    (Some(login), "login") if ours => login.user = value,
                    (Some(login), "password") if ours => login.password = value,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    login
}

/// The words of the file, without comments and macros. A word in quotation marks may hold blanks.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut in_macro = false;
    for line in text.lines() {
        if in_macro {
            in_macro = !line.trim().is_empty();
            continue;
        }
        let mut rest = line.trim_start();
        while !rest.is_empty() && !rest.starts_with('#') {
            let (word, behind) = match rest.strip_prefix('"') {
                Some(quoted) => quoted_word(quoted),
                None => {
                    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                    (rest[..end].to_owned(), &rest[end..])
                }
            };
            if word == "macdef" {
                in_macro = true;
                break;
            }
            words.push(word);
            rest = behind.trim_start();
        }
    }
    words
}

/// A word up to its closing quotation mark; what follows it.
fn quoted_word(text: &str) -> (String, &str) {
    let mut word = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (word, &text[at + 1..]),
            '\\' => word.extend(chars.next().map(|(_, c)| c)),
            c => word.push(c),
        }
    }
    (word, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
# passwords
machine example.com login ann password "a \"b\" c" account x
machine other.org
    login bob
    password p#ss

macdef init
machine trap.org login no password no

machine last.org login carl
default login anonymous password guest
"#;

    #[test]
    fn entries_are_found_by_their_host() {
        for (host, user, password) in [
            ("example.com", "ann", "a \"b\" c"),
            ("EXAMPLE.com", "ann", "a \"b\" c"),
            ("other.org", "bob", "p#ss"),
            ("last.org", "carl", ""),
            ("trap.org", "anonymous", "guest"),
        ] {
            let login = find(FILE, host).unwrap();
            assert_eq!((&*login.user, &*login.password), (user, password), "{host}");
        }
        assert!(find("machine a login b password c", "d").is_none());
    }

    #[test]
    fn damaged_files_have_no_logins() {
        for text in [
            "machine",
            "machine h login",
            "\"",
            "login a password b",
            "machine \"h",
        ] {
            assert!(
                find(text, "h").is_none_or(|login| login.password.is_empty()),
                "{text}"
            );
        }
    }
}
