//! Which addresses may be called, checked after resolution and on every attempt (design §7, SSRF).
//!
//! What is not global unicast is refused; so is every form that wraps an IPv4 address in an IPv6 one, since a
//! translator on the way could unwrap it to an address that is refused. Does not own the [`ranges`], nor how a name is
//! looked up ([`resolver`]).

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use crate::config::{Config, Hosts, Reach};

mod ranges;
mod resolver;

pub(crate) use resolver::{Lookup, Resolver, Unguarded};

/// Why something is not called. In the source chain of what a refused connection fails with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{address} may not be called: it is {range}")]
    Address { address: IpAddr, range: &'static str },
    #[error("{host} may not be called: it is none of the hosts that are")]
    Host { host: String },
}

/// What may be called.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    reach: Reach,
    /// Names whose addresses may be private.
    private: Hosts,
    /// The names that may be called at all; empty: any.
    only: Hosts,
    /// Nothing but the listed networks: what `http` is enough for.
    only_listed: bool,
}

/// What an address is that may be called by `https` alone.
const UNLISTED: &str = "outside the networks where http is enough";

impl Guard {
    /// For `https`.
    pub(crate) fn https(config: &Config) -> Self {
        let Config { reach, network, .. } = config;
        Self { reach: reach.clone(), private: network.private.clone(), only: network.only.clone(), only_listed: false }
    }

    /// For `http`.
    pub(crate) fn http(config: &Config) -> Self {
        Self { only_listed: matches!(config.reach, Reach::Listed(_)), ..Self::https(config) }
    }

    /// Refuses what may not be called: an address, and the name that resolved to it where there is one.
    pub(crate) fn check(&self, name: Option<&str>, address: IpAddr) -> Result<(), Refused> {
        let vouched = match &self.reach {
            Reach::Dev => true,
            Reach::Listed(networks) if networks.iter().any(|network| network.contains(&address)) => return Ok(()),
            Reach::Listed(_) if self.only_listed => return Err(Refused::Address { address, range: UNLISTED }),
            Reach::Listed(_) => name.is_some_and(|name| self.private.has(name)),
        };
        match ranges::special(address) {
            Some(special) if !(special.private && vouched) => Err(Refused::Address { address, range: special.range }),
            _ => Ok(()),
        }
    }

    /// Refuses a URL by its host, without resolving it: an address is checked here and nowhere else.
    pub(crate) fn check_host(&self, url: &Url) -> Result<(), Refused> {
        if !self.only.is_empty() && !url.domain().is_some_and(|name| self.only.has(name)) {
            return Err(Refused::Host { host: url.host_str().unwrap_or_default().to_owned() });
        }
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(None, address.into()),
            Some(Host::Ipv6(address)) => self.check(None, address.into()),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    /// Those of a name's addresses that may be called; when there are none, why the first may not.
    fn permitted(&self, name: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        let check = |address: &SocketAddr| self.check(Some(name), address.ip());
        let refused = found.iter().find_map(|address| check(address).err());
        let permitted: Vec<_> = found.into_iter().filter(|address| check(address).is_ok()).collect();
        match refused {
            Some(refused) if permitted.is_empty() => Err(refused),
            _ => Ok(permitted),
        }
    }
}

#[cfg(test)]
mod tests;
