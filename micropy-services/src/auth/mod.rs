//! The auth service: issues tokens for credentials and validates tokens, by the routes of the original auth service.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use micropy_core::ports::auth::{Error, Scopes};
use micropy_core::ports::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::accounts::{
    AccountError, Accounts, ApiTokenMessage, BEGUN, ClientSigner, Credentials, LoginError,
    PasswordChange, Purpose, RegisterError, RenewError, SCOPES, Secret, VERIFIED,
};
use crate::http::ClientAddress;

/// Most responses hold a token, or claims.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The auth service. It does nothing in the background: whoever serves its [`router`](AuthService::router) runs it.
///
/// ```
/// # use std::sync::Arc;
/// # use micropy_core::ports::time::{ManualClock, Timestamp};
/// use axum::body::Body;
/// use axum::http::{Request, StatusCode};
/// use micropy_core::ports::memory::MemoryAuth;
/// use micropy_services::accounts::{LocalAccounts, Secret};
/// use micropy_services::auth::AuthService;
/// use tower::ServiceExt as _;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let clock = Arc::new(ManualClock::new(Timestamp::default()));
/// let users = Arc::new(MemoryAuth::default());
/// let secret = Secret::new("32 bytes that nobody can guess …");
/// let accounts = Arc::new(LocalAccounts::new(users, clock, &secret));
/// let router = AuthService::new(accounts).router();
///
/// let login = Request::post("/login").body(Body::empty()).unwrap();
/// let response = router.oneshot(login).await.unwrap();
/// assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
/// # }
/// ```
pub struct AuthService {
    accounts: Arc<dyn Accounts>,
    gateways: Option<Gateways>,
}

/// How gateways of ours are told from others.
#[derive(Clone)]
struct Gateways {
    signer: ClientSigner,
    clock: Arc<dyn Clock>,
}

impl AuthService {
    /// An auth service for `accounts`.
    pub fn new(accounts: Arc<dyn Accounts>) -> Self {
        AuthService {
            accounts,
            gateways: None,
        }
    }

    /// The secret that signs tokens: gateways that know it, too, are believed which client a request comes from, and
    /// may register users. Without it, nobody may.
    #[must_use]
    pub fn secret(mut self, secret: &Secret, clock: Arc<dyn Clock>) -> Self {
        let signer = ClientSigner::new(secret);
        self.gateways = Some(Gateways { signer, clock });
        self
    }

    /// Its routes: `/login` and `/validate` of the original; `/register`, `/refresh`, `/logout`, `/password`,
    /// `/remove`, `/mail-code`, `/reset`, `/confirm` and `/tokens` for our gateway; `/healthz` and `/readyz`.
    pub fn router(&self) -> Router {
        let alive = get(|| async { "ok\n" });
        let router = Router::new()
            .route("/login", post(login))
            .route("/validate", post(validate))
            .route("/register", post(register))
            .route("/refresh", post(refresh))
            .route("/logout", post(logout))
            .route("/password", post(change_password))
            .route("/remove", post(remove))
            .route("/mail-code", post(mail_code))
            .route("/reset", post(reset_password))
            .route("/confirm", post(confirm_address))
            .route("/tokens", post(api_tokens))
            .route("/tokens/add", post(add_api_token))
            .route("/tokens/remove", post(remove_api_token))
            .route("/healthz", alive.clone())
            .route("/readyz", alive)
            .with_state(Shared(self.accounts.clone()))
            .layer(SetResponseHeaderLayer::overriding(CACHE_CONTROL, NO_STORE));
        match self.gateways.clone() {
            Some(gateways) => router.layer(from_fn_with_state(gateways, believe)),
            None => router,
        }
    }
}

/// A request of a gateway of ours.
#[derive(Clone, Copy)]
struct FromGateway;

/// Takes the client's address from a gateway of ours, whose clock has to be about right.
async fn believe(State(gateways): State<Gateways>, mut request: Request, next: Next) -> Response {
    let now = gateways.clock.now();
    match gateways.signer.read(request.headers(), now) {
        Ok(Some(client)) => {
            let extensions = request.extensions_mut();
            extensions.insert(ClientAddress(client));
            extensions.insert(FromGateway);
        }
        Ok(None) => {}
        // Taken for another's request, it would count as one of the gateway's own address, and be told less. To the
        // gateway, this service is away until the clocks are right.
        Err(e) => {
            tracing::error!(error = %e, "a gateway's request is refused");
            let after = [(RETRY_AFTER, "60")];
            return (StatusCode::SERVICE_UNAVAILABLE, after, e.to_string()).into_response();
        }
    }
    next.run(request).await
}

