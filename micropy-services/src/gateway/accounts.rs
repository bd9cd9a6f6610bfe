//! Registration, login, logout, and what users do with their accounts.

use std::net::IpAddr;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use micropy_core::ports::auth::{Error, Rejection};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::session::{Session, SessionCookie};
use super::{Gateway, Shared, body, mails, session};
use crate::accounts::{
    AccountError, Credentials, LIFETIME, LoginError, PasswordChange, Purpose, RegisterError,
    RenewError,
};
use crate::http::ClientAddress;
use crate::job::intake::to_the_end;

/// An account, to log in or to register.
#[derive(Deserialize, ToSchema)]
pub struct Account {
    /// Case-sensitive.
    #[schema(
        example = "ann@example.com",
        max_length = 254,
        pattern = r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+$"
    )]
    email: String,
    /// At least 8 characters when registering.
    #[schema(format = Password, min_length = 8, max_length = 254)]
    password: String,
}

impl From<Account> for Credentials {
    fn from(Account { email, password }: Account) -> Self {
        Credentials { email, password }
    }
}

impl From<RegisterError> for Problem {
    fn from(e: RegisterError) -> Self {
        match e {
            RegisterError::Off => Problem::forbidden(e.to_string()),
            RegisterError::Unacceptable(why) => Problem::bad_request(why),
            RegisterError::TooMany(wait) => Problem::too_many(
                wait.as_secs() + 1,
                "Too many accounts have been made from your address.",
            ),
            RegisterError::Users(e) => e.into(),
        }
    }
}

/// A user who has logged in.
#[derive(Serialize, ToSchema)]
pub struct SignedIn {
    email: String,
    /// A JSON Web Token for `Authorization: Bearer …`. Browsers also get it as a cookie.
    token: String,
    /// Seconds until the token expires.
    expires_in: i64,
}

/// The current user.
#[derive(Serialize, ToSchema)]
pub struct Me {
    email: String,
    /// Whether the address is confirmed, where it has to be: nothing can be converted before.
    confirmed: bool,
}

/// Register, and log in.
#[utoipa::path(
    post, path = "/api/v1/auth/register", tag = "accounts", security(()),
    request_body = Account,
    responses(
        (status = 201, body = SignedIn),
        (status = 400, description = "Not an e-mail address, or a password that is too short", body = Problem),
        (status = 403, description = "Registration is switched off", body = Problem),
        (status = 409, description = "The address is registered already", body = Problem),
        body::JsonProblems,
        (status = 429, description = "Too many registrations from one address; see Retry-After", body = Problem,
            headers(("Retry-After" = u64))),
        (status = 503, description = "The users are unavailable; see Retry-After", body = Problem),
    )
)]
pub async fn register(
    State(gateway): State<Shared>,
    cookie: SessionCookie,
    ClientAddress(from): ClientAddress,
    body::Json(account): body::Json<Account>,
) -> Result<Response, Problem> {
    if !gateway.accounts.registration() {
        return Err(RegisterError::Off.into());
    }
    let account = Credentials::from(account);
    account.check().map_err(RegisterError::Unacceptable)?;
    // What follows tells whether there is such a user: nobody gets to ask for as many as they like.
    let allowed = gateway.registrations.take(from, gateway.ports.clock.now());
    allowed.map_err(RegisterError::TooMany)?;
    let email = account.email.clone();
    // Whoever had the address was removed, and these files are not for others.
    if gateway.ports.jobs.usage(&email).await?.jobs > 0 {
        return Err(Error::Rejected(Rejection::Taken).into());
    }
    let registering = {
        let gateway = gateway.clone();
        async move { gateway.register(account, from).await }
    };
    let token = to_the_end(registering).await?;
    if gateway.accounts.confirmation() {
        // Where there is no mail now, the user can ask for another.
        let _ = mails::send(&gateway, email.clone(), Purpose::Confirm, from);
    }
    Ok((
        StatusCode::CREATED,
        signed_in(&gateway, cookie, email, token),
    )
        .into_response())
}

