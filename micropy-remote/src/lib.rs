//! Sources for Micropy behind a URL: HTTP and HTTPS, S3, Google Cloud Storage, Azure Blob Storage.
//!
//! [`open`] gives a [`Source`] that reads the audio of a remote MP4 and leaves its video where it is: a few kilobytes
//! at the beginning, the `moov` box wherever it stands, then the packets of the audio, several ranges at a time and
//! ahead of the conversion. A server that does not serve ranges is read from the first byte to the last.
//!
//! ```no_run
//! use micropy_core::{Converter, FileSink, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let video = micropy_remote::open("https://example.com/talk.mp4", micropy_remote::Options::new())?;
//! let mp3 = FileSink::create("talk.mp3", false)?;
//! Converter::new(Options::new()).convert(video, mp3)?;
//! # Ok(())
//! # }
//! ```
//!
//! A request that fails is repeated where that can help, from the byte where it stopped. Every response has to be of
//! the same version of the file as the first one. Errors name the URL without its secrets.
//!
//! # Features
//!
//! | feature | default | brings |
//! |---|---|---|
//! | `stores` | yes | `s3://`, `gs://` and `az://`, by [`object_store`](https://docs.rs/object_store) |
//!
//! `docs/remote.md` says which variables and files are read for credentials and proxies.

#![forbid(unsafe_code)]
#![allow(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges, some of one"
)]

mod address;
#[cfg(feature = "stores")]
mod aws_profile;
#[cfg(feature = "stores")]
mod azure_environment;
mod blocks;
mod byteranges;
mod client;
mod error;
mod fetch;
mod guard;
mod http;
mod netrc;
mod opening;
mod post;
mod proxy;
mod ranges;
mod spool;
#[cfg_attr(not(feature = "stores"), path = "store_absent.rs")]
mod store;
mod whole;

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use micropy_core::{CancelToken, Source, StreamSource};

pub use address::{file_name, is_url, without_secrets};
pub use error::Error;
pub use guard::{Guard, NotANetwork};
pub use post::post;

use address::Scheme;
use fetch::Origin;
use opening::Opened;
use ranges::RangeSource;
use whole::WholeBody;

/// How to read.
pub struct Options {
    cancel: CancelToken,
    retries: u32,
    timeout: Duration,
    guard: Option<Guard>,
    while_waiting: Box<dyn FnMut() + Send>,
}

/// The longest timeout.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Options {
    fn default() -> Self {
        Options {
            cancel: CancelToken::new(),
            retries: 5,
            timeout: Duration::from_secs(30),
            guard: None,
            while_waiting: Box::new(|| {}),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("cancel", &self.cancel)
            .field("retries", &self.retries)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Five retries, and a timeout of 30 seconds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives up once `token` is cancelled, also while a server does not answer. A conversion sets its own token on the
    /// source; this one covers [`open`] as well.
    #[must_use]
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = token;
        self
    }

    /// How often in a row a request may fail without a single byte, before its error ends the conversion.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// How long a server may take to accept a connection, to begin its response, and to send the next bytes: a day at
    /// most.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(DAY);
        self
    }

    /// For URLs of strangers: connects to what `guard` permits alone, redirects included, reads `http` and `https` alone,
    /// and uses neither the proxies nor the logins (`~/.netrc`) of whoever runs the program.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Calls `callback` several times a second while a read waits for the server.
    #[must_use]
    pub fn while_waiting(mut self, callback: impl FnMut() + Send + 'static) -> Self {
        self.while_waiting = Box::new(callback);
        self
    }
}

/// What a URL names, opened: it is there, may be read, and its version is known.
pub struct RemoteSource {
    kind: Kind,
}

enum Kind {
    Ranges(Box<RangeSource>),
    /// With the token that its body looks at.
    Whole(StreamSource<WholeBody>, Arc<Mutex<CancelToken>>),
}

impl fmt::Debug for RemoteSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Ranges(_) => "ranges",
            Kind::Whole(..) => "whole",
        };
        f.debug_tuple("RemoteSource").field(&kind).finish()
    }
}

/// Opens `url`. It is asked for its first bytes, which says whether the server serves ranges.
///
/// # Errors
/// Every [`Error`]: of a URL that is none, of a server that is not there, does not have the file or refuses it.
pub fn open(url: &str, options: Options) -> Result<RemoteSource, Error> {
    if let Some(guard) = &options.guard {
        guard.check(url)?;
    }
    let address = address::parse(url)?;
    let origin: Box<dyn Origin> = match address.scheme {
        Scheme::Http => Box::new(http::HttpOrigin::new(&address, &options)?),
        Scheme::Store => store::origin(&address, options.retries, options.timeout)?,
    };
    let kind = match opening::open(origin, address.shown, options)? {
        Opened::Ranges(source) => Kind::Ranges(source),
        Opened::Whole(body) => {
            let cancel = Arc::clone(&body.cancel);
            Kind::Whole(StreamSource::new(body), cancel)
        }
    };
    Ok(RemoteSource { kind })
}

impl RemoteSource {
    fn inner(&mut self) -> &mut dyn Source {
        match &mut self.kind {
            Kind::Ranges(source) => &mut **source,
            Kind::Whole(stream, _) => stream,
        }
    }
}

impl Source for RemoteSource {
    fn size(&self) -> Option<u64> {
        match &self.kind {
            Kind::Ranges(source) => source.size(),
            Kind::Whole(stream, _) => stream.size(),
        }
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.inner().read_at(offset, buf)
    }
    fn keep_from(&mut self, offset: u64) -> io::Result<()> {
        self.inner().keep_from(offset)
    }
    fn will_read(&mut self, ranges: &[Range<u64>]) {
        self.inner().will_read(ranges);
    }
    fn cancel_with(&mut self, token: &CancelToken) {
        if let Kind::Whole(_, cancel) = &self.kind {
            *cancel.lock().unwrap_or_else(PoisonError::into_inner) = token.clone();
        }
        self.inner().cancel_with(token);
    }
}
