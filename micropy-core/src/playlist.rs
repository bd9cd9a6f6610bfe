//! Several files joined into one: their PCM one after the other, without a gap, with a chapter for each.
//!
//! The PCM is presented as a QuickTime movie of one track, whose media is decoded where it is read. So everything that
//! is done with one file (spans on all cores, loudness, fades, chapters) is done with a playlist as well, in as little
//! memory.

use std::io;

use crate::convert::Converter;
use crate::error::{Error, Result};
use crate::options::{Channels, Options, TrackChoice};
use crate::pcm_reader::PcmReader;
use crate::progress::CancelToken;
use crate::report::{Report, duration_of};
use crate::sink::Sink;
use crate::source::Source;
use crate::tags::{Chapter, Key, Metadata, Tags};

/// Bytes of a PCM sample in the movie.
const WIDTH: u64 = 4;

/// Bytes of silence made at a time.
const PIECE: u64 = 1 << 16;

/// What became of files that were joined.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Joined {
    /// Of the MP3. What was read counts for all files together; the coding is that of the first.
    pub report: Report,
    /// Of each file that was read, with its own warnings. These count PCM as it went into the MP3. Where the options end
    /// the MP3 before the last file, that which it ends in has a report of what was decoded of it, and those behind it
    /// have none.
    pub inputs: Vec<Report>,
}

impl Converter<'_> {
    /// Joins files into one MP3: every PCM sample of each of them, one file after the other, without a gap. Each
    /// becomes a chapter, named by its title or, if it has none, as it is named here. Tags that all of them share are
    /// kept, and the cover of the first.
    ///
    /// They get one sample rate and number of channels: those of the options or else the highest that any of them has.
    /// Track and late start apply to each file; start, duration, silence, fades, loudness and size to the whole. Each
    /// file's packets are read twice, first to know its length.
    ///
    /// # Errors
    /// [`Error::InInput`] names the file that cannot be converted; [`Error::InvalidOption`] if there are no files;
    /// otherwise as [`Converter::convert`].
    pub fn join<S: Source>(
        &mut self,
        inputs: Vec<(String, S)>,
        mut sink: impl Sink,
    ) -> Result<Joined> {
        self.options.check()?;
        let options = self.options.clone();
        let mut playlist = Playlist::open(&options, inputs, self.token())?;
        // These were for the files.
        self.options.track = TrackChoice::Default;
        self.options.late_start = false;
        let metadata = playlist.metadata();
        let made = self.open(&mut playlist, true).and_then(|mut audio| {
            audio.set_metadata(metadata);
            self.convert_audio(&audio, &mut playlist, &mut sink)
        });
        self.options = options;
        // The reason why a file could not be read is not one of reading the playlist.
        let report = made.map_err(|error| match (error, playlist.failure.take()) {
            (Error::Read(_), Some(failure)) => failure,
            (error, _) => error,
        })?;
        playlist.finish();
        let inputs: Vec<Report> = playlist
            .inputs
            .into_iter()
            .filter_map(|i| i.report)
            .collect();
        Ok(Joined {
            report: together(report, &inputs),
            inputs,
        })
    }
}

/// `report`, which is of the playlist, with what was read of `inputs`.
fn together(mut report: Report, inputs: &[Report]) -> Report {
    let sum = |of: fn(&Report) -> u64| inputs.iter().map(of).sum::<u64>();
    report.input_samples = sum(|input| input.input_samples);
    report.input_bytes = sum(|input| input.input_bytes);
    report.packets = sum(|input| input.packets);
    report.expected_packets = sum(|input| input.expected_packets);
    report.concealed_packets = sum(|input| input.concealed_packets);
    if let Some(first) = inputs.first() {
        report.codec = first.codec.clone();
        report.input_sample_rate = first.input_sample_rate;
        report.input_channels = first.input_channels;
    }
    report.complete &= inputs.iter().all(|input| input.complete);
    report
}

/// One of the files.
struct Input<S> {
    name: String,
    reader: PcmReader<'static, S>,
    /// PCM samples per channel.
    len: u64,
    report: Option<Report>,
}

/// A source that holds the PCM of several files.
struct Playlist<S> {
    inputs: Vec<Input<S>>,
    rate: u32,
    channels: Channels,
    /// Everything before the PCM.
    head: Vec<u8>,
    /// Where the next byte is that can be given.
    position: u64,
    /// The next bytes, as far as they are decoded.
    pending: Vec<u8>,
    /// The file that is being decoded, and how many bytes of its PCM are still to come; `None`: it has not begun.
    current: usize,
    left: Option<u64>,
    /// Why a file could not be decoded.
    failure: Option<Error>,
}

