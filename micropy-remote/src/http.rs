//! Files on HTTP servers.

use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::Body;
use ureq::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    IF_RANGE, LAST_MODIFIED, LOCATION, RANGE, RETRY_AFTER,
};
use ureq::http::{Request, Response};
use url::Url;

use crate::Options;
use crate::address::{Address, Login, shown};
use crate::byteranges::{self, ContentRange};
use crate::client::Client;
use crate::error::Error;
use crate::fetch::{Fault, Head, Origin, Receiver, Version};
use crate::netrc;

/// Ranges of one request: its head stays below what servers take, and Apache's limit is 200.
const MOST_RANGES: usize = 32;

/// Redirects of one request.
const MOST_REDIRECTS: usize = 10;

/// Bytes beyond those asked for that a server may send, because it joins ranges that are close to each other.
const SURPLUS: u64 = 64 << 10;

/// Bytes read from a connection at once.
const PIECE: usize = 64 << 10;

/// A file on a server.
#[derive(Debug)]
pub struct HttpOrigin {
    client: Client,
    /// What was asked for.
    url: Url,
    login: Option<Login>,
    /// Where redirects have led.
    place: Mutex<Url>,
    /// How many ranges the server takes in one request.
    ranges: AtomicUsize,
    /// Whether it has taken several, and the turn to find out: a server that does not sends the whole file, and once is
    /// enough.
    takes_several: AtomicBool,
    turn: Mutex<()>,
}

impl HttpOrigin {
    pub fn new(address: &Address, options: &Options) -> Result<Self, Error> {
        let host = address.url.host_str().unwrap_or_default();
        let (client, kept) = match &options.guard {
            None => (
                Client::new(&address.shown, options.timeout)?,
                netrc::login(host.trim_matches(['[', ']'])),
            ),
            // Of whoever runs the program, not of whoever gave the URL.
            Some(guard) => (
                Client::guarded(&address.shown, options.timeout, guard, None)?,
                None,
            ),
        };
        Ok(HttpOrigin {
            client,
            login: address.login.clone().or(kept),
            place: Mutex::new(address.url.clone()),
            url: address.url.clone(),
            ranges: AtomicUsize::new(MOST_RANGES),
            takes_several: AtomicBool::new(false),
            turn: Mutex::new(()),
        })
    }

    fn place(&self) -> Url {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.clone()
    }

    fn set_place(&self, url: &Url) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = url.clone();
    }

    /// Asks for one range at a time from now on; the try is repeated at once.
    fn one_at_a_time(&self, url: &Url) -> Fault {
        self.ranges.store(1, Ordering::Relaxed);
        let error = Error::Response {
            url: shown(url),
            why: "it takes one range at a time".into(),
        };
        Fault::Passing(error, Some(Duration::ZERO))
    }

    /// Sends the request, and follows redirects.
    fn respond(
        &self,
        wanted: &[Range<u64>],
        version: Option<&Version>,
    ) -> Result<(Url, Response<Body>), Fault> {
        let mut url = self.place();
        let mut redirects = 0;
        loop {
            let response = self.send(&url, wanted, version)?;
            let status = response.status().as_u16();
            match status {
                301 | 302 | 303 | 307 | 308 => {
                    redirects += 1;
                    url = next(&url, &response, redirects).map_err(Fault::Lasting)?;
                }
                // The place of a redirect may be good for some minutes only.
                401 | 403 | 404 | 410 if redirects == 0 && url != self.url => {
                    redirects += 1;
                    url = self.url.clone();
                }
                200..=299 => {
                    self.set_place(&url);
                    return Ok((url, response));
                }
                _ => return Ok((url, response)),
            }
        }
    }

    fn send(
        &self,
        url: &Url,
        wanted: &[Range<u64>],
        version: Option<&Version>,
    ) -> Result<Response<Body>, Fault> {
        let mut request = Request::get(url.as_str());
        if !wanted.is_empty() {
            request = request.header(RANGE, range_header(wanted));
            if let Some(validator) = version.and_then(validator) {
                request = request.header(IF_RANGE, validator);
            }
        }
        if let Some(login) = &self.login
            && may_have_login(&self.url, url)
        {
            let pair = STANDARD.encode(format!("{}:{}", login.user, login.password));
            request = request.header(AUTHORIZATION, format!("Basic {pair}"));
        }
        let invalid = |_| {
            Fault::Lasting(Error::InvalidUrl {
                url: shown(url),
                why: "it does not fit into a request".into(),
            })
        };
        let request = request.body(Vec::new()).map_err(invalid)?;
        let sent = self.client.send(request);
        sent.map_err(|error| self.client.fault(url, error, version.is_none()))
    }

    /// Takes a response with status 206.
    fn take_ranges(
        &self,
        url: &Url,
        response: Response<Body>,
        wanted: &[Range<u64>],
        receiver: &mut dyn Receiver,
    ) -> Result<(), Fault> {
        let wrong = |why: &str| {
            Fault::Lasting(Error::Response {
                url: shown(url),
                why: why.into(),
            })
        };
        let asked: u64 = wanted.iter().map(|range| range.end - range.start).sum();
        let most = asked + asked / 4 + SURPLUS;
        let version = version(&response);
        if let Some(boundary) = header(&response, &CONTENT_TYPE).and_then(byteranges::boundary) {
            let mut begun = false;
            let body = response.into_body().into_reader();
            let read = byteranges::read(body, &boundary, most, |part, offset, bytes| {
                if !begun {
                    begun = true;
                    receiver.begin(&ranged(&version, part))?;
                }
                receiver.take(offset, bytes)
            });
            return read.map_err(|fault| match fault {
                byteranges::Fault::Read(error) => self.broken(url, error),
                byteranges::Fault::Malformed(why) => wrong(&why),
                byteranges::Fault::Taker(fault) => fault,
            });
        }
        let range = header(&response, &CONTENT_RANGE).and_then(ContentRange::parse);
        let Some(range) = range else {
            return Err(wrong("status 206 without a Content-Range that can be read"));
        };
        if range.size.is_none() && wanted.first().is_some_and(|first| first.start == 0) {
            return Err(wrong("its Content-Range does not say how long the file is"));
        }
        let len = range.bytes.end - range.bytes.start;
        if wanted.len() > 1 {
            if len > most {
                return Err(self.one_at_a_time(url));
            }
            self.ranges.store(1, Ordering::Relaxed);
        } else if wanted
            .first()
            .is_none_or(|first| first.start != range.bytes.start)
            || len > most
        {
            return Err(wrong("it sends another range than it was asked for"));
        }
        if content_length(&response).is_some_and(|length| length != len) {
            return Err(wrong("its Content-Length is not that of its Content-Range"));
        }
        receiver.begin(&ranged(&version, &range))?;
        self.take_body(url, response, range.bytes, receiver)
    }

    /// Hands on a body that begins at `bytes.start`.
    fn take_body(
        &self,
        url: &Url,
        response: Response<Body>,
        bytes: Range<u64>,
        receiver: &mut dyn Receiver,
    ) -> Result<(), Fault> {
        let mut body = response.into_body().into_reader();
        let mut piece = vec![0; PIECE];
        let mut at = bytes.start;
        loop {
            let n = body
                .read(&mut piece)
                .map_err(|error| self.broken(url, error))?;
            if n == 0 {
                return Ok(());
            }
            if n as u64 > bytes.end - at {
                return Err(Fault::Lasting(Error::Response {
                    url: shown(url),
                    why: "its body is longer than it says".into(),
                }));
            }
            receiver.take(at, &piece[..n])?;
            at += n as u64;
        }
    }

    /// A body that broke off.
    fn broken(&self, url: &Url, error: std::io::Error) -> Fault {
        self.client.fault(url, ureq::Error::from(error), false)
    }
}

