//! What an operator decides about calls.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::Notify;

use crate::Outside;

mod hosts;
mod proxy;
mod trust;

pub use hosts::{Hosts, Pattern};
pub use proxy::Proxy;
pub use trust::Trust;

/// The settings of the dispatcher.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which endpoints may be called beside global ones.
    pub reach: Reach,
    /// How they are reached, and which names may be.
    pub network: Network,
    /// Of the program, for `user-agent: fpaas/<version>`.
    pub version: String,
    /// Told once the first slots are ours and what belongs to them is restored.
    pub assigned: Arc<Notify>,
    /// In place of the network, in a simulation.
    pub outside: Option<Arc<dyn Outside>>,
}

#[cfg(test)]
impl Config {
    /// With nothing but that decided.
    pub(crate) fn reaching(reach: Reach) -> Self {
        Self { reach, network: Network::default(), version: "test".to_owned(), assigned: Arc::default(), outside: None }
    }
}

/// How endpoints are reached. By default directly, by any name, and trusting the system's authorities.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Names that may resolve to private addresses, by https; to metadata services and the like never.
    pub private: Hosts,
    /// The names that may be called at all; where there are none, any may. A URL with an address has no name.
    pub only: Hosts,
    /// Whose certificates they may have.
    pub trust: Trust,
    /// What calls go through.
    pub proxy: Option<Proxy>,
}

/// Which addresses may be called beside the global unicast ones, and where `http` is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Dev: loopback and private networks, and `http` everywhere. Metadata services and the like never.
    Dev,
    /// These networks, whatever they are, and `http` within them: the operator vouches for them.
    Listed(Arc<[IpNet]>),
}

impl Reach {
    /// Global addresses alone, by https.
    pub fn global() -> Self {
        Self::Listed(Arc::default())
    }

    /// True where a subscription's URL may be `http`: whether its address is listed is known when it is called.
    pub fn allows_http(&self) -> bool {
        match self {
            Self::Dev => true,
            Self::Listed(networks) => !networks.is_empty(),
        }
    }
}
