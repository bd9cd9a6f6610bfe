//! The mails.

use micropy_core::ports::notifier::Notification;
use sha2::{Digest as _, Sha256};

use super::NotificationService;
use crate::accounts::{MailCode, Purpose};
use crate::job::message::Body;

/// Characters of a file's name in a mail.
const MAX_NAME: usize = 60;

impl NotificationService {
    /// The link to the MP3. It leads to the page rather than to the file: our cookie is `SameSite=Strict`, so a browser
    /// sends it with requests of the page, but not with a link out of a web mailer. A message without a job comes from
    /// an original gateway, which has no page.
    fn link(&self, body: &Body, mp3: &str) -> String {
        match body.job() {
            Some(job) => format!("{}/#job-{job}", self.public_url),
            None => format!("{}/download?fid={mp3}", self.public_url),
        }
    }

    /// The mail about a failed job. Its key differs from that of an MP3: a job that is retried may succeed.
    pub(super) fn failure_mail(&self, body: &Body, reason: &str) -> Notification {
        let link = self.link(body, "");
        let name = called(body.file_name.as_deref());
        Notification {
            key: format!("{}.failed", body.job_id.as_deref().unwrap_or_default()),
            to: body.username.clone(),
            subject: "MP3 conversion failed".into(),
            text: format!("{name} could not be converted: {reason}\n\n{link}\n"),
            html: Some(format!(
                "<p><b>{}</b> could not be converted: {}</p>\n<p><a href=\"{link}\">Look at the job</a></p>\n",
                escape(&name),
                escape(reason)
            )),
            secret: None,
        }
    }

    /// The mail about an account. It holds nothing that its user, or whoever gave the address, has chosen.
    pub(super) fn account_mail(&self, to: &str, mail: &MailCode) -> Notification {
        let MailCode { purpose, code, .. } = mail;
        let (name, subject, text, action) = match purpose {
            Purpose::Reset => (
                "reset",
                "Set another password",
                "Somebody, probably you, asked for another password. The link is good for half an hour, and once. If it was \
                 not you, there is nothing to do.",
                "set another password",
            ),
            Purpose::Confirm => (
                "confirm",
                "Confirm your address",
                "An account was made with this address. If it was you, follow the link within three days. If it was not, there \
                 is nothing to do: you will get no other mail.",
                "confirm your address",
            ),
        };
        let link = format!("{}/#{name}-{code}", self.public_url);
        let digest = Sha256::digest(code);
        let key: String = digest[..12].iter().map(|b| format!("{b:02x}")).collect();
        Notification {
            key: format!("{key}.{name}"),
            to: to.to_owned(),
            subject: subject.into(),
            text: format!("{text}\n\n{link}\n"),
            html: Some(format!(
                "<p>{text}</p>\n<p><a href=\"{link}\">{action}</a></p>\n"
            )),
            secret: None,
        }
    }

    /// The mail about an MP3: the original's text, and a link. Its key is the job's, so that it is sent once.
    pub(super) fn mp3_mail(&self, body: &Body, mp3: &str) -> Notification {
        let link = self.link(body, mp3);
        let name = called(body.file_name.as_deref());
        Notification {
            key: body.job_id.as_deref().unwrap_or(mp3).to_owned(),
            to: body.username.clone(),
            subject: "MP3 Download".into(),
            text: format!("mp3 file_id: {mp3} is now ready!\n\n{name}: {link}\n"),
            html: Some(format!(
                "<p>The MP3 of <b>{}</b> is ready: <a href=\"{link}\">play or download it</a></p>\n",
                escape(&name)
            )),
            secret: None,
        }
    }
}

/// What a mail calls the video: its file's name in quotes, in one line, and not longer than most are.
///
/// Who uploads a file chooses its name, and may have registered somebody else's address: a name must not pass for words
/// of the mail.
fn called(name: Option<&str>) -> String {
    let Some(name) = name else {
        return "your video".into();
    };
    let mut shown: String = name
        .chars()
        .filter(|c| !is_invisible(*c))
        .map(|c| match c {
            '"' => '\'',
            c if c.is_whitespace() || c.is_control() => ' ',
            c => c,
        })
        .take(MAX_NAME + 1)
        .collect();
    if shown.chars().count() > MAX_NAME {
        shown.pop();
        shown.push('\u{2026}');
    }
    format!("\"{shown}\"")
}

/// Characters that show nothing, or turn the direction of the text after them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_does_not_pass_for_the_mails_own_words() {
        let long = "Dear customer, your account was locked. Sign in at evil.example within a day to keep it.mp4";
        for (name, expected) in [
            (Some("talk.mp4"), "\"talk.mp4\""),
            (Some("a\" is ready. \"b"), "\"a' is ready. 'b\""),
            (Some("a\r\nSubject: b\u{2028}c"), "\"a  Subject: b c\""),
            (Some("\u{202e}4pm.a\u{200b}"), "\"4pm.a\""),
            (
                Some(long),
                "\"Dear customer, your account was locked. Sign in at evil.exam\u{2026}\"",
            ),
            (None, "your video"),
        ] {
            assert_eq!(called(name), expected);
        }
    }
}
