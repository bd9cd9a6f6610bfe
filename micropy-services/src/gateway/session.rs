//! The user of a request, by a bearer token or the session cookie.

use std::convert::Infallible;
use std::time::Duration;

use axum::BoxError;
use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use micropy_core::ports::auth::Scopes;
use micropy_core::ports::jobs::Job;
use micropy_core::ports::{Id, Timestamp, auth, jobs};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::body::{JobId, Path};
use super::problem::Problem;
use super::{Gateway, Shared};
use crate::accounts::{LoginError, Secret};
use crate::http::{ForwardedHost, OverHttps};

/// How often a session is looked at while a request lasts.
const LOOK: Duration = Duration::from_secs(2);
/// Name of the session cookie over HTTP.
pub const COOKIE_NAME: &str = "micropy_session";
/// Its names over HTTPS, at the root of a host and below. Browsers take cookies of such names over HTTPS alone, and
/// those of the first from this host alone: no other can set a session (RFC 6265bis, section 4.1.3).
pub const HOST_COOKIE_NAME: &str = "__Host-micropy_session";
const SECURE_COOKIE_NAME: &str = "__Secure-micropy_session";

/// Paths of what is about accounts, and of what uploads.
const ACCOUNTS: &str = "/api/v1/auth/";
const ME: &str = "/api/v1/auth/me";
const UPLOADS: [&str; 3] = ["/api/v1/tus", "/api/v1/uploads", "/upload"];

/// An authenticated user.
#[derive(Clone, Debug)]
pub struct Session {
    pub email: String,
    /// Whether mail is known to reach the user at the address.
    pub is_verified: bool,
    /// The token of the request.
    pub token: Secret,
    /// When the request was let in.
    pub begun: Timestamp,
}

/// Whether a session has ended, found out while a request lasts.
pub struct Watched {
    /// Cancelled when it has.
    pub ended: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

/// The session cookie, as the client of a request gets and sends it.
#[derive(Clone, Copy, Debug)]
pub struct SessionCookie {
    name: &'static str,
    is_secure: bool,
}

impl SessionCookie {
    fn of(parts: &Parts, gateway: &Gateway) -> Self {
        let is_secure = gateway.secure_cookies || parts.extensions.get::<OverHttps>().is_some();
        let name = match (is_secure, gateway.base.is_empty()) {
            (false, _) => COOKIE_NAME,
            (true, true) => HOST_COOKIE_NAME,
            (true, false) => SECURE_COOKIE_NAME,
        };
        SessionCookie { name, is_secure }
    }

    /// The header that sets it, for so many seconds.
    pub fn header(self, gateway: &Gateway, token: &str, seconds: i64) -> Option<HeaderValue> {
        let (name, base) = (self.name, &gateway.base);
        let secure = if self.is_secure { "; Secure" } else { "" };
        let cookie = format!(
            "{name}={token}; Path={base}/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}"
        );
        cookie.parse().ok()
    }

    /// Its value in a request.
    fn value(self, headers: &HeaderMap) -> Option<&str> {
        let cookies = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut pairs = cookies
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(name, _)| name.trim() == self.name)
            .map(|(_, value)| value.trim())
    }
}

impl FromRequestParts<Shared> for SessionCookie {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Infallible> {
        Ok(SessionCookie::of(parts, gateway))
    }
}