/// The state of the routes.
#[derive(Clone)]
pub(crate) struct Shared(pub Arc<dyn Accounts>);

/// `POST /login`: responds with the bare token. The gateway has the same route.
pub(crate) async fn login(
    State(Shared(accounts)): State<Shared>,
    ClientAddress(from): ClientAddress,
    headers: HeaderMap,
) -> Result<String, LoginError> {
    accounts
        .login(Credentials::from_basic(&headers), from)
        .await
}

/// The body of a registration.
#[derive(Deserialize)]
struct Account {
    email: String,
    password: String,
}

/// `POST /register`, for our gateway alone: responds with the bare token of the new user. The gateway knows the jobs,
/// and gives the address of a user who was removed to nobody as long as there are files of theirs.
async fn register(
    State(Shared(accounts)): State<Shared>,
    ClientAddress(from): ClientAddress,
    from_gateway: Option<Extension<FromGateway>>,
    account: Result<Json<Account>, JsonRejection>,
) -> Response {
    if from_gateway.is_none() {
        return (StatusCode::FORBIDDEN, "not authorized").into_response();
    }
    let Json(Account { email, password }) = match account {
        Ok(account) => account,
        Err(e) => return e.into_response(),
    };
    let registered = accounts
        .register(Credentials { email, password }, from)
        .await;
    match registered {
        Ok(token) => (StatusCode::CREATED, token).into_response(),
        Err(e @ RegisterError::Off) => (StatusCode::FORBIDDEN, e.to_string()).into_response(),
        Err(RegisterError::Unacceptable(why)) => (StatusCode::BAD_REQUEST, why).into_response(),
        Err(RegisterError::TooMany(wait)) => too_many(wait, "too many registrations"),
        Err(RegisterError::Users(Error::Rejected(why))) => {
            (StatusCode::CONFLICT, why.to_string()).into_response()
        }
        Err(RegisterError::Users(e)) => LoginError::Users(e).into_response(),
    }
}

/// `POST /validate`: responds with the claims of a valid token.
async fn validate(
    State(Shared(accounts)): State<Shared>,
    from_gateway: Option<Extension<FromGateway>>,
    headers: HeaderMap,
) -> Response {
    let Some(token) = token(&headers) else {
        return missing_credentials();
    };
    // A gateway that may not go by what was found out a moment ago says so (RFC 9111, section 5.2.1.4).
    let at_once = headers
        .get(CACHE_CONTROL)
        .is_some_and(|it| it == "no-cache");
    let at_once = at_once && from_gateway.is_some();
    let begun = headers.get(BEGUN).filter(|_| from_gateway.is_some());
    let begun = begun.and_then(|begun| begun.to_str().ok()?.parse().ok());
    let checked = match begun.map(Timestamp::from_millis) {
        Some(begun) => accounts.check_begun(token, begun, at_once).await,
        None if at_once => accounts.check_now(token).await,
        None => accounts.check(token).await,
    };
    match checked {
        // Others do not know of scopes, and would let the token do everything.
        Ok(Some(claims)) if claims.scopes.is_some() && from_gateway.is_none() => {
            (StatusCode::FORBIDDEN, "not authorized").into_response()
        }
        Ok(Some(claims)) => {
            let json = ascii(&serde_json::to_string(&claims).unwrap_or_default());
            let mut response = ([(CONTENT_TYPE, "application/json")], json).into_response();
            let headers = response.headers_mut();
            if !claims.is_verified {
                headers.insert(VERIFIED, HeaderValue::from_static("false"));
            }
            let scopes = claims.scopes.map(|scopes| scopes.names().join(" "));
            if let Some(Ok(scopes)) = scopes.map(|scopes| scopes.parse()) {
                headers.insert(SCOPES, scopes);
            }
            response
        }
        Ok(None) => (StatusCode::FORBIDDEN, "not authorized").into_response(),
        Err(e) => LoginError::Users(e).into_response(),
    }
}

