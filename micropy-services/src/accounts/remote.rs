//! The auth service elsewhere, ours or the original, as a gateway without users of its own asks it.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::http::header::{AUTHORIZATION, RETRY_AFTER};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use micropy_core::ports::auth::{Error, Rejection};
use micropy_core::ports::{BackendError, Clock};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::accounts::login::{Credentials, LoginError};
use crate::accounts::token::{Claims, Tokens};
use crate::accounts::{Accounts, RegisterError};
use crate::telemetry;

/// Longest time for an answer: a login costs the service some 50 ms.
const PATIENCE: Duration = Duration::from_secs(10);
/// A token that was good is so long not asked about again.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);
/// More are not kept in mind.
const REMEMBERED: usize = 10_000;
/// A token, or a few words; more is no answer of an auth service.
const LONGEST_ANSWER: usize = 64 * 1024;
/// Where the client is, as proxies say it.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// An auth service, asked over HTTP.
pub struct AuthClient {
    http: Client,
    url: String,
    /// Checks tokens and makes new ones without asking, where the secret is known here too.
    tokens: Option<Tokens>,
    clock: Arc<dyn Clock>,
    good: Mutex<HashMap<[u8; 32], (Claims, Instant)>>,
}

impl AuthClient {
    /// The service at `url`, such as `http://auth:5000`.
    pub fn new(url: &str, tokens: Option<Tokens>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let http = Client::builder().timeout(PATIENCE).build();
        Ok(AuthClient {
            http: http.map_err(io::Error::other)?,
            url: url.trim_end_matches('/').to_owned(),
            tokens,
            clock,
            good: Mutex::default(),
        })
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url))
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<Claims> {
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        let (claims, since) = good.get(key)?;
        let is_good = claims.exp > self.clock.now().as_millis().div_euclid(1000);
        (is_good && since.elapsed() < REMEMBERED_FOR).then(|| claims.clone())
    }

    fn remember(&self, key: [u8; 32], claims: &Claims) {
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= REMEMBERED {
            good.retain(|_, (_, since)| since.elapsed() < REMEMBERED_FOR);
        }
        if good.len() < REMEMBERED {
            good.insert(key, (claims.clone(), Instant::now()));
        }
    }
}

#[async_trait]
impl Accounts for AuthClient {
    async fn login(
        &self,
        credentials: Option<Credentials>,
        from: IpAddr,
    ) -> Result<String, LoginError> {
        let mut request = self.post("/login").header(FORWARDED_FOR, from.to_string());
        if let Some(Credentials { email, password }) = credentials {
            let basic = STANDARD.encode(format!("{email}:{password}"));
            request = request.header(AUTHORIZATION, format!("Basic {basic}"));
        }
        let (status, wait, words) = answer(request).await.map_err(LoginError::Users)?;
        match status {
            StatusCode::OK => Ok(words),
            StatusCode::UNAUTHORIZED => Err(LoginError::Refused(words)),
            StatusCode::TOO_MANY_REQUESTS => Err(LoginError::TooMany(wait)),
            // The original answers this when its database is away.
            _ => Err(LoginError::Users(unavailable(format!(
                "the auth service answers {status}"
            )))),
        }
    }

    async fn register(&self, account: Credentials, from: IpAddr) -> Result<String, RegisterError> {
        let Credentials { email, password } = account;
        let request = self
            .post("/register")
            .header(FORWARDED_FOR, from.to_string())
            .json(&json!({"email": email, "password": password}));
        match answer(request).await? {
            (StatusCode::CREATED, _, token) => Ok(token),
            (status, _, words) => Err(refused(status, words)),
        }
    }

    async fn check(&self, token: &str) -> Result<Option<Claims>, Error> {
        if let Some(tokens) = &self.tokens {
            return Ok(tokens.check(token, self.clock.now()));
        }
        let key = Sha256::digest(token).into();
        if let Some(claims) = self.remembered(&key) {
            return Ok(Some(claims));
        }
        let request = self
            .post("/validate")
            .header(AUTHORIZATION, format!("Bearer {token}"));
        match answer(request).await? {
            (StatusCode::OK, _, json) => {
                let claims: Claims = serde_json::from_str(&json).map_err(unavailable)?;
                self.remember(key, &claims);
                Ok(Some(claims))
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, ..) => Ok(None),
            (status, ..) => Err(unavailable(format!("the auth service answers {status}"))),
        }
    }

    fn renew(&self, username: &str) -> Option<String> {
        let tokens = self.tokens.as_ref()?;
        Some(tokens.issue(username, self.clock.now()))
    }
}

/// The status, how long to wait, and the body as text.
async fn answer(request: RequestBuilder) -> Result<(StatusCode, Duration, String), Error> {
    let mut response: Response = telemetry::call(request).await.map_err(unavailable)?;
    let wait = response.headers().get(RETRY_AFTER);
    let wait = wait.and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unavailable)? {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST_ANSWER {
            return Err(unavailable("the auth service's answer is too long"));
        }
    }
    let words = String::from_utf8_lossy(&body).trim().to_owned();
    Ok((
        response.status(),
        Duration::from_secs(wait.unwrap_or(60)),
        words,
    ))
}

/// An error for whatever the auth service did not do.
fn unavailable(e: impl Into<BackendError>) -> Error {
    Error::Unavailable(e.into())
}

/// What an auth service answers to a registration, read as one of ours.
fn refused(status: StatusCode, words: String) -> RegisterError {
    match status {
        StatusCode::CONFLICT => Error::Rejected(Rejection::Taken).into(),
        StatusCode::BAD_REQUEST => RegisterError::Unacceptable(words),
        // The original auth service has no such route.
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            RegisterError::Off
        }
        _ => unavailable(format!("the auth service answers {status}")).into(),
    }
}
