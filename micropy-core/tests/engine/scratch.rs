use micropy_core::{Converter, Options, OutputFormat, SampleFormat, StreamSource, probe};
#[test]
fn scratch() {
    let Ok(folder) = std::env::var("SCRATCH") else {
        return;
    };
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_file())
        .collect();
    names.sort();
    for path in names {
        let ext = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default()
            .to_owned();
        if ext != "mp4" && ext != "mov" {
            continue;
        }
        let file = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let found = match probe(&file[..]) {
            Ok(p) => format!(
                "{:?}",
                p.tracks.first().map(|t| (t.samples, t.problem.clone()))
            ),
            Err(e) => e.to_string(),
        };
        let tell = |r: micropy_core::Result<micropy_core::Report>| match r {
            Ok(r) => format!(
                "{} {} {:?}",
                r.output_samples,
                if r.complete { "rc 0" } else { "rc 3" },
                r.warnings.iter().map(|w| w.to_string()).collect::<Vec<_>>()
            ),
            Err(e) => format!("ERR {e}"),
        };
        let raw = OutputFormat::Raw(SampleFormat::S16);
        let mut out = Vec::new();
        let wav =
            tell(Converter::new(Options::new().format(raw).jobs(2)).convert(&file[..], &mut out));
        let mut piped = Vec::new();
        let pipe = tell(Converter::new(Options::new().format(raw).jobs(2)).convert(
            StreamSource::new(std::io::Cursor::new(file.clone())),
            &mut piped,
        ));
        let mp3 = tell(Converter::new(Options::new().jobs(2)).convert(&file[..], Vec::new()));
        println!(
            "{name} | probe {found} | wav {wav} | pipe {} | mp3 {}",
            if pipe == wav && piped == out {
                "same".into()
            } else {
                pipe
            },
            mp3.chars().take(14).collect::<String>()
        );
    }
}
