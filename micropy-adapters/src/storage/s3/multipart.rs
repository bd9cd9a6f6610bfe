//! Multipart uploads: an object whose parts arrive one by one, and which is there when the store is told that it is
//! whole.
//!
//! `object_store` numbers the parts itself, without gaps, and lists no uploads. We need both, so these requests are our
//! own; it signs them.

use std::time::Duration;

use chrono::DateTime;
use http_body_util::BodyExt as _;
use hyper::header::{CONTENT_LENGTH, IF_NONE_MATCH};
use hyper::{Method, Request, StatusCode};
use micropy_core::ports::Timestamp;
use object_store::PutPayload;
use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::{HttpRequestBody, HttpService as _};
use object_store::path::Path;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::fault::{ADAPTER, lasting, of_text};
use super::http::Client;
use crate::fault::{Fault, Kind};

/// The largest number of a part.
pub const MOST_PARTS: u32 = 10_000;
/// How often to ask again when a store fails, and how long to wait before, doubled each time.
const RETRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// What stands in a URL as it is, when it is signed.
const PLAIN: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: AsciiSet = PLAIN.remove(b'/');
/// Bytes of an answer: a thousand uploads with long keys.
const MOST_BYTES: usize = 8 << 20;

/// A part that is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub number: u32,
    pub tag: String,
}

/// An upload that was begun, and neither completed nor aborted.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    pub key: String,
    pub id: String,
    pub at: Timestamp,
}

/// How an upload ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Completed {
    /// The object is there.
    Whole,
    /// There is no such upload, or an object of this name already.
    Refused,
}

/// The multipart uploads of a bucket.
#[derive(Clone, Debug)]
pub struct Multiparts {
    pub store: AmazonS3,
    pub client: Client,
    /// The bucket's own URL, without a slash at its end.
    pub url: String,
    pub region: String,
    /// Whether the store holds to conditions.
    pub conditional: bool,
}

/// An answer, whole.
struct Answer {
    status: StatusCode,
    tag: Option<String>,
    text: String,
}

impl Answer {
    /// The code of the error that the answer is. An answer of 200 may be one, too, since a store may begin to answer
    /// before it is done.
    fn code(&self) -> Option<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Error {
            code: String,
        }
        if self.status.is_success() && !self.text.contains("<Error>") {
            return None;
        }
        let error = quick_xml::de::from_str::<Error>(&self.text);
        Some(error.map_or_else(|_| self.status.to_string(), |error| error.code))
    }

    fn fault(&self, code: &str) -> Fault {
        let why = format!("it answers {code} ({})", self.status);
        let kind = match self.status.as_u16() {
            507 => Kind::Full,
            200..=299 | 409 | 429 | 500..=599 => of_text(code),
            _ => match of_text(code) {
                Kind::Full => Kind::Full,
                _ => Kind::Lasting,
            },
        };
        Fault::new(ADAPTER, kind, why)
    }

    /// Itself, unless it is an error.
    fn good(self) -> Result<Self, Fault> {
        match self.code() {
            None => Ok(self),
            Some(code) => Err(self.fault(&code)),
        }
    }
}

