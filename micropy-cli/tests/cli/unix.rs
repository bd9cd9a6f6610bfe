//! What only Unix has: devices, named pipes, symbolic links.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::convert::refuses_to_overwrite_the_input;
use crate::run::{Folder, on_unix};

#[test]
fn devices_and_named_pipes_are_written_to_and_stay() {
    if !on_unix("devices_and_named_pipes_are_written_to_and_stay") {
        return;
    }
    let name = "moov-first-stereo-44100.mp4";
    let folder = Folder::with(&[name]);
    let expected = folder.micropy(&format!("convert {name} -o -")).stdout;
    assert!(!expected.is_empty());
    let kind = |path: &Path| fs::metadata(path).expect("it is there").file_type();

    let null = Path::new("/dev/null");
    for flags in ["", "--force", "--json"] {
        let run = folder.micropy(&format!("convert {name} -o /dev/null {flags}"));
        assert_eq!(run.code, Some(0), "{flags}: {}", run.stderr);
        assert!(kind(null).is_char_device(), "{flags}");
    }
    let run = folder.micropy(&format!("convert {name} -o /dev/stdout"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout == expected);

    let pipe = folder.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo starts").success());
    symlink("pipe", folder.path("link")).expect("a link");
    for output in ["pipe", "link"] {
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).expect("it can be read")
        });
        let run = folder.micropy(&format!("convert {name} -o {output}"));
        assert_eq!(run.code, Some(0), "{output}: {}", run.stderr);
        assert!(kind(&pipe).is_fifo(), "{output}");
        assert!(reader.join().expect("it ends") == expected, "{output}");
    }
    assert_eq!(folder.names(), ["link", name, "pipe"]);
}

#[test]
fn the_file_behind_a_link_is_written() {
    if !on_unix("the_file_behind_a_link_is_written") {
        return;
    }
    let name = "mono-22050.mp4";
    let folder = Folder::with(&[name]);
    fs::create_dir(folder.path("music")).expect("a folder");
    symlink("music/out.mp3", folder.path("out.mp3")).expect("a link");
    for flags in ["", "--force"] {
        let run = folder.micropy(&format!("convert {name} -o out.mp3 {flags}"));
        assert_eq!(run.code, Some(0), "{flags}: {}", run.stderr);
        let link = fs::symlink_metadata(folder.path("out.mp3")).expect("it is there");
        assert!(link.is_symlink(), "{flags}");
        let file = fs::symlink_metadata(folder.path("music/out.mp3")).expect("it is there");
        assert!(file.is_file() && file.len() > 1000, "{flags}");
    }
    let run = folder.micropy(&format!("convert {name} -o out.mp3"));
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("--force"), "{}", run.stderr);
}

#[test]
fn an_input_behind_a_link_is_never_its_own_output() {
    let test = "an_input_behind_a_link_is_never_its_own_output";
    if !on_unix(test) {
        return;
    }
    let folder = Folder::with(&["mono-22050.mp4"]);
    symlink("mono-22050.mp4", folder.path("link.mp4")).expect("a link");
    refuses_to_overwrite_the_input(&folder, &["link.mp4"]);
}

#[test]
fn a_full_disk_is_an_error() {
    if !on_unix("a_full_disk_is_an_error") {
        return;
    }
    let folder = Folder::with(&["mono-22050.mp4"]);
    for (words, made) in [
        ("probe mono-22050.mp4", false),
        ("probe mono-22050.mp4 --json", false),
        ("convert mono-22050.mp4 -o -", false),
        ("convert mono-22050.mp4 --json", true),
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let mut command = folder.command(words);
        let run = command.stdout(full.expect("/dev/full")).output();
        let run = run.expect("micropy starts");
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{words}: {said}");
        assert!(said.contains("cannot"), "{words}: {said}");
        assert_eq!(folder.path("mono-22050.mp3").exists(), made, "{words}");
    }
}