/// `POST /refresh`: responds with a new token for the user of a valid one.
async fn refresh(State(Shared(accounts)): State<Shared>, headers: HeaderMap) -> Response {
    let Some(token) = token(&headers) else {
        return missing_credentials();
    };
    match accounts.renew(token).await {
        Ok(token) => token.into_response(),
        Err(RenewError::Ended) => (StatusCode::FORBIDDEN, "not authorized").into_response(),
        Err(e @ RenewError::Unsupported) => (StatusCode::NOT_FOUND, e.to_string()).into_response(),
        Err(RenewError::Users(e)) => LoginError::Users(e).into_response(),
    }
}

/// `POST /logout`: ends a token. One that is not valid has ended already.
async fn logout(State(Shared(accounts)): State<Shared>, headers: HeaderMap) -> Response {
    let Some(token) = token(&headers) else {
        return missing_credentials();
    };
    match accounts.logout(token).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(e) => LoginError::Users(e).into_response(),
    }
}

/// `POST /password`: gives the user of a valid token another password, and responds with a new token.
async fn change_password(
    State(Shared(accounts)): State<Shared>,
    ClientAddress(from): ClientAddress,
    headers: HeaderMap,
    change: Result<Json<PasswordChange>, JsonRejection>,
) -> Response {
    let Some(token) = token(&headers) else {
        return missing_credentials();
    };
    let Json(change) = match change {
        Ok(change) => change,
        Err(e) => return e.into_response(),
    };
    match accounts.change_password(token, change, from).await {
        Ok(token) => token.into_response(),
        Err(e) => e.into_response(),
    }
}

/// The body of a removal.
#[derive(Deserialize)]
struct Confirmation {
    password: String,
}

/// `POST /remove`: removes the user of a valid token.
async fn remove(
    State(Shared(accounts)): State<Shared>,
    ClientAddress(from): ClientAddress,
    headers: HeaderMap,
    confirmation: Result<Json<Confirmation>, JsonRejection>,
) -> Response {
    let Some(token) = token(&headers) else {
        return missing_credentials();
    };
    let Json(Confirmation { password }) = match confirmation {
        Ok(confirmation) => confirmation,
        Err(e) => return e.into_response(),
    };
    match accounts.remove(token, password, from).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(e) => e.into_response(),
    }
}

/// The body of a request for a code.
#[derive(Deserialize)]
struct CodeRequest {
    email: String,
    purpose: Purpose,
}

/// `POST /mail-code`, for our gateway alone: responds with a code for a mail, or `null`.
async fn mail_code(
    State(Shared(accounts)): State<Shared>,
    ClientAddress(from): ClientAddress,
    from_gateway: Option<Extension<FromGateway>>,
    asked: Result<Json<CodeRequest>, JsonRejection>,
) -> Response {
    if from_gateway.is_none() {
        return (StatusCode::FORBIDDEN, "not authorized").into_response();
    }
    let Json(CodeRequest { email, purpose }) = match asked {
        Ok(asked) => asked,
        Err(e) => return e.into_response(),
    };
    respond(accounts.mail_code(&email, purpose, from).await)
}

/// The body of a request with a code.
#[derive(Deserialize)]
struct ByCode {
    code: String,
    #[serde(default)]
    new: String,
}

/// `POST /reset`: gives a user another password by a code.
async fn reset_password(
    State(Shared(accounts)): State<Shared>,
    ClientAddress(from): ClientAddress,
    asked: Result<Json<ByCode>, JsonRejection>,
) -> Response {
    match asked {
        Ok(Json(ByCode { code, new })) => respond(accounts.reset_password(&code, new, from).await),
        Err(e) => e.into_response(),
    }
}

/// `POST /confirm`: confirms an address by a code.
async fn confirm_address(
    State(Shared(accounts)): State<Shared>,
    asked: Result<Json<ByCode>, JsonRejection>,
) -> Response {
    match asked {
        Ok(Json(ByCode { code, .. })) => respond(accounts.confirm_address(&code).await),
        Err(e) => e.into_response(),
    }
}

/// `POST /tokens`: responds with the API tokens of a token's user.
async fn api_tokens(State(Shared(accounts)): State<Shared>, headers: HeaderMap) -> Response {
    let Some(token) = token(&headers) else {
        return missing_credentials();
    };
    let all = accounts.api_tokens(token).await;
    let message = |kept| ApiTokenMessage::new(kept, None);
    respond(all.map(|all| all.into_iter().map(message).collect::<Vec<_>>()))
}

