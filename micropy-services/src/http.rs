//! An HTTP server for clients that may be slow, many, or gone.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::header::STRICT_TRANSPORT_SECURITY;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::accounts::Network;
use crate::gateway::Problem;
use crate::telemetry;

/// Connections at the same time, where the process may open enough files. More wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;
/// Files that are not for connections: stores, queues, worker processes.
const OTHER_FILES: usize = 256;
/// Files that a connection may need: its socket, and the video or MP3 that it sends.
const FILES_PER_CONNECTION: usize = 2;
/// Bytes of the read buffer of a connection. The headers of a request must fit.
const BUFFER: usize = 64 * 1024;
/// Bytes of a text that a connection takes at once.
const PIECE: usize = 16 * 1024;
/// Uploads notice pauses themselves, and have a better response: they get this much time to send it.
const UPLOAD_MARGIN: Duration = Duration::from_secs(1);
/// The header in which a proxy passes on the client's address.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// The headers in which it tells how the client reached it, and what the client called it.
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";
/// For a year, browsers ask this host by HTTPS alone (RFC 6797).
const HTTPS_ALONE: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// What those get who have too many requests at a time, and after how many seconds they may try again.
const TOO_MANY: &str = "There are too many requests from your address at the same time.";
const RETRY_SECONDS: u64 = 10;
/// The pause after an error of `accept`, such as no more file descriptors. It doubles each time, up to the longest.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Connections at the same time of one of so many servers in this process: 4096, or fewer where the process may not
/// open enough files for so many (`ulimit -n`).
pub fn max_connections(servers: usize) -> usize {
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(files) => {
            let files = usize::try_from(files).unwrap_or(usize::MAX);
            connections_of(files / servers.max(1))
        }
        None => MAX_CONNECTIONS,
    }
}

/// Connections of a process that may open so many files.
fn connections_of(files: usize) -> usize {
    let for_connections = files - OTHER_FILES.min(files / 2);
    (for_connections / FILES_PER_CONNECTION).clamp(1, MAX_CONNECTIONS)
}

/// The address of a request's client, or what a trusted proxy says it is.
///
/// A [`Server`] knows it. Any other has to provide axum's `ConnectInfo`; without it, all clients seem to have one
/// address, and share their failed logins.
#[derive(Clone, Copy)]
pub(crate) struct ClientAddress(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        if let Some(address) = parts.extensions.get::<ClientAddress>() {
            return Ok(*address);
        }
        let connection = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let unknown = IpAddr::from([0, 0, 0, 0]);
        Ok(ClientAddress(
            connection.map_or(unknown, |ConnectInfo(address)| address.ip()),
        ))
    }
}

/// A request that its client sent by HTTPS, as a [`Server`] knows it: TLS ends at a proxy.
#[derive(Clone, Copy)]
pub(crate) struct OverHttps;

/// The `Host` of a client's request, where a trusted proxy has told it.
#[derive(Clone)]
pub(crate) struct ForwardedHost(pub String);

/// The last value in a header of a proxy: the nearest one added it. Those before it may be made up by the client.
fn forwarded<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let last = headers.get_all(name).iter().next_back()?;
    Some(last.to_str().ok()?.rsplit(',').next()?.trim())
}

/// A server that protects its router from slow, many and vanished clients.
///
/// It cuts off a client that takes too long to send the headers of a request, pauses for too long within a body, or
/// stops reading a response.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use micropy_services::http::Server;
/// use tokio::net::TcpListener;
/// use tokio_util::sync::CancellationToken;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let router = Router::new().route("/", get(|| async { "Hello" }));
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let shutdown = CancellationToken::new();
/// let running = tokio::spawn(Server::new(router).run(listener, shutdown.clone()));
///
/// shutdown.cancel();
/// running.await?;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    router: Router,
    header_timeout: Duration,
    body_timeout: Duration,
    grace: Duration,
    trust_forwarded: bool,
    https: bool,
    connections: usize,
}

impl Server {
    /// A server for `router`.
    pub fn new(router: Router) -> Self {
        Server {
            router,
            header_timeout: Duration::from_secs(20),
            body_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(20),
            trust_forwarded: false,
            https: false,
            connections: max_connections(1),
        }
    }

