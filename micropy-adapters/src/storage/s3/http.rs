//! The HTTP client that requests to a store go through.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// How long a store may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it may take to answer: also to put a part away, or many parts together.
const RESPOND: Duration = Duration::from_secs(60);
/// How long a connection is kept that nobody uses. Stores close theirs after some time.
const IDLE: Duration = Duration::from_secs(15);

/// A client with connections that it keeps.
#[derive(Clone)]
pub struct Client(legacy::Client<HttpsConnector<HttpConnector>, HttpRequestBody>);

impl Client {
    /// A client that trusts the authorities in the file `ca`, or those that browsers trust.
    pub fn new(ca: Option<&Path>) -> io::Result<Self> {
        let roots = match ca {
            None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
            Some(path) => authorities(path).map_err(|why| {
                let why = format!("{}: no certificates: {why}", path.display());
                io::Error::new(io::ErrorKind::InvalidInput, why)
            })?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Client(client))
    }
}

/// The certificates in a file of PEM.
fn authorities(path: &Path) -> Result<RootCertStore, Box<dyn std::error::Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    match roots.is_empty() {
        true => Err("the file holds none".into()),
        false => Ok(roots),
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = tokio::time::timeout(RESPOND, self.0.request(request)).await;
        let response = answer
            .map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?
            .map_err(|e| {
                let kind = match e.is_connect() {
                    true => HttpErrorKind::Connect,
                    // The store, or the network, gave up on it midway.
                    false => HttpErrorKind::Interrupted,
                };
                HttpError::new(kind, e)
            })?;
        let interrupted = |e| HttpError::new(HttpErrorKind::Interrupted, e);
        Ok(response.map(|body| HttpResponseBody::new(body.map_err(interrupted))))
    }
}

impl object_store::client::HttpConnector for Client {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}
