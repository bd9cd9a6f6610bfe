//! Mails about accounts: a forgotten password, and an address to be confirmed.
//!
//! Whoever asks for a mail gets the same answer at once, whether there is such a user or not: what is to be done is
//! done after it. The mail is a message in the queue of the notification service.

use std::net::IpAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use micropy_core::ports::jobs::Topic;
use serde::Deserialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::session::Session;
use super::{Shared, body};
use crate::accounts::{AccountError, MAX_LENGTH, Purpose};
use crate::http::ClientAddress;
use crate::job::message::Body;

/// Mails that are being asked for at the same time.
pub const MAX_REQUESTS: usize = 64;

/// An address.
#[derive(Deserialize, ToSchema)]
pub struct Forgotten {
    #[schema(example = "ann@example.com", max_length = 254)]
    email: String,
}

/// Ask for a mail with a link to set another password. The answer is the same for every address.
///
/// The link is good for half an hour, and once. A user who has yet to confirm the address gets the mail for that
/// instead.
#[utoipa::path(
    post, path = "/api/v1/auth/password/forgotten", tag = "accounts", security(()),
    request_body = Forgotten,
    responses(
        (status = 202, description = "If there is such a user, a mail is on its way"),
        (status = 400, description = "Not JSON, or no address", body = Problem),
        body::JsonProblems,
        (status = 501, description = "There are no mails about accounts", body = Problem),
        (status = 503, description = "Too many mails are being asked for; see Retry-After", body = Problem),
    )
)]
pub async fn forgotten(
    State(gateway): State<Shared>,
    ClientAddress(from): ClientAddress,
    body::Json(Forgotten { email }): body::Json<Forgotten>,
) -> Result<StatusCode, Problem> {
    if email.chars().count() > MAX_LENGTH {
        return Err(Problem::bad_request("This is not an e-mail address."));
    }
    send(&gateway, email, Purpose::Reset, from)?;
    Ok(StatusCode::ACCEPTED)
}

/// A code from a mail, and the password to be.
#[derive(Deserialize, ToSchema)]
pub struct Reset {
    #[schema(max_length = 2000)]
    code: String,
    /// It has 8 to 254 characters.
    #[schema(format = Password, min_length = 8, max_length = 254)]
    new: String,
}

/// Set another password by the code of a mail. It ends all tokens of the user.
#[utoipa::path(
    post, path = "/api/v1/auth/password/reset", tag = "accounts", security(()),
    request_body = Reset,
    responses(
        (status = 204, description = "The password is set: sign in with it"),
        (status = 400, description = "Not JSON, or a password that is too short", body = Problem),
        (status = 409, description = "The code is not valid, was used already, or is too old", body = Problem),
        body::JsonProblems,
        (status = 501, description = "The auth service does not change accounts", body = Problem),
        (status = 503, description = "The users are unavailable; see Retry-After", body = Problem),
    )
)]
pub async fn reset(
    State(gateway): State<Shared>,
    ClientAddress(from): ClientAddress,
    body::Json(Reset { code, new }): body::Json<Reset>,
) -> Result<StatusCode, Problem> {
    let done = gateway.accounts.reset_password(&code, new, from).await;
    done.map_err(by_code)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A code from a mail.
#[derive(Deserialize, ToSchema)]
pub struct Confirm {
    #[schema(max_length = 2000)]
    code: String,
}

/// Confirm your address by the code of a mail.
#[utoipa::path(
    post, path = "/api/v1/auth/address/confirm", tag = "accounts", security(()),
    request_body = Confirm,
    responses(
        (status = 204, description = "The address is confirmed"),
        (status = 400, description = "Not JSON", body = Problem),
        (status = 409, description = "The code is not valid, or is too old", body = Problem),
        body::JsonProblems,
        (status = 501, description = "The auth service does not change accounts", body = Problem),
        (status = 503, description = "The users are unavailable; see Retry-After", body = Problem),
    )
)]
pub async fn confirm(
    State(gateway): State<Shared>,
    body::Json(Confirm { code }): body::Json<Confirm>,
) -> Result<StatusCode, Problem> {
    let done = gateway.accounts.confirm_address(&code).await;
    done.map_err(by_code)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ask for another mail to confirm your address.
#[utoipa::path(
    post, path = "/api/v1/auth/address/mail", tag = "accounts",
    responses(
        (status = 202, description = "If it is not confirmed yet, a mail is on its way"),
        (status = 501, description = "There are no mails about accounts", body = Problem),
    )
)]
pub async fn confirmation(
    State(gateway): State<Shared>,
    session: Session,
    ClientAddress(from): ClientAddress,
) -> Result<Response, Problem> {
    send(&gateway, session.email, Purpose::Confirm, from)?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// Has a mail sent, as far as there is somebody to send it to. How long that takes, the caller does not learn.
pub fn send(
    gateway: &Shared,
    email: String,
    purpose: Purpose,
    from: IpAddr,
) -> Result<(), Problem> {
    if !gateway.accounts.gives_mail_codes() {
        return Err(AccountError::Unsupported.into());
    }
    let turn = gateway.mails.clone().try_acquire_owned();
    let turn = turn.map_err(|_| Problem::busy("Too many mails are being asked for right now."))?;
    let gateway = gateway.clone();
    tokio::spawn(async move {
        let _turn = turn;
        let code = match gateway.accounts.mail_code(&email, purpose, from).await {
            Ok(Some(code)) => code,
            Ok(None) => return,
            Err(AccountError::TooMany(_)) => {
                return tracing::info!("no mail about an account: too many were asked for");
            }
            Err(e) => return tracing::warn!(error = %e, "no mail about an account"),
        };
        let message = Body::about_account(email, code);
        let queue = gateway.ports.queues.of(Topic::Failed);
        if let Err(e) = queue.publish(message.payload).await {
            tracing::warn!(error = %e, "no mail about an account");
        }
    });
    Ok(())
}

fn by_code(e: AccountError) -> Problem {
    match e {
        AccountError::Ended => {
            Problem::conflict("This link was used already, or is too old. Please ask for another.")
        }
        e => e.into(),
    }
}
