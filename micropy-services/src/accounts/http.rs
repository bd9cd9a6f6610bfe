//! Requests to an auth service, over HTTP or HTTPS.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, Request, StatusCode, Uri, header, request};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use micropy_core::ports::BackendError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::telemetry;

/// What sends requests, over connections that it keeps.
pub type Connections = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Bytes of a response: it is a token or a short message.
const MAX_RESPONSE: usize = 64 * 1024;

/// In an answer about a token: `false` where its user has yet to confirm the address; and the token's scopes.
pub const VERIFIED: HeaderName = HeaderName::from_static("x-micropy-verified");
pub const SCOPES: HeaderName = HeaderName::from_static("x-micropy-scopes");

/// An auth service.
pub struct Service {
    connections: Connections,
    /// Without a slash at its end.
    url: String,
}

/// A whole response.
pub struct Answer {
    pub status: StatusCode,
    /// How long to wait before trying again.
    pub wait: Duration,
    pub text: String,
    /// Whether the user of a token has confirmed the address.
    pub is_verified: bool,
    /// What a token is good for.
    pub scopes: String,
}

impl Service {
    /// The service at `url`: `http://auth:5000`, or `https://…`. With `?ca=/path.pem`, an authority in that file has to
    /// have signed its certificate; without, one that browsers trust.
    pub fn open(url: &str) -> io::Result<Self> {
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let (url, query) = url.split_once('?').unwrap_or((url, ""));
        let parsed: Uri = url
            .parse()
            .map_err(|e| wrong(format!("it is no URL: {e}")))?;
        if !matches!(parsed.scheme_str(), Some("http" | "https")) {
            return Err(wrong(
                "it begins neither with http:// nor with https://".into(),
            ));
        }
        let ca = match query.split_once('=') {
            None if query.is_empty() => None,
            Some(("ca", path)) => Some(PathBuf::from(path)),
            _ => return Err(wrong("only ?ca=/path.pem may follow it".into())),
        };
        let roots = match &ca {
            None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
            Some(path) => authorities(path)
                .map_err(|e| wrong(format!("{}: no certificates: {e}", path.display())))?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Service {
            connections: Client::builder(TokioExecutor::new()).build(connector),
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// A request to the route at `path`.
    pub fn post(&self, path: &str) -> request::Builder {
        Request::post(format!("{}{path}", self.url))
    }

    /// Sends a request with a body of JSON, if any.
    pub async fn send(
        &self,
        request: request::Builder,
        json: Option<Vec<u8>>,
        time: Duration,
    ) -> Result<Answer, BackendError> {
        let request = match &json {
            Some(_) => request.header(header::CONTENT_TYPE, "application/json"),
            None => request,
        };
        let request = request.body(Full::from(json.unwrap_or_default()))?;
        let response = telemetry::call(&self.connections, request, time).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_RESPONSE).collect();
        let body = tokio::time::timeout(time, body).await??.to_bytes();
        let told = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let wait = told(header::RETRY_AFTER).and_then(|wait| wait.parse().ok());
        Ok(Answer {
            status: head.status,
            wait: Duration::from_secs(wait.unwrap_or(60)),
            text: String::from_utf8_lossy(&body).trim().to_owned(),
            is_verified: told(VERIFIED) != Some("false"),
            scopes: told(SCOPES).unwrap_or_default().to_owned(),
        })
    }
}

/// The certificates in a file of PEM.
fn authorities(path: &std::path::Path) -> Result<RootCertStore, BackendError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    match roots.is_empty() {
        true => Err("the file holds none".into()),
        false => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_of_http_or_https_and_may_name_an_authority() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        for good in ["http://auth:5000", "https://auth", "http://[::1]:5000/"] {
            assert!(Service::open(good).is_ok(), "{good}");
        }
        let refused = |url: &str| Service::open(url).err().unwrap().to_string();
        for (url, why) in [
            ("auth:5000", "http://"),
            ("ftp://auth", "http://"),
            ("https://a b", "no URL"),
            ("https://auth?tls=none", "only ?ca="),
            ("https://auth?ca=/nowhere.pem", "/nowhere.pem"),
            (
                &*format!("https://auth?ca={}", empty.display()),
                "holds none",
            ),
        ] {
            assert!(refused(url).contains(why), "{}", refused(url));
        }
    }
}