impl Gateway {
    /// Registers a user, who has no webhooks: those of whoever had the address stay where only the user was removed, and
    /// the new one's jobs are not for them. Returns the user's token.
    async fn register(&self, account: Credentials, from: IpAddr) -> Result<String, Problem> {
        let Credentials { email, password } = account;
        let account = Credentials {
            email: email.clone(),
            password: password.clone(),
        };
        let token = self.accounts.register(account, from).await?;
        if let Err(e) = self.ports.webhooks.remove_owner(&email).await {
            // Then it can be tried again.
            if let Err(e) = self.accounts.remove(&token, password, from).await {
                tracing::error!(error = %e, "a new user may have the webhooks of an earlier one");
            }
            return Err(e.into());
        }
        Ok(token)
    }
}

/// Log in.
#[utoipa::path(
    post, path = "/api/v1/auth/login", tag = "accounts", security(()),
    request_body = Account,
    responses(
        (status = 200, body = SignedIn),
        (status = 400, description = "Not JSON", body = Problem),
        (status = 401, description = "Wrong address or password", body = Problem),
        body::JsonProblems,
        (status = 429, description = "Too many failed logins; see Retry-After", body = Problem,
            headers(("Retry-After" = u64))),
        (status = 503, description = "The users are unavailable; see Retry-After", body = Problem),
    )
)]
pub async fn login(
    State(gateway): State<Shared>,
    cookie: SessionCookie,
    ClientAddress(from): ClientAddress,
    body::Json(account): body::Json<Account>,
) -> Result<Response, Problem> {
    let email = account.email.clone();
    let token = gateway
        .accounts
        .login(Some(account.into()), from)
        .await
        .map_err(|e| match e {
            LoginError::Missing | LoginError::Invalid | LoginError::Refused(_) => {
                Problem::unauthorized("Wrong address or password.")
            }
            LoginError::TooMany(wait) => too_many_logins(wait),
            LoginError::Users(e) => e.into(),
        })?;
    Ok(signed_in(&gateway, cookie, email, token).into_response())
}

/// Get a new token before the current one expires.
#[utoipa::path(
    post, path = "/api/v1/auth/refresh", tag = "accounts",
    responses(
        (status = 200, body = SignedIn),
        (status = 501, description = "Tokens come from an auth service that does not renew them", body = Problem),
    )
)]
pub async fn refresh(
    State(gateway): State<Shared>,
    cookie: SessionCookie,
    session: Session,
) -> Result<Response, Problem> {
    let token = gateway.accounts.renew(session.token.reveal()).await?;
    Ok(signed_in(&gateway, cookie, session.email, token).into_response())
}

impl From<RenewError> for Problem {
    fn from(e: RenewError) -> Self {
        match e {
            RenewError::Ended => Problem::session_ended(),
            RenewError::Unsupported => Problem::new(
                StatusCode::NOT_IMPLEMENTED,
                "The auth service does not renew tokens: sign in again when yours has expired.",
            ),
            RenewError::Users(e) => e.into(),
        }
    }
}

/// Change your password. It ends all your tokens but the new one.
#[utoipa::path(
    post, path = "/api/v1/auth/password", tag = "accounts",
    request_body = PasswordChange,
    responses(
        (status = 200, body = SignedIn),
        (status = 400, description = "Not JSON, or a password that is too short", body = Problem),
        (status = 409, description = "Not the current password", body = Problem),
        body::JsonProblems,
        (status = 429, description = "Too many failed attempts; see Retry-After", body = Problem,
            headers(("Retry-After" = u64))),
        (status = 501, description = "The auth service does not change accounts", body = Problem),
    )
)]
pub async fn change_password(
    State(gateway): State<Shared>,
    cookie: SessionCookie,
    session: Session,
    ClientAddress(from): ClientAddress,
    body::Json(change): body::Json<PasswordChange>,
) -> Result<Response, Problem> {
    let token = session.token.reveal();
    let token = gateway
        .accounts
        .change_password(token, change, from)
        .await?;
    Ok(signed_in(&gateway, cookie, session.email, token).into_response())
}

