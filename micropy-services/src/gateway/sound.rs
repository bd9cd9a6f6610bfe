//! Which bytes of a video are its sound, so that a client needs to send only those.
//!
//! The client sends the video's outline: everything but the media. The response is a smaller MP4 file in parts, each of
//! which is a stretch of the client's file or bytes to put between. The client uploads that as any other file, by any
//! route: nothing is remembered, and what is uploaded is trusted no more than before.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use micropy_core::{CancelToken, Error, Outline, SoundPiece, TrackChoice, sound_only};
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::body::{Checks, Query, Rejection, checked};
use super::problem::Problem;
use super::session::Session;
use super::slots::Slots;
use crate::http;
use crate::job::options::ConversionOptions;

/// Bytes of an outline: that of ten hours of video has half as many.
const MAX_OUTLINE: usize = 32 << 20;
/// How long an outline may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(60);
/// Bytes that a sound may have beside the stretches of the video: ten hours with a large cover. They are sent in base64.
const MAX_BYTES: usize = 8 << 20;
/// Outlines that are received, and sounds that are sent, at the same time: in all and of one user.
const RECEIVED: (usize, usize) = (8, 2);
/// Outlines that are read at the same time. Each takes one core, and memory for the tables in it.
const READ: usize = 2;
/// How long a client waits for one of these.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the reading may take.
const READING: Duration = Duration::from_secs(20);

/// What limits the work on outlines.
pub struct Readers {
    receiving: Slots,
    reading: Semaphore,
}

impl Default for Readers {
    fn default() -> Self {
        Readers {
            receiving: Slots::new("outlines", RECEIVED.0, RECEIVED.1),
            reading: Semaphore::new(READ),
        }
    }
}

/// The file, and the audio track that is wanted of it.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SoundOf {
    /// Bytes of the video.
    size: u64,
    /// As in the conversion's options.
    #[param(maximum = 65535)]
    track: Option<u16>,
    /// As in the conversion's options.
    #[param(
        min_length = 2,
        max_length = 3,
        pattern = "^[A-Za-z]{2,3}$",
        example = "eng"
    )]
    language: Option<String>,
}

/// What to upload instead of the video.
#[derive(Serialize, ToSchema)]
pub struct Sound {
    /// Bytes of all parts.
    size: u64,
    /// The parts of the file to upload, one after the other.
    parts: Vec<SoundPart>,
    /// Names these parts: where it is the same again, so are they, and an upload that was begun with them can go on.
    digest: String,
    /// Why the video has to be uploaded whole, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<String>,
}

/// A part of the file to upload.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum SoundPart {
    /// These bytes, in base64.
    Bytes(String),
    /// A stretch of the video: its offset, and how many bytes it has.
    Stretch([u64; 2]),
}

impl Sound {
    fn new(size: u64, parts: Vec<SoundPart>, whole: Option<String>) -> Self {
        let mut hasher = Sha256::new();
        for part in &parts {
            match part {
                SoundPart::Bytes(bytes) => hasher.update(format!("{bytes},")),
                SoundPart::Stretch([offset, bytes]) => hasher.update(format!("{offset}+{bytes},")),
            }
        }
        let digest = hasher.finalize();
        let digest = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
        Sound {
            size,
            parts,
            digest: digest.collect(),
            whole,
        }
    }

    /// The video as it is.
    fn whole(size: u64, why: impl Into<String>) -> Self {
        Sound::new(size, vec![SoundPart::Stretch([0, size])], Some(why.into()))
    }
}