impl Multiparts {
    /// Begins an upload, and returns its id.
    pub async fn begin(&self, key: &Path) -> Result<String, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Initiated {
            upload_id: String,
        }
        let answer = self.ask(Method::POST, key, &[("uploads", "")], &[], None);
        let answer = answer.await?.good()?;
        let begun = quick_xml::de::from_str::<Initiated>(&answer.text);
        let begun = begun.map_err(|e| lasting(format!("an upload without an id: {e}")))?;
        Ok(begun.upload_id)
    }

    /// Stores a part; none if there is no such upload.
    pub async fn put(
        &self,
        key: &Path,
        upload: &str,
        number: u32,
        bytes: PutPayload,
    ) -> Result<Option<Part>, Fault> {
        let text = number.to_string();
        let query = [("partNumber", &*text), ("uploadId", upload)];
        let answer = self
            .ask(Method::PUT, key, &query, &[], Some(bytes.into()))
            .await?;
        match answer.code() {
            None => {
                let tag = answer
                    .tag
                    .ok_or_else(|| lasting("a part without an ETag"))?;
                Ok(Some(Part { number, tag }))
            }
            Some(code) if code == "NoSuchUpload" => Ok(None),
            Some(code) => Err(answer.fault(&code)),
        }
    }

    /// Makes the object of these parts, unless there is one of this name.
    pub async fn complete(
        &self,
        key: &Path,
        upload: &str,
        parts: &[Part],
    ) -> Result<Completed, Fault> {
        let mut body = String::from("<CompleteMultipartUpload>");
        for Part { number, tag } in parts {
            let tag = quick_xml::escape::escape(tag);
            body += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>");
        }
        body += "</CompleteMultipartUpload>";
        let condition = [(IF_NONE_MATCH, "*")];
        let headers = if self.conditional {
            &condition[..]
        } else {
            &[]
        };
        let query = [("uploadId", upload)];
        let answer = self
            .ask(Method::POST, key, &query, headers, Some(body.into()))
            .await?;
        match answer.code().as_deref() {
            None => Ok(Completed::Whole),
            Some("NoSuchUpload" | "PreconditionFailed") => Ok(Completed::Refused),
            Some(code) => Err(answer.fault(code)),
        }
    }

    /// Gives an upload up, with its parts. Fine if there is none.
    pub async fn abort(&self, key: &Path, upload: &str) -> Result<(), Fault> {
        let query = [("uploadId", upload)];
        let answer = self.ask(Method::DELETE, key, &query, &[], None).await?;
        match answer.code() {
            None => Ok(()),
            Some(code) if code == "NoSuchUpload" => Ok(()),
            Some(code) => Err(answer.fault(&code)),
        }
    }

    /// A page of the uploads whose keys begin with `prefix`, and where the next page begins.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&Marker>,
    ) -> Result<(Vec<Begun>, Option<Marker>), Fault> {
        let mut query = vec![("uploads", ""), ("prefix", prefix)];
        if let Some((key, id)) = after {
            query.extend([("key-marker", &**key), ("upload-id-marker", &**id)]);
        }
        let bucket = Path::default();
        let answer = self.ask(Method::GET, &bucket, &query, &[], None).await?;
        read_page(&answer.good()?.text)
    }

    async fn ask(
        &self,
        method: Method,
        key: &Path,
        query: &[(&str, &str)],
        headers: &[(hyper::header::HeaderName, &str)],
        body: Option<HttpRequestBody>,
    ) -> Result<Answer, Fault> {
        let mut pause = PAUSE;
        let mut tries = 0;
        loop {
            let asked = self.ask_once(&method, key, query, headers, &body).await;
            let is_over = match &asked {
                Ok(answer) => answer.status.as_u16() < 500 && answer.status.as_u16() != 429,
                Err(_) => false,
            };
            tries += 1;
            if is_over || tries > RETRIES {
                return asked;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn ask_once(
        &self,
        method: &Method,
        key: &Path,
        query: &[(&str, &str)],
        headers: &[(hyper::header::HeaderName, &str)],
        body: &Option<HttpRequestBody>,
    ) -> Result<Answer, Fault> {
        let mut url = format!("{}/{}", self.url, utf8_percent_encode(key.as_ref(), &PATH));
        for (n, (name, value)) in query.iter().enumerate() {
            let value = utf8_percent_encode(value, &PLAIN);
            url += &format!("{}{name}={value}", if n == 0 { '?' } else { '&' });
        }
        let body = body.clone().unwrap_or_else(HttpRequestBody::empty);
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(CONTENT_LENGTH, body.content_length());
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let mut request = request.body(body).map_err(lasting)?;
        let credential = self.store.credentials().get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.region)
            // A part would be hashed once more; TLS keeps it whole.
            .with_sign_payload(false)
            .try_authorize(&mut request, None)?;
        let passing = |e| Fault::new(ADAPTER, Kind::Passing, e);
        let response = self.client.call(request).await.map_err(passing)?;
        let (head, body) = response.into_parts();
        let body = http_body_util::Limited::new(body, MOST_BYTES).collect();
        let late = |e| Fault::new(ADAPTER, Kind::Passing, e);
        let body = tokio::time::timeout(Duration::from_secs(60), body).await;
        let body = body
            .map_err(late)?
            .map_err(|e| Fault::new(ADAPTER, Kind::Passing, e))?;
        let tag = head.headers.get(hyper::header::ETAG);
        Ok(Answer {
            status: head.status,
            tag: tag.and_then(|tag| tag.to_str().ok()).map(str::to_owned),
            text: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        })
    }
}

/// The key and the upload after which the next page begins.
type Marker = (String, String);

/// A page of uploads, as XML, and the marker of the next one.
fn read_page(xml: &str) -> Result<(Vec<Begun>, Option<Marker>), Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Page {
        #[serde(default)]
        is_truncated: bool,
        #[serde(default)]
        next_key_marker: String,
        #[serde(default)]
        next_upload_id_marker: String,
        #[serde(default)]
        upload: Vec<Upload>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Upload {
        key: String,
        upload_id: String,
        initiated: String,
    }
    let unreadable = |why: String| lasting(format!("a list of uploads that cannot be read: {why}"));
    let page: Page = quick_xml::de::from_str(xml).map_err(|e| unreadable(e.to_string()))?;
    let mut uploads = Vec::new();
    for Upload {
        key,
        upload_id,
        initiated,
    } in page.upload
    {
        let at = DateTime::parse_from_rfc3339(&initiated);
        let at = at.map_err(|e| unreadable(format!("{initiated:?}: {e}")))?;
        uploads.push(Begun {
            key,
            id: upload_id,
            at: Timestamp::from_millis(at.timestamp_millis()),
        });
    }
    // A store that forgets to say where the next page begins would be asked for the first one forever.
    let next = (page.is_truncated && !page.next_key_marker.is_empty())
        .then_some((page.next_key_marker, page.next_upload_id_marker));
    Ok((uploads, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_uploads_are_read() {
        let page = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>b</Bucket>
            <KeyMarker></KeyMarker><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>i</NextUploadIdMarker>
            <IsTruncated>true</IsTruncated>
            <Upload><Key>a&amp;b</Key><UploadId>1</UploadId><Initiated>1970-01-01T00:00:01.500Z</Initiated></Upload>
            <Upload><Key>c</Key><UploadId>2</UploadId><Initiated>1970-01-01T00:00:02Z</Initiated></Upload>
            </ListMultipartUploadsResult>"#;
        let (uploads, next) = read_page(page).unwrap();
        assert_eq!(
            uploads[0],
            Begun {
                key: "a&b".into(),
                id: "1".into(),
                at: Timestamp::from_millis(1500)
            }
        );
        assert_eq!(uploads.len(), 2);
        assert_eq!(next, Some(("k".into(), "i".into())));
        let last = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>";
        assert_eq!(read_page(last).unwrap(), (vec![], None));
        for hostile in [
            "",
            "<a",
            "<ListMultipartUploadsResult><Upload/></ListMultipartUploadsResult>",
        ] {
            assert!(read_page(hostile).is_err(), "{hostile}");
        }
    }

    #[test]
    fn an_error_may_come_with_any_status() {
        let answer = |status: u16, text: &str| Answer {
            status: StatusCode::from_u16(status).unwrap(),
            tag: None,
            text: text.into(),
        };
        let error =
            "<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code><Message>m</Message></Error>";
        assert_eq!(answer(200, error).code().as_deref(), Some("SlowDown"));
        assert_eq!(answer(503, error).code().as_deref(), Some("SlowDown"));
        assert_eq!(answer(200, "<Ok/>").code(), None);
        assert_eq!(
            answer(502, "Bad Gateway").code().as_deref(),
            Some("502 Bad Gateway")
        );
    }
}
