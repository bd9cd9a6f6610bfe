//! What an `s3://` URL says.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

/// A bucket, a folder in it, and how to get there.
#[derive(PartialEq, Eq)]
pub struct Address {
    pub bucket: String,
    /// Without slashes around it; may be empty.
    pub prefix: String,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// A key and its secret; without them, the environment gives them.
    pub keys: Option<(String, String)>,
    /// Certificates of an authority that the endpoint's has to be signed by.
    pub ca: Option<PathBuf>,
    /// Whether the bucket is a part of the host's name.
    pub virtual_host: bool,
    /// Whether the store holds to the conditions of a write.
    pub conditional: bool,
}

impl Address {
    /// Reads `s3://bucket/prefix?endpoint=…`. What is wrong with it is said without repeating it: it may have a secret.
    pub fn parse(url: &str) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|e| format!("it is no URL: {e}"))?;
        let bucket = url.host_str().unwrap_or_default().to_owned();
        if url.scheme() != "s3" || bucket.is_empty() {
            return Err("it is not of the form s3://bucket/prefix".into());
        }
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(String::from)
                .map_err(|_| "its keys are no text".to_owned())
        };
        let keys = match (url.username(), url.password()) {
            ("", None) => None,
            (key, Some(secret)) if !key.is_empty() => Some((decoded(key)?, decoded(secret)?)),
            _ => return Err("a key has a secret: s3://KEY:SECRET@bucket".into()),
        };
        let mut address = Address {
            bucket,
            prefix: decoded(url.path().trim_matches('/'))?,
            endpoint: None,
            region: None,
            keys,
            ca: None,
            virtual_host: false,
            conditional: true,
        };
        for (name, value) in url.query_pairs() {
            let value = value.into_owned();
            match (&*name, &*value) {
                ("endpoint", endpoint) => address.endpoint = Some(http_url(endpoint)?),
                ("region", region) if !region.is_empty() => address.region = Some(value),
                ("ca", path) if !path.is_empty() => address.ca = Some(path.into()),
                ("style", "path") => address.virtual_host = false,
                ("style", "virtual") => address.virtual_host = true,
                ("conditional", "yes") => address.conditional = true,
                ("conditional", "no") => address.conditional = false,
                _ => {
                    return Err(format!(
                        "{name:?} is none of endpoint, region, ca, style (path, virtual) and conditional (yes, no), \
                         or has no such value"
                    ));
                }
            }
        }
        Ok(address)
    }
}

/// An endpoint without a slash at its end.
fn http_url(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.query().is_none() => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("its endpoint is no URL of http or https".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_bucket_prefix_and_way() {
        let plain = Address::parse("s3://talks").unwrap();
        assert_eq!((&*plain.bucket, &*plain.prefix), ("talks", ""));
        assert!(plain.keys.is_none() && plain.endpoint.is_none() && plain.conditional);
        let full = Address::parse(
            "s3://KEY:se%2Fcret@talks/a/b/?endpoint=https://minio:9000/&region=eu-west-1&ca=/ca.pem&style=virtual\
             &conditional=no",
        )
        .unwrap();
        assert_eq!(full.prefix, "a/b");
        assert_eq!(full.endpoint.as_deref(), Some("https://minio:9000"));
        assert_eq!(full.region.as_deref(), Some("eu-west-1"));
        assert_eq!(full.keys, Some(("KEY".into(), "se/cret".into())));
        assert_eq!(full.ca, Some("/ca.pem".into()));
        assert!(full.virtual_host && !full.conditional);
    }

    #[test]
    fn what_is_wrong_is_named_without_its_secret() {
        for (url, why) in [
            ("s3:", "s3://bucket"),
            ("s3:///a", "s3://bucket"),
            ("http://bucket", "s3://bucket"),
            ("s3://KEY@bucket", "a key has a secret"),
            ("s3://:hidden@bucket", "a key has a secret"),
            ("s3://KEY:hidden@bucket?endpoint=minio", "endpoint"),
            ("s3://KEY:hidden@bucket?styl=path", "\"styl\""),
            ("s3://KEY:hidden@bucket?conditional=maybe", "no such value"),
        ] {
            let said = Address::parse(url).err().unwrap();
            assert!(said.contains(why), "{url}: {said}");
            assert!(!said.contains("hidden"), "{said}");
        }
    }
}
