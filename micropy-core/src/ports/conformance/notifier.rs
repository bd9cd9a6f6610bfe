//! The suite of [`Notifier`].

use crate::ports::notifier::{Error, Notification, Notifier};

/// Runs the suite with a mail. It delivers one notification twice. That it arrives is left to the adapter's own tests.
pub async fn run(notifier: &dyn Notifier) {
    let news = Notification {
        key: "0123456789abcdef01234567".into(),
        to: "ann@example.com".into(),
        subject: "MP3 Download".into(),
        text: "mp3 file_id: 0123456789abcdef01234567 is now ready!".into(),
        html: Some("<p>Your MP3 is ready: K\u{fc}che &amp; Bad.</p>".into()),
        secret: None,
    };
    run_with(notifier, news).await;
}

/// The same with a notification of the adapter's own kind.
pub async fn run_with(notifier: &dyn Notifier, news: Notification) {
    notifier
        .notify(&news)
        .await
        .expect("a notification is delivered");
    notifier
        .notify(&news)
        .await
        .expect("and may be delivered again");

    let nowhere = Notification {
        to: "no address".into(),
        ..news
    };
    let refused = notifier.notify(&nowhere).await;
    assert!(
        matches!(refused, Err(Error::Rejected(_))),
        "a malformed address is refused for good"
    );
}
