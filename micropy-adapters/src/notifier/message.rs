//! A notification as an e-mail message (RFC 5322, MIME).

use lettre::Message;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use micropy_core::ports::notifier::{Error, Notification};

/// Composes the mail. Its Message-ID is made of the notification's key alone, so that a mail sent twice is one mail to
/// its reader.
pub(super) fn compose(from: &Mailbox, notification: &Notification) -> Result<Message, Error> {
    let key = &notification.key;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    if key.is_empty() || key.starts_with('.') || !key.chars().all(plain) {
        return Err(Error::Rejected(format!("{key:?} is not a valid key")));
    }
    let refused = |why: &dyn std::fmt::Display| {
        Error::Rejected(format!(
            "cannot address mail to {:?}: {why}",
            notification.to
        ))
    };
    let to: Mailbox = notification.to.parse().map_err(|e| refused(&e))?;
    let message = Message::builder()
        .from(from.clone())
        .to(to)
        .subject(&notification.subject)
        .message_id(Some(format!("<{key}@{}>", from.email.domain())))
        .date_now();
    let text = notification.text.clone();
    let whole = match &notification.html {
        Some(html) => message.multipart(MultiPart::alternative_plain_html(text, html.clone())),
        None => message.singlepart(SinglePart::plain(text)),
    };
    whole.map_err(|e| refused(&e))
}
