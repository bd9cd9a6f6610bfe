//! Mail handed to a real mail server, which misbehaves where its recipients ask for it.

#![cfg(feature = "smtp")]
#![allow(clippy::unwrap_used)] // a test ends where something fails

#[path = "support/environment.rs"]
mod environment;
#[path = "support/server.rs"]
#[allow(dead_code)] // other tests need the rest
mod server;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use micropy_adapters::notifier::smtp::{Patience, SmtpNotifier};
use micropy_core::ports::conformance;
use micropy_core::ports::notifier::{Error, Notification, Notifier};
use url::Url;

const FROM: &str = "Micropy <micropy@example.org>";

/// The mail server.
struct Mailbox {
    starttls: Url,
    implicit: Url,
    plain: Url,
    folder: PathBuf,
}

/// A mail that it kept, and what it knows of its delivery.
struct Kept {
    content: String,
    about: String,
}

impl Kept {
    fn line(&self, name: &str) -> &str {
        let mut lines = self.content.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("no {name} in\n{}", self.content))
    }

    fn peer(&self) -> &str {
        self.about.rsplit_once("\"peer\": ").unwrap().1
    }
}

impl Mailbox {
    fn new(test: &str) -> Option<Self> {
        let variable = |name| environment::variable(name, test);
        let url = |name| Some(variable(name)?.parse().unwrap());
        Some(Mailbox {
            starttls: url("MICROPY_TEST_SMTP_URL")?,
            implicit: url("MICROPY_TEST_SMTPS_URL")?,
            plain: url("MICROPY_TEST_SMTP_PLAIN_URL")?,
            folder: variable("MICROPY_TEST_SMTP_DIR")?.into(),
        })
    }

    /// All mails to an address, in the order in which they came.
    fn mails(&self, to: &str) -> Vec<Kept> {
        let names = fs::read_dir(&self.folder).unwrap();
        let names: BTreeSet<_> = names.map(|entry| entry.unwrap().path()).collect();
        let mails = names
            .iter()
            .filter(|p| p.extension() == Some("eml".as_ref()));
        let kept = mails.map(|path| Kept {
            content: fs::read_to_string(path).unwrap(),
            about: fs::read_to_string(path.with_extension("json")).unwrap(),
        });
        let to = format!("\"to\": [\"{to}\"]");
        kept.filter(|kept| kept.about.contains(&to)).collect()
    }
}

/// Short enough for tests, long enough for a busy machine.
fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(3),
        command: Duration::from_secs(4),
        whole: Duration::from_secs(10),
    }
}

fn notifier(url: &Url) -> SmtpNotifier {
    let notifier = SmtpNotifier::new(url.as_str(), FROM).unwrap();
    notifier.with_patience(patience())
}

fn news(to: &str) -> Notification {
    let key: String = to.chars().filter(char::is_ascii_alphanumeric).collect();
    Notification {
        key,
        to: to.into(),
        subject: "MP3 Download".into(),
        text: "mp3 file_id: 0123456789abcdef01234567 is now ready!".into(),
        html: Some("<p>Your MP3 is ready: K\u{fc}che &amp; Bad.</p>".into()),
        secret: None,
    }
}

fn passes(answer: &Result<(), Error>) -> bool {
    matches!(answer, Err(Error::Unavailable(_)))
}

fn is_final(answer: &Result<(), Error>) -> bool {
    matches!(answer, Err(Error::Rejected(_)))
}