impl Origin for HttpOrigin {
    fn most_ranges(&self) -> usize {
        self.ranges.load(Ordering::Relaxed)
    }

    fn get(
        &self,
        wanted: &[Range<u64>],
        known: Option<&Version>,
        receiver: &mut dyn Receiver,
    ) -> Result<(), Fault> {
        let untried = wanted.len() > 1 && !self.takes_several.load(Ordering::Relaxed);
        let turn = untried.then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
        let wanted = &wanted[..wanted.len().min(self.most_ranges())];
        let got = self.ask(wanted, known, receiver);
        if turn.is_some() && wanted.len() > 1 && got.is_ok() {
            self.takes_several.store(true, Ordering::Relaxed);
        }
        got
    }
}

impl HttpOrigin {
    /// Sends one request and takes its response.
    fn ask(
        &self,
        wanted: &[Range<u64>],
        known: Option<&Version>,
        receiver: &mut dyn Receiver,
    ) -> Result<(), Fault> {
        let (url, response) = self.respond(wanted, known)?;
        if let Some(coding) = header(&response, &CONTENT_ENCODING)
            && !coding.trim().eq_ignore_ascii_case("identity")
        {
            return Err(Fault::Lasting(Error::Response {
                url: shown(&url),
                why: format!(
                    "it is compressed ({}), which was not asked for",
                    coding.escape_debug()
                ),
            }));
        }
        let status = response.status().as_u16();
        match status {
            206 if !wanted.is_empty() => self.take_ranges(&url, response, wanted, receiver),
            200 => {
                let version = Version {
                    size: content_length(&response),
                    ..version(&response)
                };
                let is_same = known.is_some_and(|known| known.difference(&version).is_none());
                if is_same && wanted.len() > 1 {
                    return Err(self.one_at_a_time(&url));
                }
                let end = version.size.unwrap_or(u64::MAX);
                receiver.begin(&Head {
                    version,
                    ranged: false,
                })?;
                self.take_body(&url, response, 0..end, receiver)
            }
            416 => {
                let size = header(&response, &CONTENT_RANGE).and_then(ContentRange::size_alone);
                match (known, size) {
                    // An empty file has no first byte.
                    (None, Some(0)) => receiver.begin(&Head {
                        version: Version {
                            size,
                            ..version(&response)
                        },
                        ranged: true,
                    }),
                    (None, _) => Err(Fault::Lasting(status_error(&url, status))),
                    (Some(_), _) => Err(Fault::Lasting(Error::Changed {
                        url: shown(&url),
                        what: "it is shorter".into(),
                    })),
                }
            }
            408 | 425 | 429 | 500 | 502..=504 => {
                let wait = header(&response, &RETRY_AFTER)
                    .and_then(|value| retry_after(value, SystemTime::now()));
                Err(Fault::Passing(status_error(&url, status), wait))
            }
            _ => Err(Fault::Lasting(status_error(&url, status))),
        }
    }
}