/// The body of a request for an API token.
#[derive(Deserialize)]
struct WantedToken {
    name: String,
    scopes: Vec<String>,
}

/// `POST /tokens/add`: makes an API token for a token's user.
async fn add_api_token(
    State(Shared(accounts)): State<Shared>,
    headers: HeaderMap,
    wanted: Result<Json<WantedToken>, JsonRejection>,
) -> Response {
    let Some(token) = token(&headers) else {
        return missing_credentials();
    };
    let Json(WantedToken { name, scopes }) = match wanted {
        Ok(wanted) => wanted,
        Err(e) => return e.into_response(),
    };
    let Some(scopes) = Scopes::of_names(scopes.iter().map(String::as_str)) else {
        return (StatusCode::BAD_REQUEST, "unknown scope").into_response();
    };
    let made = accounts.add_api_token(token, name, scopes).await;
    respond(made.map(|(kept, made)| ApiTokenMessage::new(kept, Some(made))))
}

/// The body of a request to end an API token.
#[derive(Deserialize)]
struct UnwantedToken {
    id: String,
}

/// `POST /tokens/remove`: ends an API token of a token's user; responds with whether there was one.
async fn remove_api_token(
    State(Shared(accounts)): State<Shared>,
    headers: HeaderMap,
    unwanted: Result<Json<UnwantedToken>, JsonRejection>,
) -> Response {
    let Some(token) = token(&headers) else {
        return missing_credentials();
    };
    let Json(UnwantedToken { id }) = match unwanted {
        Ok(unwanted) => unwanted,
        Err(e) => return e.into_response(),
    };
    match accounts.remove_api_token(token, &id).await {
        Err(AccountError::Users(Error::NotFound)) => Json(false).into_response(),
        done => respond(done.map(|()| true)),
    }
}

/// The response with the outcome, as JSON.
fn respond(outcome: Result<impl Serialize, AccountError>) -> Response {
    match outcome {
        Ok(outcome) => Json(outcome).into_response(),
        Err(e) => e.into_response(),
    }
}

/// The token of an `Authorization` header. The scheme is ignored, as in the original.
fn token(headers: &HeaderMap) -> Option<&str> {
    let (_, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim())
}

fn missing_credentials() -> Response {
    (StatusCode::UNAUTHORIZED, "missing credentials").into_response()
}

/// Escapes every character beyond ASCII in JSON: Python clients guess the charset.
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

fn too_many(wait: Duration, of_what: &'static str) -> Response {
    let after = [(RETRY_AFTER, (wait.as_secs() + 1).to_string())];
    (StatusCode::TOO_MANY_REQUESTS, after, of_what).into_response()
}

impl IntoResponse for AccountError {
    fn into_response(self) -> Response {
        match self {
            AccountError::Ended => (StatusCode::FORBIDDEN, "not authorized").into_response(),
            AccountError::Wrong | AccountError::TooManyTokens => {
                (StatusCode::CONFLICT, self.to_string()).into_response()
            }
            AccountError::TooMany(wait) => too_many(wait, "too many failed logins"),
            AccountError::Unacceptable(why) => (StatusCode::BAD_REQUEST, why).into_response(),
            AccountError::Unsupported => (StatusCode::NOT_FOUND, self.to_string()).into_response(),
            AccountError::Users(e) => LoginError::Users(e).into_response(),
        }
    }
}

