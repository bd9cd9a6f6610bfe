//! Accounts kept by an auth service elsewhere: ours, or the original one.

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

use super::token::Tokens;
use super::{Accounts, Claims, Credentials, LoginError, RegisterError, Secret};
use crate::telemetry;

/// How long a response may take: a login costs the service some 50 ms.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a token that was found valid is not checked again.
const CACHE_TIME: Duration = Duration::from_secs(30);
/// Valid tokens remembered at once.
const CACHE_CAPACITY: usize = 10_000;
/// Bytes of a response: it is a token or a short message.
const MAX_RESPONSE: usize = 64 * 1024;
/// The header in which proxies pass on the client's address.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Accounts that an auth service keeps, asked over HTTP.
pub struct RemoteAccounts {
    http: Client,
    url: String,
    /// Where this process knows the secret too.
    tokens: Option<Tokens>,
    clock: Arc<dyn Clock>,
    registration: bool,
    /// Tokens found valid, by their hash, and when.
    valid: Mutex<HashMap<[u8; 32], (Claims, Instant)>>,
}

impl RemoteAccounts {
    /// Accounts of the auth service at `url`, such as `http://auth:5000`. It need not be up yet.
    ///
    /// # Errors
    /// When this machine's TLS or resolver cannot be set up.
    pub fn new(url: &str, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let http = Client::builder().timeout(TIMEOUT).build();
        Ok(RemoteAccounts {
            http: http.map_err(io::Error::other)?,
            url: url.trim_end_matches('/').to_owned(),
            tokens: None,
            clock,
            registration: true,
            valid: Mutex::default(),
        })
    }

    /// The secret that the auth service signs tokens with. Tokens are then checked and renewed here.
    #[must_use]
    pub fn secret(mut self, secret: &Secret) -> Self {
        self.tokens = Some(Tokens::new(secret));
        self
    }

    /// Whether people are told that they may register themselves. The default is yes; the auth service has the
    /// last word.
    #[must_use]
    pub fn allow_registration(mut self, allow: bool) -> Self {
        self.registration = allow;
        self
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url))
    }

    fn cached(&self, key: &[u8; 32]) -> Option<Claims> {
        let valid = self.valid.lock().unwrap_or_else(PoisonError::into_inner);
        let (claims, since) = valid.get(key)?;
        let is_current = claims.exp > self.clock.now().as_millis().div_euclid(1000);
        (is_current && since.elapsed() < CACHE_TIME).then(|| claims.clone())
    }

    fn cache(&self, key: [u8; 32], claims: &Claims) {
        let mut valid = self.valid.lock().unwrap_or_else(PoisonError::into_inner);
        if valid.len() >= CACHE_CAPACITY {
            valid.retain(|_, (_, since)| since.elapsed() < CACHE_TIME);
        }
        if valid.len() < CACHE_CAPACITY {
            valid.insert(key, (claims.clone(), Instant::now()));
        }
    }
}

#[async_trait]
impl Accounts for RemoteAccounts {
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
        let (status, wait, text) = send(request).await.map_err(LoginError::Users)?;
        match status {
            StatusCode::OK => Ok(text),
            StatusCode::UNAUTHORIZED => Err(LoginError::Refused(text)),
            StatusCode::TOO_MANY_REQUESTS => Err(LoginError::TooMany(wait)),
            // The original service answers 500 when its database is down.
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
        match send(request).await? {
            (StatusCode::CREATED, _, token) => Ok(token),
            (status, _, text) => Err(register_error(status, text)),
        }
    }

    async fn check(&self, token: &str) -> Result<Option<Claims>, Error> {
        if let Some(tokens) = &self.tokens {
            return Ok(tokens.check(token, self.clock.now()));
        }
        let key = Sha256::digest(token).into();
        if let Some(claims) = self.cached(&key) {
            return Ok(Some(claims));
        }
        let request = self
            .post("/validate")
            .header(AUTHORIZATION, format!("Bearer {token}"));
        match send(request).await? {
            (StatusCode::OK, _, json) => {
                let claims: Claims = serde_json::from_str(&json).map_err(unavailable)?;
                self.cache(key, &claims);
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

    fn registration(&self) -> bool {
        self.registration
    }
}

/// Sends a request. Returns the status, how long to wait before trying again, and the body as text.
async fn send(request: RequestBuilder) -> Result<(StatusCode, Duration, String), Error> {
    let mut response: Response = telemetry::call(request).await.map_err(unavailable)?;
    let wait = response.headers().get(RETRY_AFTER);
    let wait = wait.and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unavailable)? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_RESPONSE {
            return Err(unavailable("the auth service's response is too long"));
        }
    }
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    Ok((
        response.status(),
        Duration::from_secs(wait.unwrap_or(60)),
        text,
    ))
}

fn unavailable(e: impl Into<BackendError>) -> Error {
    Error::Unavailable(e.into())
}

/// The error for a registration that an auth service answers with `status`.
fn register_error(status: StatusCode, text: String) -> RegisterError {
    match status {
        StatusCode::CONFLICT => Error::Rejected(Rejection::Taken).into(),
        StatusCode::BAD_REQUEST => RegisterError::Unacceptable(text),
        // The original auth service has no such route.
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            RegisterError::Off
        }
        _ => unavailable(format!("the auth service answers {status}")).into(),
    }
}
