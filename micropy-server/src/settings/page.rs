//! `docs/settings.md`, written from the declarations.

use std::fmt::Write as _;

use super::{Kind, Setting, declared, flask};

const INTRODUCTION: &str = "# Settings of micropy-server

<!-- Made by `micropy-server settings-page`; a test compares. Edit micropy-server/src/settings/mod.rs instead. -->

Each setting can be given in three ways. The first that is there counts:

1. a flag: `--max-upload 2GiB`,
2. a variable of the environment: `MICROPY_MAX_UPLOAD=2GiB`,
3. a line in a TOML file that `--config FILE` or `MICROPY_CONFIG` names: `max_upload = \"2GiB\"`.

A secret or a URL with a password is better kept in a file of its own: `--jwt-secret-file FILE`,
`MICROPY_JWT_SECRET_FILE=FILE`, or `jwt_secret_file = \"FILE\"`. In the environment and in the TOML file every setting can
be read from a file like that.

An empty value counts as not set. An unknown key in the file is an error, and so is a variable that looks like a misspelled
setting; other variables that begin with `MICROPY_` are named in the log and ignored, since Kubernetes makes such ones.
`micropy-server --print-config` prints every value and where it comes from, without secrets.

The names that the Flask services read (`JWT_SECRET`, `MYSQL_HOST` …) work too, and count less than ours. `MYSQL_HOST`,
`MYSQL_PORT`, `MYSQL_USER`, `MYSQL_PASSWORD` and `MYSQL_DB` together are a `users_url`, with `MYSQL_SSL_CA` by verified TLS.
";

/// The page in Markdown.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut heading = "";
    for setting in declared() {
        if setting.heading != heading {
            heading = &setting.heading;
            let head = "| flag | variable | default | meaning |\n|---|---|---|---|";
            // Writing to a String cannot fail.
            let _ = writeln!(page, "\n## {heading}\n\n{head}");
        }
        let _ = writeln!(page, "{}", row(setting));
    }
    page
}

fn row(setting: &Setting) -> String {
    let mut variables = format!("`{}`", setting.variable);
    for (_, name) in flask::NAMES.iter().filter(|(of, _)| *of == setting.name) {
        let _ = write!(variables, ", `{name}`");
    }
    let default = match &*setting.default {
        "" => setting.fallback.clone(),
        value => format!("`{value}`"),
    };
    let choices = setting.choices();
    let help = match choices.is_empty() || setting.value_name == "BOOL" {
        true => setting.help.clone(),
        false => format!("{}: {}", setting.help, choices.join(", ")),
    };
    let kind = match setting.kind {
        Kind::Secret => " (secret)",
        Kind::Url | Kind::Plain => "",
    };
    format!(
        "| `--{} {}` | {variables} | {default} | {help}{kind} |",
        setting.flag, setting.value_name
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    #[test]
    fn the_page_is_what_the_declarations_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md");
        let written = fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == super::page(),
            "docs/settings.md is stale: cargo run -p micropy-server -- settings-page >docs/settings.md"
        );
    }
}
