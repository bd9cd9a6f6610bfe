//! The mails.

use micropy_core::ports::jobs::Job;
use micropy_core::ports::notifier::Notification;
use sha2::{Digest as _, Sha256};

use super::NotificationService;
use crate::accounts::{MailCode, Purpose};
use crate::job::message::Body;
use crate::job::options::ConversionOptions;

/// Characters of a file's name in a mail.
const MAX_NAME: usize = 60;
/// Characters of the reason why a job failed.
const MAX_REASON: usize = 300;

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

    /// The mail that a message asks for.
    pub(super) async fn mail(&self, body: &Body) -> Notification {
        match (&body.account, &body.failure, body.job()) {
            (Some(code), ..) => self.account_mail(&body.username, code),
            (None, Some(reason), Some(job)) => {
                let job = self.ports.jobs.get(job).await;
                let reason = job.ok().and_then(|job| own_words(&job, reason));
                self.failure_mail(body, reason.as_deref())
            }
            _ => {
                let mp3 = body.mp3().map(|mp3| mp3.to_string());
                self.mp3_mail(body, &mp3.unwrap_or_default())
            }
        }
    }

    /// The mail about a failed job. Its key differs from that of an MP3: a job that is retried may succeed.
    fn failure_mail(&self, body: &Body, reason: Option<&str>) -> Notification {
        let link = self.link(body, "");
        let name = called(body.file_name.as_deref());
        let reason = reason.map_or_else(|| ".".to_owned(), |reason| format!(": {reason}"));
        Notification {
            key: format!("{}.failed", body.job_id.as_deref().unwrap_or_default()),
            to: body.username.clone(),
            subject: "MP3 conversion failed".into(),
            text: format!("{name} could not be converted{reason}\n\n{link}\n"),
            html: Some(format!(
                "<p><b>{}</b> could not be converted{}</p>\n<p><a href=\"{link}\">Look at the job</a></p>\n",
                escape(&name),
                escape(&reason)
            )),
            secret: None,
        }
    }

    /// The mail about an account. It holds nothing that its user, or whoever gave the address, has chosen.
    fn account_mail(&self, to: &str, mail: &MailCode) -> Notification {
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
    fn mp3_mail(&self, body: &Body, mp3: &str) -> Notification {
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
    match name {
        Some(name) => format!("\"{}\"", line(&name.replace('"', "'"), MAX_NAME)),
        None => "your video".into(),
    }
}

/// Why a job failed, if that is in our own words. Of videos behind URLs and of those that are joined, the reason may name
/// a URL, or a file: whoever chose it could write anything there, and mail programs make links of URLs. The page shows it.
fn own_words(job: &Job, reason: &str) -> Option<String> {
    let options = ConversionOptions::from_json(&job.options).ok()?;
    let is_foreign = job.origin.is_some() || options.videos.is_some() || reason.contains("://");
    (!is_foreign).then(|| line(reason, MAX_REASON))
}

/// A text in one line of so many characters at most, all of which can be seen.
fn line(text: &str, most: usize) -> String {
    let mut shown: String = text
        .chars()
        .filter(|c| !is_invisible(*c))
        .map(|c| match c {
            c if c.is_whitespace() || c.is_control() => ' ',
            c => c,
        })
        .take(most + 1)
        .collect();
    if shown.chars().count() > most {
        shown.pop();
        shown.push('\u{2026}');
    }
    shown
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
    use std::sync::Arc;

    use micropy_core::ports::Id;
    use micropy_core::ports::memory::MemoryNotifier;
    use micropy_core::ports::time::{ManualClock, Timestamp};

    use super::*;
    use crate::Ports;

    #[tokio::test]
    async fn why_a_job_failed_is_told_in_our_own_words_or_not_at_all() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let ports = Ports::in_memory(clock);
        let notifier = Arc::new(MemoryNotifier::default());
        let service = NotificationService::new(ports.clone(), notifier, "https://example.com");
        let told = async |byte: u8, change: fn(&mut Job), reason: &str| {
            let [id, video] = [byte, byte + 100].map(|byte| Id::from_bytes([byte; 12]));
            let mut job = Job::new(id, "ann@example.com", video, ports.clock.now());
            job.file_name = "talk.mp4".into();
            change(&mut job);
            ports.jobs.create(&job, None).await.unwrap();
            let mut body = Body::of(&job);
            body.failure = Some(reason.into());
            let mail = service.mail(&body).await;
            assert!(
                mail.text
                    .contains(&format!("https://example.com/#job-{id}"))
            );
            format!("{}{}", mail.text, mail.html.unwrap())
        };
        let plain = told(1, |_| {}, "no <audio>\r\ntrack").await;
        assert!(plain.contains("\"talk.mp4\" could not be converted: no <audio>  track\n"));
        assert!(plain.contains("could not be converted: no &lt;audio&gt;  track</p>"));
        let long = told(2, |_| {}, &"w".repeat(1000)).await;
        assert!(long.contains("www\u{2026}") && !long.contains(&"w".repeat(MAX_REASON + 1)));
        let import = |job: &mut Job| job.origin = Some("https://evil.example/a.mp4".into());
        let joined = |job: &mut Job| {
            let video = r#"{"name": "Sign in at evil.example.mp4", "bytes": 1}"#;
            job.options = format!(r#"{{"join": true, "videos": [{video}, {video}]}}"#);
        };
        for (byte, change, reason) in [
            (
                3,
                import as fn(&mut Job),
                "The video cannot be read: https://evil.example/a.mp4: status 404.",
            ),
            (
                4,
                import,
                "The video cannot be read: evil.example has no address.",
            ),
            (5, joined, "Sign in at evil.example: no audio track"),
            (6, |_: &mut Job| {}, "odd: https://evil.example"),
        ] {
            let mail = told(byte, change, reason).await;
            assert!(!mail.contains("evil"), "{mail}");
            assert!(
                mail.contains("\"talk.mp4\" could not be converted.\n"),
                "{mail}"
            );
        }
    }

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