fn is_the_operators(answer: &Result<(), Error>) -> bool {
    matches!(answer, Err(Error::Backend { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn suite() {
    let Some(mailbox) = Mailbox::new("smtp suite") else {
        return;
    };
    for url in [&mailbox.starttls, &mailbox.implicit, &mailbox.plain] {
        let before = mailbox.mails("ann@example.com").len();
        conformance::notifier::run(&notifier(url)).await;
        let mails = mailbox.mails("ann@example.com").split_off(before);
        assert_eq!(mails.len(), 2, "the same news twice");
        for mail in mails {
            assert_eq!(mail.line("From"), FROM);
            assert_eq!(mail.line("To"), "ann@example.com");
            assert_eq!(mail.line("Subject"), "MP3 Download");
            let id = "<0123456789abcdef01234567@example.org>";
            assert_eq!(mail.line("Message-ID"), id);
            assert!(mail.line("Date").ends_with(" +0000"));
            let text = "mp3 file_id: 0123456789abcdef01234567 is now ready!";
            assert!(mail.content.lines().any(|line| line == text));
            assert!(mail.content.contains("Content-Type: text/html"));
            let private = mail
                .about
                .contains("\"tls\": true, \"user\": \"ann@example.com\"");
            assert_eq!(private, url != &mailbox.plain, "{}", mail.about);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_tell_whose_turn_it_is() {
    let Some(mailbox) = Mailbox::new("smtp replies") else {
        return;
    };
    let notifier = notifier(&mailbox.starttls);
    for wish in ["421", "450", "451", "452", "data421", "data450", "data452"] {
        let to = format!("{wish}@replies.example.com");
        let answer = notifier.notify(&news(&to)).await;
        assert!(passes(&answer), "{wish}: {answer:?}");
        assert!(mailbox.mails(&to).is_empty());
    }
    for wish in ["550", "551", "553", "554", "data550", "data552", "data554"] {
        let to = format!("{wish}@replies.example.com");
        let answer = notifier.notify(&news(&to)).await;
        assert!(is_final(&answer), "{wish}: {answer:?}");
        let told = answer.unwrap_err().to_string();
        assert!(told.contains("the recipient asked for it"), "{told}");
        assert!(mailbox.mails(&to).is_empty());
    }
    let answer = notifier.notify(&news("530@replies.example.com")).await;
    assert!(is_the_operators(&answer), "{answer:?}");

    for (from, passing) in [("550@example.org", false), ("451@example.org", true)] {
        let notifier = SmtpNotifier::new(mailbox.starttls.as_str(), from).unwrap();
        let answer = notifier.notify(&news("ann@replies.example.com")).await;
        assert_eq!(passes(&answer), passing, "{answer:?}");
        assert_eq!(is_the_operators(&answer), !passing, "{answer:?}");
    }
    // None of this keeps a good mail from its way.
    let good = "good@replies.example.com";
    notifier.notify(&news(good)).await.unwrap();
    assert_eq!(mailbox.mails(good).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_tried_again_until_the_250() {
    let Some(mailbox) = Mailbox::new("smtp drops") else {
        return;
    };
    let notifier = notifier(&mailbox.starttls);
    // What went wrong, and how many mails there are then: the server took it, but did not say so.
    for (wish, kept) in [
        ("hang", 0),
        ("hangdata", 0),
        ("dropdata", 0),
        ("dropcontent", 0),
        ("drop250", 1),
        ("421", 0),
        ("data451", 0),
    ] {
        let to = format!("once-{wish}@drops.example.com");
        let begun = Instant::now();
        let answer = notifier.notify(&news(&to)).await;
        assert!(passes(&answer), "{wish}: {answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(12), "{wish}");
        assert_eq!(mailbox.mails(&to).len(), kept, "{wish}");

        notifier.notify(&news(&to)).await.unwrap();
        let mails = mailbox.mails(&to);
        assert_eq!(mails.len(), kept + 1, "{wish}");
        let ids: BTreeSet<_> = mails.iter().map(|mail| mail.line("Message-ID")).collect();
        assert_eq!(ids.len(), 1, "one mail to whoever reads it");
    }
    // Whatever comes after the 250 is not the mail's concern, and the next goes another way.
    for _ in 0..2 {
        let to = "after250@drops.example.com";
        notifier.notify(&news(to)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mails = mailbox.mails("after250@drops.example.com");
    assert_eq!(mails.len(), 2);
    assert_ne!(mails[0].peer(), mails[1].peer());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again_and_renewed() {
    let Some(mailbox) = Mailbox::new("smtp connections") else {
        return;
    };
    let port = mailbox.starttls.port().unwrap();
    let line = server::Line::to(([127, 0, 0, 1], port).into()).await;
    let mut url = mailbox.starttls.clone();
    url.set_port(Some(line.address.port())).unwrap();
    let notifier = notifier(&url);
    let to = "ann@connections.example.com";
    for _ in 0..2 {
        notifier.notify(&news(to)).await.unwrap();
    }
    line.cut().await;
    let answer = notifier.notify(&news(to)).await;
    assert!(passes(&answer), "{answer:?}");
    line.mend();
    notifier.notify(&news(to)).await.unwrap();
    line.cut().await;
    line.mend();
    notifier.notify(&news(to)).await.unwrap();

    let mails = mailbox.mails(to);
    let peers: Vec<_> = mails.iter().map(Kept::peer).collect();
    assert_eq!(peers.len(), 4);
    assert_eq!(peers[0], peers[1], "one connection for two mails");
    let different: BTreeSet<_> = peers.into_iter().collect();
    assert_eq!(different.len(), 3, "and a new one after each cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_mails_at_once_arrive() {
    let Some(mailbox) = Mailbox::new("smtp many") else {
        return;
    };
    let notifier = std::sync::Arc::new(notifier(&mailbox.starttls));
    let send = |i: usize| {
        let notifier = notifier.clone();
        tokio::spawn(async move {
            let to = format!("ann{i}@many.example.com");
            notifier.notify(&news(&to)).await
        })
    };
    let tasks: Vec<_> = (0..20).map(send).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let mut peers = BTreeSet::new();
    for i in 0..20 {
        let mails = mailbox.mails(&format!("ann{i}@many.example.com"));
        assert_eq!(mails.len(), 1);
        peers.insert(mails[0].peer().to_owned());
    }
    assert!(peers.len() <= 4, "{} connections", peers.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_fails_is_the_operators() {
    let Some(mailbox) = Mailbox::new("smtp login") else {
        return;
    };
    let to = "ann@login.example.com";
    let mut nobody = mailbox.starttls.clone();
    nobody.set_username("").unwrap();
    nobody.set_password(None).unwrap();
    let answer = notifier(&nobody).notify(&news(to)).await;
    assert!(is_the_operators(&answer), "none at all: {answer:?}");

    // The server repeats the password in its reply.
    for (user, passing) in [("ann@example.com", false), ("550", false), ("454", true)] {
        let notifier = notifier(&nobody).with_login(user, "hidden-word");
        let answer = notifier.notify(&news(to)).await;
        assert_eq!(passes(&answer), passing, "{user}: {answer:?}");
        assert_eq!(is_the_operators(&answer), !passing, "{user}: {answer:?}");
        let e = answer.unwrap_err();
        let told = format!("{e} {e:?} {notifier:?}");
        assert!(told.contains(".7."), "the code is told: {told}");
        assert!(!told.contains("hidden"), "the password is not: {told}");
    }
    assert!(mailbox.mails(to).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_where_others_could_read_it() {
    let Some(mailbox) = Mailbox::new("smtp tls") else {
        return;
    };
    let to = "ann@tls.example.com";
    let without = |url: &Url, query: Option<&str>| {
        let mut url = url.clone();
        url.set_query(query);
        url
    };
    let host = |url: &Url, host: &str| {
        let mut url = url.clone();
        url.set_host(Some(host)).unwrap();
        url
    };
    let mut no_tls_there = mailbox.implicit.clone();
    no_tls_there.set_port(mailbox.plain.port()).unwrap();
    for (case, url) in [
        ("unknown authority", without(&mailbox.starttls, None)),
        ("unknown authority", without(&mailbox.implicit, None)),
        ("no STARTTLS", without(&mailbox.plain, None)),
        ("no TLS", no_tls_there),
    ] {
        let answer = notifier(&url).notify(&news(to)).await;
        assert!(is_the_operators(&answer), "{case}: {answer:?}");
    }
    let opportunistic = without(&mailbox.plain, Some("tls=opportunistic"));
    let with_password = notifier(&opportunistic).with_login("ann@example.com", "secret");
    let answer = with_password.notify(&news(to)).await;
    assert!(is_the_operators(&answer), "{answer:?}");
    assert!(mailbox.mails(to).is_empty());

    notifier(&opportunistic).notify(&news(to)).await.unwrap();
    let ca = mailbox.starttls.query().unwrap();
    let both = without(&mailbox.starttls, Some(&format!("{ca}&tls=opportunistic")));
    notifier(&both).notify(&news(to)).await.unwrap();
    let named = host(&mailbox.starttls, "localhost");
    notifier(&named).notify(&news(to)).await.unwrap();
    let mails = mailbox.mails(to);
    let private = mails
        .iter()
        .map(|mail| mail.about.contains("\"tls\": true"));
    assert_eq!(private.collect::<Vec<_>>(), [false, true, true]);
}

#[cfg(target_os = "linux")] // where all of 127.0.0.0/8 is this machine
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_for_one_host() {
    let Some(mailbox) = Mailbox::new("smtp certificate") else {
        return;
    };
    let to = "ann@certificate.example.com";
    // 127.0.0.2 leads to the server by a line of our own, but is not in its certificate.
    let port = mailbox.implicit.port().unwrap();
    let line = server::Line::at("127.0.0.2:0", ([127, 0, 0, 1], port).into()).await;
    let mut url = mailbox.implicit.clone();
    url.set_host(Some("127.0.0.2")).unwrap();
    url.set_port(Some(line.address.port())).unwrap();
    let answer = notifier(&url).notify(&news(to)).await;
    assert!(is_the_operators(&answer), "{answer:?}");
    assert!(mailbox.mails(to).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_may_come() {
    let patience = Patience {
        connect: Duration::from_secs(1),
        command: Duration::from_secs(1),
        whole: Duration::from_secs(2),
    };
    for address in [server::nobody().await, server::silent().await] {
        for scheme in ["smtp", "smtps"] {
            let url = format!("{scheme}://{address}");
            let notifier = SmtpNotifier::new(&url, FROM).unwrap();
            let notifier = notifier.with_patience(patience);
            let begun = Instant::now();
            let answer = notifier.notify(&news("ann@example.com")).await;
            assert!(passes(&answer), "{answer:?}");
            assert!(begun.elapsed() < Duration::from_secs(6));
        }
    }
    assert_eq!(Patience::default().whole, Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_in_other_letters_find_their_way() {
    let Some(mailbox) = Mailbox::new("smtp letters") else {
        return;
    };
    // A domain has a form in ASCII, which every server takes.
    for url in [&mailbox.starttls, &mailbox.plain] {
        let to = news("ann@ex\u{e4}mple.com");
        notifier(url).notify(&to).await.unwrap();
    }
    let mails = mailbox.mails("ann@xn--exmple-cua.com");
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].line("To"), "ann@xn--exmple-cua.com");

    // What stands before it has none.
    let to = news("j\u{fc}rgen@letters.example.com");
    notifier(&mailbox.starttls).notify(&to).await.unwrap();
    let mails = mailbox.mails("j\\u00fcrgen@letters.example.com");
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].line("To"), "j\u{fc}rgen@letters.example.com");
    assert!(mails[0].about.contains("SMTPUTF8"), "{}", mails[0].about);
    let answer = notifier(&mailbox.plain).notify(&to).await;
    assert!(is_final(&answer), "{answer:?}");
}

#[tokio::test]
async fn what_would_break_a_header_is_refused() {
    let notifier = SmtpNotifier::new("smtp://127.0.0.1:9", FROM).unwrap();
    for key in ["", ".", "a b", "a\r\nBcc: eve@example.com", "a>"] {
        let odd = Notification {
            key: key.into(),
            ..news("ann@example.com")
        };
        let answer = notifier.notify(&odd).await;
        assert!(is_final(&answer), "{key:?}: {answer:?}");
    }
    for to in [
        "",
        "ann",
        "ann@example.com\r\nBcc: eve@example.com",
        "a@b>, <c@d",
    ] {
        let answer = notifier.notify(&news(to)).await;
        assert!(is_final(&answer), "{to:?}: {answer:?}");
    }
}

#[test]
fn a_url_that_is_none_is_named_without_its_password() {
    for url in [
        "",
        "mail.example.com",
        "http://ann:hidden-word@mail.example.com",
        "smtp://ann:hidden-word@mail.example.com:port",
        "smtp://ann:hidden-word@mail.example.com?tls=perhaps",
        "smtps://ann:hidden-word@mail.example.com?tls=none",
        "smtp://ann:hidden-word@mail.example.com?tsl=none",
        "smtp://ann:hidden-word@mail.example.com/inbox",
        "smtp://ann:hidden-word@mail.example.com?ca=/nowhere/ca.pem",
        "smtp://ann:hidden%FFword@mail.example.com",
        "smtp://ann@mail.example.com",
        "smtp:///",
    ] {
        let e = SmtpNotifier::new(url, FROM).expect_err(url);
        let told = format!("{e} {e:?}");
        assert!(!told.contains("hidden"), "{told}");
    }
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("ca.pem");
    fs::write(&empty, "no certificate").unwrap();
    let url = format!("smtp://mail.example.com?ca={}", empty.display());
    let e = SmtpNotifier::new(&url, FROM).unwrap_err();
    assert!(e.to_string().ends_with("the file holds none"), "{e}");
    assert!(SmtpNotifier::new("smtp://mail.example.com", "nobody").is_err());
}
