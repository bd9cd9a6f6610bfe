//! Which addresses a service may connect to for its users.
//!
//! A URL of a user may name any host, and a host any address: those of the machine itself, of its network, of the cloud's
//! own services. So what is checked is the address that is connected to, after the name was looked up, at each
//! connection and each redirect: what a name stands for may change from one question to the next.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use url::Host;

use crate::address::{Scheme, parse};

/// IPv4 addresses that are not public: RFC 6890 and the registry that keeps it (IANA IPv4 Special-Purpose Addresses),
/// multicast and what is reserved.
const PRIVATE_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Azure's own services, which each of its machines reaches: public by its number alone.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The global unicast addresses of IPv6 (RFC 4291, section 2.4).
const GLOBAL_V6: Network = Network::v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Those among them that are not public: protocols, documentation, and 6to4, which holds an IPv4 address.
const PRIVATE_V6: [Network; 4] = [
    Network::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    Network::v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    Network::v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    Network::v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// IPv4 addresses as a network without IPv4 has them (RFC 6052).
const TRANSLATED: Network = Network::v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// Lets connections through to public addresses, and to the networks that are allowed besides.
///
/// ```
/// use micropy_remote::Guard;
///
/// let guard: Guard = "10.1.0.0/16, 192.168.7.7".parse()?;
/// assert!(guard.permits("198.41.0.4".parse()?) && guard.permits("10.1.2.3".parse()?));
/// assert!(!guard.permits("10.2.0.1".parse()?) && !guard.permits("::ffff:127.0.0.1".parse()?));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    allowed: Vec<Network>,
}

/// The addresses that share their first bits. Those of IPv4 are kept as those of IPv6 that stand for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: u128,
    bits: u8,
}

impl Network {
    const fn v6(segments: [u16; 8], bits: u8) -> Self {
        let [a, b, c, d, e, f, g, h] = segments;
        let address = Ipv6Addr::new(a, b, c, d, e, f, g, h);
        Network {
            address: address.to_bits(),
            bits,
        }
    }

    fn v4(address: Ipv4Addr, bits: u8) -> Self {
        Network {
            address: address.to_ipv6_mapped().to_bits(),
            bits: bits + 96,
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        let address = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let others = 128 - u32::from(self.bits);
        let first = |address: u128| address.checked_shr(others).unwrap_or(0);
        first(address.to_bits()) == first(self.address)
    }
}

/// The text is no list of networks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network such as 10.0.0.0/8")]
pub struct NotANetwork(String);

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        match address.parse().map_err(|_| wrong())? {
            IpAddr::V4(address) if bits.unwrap_or(32) <= 32 => {
                Ok(Network::v4(address, bits.unwrap_or(32)))
            }
            IpAddr::V6(address) if bits.unwrap_or(128) <= 128 => Ok(Network {
                address: address.to_bits(),
                bits: bits.unwrap_or(128),
            }),
            _ => Err(wrong()),
        }
    }
}

impl FromStr for Guard {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let networks = text
            .split([',', ' '])
            .filter(|network| !network.is_empty())
            .map(str::parse);
        Ok(Guard {
            allowed: networks.collect::<Result<_, _>>()?,
        })
    }
}

impl Guard {
    /// Lets through to public addresses alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses a URL whose text tells already that it may not be connected to: of another scheme than `http` and `https`,
    /// or of a host that is an address which is not permitted.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`](crate::Error::InvalidUrl) and [`Error::NotPermitted`](crate::Error::NotPermitted).
    pub fn check(&self, url: &str) -> Result<(), crate::Error> {
        let address = parse(url)?;
        let host = match address.url.host() {
            _ if address.scheme != Scheme::Http => {
                return Err(crate::Error::InvalidUrl {
                    url: address.shown,
                    why: "only http and https are read here".into(),
                });
            }
            Some(Host::Ipv4(host)) => IpAddr::V4(host),
            Some(Host::Ipv6(host)) => IpAddr::V6(host),
            // What a name stands for is looked up when it is connected to.
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        match self.permits(host) {
            true => Ok(()),
            false => Err(crate::Error::NotPermitted { url: address.shown }),
        }
    }

    /// Whether `address` may be connected to.
    pub fn permits(&self, address: IpAddr) -> bool {
        // Of an IPv6 address that stands for one of IPv4, that counts.
        let address = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            v4 => v4,
        };
        is_public(address) || self.allowed.iter().any(|network| network.contains(address))
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !PRIVATE_V4
            .iter()
            .any(|&(network, bits)| Network::v4(network, bits).contains(address)),
        IpAddr::V6(v6) if TRANSLATED.contains(address) => {
            let [.., a, b, c, d] = v6.octets();
            is_public(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        IpAddr::V6(_) => {
            GLOBAL_V6.contains(address)
                && !PRIVATE_V6.iter().any(|network| network.contains(address))
        }
    }
}

/// The guard's refusal, on its way through the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotPermitted;

impl fmt::Display for NotPermitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its address is not public")
    }
}

