//! The page: HTML, styles and scripts of `web/`, compiled into this binary.
//!
//! The path of everything the page loads contains a hash of all of it, so browsers may cache it forever. They ask for
//! the page itself each time, and get 304 while it is the same.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use micropy_services::gateway::Problem;

/// Everything comes from this server and nothing is inline; covers of MP3s are `blob:`. The hash is that of the one
/// style sheet that wavesurfer.js writes into its own shadow tree, for a waveform 64 pixels high.
const POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self' 'sha256-fF0LBso7Nz75zaFRDBUefBDvPe19hjaiDnnc8lt+2Js='; \
    img-src 'self' blob:; media-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

struct Asset {
    path: &'static str,
    kind: &'static str,
    content: &'static str,
}

macro_rules! asset {
    ($path:literal, $kind:expr) => {
        Asset {
            path: $path,
            kind: $kind,
            content: include_str!(concat!("../web/", $path)),
        }
    };
}

const INDEX: &str = include_str!("../web/index.html");

const ASSETS: &[Asset] = &[
    asset!("account.js", SCRIPT),
    asset!("api.js", SCRIPT),
    asset!("covers.js", SCRIPT),
    asset!("deletions.js", SCRIPT),
    asset!("icon.svg", "image/svg+xml"),
    asset!("id3.js", SCRIPT),
    asset!("jobs.js", SCRIPT),
    asset!("options.js", SCRIPT),
    asset!("page.js", SCRIPT),
    asset!("peaks.js", SCRIPT),
    asset!("player.js", SCRIPT),
    asset!("row.js", SCRIPT),
    asset!("session.js", SCRIPT),
    asset!("sound.js", SCRIPT),
    asset!("strip.svg", "image/svg+xml"),
    asset!("style.css", "text/css; charset=utf-8"),
    asset!("uploads.js", SCRIPT),
    asset!("vendor/licences.txt", TEXT),
    asset!("vendor/tus.min.js", SCRIPT),
    asset!("vendor/wavesurfer.esm.js", SCRIPT),
    asset!("webhooks.js", SCRIPT),
    asset!("words.js", SCRIPT),
];

/// The hash of everything the page loads.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = Sha256::new();
    for asset in ASSETS {
        hasher.update(asset.path);
        hasher.update([0]);
        hasher.update(asset.content);
    }
    short(hasher)
});

/// The page, with the paths of what it loads.
static PAGE: LazyLock<String> =
    LazyLock::new(|| INDEX.replace("{assets}", &format!("/page/{}", *VERSION)));

static PAGE_TAG: LazyLock<String> = LazyLock::new(|| {
    let hasher = Sha256::new().chain_update(PAGE.as_bytes());
    format!("\"{}\"", short(hasher))
});

fn short(hasher: Sha256) -> String {
    let hash = hasher.finalize();
    hash.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The page's routes.
pub fn router() -> Router {
    Router::new()
        .route("/", get(index))
        .route("/page/{version}/{*path}", get(asset))
        .layer(map_response(secure))
}

async fn secure(mut response: Response) -> Response {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        let headers = response.headers_mut();
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn index(headers: HeaderMap) -> Response {
    let common = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-cache"),
        (ETAG, PAGE_TAG.as_str()),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    let known = headers.get(IF_NONE_MATCH).map(HeaderValue::to_str);
    if let Some(Ok(known)) = known
        && known.contains(PAGE_TAG.as_str())
    {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, PAGE.as_str()).into_response()
}

async fn asset(path: Result<Path<(String, String)>, PathRejection>) -> Result<Response, Problem> {
    let Path((version, path)) = path.map_err(|_| Problem::not_found())?;
    let asset = ASSETS.iter().find(|asset| asset.path == path);
    let asset = asset.ok_or_else(Problem::not_found)?;
    // A page loaded before an update asks for the old version, and gets the current one.
    let caching = if version == *VERSION {
        "public, max-age=31536000, immutable"
    } else {
        "no-store"
    };
    let headers = [
        (CONTENT_TYPE, asset.kind),
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (CACHE_CONTROL, caching),
    ];
    Ok((headers, asset.content).into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(path: &str, etag: Option<&str>) -> Response {
        let mut request = Request::get(path);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let request = request.body(Body::empty()).unwrap();
        router().oneshot(request).await.unwrap()
    }

    fn header(response: &Response, name: HeaderName) -> &str {
        response.headers()[name].to_str().unwrap()
    }

    #[tokio::test]
    async fn the_page_is_sent_once_and_what_it_names_is_there() {
        let page = ask("/", None).await;
        assert_eq!(page.status(), StatusCode::OK);
        assert!(!POLICY.contains("unsafe"));
        assert_eq!(header(&page, CONTENT_SECURITY_POLICY), POLICY);
        let etag = header(&page, ETAG).to_owned();
        let again = ask("/", Some(&etag)).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);

        let html = to_bytes(page.into_body(), 1 << 20).await.unwrap();
        let html = String::from_utf8(html.to_vec()).unwrap();
        let named: Vec<&str> = html
            .split('"')
            .filter(|text| text.starts_with("/page/"))
            .collect();
        assert!(named.len() > 4, "{named:?}");
        for path in named {
            let asset = ask(path, None).await;
            assert_eq!(asset.status(), StatusCode::OK, "{path}");
            assert!(header(&asset, CACHE_CONTROL).contains("immutable"));
        }
    }

    /// Scripts import only assets, and every asset is used.
    #[test]
    fn scripts_import_what_is_there() {
        for asset in ASSETS.iter().filter(|asset| asset.path.ends_with(".js")) {
            for import in asset.content.split("from \"./").skip(1) {
                let path = import.split('"').next().unwrap();
                assert!(
                    ASSETS.iter().any(|other| other.path == path),
                    "{} imports {path}",
                    asset.path
                );
            }
        }
        for asset in ASSETS {
            let name = asset.path.rsplit('/').next().unwrap();
            let used = ASSETS.iter().any(|other| other.content.contains(name));
            assert!(used || INDEX.contains(asset.path), "{}", asset.path);
        }
    }

    #[tokio::test]
    async fn a_page_from_before_an_update_gets_what_there_is() {
        let old = ask("/page/0123456789abcdef/player.js", None).await;
        assert_eq!(old.status(), StatusCode::OK);
        assert_eq!(header(&old, CACHE_CONTROL), "no-store");
        let none = ask("/page/0123456789abcdef/../secret", None).await;
        assert_eq!(none.status(), StatusCode::NOT_FOUND);
    }
}
