//! A web service in one handler: a video goes in as the body of a request, and its MP3 comes out as the body of the
//! response, while the video still arrives.
//!
//! ```sh
//! cargo run -p micropy-services --example upload -- 127.0.0.1:8080
//! curl --data-binary @talk.mp4 http://127.0.0.1:8080/mp3 >talk.mp3
//! ```
//!
//! Nothing is kept, and memory does not grow with the video: each side waits for the other. A video whose `moov` is at
//! its end is spooled to a temporary file first. It takes micropy-core, axum, futures-util, tokio and tokio-util, and
//! nothing else of this crate.

use std::io;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::{StreamExt, TryStreamExt, stream};
use micropy_core::{Converter, Options, StreamSink, StreamSource};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

/// Bytes of the MP3 that may wait for the client.
const WINDOW: usize = 64 * 1024;

/// The route, for an application of yours.
pub fn router() -> Router {
    Router::new().route("/mp3", post(mp3))
}

/// Converts the body of a request.
async fn mp3(video: Body) -> Response {
    let video = StreamReader::new(video.into_data_stream().map_err(io::Error::other));
    let (mut mp3, sink) = tokio::io::duplex(WINDOW);
    let (video, sink) = (SyncIoBridge::new(video), SyncIoBridge::new(sink));
    // The engine is synchronous, and works on all cores: it runs beside the runtime. A client that goes away ends its
    // reading or its writing, and with it the conversion.
    let conversion = tokio::task::spawn_blocking(move || {
        Converter::new(Options::new())
            .convert(StreamSource::new(video), StreamSink::new(sink))
            .map_err(|e| e.with_causes().to_string())
    });

    // The status goes before the MP3: so wait for its first bytes, or for the reason why there are none.
    let mut first = vec![0; WINDOW];
    let read = mp3.read(&mut first).await;
    if !matches!(read, Ok(1..)) {
        return match conversion.await {
            Ok(Err(why)) => (StatusCode::UNPROCESSABLE_ENTITY, why).into_response(),
            _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        };
    }
    first.truncate(read.unwrap_or_default());

    // What fails after that breaks the response off, so that nobody takes the part for the whole.
    let end = stream::once(conversion).filter_map(|ended| async {
        match ended {
            Ok(Ok(_)) => None,
            Ok(Err(why)) => Some(Err(io::Error::other(why))),
            Err(panic) => Some(Err(io::Error::other(panic))),
        }
    });
    let body = stream::once(async { Ok(Bytes::from(first)) })
        .chain(ReaderStream::new(mp3))
        .chain(end);
    ([(CONTENT_TYPE, "audio/mpeg")], Body::from_stream(body)).into_response()
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:8080")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, router()).await
}