/// Why a request has no session.
enum NoSession {
    Missing,
    Invalid,
    /// The browser sends the cookie for a page that is not ours.
    Foreign,
    NotAdmin,
    /// It is a program's, and not for that.
    OutOfScope(&'static str),
    /// The token could not be checked.
    Unchecked(auth::Error),
}

impl FromRequestParts<Shared> for Session {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Problem> {
        identify(parts, gateway)
            .await
            .map_err(|reason| match reason {
                NoSession::Missing => Problem::unauthorized("Please sign in."),
                NoSession::Invalid => Problem::session_ended(),
                NoSession::Foreign => Problem::forbidden(
                    "This page is not where the service knows itself to be: whoever runs it has to set public_url.",
                ),
                NoSession::NotAdmin => Problem::forbidden("You are not authorized."),
                NoSession::OutOfScope(why) => Problem::forbidden(why),
                NoSession::Unchecked(e) => e.into(),
            })
    }
}

/// A session on a route of the original gateway, which rejects requests in the original's words.
pub struct CompatSession(pub Session);

impl FromRequestParts<Shared> for CompatSession {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Response> {
        let session = identify(parts, gateway).await.map_err(|reason| {
            let (status, text) = match reason {
                NoSession::Missing => (StatusCode::UNAUTHORIZED, "missing credentials"),
                NoSession::Invalid | NoSession::Foreign => {
                    (StatusCode::FORBIDDEN, "not authorized")
                }
                NoSession::NotAdmin => (StatusCode::UNAUTHORIZED, "not authorized"),
                NoSession::OutOfScope(why) => (StatusCode::FORBIDDEN, why),
                NoSession::Unchecked(e) => return LoginError::Users(e).into_response(),
            };
            (status, text).into_response()
        });
        session.map(CompatSession)
    }
}

/// A job of the user, by the id in the path. To everybody else there is no such job.
pub struct OwnJob(pub Job);

impl FromRequestParts<Shared> for OwnJob {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Problem> {
        let session = Session::from_request_parts(parts, gateway).await?;
        let Path(JobId { id }) = Path::from_request_parts(parts, gateway).await?;
        gateway.own_job(&session, &id).await.map(OwnJob)
    }
}

impl Gateway {
    /// A job of the user. To everybody else there is no such job.
    pub(super) async fn own_job(&self, session: &Session, id: &str) -> Result<Job, Problem> {
        let id: Id = id.parse().map_err(|_| Problem::not_found())?;
        let job = self.ports.jobs.get(id).await?;
        match job.owner == session.email {
            true => Ok(job),
            false => Err(jobs::Error::NotFound.into()),
        }
    }

    /// Refuses what ends in a mail to an address that is not known to be the user's.
    pub(super) fn check_confirmed(&self, session: &Session) -> Result<(), Problem> {
        if session.is_verified || !self.accounts.confirmation() {
            return Ok(());
        }
        Err(Problem::forbidden(
            "Please confirm your e-mail address first, by the link in the mail that you were sent.",
        ))
    }

    /// Whether a session is known to have ended since its request began: was logged out, or taken away. While nobody can
    /// be asked, it goes on. That its token expires by itself ends nothing that has begun.
    pub(super) async fn has_ended(&self, session: &Session) -> bool {
        let (token, begun) = (session.token.reveal(), session.begun);
        let claims = self.accounts.check_begun(token, begun, false).await;
        claims.is_ok_and(|claims| claims.is_none())
    }

    /// The same, whatever was found out a moment ago.
    pub(super) async fn has_just_ended(&self, session: &Session) -> bool {
        let (token, begun) = (session.token.reveal(), session.begun);
        let claims = self.accounts.check_begun(token, begun, true).await;
        claims.is_ok_and(|claims| claims.is_none())
    }

    /// Takes back a job that was just accepted, where its owner's session has ended: whoever removes an account removes its
    /// jobs after it, and may have come too early for this one.
    pub(super) async fn take_back_if_ended(
        &self,
        session: &Session,
        job: Id,
    ) -> Result<(), Problem> {
        if !self.has_just_ended(session).await {
            return Ok(());
        }
        // Where this fails, the sweeper removes it.
        let _ = self.ports.remove(job).await;
        Err(Problem::session_ended())
    }

    /// Whether the token of a session is good for no other request.
    async fn has_expired(&self, session: &Session) -> bool {
        let claims = self.accounts.check(session.token.reveal()).await;
        claims.is_ok_and(|claims| claims.is_none())
    }

    /// Looks after a session until the result is dropped: a request may last for hours, and its user's access may end
    /// meanwhile.
    pub(super) fn watch(&self, session: &Session) -> Watched {
        self.look_after(session, true)
    }

