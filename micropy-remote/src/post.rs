//! Telling a server something, and how it took it.

use std::time::Duration;

use ureq::http::Request;
use url::Url;

use crate::address::parse;
use crate::client::Client;
use crate::error::Error;
use crate::fetch::Fault;
use crate::guard::Guard;

/// Sends `body` to an `http` or `https` URL whose addresses `guard` permits, and returns the status of the response,
/// whatever it is. All of it takes `timeout` at most. No redirect is followed, no proxy asked, and no login sent but
/// that of the URL itself.
///
/// # Errors
/// When the URL is malformed, its host is not there or not permitted, or no response arrives.
pub fn post(
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    guard: &Guard,
    timeout: Duration,
) -> Result<u16, Error> {
    guard.check(url)?;
    let address = parse(url)?;
    let invalid = |why: &str| Error::InvalidUrl {
        url: address.shown.clone(),
        why: why.into(),
    };
    if address.login.is_some() {
        return Err(invalid("it holds a user or a password"));
    }
    let client = Client::guarded(&address.shown, timeout, guard, Some(timeout))?;
    let url: &Url = &address.url;
    let mut request = Request::post(url.as_str());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(body.to_vec())
        .map_err(|_| invalid("it does not fit into a request"))?;
    match client.send(request) {
        Ok(response) => Ok(response.status().as_u16()),
        Err(error) => match client.fault(url, error, true) {
            Fault::Passing(error, _) | Fault::Lasting(error) => Err(error),
            Fault::Stopped => Err(Error::Cancelled),
        },
    }
}
