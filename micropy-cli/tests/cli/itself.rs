//! What the program says about itself: completions, manual pages, colours.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::run::{Folder, installed};

/// Gives `input` to a program, which must be content and quiet, and returns its output.
fn fed(command: &mut Command, input: &[u8]) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input)
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.is_empty(),
        "{command:?}: {said}"
    );
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn bash_completes_commands_flags_and_presets() {
    let test = "bash_completes_commands_flags_and_presets";
    if !installed(test, &["bash"]) {
        return;
    }
    let folder = Folder::with(&[]);
    let run = folder.micropy("completions bash");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    fed(Command::new("bash").arg("-n"), &run.stdout);
    // Loaded as a shell loads it, and asked as a shell asks.
    let ask = br#"
complete -p micropy
complete_at() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
  _micropy micropy "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; echo "${COMPREPLY[*]}"; }
complete_at micropy con
complete_at micropy convert --re
complete_at micropy convert --preset s
"#;
    let said = fed(&mut Command::new("bash"), &[&run.stdout[..], ask].concat());
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with("complete ") && lines[0].ends_with(" micropy"),
        "{said}"
    );
    assert_eq!(
        lines[1..],
        ["convert", "--recursive --replaygain", "speech small"],
        "{said}"
    );
}

#[test]
fn every_shell_has_completions() {
    let folder = Folder::with(&[]);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = folder.micropy(&format!("completions {shell}"));
        assert_eq!(run.code, Some(0), "{shell}: {}", run.stderr);
        let script = String::from_utf8(run.stdout).expect("text");
        assert!(
            script.contains("split-chapters") && script.contains("podcast"),
            "{shell}"
        );
    }
    let run = folder.micropy("completions tcsh");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("fish"), "{}", run.stderr);
}

#[test]
fn manual_pages_render() {
    let folder = Folder::with(&[]);
    let run = folder.micropy("man share/man1");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let pages = folder.files("share/man1");
    let expected = ["completions", "convert", "man", "presets", "probe"]
        .map(|name| format!("micropy-{name}.1"));
    assert_eq!(pages[..5], expected);
    assert_eq!(pages[5..], ["micropy.1"]);
    for page in &pages {
        let text =
            fs::read_to_string(folder.path(&format!("share/man1/{page}"))).expect("the page");
        assert!(
            text.contains(".TH micropy") && text.contains(".SH NAME"),
            "{page}"
        );
    }
    let renderer = ["mandoc", "groff", "man"]
        .into_iter()
        .find(|program| installed_quietly(program));
    let Some(renderer) = renderer else {
        installed("manual_pages_render", &["mandoc"]);
        return;
    };
    for page in &pages {
        let path = folder.path(&format!("share/man1/{page}"));
        let mut command = Command::new(renderer);
        match renderer {
            "mandoc" => command.args(["-T", "utf8"]).arg(&path),
            "groff" => command
                .args(["-man", "-T", "utf8", "-ww", "-P", "-cbou"])
                .arg(&path),
            _ => command.arg("-l").arg(&path).env("MANPAGER", "cat"),
        };
        let text = fed(&mut command, b"");
        assert!(text.contains("SYNOPSIS"), "{page}: {text}");
        if page == "micropy-convert.1" {
            let plain: String = text.chars().filter(|c| !c.is_control()).collect();
            assert!(
                plain.contains("speech") && plain.contains("podcast"),
                "{text}"
            );
        }
    }
}

fn installed_quietly(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

#[test]
fn no_color_is_obeyed() {
    let folder = Folder::with(&[]);
    let help = |variables: &[(&str, &str)], words: &str| {
        let mut command = folder.command(words);
        command
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR")
            .env_remove("CLICOLOR_FORCE");
        let output = command
            .envs(variables.iter().copied())
            .output()
            .expect("micropy starts");
        [output.stdout, output.stderr].concat()
    };
    for words in ["--help", "convert --help", "convert --bitrat"] {
        let has_colour = |variables| help(variables, words).contains(&0x1B);
        assert!(
            has_colour(&[("CLICOLOR_FORCE", "1")]),
            "{words}: there are colours to leave out"
        );
        assert!(
            !has_colour(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]),
            "{words}"
        );
        assert!(!has_colour(&[]), "{words}: not in a pipe");
    }
}

#[test]
fn the_help_puts_each_flag_under_its_heading() {
    let folder = Folder::with(&[]);
    let help = String::from_utf8(folder.micropy("convert --help").stdout).expect("text");
    let (options, rest) = help.split_once("\nAudio:").expect("a heading");
    let (audio, tags) = rest.split_once("\nTags:").expect("a heading");
    for flag in [
        "--jobs",
        "--json",
        "--force",
        "--split-chapters",
        "--watch",
        "--update",
    ] {
        assert!(options.contains(flag), "{flag}");
    }
    assert!(audio.contains("--preset") && audio.contains("--normalize"));
    assert!(
        tags.contains("--cover") && !tags.contains("--json"),
        "{tags}"
    );
}
