//! The one HTTP client: timeouts, TLS, proxies.

use std::env;
use std::fs;
use std::io;
use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::http::{Method, Request, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::AgentScope;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Proxy};
use url::Url;

use crate::address::shown;
use crate::error::Error;
use crate::fetch::Fault;
use crate::guard::{Guard, GuardedResolver, NotPermitted};
use crate::proxy::ProxyConnector;

/// Idle connections per host: one for each thread that asks.
const IDLE: usize = 8;

/// Sends requests.
#[derive(Clone, Debug)]
pub struct Client {
    /// Those for a proxy each, by the scheme of the request; connections are kept by each of its own.
    direct: Agent,
    http: Agent,
    https: Agent,
    no_proxy: String,
    timeout: Duration,
}

impl Client {
    /// A client with the proxies and the certificates that the environment names.
    pub fn new(shown: &str, timeout: Duration) -> Result<Self, Error> {
        let invalid = |why: String| Error::Connection {
            url: shown.into(),
            why,
        };
        let roots =
            roots().map_err(|why| invalid(format!("the certificates of SSL_CERT_FILE: {why}")))?;
        let agent = |names: &[&str]| -> Result<Agent, Error> {
            let proxy = match names.iter().find_map(|name| variable(name)) {
                None => None,
                // What is wrong with it may be its password.
                Some(value) => Some(Proxy::new(&value).map_err(|_| {
                    invalid(format!(
                        "the proxy of the environment ({}) is no URL of one",
                        names.join(", ")
                    ))
                })?),
            };
            Ok(agent(proxy, || config(&roots, timeout)))
        };
        Ok(Client {
            direct: agent(&[])?,
            // As curl: in capitals, it may come from a header of a CGI request.
            http: agent(&["http_proxy", "all_proxy", "ALL_PROXY"])?,
            https: agent(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            no_proxy: variable("no_proxy")
                .or_else(|| variable("NO_PROXY"))
                .unwrap_or_default(),
            timeout,
        })
    }

    /// A client that connects to what `guard` permits alone: without proxies, which would connect to anything. A request
    /// takes `whole` at most, if it is given.
    pub fn guarded(
        shown: &str,
        timeout: Duration,
        guard: &Guard,
        whole: Option<Duration>,
    ) -> Result<Self, Error> {
        let roots = roots().map_err(|why| Error::Connection {
            url: shown.into(),
            why: format!("the certificates of SSL_CERT_FILE: {why}"),
        })?;
        let config = config(&roots, timeout).timeout_global(whole).build();
        let resolver = GuardedResolver::new(guard.clone());
        let direct = Agent::with_parts(config, DefaultConnector::new(), resolver);
        Ok(Client {
            http: direct.clone(),
            https: direct.clone(),
            direct,
            no_proxy: String::new(),
            timeout,
        })
    }

    /// The same without any proxy.
    #[cfg(feature = "stores")]
    pub fn without_proxy(self) -> Self {
        Client {
            http: self.direct.clone(),
            https: self.direct.clone(),
            ..self
        }
    }

    fn agent(&self, scheme: Option<&str>, host: Option<&str>) -> &Agent {
        match scheme {
            _ if bypasses(&self.no_proxy, host.unwrap_or_default()) => &self.direct,
            Some("https") => &self.https,
            _ => &self.http,
        }
    }

    /// Sends a request; the response may have any status.
    pub fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Body>, ureq::Error> {
        let uri = request.uri();
        let agent = self.agent(uri.scheme_str(), uri.host());
        match request.method() == Method::GET {
            // A body of no bytes would be announced.
            true => agent.run(request.map(drop)),
            false => agent.run(request),
        }
    }

    /// What an error of a request for `url` means. `opening`: nothing has come from this server yet, so that a host
    /// that is not there is a mistake in the URL.
    pub fn fault(&self, url: &Url, error: ureq::Error, opening: bool) -> Fault {
        let shown = shown(url);
        let connection = |why: String| Error::Connection {
            url: shown.clone(),
            why,
        };
        // Nobody else is connected to where there is one.
        let agent = self.agent(Some(url.scheme()), url.host_str());
        let proxied = agent.config().proxy().is_some();
        let lasting = |why: String| Fault::Lasting(connection(why));
        match error {
            ureq::Error::Timeout(timeout) => {
                let what = match timeout {
                    ureq::Timeout::Resolve => "get an address",
                    ureq::Timeout::Connect => "accept the connection",
                    ureq::Timeout::PerRead => "send the next bytes",
                    _ => "respond",
                };
                let error = Error::TimedOut {
                    url: shown,
                    what: what.into(),
                    seconds: self.timeout.as_secs(),
                };
                Fault::Passing(error, None)
            }
            ureq::Error::HostNotFound if proxied && opening => {
                lasting("the proxy of the environment is no host that is there".into())
            }
            ureq::Error::HostNotFound if opening => lasting("there is no such host".into()),
            ureq::Error::HostNotFound => {
                Fault::Passing(connection("the host is gone".into()), None)
            }
            ureq::Error::Rustls(error) => lasting(format!("no secure connection: {error}")),
            ureq::Error::Tls(why) => lasting(format!("no secure connection: {why}")),
            ureq::Error::ConnectProxyFailed(why) if why.contains("407") => {
                Fault::Lasting(Error::Status {
                    url: shown,
                    status: 407,
                })
            }
            ureq::Error::ConnectProxyFailed(why) => lasting(format!("the proxy refuses: {why}")),
            ureq::Error::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused if opening => {
                    let who = if proxied {
                        "proxy of the environment"
                    } else {
                        "server"
                    };
                    lasting(format!("the {who} refuses the connection"))
                }
                // Certificates that are not trusted arrive here.
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                    lasting(format!("no secure connection: {error}"))
                }
                _ => Fault::Passing(connection(format!("the connection broke: {error}")), None),
            },
            ureq::Error::Protocol(error) => Fault::Passing(
                connection(format!("the response is no HTTP: {error}")),
                None,
            ),
            ureq::Error::Other(why) if why.is::<NotPermitted>() => {
                Fault::Lasting(Error::NotPermitted { url: shown })
            }
            ureq::Error::LargeResponseHeader(..) => {
                lasting("the head of the response is too large".into())
            }
            // It may repeat the URL.
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                lasting("the client refuses the URL".into())
            }
            other => Fault::Passing(connection(other.to_string()), None),
        }
    }
}

