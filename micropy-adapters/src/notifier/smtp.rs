//! Mail for a mail server, by the submission protocol (RFC 5321, RFC 6409).
//!
//! A mail is delivered when the server has answered 250 to its content. If the connection breaks before that, the
//! server may or may not have it: it is sent again, with the same Message-ID.

use std::borrow::Cow;
use std::error::Error as _;
use std::fmt;
use std::fs;
use std::future::Future;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lettre::address::Envelope;
use lettre::message::Mailbox;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Noop, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use micropy_core::ports::notifier::{Error, Notification, Notifier};
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;
use url::{Host, Url};

use super::message::compose;

/// The adapter's name in errors.
const NAME: &str = "SMTP";

/// Mails under way at the same time, each over a connection of its own.
const CONNECTIONS: usize = 4;
/// How long an idle connection may be used again: servers close theirs after some minutes.
const IDLE: Duration = Duration::from_secs(60);
/// How long an idle connection may take to prove that it is alive, and a broken one to close.
const SHORT: Duration = Duration::from_secs(3);
/// How much of a server's reply goes into an error, in characters.
const MAX_REPLY: usize = 300;

/// How long to wait for a mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the connection.
    pub connect: Duration,
    /// For the reply to one command.
    pub command: Duration,
    /// For a whole mail, all of it together.
    pub whole: Duration,
}

impl Default for Patience {
    /// 10, 30 and 60 seconds.
    fn default() -> Self {
        Patience {
            connect: Duration::from_secs(10),
            command: Duration::from_secs(30),
            whole: Duration::from_secs(60),
        }
    }
}

/// Who may read along.
#[derive(Clone)]
enum Security {
    /// Everybody.
    None,
    /// Everybody, if the server knows no STARTTLS. Passwords are then not sent.
    Opportunistic(TlsParameters),
    /// STARTTLS, or nothing is sent.
    Required(TlsParameters),
    /// TLS from the first byte.
    Implicit(TlsParameters),
}