impl std::error::Error for NotPermitted {}

/// Looks a host up, and refuses it unless every address that it has is permitted. The client connects to these.
#[derive(Debug)]
pub(crate) struct GuardedResolver<R> {
    guard: Guard,
    names: R,
}

impl GuardedResolver<DefaultResolver> {
    pub(crate) fn new(guard: Guard) -> Self {
        GuardedResolver {
            guard,
            names: DefaultResolver::default(),
        }
    }
}

impl<R: Resolver> Resolver for GuardedResolver<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let addresses = self.names.resolve(uri, config, timeout)?;
        match addresses.iter().all(|a| self.guard.permits(a.ip())) {
            true => Ok(addresses),
            false => Err(Error::Other(Box::new(NotPermitted))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use ureq::Agent;

    use super::*;

    fn permits(guard: &Guard, address: &str) -> bool {
        guard.permits(address.parse().unwrap())
    }

    #[test]
    fn private_addresses_are_refused_in_every_form() {
        let guard = Guard::new();
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "192.0.2.1",
            "198.19.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
        ] {
            assert!(!permits(&guard, private), "{private}");
        }
        for public in [
            "1.1.1.1",
            "100.128.0.1",
            "168.63.129.17",
            "172.32.0.1",
            "198.41.0.4",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860:4860::8888",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
        ] {
            assert!(permits(&guard, public), "{public}");
        }
    }

    #[test]
    fn networks_are_allowed_by_their_first_bits() {
        let guard: Guard = "10.0.0.0/8,127.0.0.1 fd00::/8, ::1".parse().unwrap();
        for allowed in [
            "10.255.0.1",
            "::ffff:10.0.0.1",
            "127.0.0.1",
            "fd12::1",
            "::1",
            "1.1.1.1",
        ] {
            assert!(permits(&guard, allowed), "{allowed}");
        }
        for refused in ["127.0.0.2", "192.168.0.1", "fc00::1", "::2"] {
            assert!(!permits(&guard, refused), "{refused}");
        }
        assert!(permits(&"0.0.0.0/0".parse().unwrap(), "127.0.0.1"));
        assert!(permits(&"::/0".parse().unwrap(), "127.0.0.1"));
        assert_eq!("".parse(), Ok(Guard::new()));
        for wrong in [
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "localhost",
            "1.1.1.1/",
            "1.1.1.1/-1",
        ] {
            assert!(wrong.parse::<Guard>().is_err(), "{wrong}");
        }
    }

    /// A name server that says what it is told to.
    #[derive(Debug)]
    struct Names(Vec<SocketAddr>);

    impl Resolver for Names {
        fn resolve(
            &self,
            _: &Uri,
            _: &Config,
            _: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, Error> {
            let mut addresses = self.empty();
            self.0.iter().for_each(|address| addresses.push(*address));
            Ok(addresses)
        }
    }

    #[test]
    fn one_private_address_of_a_name_is_enough_to_refuse_it() {
        let resolve = |addresses: &[&str]| {
            let names = addresses.iter().map(|a| a.parse().unwrap()).collect();
            let resolver = GuardedResolver {
                guard: Guard::new(),
                names: Names(names),
            };
            let config = Agent::config_builder().build();
            let timeout = NextTimeout::default();
            resolver.resolve(&"http://name".parse().unwrap(), &config, timeout)
        };
        assert!(resolve(&["1.1.1.1:80", "[2606:4700::1111]:80"]).is_ok());
        let refused = resolve(&["1.1.1.1:80", "10.0.0.1:80"]).unwrap_err();
        assert!(matches!(refused, Error::Other(e) if e.is::<NotPermitted>()));
    }
}
