//! Which addresses may be called, checked after resolution and on every attempt (design §7, SSRF).
//!
//! The ranges are those of the IANA special-purpose registries (RFC 6890, RFC 8190) and the metadata services of the
//! large clouds. What is not global unicast is refused; so is every form that wraps an IPv4 address in an IPv6 one,
//! since a translator on the way could unwrap it to an address that is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::Reach;

/// Why an address is refused. In the source chain of what a refused connection fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} may not be called: it is {range}")]
pub(crate) struct Refused {
    address: IpAddr,
    range: &'static str,
}

/// What may be called.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    reach: Reach,
    /// Nothing but the listed networks: what `http` is enough for.
    only_listed: bool,
}

/// What an address is that may be called by `https` alone.
const UNLISTED: &str = "outside the networks where http is enough";
/// Refused outside dev only.
const PRIVATE: bool = true;
/// Refused everywhere.
const NEVER: bool = false;

/// Network, prefix length, what it is, and whether dev may call it. The first that fits counts.
type Range<A> = (A, u32, &'static str, bool);

const V4: [Range<Ipv4Addr>; 21] = [
    (Ipv4Addr::new(100, 100, 100, 200), 32, "a metadata service", NEVER),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a metadata service", NEVER),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback", PRIVATE),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private", PRIVATE),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private", PRIVATE),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private", PRIVATE),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared address space (CGNAT)", PRIVATE),
    (Ipv4Addr::new(0, 0, 0, 0), 8, "unspecified", NEVER),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local", NEVER),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved for protocols", NEVER),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation", NEVER),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation", NEVER),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation", NEVER),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "AS112", NEVER),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "AS112", NEVER),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "AMT", NEVER),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay", NEVER),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking", NEVER),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast", NEVER),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "broadcast", NEVER),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved", NEVER),
];

const V6: [Range<Ipv6Addr>; 18] = [
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32, "a metadata service", NEVER),
    (Ipv6Addr::LOCALHOST, 128, "loopback", PRIVATE),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "unique local (ULA)", PRIVATE),
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified", NEVER),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "IPv4-mapped", NEVER),
    (Ipv6Addr::UNSPECIFIED, 96, "IPv4-compatible", NEVER),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, "NAT64", NEVER),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "local-use NAT64", NEVER),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local", NEVER),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site-local", NEVER),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast", NEVER),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "Teredo", NEVER),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, "benchmarking", NEVER),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved for protocols", NEVER),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation", NEVER),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation", NEVER),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4", NEVER),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, "AS112", NEVER),
];

/// The one block that holds global unicast addresses (RFC 4291).
const GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

impl Guard {
    /// For `https`.
    pub(crate) const fn https(reach: Reach) -> Self {
        Self { reach, only_listed: false }
    }

    /// For `http`.
    pub(crate) const fn http(reach: Reach) -> Self {
        let only_listed = matches!(reach, Reach::Listed(_));
        Self { reach, only_listed }
    }

    /// Refuses what may not be called.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let dev = match &self.reach {
            Reach::Dev => true,
            Reach::Listed(networks) if networks.iter().any(|network| network.contains(&address)) => return Ok(()),
            Reach::Listed(_) if self.only_listed => return Err(Refused { address, range: UNLISTED }),
            Reach::Listed(_) => false,
        };
        let found = match address {
            IpAddr::V4(v4) => V4.iter().find(|range| holds_v4(range, v4)).map(|range| (range.2, range.3)),
            IpAddr::V6(v6) => special_v6(v6),
        };
        match found {
            Some((range, private)) if !(private && dev) => Err(Refused { address, range }),
            _ => Ok(()),
        }
    }

    /// Refuses a URL whose host is an address: such a host is never resolved.
    pub(crate) fn check_host(&self, url: &url::Url) -> Result<(), Refused> {
        match url.host() {
            Some(url::Host::Ipv4(address)) => self.check(address.into()),
            Some(url::Host::Ipv6(address)) => self.check(address.into()),
            Some(url::Host::Domain(_)) | None => Ok(()),
        }
    }
}

/// Resolves names to the addresses that may be called, so that a connection goes to an address that was checked.
#[derive(Clone, Debug)]
pub(crate) struct Resolver(pub(crate) Guard);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(permitted(&guard, found)?.into_iter()) as Addrs)
        })
    }
}

/// Those that may be called; when there are none, why the first may not.
fn permitted(guard: &Guard, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
    let refused = found.iter().find_map(|address| guard.check(address.ip()).err());
    let permitted: Vec<_> = found.into_iter().filter(|address| guard.check(address.ip()).is_ok()).collect();
    match refused {
        Some(refused) if permitted.is_empty() => Err(refused),
        _ => Ok(permitted),
    }
}

fn special_v6(address: Ipv6Addr) -> Option<(&'static str, bool)> {
    let known = V6.iter().find(|range| holds_v6(range.0, range.1, address)).map(|range| (range.2, range.3));
    known.or_else(|| (!holds_v6(GLOBAL.0, GLOBAL.1, address)).then_some(("not global unicast", NEVER)))
}

fn holds_v4((network, prefix, ..): &Range<Ipv4Addr>, address: Ipv4Addr) -> bool {
    (network.to_bits() ^ address.to_bits()).leading_zeros() >= *prefix
}

const fn holds_v6(network: Ipv6Addr, prefix: u32, address: Ipv6Addr) -> bool {
    (network.to_bits() ^ address.to_bits()).leading_zeros() >= prefix
}

#[cfg(test)]
mod tests;