/// A mail server.
pub struct SmtpNotifier {
    host: String,
    port: u16,
    security: Security,
    login: Option<Credentials>,
    from: Mailbox,
    patience: Patience,
    slots: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

impl SmtpNotifier {
    /// The server at `url`, for mail from the address `from`. The first mail connects.
    ///
    /// - `smtp://user:password@host:587` requires STARTTLS. With `?tls=opportunistic` it does without if the server has
    ///   none, but then never sends a password. With `?tls=none` it does not ask for it.
    /// - `smtps://user:password@host:465` uses TLS from the first byte.
    ///
    /// Characters like `@` and `/` in user and password are percent-encoded. Certificates are verified
    /// against Mozilla's authorities and those in the PEM file of `?ca=/path.pem`.
    pub fn new(url: &str, from: &str) -> io::Result<Self> {
        let mut from: Mailbox = from
            .parse()
            .map_err(|e| invalid(format!("{from:?} is not an address: {e}")))?;
        if let Ok(ascii) = ascii_domain(from.email.as_ref()).parse() {
            from.email = ascii;
        }
        let url = Url::parse(url).map_err(|e| not_a_url(&e))?;
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => decoded(&host.to_string())?,
            None => return Err(not_a_url(&"there is no host")),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(not_a_url(&"only ?tls= and ?ca= may follow the host"));
        }
        let (mut tls, mut ca) = (None, None);
        for (name, value) in url.query_pairs() {
            match &*name {
                "tls" => tls = Some(value),
                "ca" => ca = Some(value),
                _ => {
                    return Err(not_a_url(&format_args!(
                        "{name:?} is not a known parameter"
                    )));
                }
            }
        }
        let parameters = || tls_parameters(&host, ca.as_deref());
        let (port, security) = match (url.scheme(), tls.as_deref()) {
            ("smtp", None | Some("required")) => (587, Security::Required(parameters()?)),
            ("smtp", Some("opportunistic")) => (587, Security::Opportunistic(parameters()?)),
            ("smtp", Some("none")) => (587, Security::None),
            ("smtps", None | Some("required")) => (465, Security::Implicit(parameters()?)),
            ("smtp" | "smtps", Some(tls)) => {
                return Err(not_a_url(&format_args!("tls={tls} is not possible here")));
            }
            _ => return Err(not_a_url(&"it begins with neither smtp:// nor smtps://")),
        };
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            (user, Some(password)) => Some(Credentials::new(decoded(user)?, decoded(password)?)),
            (_, None) => return Err(not_a_url(&"there is a user, but no password")),
        };
        Ok(SmtpNotifier {
            port: url.port().unwrap_or(port),
            host,
            security,
            login,
            from,
            patience: Patience::default(),
            slots: Semaphore::new(CONNECTIONS),
            idle: Mutex::default(),
        })
    }

    /// Logs in as `user`, if the password should not be in the URL.
    pub fn with_login(mut self, user: &str, password: &str) -> Self {
        self.login = Some(Credentials::new(user.to_owned(), password.to_owned()));
        self
    }

    /// Chooses how long to wait.
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    async fn deliver(&self, envelope: &Envelope, mail: &[u8]) -> Result<(), Error> {
        let _slot = self.slots.acquire().await.map_err(|e| Error::Backend {
            adapter: NAME,
            cause: e.into(),
        })?;
        let mut connection = self.connection().await?;
        let sent = self.send(&mut connection, envelope, mail).await;
        match &sent {
            Ok(()) => self.idle().push(Idle {
                connection,
                since: Instant::now(),
            }),
            // The mail's fate is known already, whether this works or not.
            Err(_) => drop(tokio::time::timeout(SHORT, connection.abort()).await),
        }
        sent
    }

    /// A connection that is alive: an idle one, or a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, Error> {
        loop {
            let Some(mut idle) = self.idle().pop() else {
                return self.connect().await;
            };
            let fresh = idle.since.elapsed() < IDLE;
            let noop = tokio::time::timeout(SHORT, idle.connection.command(Noop));
            if fresh && matches!(noop.await, Ok(Ok(_))) {
                return Ok(idle.connection);
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let hello = ClientId::default();
        let implicit = match &self.security {
            Security::Implicit(tls) => Some(tls.clone()),
            _ => None,
        };
        let connecting = AsyncSmtpConnection::connect_tokio1(
            (self.host.as_str(), self.port),
            Some(self.patience.connect),
            &hello,
            implicit,
            None,
        );
        let mut connection = self.reply(Step::Connect, connecting).await?;
        match &self.security {
            Security::Required(tls) => {
                let starting = connection.starttls(tls.clone(), &hello);
                self.reply(Step::StartTls, starting).await?;
            }
            Security::Opportunistic(tls) if connection.can_starttls() => {
                let starting = connection.starttls(tls.clone(), &hello);
                self.reply(Step::StartTls, starting).await?;
            }
            Security::Opportunistic(_) if self.login.is_some() => {
                return Err(backend(Step::Login, "no password is sent without TLS"));
            }
            _ => {}
        }
        if let Some(login) = &self.login {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            let auth = connection.auth(&mechanisms, login);
            self.reply(Step::Login, auth).await?;
        }
        Ok(connection)
    }

    async fn send(
        &self,
        connection: &mut AsyncSmtpConnection,
        envelope: &Envelope,
        mail: &[u8],
    ) -> Result<(), Error> {
        let mut parameters = Vec::new();
        // Text is encoded. So only an address can contain other bytes than ASCII (RFC 6531).
        let mut addresses = envelope.to().iter().chain(envelope.from());
        let plain = addresses.all(|a| AsRef::<str>::as_ref(a).is_ascii());
        if !plain || !mail.is_ascii() {
            let server = connection.server_info();
            let needed = [Extension::SmtpUtfEight, Extension::EightBitMime];
            if !needed.iter().all(|e| server.supports_feature(*e)) {
                let why = "the mail server takes only addresses in ASCII";
                return Err(Error::Rejected(why.into()));
            }
            parameters.push(MailParameter::SmtpUtfEight);
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let from = Mail::new(envelope.from().cloned(), parameters);
        self.reply(Step::Sender, connection.command(from)).await?;
        for to in envelope.to() {
            let to = Rcpt::new(to.clone(), Vec::new());
            self.reply(Step::Recipient, connection.command(to)).await?;
        }
        self.reply(Step::Data, connection.command(Data)).await?;
        self.reply(Step::Content, connection.message(mail)).await?;
        Ok(())
    }

    /// Waits for a reply for a limited time.
    async fn reply<T>(
        &self,
        step: Step,
        asked: impl Future<Output = Result<T, smtp::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.patience.command, asked).await {
            Ok(answered) => answered.map_err(|e| error(step, &e)),
            Err(elapsed) => Err(unavailable(step, elapsed)),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SmtpNotifier {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpNotifier")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Notifier for SmtpNotifier {
    async fn notify(&self, notification: &Notification) -> Result<(), Error> {
        let mut notification = Cow::Borrowed(notification);
        if let Cow::Owned(to) = ascii_domain(&notification.to) {
            notification.to_mut().to = to;
        }
        let mail = compose(&self.from, &notification)?;
        let content = mail.formatted();
        let delivery = self.deliver(mail.envelope(), &content);
        match tokio::time::timeout(self.patience.whole, delivery).await {
            Ok(delivered) => delivered?,
            Err(elapsed) => return Err(unavailable(Step::Whole, elapsed)),
        }
        tracing::info!(
            to = notification.to,
            subject = notification.subject,
            key = notification.key,
            "mail handed to the mail server"
        );
        Ok(())
    }
}

/// An address whose domain is in ASCII (`xn--…`, RFC 5890), which every mail server takes.
fn ascii_domain(address: &str) -> Cow<'_, str> {
    let Some((user, domain)) = address.rsplit_once('@').filter(|(_, d)| !d.is_ascii()) else {
        return Cow::Borrowed(address);
    };
    // With a display name, as in `Ann <ann@example.com>`, it ends in a bracket.
    let (domain, end) = match domain.strip_suffix('>') {
        Some(domain) => (domain, ">"),
        None => (domain, ""),
    };
    match Host::parse(domain) {
        Ok(Host::Domain(ascii)) => Cow::Owned(format!("{user}@{ascii}{end}")),
        _ => Cow::Borrowed(address),
    }
}

fn tls_parameters(host: &str, ca: Option<&str>) -> io::Result<TlsParameters> {
    let mut tls = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca {
        let failed = |why: &dyn fmt::Display| invalid(format!("the certificates in {path}: {why}"));
        let pem = fs::read(path).map_err(|e| io::Error::new(e.kind(), failed(&e)))?;
        if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
            return Err(failed(&"the file holds none"));
        }
        let certificates = Certificate::from_pem(&pem).map_err(|e| failed(&e))?;
        tls = tls.add_root_certificate(certificates);
    }
    tls.build().map_err(io::Error::other)
}

fn decoded(text: &str) -> io::Result<String> {
    let text = percent_decode_str(text).decode_utf8();
    Ok(text.map_err(|e| not_a_url(&e))?.into_owned())
}

/// Does not repeat the URL, which may hold a password.
fn not_a_url(why: &dyn fmt::Display) -> io::Error {
    invalid(format!("the URL of the mail server is not valid: {why}"))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// How far a delivery got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Connect,
    StartTls,
    Login,
    Sender,
    Recipient,
    Data,
    Content,
    Whole,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Connect => "at the connection",
            Step::StartTls => "at STARTTLS",
            Step::Login => "at the login",
            Step::Sender => "at the sender",
            Step::Recipient => "at the recipient",
            Step::Data => "before the content",
            Step::Content => "after the content",
            Step::Whole => "in all",
        })
    }
}