/// The password, once more.
#[derive(Deserialize, ToSchema)]
pub struct Confirmation {
    #[schema(format = Password, min_length = 1, max_length = 254)]
    password: String,
}

/// Delete your account, with all jobs, videos and MP3s.
#[utoipa::path(
    post, path = "/api/v1/auth/remove", tag = "accounts",
    request_body = Confirmation,
    responses(
        (status = 204, description = "Removed"),
        (status = 400, description = "Not JSON", body = Problem),
        (status = 409, description = "Not the password", body = Problem),
        body::JsonProblems,
        (status = 429, description = "Too many failed attempts; see Retry-After", body = Problem,
            headers(("Retry-After" = u64))),
        (status = 501, description = "The auth service does not change accounts", body = Problem),
    )
)]
pub async fn remove(
    State(gateway): State<Shared>,
    session: Session,
    ClientAddress(from): ClientAddress,
    body::Json(Confirmation { password }): body::Json<Confirmation>,
) -> Result<Response, Problem> {
    let credentials = Credentials {
        email: session.email.clone(),
        password: password.clone(),
    };
    let token = gateway.accounts.login(Some(credentials), from).await;
    // A token from before may be good no more: this login replaces a hash of an older kind, and the version with it.
    let token = token.map_err(|e| match e {
        LoginError::TooMany(wait) => too_many_logins(wait),
        LoginError::Users(e) => e.into(),
        _ => AccountError::Wrong.into(),
    })?;
    gateway.accounts.check_removal().await?;
    // The account goes last: until then, all of this can be done again.
    gateway.remove_all_jobs(&session.email).await?;
    gateway.ports.webhooks.remove_owner(&session.email).await?;
    gateway.accounts.remove(&token, password, from).await?;
    // Until then the session was good, and an upload may have ended, or a webhook have been added. There is nobody left
    // to try it again.
    if let Err(problem) = gateway.remove_all_jobs(&session.email).await {
        tracing::warn!(?problem, "jobs of a removed account stay until they expire");
    }
    if let Err(e) = gateway.ports.webhooks.remove_owner(&session.email).await {
        tracing::warn!(error = %e, "webhooks of a removed account may stay");
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl From<AccountError> for Problem {
    fn from(e: AccountError) -> Self {
        match e {
            AccountError::Ended => Problem::session_ended(),
            AccountError::Wrong | AccountError::TooManyTokens => Problem::conflict(e.to_string()),
            AccountError::TooMany(wait) => too_many_logins(wait),
            AccountError::Unacceptable(why) => Problem::bad_request(why),
            AccountError::Unsupported => Problem::new(
                StatusCode::NOT_IMPLEMENTED,
                "The auth service does not do this for this gateway.",
            ),
            AccountError::Users(e) => e.into(),
        }
    }
}

fn too_many_logins(wait: Duration) -> Problem {
    Problem::too_many(wait.as_secs() + 1, "Too many failed attempts to sign in.")
}

/// Log out: ends the token, and removes the browser's cookie.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", tag = "accounts", security(()),
    responses(
        (status = 204, description = "Logged out"),
        (status = 503, description = "The token has not ended, as the users are unavailable; see Retry-After", body = Problem),
    )
)]
pub async fn logout(
    State(gateway): State<Shared>,
    cookie: SessionCookie,
    parts: Parts,
) -> Response {
    let mut answer = HeaderMap::new();
    answer.extend(set_cookie(&gateway, cookie, "", 0));
    for token in session::tokens(&parts, &gateway) {
        if let Err(e) = gateway.accounts.logout(token).await {
            return (answer, Problem::from(e)).into_response();
        }
    }
    (StatusCode::NO_CONTENT, answer).into_response()
}

/// Get the current user.
#[utoipa::path(
    get, path = "/api/v1/auth/me", tag = "accounts",
    responses((status = 200, body = Me))
)]
pub async fn me(State(gateway): State<Shared>, session: Session) -> Json<Me> {
    Json(Me {
        confirmed: gateway.check_confirmed(&session).is_ok(),
        email: session.email,
    })
}