impl<S: Source> Playlist<S> {
    /// Opens `inputs`, and finds out how long they are.
    fn open(options: &Options, inputs: Vec<(String, S)>, cancel: &CancelToken) -> Result<Self> {
        let as_it_is = Options {
            start: Default::default(),
            duration: None,
            ..options.as_it_is()
        };
        let mut opened = Vec::with_capacity(inputs.len());
        for (name, mut source) in inputs {
            // It is read once for its length, and once for each pass.
            let reader = source.keep_from(0).map_err(Error::Read).and_then(|()| {
                Converter::new(as_it_is.clone())
                    .cancel(cancel.clone())
                    .pcm(source)
            });
            let reader = reader.map_err(|error| error.in_input(&name))?;
            opened.push(Input {
                name,
                reader,
                len: 0,
                report: None,
            });
        }
        let rates = opened.iter().map(|input| input.reader.sample_rate());
        let Some(rate) = rates.map(|rate| options.output_rate(rate)).max() else {
            return Err(Error::InvalidOption("there are no files to join".into()));
        };
        let most = opened.iter().map(|input| input.reader.channels()).max();
        let channels = options.channels.unwrap_or(match most {
            Some(1) => Channels::Mono,
            _ => Channels::Stereo,
        });
        for input in &mut opened {
            let prepared = input
                .reader
                .restart(rate, channels)
                .and_then(|()| input.reader.exact_length());
            let length = prepared.map_err(|error| error.in_input(&input.name))?;
            input.len = length.samples;
        }
        let len = opened
            .iter()
            .try_fold(0u64, |sum, i| sum.checked_add(i.len));
        let len = len.and_then(|len| u32::try_from(len).ok());
        let head = match len {
            Some(len) => movie(len, rate, channels.count()),
            None => {
                return Err(Error::InvalidOption(format!(
                    "the files are too long to be joined: at {rate} Hz, {} hours are the most",
                    u64::from(u32::MAX) / u64::from(rate.max(1)) / 3600
                )));
            }
        };
        Ok(Playlist {
            inputs: opened,
            rate,
            channels,
            position: head.len() as u64,
            head,
            pending: Vec::new(),
            current: 0,
            left: None,
            failure: None,
        })
    }

    /// Tags, cover and chapters of the whole.
    fn metadata(&self) -> Metadata {
        let all: Vec<&Metadata> = self
            .inputs
            .iter()
            .map(|i| i.reader.audio().metadata())
            .collect();
        let Some((first, others)) = all.split_first() else {
            return Metadata::default();
        };
        let own = [
            Key::Title,
            Key::TitleSort,
            Key::Track,
            Key::Isrc,
            Key::Lyrics,
        ];
        let shared = first.tags.iter().filter(|(key, value)| {
            !own.contains(key)
                && others
                    .iter()
                    .all(|m| m.tags.values(key).any(|v| v == *value))
        });
        let tags: Tags = shared
            .map(|(key, value)| (key.clone(), value.to_owned()))
            .collect();
        let mut samples = 0;
        let chapters = self.inputs.iter().zip(&all).map(|(input, metadata)| {
            let start = duration_of(samples, self.rate);
            samples += input.len;
            let title = metadata.tags.get(&Key::Title).unwrap_or(&input.name);
            Chapter::new(start, duration_of(samples, self.rate), title)
        });
        Metadata {
            chapters: chapters.collect(),
            tags,
            covers: first.covers.clone(),
            ..Metadata::default()
        }
    }

    /// Bytes of an instant.
    fn instant(&self) -> u64 {
        WIDTH * u64::from(self.channels.count())
    }

    /// Decodes the next bytes into `pending`; false at the end.
    fn decode(&mut self) -> Result<bool> {
        self.pending.clear();
        let instant = self.instant();
        while let Some(input) = self.inputs.get_mut(self.current) {
            let Some(left) = &mut self.left else {
                input.reader.restart(self.rate, self.channels)?;
                self.left = Some(input.len * instant);
                continue;
            };
            if let Some(planes) = input.reader.next_block()? {
                let len = planes.first().map_or(0, Vec::len);
                for i in 0..len {
                    let samples = planes.iter().flat_map(|plane| plane[i].to_le_bytes());
                    self.pending.extend(samples);
                }
                // As long as it was said to be, whatever comes.
                self.pending
                    .truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            } else {
                self.pending.resize((*left).min(PIECE) as usize, 0);
            }
            *left -= self.pending.len() as u64;
            if !self.pending.is_empty() {
                return Ok(true);
            }
            if let Some(report) = input.reader.report() {
                input.report = Some(report.clone());
                // What it still holds of its packets is not needed any more.
                input.reader.restart(self.rate, self.channels)?;
                self.current += 1;
                self.left = None;
            }
        }
        Ok(false)
    }