    /// Connections at the same time. One address may have half of them; of an IPv6 address, the first 64 bits count.
    /// Behind a proxy that is trusted, an address may have as many requests answered at a time, and more get 429. The
    /// default is that of an only server,
    /// [`max_connections(1)`](max_connections): servers in one process share its files.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// How long a client may take to send the headers of a request. The default is 20 seconds.
    #[must_use]
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.header_timeout = timeout;
        self
    }

    /// The longest pause within the body of a request, and of a client that does not read its response. The default is
    /// 30 seconds.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// How long requests may take to end after the shutdown. The default is 20 seconds.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Whether `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto` are trusted. Only say yes where clients
    /// reach the server through a proxy and in no other way. The default is no.
    #[must_use]
    pub fn trust_forwarded(mut self, trust: bool) -> Self {
        self.trust_forwarded = trust;
        self
    }

    /// Whether all clients reach the server by HTTPS, through a proxy that ends TLS. Responses to them tell browsers
    /// never to use anything else (RFC 6797). The default is no: then it is as a trusted proxy tells of each request.
    #[must_use]
    pub fn https(mut self, https: bool) -> Self {
        self.https = https;
        self
    }

    /// Serves on `listener` until `shutdown`, and until the requests of that time have ended.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .max_buf_size(BUFFER)
            .header_read_timeout(self.header_timeout);
        let pause = self.body_timeout + UPLOAD_MARGIN;
        let router = self.router.layer(RequestBodyTimeoutLayer::new(pause));
        let router = telemetry::traced(router);
        let graceful = GracefulShutdown::new();
        let slots = Arc::new(Semaphore::new(self.connections));
        let half = self.connections.div_ceil(2);
        let per_address = match self.trust_forwarded {
            true => self.connections,
            false => half,
        };
        let (networks, requests) = (Networks::default(), Networks::default());
        let mut pause = ACCEPT_PAUSE;
        while let Some(accepted) = shutdown
            .run_until_cancelled(accept(&listener, &slots))
            .await
        {
            let (stream, client, permit) = match accepted {
                Ok(accepted) => {
                    pause = ACCEPT_PAUSE;
                    accepted
                }
                Err(e) => {
                    if pause == ACCEPT_PAUSE {
                        tracing::warn!(error = %e, "cannot accept connections");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_ACCEPT_PAUSE);
                    continue;
                }
            };
            let Some(place) = networks.enter(client.ip(), per_address) else {
                tracing::debug!(%client, "too many connections from one address");
                continue;
            };
            // Only a delay, where it fails.
            let _ = stream.set_nodelay(true);
            let (router, requests) = (router.clone(), requests.clone());
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let mut request: Request = request.map(Body::new);
                let told = |name| match self.trust_forwarded {
                    true => forwarded(request.headers(), name),
                    false => None,
                };
                let from = told(FORWARDED_FOR).and_then(|address| address.parse().ok());
                // All connections are the proxy's, so those behind it are told apart by their requests.
                let place = from.map(|from| requests.enter(from, half));
                let host = told(FORWARDED_HOST).map(str::to_owned);
                let is_https =
                    self.https || told(FORWARDED_PROTO).is_some_and(|scheme| scheme == "https");
                let extensions = request.extensions_mut();
                extensions.insert(ClientAddress(from.unwrap_or(client.ip())));
                if is_https {
                    extensions.insert(OverHttps);
                }
                if let Some(host) = host {
                    extensions.insert(ForwardedHost(host));
                }
                let responding = router.clone().oneshot(request);
                async move {
                    let mut response: Response = match place {
                        Some(None) => Problem::too_many(RETRY_SECONDS, TOO_MANY).into_response(),
                        place => responding.await?.map(|body| hold(body, place)),
                    };
                    if is_https {
                        let headers = response.headers_mut();
                        headers.insert(STRICT_TRANSPORT_SECURITY, HTTPS_ALONE);
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(self.body_timeout));
            let stream = TokioIo::new(Box::pin(stream));
            let connection = graceful.watch(http.serve_connection(stream, service));
            tokio::spawn(async move {
                let _held = (permit, place);
                if let Err(e) = connection.await {
                    tracing::debug!(%client, error = %e, "the connection broke");
                }
            });
        }
        drop(listener);
        if tokio::time::timeout(self.grace, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("some requests were cut off");
        }
    }
}

/// A body that holds something as long as it is sent.
struct Held<T> {
    body: Body,
    _held: T,
}

/// The body, which holds `held` until it is sent or dropped.
pub(crate) fn hold<T: Unpin + Send + 'static>(body: Body, held: T) -> Body {
    Body::new(Held { body, _held: held })
}

impl<T: Unpin> HttpBody for Held<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A text as a body, which holds `held` until nearly all of it is sent.
///
/// A connection keeps in memory what it has taken from a body, and is done with the body once it has taken all. So it
/// gets a copy piece by piece, as it sends what it has.
pub(crate) fn hold_text<T: Unpin + Send + 'static>(text: String, held: T) -> Body {
    hold(Body::new(Pieces { text, sent: 0 }), held)
}

struct Pieces {
    text: String,
    sent: usize,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let rest = &self.text.as_bytes()[self.sent..];
        if rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = Bytes::copy_from_slice(&rest[..rest.len().min(PIECE)]);
        self.sent += piece.len();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.text.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.text.len() - self.sent) as u64)
    }
}

/// How many connections, or requests, each network has.
#[derive(Clone, Default)]
struct Networks(Arc<Mutex<HashMap<Network, usize>>>);