/// Get which bytes of a video are its sound.
///
/// The body is the video's outline: for each of its top-level boxes, in order, the header of 8 bytes (16 where the size
/// has 64 bits), and after it the contents of `ftyp`, `moov`, `moof`, `meta`, `udta` and `sidx`, but not of any other.
/// It may be compressed (`Content-Encoding: deflate`), which makes it half as large.
///
/// What the parts in the response make is an MP4 file, which is converted to the same MP3 as the video. Upload it in the
/// video's place, with the same options. Where that would not be so, or would save less than a tenth, the only part is
/// the video.
#[utoipa::path(
    post, path = "/api/v1/sound", tag = "uploads",
    params(
        SoundOf,
        ("Content-Encoding" = Option<String>, Header, description = "`deflate`, or none", pattern = "^(deflate|identity)$"),
    ),
    request_body(content_type = "application/octet-stream", description = "The outline: at most 32 MiB"),
    responses(
        (status = 200, description = "What to upload", body = Sound),
        (status = 400, body = Problem),
        (status = 408, description = "The outline took too long", body = Problem),
        (status = 413, description = "The outline is too large: upload the video", body = Problem),
        (status = 415, description = "Another encoding", body = Problem),
        (status = 422, description = "This is not the outline of a file of that size", body = Problem),
        (status = 429, description = "Too many at the same time; see Retry-After", body = Problem),
    )
)]
pub async fn sound(
    State(gateway): State<Shared>,
    session: Session,
    Query(of): Query<SoundOf>,
    request: Request,
) -> Result<Response, Problem> {
    gateway.check_confirmed(&session)?;
    let options = ConversionOptions {
        track: of.track,
        language: of.language,
        ..ConversionOptions::default()
    };
    let choice = options
        .engine_options()
        .map_err(Problem::bad_request)?
        .track;
    let slot = gateway.sounds.receiving.take(&session.email)?;
    let encoding = Encoding::read(request.headers())?;
    let pause = gateway.limits.body_timeout;
    let received = tokio::time::timeout(ARRIVAL, receive(request, pause)).await;
    let bytes = received.map_err(|_| Problem::from(Rejection::TooSlow))??;
    if gateway.unowned_downloads {
        let why = "The converters of this service may need the pictures.";
        return Ok(Json(Sound::whole(of.size, why)).into_response());
    }
    let permit = tokio::time::timeout(PATIENCE, gateway.sounds.reading.acquire()).await;
    let _permit = permit.map_err(|_| Problem::busy("There are too many outlines right now."))?;
    let cancel = CancelToken::new();
    let _cancelled_with_this = CancelOnDrop(cancel.clone());
    let reading = tokio::task::spawn_blocking({
        let cancel = cancel.clone();
        move || find(encoding.decode(bytes)?, of.size, &choice, &cancel)
    });
    let sound = match tokio::time::timeout(READING, reading).await {
        Ok(Ok(found)) => found?,
        Ok(Err(_)) => Sound::whole(of.size, "The outline could not be read."),
        Err(_) => Sound::whole(of.size, "Its sound could not be found in time."),
    };
    // Plain structs always serialise.
    let text = serde_json::to_string(&sound).unwrap_or_else(|e| unreachable!("{e}"));
    let body = http::hold_text(text, slot);
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Reads the body.
async fn receive(request: Request, pause: Duration) -> Result<Vec<u8>, Problem> {
    let checks = Checks {
        limit: MAX_OUTLINE as u64,
        too_large: Rejection::TooLarge(MAX_OUTLINE as u64),
        pause,
        sniff: false,
        superseded: CancellationToken::new(),
        session_ended: CancellationToken::new(),
    };
    let mut pieces = checked(request.into_body().into_data_stream(), checks);
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|e| match Rejection::of(&e) {
            Some(Rejection::TooLarge(_)) => too_large(),
            other => other.unwrap_or(Rejection::Broken).into(),
        })?;
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn too_large() -> Problem {
    let detail = format!("An outline has at most {MAX_OUTLINE} bytes: upload the video.");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// How the outline is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    /// In the format of zlib (RFC 9110, section 8.4.1.2).
    Deflate,
}

impl Encoding {
    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
            None | Some(b"identity") => Ok(Encoding::Identity),
            Some(b"deflate") => Ok(Encoding::Deflate),
            Some(_) => {
                let detail = "The encoding is deflate, or none.";
                Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
            }
        }
    }

    fn decode(self, bytes: Vec<u8>) -> Result<Vec<u8>, Problem> {
        if self == Encoding::Identity {
            return Ok(bytes);
        }
        decompress_to_vec_zlib_with_limit(&bytes, MAX_OUTLINE).map_err(|e| match e.status {
            TINFLStatus::HasMoreOutput => too_large(),
            _ => Problem::bad_request("The body is not compressed by deflate (zlib)."),
        })
    }
}

/// The sound of a video of `size` bytes with this outline.
fn find(
    outline: Vec<u8>,
    size: u64,
    choice: &TrackChoice,
    cancel: &CancelToken,
) -> Result<Sound, Problem> {
    let outline = Outline::new(outline, size).map_err(|e| {
        let detail = format!("This is not the outline of a file of {size} bytes: {e}.");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    })?;
    let sound = match sound_only(&outline, choice, cancel) {
        Ok(sound) => sound,
        Err(Error::Read(_)) => {
            let why = "It is not laid out like an MP4 file.";
            return Ok(Sound::whole(size, why));
        }
        Err(e) => {
            return Ok(Sound::whole(
                size,
                format!("Its sound cannot be taken out: {e}."),
            ));
        }
    };
    if sound.size > size / 10 * 9 {
        return Ok(Sound::whole(size, "It is little else than sound."));
    }
    let between = sound.pieces.iter().map(|piece| match piece {
        SoundPiece::Bytes(bytes) => bytes.len(),
        SoundPiece::Range(_) => 0,
    });
    if between.sum::<usize>() > MAX_BYTES {
        return Ok(Sound::whole(size, "Its tables and tags are too large."));
    }
    let parts = sound.pieces.into_iter().map(|piece| match piece {
        SoundPiece::Bytes(bytes) => SoundPart::Bytes(STANDARD.encode(bytes)),
        SoundPiece::Range(range) => SoundPart::Stretch([range.start, range.end - range.start]),
    });
    Ok(Sound::new(sound.size, parts.collect(), None))
}

/// Ends the work for a client that has gone.
struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(any(test, feature = "hostile"))]
pub mod hostile;
