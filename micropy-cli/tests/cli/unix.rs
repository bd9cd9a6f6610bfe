//! What only Unix has: devices, named pipes, symbolic links.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::convert::refuses_to_overwrite_the_input;
use crate::run::{Folder, clip, on_unix, program};

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

fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo starts").success());
}

#[test]
fn a_pipe_by_any_name_is_converted() {
    if !on_unix("a_pipe_by_any_name_is_converted") {
        return;
    }
    let names = [
        "moov-first-stereo-44100.mp4",
        "moov-last-stereo-44100.mp4",
        "fragmented-empty-moov.mp4",
    ];
    let folder = Folder::with(&names);
    make_pipe(&folder.path("pipe"));
    for name in names {
        let expected = folder.micropy(&format!("convert {name} -o -"));
        assert_eq!(expected.code, Some(0), "{}", expected.stderr);
        for words in [
            "convert /dev/stdin -o made.mp3",
            "convert /dev/fd/0 -o made.mp3 --force",
        ] {
            let run = folder.micropy_fed(words, clip(name));
            assert_eq!(run.code, Some(0), "{words}: {}", run.stderr);
        }
        let of_file = folder.micropy(&format!("convert {name} -o made-of-file.mp3 --force"));
        assert_eq!(of_file.code, Some(0), "{}", of_file.stderr);
        let read = |output| fs::read(folder.path(output)).expect("the output");
        assert!(read("made.mp3") == read("made-of-file.mp3"), "{name}");

        // `<(…)` in a shell, which has no place of its own: to standard output.
        let micropy = program().join(" ");
        for line in [
            format!("{micropy} convert <(cat {name})"),
            format!("{micropy} convert /dev/stdin <{name} -o -"),
            format!("cat {name} >pipe & {micropy} convert pipe -o -"),
            format!("cat {name} | {micropy} convert /dev/stdin"),
        ] {
            let mut bash = Command::new("bash");
            bash.args(["-c", &line]).current_dir(folder.path(""));
            let run = bash.stdin(Stdio::null()).output().expect("bash starts");
            let said = String::from_utf8_lossy(&run.stderr);
            assert_eq!(run.status.code(), Some(0), "{line}: {said}");
            assert!(run.stdout == expected.stdout, "{line}");
        }
        fs::remove_file(folder.path("made.mp3")).expect("it is there");
    }
    let found = folder.micropy_fed("probe /dev/stdin --json", clip(names[1]));
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert_eq!(found.json()[0]["tracks"][0]["codec"], "AAC-LC");
    let twice = folder.micropy("convert - /dev/stdin -o out");
    assert_eq!(twice.code, Some(2), "{}", twice.stderr);
    assert!(twice.stderr.contains("only once"), "{}", twice.stderr);
    let two = folder.micropy(&format!("convert pipe {}", names[0]));
    assert_eq!(two.code, Some(2), "{}", two.stderr);
    assert!(two.stderr.contains("--output"), "{}", two.stderr);
    let empty = folder.micropy("convert /dev/null -o out.mp3");
    assert_eq!(empty.code, Some(1));
    assert!(empty.stderr.contains("it is empty"), "{}", empty.stderr);
}

/// Not even a named pipe that nobody writes to.
#[test]
fn no_pipe_holds_an_interrupted_conversion() {
    if !on_unix("no_pipe_holds_an_interrupted_conversion") {
        return;
    }
    let folder = Folder::with(&[]);
    make_pipe(&folder.path("pipe"));
    let mut child = folder
        .command("convert pipe -o out.mp3")
        .stderr(Stdio::piped())
        .spawn()
        .expect("micropy starts");
    std::thread::sleep(Duration::from_millis(500));
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.expect("kill starts").success());
    let since = Instant::now();
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(since.elapsed() < Duration::from_secs(10));
    assert_eq!(folder.names(), ["pipe"]);
}

#[test]
fn a_replaced_file_keeps_its_mode() {
    if !on_unix("a_replaced_file_keeps_its_mode") {
        return;
    }
    let name = "mono-22050.mp4";
    let folder = Folder::with(&[name]);
    folder.write("out.mp3", b"old");
    let path = folder.path("out.mp3");
    for mode in [0o600, 0o664] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        let run = folder.micropy(&format!("convert {name} -o out.mp3 --force"));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let found = fs::metadata(&path).expect("it is there");
        assert_eq!(found.permissions().mode() & 0o7777, mode);
        assert!(found.len() > 1000);
    }
}

