//! Accounts kept by an auth service elsewhere: ours, or the original one.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL};
use axum::http::request::Builder;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use micropy_core::ports::auth::{ApiToken, Error, Rejection, Scopes};
use micropy_core::ports::{BackendError, Clock, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::client::{BEGUN, CLIENT, ClientSigner};
use super::http::{Answer, Service};
use super::recent::Recent;
use super::token::{API_TOKEN, Tokens};
use super::{
    AccountError, Accounts, ApiTokenMessage, Claims, Credentials, LoginError, MailCode,
    PasswordChange, Purpose, RegisterError, RenewError, Secret,
};

/// How long a response may take: a login costs the service some 50 ms.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to say whether a token is valid.
const CHECK_TIME: Duration = Duration::from_secs(4);
/// Characters of what it says of itself.
const MAX_REASON: usize = 200;
/// The header in which proxies pass on the client's address.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Accounts that an auth service keeps, asked over HTTP.
pub struct RemoteAccounts {
    service: Service,
    /// Where this process knows the secret too.
    tokens: Option<Tokens>,
    signer: Option<ClientSigner>,
    clock: Arc<dyn Clock>,
    registration: bool,
    confirmation: bool,
    /// What the service said of tokens that were valid once.
    recent: Recent<Option<Claims>>,
}

impl RemoteAccounts {
    /// Accounts of the auth service at `url`, such as `http://auth:5000`. It need not be up yet.
    ///
    /// Over `https://`, its certificate has to be signed by an authority that browsers trust, or with `?ca=/path.pem`
    /// by one in that file.
    ///
    /// # Errors
    /// When it is another URL, or the file cannot be read.
    pub fn new(url: &str, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Ok(RemoteAccounts {
            service: Service::open(url)?,
            tokens: None,
            signer: None,
            clock,
            registration: true,
            confirmation: false,
            recent: Recent::default(),
        })
    }

    /// The secret that the auth service signs tokens with. While the service is away, the signature alone then tells
    /// whether a token is valid. With it, the service also believes which client a request comes from, and so limits
    /// the logins of each client, not those of this gateway. Without it, there are no registrations, no mails about
    /// accounts and no API tokens: the service makes accounts for, gives codes to, and tells of scopes, those alone who
    /// know the secret.
    #[must_use]
    pub fn secret(mut self, secret: &Secret) -> Self {
        self.tokens = Some(Tokens::new(secret));
        self.signer = Some(ClientSigner::new(secret));
        self
    }

    /// Whether people may register themselves here. The default is yes; the auth service may refuse all the same.
    #[must_use]
    pub fn allow_registration(mut self, allow: bool) -> Self {
        self.registration = allow;
        self
    }

    /// Whether users have to confirm their address before they may convert anything. The default is no; the auth
    /// service has to require it, too.
    #[must_use]
    pub fn require_confirmation(mut self, require: bool) -> Self {
        self.confirmation = require;
        self
    }

    /// A request of the user of a token.
    fn post_with(&self, path: &str, token: &str) -> Builder {
        let request = self.service.post(path);
        request.header(AUTHORIZATION, format!("Bearer {token}"))
    }

    /// A request for the client at `from`.
    fn post_for(&self, path: &str, from: IpAddr) -> Builder {
        let request = self.service.post(path);
        let request = request.header(FORWARDED_FOR, from.to_string());
        match &self.signer {
            Some(signer) => request.header(CLIENT, signer.sign(from, self.clock.now())),
            None => request,
        }
    }

    /// Sends a request. Returns the status, how long to wait before trying again, and the body as text.
    async fn send(&self, request: Builder) -> Result<(StatusCode, Duration, String), Error> {
        self.send_within(request, None, TIMEOUT).await
    }

    async fn send_json(
        &self,
        request: Builder,
        json: &(impl Serialize + Sync),
    ) -> Result<(StatusCode, Duration, String), Error> {
        let json = serde_json::to_vec(json).map_err(unavailable)?;
        self.send_within(request, Some(json), TIMEOUT).await
    }

    async fn send_within(
        &self,
        request: Builder,
        json: Option<Vec<u8>>,
        time: Duration,
    ) -> Result<(StatusCode, Duration, String), Error> {
        let answer = self.service.send(request, json, time).await;
        let Answer {
            status, wait, text, ..
        } = answer.map_err(Error::Unavailable)?;
        Ok((status, wait, text))
    }

    /// Asks for a change of the account of a token's user; returns the response's text.
    async fn change_account(
        &self,
        path: &str,
        token: &str,
        change: &(impl Serialize + Sync),
        from: IpAddr,
    ) -> Result<String, AccountError> {
        let request = self.post_for(path, from);
        let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        match self.send_json(request, change).await? {
            (StatusCode::OK, _, text) => {
                self.recent.forget();
                Ok(text)
            }
            answer => Err(refusal(answer)),
        }
    }

    /// Asks for a change by a code from a mail.
    async fn act_by_code(&self, request: Builder, asked: &Value) -> Result<(), AccountError> {
        match self.send_json(request, asked).await? {
            (StatusCode::OK, ..) => {
                self.recent.forget();
                Ok(())
            }
            answer => Err(refusal(answer)),
        }
    }

    /// Refuses what the service does for those alone who know the secret.
    fn known(&self) -> Result<(), AccountError> {
        match self.signer {
            Some(_) => Ok(()),
            None => Err(AccountError::Unsupported),
        }
    }

    /// Asks something about the API tokens of a token's user; returns what the response says.
    async fn about_tokens<T: DeserializeOwned>(
        &self,
        path: &str,
        token: &str,
        asked: &Value,
    ) -> Result<T, AccountError> {
        self.known()?;
        match self.send_json(self.post_with(path, token), asked).await? {
            (StatusCode::OK, _, json) => {
                Ok(serde_json::from_str(&json).map_err(|e| Error::Unavailable(e.into()))?)
            }
            (StatusCode::CONFLICT, ..) => Err(AccountError::TooManyTokens),
            answer => Err(refusal(answer)),
        }
    }

    /// The claims of a token; `at_once`: as the users' store has them now, and not as anybody remembers. Of a request that
    /// has `begun` with it, they are those of that time.
    async fn look_up(
        &self,
        token: &str,
        begun: Option<Timestamp>,
        at_once: bool,
    ) -> Result<Option<Claims>, Error> {
        let now = begun.unwrap_or_else(|| self.clock.now());
        let tokens = self.tokens.as_ref();
        // An API token has no signature.
        let tokens = tokens.filter(|_| !token.starts_with(API_TOKEN));
        let signed = match tokens.map(|tokens| tokens.check(token, now)) {
            Some(None) => return Ok(None),
            signed => signed.flatten(),
        };
        let key = Sha256::digest(token).into();
        let in_time = |claims: Option<Claims>| {
            claims.filter(|claims| claims.exp > now.as_millis().div_euclid(1000))
        };
        if let Some(answer) = self.recent.fresh(&key).filter(|_| !at_once) {
            return Ok(in_time(answer));
        }
        let answer = match self.validate(token, begun, at_once).await {
            Ok(answer) => answer,
            // It is away. What was known last holds, and then the signature.
            Err(e @ Error::Unavailable(_)) => match (self.recent.last(&key), signed) {
                (Some(last), _) => {
                    tracing::warn!(error = %e, "a token is taken for what it was last");
                    in_time(last)
                }
                (None, Some(claims)) => {
                    tracing::warn!(error = %e, "a token is accepted by its signature alone");
                    Some(claims)
                }
                (None, None) => return Err(e),
            },
            Err(e) => return Err(e),
        };
        // Of tokens that were never valid, there is no end.
        if answer.is_some() || self.recent.last(&key).is_some() {
            self.recent.remember(key, answer.clone());
        }
        Ok(answer)
    }

    /// What the auth service says of a token.
    async fn validate(
        &self,
        token: &str,
        begun: Option<Timestamp>,
        at_once: bool,
    ) -> Result<Option<Claims>, Error> {
        // Of API tokens, it tells our gateways alone, which keep to their scopes.
        let mut request = self.post_for("/validate", IpAddr::from([0, 0, 0, 0]));
        if at_once {
            request = request.header(CACHE_CONTROL, "no-cache");
        }
        if let Some(begun) = begun {
            request = request.header(BEGUN, begun.as_millis());
        }
        let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        let answer = self.service.send(request, None, CHECK_TIME).await;
        let answer = answer.map_err(Error::Unavailable)?;
        match answer.status {
            StatusCode::OK => {
                let mut claims: Claims = serde_json::from_str(&answer.text).map_err(refused)?;
                claims.is_verified = answer.is_verified;
                if token.starts_with(API_TOKEN) {
                    // Of a service that knows no scopes there are no such tokens.
                    let scopes = Scopes::of_names(answer.scopes.split_whitespace());
                    claims.scopes = Some(scopes.unwrap_or_default());
                }
                Ok(Some(claims))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(None),
            StatusCode::SERVICE_UNAVAILABLE => Err(unexpected(answer.status, &answer.text)),
            // It is there, and does not say that the token is good.
            status => Err(refused(format!("the auth service answers {status}"))),
        }
    }
}

/// Why an auth service did not change an account.
fn refusal((status, wait, text): (StatusCode, Duration, String)) -> AccountError {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => AccountError::Ended,
        StatusCode::CONFLICT => AccountError::Wrong,
        StatusCode::BAD_REQUEST => AccountError::Unacceptable(text),
        StatusCode::TOO_MANY_REQUESTS => AccountError::TooMany(wait),
        // The original auth service has no such route.
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => AccountError::Unsupported,
        _ => unexpected(status, &text).into(),
    }
}

/// The error for an answer that says nothing of what was asked. Where the service is away, it may say why.
fn unexpected(status: StatusCode, text: &str) -> Error {
    let why: String = text.trim().chars().take(MAX_REASON).collect();
    match (status, &*why) {
        (StatusCode::SERVICE_UNAVAILABLE, why) if !why.is_empty() => {
            unavailable(format!("the auth service answers {status}: {why}"))
        }
        _ => unavailable(format!("the auth service answers {status}")),
    }
}

#[async_trait]
impl Accounts for RemoteAccounts {
    async fn login(
        &self,
        credentials: Option<Credentials>,
        from: IpAddr,
    ) -> Result<String, LoginError> {
        let mut request = self.post_for("/login", from);
        if let Some(Credentials { email, password }) = credentials {
            let basic = STANDARD.encode(format!("{email}:{password}"));
            request = request.header(AUTHORIZATION, format!("Basic {basic}"));
        }
        let answer = self.send(request).await;
        let (status, wait, text) = answer.map_err(LoginError::Users)?;
        match status {
            StatusCode::OK => Ok(text),
            StatusCode::UNAUTHORIZED => Err(LoginError::Refused(text)),
            StatusCode::TOO_MANY_REQUESTS => Err(LoginError::TooMany(wait)),
            // The original service answers 500 when its database is down.
            _ => Err(LoginError::Users(unexpected(status, &text))),
        }
    }

    async fn register(&self, account: Credentials, from: IpAddr) -> Result<String, RegisterError> {
        if !self.registration() {
            return Err(RegisterError::Off);
        }
        let Credentials { email, password } = account;
        let request = self.post_for("/register", from);
        let account = json!({"email": email, "password": password});
        match self.send_json(request, &account).await? {
            (StatusCode::CREATED, _, token) => Ok(token),
            (StatusCode::TOO_MANY_REQUESTS, wait, _) => Err(RegisterError::TooMany(wait)),
            (status, _, text) => Err(register_error(status, text)),
        }
    }

    async fn check(&self, token: &str) -> Result<Option<Claims>, Error> {
        self.look_up(token, None, false).await
    }

    async fn check_now(&self, token: &str) -> Result<Option<Claims>, Error> {
        self.look_up(token, None, true).await
    }

    async fn check_begun(
        &self,
        token: &str,
        begun: Timestamp,
        at_once: bool,
    ) -> Result<Option<Claims>, Error> {
        self.look_up(token, Some(begun), at_once).await
    }

    async fn renew(&self, token: &str) -> Result<String, RenewError> {
        match self.send(self.post_with("/refresh", token)).await? {
            (StatusCode::OK, _, token) => Ok(token),
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, ..) => Err(RenewError::Ended),
            // The original auth service has no such route.
            (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, ..) => {
                Err(RenewError::Unsupported)
            }
            (status, _, text) => Err(unexpected(status, &text).into()),
        }
    }

    async fn logout(&self, token: &str) -> Result<(), Error> {
        match self.send(self.post_with("/logout", token)).await? {
            (StatusCode::NO_CONTENT, ..) => {
                // That token alone: anybody may ask this of what is no token at all.
                self.recent.forget_one(&Sha256::digest(token).into());
                Ok(())
            }
            // The original auth service has no such route: its tokens stay valid until they expire.
            (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, ..) => Ok(()),
            (status, _, text) => Err(unexpected(status, &text)),
        }
    }

    async fn change_password(
        &self,
        token: &str,
        change: PasswordChange,
        from: IpAddr,
    ) -> Result<String, AccountError> {
        self.change_account("/password", token, &change, from).await
    }

    async fn remove(
        &self,
        token: &str,
        password: String,
        from: IpAddr,
    ) -> Result<(), AccountError> {
        let confirmation = json!({"password": password});
        let removed = self.change_account("/remove", token, &confirmation, from);
        removed.await.map(drop)
    }

    async fn check_removal(&self) -> Result<(), AccountError> {
        // Without a token, nobody is removed: ours asks for one, and the original auth service has no such route.
        match self.send(self.service.post("/remove")).await? {
            (StatusCode::UNAUTHORIZED, ..) => Ok(()),
            (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, ..) => {
                Err(AccountError::Unsupported)
            }
            (status, _, text) => Err(unexpected(status, &text).into()),
        }
    }

    async fn mail_code(
        &self,
        email: &str,
        purpose: Purpose,
        from: IpAddr,
    ) -> Result<Option<MailCode>, AccountError> {
        self.known()?;
        let request = self.post_for("/mail-code", from);
        let asked = json!({"email": email, "purpose": purpose});
        match self.send_json(request, &asked).await? {
            (StatusCode::OK, _, json) => {
                Ok(serde_json::from_str(&json).map_err(|e| Error::Unavailable(e.into()))?)
            }
            answer => Err(refusal(answer)),
        }
    }

    fn gives_mail_codes(&self) -> bool {
        self.signer.is_some()
    }

    async fn reset_password(
        &self,
        code: &str,
        new: String,
        from: IpAddr,
    ) -> Result<(), AccountError> {
        let reset = json!({"code": code, "new": new});
        let request = self.post_for("/reset", from);
        self.act_by_code(request, &reset).await
    }

    async fn confirm_address(&self, code: &str) -> Result<(), AccountError> {
        let request = self.service.post("/confirm");
        self.act_by_code(request, &json!({"code": code})).await
    }

    async fn api_tokens(&self, token: &str) -> Result<Vec<ApiToken>, AccountError> {
        let all: Vec<ApiTokenMessage> = self.about_tokens("/tokens", token, &json!({})).await?;
        Ok(all.into_iter().map(ApiTokenMessage::into_kept).collect())
    }

    async fn add_api_token(
        &self,
        token: &str,
        name: String,
        scopes: Scopes,
    ) -> Result<(ApiToken, String), AccountError> {
        let wanted = json!({"name": name, "scopes": scopes.names()});
        let mut made: ApiTokenMessage = self.about_tokens("/tokens/add", token, &wanted).await?;
        let text = made.token.take().unwrap_or_default();
        Ok((made.into_kept(), text))
    }

    async fn remove_api_token(&self, token: &str, id: &str) -> Result<(), AccountError> {
        let wanted = json!({"id": id});
        let removed: Option<bool> = self.about_tokens("/tokens/remove", token, &wanted).await?;
        match removed {
            Some(true) => {
                self.recent.forget();
                Ok(())
            }
            _ => Err(Error::NotFound.into()),
        }
    }

    fn registration(&self) -> bool {
        // The service takes registrations from those alone who know the secret.
        self.registration && self.signer.is_some()
    }

    fn confirmation(&self) -> bool {
        self.confirmation
    }
}

