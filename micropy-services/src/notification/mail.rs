//! The mails.

use micropy_core::ports::notifier::Notification;

use super::NotificationService;
use crate::job::message::Body;

impl NotificationService {
    /// The link to the MP3. It leads to the page rather than to the file: our cookie is `SameSite=Strict`, so a browser
    /// sends it with requests of the page, but not with a link out of a web mailer. A message without a job comes from an
    /// original gateway, which has no page.
    fn link(&self, body: &Body, mp3: &str) -> String {
        match body.job() {
            Some(job) => format!("{}/#job-{job}", self.public_url),
            None => format!("{}/download?fid={mp3}", self.public_url),
        }
    }

    /// The mail about a failed job. Its key differs from that of an MP3: a job that is retried may succeed.
    pub(super) fn failure_mail(&self, body: &Body, reason: &str) -> Notification {
        let link = self.link(body, "");
        let name = body.file_name.as_deref().unwrap_or("your video");
        Notification {
            key: format!("{}.failed", body.job_id.as_deref().unwrap_or_default()),
            to: body.username.clone(),
            subject: "MP3 conversion failed".into(),
            text: format!("{name} could not be converted: {reason}\n\n{link}\n"),
            html: Some(format!(
                "<p><b>{}</b> could not be converted: {}</p>\n<p><a href=\"{link}\">Look at the job</a></p>\n",
                escape(name),
                escape(reason)
            )),
        }
    }

    /// The mail about an MP3: the original's text, and a link. Its key is the job's, so that it is sent once.
    pub(super) fn mp3_mail(&self, body: &Body, mp3: &str) -> Notification {
        let link = self.link(body, mp3);
        let name = body.file_name.as_deref().unwrap_or("your video");
        Notification {
            key: body.job_id.as_deref().unwrap_or(mp3).to_owned(),
            to: body.username.clone(),
            subject: "MP3 Download".into(),
            text: format!("mp3 file_id: {mp3} is now ready!\n\n{name}: {link}\n"),
            html: Some(format!(
                "<p>The MP3 of <b>{}</b> is ready: <a href=\"{link}\">play or download it</a></p>\n",
                escape(name)
            )),
        }
    }
}

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
