//! One file to make and judge.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use micropy_core::stages;
use micropy_core::{Converter, Options};

use crate::axes::{Axes, DITHERED, Length};
use crate::judge::{Agreement, by_ffmpeg};
use crate::material::{MATERIALS, Material, interleaved};
use crate::support::programs::run;

/// What it is made of.
pub struct Case {
    axes: &'static Axes,
    rate: u32,
    layout: (&'static str, usize),
    bitrate: u32,
    material: Material,
}

/// Cases of each codec at least.
const FEWEST: usize = 4;

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case {
            axes,
            rate,
            layout,
            bitrate,
            material,
        } = self;
        write!(
            f,
            "{} {rate} Hz {} {bitrate} kbit/s {material:?}",
            axes.name, layout.0
        )
    }
}

impl Case {
    /// Every combination, or as many as show every value of every axis.
    pub fn all_of(axes: &'static Axes, every: bool) -> Vec<Case> {
        let lens = [
            axes.rates.len(),
            axes.layouts.len(),
            axes.bitrates.len(),
            MATERIALS.len(),
        ];
        let count = match every {
            true => lens.iter().product(),
            false => lens[..3].iter().copied().max().unwrap().max(FEWEST),
        };
        // Codecs of few rates do not all begin with the same kinds of sound.
        let shift = axes.name.len();
        let case = |index: usize| {
            let mut rest = index;
            let mut place = |len: usize| match every {
                true => {
                    let place = rest % len;
                    rest /= len;
                    place
                }
                false => index % len,
            };
            let [rate, layout, bitrate, material] = lens.map(&mut place);
            Case {
                axes,
                rate: axes.rates[rate],
                layout: axes.layouts[layout],
                bitrate: axes.bitrates[bitrate],
                material: MATERIALS[(material + shift) % MATERIALS.len()],
            }
        };
        (0..count).map(case).collect()
    }

    /// Whether it is longer than a packet of any codec.
    pub fn has_several_packets(&self) -> bool {
        self.len() > 2 * 4608
    }

    /// PCM samples of the source per channel.
    fn len(&self) -> usize {
        // Half a second, and no multiple of any packet.
        self.rate as usize / 2 + 17
    }

    /// The same at the rate of the decoder.
    fn len_at(&self, rate: u32) -> usize {
        let len = self.len() as u64 * u64::from(rate);
        (len / u64::from(self.rate)) as usize
    }

    /// The file, if there is such an encoding.
    fn encode(&self, path: &Path) -> Option<Vec<u8>> {
        let planes = self
            .material
            .planes(self.rate, self.layout.1, self.len(), 11);
        let pcm = interleaved(&planes);
        let mut args = format!(
            "-v error -y -f f32le -ar {} -ac {} -channel_layout {} -i - -c:a {}",
            self.rate, self.layout.1, self.layout.0, self.axes.encoder
        );
        if self.bitrate > 0 {
            args += &format!(" -b:a {}k", self.bitrate);
        }
        let args: Vec<&OsStr> = args
            .split(' ')
            .map(OsStr::new)
            .chain([path.as_os_str()])
            .collect();
        let output = run("ffmpeg", &args, &pcm)?;
        let file = std::fs::read(path).ok()?;
        output.status.success().then_some(file)
    }

    /// What is wrong with our decoding of this case; `None` where ffmpeg cannot encode it.
    pub fn judge(&self, folder: &Path) -> Option<Result<(), String>> {
        let path = folder.join("case").with_extension(self.axes.extension);
        let file = self.encode(&path)?;
        Some(self.compare(&file, &path))
    }

    /// The same of packets copied from a Matroska file, whose times are milliseconds.
    pub fn judge_from_matroska(&self, folder: &Path) -> Option<Result<(), String>> {
        let (first, path) = (folder.join("case.mkv"), folder.join("copy.mp4"));
        self.encode(&first)?;
        let copy = "-v error -y -i FIRST -c copy -strict -2 COPY";
        let args: Vec<&OsStr> = copy
            .split(' ')
            .map(|arg| match arg {
                "FIRST" => first.as_os_str(),
                "COPY" => path.as_os_str(),
                arg => OsStr::new(arg),
            })
            .collect();
        assert!(run("ffmpeg", &args, &[])?.status.success());
        let file = std::fs::read(&path).unwrap();
        Some(self.compare_copy(&file, &path))
    }

    /// How near the decoders have to be: with so few bits a channel, most mantissas have none, and noise of the
    /// decoder's own stands in for them. Of noise, liba52 and ffmpeg are then as far apart (5.8 dB in 5.1 at 96
    /// kbit/s), and 18.7 dB in stereo at 192.
    fn agreement(&self) -> Agreement {
        let least_kbps = match self.material {
            Material::Noise => 96,
            _ => 24,
        };
        let is_starved = self.bitrate < least_kbps * self.layout.1 as u32;
        match self.axes.agreement {
            DITHERED if is_starved => Agreement::Below {
                signal: 5.0,
                full_scale: 60.0,
            },
            agreement => agreement,
        }
    }

    fn compare_copy(&self, file: &[u8], path: &Path) -> Result<(), String> {
        let ours = stages::pcm(file, 0).map_err(|e| e.to_string())?;
        let theirs = self.by_ffmpeg(path);
        self.agreement().of(&ours, &theirs, 0)?;
        let report = Converter::new(Options::new().vbr(9.0))
            .convert(file, Vec::new())
            .map_err(|e| e.to_string())?;
        // The last packet may be cut short, as far as its duration tells.
        let (least, most) = (
            self.len_at(ours.sample_rate),
            ours.planes[0].len() - ours.lead,
        );
        if most < least {
            return Err(format!("{most} PCM samples are decoded, of {least}"));
        }
        let samples = report.input_samples as usize;
        let all = least <= samples && samples <= most;
        match all && report.complete {
            true => Ok(()),
            false => Err(format!(
                "{samples} PCM samples, not {least} to {most}: {:?}",
                report.warnings
            )),
        }
    }

    /// What ffmpeg decodes, as far as we can.
    fn by_ffmpeg(&self, path: &Path) -> Vec<Vec<f32>> {
        let mut theirs = by_ffmpeg(path, 0, self.axes.decoder);
        if self.axes.clips {
            let samples = theirs.iter_mut().flatten();
            samples.for_each(|sample| *sample = sample.clamp(-1.0, 32767.0 / 32768.0));
        }
        theirs
    }

    fn compare(&self, file: &[u8], path: &Path) -> Result<(), String> {
        let ours = stages::pcm(file, 0).map_err(|e| e.to_string())?;
        if let Some(fault) = ours.faults.first() {
            return Err(format!("{} packets: {fault}", ours.faults.len()));
        }
        let theirs = self.by_ffmpeg(path);
        self.agreement().of(&ours, &theirs, self.axes.unheard)?;
        let report = Converter::new(Options::new().vbr(9.0))
            .convert(file, Vec::new())
            .map_err(|e| e.to_string())?;
        if !report.complete {
            return Err(format!("not complete: {:?}", report.warnings));
        }
        let source = self.len() as u64 * u64::from(report.output_sample_rate);
        let rate = u64::from(self.rate);
        let exact = (source + rate / 2) / rate;
        let (least, most) = match self.axes.length {
            Length::Exact => (exact, exact),
            Length::Padded(more) => (exact, exact + more),
            Length::Near(by) => (exact - by, exact + by),
        };
        if (least..=most).contains(&report.output_samples) {
            return Ok(());
        }
        Err(format!(
            "{} PCM samples, not {least} to {most}",
            report.output_samples
        ))
    }
}