    /// Completes the reports. That of a file whose last byte was given is at its end, which nobody asks for; one that
    /// was only begun has a report of what was read of it.
    fn finish(&mut self) {
        let (last, begun) = (self.current, self.left.is_some());
        if self.left == Some(0) && self.pending.is_empty() {
            // All of its PCM is there by now: an error would be of the next file, which was not asked for.
            let _ = self.decode();
        }
        if let Some(input) = self.inputs.get_mut(last)
            && begun
            && input.report.is_none()
        {
            input.report = input.reader.report_begun();
        }
    }

    /// Decodes from the first file on again.
    fn rewind(&mut self) {
        self.position = self.head.len() as u64;
        self.pending.clear();
        self.current = 0;
        self.left = None;
    }
}

impl<S: Source> Source for Playlist<S> {
    fn size(&self) -> Option<u64> {
        let samples: u64 = self.inputs.iter().map(|input| input.len).sum();
        Some(self.head.len() as u64 + samples * self.instant())
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let begun = usize::try_from(offset)
            .ok()
            .and_then(|at| self.head.get(at..));
        if let Some(head) = begun.filter(|head| !head.is_empty()) {
            let len = head.len().min(buf.len());
            buf[..len].copy_from_slice(&head[..len]);
            return Ok(len);
        }
        if offset < self.position {
            self.rewind();
        }
        loop {
            let passed = (offset - self.position).min(self.pending.len() as u64);
            self.pending.drain(..passed as usize);
            self.position += passed;
            if !self.pending.is_empty() && self.position == offset {
                let len = self.pending.len().min(buf.len());
                buf[..len].copy_from_slice(&self.pending[..len]);
                self.pending.drain(..len);
                self.position += len as u64;
                return Ok(len);
            }
            match self.decode() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(error) => {
                    let name = self.inputs.get(self.current).map(|input| &*input.name);
                    self.failure = Some(error.in_input(name.unwrap_or_default()));
                    return Err(io::Error::other("a file of the playlist cannot be read"));
                }
            }
        }
    }

    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }
}

/// The head of a QuickTime movie whose media follows: `len` instants of floats.
fn movie(len: u32, rate: u32, channels: u16) -> Vec<u8> {
    let instant = WIDTH as u32 * u32::from(channels);
    let media = u64::from(len) * u64::from(instant);
    let ftyp = atom(b"ftyp", &[b"qt  ", &[0; 4], b"qt  "]);
    // The size of `moov` does not depend on the offset in it.
    let before = ftyp.len() + moov(len, rate, channels, 0).len() + 16;
    let moov = moov(len, rate, channels, before as u64);
    let size = (media + 16).to_be_bytes();
    [&ftyp[..], &moov, &1u32.to_be_bytes(), b"mdat", &size].concat()
}

/// The `moov` of a track of which all samples are in one chunk, at byte `at`.
fn moov(len: u32, rate: u32, channels: u16, at: u64) -> Vec<u8> {
    let instant = WIDTH as u32 * u32::from(channels);
    let mvhd = words(&[0, 0, 0, rate, len, 0x1_0000, 0x100_0000]);
    let mvhd = atom(b"mvhd", &[&mvhd, &[0; 68], &words(&[2])]);
    let tkhd = words(&[1, 0, 0, 1, 0, len, 0, 0, 0, 0x100_0000]);
    let tkhd = atom(b"tkhd", &[&tkhd, &[0; 44]]);
    let mdhd = atom(b"mdhd", &[&words(&[0, 0, 0, rate, len, 0x55C4_0000])]);
    let hdlr = atom(b"hdlr", &[&[0; 4], b"mhlrsoun", &[0; 13]]);
    // A sound description of version 2 (QuickTime File Format): floats, little-endian.
    let entry = atom(
        b"lpcm",
        &[
            &words(&[0, 1, 2 << 16, 0, 3 << 16 | 16, 0xFFFE_0000, 0x1_0000, 72]),
            &f64::from(rate).to_be_bytes(),
            &words(&[channels.into(), 0x7F00_0000, 32, 0b1001, instant, 1]),
        ],
    );
    let stbl = [
        atom(b"stsd", &[&words(&[0, 1]), &entry]),
        atom(b"stts", &[&words(&[0, 1, len, 1])]),
        atom(b"stsc", &[&words(&[0, 1, 1, len, 1])]),
        atom(b"stsz", &[&words(&[0, instant, len])]),
        atom(b"co64", &[&words(&[0, 1]), &at.to_be_bytes()]),
    ];
    let minf = atom(b"minf", &[&atom(b"stbl", &[&stbl.concat()])]);
    let mdia = atom(b"mdia", &[&mdhd, &hdlr, &minf]);
    atom(b"moov", &[&mvhd, &atom(b"trak", &[&tkhd, &mdia])])
}

/// An atom of `kind` that holds `parts` one after another.
fn atom(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    let size = 8 + payload.len() as u32;
    [&size.to_be_bytes()[..], kind, &payload].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}