    /// The same for what lasts as long as its client likes: it ends with its token.
    pub(super) fn watch_token(&self, session: &Session) -> Watched {
        self.look_after(session, false)
    }

    fn look_after(&self, session: &Session, outlasts_token: bool) -> Watched {
        let ended = CancellationToken::new();
        let (gateway, session) = (self.clone(), session.clone());
        let cancelled = ended.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                if gateway.has_ended(&session).await
                    || !outlasts_token && gateway.has_expired(&session).await
                {
                    return cancelled.cancel();
                }
            }
        });
        Watched {
            ended,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

/// Ends the bytes of a response with an error, which breaks the connection, once the session that asked for them has
/// ended.
pub(super) fn while_it_lasts<E: Into<BoxError>>(
    watched: Watched,
    bytes: impl Stream<Item = Result<Bytes, E>>,
) -> impl Stream<Item = Result<Bytes, BoxError>> {
    bytes.map(move |piece| match watched.ended.is_cancelled() {
        true => Err("the session has ended".into()),
        false => piece.map_err(Into::into),
    })
}

async fn identify(parts: &Parts, gateway: &Shared) -> Result<Session, NoSession> {
    let token = match bearer(&parts.headers)? {
        Some(token) => token,
        None => {
            let cookie = SessionCookie::of(parts, gateway);
            let token = cookie.value(&parts.headers).ok_or(NoSession::Missing)?;
            if !is_own_page(parts, gateway) {
                let told = |name| parts.headers.get(name);
                tracing::warn!(
                    origin = ?told(ORIGIN),
                    host = ?told(HOST),
                    public_url = ?gateway.origin,
                    "a page that is not ours sends our cookie: if it is ours, public_url has to be where users reach it"
                );
                return Err(NoSession::Foreign);
            }
            token
        }
    };
    let claims = gateway.accounts.check(token).await;
    let claims = claims
        .map_err(NoSession::Unchecked)?
        .ok_or(NoSession::Invalid)?;
    if !claims.admin {
        return Err(NoSession::NotAdmin);
    }
    if let Some(scopes) = claims.scopes {
        check_scopes(scopes, parts).map_err(NoSession::OutOfScope)?;
    }
    Ok(Session {
        email: claims.username,
        is_verified: claims.is_verified,
        token: Secret::new(token),
        begun: gateway.ports.clock.now(),
    })
}

/// Whether a program's token is good for a request; otherwise why not.
fn check_scopes(scopes: Scopes, parts: &Parts) -> Result<(), &'static str> {
    let (path, method) = (parts.uri.path(), &parts.method);
    let is_reading = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if path.starts_with(ACCOUNTS) {
        let is_me = is_reading && path == ME;
        return is_me
            .then_some(())
            .ok_or("An API token is not for accounts: please sign in.");
    }
    let is_upload = UPLOADS.iter().any(|uploads| path.starts_with(uploads));
    match (is_upload || !is_reading, scopes) {
        (true, Scopes { convert: false, .. }) => Err("This API token lacks the scope `convert`."),
        (false, Scopes { read: false, .. }) => Err("This API token lacks the scope `read`."),
        _ => Ok(()),
    }
}

/// The tokens that a request carries, valid or not; without the cookie where another page sends it.
pub fn tokens<'p>(parts: &'p Parts, gateway: &Gateway) -> impl Iterator<Item = &'p str> + use<'p> {
    let cookie = SessionCookie::of(parts, gateway).value(&parts.headers);
    let cookie = cookie.filter(|_| is_own_page(parts, gateway));
    let bearer = bearer(&parts.headers).ok().flatten();
    bearer.into_iter().chain(cookie)
}

/// The token of an `Authorization` header. The scheme is ignored, as in the original.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, NoSession> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let header = header.to_str().map_err(|_| NoSession::Invalid)?;
    match header.split_once(' ') {
        Some((_, token)) => Ok(Some(token.trim())),
        None => Err(NoSession::Missing),
    }
}

