//! Files in stores of objects: S3 and what speaks its language, Google Cloud Storage, Azure Blob Storage.

use std::env;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{Attribute, ClientOptions, GetOptions, GetRange, ObjectStore, RetryConfig};
use ureq::BodyReader;
use ureq::http::Response;

use crate::address::Address;
use crate::aws_profile;
use crate::azure_environment;
use crate::client::Client;
use crate::error::Error;
use crate::fetch::{Fault, Head, Origin, Receiver, Version};

/// Where cloud machines and containers are asked for their credentials, besides the addresses of the link.
const METADATA: [&str; 3] = ["metadata.google.internal", "metadata", "[fd00:ec2::23]"];

/// How long they may take.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// The object that `address` names.
pub fn origin(
    address: &Address,
    retries: u32,
    timeout: Duration,
) -> Result<Box<dyn Origin>, Error> {
    let bucket = address.url.host_str().unwrap_or_default();
    let connector = Connector {
        client: Client::new(&address.shown, timeout)?,
        // A proxy would give away what its own machine may do, if anything.
        metadata: Client::new(&address.shown, METADATA_TIMEOUT)?.without_proxy(),
    };
    let retry = RetryConfig {
        max_retries: retries as usize,
        retry_timeout: timeout * 4,
        ..RetryConfig::default()
    };
    let built: object_store::Result<Arc<dyn ObjectStore>> = match address.url.scheme() {
        "s3" => s3(bucket, retry, connector).map(|store| Arc::new(store) as _),
        "gs" => google()
            .with_bucket_name(bucket)
            .with_retry(retry)
            .with_http_connector(connector)
            .build()
            .map(|store| Arc::new(store) as _),
        _ => azure_environment::add(MicrosoftAzureBuilder::from_env(), variable)
            .map_err(|why| Error::Store {
                url: address.shown.clone(),
                why,
                kind: io::ErrorKind::InvalidInput,
            })?
            .with_container_name(bucket)
            .with_retry(retry)
            .with_http_connector(connector)
            .build()
            .map(|store| Arc::new(store) as _),
    };
    let store = built.map_err(|error| store_error(&address.shown, error))?;
    let key =
        Path::parse(&address.key).map_err(|error| store_error(&address.shown, error.into()))?;
    // Another object would be read.
    if key.as_ref() != address.key {
        return Err(Error::Store {
            url: address.shown.clone(),
            why: "keys that begin or end with a slash, or have two in a row, cannot be read".into(),
            kind: io::ErrorKind::InvalidInput,
        });
    }
    Ok(Box::new(StoreOrigin {
        store,
        key,
        shown: address.shown.clone(),
    }))
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn google() -> GoogleCloudStorageBuilder {
    let builder = GoogleCloudStorageBuilder::from_env();
    // As Google's own clients: a server that stands for the store, and asks nobody who they are.
    match variable("STORAGE_EMULATOR_HOST") {
        None => builder,
        Some(host) => {
            let scheme = if host.contains("://") { "" } else { "http://" };
            builder
                .with_base_url(&format!("{scheme}{}", host.trim_end_matches('/')))
                .with_skip_signature(true)
        }
    }
}

fn s3(
    bucket: &str,
    retry: RetryConfig,
    connector: Connector,
) -> object_store::Result<object_store::aws::AmazonS3> {
    let mut builder = AmazonS3Builder::from_env();
    let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let profile = aws_profile::read();
    let told = [
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_SKIP_SIGNATURE",
    ];
    if let (Some(keys), false) = (profile.keys, told.into_iter().any(set)) {
        builder = builder
            .with_access_key_id(keys.id)
            .with_secret_access_key(keys.secret);
        if let Some(token) = keys.token {
            builder = builder.with_token(token);
        }
    }
    if let Some(region) = profile.region
        && !set("AWS_REGION")
        && !set("AWS_DEFAULT_REGION")
    {
        builder = builder.with_region(region);
    }
    let endpoints = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
    let mut endpoint = endpoints.into_iter().find_map(|name| env::var(name).ok());
    if let (None, Some(url)) = (&endpoint, profile.endpoint) {
        builder = builder.with_endpoint(&url);
        endpoint = Some(url);
    }
    // Who names such an endpoint wants it.
    if endpoint.is_some_and(|url| url.starts_with("http://")) {
        builder = builder.with_allow_http(true);
    }
    builder
        .with_bucket_name(bucket)
        .with_retry(retry)
        .with_http_connector(connector)
        .build()
}

/// An object in a store.
#[derive(Debug)]
struct StoreOrigin {
    store: Arc<dyn ObjectStore>,
    key: Path,
    shown: String,
}

impl Origin for StoreOrigin {
    fn get(
        &self,
        wanted: &[Range<u64>],
        version: Option<&Version>,
        receiver: &mut dyn Receiver,
    ) -> Result<(), Fault> {
        // Nothing but this request runs on it, so that the client may block.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let runtime = runtime.map_err(|error| Fault::Lasting(Error::Thread(error.to_string())))?;
        runtime.block_on(self.receive(wanted, version, receiver))
    }
}

impl StoreOrigin {
    async fn receive(
        &self,
        wanted: &[Range<u64>],
        version: Option<&Version>,
        receiver: &mut dyn Receiver,
    ) -> Result<(), Fault> {
        let options = GetOptions {
            range: wanted.first().cloned().map(GetRange::Bounded),
            // One that is weak matches nothing; it is compared in each response.
            if_match: version
                .and_then(|version| version.tag.clone())
                .filter(|tag| !tag.starts_with("W/")),
            ..GetOptions::default()
        };
        // What may pass was tried again by the store's client already, with fresh signatures.
        let lasting = |error| Fault::Lasting(store_error(&self.shown, error));
        let found = self
            .store
            .get_opts(&self.key, options)
            .await
            .map_err(lasting)?;
        if let Some(coding) = found.attributes.get(&Attribute::ContentEncoding)
            && is_compressed(coding)
        {
            return Err(Fault::Lasting(Error::Response {
                url: self.shown.clone(),
                why: format!(
                    "the object is stored compressed ({}), and has no ranges of the file",
                    coding.escape_debug()
                ),
            }));
        }
        receiver.begin(&Head {
            version: Version {
                tag: found.meta.e_tag.clone(),
                modified: Some(found.meta.last_modified.to_rfc3339()),
                size: Some(found.meta.size),
            },
            ranged: true,
        })?;
        let mut at = found.range.start;
        let mut pieces = found.into_stream();
        while let Some(piece) = pieces.next().await {
            let piece =
                piece.map_err(|error| Fault::Passing(store_error(&self.shown, error), None))?;
            receiver.take(at, &piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }
}

/// Whether a `Content-Encoding` says so. `aws-chunked` is how an object was sent, which some stores keep.
fn is_compressed(codings: &str) -> bool {
    codings
        .split(',')
        .map(str::trim)
        .any(|coding| !matches!(coding, "" | "identity" | "aws-chunked"))
}

/// What an error of a store means.
fn store_error(shown: &str, error: object_store::Error) -> Error {
    let store = |kind: io::ErrorKind, why: String| Error::Store {
        url: shown.into(),
        why,
        kind,
    };
    match error {
        object_store::Error::NotFound { .. } => {
            store(io::ErrorKind::NotFound, "there is no such object: check bucket and name".into())
        }
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => store(
            io::ErrorKind::PermissionDenied,
            "access is denied: check the credentials that the environment gives, and what they allow".into(),
        ),
        object_store::Error::Precondition { .. } => Error::Changed {
            url: shown.into(),
            what: "its ETag is another".into(),
        },
        other => {
            let why = other.to_string();
            let hosts = ["169.254.", "metadata.google.internal"];
            match hosts.iter().any(|host| why.contains(host)) {
                true => store(
                    io::ErrorKind::PermissionDenied,
                    "no credentials were found in the environment, and this is no machine of that cloud; \
                     a public bucket of S3 is read with AWS_SKIP_SIGNATURE=true"
                        .into(),
                ),
                false => store(io::ErrorKind::Other, why),
            }
        }
    }
}

/// Gives the stores our client.
#[derive(Clone, Debug)]
struct Connector {
    client: Client,
    metadata: Client,
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let host = parts.uri.host().unwrap_or_default();
        let is_metadata = is_metadata(host);
        let client = if is_metadata {
            &self.metadata
        } else {
            &self.client
        };
        // All requests for reading have small bodies, or none.
        let body = body
            .as_bytes()
            .map(|bytes| bytes.to_vec())
            .unwrap_or_default();
        let request = ureq::http::Request::from_parts(parts, body);
        let sent = client.send(request);
        let response = sent.map_err(|error| http_error(error, is_metadata))?;
        let (parts, body) = response.into_parts();
        let pieces = stream::iter(Pieces(Mutex::new(body.into_reader())));
        Ok(Response::from_parts(
            parts,
            HttpResponseBody::new(StreamBody::new(pieces)),
        ))
    }
}

/// Whether `host` gives machines and containers their credentials.
fn is_metadata(host: &str) -> bool {
    let is_of_the_link = |host: &str| host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_link_local());
    METADATA.contains(&host) || is_of_the_link(host)
}

fn http_error(error: ureq::Error, is_metadata: bool) -> HttpError {
    let kind = match &error {
        // Nobody is there, and will not be.
        _ if is_metadata => HttpErrorKind::Unknown,
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => HttpErrorKind::Unknown,
            io::ErrorKind::ConnectionRefused => HttpErrorKind::Unknown,
            _ => HttpErrorKind::Interrupted,
        },
        ureq::Error::Protocol(_) | ureq::Error::ConnectionFailed => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}

/// A body, read as it is asked for. The lock is never waited for: bodies have to be `Sync`.
struct Pieces(Mutex<BodyReader<'static>>);

impl Iterator for Pieces {
    type Item = Result<Frame<Bytes>, HttpError>;

    fn next(&mut self) -> Option<Self::Item> {
        let body = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut piece = vec![0; 64 << 10];
        match body.read(&mut piece) {
            Ok(0) => None,
            Ok(n) => {
                piece.truncate(n);
                Some(Ok(Frame::data(piece.into())))
            }
            Err(error) => Some(Err(http_error(error.into(), false))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_a_machine_are_asked_of_no_proxy() {
        for host in [
            "169.254.169.254",
            "169.254.170.2",
            "metadata.google.internal",
            "metadata",
        ] {
            assert!(is_metadata(host), "{host}");
        }
        for host in ["169.253.1.1", "example.com", "127.0.0.1", ""] {
            assert!(!is_metadata(host), "{host}");
        }
    }

    #[test]
    fn what_is_stored_compressed_is_told_by_its_encoding() {
        for coding in ["gzip", "aws-chunked,gzip", "br"] {
            assert!(is_compressed(coding), "{coding}");
        }
        for coding in ["", "identity", "aws-chunked", "aws-chunked, identity"] {
            assert!(!is_compressed(coding), "{coding}");
        }
    }
}
