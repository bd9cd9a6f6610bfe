//! A source of one's own: a video on a web server, of which only the audio is fetched.
//!
//! ```sh
//! http_range http://127.0.0.1:8000/talk.mp4 talk.mp3
//! ```
//!
//! It speaks plain HTTP over the standard library, so that all of it fits here. Yours would use your HTTP client, and
//! try again what breaks off; what counts is the trait.

use std::env::args;
use std::error::Error;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use micropy_core::{Converter, Options, Source};

/// What is fetched at once, at least: a request costs as much as many bytes do.
const PIECE: u64 = 64 * 1024;

/// A file on a server, read by ranges.
pub struct HttpSource {
    host: String,
    path: String,
    size: u64,
    /// Bytes of the file from `at` on.
    piece: Vec<u8>,
    at: u64,
}

impl HttpSource {
    /// Asks the server for the file's length.
    pub fn open(url: &str) -> io::Result<Self> {
        let address = url
            .strip_prefix("http://")
            .ok_or_else(|| invalid("not an http:// URL"))?;
        let (host, path) = address.split_once('/').unwrap_or((address, ""));
        let mut source = HttpSource {
            host: host.to_owned(),
            path: format!("/{path}"),
            size: 0,
            piece: Vec::new(),
            at: 0,
        };
        source.fetch(0, PIECE)?;
        Ok(source)
    }

    /// Fetches `length` bytes from `offset` on, or those that there are.
    fn fetch(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let port = if self.host.contains(':') { "" } else { ":80" };
        let mut stream = TcpStream::connect(format!("{}{port}", self.host))?;
        let last = offset + length - 1;
        write!(
            stream,
            "GET {} HTTP/1.1\r\nHost: {}\r\nRange: bytes={offset}-{last}\r\nConnection: close\r\n\r\n",
            self.path, self.host
        )?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.split(' ').nth(1) != Some("206") {
            return Err(invalid(&format!("no part of the file: {}", line.trim())));
        }
        let mut size = None;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-range") {
                // `bytes 0-65535/300699`
                size = value
                    .trim()
                    .rsplit('/')
                    .next()
                    .and_then(|all| all.parse().ok());
            }
        }
        self.size = size.ok_or_else(|| invalid("the server does not tell the file's length"))?;
        let expected = length.min(self.size.saturating_sub(offset));
        self.piece.clear();
        // What the server sends beyond is not wanted.
        reader.take(expected).read_to_end(&mut self.piece)?;
        if (self.piece.len() as u64) < expected {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at = offset;
        Ok(())
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Source for HttpSource {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset >= self.size || buf.is_empty() {
            return Ok(0);
        }
        if offset < self.at || offset >= self.at + self.piece.len() as u64 {
            self.fetch(offset, PIECE)?;
        }
        let bytes = &self.piece[(offset - self.at) as usize..];
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        Ok(n)
    }

    /// Any byte can be asked for again.
    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = args().skip(1).collect();
    let [url, output] = &words[..] else {
        return Err("usage: http_range URL OUTPUT".into());
    };
    let mp3 = micropy_core::FileSink::create(output, true)?;
    let report = Converter::new(Options::new()).convert(HttpSource::open(url)?, mp3)?;
    println!("{:?} of {}", report.duration(), report.codec);
    Ok(())
}
