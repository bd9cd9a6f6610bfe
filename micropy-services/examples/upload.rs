//! A web service in one handler: a video goes in as the body of a request, and its MP3 comes out as the body of the
//! response, while the video still arrives.
//!
//! ```sh
//! cargo run -p micropy-services --example upload -- 127.0.0.1:8080
//! curl --data-binary @talk.mp4 http://127.0.0.1:8080/mp3 >talk.mp3
//! ```
//!
//! Nothing is kept, and memory does not grow with the video: each side waits for the other. A video whose `moov` is at
//! its end is spooled to a temporary file first. A client that goes away ends its conversion. It takes axum, tokio and
//! micropy-core with its feature `tokio`, and nothing else of this crate.

use std::io;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use micropy_core::{AsyncSource, Converter, Options};
use tokio::net::TcpListener;

/// Bytes of a video that may have to be spooled.
const SPOOL: u64 = 4 << 30;

/// The route, for an application of yours.
pub fn router() -> Router {
    Router::new().route("/mp3", post(mp3))
}

/// Converts the body of a request.
async fn mp3(video: Body) -> Response {
    let video = AsyncSource::from_stream(video.into_data_stream()).spool_limit(SPOOL);
    let mut mp3 = Converter::new(Options::new()).into_stream(video);
    // The status goes before the MP3: so wait for its first bytes, or for the reason why there are none. What fails
    // after that breaks the response off, so that nobody takes the part for the whole.
    match mp3.started().await {
        Ok(()) => ([(CONTENT_TYPE, "audio/mpeg")], Body::from_stream(mp3)).into_response(),
        Err(why) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            why.with_causes().to_string(),
        )
            .into_response(),
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:8080")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, router()).await
}