fn agent(proxy: Option<Proxy>, config: impl Fn() -> ConfigBuilder<AgentScope>) -> Agent {
    let direct = config().build();
    match proxy {
        None => Agent::new_with_config(direct),
        Some(_) => Agent::with_parts(
            config().proxy(proxy).build(),
            ProxyConnector::new(direct),
            DefaultResolver::default(),
        ),
    }
}

/// What all requests have in common; without a proxy.
fn config(roots: &RootCerts, timeout: Duration) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        // Where a redirect leads is looked at first.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(timeout))
        .timeout_connect(Some(timeout))
        .timeout_send_request(Some(timeout))
        .timeout_recv_response(Some(timeout))
        .timeout_per_read(Some(timeout))
        .max_idle_connections(IDLE)
        .max_idle_connections_per_host(IDLE)
        .user_agent(concat!("micropy/", env!("CARGO_PKG_VERSION")))
        // What is compressed has no ranges of the file.
        .accept_encoding("identity")
        .tls_config(TlsConfig::builder().root_certs(roots.clone()).build())
        .proxy(None)
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The certificates that are trusted: those of the file that `SSL_CERT_FILE` names, or else Mozilla's.
fn roots() -> Result<RootCerts, String> {
    let Some(path) = variable("SSL_CERT_FILE") else {
        return Ok(RootCerts::WebPki);
    };
    let pem = fs::read(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(format!("{path}: {error}")),
        }
    }
    match found.is_empty() {
        true => Err(format!("{path} has none")),
        false => Ok(RootCerts::new_with_certs(&found)),
    }
}

/// Whether `host` is one of those that are reached without the proxy: named in the list, or below a name in it.
fn bypasses(list: &str, host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    list.split([',', ' ']).any(|entry| {
        let entry = entry.trim().trim_matches(['[', ']']);
        let entry = entry
            .trim_start_matches('*')
            .trim_start_matches('.')
            .to_ascii_lowercase();
        let below = host
            .strip_suffix(&entry)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        !entry.is_empty() && below
    }) || list.split([',', ' ']).any(|entry| entry.trim() == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_bypass_the_proxy_by_name_and_below_it() {
        let list = "localhost, 127.0.0.1,.internal,*.example.com,[::1]";
        for host in [
            "localhost",
            "127.0.0.1",
            "a.internal",
            "internal",
            "EXAMPLE.com",
            "b.a.example.com",
            "[::1]",
        ] {
            assert!(bypasses(list, host), "{host}");
        }
        for host in [
            "notlocalhost",
            "128.0.0.1",
            "example.com.evil.org",
            "myexample.com",
            "",
        ] {
            assert!(!bypasses(list, host), "{host}");
        }
        assert!(bypasses("a,*", "anything") && !bypasses("", "anything"));
    }
}