fn unavailable(e: impl Into<BackendError>) -> Error {
    Error::Unavailable(e.into())
}

/// The service is not away, and does not do what it was asked for.
fn refused(e: impl Into<BackendError>) -> Error {
    Error::Backend {
        adapter: "auth service",
        cause: e.into(),
    }
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
        _ => unexpected(status, &text).into(),
    }
}

#[cfg(test)]
mod tests {
    use micropy_core::ports::time::ManualClock;

    use super::*;

    #[tokio::test]
    async fn without_the_secret_there_are_no_registrations_mails_and_api_tokens() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let from = IpAddr::from([192, 0, 2, 1]);
        // Nobody listens there.
        let accounts = || RemoteAccounts::new("http://127.0.0.1:9", clock.clone()).unwrap();
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        for (accounts, is_known) in [(accounts(), false), (accounts().secret(&secret), true)] {
            assert_eq!(accounts.gives_mail_codes(), is_known);
            assert_eq!(accounts.registration(), is_known);
            let read = Scopes::of_names(["read"]).unwrap();
            let code = accounts.mail_code("ann@example.com", Purpose::Reset, from);
            for answer in [
                code.await.map(drop),
                accounts.api_tokens("x.y.z").await.map(drop),
                accounts.remove_api_token("x.y.z", "1").await,
                accounts
                    .add_api_token("x.y.z", "a script".into(), read)
                    .await
                    .map(drop),
            ] {
                let is_unsupported = matches!(answer, Err(AccountError::Unsupported));
                assert_eq!(is_unsupported, !is_known, "{answer:?}");
            }
        }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    /// What an auth service answers: to a path, with a status.
    type Answers = Arc<std::sync::Mutex<Vec<(&'static str, StatusCode)>>>;

    /// An auth service that answers as it is told, else that a token is valid, and a gateway's accounts there.
    async fn service() -> (RemoteAccounts, Answers, String) {
        let answers = Answers::default();
        let told = answers.clone();
        let answer = move |request: axum::extract::Request| {
            let told = told.lock().unwrap().clone();
            let path = request.uri().path().to_owned();
            async move {
                let found = told.iter().rfind(|(of, _)| *of == path);
                match (found, &*path) {
                    (Some((_, status)), _) => (*status, String::new()),
                    (None, "/logout") => (StatusCode::NO_CONTENT, String::new()),
                    _ => (StatusCode::OK, claims()),
                }
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(answer);
        tokio::spawn(async { axum::serve(listener, router).await });
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let accounts = RemoteAccounts::new(&url, Arc::new(ManualClock::new(NOW))).unwrap();
        let user = micropy_core::ports::auth::User {
            id: "1".into(),
            email: "ann@example.com".into(),
            role: Default::default(),
            is_disabled: false,
            is_verified: true,
            version: 0,
            tokens_since: NOW,
        };
        let token = Tokens::new(&secret).issue(&user, NOW);
        (accounts.secret(&secret), answers, token)
    }

    fn claims() -> String {
        let now = NOW.as_millis() / 1000;
        json!({"username": "ann@example.com", "exp": now + 86400, "iat": now, "admin": true})
            .to_string()
    }

    #[tokio::test]
    async fn a_service_that_refuses_is_not_away() {
        for status in [500, 502, 404, 429, 418] {
            let (accounts, answers, token) = service().await;
            let status = StatusCode::from_u16(status).unwrap();
            answers.lock().unwrap().push(("/validate", status));
            // Neither by what was known last, nor by its signature.
            for known in [false, true] {
                if known {
                    let key = Sha256::digest(&token).into();
                    accounts.recent.remember(key, None);
                    accounts.recent.forget();
                    let claims = serde_json::from_str(&claims()).unwrap();
                    accounts.recent.remember_long_ago(key, Some(claims));
                }
                let asked = accounts.check(&token).await;
                assert!(matches!(asked, Err(Error::Backend { .. })), "{asked:?}");
            }
            answers.lock().unwrap().clear();
            assert!(accounts.check(&token).await.unwrap().is_some());
        }
        let (accounts, answers, token) = service().await;
        let away = StatusCode::SERVICE_UNAVAILABLE;
        answers.lock().unwrap().push(("/validate", away));
        let asked = accounts.check(&token).await.unwrap();
        assert!(asked.is_some(), "it is away, and the signature is good");
    }

    #[tokio::test]
    async fn nobody_makes_a_gateway_forget_what_it_knows_of_others() {
        let (accounts, answers, token) = service().await;
        assert!(accounts.check(&token).await.unwrap().is_some());
        let key = Sha256::digest(&token).into();
        let knows = || accounts.recent.fresh(&key).is_some();
        accounts.logout("x.y.z").await.unwrap();
        assert!(knows(), "what was ended is no token");
        answers
            .lock()
            .unwrap()
            .push(("/logout", StatusCode::INTERNAL_SERVER_ERROR));
        accounts.logout(&token).await.unwrap_err();
        assert!(knows(), "it has not ended");
        let unknown = accounts.remove_api_token(&token, "none of mine").await;
        unknown.unwrap_err();
        assert!(knows());
        answers.lock().unwrap().clear();
        accounts.logout(&token).await.unwrap();
        assert!(!knows(), "now it has");
    }

    #[tokio::test]
    async fn a_service_says_whether_it_removes_users_and_removes_none() {
        for (status, expected) in [
            (401, Some(true)),
            (404, Some(false)),
            (405, Some(false)),
            (500, None),
        ] {
            let (accounts, answers, _) = service().await;
            let status = StatusCode::from_u16(status).unwrap();
            answers.lock().unwrap().push(("/remove", status));
            let found = match accounts.check_removal().await {
                Ok(()) => Some(true),
                Err(AccountError::Unsupported) => Some(false),
                Err(_) => None,
            };
            assert_eq!(found, expected, "{status}");
        }
    }
}
