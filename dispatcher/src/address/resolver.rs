//! Resolves names to the addresses that may be called, so that a connection goes to an address that was checked: there
//! is nothing between the check and the connection that could ask again.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;

use fpaas_core::limits;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Guard;
use crate::timings;

type Found = io::Result<Vec<SocketAddr>>;
type Finding = Pin<Box<dyn Future<Output = Found> + Send>>;

/// What says which addresses a name has.
#[derive(Clone)]
pub(crate) struct Lookup(Arc<dyn Fn(String) -> Finding + Send + Sync>);

impl Lookup {
    pub(crate) fn new<F: Future<Output = Found> + Send + 'static>(
        find: impl Fn(String) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |name| Box::pin(find(name))))
    }

    /// The system's.
    pub(crate) fn system() -> Self {
        let turns = Arc::new(Semaphore::new(limits::LOOKUPS_MAX));
        Self::new(move |name| {
            let turns = Arc::clone(&turns);
            async move {
                let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
                // A lookup cannot be called off: it keeps its turn while its thread waits, even without its call.
                let found = tokio::task::spawn_blocking(move || {
                    let found = (name.as_str(), 0).to_socket_addrs().map(Iterator::collect);
                    drop(turn);
                    found
                });
                found.await.map_err(io::Error::other)?
            }
        })
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup")
    }
}

/// Names of endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    pub(crate) guard: Guard,
    pub(crate) lookup: Lookup,
}

impl Resolver {
    /// The addresses of a name that may be called.
    pub(crate) async fn addresses(
        &self,
        name: &str,
    ) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let begun = Instant::now();
        let found = (self.lookup.0)(name.to_owned()).await;
        timings::looked_up(begun);
        Ok(self.guard.permitted(name, found?)?)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move { Ok(Box::new(resolver.addresses(name.as_str()).await?.into_iter()) as Addrs) })
    }
}

/// The name of a proxy, which is the operator's.
#[derive(Clone, Debug)]
pub(crate) struct Unguarded(pub(crate) Lookup);

impl Resolve for Unguarded {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.0.0)(name.as_str().to_owned());
        Box::pin(async move { Ok(Box::new(found.await?.into_iter()) as Addrs) })
    }
}