/// One that is counted until it is dropped.
struct Place {
    networks: Networks,
    network: Network,
}

impl Networks {
    /// Counts one more, unless its address's network has `most` of them.
    fn enter(&self, address: IpAddr, most: usize) -> Option<Place> {
        let network = Network::of(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(network).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place {
            networks: self.clone(),
            network,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let counts = &self.networks.0;
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = slots
        .clone()
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, client) = listener.accept().await?;
    Ok((stream, client, permit))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use futures_util::stream;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpSocket;
    use tokio_util::sync::DropGuard;

    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        for (files, connections) in [
            (1_048_576, 4096),
            (20_000, 4096),
            (1024, 384),
            (256, 64),
            (3, 1),
            (0, 1),
        ] {
            assert_eq!(connections_of(files), connections, "{files}");
        }
    }

    #[tokio::test]
    async fn one_address_has_half_of_the_connections() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shutdown = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { "ok" }));
        let server = Server::new(router).connections(6);
        tokio::spawn(server.run(listener, shutdown.clone()));
        let mut idle = Vec::new();
        for _ in 0..20 {
            idle.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        }
        // From another address of this computer.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
        let mut other = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        other
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut response = String::new();
        other.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        shutdown.cancel();
    }

    #[tokio::test]
    async fn behind_a_proxy_one_address_has_half_of_the_requests() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let endless = || async { Body::from_stream(stream::pending::<io::Result<Bytes>>()) };
        let router = Router::new()
            .route("/", get(|| async { "ok" }))
            .route("/endless", get(endless));
        let server = Server::new(router).connections(7).trust_forwarded(true);
        tokio::spawn(server.run(listener, shutdown.clone()));
        let ask = async |path: &str, from: &str| {
            let mut client = TcpStream::connect(address).await.unwrap();
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {from}\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let mut head = vec![0; 12];
            client.read_exact(&mut head).await.unwrap();
            (String::from_utf8(head).unwrap(), client)
        };
        let mut unread = Vec::new();
        for _ in 0..4 {
            let (status, client) = ask("/endless", "192.0.2.1").await;
            assert_eq!(status, "HTTP/1.1 200");
            unread.push(client);
        }
        assert_eq!(ask("/", "192.0.2.1").await.0, "HTTP/1.1 429");
        assert_eq!(ask("/", "192.0.2.2").await.0, "HTTP/1.1 200");
        unread.pop();
        let mut status = String::new();
        for _ in 0..100 {
            status = ask("/", "192.0.2.1").await.0;
            if status == "HTTP/1.1 200" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(status, "HTTP/1.1 200", "one of theirs has ended");
        shutdown.cancel();
    }

    #[test]
    fn a_house_with_ipv6_has_one_address() {
        let networks = Networks::default();
        let enter = |address: &str| networks.enter(address.parse().unwrap(), 2);
        let held = ["2001:db8:0:1::1", "2001:db8:0:1::2"].map(enter);
        assert!(held.iter().all(Option::is_some));
        assert!(enter("2001:db8:0:1:ffff::3").is_none(), "the same /64");
        assert!(enter("2001:db8:0:2::1").is_some(), "another");
        let v4 = ["192.0.2.1", "::ffff:192.0.2.1"].map(enter);
        assert!(v4.iter().all(Option::is_some) && enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop((held, v4));
        assert!(networks.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_text_is_held_until_nearly_all_of_it_is_sent() {
        let sent = Arc::new(());
        let text = "0123456789".repeat(100_000);
        let mut body = hold_text(text.clone(), sent.clone()).into_data_stream();
        let mut read = Vec::new();
        while let Some(piece) = stream::StreamExt::next(&mut body).await {
            assert_eq!(Arc::strong_count(&sent), 2, "at {}", read.len());
            let piece = piece.unwrap();
            assert!(piece.len() <= PIECE);
            read.extend_from_slice(&piece);
        }
        assert!(read == text.into_bytes());
        drop(body);
        assert_eq!(Arc::strong_count(&sent), 1);
        let empty = axum::body::to_bytes(hold_text(String::new(), ()), 1).await;
        assert!(empty.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_client_that_stops_reading_is_cut_off() {
        let (gone, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let watched = gone.clone();
        let endless = move || {
            let guard: DropGuard = watched.clone().drop_guard();
            async move {
                Body::from_stream(stream::unfold(guard, |guard| async {
                    let piece = Ok::<_, Infallible>(Bytes::from_static(&[0; 4096]));
                    Some((piece, guard))
                }))
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(endless));
        let server = Server::new(router).body_timeout(Duration::from_millis(300));
        tokio::spawn(server.run(listener, shutdown.clone()));

        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let began = Instant::now();
        gone.cancelled().await;
        assert!(began.elapsed() < Duration::from_secs(10));
        shutdown.cancel();
    }
}
