//! Webhooks by the Standard Webhooks specification: a `POST` of JSON to a URL of the user, signed with a secret that they
//! share with it.
//!
//! What is signed is the id of the message, the time and the body. So a receiver knows who sent it, that it is whole, that it
//! is not an old one sent again by somebody else, and, by the id, whether it has come before:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use micropy_core::ports::Clock;
use micropy_core::ports::notifier::{Error, Notification, Notifier, SigningSecret};
use micropy_remote::Guard;
use sha2::Sha256;
use tokio::sync::oneshot;

/// The adapter's name in errors.
const NAME: &str = "webhook";

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// How long an endpoint may take to accept a message.
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls the URLs of users.
#[derive(Clone)]
pub struct WebhookNotifier {
    guard: Guard,
    clock: Arc<dyn Clock>,
    patience: Duration,
}

impl WebhookNotifier {
    /// Calls URLs whose addresses `guard` permits.
    pub fn new(guard: Guard, clock: Arc<dyn Clock>) -> Self {
        WebhookNotifier {
            guard,
            clock,
            patience: PATIENCE,
        }
    }

    /// How long an endpoint may take to accept a message. The default is 20 seconds.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

#[async_trait]
impl Notifier for WebhookNotifier {
    async fn notify(&self, notification: &Notification) -> Result<(), Error> {
        let Notification {
            key,
            to,
            text,
            secret,
            ..
        } = notification;
        let secret = secret
            .as_ref()
            .ok_or_else(|| Error::Rejected("it has no secret".into()))?;
        let time = self.clock.now().as_millis().div_euclid(1000).to_string();
        let signature = sign(secret, key, &time, text)?;
        let (url, key, body) = (to.clone(), key.clone(), text.clone().into_bytes());
        let (guard, patience) = (self.guard.clone(), self.patience);
        let (tell, told) = oneshot::channel();
        // A thread of its own, which nobody has to wait for: those of the runtime keep a program from ending.
        let calling = thread::Builder::new().name("micropy webhook".into());
        let calling = calling.spawn(move || {
            let headers = [
                ("content-type", "application/json"),
                ("webhook-id", &*key),
                ("webhook-timestamp", &*time),
                ("webhook-signature", &*signature),
            ];
            let _ = tell.send(micropy_remote::post(
                &url, &headers, &body, &guard, patience,
            ));
        });
        calling.map_err(|e| Error::Backend {
            adapter: NAME,
            cause: Box::new(e),
        })?;
        let ended = told.await.map_err(|e| Error::Unavailable(Box::new(e)))?;
        match ended {
            Ok(200..=299) => Ok(()),
            // The specification's word for an endpoint that wants no more.
            Ok(410) => Err(Error::Rejected("status 410: it wants no more".into())),
            Ok(status @ 300..=399) => Err(Error::Unavailable(
                format!("status {status}: redirects are not followed").into(),
            )),
            Ok(status) => Err(Error::Unavailable(format!("status {status}").into())),
            Err(
                e @ (micropy_remote::Error::InvalidUrl { .. }
                | micropy_remote::Error::NotPermitted { .. }),
            ) => Err(Error::Rejected(e.to_string())),
            Err(e) => Err(Error::Unavailable(Box::new(e))),
        }
    }
}

/// The signature of a message: version 1, HMAC-SHA256.
fn sign(secret: &SigningSecret, id: &str, time: &str, body: &str) -> Result<String, Error> {
    let wrong = || Error::Rejected("its secret is not one of a webhook".into());
    let key = secret.reveal().strip_prefix(PREFIX).ok_or_else(wrong)?;
    let key = STANDARD.decode(key).map_err(|_| wrong())?;
    if !SECRET_BYTES.contains(&key.len()) {
        return Err(wrong());
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| wrong())?;
    for part in [id, ".", time, ".", body] {
        mac.update(part.as_bytes());
    }
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    Ok(format!("v1,{signature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of its reference libraries.
        let secret = SigningSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = sign(
            &secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signature.unwrap(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        for wrong in [
            "",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_",
            "whsec_dG9vIHNob3J0",
            "whsec_%",
        ] {
            let refused = sign(&SigningSecret::new(wrong), "a", "1", "");
            assert!(matches!(refused, Err(Error::Rejected(_))), "{wrong}");
        }
    }
}
