//! What an operator decides about calls.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::Notify;

use crate::Outside;

/// The settings of the dispatcher.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which endpoints may be called beside global ones.
    pub reach: Reach,
    /// Of the program, for `user-agent: fpaas/<version>`.
    pub version: String,
    /// Told once the first slots are ours and what belongs to them is restored.
    pub assigned: Arc<Notify>,
    /// In place of the network, in a simulation.
    pub outside: Option<Arc<dyn Outside>>,
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
