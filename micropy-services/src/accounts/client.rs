//! The address of a client, as our gateway passes it on to our auth service.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use micropy_core::ports::Timestamp;
use sha2::Sha256;

use super::Secret;

/// The address, the time in milliseconds since the epoch, and a MAC of both, with spaces between.
pub const CLIENT: HeaderName = HeaderName::from_static("x-micropy-client");
/// When a request began that a token is still used by, in milliseconds since the epoch: a gateway of ours tells.
pub const BEGUN: HeaderName = HeaderName::from_static("x-micropy-begun");
/// How far the clocks of gateway and auth service may be apart.
const TOLERANCE: Duration = Duration::from_secs(120);

/// A gateway's word cannot be taken: it was given too long ago, or is still to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clocks of gateway and auth service are {} seconds apart, which may be {} at most",
    .0.as_secs(),
    TOLERANCE.as_secs()
)]
pub struct ClocksApart(Duration);

/// Signs addresses, and reads what it has signed: a header that nobody can set who does not know the secret.
#[derive(Clone)]
pub struct ClientSigner {
    key: Hmac<Sha256>,
}

impl ClientSigner {
    /// With the secret that signs tokens, which gateway and auth service share.
    pub fn new(secret: &Secret) -> Self {
        // HMAC takes keys of any length.
        let key = Hmac::new_from_slice(secret.reveal().as_bytes());
        ClientSigner {
            key: key.unwrap_or_else(|e| unreachable!("{e}")),
        }
    }

    /// The header's value for a client.
    pub fn sign(&self, client: IpAddr, now: Timestamp) -> String {
        let text = format!("{client} {}", now.as_millis());
        let mac = self.mac(&text).finalize().into_bytes();
        format!("{text} {}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// The client of a request, where a gateway has told it.
    ///
    /// # Errors
    /// When it was a gateway, whose clock is too far from ours.
    pub fn read(&self, headers: &HeaderMap, now: Timestamp) -> Result<Option<IpAddr>, ClocksApart> {
        let Some((client, issued)) = self.signed(headers) else {
            return Ok(None);
        };
        let apart = Duration::max(now.since(issued), issued.since(now));
        match apart <= TOLERANCE {
            true => Ok(Some(client)),
            false => Err(ClocksApart(apart)),
        }
    }

    /// What a header says that we have signed, and when.
    fn signed(&self, headers: &HeaderMap) -> Option<(IpAddr, Timestamp)> {
        let (text, mac) = headers.get(CLIENT)?.to_str().ok()?.rsplit_once(' ')?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        self.mac(text).verify_slice(&mac).ok()?;
        let (client, issued) = text.split_once(' ')?;
        let issued = Timestamp::from_millis(issued.parse().ok()?);
        Some((client.parse().ok()?, issued))
    }

    /// It is the MAC of no token: it begins with a word.
    fn mac(&self, text: &str) -> Hmac<Sha256> {
        self.key.clone().chain_update("client ").chain_update(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn an_address_is_believed_from_those_who_know_the_secret_and_for_a_while() {
        let ours = ClientSigner::new(&Secret::new("a secret of the tests, of more than 32 bytes"));
        let read = |value: String, now| {
            let mut headers = HeaderMap::new();
            headers.insert(CLIENT, value.parse().unwrap());
            ours.read(&headers, now)
        };
        for client in ["192.0.2.1", "2001:db8::1"] {
            let client: IpAddr = client.parse().unwrap();
            let value = ours.sign(client, NOW);
            assert_eq!(read(value.clone(), NOW), Ok(Some(client)));
            let apart = Err(ClocksApart(TOLERANCE * 2));
            for now in [NOW.plus(TOLERANCE * 2), NOW.minus(TOLERANCE * 2)] {
                assert_eq!(read(value.clone(), now), apart);
            }
            let forged = value.replacen(&client.to_string(), "192.0.2.7", 1);
            assert_eq!(read(forged, NOW), Ok(None), "another address");
            let others = ClientSigner::new(&Secret::new("another secret"));
            let foreign = others.sign(client, NOW);
            assert_eq!(read(foreign.clone(), NOW), Ok(None));
            assert_eq!(read(foreign, NOW.plus(TOLERANCE * 2)), Ok(None));
        }
        for broken in ["", "192.0.2.1", "192.0.2.1 1700000000000", "192.0.2.1 x y"] {
            assert_eq!(read(broken.into(), NOW), Ok(None), "{broken:?}");
        }
        assert_eq!(ours.read(&HeaderMap::new(), NOW), Ok(None));
    }
}
