//! Plain HTTP through a proxy.
//!
//! ureq asks every proxy for a tunnel (`CONNECT`), and most proxies grant tunnels to port 443 alone. What they expect of
//! plain HTTP is the request itself, with the whole URL in its first line (RFC 9112, 3.2.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::config::Config;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};
use ureq::{Error, Proxy, ProxyProtocol};

/// Connects as ureq does, but for plain HTTP through an HTTP proxy.
#[derive(Debug)]
pub struct ProxyConnector {
    default: DefaultConnector,
    /// The same without the proxy, for the way to the proxy itself.
    direct: Config,
}

impl ProxyConnector {
    pub fn new(direct: Config) -> Self {
        ProxyConnector {
            default: DefaultConnector::new(),
            direct,
        }
    }
}

impl Connector for ProxyConnector {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        let speaks_http =
            |proxy: &&Proxy| matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https);
        let proxy = details.config.proxy().filter(speaks_http);
        let (Some(proxy), Some(target), false) =
            (proxy, details.uri.authority(), details.needs_tls())
        else {
            return self.default.connect(details, chained);
        };
        let addrs = details
            .resolver
            .resolve(proxy.uri(), &self.direct, details.timeout)?;
        let to_proxy = ConnectionDetails {
            uri: proxy.uri(),
            addrs,
            config: &self.direct,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let Some(transport) = self.default.connect(&to_proxy, chained)? else {
            return Ok(None);
        };
        let port = target.port().map(|port| format!(":{port}"));
        Ok(Some(Box::new(WholeUrl {
            transport,
            origin: format!("http://{}{}", target.host(), port.unwrap_or_default()),
            login: login(proxy),
            at_head: true,
        })))
    }
}

/// The header that holds user and password of the proxy's URL; nothing where it has none.
fn login(proxy: &Proxy) -> String {
    let (user, password) = (proxy.username(), proxy.password());
    if user.is_none() && password.is_none() {
        return String::new();
    }
    let pair = format!(
        "{}:{}",
        user.unwrap_or_default(),
        password.unwrap_or_default()
    );
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(pair))
}

/// A connection to a proxy, used for one origin.
struct WholeUrl {
    transport: Box<dyn Transport>,
    /// `http://host:port`, which goes before the path.
    origin: String,
    login: String,
    /// What is sent next begins a request.
    at_head: bool,
}

impl std::fmt::Debug for WholeUrl {
    /// Without the login.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WholeUrl")
            .field("transport", &self.transport)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Transport for WholeUrl {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if !self.at_head {
            return self.transport.transmit_output(amount, timeout);
        }
        self.at_head = false;
        let head = with_whole_url(
            &self.transport.buffers().output()[..amount],
            &self.origin,
            &self.login,
        )?;
        // It may have grown beyond the buffer.
        let room = self.transport.buffers().output().len();
        for piece in head.chunks(room) {
            self.transport.buffers().output()[..piece.len()].copy_from_slice(piece);
            self.transport.transmit_output(piece.len(), timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        // Every request is followed by its response, and none is sent before that.
        self.at_head = true;
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    /// To the proxy it may be; to the server it is not.
    fn is_tls(&self) -> bool {
        false
    }
}

/// The head of a request as a proxy wants it: `GET /a HTTP/1.1` becomes `GET http://host/a HTTP/1.1`.
fn with_whole_url(head: &[u8], origin: &str, login: &str) -> Result<Vec<u8>, Error> {
    let line = head.windows(2).position(|two| two == b"\r\n");
    let method = head.iter().position(|&byte| byte == b' ');
    let (Some(line), Some(method)) = (line, method.filter(|at| Some(*at) < line)) else {
        return Err(Error::Other("a request without its first line".into()));
    };
    let (method, rest) = head.split_at(method + 1);
    let (line, rest) = rest.split_at(line + 2 - method.len());
    Ok([method, origin.as_bytes(), line, login.as_bytes(), rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_gets_the_whole_url_and_its_login() {
        let proxy = Proxy::new("http://ann:p%40ss@proxy:3128").unwrap();
        let head = b"GET /a%20b?c HTTP/1.1\r\nhost: h:81\r\n\r\n";
        let sent = with_whole_url(head, "http://h:81", &login(&proxy)).unwrap();
        assert_eq!(
            String::from_utf8(sent).unwrap(),
            "GET http://h:81/a%20b?c HTTP/1.1\r\nProxy-Authorization: Basic YW5uOnBAc3M=\r\nhost: h:81\r\n\r\n"
        );
        let open = Proxy::new("proxy").unwrap();
        let sent = with_whole_url(head, "http://h:81", &login(&open)).unwrap();
        assert!(sent.starts_with(b"GET http://h:81/a%20b?c HTTP/1.1\r\nhost:"));
    }

    #[test]
    fn half_a_first_line_is_an_error() {
        for head in [&b""[..], b"GET /a HTTP/1.1", b"GET\r\nx y\r\n"] {
            assert!(with_whole_url(head, "http://h", "").is_err(), "{head:?}");
        }
    }
}
