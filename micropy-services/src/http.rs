//! Serving HTTP to clients that may be slow, many, or gone.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use hyper::body::Incoming;
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

use crate::Limits;
use crate::telemetry;

/// Connections at the same time; more wait to be accepted.
const CONNECTIONS: usize = 4096;
/// Bytes that a connection reads ahead; a request's headers must fit.
const BUFFER: usize = 64 * 1024;
/// Uploads watch for pauses themselves, and have a better answer: they come first.
const UPLOADS_FIRST: Duration = Duration::from_secs(1);
/// Where a client is, as the proxy before us says it.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// After an error of `accept`, such as no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the client of a request is: the other end of its connection; or what the proxy there says, where
/// proxies are trusted.
#[derive(Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let unknown = ClientAddress(IpAddr::from([0, 0, 0, 0]));
        Ok(parts.extensions.get().copied().unwrap_or(unknown))
    }
}

/// The address that the nearest proxy added last: what stands before it is what the client says of itself.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?;
    let last = last.to_str().ok()?.rsplit(',').next()?;
    last.trim().parse().ok()
}

/// Serves `router` on `listener` until told to stop; requests under way then have `grace` to end.
///
/// A client whose request's headers take longer than the limit is cut off, as is one that pauses for too
/// long within a body, or takes nothing of an answer for as long.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    grace: Duration,
    stop: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .max_buf_size(BUFFER)
        .header_read_timeout(limits.header_timeout);
    let pause = limits.body_timeout + UPLOADS_FIRST;
    let router = telemetry::traced(router.layer(RequestBodyTimeoutLayer::new(pause)));
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &room)).await {
        let (stream, client, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                tracing::warn!(error = %e, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers go out at once; a client's other settings are its own affair.
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request: Request = request.map(axum::body::Body::new);
            let from = limits.trust_forwarded.then(|| forwarded(request.headers()));
            let from = from.flatten().unwrap_or(client.ip());
            request.extensions_mut().insert(ClientAddress(from));
            router.clone().oneshot(request)
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits.body_timeout));
        let stream = TokioIo::new(Box::pin(stream));
        let connection = graceful.watch(http.serve_connection(stream, service));
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(e) = connection.await {
                tracing::debug!(%client, error = %e, "the connection broke off");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests were cut off");
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = room
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

    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use futures_util::stream;
    use tokio::io::AsyncWriteExt as _;
    use tokio_util::sync::DropGuard;

    use super::*;

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_an_answer_is_cut_off() {
        let (gone, stop) = (CancellationToken::new(), CancellationToken::new());
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
        let limits = Limits {
            body_timeout: Duration::from_millis(300),
            ..Limits::default()
        };
        let router = Router::new().route("/", get(endless));
        let grace = Duration::from_secs(1);
        tokio::spawn(serve(listener, router, limits, grace, stop.clone()));

        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let began = Instant::now();
        gone.cancelled().await;
        assert!(began.elapsed() < Duration::from_secs(10));
        stop.cancel();
    }
}