/// Whether a request that changes something comes from our own page, as far as the browser tells. The cookie is
/// `SameSite=Strict` as well; this protects where a browser does not know that, and from other hosts of our domain,
/// which are the same site.
fn is_own_page(parts: &Parts, gateway: &Gateway) -> bool {
    if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return true;
    }
    let told = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
    match told("sec-fetch-site") {
        // The browser has compared them itself, before any proxy rewrote the host (Fetch Metadata, section 2.3).
        Some(b"same-origin") => return true,
        None | Some(b"none") => {}
        Some(_) => return false,
    }
    // What is no browser sends no origin.
    parts.headers.get(ORIGIN).is_none_or(|origin| {
        let origin = origin.to_str();
        origin.is_ok_and(|origin| is_own_origin(origin, parts, gateway))
    })
}

/// Whether an origin (RFC 6454) is ours: the one that we are told, or the host that the request asks for.
fn is_own_origin(origin: &str, parts: &Parts, gateway: &Gateway) -> bool {
    if gateway.origin.as_deref() == Some(origin) {
        return true;
    }
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let host = match parts.extensions.get::<ForwardedHost>() {
        Some(ForwardedHost(host)) => Some(&**host),
        None => parts.headers.get(HOST).and_then(|host| host.to_str().ok()),
    };
    let port = match scheme {
        "https" => ":443",
        // A proxy that ends TLS may not tell of it.
        "http" if parts.extensions.get::<OverHttps>().is_none() => ":80",
        _ => return false,
    };
    let plain = |authority: &str| -> String {
        let authority = authority.strip_suffix(port).unwrap_or(authority);
        authority.to_ascii_lowercase()
    };
    host.is_some_and(|host| plain(host) == plain(authority))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::Request;
    use micropy_core::ports::memory::MemoryAuth;
    use micropy_core::ports::time::ManualClock;

    use super::*;
    use crate::Ports;
    use crate::accounts::LocalAccounts;

    fn gateway() -> Gateway {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let users = Arc::new(MemoryAuth::default());
        let accounts = LocalAccounts::new(users, clock.clone(), &secret);
        Gateway::new(Ports::in_memory(clock), Arc::new(accounts))
    }

    #[tokio::test]
    async fn bytes_end_with_an_error_once_the_session_has_ended() {
        let watched = Watched {
            ended: CancellationToken::new(),
            _task: AbortOnDropHandle::new(tokio::spawn(std::future::pending())),
        };
        let ended = watched.ended.clone();
        let pieces = futures_util::stream::repeat(Bytes::from("ID3"));
        let mut bytes = while_it_lasts(watched, pieces.map(Ok::<_, BoxError>));
        assert_eq!(bytes.next().await.unwrap().unwrap(), "ID3");
        ended.cancel();
        assert!(bytes.next().await.unwrap().is_err());
    }

    fn parts(headers: &[(&str, &str)], over_https: bool) -> Parts {
        let mut request = Request::post("/api/v1/auth/logout");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        if over_https {
            parts.extensions.insert(OverHttps);
        }
        parts
    }

    #[test]
    fn only_our_own_page_acts_with_a_cookie() {
        let plain = gateway();
        let named = gateway().origin("https://mp3.example.com/");
        let is_own = |gateway, headers: &[_], https| is_own_page(&parts(headers, https), gateway);
        for host in ["example.com", "Example.com:80"] {
            let from = |origin| [("host", host), ("origin", origin)];
            assert!(is_own(&plain, &from("http://example.com"), false));
            for other in [
                "http://example.com:8080",
                "http://example.com.evil.test",
                "http://sub.example.com",
                "null",
                "",
                "example.com",
            ] {
                assert!(!is_own(&plain, &from(other), false), "{other}");
                assert!(!is_own(&named, &from(other), false), "{other}");
            }
            assert!(is_own(&named, &from("https://mp3.example.com"), false));
            assert!(!is_own(&named, &from("http://mp3.example.com"), false));
        }
        let from = |origin| [("host", "example.com"), ("origin", origin)];
        assert!(is_own(&plain, &from("https://example.com"), true));
        assert!(
            is_own(&plain, &from("https://example.com"), false),
            "behind a proxy"
        );
        assert!(!is_own(&plain, &from("http://example.com"), true));
        assert!(is_own(&plain, &[("host", "example.com")], false));
        // A proxy that rewrites the host.
        let rewritten = [("host", "gateway:8080"), ("origin", "https://example.com")];
        assert!(!is_own(&plain, &rewritten, true));
        let mut told = parts(&rewritten, true);
        told.extensions.insert(ForwardedHost("example.com".into()));
        assert!(is_own_page(&told, &plain), "it says so");
        let fetched = [&rewritten[..], &[("sec-fetch-site", "same-origin")][..]].concat();
        assert!(is_own(&plain, &fetched, true), "the browser says so");

        let sites = [
            ("same-origin", true),
            ("none", true),
            ("same-site", false),
            ("cross-site", false),
        ];
        for (site, expected) in sites {
            let sent = [
                ("host", "example.com"),
                ("origin", "http://example.com"),
                ("sec-fetch-site", site),
            ];
            assert_eq!(is_own(&plain, &sent, false), expected, "{site}");
        }
    }

    #[test]
    fn a_programs_token_does_what_its_scopes_say() {
        let (convert, read) = (
            Scopes::of_names(["convert"]).unwrap(),
            Scopes::of_names(["read"]).unwrap(),
        );
        for (method, path, by_convert, by_read) in [
            ("POST", "/api/v1/uploads", true, false),
            ("POST", "/upload", true, false),
            ("POST", "/api/v1/tus", true, false),
            ("HEAD", "/api/v1/tus/65a1", true, false),
            ("PATCH", "/api/v1/tus/65a1", true, false),
            ("GET", "/api/v1/jobs", false, true),
            ("HEAD", "/api/v1/jobs/65a1/mp3", false, true),
            ("GET", "/download", false, true),
            ("GET", "/api/v1/events", false, true),
            ("GET", "/api/v1/archive", false, true),
            ("DELETE", "/api/v1/jobs/65a1", true, false),
            ("POST", "/api/v1/jobs/65a1/retry", true, false),
            ("GET", "/api/v1/auth/me", true, true),
            ("POST", "/api/v1/auth/me", false, false),
            ("GET", "/api/v1/auth/tokens", false, false),
            ("POST", "/api/v1/auth/tokens", false, false),
            ("GET", "/api/v1/auth/export", false, false),
            ("POST", "/api/v1/auth/refresh", false, false),
            ("POST", "/api/v1/auth/remove", false, false),
        ] {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .body(())
                .unwrap();
            let (parts, ()) = request.into_parts();
            let given = [convert, read].map(|scopes| check_scopes(scopes, &parts).is_ok());
            assert_eq!(given, [by_convert, by_read], "{method} {path}");
        }
    }

    #[test]
    fn a_cookie_over_https_is_one_that_no_other_host_can_set() {
        let cookie = |gateway: &Gateway, https| {
            let cookie = SessionCookie::of(&parts(&[], https), gateway);
            cookie
                .header(gateway, "x", 5)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        let common = "HttpOnly; SameSite=Strict; Max-Age=5";
        let secure = format!("__Host-micropy_session=x; Path=/; {common}; Secure");
        assert_eq!(
            cookie(&gateway(), false),
            format!("micropy_session=x; Path=/; {common}")
        );
        assert_eq!(cookie(&gateway(), true), secure);
        assert_eq!(cookie(&gateway().secure_cookies(true), false), secure);
        assert_eq!(
            cookie(&gateway().mounted_at("/audio"), true),
            format!("__Secure-micropy_session=x; Path=/audio/; {common}; Secure")
        );
        // The other's value is none.
        let sent = [(
            "cookie",
            "micropy_session=plain; __Host-micropy_session=secure",
        )];
        let value = |https| {
            let parts = parts(&sent, https);
            SessionCookie::of(&parts, &gateway())
                .value(&parts.headers)
                .map(str::to_owned)
        };
        assert_eq!(value(false).as_deref(), Some("plain"));
        assert_eq!(value(true).as_deref(), Some("secure"));
    }
}