/// The input is a pipe that nobody writes to: a conversion would never end.
#[test]
fn an_output_that_cannot_be_made_is_told_before_the_conversion() {
    if !on_unix("an_output_that_cannot_be_made_is_told_before_the_conversion") {
        return;
    }
    let folder = Folder::with(&[]);
    make_pipe(&folder.path("pipe"));
    fs::create_dir(folder.path("closed")).expect("a folder");
    folder.write("closed/out.mp3", b"old");
    folder.write("file", b"");
    let closed = fs::Permissions::from_mode(0o555);
    fs::set_permissions(folder.path("closed"), closed).expect("a mode");
    // Root may write everywhere.
    let is_root = fs::write(folder.path("closed/probe"), "").is_ok();
    let mut outputs = vec![
        (
            "no/such/folder/out.mp3",
            "no file can be made in the folder no/such/folder",
        ),
        ("file/out.mp3", "cannot create"),
        ("/proc/out.mp3", "no file can be made in the folder /proc"),
    ];
    if !is_root {
        outputs.push(("closed/out.mp3", "no file can be made in the folder closed"));
    }
    for (output, says) in outputs {
        let run = folder.micropy(&format!("convert pipe --force -o {output}"));
        assert_eq!(run.code, Some(1), "{output}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{output}: {}", run.stderr);
    }
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

#[test]
fn two_outputs_that_are_one_file_behind_a_link_are_refused() {
    if !on_unix("two_outputs_that_are_one_file_behind_a_link_are_refused") {
        return;
    }
    let names = ["mono-16000.m4a", "mono-22050.mp4"];
    let folder = Folder::with(&names);
    folder.write("mono-16000.mp3", b"");
    symlink("mono-16000.mp3", folder.path("mono-22050.mp3")).expect("a link");
    for flags in ["-y", "-y --dry-run"] {
        let run = folder.micropy(&format!("convert {} {flags}", names.join(" ")));
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains("would both become"), "{}", run.stderr);
    }
    // Of one input: its parts.
    let folder = Folder::with(&["chapters.m4b"]);
    symlink("chapters 01.mp3", folder.path("chapters 02.mp3")).expect("a link");
    let run = folder.micropy("convert chapters.m4b --split 1s -y");
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("another part"), "{}", run.stderr);
    assert_eq!(folder.names(), ["chapters 02.mp3", "chapters.m4b"]);
}

#[test]
fn a_file_that_is_found_twice_is_converted_once() {
    if !on_unix("a_file_that_is_found_twice_is_converted_once") {
        return;
    }
    let folder = Folder::with(&[]);
    folder.put("mono-22050.mp4", "v/x/a.mp4");
    symlink("x", folder.path("v/y")).expect("a link");
    let run = folder.micropy("convert -r v --json");
    assert_eq!((run.code, run.json().len()), (Some(0), 1), "{}", run.stderr);
    assert_eq!(folder.files("v"), ["x/a.mp3", "x/a.mp4", "y"]);
    let run = folder.micropy("convert -r v -o out --json");
    assert_eq!((run.code, run.json().len()), (Some(0), 2), "{}", run.stderr);
    assert_eq!(folder.files("out"), ["x/a.mp3", "y/a.mp3"]);
}

#[test]
fn a_link_to_something_else_is_not_written_through() {
    if !on_unix("a_link_to_something_else_is_not_written_through") {
        return;
    }
    let folder = Folder::with(&["mono-22050.mp4", "chapters.m4b"]);
    let keep = clip("chapters.m4b");
    for name in ["mono-22050.mp3", "mono-22050.wav", "mono-22050 01.mp3"] {
        symlink("chapters.m4b", folder.path(name)).expect("a link");
    }
    // Older than the video, so that it is not up to date.
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let file = fs::File::options()
        .write(true)
        .open(folder.path("chapters.m4b"));
    file.and_then(|file| file.set_modified(old))
        .expect("a time");
    for words in ["-u", "-y", "-y --dry-run", "--to wav -y", "--split 10s -y"] {
        let run = folder.micropy(&format!("convert mono-22050.mp4 {words}"));
        assert_eq!(run.code, Some(1), "{words}: {}", run.stderr);
        assert!(
            run.stderr.contains("is a link to"),
            "{words}: {}",
            run.stderr
        );
        assert!(
            fs::read(folder.path("chapters.m4b")).expect("it") == keep,
            "{words}"
        );
    }
}

/// `cp -p` and `rsync -t` give a file the time that it has elsewhere, however late it arrives.
#[test]
fn what_is_completed_with_its_old_time_is_converted_again() {
    if !on_unix("what_is_completed_with_its_old_time_is_converted_again") {
        return;
    }
    let folder = Folder::with(&[]);
    let whole = clip("moov-first-stereo-44100.mp4");
    folder.write("a.mp4", &whole[..whole.len() / 2]);
    let run = folder.micropy("convert -u a.mp4");
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    let run = folder.micropy("convert -u a.mp4");
    assert!(run.stderr.contains("kept"), "{}", run.stderr);
    // The clock of a file system is not finer than this.
    std::thread::sleep(Duration::from_millis(50));
    folder.write("a.mp4", &whole);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let file = fs::File::options().write(true).open(folder.path("a.mp4"));
    file.and_then(|file| file.set_modified(old))
        .expect("a time");
    let run = folder.micropy("convert -u a.mp4 --json");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.json()[0]["output_samples"], 88_200);
    let run = folder.micropy("convert -u a.mp4");
    assert!(run.stderr.contains("kept"), "{}", run.stderr);
}

#[test]
fn a_pipe_is_joined_once() {
    if !on_unix("a_pipe_is_joined_once") {
        return;
    }
    let folder = Folder::with(&["mono-22050.mp4"]);
    make_pipe(&folder.path("pipe"));
    let run = folder.micropy("convert --join pipe mono-22050.mp4 ./pipe -o all.mp3");
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("only once"), "{}", run.stderr);
}
