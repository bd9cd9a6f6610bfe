//! PCM for programs that want samples: a model's input, a meter, another encoder.

use crate::audio::Audio;
use crate::conversion::{Length, Part, PcmStream};
use crate::convert::{Converter, Trimmed};
use crate::error::Result;
use crate::options::{Channels, Options, OutputFormat, SampleFormat};
use crate::pcm::Pcm;
use crate::report::Report;
use crate::source::Source;

/// Reads the PCM of a file, block by block: the samples that an MP3 of the same options would be made of. It is decoded
/// as it is asked for, on the caller's thread, and memory does not depend on the length of the file.
///
/// Samples are `f32` in full scale ±1. The sample rate is the source's own unless the options give another, and more
/// than two channels are mixed down to two. Options about bitrate and tags say nothing here.
///
/// ```
/// use micropy_core::{Channels, Error, Options, PcmReader, SeekSource};
///
/// # fn main() -> micropy_core::Result<()> {
/// let video = SeekSource::open("tests/media/moov-first-stereo-44100.mp4").map_err(Error::Read)?;
/// let options = Options::new().sample_rate(16_000).channels(Channels::Mono);
/// let mut reader = PcmReader::new(video, options)?;
/// let mut samples = Vec::new();
/// while let Some(planes) = reader.next_block()? {
///     samples.extend_from_slice(&planes[0]);
/// }
/// assert_eq!(samples.len(), 32_000);
/// assert!(reader.report().is_some_and(|report| report.complete));
/// # Ok(())
/// # }
/// ```
///
/// It is also an iterator of blocks, each a `Vec` of planes. Get one with progress and cancellation from
/// [`Converter::pcm`].
#[derive(Debug)]
pub struct PcmReader<'a, S> {
    converter: Converter<'a>,
    source: S,
    audio: Audio,
    whole: Trimmed,
    stream: PcmStream,
    /// The last block that was decoded, and how much of it was read as interleaved.
    block: Pcm,
    taken: usize,
    /// What became of it, at the end.
    report: Option<Report>,
    ended: bool,
}

impl<S: Source> PcmReader<'static, S> {
    /// A reader of what `source` holds.
    ///
    /// # Errors
    /// Those of [`Converter::convert`].
    pub fn new(source: S, options: Options) -> Result<Self> {
        Converter::new(options).pcm(source)
    }
}

impl<'a, S: Source> PcmReader<'a, S> {
    pub(crate) fn open(mut converter: Converter<'a>, mut source: S) -> Result<Self> {
        if converter.options.format == OutputFormat::Mp3 {
            converter.options.format = OutputFormat::Raw(SampleFormat::F32);
        }
        // Nobody could ask a reader for it.
        converter.drawing = None;
        let audio = converter.open(&mut source, false)?;
        let (mut session, options) = converter.session(&audio);
        let whole = session.trim(options, Part::wanted(options, &audio), &mut source)?;
        let stream = session.on(options, &whole.part, &mut source, |conversion, source| {
            conversion.pcm(source)
        })?;
        Ok(PcmReader {
            converter,
            source,
            audio,
            whole,
            stream,
            block: Pcm::default(),
            taken: 0,
            report: None,
            ended: false,
        })
    }

    /// Hz.
    pub fn sample_rate(&self) -> u32 {
        self.stream.sample_rate()
    }

    /// Channels: one or two.
    pub fn channels(&self) -> u16 {
        self.stream.channels() as u16
    }

    /// PCM samples per channel that the file declares; `None`: it does not say beforehand (movie fragments). A file
    /// that breaks off has fewer.
    pub fn declared_samples(&self) -> Option<u64> {
        self.stream.declared()
    }

    /// The next block: a plane for each channel, all of one length that is not 0. `None` at the end, and after an
    /// error.
    ///
    /// # Errors
    /// Those of [`Converter::convert`].
    pub fn next_block(&mut self) -> Result<Option<&[Vec<f32>]>> {
        if !self.fill()? {
            return Ok(None);
        }
        let taken = std::mem::replace(&mut self.taken, self.block.len());
        if taken > 0 {
            for plane in self.block.planes_mut() {
                plane.drain(..taken);
            }
            self.taken -= taken;
        }
        Ok(Some(self.block.planes()))
    }

    /// Fills `out` with PCM samples of all channels in turn, and returns how many: all of `out`, except at the end. It
    /// takes a whole number of instants only: of an odd length in stereo, the last place stays as it is.
    ///
    /// # Errors
    /// Those of [`Converter::convert`].
    pub fn read_interleaved(&mut self, out: &mut [f32]) -> Result<usize> {
        let channels = self.stream.channels();
        let mut written = 0;
        while out.len() - written >= channels && self.fill()? {
            let instants = out[written..].chunks_exact_mut(channels);
            let count = instants.len().min(self.block.len() - self.taken);
            for (i, instant) in (self.taken..).zip(instants.take(count)) {
                for (sample, plane) in instant.iter_mut().zip(self.block.planes()) {
                    *sample = plane[i];
                }
            }
            self.taken += count;
            written += count * channels;
        }
        Ok(written)
    }

    /// What was decoded, and whether it was complete; `None` before the end. It counts no MP3 frames and no bytes.
    pub fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// Decodes the next block if all of the last one was read; false at the end.
    fn fill(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.taken < self.block.len() {
            return Ok(true);
        }
        self.taken = 0;
        // An error ends it.
        self.ended = true;
        let (mut session, options) = self.converter.session(&self.audio);
        let (stream, block) = (&mut self.stream, &mut self.block);
        let part = &self.whole.part;
        let report =
            session.on(
                options,
                part,
                &mut self.source,
                |conversion, source| match conversion.next_pcm(stream, source, block)? {
                    true => Ok(None),
                    false => conversion.report_pcm(stream, 0).map(Some),
                },
            )?;
        self.report = report.map(|report| self.whole.explain(report));
        self.ended = self.report.is_some();
        Ok(!self.ended)
    }

    /// What was decoded by now, where nobody reads on; `None`: nothing was.
    pub(crate) fn report_begun(&mut self) -> Option<Report> {
        let (mut session, options) = self.converter.session(&self.audio);
        let stream = &self.stream;
        let part = &self.whole.part;
        let report = session.on(options, part, &mut self.source, |conversion, _| {
            Ok(conversion.report_begun(stream))
        });
        report.ok().flatten()
    }

    /// Begins again, at this rate and with so many channels.
    pub(crate) fn restart(&mut self, sample_rate: u32, channels: Channels) -> Result<()> {
        self.converter.options.sample_rate = Some(sample_rate);
        self.converter.options.channels = Some(channels);
        let (mut session, options) = self.converter.session(&self.audio);
        let part = &self.whole.part;
        self.stream = session.on(options, part, &mut self.source, |conversion, source| {
            conversion.pcm(source)
        })?;
        self.block.clear();
        (self.taken, self.report, self.ended) = (0, None, false);
        Ok(())
    }

    /// How long it is by its packets, which are read once for it. Begin again afterwards.
    pub(crate) fn exact_length(&mut self) -> Result<Length> {
        let (mut session, options) = self.converter.session(&self.audio);
        let part = &self.whole.part;
        session.on(options, part, &mut self.source, |conversion, source| {
            conversion.exact_length(source)
        })
    }

    /// The file that it reads.
    pub(crate) fn audio(&self) -> &Audio {
        &self.audio
    }
}

impl<S: Source> Iterator for PcmReader<'_, S> {
    type Item = Result<Vec<Vec<f32>>>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.next_block();
        block.map(|block| block.map(<[_]>::to_vec)).transpose()
    }
}