fn signed_in(
    gateway: &Shared,
    cookie: SessionCookie,
    email: String,
    token: String,
) -> impl IntoResponse + use<> {
    let mut headers = HeaderMap::new();
    headers.extend(set_cookie(gateway, cookie, &token, LIFETIME));
    let body = SignedIn {
        email,
        token,
        expires_in: LIFETIME,
    };
    (headers, Json(body))
}

/// The header that sets the session cookie for so many seconds.
fn set_cookie(
    gateway: &Shared,
    cookie: SessionCookie,
    token: &str,
    seconds: i64,
) -> Option<(HeaderName, HeaderValue)> {
    let header = cookie.header(gateway, token, seconds)?;
    Some((SET_COOKIE, header))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::http::Request;
    use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
    use micropy_core::ports::Id;
    use micropy_core::ports::auth::{ApiToken, Scopes};
    use micropy_core::ports::jobs::Job;
    use micropy_core::ports::memory::MemoryAuth;
    use micropy_core::ports::notifier::SigningSecret;
    use micropy_core::ports::time::{ManualClock, Timestamp};
    use micropy_core::ports::webhooks::Endpoint;
    use tower::ServiceExt as _;

    use super::*;
    use crate::Ports;
    use crate::accounts::{Accounts as _, Claims, LocalAccounts, MailCode, Secret};

    const ANN: &str = "ann@example.com";

    /// The status of a registration.
    async fn register(gateway: &Gateway, email: &str) -> u16 {
        let account = serde_json::json!({"email": email, "password": "correct horse"});
        let request = Request::post("/api/v1/auth/register")
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(account.to_string()));
        let response = gateway.router().oneshot(request.unwrap()).await;
        response.unwrap().status().as_u16()
    }

    /// The accounts of an auth service that removes nobody, as the original one.
    struct Keeping(LocalAccounts);

    #[async_trait::async_trait]
    impl crate::accounts::Accounts for Keeping {
        async fn login(
            &self,
            account: Option<Credentials>,
            from: IpAddr,
        ) -> Result<String, LoginError> {
            self.0.login(account, from).await
        }
        async fn register(&self, new: Credentials, from: IpAddr) -> Result<String, RegisterError> {
            self.0.register(new, from).await
        }
        async fn check(&self, token: &str) -> Result<Option<Claims>, Error> {
            self.0.check(token).await
        }
        async fn check_now(&self, token: &str) -> Result<Option<Claims>, Error> {
            self.0.check_now(token).await
        }
        async fn check_begun(
            &self,
            token: &str,
            begun: Timestamp,
            at_once: bool,
        ) -> Result<Option<Claims>, Error> {
            self.0.check_begun(token, begun, at_once).await
        }
        async fn renew(&self, token: &str) -> Result<String, RenewError> {
            self.0.renew(token).await
        }
        async fn logout(&self, token: &str) -> Result<(), Error> {
            self.0.logout(token).await
        }
        async fn change_password(
            &self,
            _: &str,
            _: PasswordChange,
            _: IpAddr,
        ) -> Result<String, AccountError> {
            Err(AccountError::Unsupported)
        }
        async fn remove(&self, _: &str, _: String, _: IpAddr) -> Result<(), AccountError> {
            Err(AccountError::Unsupported)
        }
        async fn check_removal(&self) -> Result<(), AccountError> {
            Err(AccountError::Unsupported)
        }
        async fn mail_code(
            &self,
            _: &str,
            _: Purpose,
            _: IpAddr,
        ) -> Result<Option<MailCode>, AccountError> {
            Err(AccountError::Unsupported)
        }
        fn gives_mail_codes(&self) -> bool {
            false
        }
        async fn reset_password(&self, _: &str, _: String, _: IpAddr) -> Result<(), AccountError> {
            Err(AccountError::Unsupported)
        }
        async fn confirm_address(&self, _: &str) -> Result<(), AccountError> {
            Err(AccountError::Unsupported)
        }
        async fn api_tokens(&self, _: &str) -> Result<Vec<ApiToken>, AccountError> {
            Err(AccountError::Unsupported)
        }
        async fn add_api_token(
            &self,
            _: &str,
            _: String,
            _: Scopes,
        ) -> Result<(ApiToken, String), AccountError> {
            Err(AccountError::Unsupported)
        }
        async fn remove_api_token(&self, _: &str, _: &str) -> Result<(), AccountError> {
            Err(AccountError::Unsupported)
        }
        fn registration(&self) -> bool {
            true
        }
        fn confirmation(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn beside_a_service_that_removes_nobody_no_job_is_removed_either() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let ports = Ports::in_memory(clock.clone());
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let users = Arc::new(MemoryAuth::default());
        let local = LocalAccounts::new(users, clock.clone(), &secret);
        let accounts = Arc::new(Keeping(local));
        let ann = || Credentials {
            email: ANN.into(),
            password: "correct horse".into(),
        };
        let from = IpAddr::from([192, 0, 2, 1]);
        let token = accounts.0.register(ann(), from).await.unwrap();
        let [job, video] = [1, 2].map(|byte| Id::from_bytes([byte; 12]));
        let job = Job::new(job, ANN, video, ports.clock.now());
        ports.jobs.create(&job, None).await.unwrap();
        let request = Request::post("/api/v1/auth/remove")
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::from(r#"{"password": "correct horse"}"#));
        let router = Gateway::new(ports.clone(), accounts).router();
        let response = router.oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), 501);
        assert!(ports.jobs.get(job.id).await.is_ok(), "it is still there");
    }

    #[tokio::test]
    async fn a_new_user_has_no_webhooks_of_an_earlier_one() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let ports = Ports::in_memory(clock.clone());
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let users = Arc::new(MemoryAuth::default());
        let accounts = LocalAccounts::new(users, clock, &secret);
        let gateway = Gateway::new(ports.clone(), Arc::new(accounts));
        let webhook = async |byte, owner: &str| {
            let endpoint = Endpoint {
                id: Id::from_bytes([byte; 12]),
                owner: owner.to_owned(),
                url: Some("https://example.com".into()),
                secret: SigningSecret::new("whsec_1"),
                created: ports.clock.now(),
            };
            ports.webhooks.add_endpoint(&endpoint).await.unwrap();
        };
        webhook(1, ANN).await;
        webhook(2, "bob@example.com").await;
        assert_eq!(register(&gateway, ANN).await, 201);
        let own = async |owner| ports.webhooks.endpoints(owner).await.unwrap().len();
        assert_eq!(own(ANN).await, 0);
        assert_eq!(own("bob@example.com").await, 1);
        webhook(3, ANN).await;
        assert_eq!(register(&gateway, ANN).await, 409);
        assert_eq!(own(ANN).await, 1, "those of a user stay");
    }

    #[tokio::test]
    async fn registering_tells_nobody_who_has_jobs() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let ports = Ports::in_memory(clock.clone());
        // Those of a user who was removed.
        let [job, video] = [1, 2].map(|byte| Id::from_bytes([byte; 12]));
        let job = Job::new(job, ANN, video, ports.clock.now());
        ports.jobs.create(&job, None).await.unwrap();
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let gateway = |is_allowed| {
            let users = Arc::new(MemoryAuth::default());
            let accounts = LocalAccounts::new(users, clock.clone(), &secret);
            let accounts = accounts.allow_registration(is_allowed);
            Gateway::new(ports.clone(), Arc::new(accounts)).registrations(3)
        };
        let off = gateway(false);
        for email in [ANN, "bob@example.com"] {
            assert_eq!(register(&off, email).await, 403, "{email}");
        }
        let on = gateway(true);
        assert_eq!(register(&on, "bob").await, 400);
        for status in [409, 409, 409, 429] {
            assert_eq!(register(&on, ANN).await, status);
        }
    }
}