impl IntoResponse for LoginError {
    fn into_response(self) -> Response {
        match self {
            LoginError::Missing => {
                let basic = [(WWW_AUTHENTICATE, "Basic realm=\"micropy\"")];
                (StatusCode::UNAUTHORIZED, basic, "missing credentials").into_response()
            }
            LoginError::Invalid => {
                (StatusCode::UNAUTHORIZED, "invalid credentials").into_response()
            }
            LoginError::Refused(text) => (StatusCode::UNAUTHORIZED, text).into_response(),
            LoginError::TooMany(wait) => too_many(wait, "too many failed logins"),
            LoginError::Users(e) => {
                tracing::error!(error = %e, "the users cannot be asked");
                let status = match e {
                    Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                let after = [(RETRY_AFTER, "5")];
                (status, after, "internal server error").into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use micropy_core::ports::Auth as _;
    use micropy_core::ports::auth::Change;
    use micropy_core::ports::memory::MemoryAuth;
    use micropy_core::ports::time::ManualClock;
    use tokio::net::TcpListener;

    use super::*;
    use crate::accounts::{LocalAccounts, RemoteAccounts};
    use crate::http::Server;

    #[tokio::test]
    async fn a_gateway_whose_clock_is_wrong_finds_the_service_away_and_learns_why() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let times = [now, now.plus(Duration::from_secs(180))];
        let [right, wrong] = times.map(|time| Arc::new(ManualClock::new(time)));
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let users = Arc::new(MemoryAuth::default());
        let accounts = LocalAccounts::new(users, right.clone(), &secret);
        let auth = AuthService::new(Arc::new(accounts)).secret(&secret, right.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = tokio_util::sync::CancellationToken::new();
        tokio::spawn(Server::new(auth.router()).run(listener, shutdown.clone()));
        let gateway = |clock| RemoteAccounts::new(&url, clock).unwrap().secret(&secret);
        let ann = || Credentials {
            email: "ann@example.com".to_owned(),
            password: "correct horse".to_owned(),
        };
        let from = [192, 0, 2, 1].into();
        let (good, bad) = (gateway(right), gateway(wrong.clone()));
        let token = good.register(ann(), from).await.unwrap();
        let read = Scopes::of_names(["read"]).unwrap();
        let made = good.add_api_token(&token, "a script".into(), read).await;
        let (_, script) = made.unwrap();

        let said = |e: Error| match e {
            Error::Unavailable(e) => assert!(e.to_string().contains("180 seconds apart"), "{e}"),
            e => panic!("{e:?}"),
        };
        match bad.register(ann(), from).await.unwrap_err() {
            RegisterError::Users(e) => said(e),
            e => panic!("{e:?}"),
        }
        match bad.login(Some(ann()), from).await.unwrap_err() {
            LoginError::Users(e) => said(e),
            e => panic!("{e:?}"),
        }
        said(bad.check(&script).await.unwrap_err());
        let by_signature = bad.check(&token).await.unwrap();
        assert!(by_signature.is_some(), "as while the service is away");
        wrong.set(now);
        assert!(bad.check(&script).await.unwrap().is_some());
        shutdown.cancel();
    }

    #[tokio::test]
    async fn what_has_begun_outlasts_its_token_and_not_its_user() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let clock = Arc::new(ManualClock::new(now));
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let users = Arc::new(MemoryAuth::default());
        let local = Arc::new(LocalAccounts::new(users.clone(), clock.clone(), &secret));
        let auth = AuthService::new(local.clone()).secret(&secret, clock.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = tokio_util::sync::CancellationToken::new();
        tokio::spawn(Server::new(auth.router()).run(listener, shutdown.clone()));
        let remote = RemoteAccounts::new(&url, clock.clone()).unwrap();
        let remote = remote.secret(&secret);
        let ann = Credentials {
            email: "ann@example.com".to_owned(),
            password: "correct horse".to_owned(),
        };
        let token = local.register(ann, [192, 0, 2, 1].into()).await.unwrap();
        let both: [&dyn Accounts; 2] = [&*local, &remote];
        let later = Duration::from_secs(25 * 60 * 60);
        clock.advance(later);
        for accounts in both {
            assert!(accounts.check(&token).await.unwrap().is_none(), "expired");
            for at_once in [false, true] {
                let begun = accounts.check_begun(&token, now, at_once).await;
                assert!(begun.unwrap().is_some());
                let late = accounts.check_begun(&token, now.plus(later), at_once);
                assert!(late.await.unwrap().is_none());
            }
            assert!(accounts.check(&token).await.unwrap().is_none(), "it stays");
        }
        let gone = Change::Disabled(true);
        users.change("ann@example.com", gone, now).await.unwrap();
        for accounts in both {
            let begun = accounts.check_begun(&token, now, true).await;
            assert!(begun.unwrap().is_none());
        }
        shutdown.cancel();
    }

    #[test]
    fn json_beyond_ascii_is_escaped() {
        assert_eq!(
            ascii("{\"a\":\"k\u{fc}\u{1f511}\"}"),
            "{\"a\":\"k\\u00fc\\ud83d\\udd11\"}"
        );
    }
}