/// What failed at the mail server, and at which step.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {what}")]
struct Fault {
    step: Step,
    what: String,
}

impl Fault {
    fn new(step: Step, what: impl fmt::Display) -> Box<Self> {
        let what = what.to_string().replace(char::is_control, " ");
        let what = what.chars().take(MAX_REPLY).collect();
        Box::new(Fault { step, what })
    }
}

fn unavailable(step: Step, what: impl fmt::Display) -> Error {
    Error::Unavailable(Fault::new(step, what))
}

fn backend(step: Step, what: impl fmt::Display) -> Error {
    Error::Backend {
        adapter: NAME,
        cause: Fault::new(step, what),
    }
}

/// Who can do something about an error: we, by trying again; the operator; or nobody.
fn error(step: Step, e: &smtp::Error) -> Error {
    let Some(code) = e.status() else {
        return match () {
            () if breaks_tls(e) || e.is_client() || e.is_tls() => backend(step, e),
            // A lost or refused connection, or half a reply.
            () if io_error(e).is_some() || e.is_response() => unavailable(step, e),
            () => backend(step, e),
        };
    };
    let code = code.to_string();
    // Some servers repeat what they were sent. So of a reply to a password only the codes are reported.
    let what = match step {
        Step::Login => format!("{code} {}", enhanced(e)).trim_end().to_owned(),
        _ => e.to_string(),
    };
    if e.is_transient() {
        return unavailable(step, what);
    }
    // A login is required or no longer valid, or TLS is required: not the recipient's fault (RFC 4954).
    let ours = ["530", "534", "535", "538"].contains(&code.as_str());
    match step {
        Step::Recipient | Step::Data | Step::Content if !ours => {
            Error::Rejected(Fault::new(step, what).to_string())
        }
        _ => backend(step, what),
    }
}

/// The enhanced status code (RFC 3463) at the start of a reply, such as `5.7.8`.
fn enhanced(e: &smtp::Error) -> String {
    let text = e.source().map(ToString::to_string).unwrap_or_default();
    let word = text.split_whitespace().next().unwrap_or_default();
    let plain =
        |word: &&str| word.len() <= 11 && word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    Some(word).filter(plain).unwrap_or_default().to_owned()
}

fn io_error(e: &smtp::Error) -> Option<&io::Error> {
    let mut source = e.source();
    while let Some(e) = source {
        if let Some(e) = e.downcast_ref() {
            return Some(e);
        }
        source = e.source();
    }
    None
}

/// Whether TLS failed: the certificate is not trusted, or the server does not offer TLS.
fn breaks_tls(e: &smtp::Error) -> bool {
    io_error(e).is_some_and(|e| e.kind() == io::ErrorKind::InvalidData)
}