fn status_error(url: &Url, status: u16) -> Error {
    Error::Status {
        url: shown(url),
        status,
    }
}

fn header<'a>(response: &'a Response<Body>, name: &HeaderName) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

fn content_length(response: &Response<Body>) -> Option<u64> {
    header(response, &CONTENT_LENGTH)?.trim().parse().ok()
}

fn version(response: &Response<Body>) -> Version {
    Version {
        tag: header(response, &ETAG).map(str::to_owned),
        modified: header(response, &LAST_MODIFIED).map(str::to_owned),
        size: None,
    }
}

fn ranged(version: &Version, range: &ContentRange) -> Head {
    Head {
        version: Version {
            size: range.size,
            ..version.clone()
        },
        ranged: true,
    }
}

/// `bytes=0-99,200-299`.
fn range_header(wanted: &[Range<u64>]) -> String {
    let ranges: Vec<String> = wanted
        .iter()
        .map(|range| format!("{}-{}", range.start, range.end.saturating_sub(1)))
        .collect();
    format!("bytes={}", ranges.join(","))
}

/// How long to wait: `Retry-After` has seconds, or the time of the next try (RFC 9110, 10.2.3).
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = httpdate::parse_http_date(value.trim()).ok()?;
    Some(time.duration_since(now).unwrap_or_default())
}

/// What `If-Range` may hold: a strong tag (RFC 9110, 13.1.5). A time may be weak as well, without saying so, and is
/// compared in each response.
fn validator(version: &Version) -> Option<&str> {
    let tag = version.tag.as_deref()?;
    (!tag.starts_with("W/")).then_some(tag)
}

/// Whether the login for `own` may be sent to `url`: to the same server, or to its secure port.
fn may_have_login(own: &Url, url: &Url) -> bool {
    let same_host = own.host() == url.host();
    let same_port =
        own.scheme() == url.scheme() && own.port_or_known_default() == url.port_or_known_default();
    let secured = own.scheme() == "http"
        && own.port().is_none()
        && url.scheme() == "https"
        && url.port().is_none();
    same_host && (same_port || secured)
}

/// Where a redirect leads.
fn next(from: &Url, response: &Response<Body>, redirects: usize) -> Result<Url, Error> {
    let refused = |why: String| Error::Redirect {
        url: shown(from),
        why,
    };
    if redirects > MOST_REDIRECTS {
        return Err(refused(format!("it is one of more than {MOST_REDIRECTS}")));
    }
    // Some servers send it as it is typed, in UTF-8.
    let location = response.headers().get(&LOCATION);
    let location = location
        .and_then(|location| str::from_utf8(location.as_bytes()).ok())
        .ok_or_else(|| refused("it says not where it leads".into()))?;
    let mut url = from
        .join(location)
        .map_err(|_| refused("it leads to what is no URL".into()))?;
    match (from.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => {
            return Err(refused(format!("it leads from https to {}", shown(&url))));
        }
        (_, other) => return Err(refused(format!("it leads to {other}:"))),
    }
    // A login in it would be of somebody else's choice.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_stays_with_its_server() {
        let own = |url: &str, other: &str| {
            may_have_login(&Url::parse(url).unwrap(), &Url::parse(other).unwrap())
        };
        assert!(own("https://h/a", "https://h/b") && own("https://h/a", "https://h:443/b"));
        assert!(own("http://h/a", "https://h/a"));
        for other in [
            "https://h:8443/a",
            "https://i/a",
            "https://h.i/a",
            "http://h/a",
        ] {
            assert!(!own("https://h/a", other), "{other}");
        }
        assert!(!own("http://h:8080/a", "https://h/a") && !own("http://h/a", "https://h:8443/a"));
    }

    #[test]
    fn validators_are_strong() {
        let version = |tag: Option<&str>| Version {
            tag: tag.map(str::to_owned),
            modified: Some("then".into()),
            size: None,
        };
        assert_eq!(validator(&version(Some("\"a\""))), Some("\"a\""));
        assert_eq!(validator(&version(Some("W/\"a\""))), None);
        assert_eq!(validator(&version(None)), None);
    }

    #[test]
    fn the_next_try_is_told_in_seconds_or_as_a_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (value, seconds) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Tue, 14 Nov 2023 22:13:25 GMT", Some(5)),
            // It was in the past, by their clock or by ours.
            ("Tue, 14 Nov 2023 22:13:19 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("99999999999999999999", None),
        ] {
            let wait = retry_after(value, now);
            assert_eq!(wait, seconds.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn ranges_are_written_with_their_last_byte() {
        assert_eq!(range_header(&[0..100, 200..201]), "bytes=0-99,200-200");
    }
}
