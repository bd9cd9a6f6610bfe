//! Independent programs, as judges and as encoders.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `program` with `input` on its standard input; `None`, counted as skipped, if it is not installed.
pub fn run<A: AsRef<OsStr>>(program: &str, args: &[A], input: &[u8]) -> Option<Output> {
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            skipped(program);
            return None;
        }
        child => child.unwrap(),
    };
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A program may stop reading before the end, at a trailer it does not need.
        scope.spawn(move || stdin.write_all(input).ok());
        child.wait_with_output().unwrap()
    });
    Some(output)
}

/// Adds a line to the file of results.
fn skipped(program: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {program} is not installed");
    if let Some(results) = std::env::var_os("MICROPY_RESULTS") {
        let file = std::fs::OpenOptions::new().append(true).open(results);
        let line = format!("skipped {name}: {program} is not installed\n");
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .unwrap();
    }
}

/// Runs two decoders over the MP3 in `file`; both must be silent.
pub fn assert_silent(file: &[u8], what: &str) {
    let judges: [(&str, &[&str]); 2] = [
        (
            "ffmpeg",
            &["-v", "warning", "-nostdin", "-i", "MP3", "-f", "null", "-"],
        ),
        ("mpg123", &["-q", "-t", "MP3"]),
    ];
    // In a file: through a pipe, ffmpeg does not know the size that it checks.
    let mut mp3 = tempfile::NamedTempFile::with_suffix(".mp3").unwrap();
    mp3.write_all(file).unwrap();
    for (program, args) in judges {
        let args = args.iter().map(|&arg| match arg {
            "MP3" => mp3.path().as_os_str(),
            arg => OsStr::new(arg),
        });
        if let Some(output) = run(program, &args.collect::<Vec<_>>(), &[]) {
            let complaints = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && complaints.is_empty(),
                "{what}: {program}: {complaints}"
            );
        }
    }
}

/// What ffprobe shows of a file: the fields `entries`, separated by commas.
pub fn probed(path: &Path, entries: &str) -> Option<String> {
    let args = "-v error -of csv=p=0 -show_entries".split(' ');
    let mut args: Vec<_> = args.map(OsStr::new).collect();
    args.extend([OsStr::new(entries), path.as_os_str()]);
    let output = run("ffprobe", &args, &[])?;
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Interleaved PCM of an MP3 by ffmpeg, with delay and padding cut off by its Info tag.
pub fn decoded(mp3: &[u8]) -> Option<Vec<f32>> {
    let output = run(
        "ffmpeg",
        &["-v", "error", "-i", "-", "-f", "f32le", "-"],
        mp3,
    )?;
    assert!(output.status.success());
    let samples = output.stdout.as_chunks().0.iter();
    Some(samples.map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

/// Interleaved PCM of an MP3 by mpg123: exactly without delay and padding, of which ffmpeg leaves some.
pub fn presented(mp3: &[u8]) -> Option<Vec<f32>> {
    let mut file = tempfile::NamedTempFile::with_suffix(".mp3").unwrap();
    file.write_all(mp3).unwrap();
    let args = ["-q", "-s", "-e", "f32"].map(OsStr::new);
    let output = run(
        "mpg123",
        &[&args[..], &[file.path().as_os_str()]].concat(),
        &[],
    )?;
    assert!(output.status.success());
    let samples = output.stdout.as_chunks().0.iter();
    Some(samples.map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

/// An MP4 file of `planes` as AAC by ffmpeg's encoder, which substitutes noise: its PCM depends on the history of the
/// decoder. `flags` are those of the muxer.
pub fn aac_movie(planes: &[Vec<f32>], rate: u32, flags: &str) -> Option<Vec<u8>> {
    coded_movie(planes, rate, "aac -b:a 96k", flags)
}

/// The same by another encoder of ffmpeg, with its options.
pub fn coded_movie(planes: &[Vec<f32>], rate: u32, encoder: &str, flags: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aac.mp4");
    let pcm: Vec<u8> = (0..planes[0].len())
        .flat_map(|i| planes.iter().flat_map(move |plane| plane[i].to_le_bytes()))
        .collect();
    let (rate, channels) = (rate.to_string(), planes.len().to_string());
    let mut args: Vec<&OsStr> = "-v error -f f32le -ar".split(' ').map(OsStr::new).collect();
    args.extend([&*rate, "-ac", &*channels].map(OsStr::new));
    args.extend(["-i", "-", "-c:a"].map(OsStr::new));
    args.extend(encoder.split(' ').map(OsStr::new));
    args.extend("-strict -2 -bitexact -movflags".split(' ').map(OsStr::new));
    args.extend([OsStr::new(flags), path.as_os_str()]);
    let output = run("ffmpeg", &args, &pcm)?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(std::fs::read(path).unwrap())
}
