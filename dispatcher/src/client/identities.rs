//! Clients that show a certificate, each with connections and TLS sessions of its own: an endpoint knows a connection
//! by the certificate that it was opened with, so that none is ever shared with another certificate, or with none.
//!
//! They are made when they are needed and so many are kept: for another one, the one that was not used for the longest
//! time goes, with its connections. Does not own how a client is made. Invariants: bounded, one-tenant.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use fpaas_core::limits;

use super::Guarded;

/// By digests of certificate and key, the one that was used last behind all others.
#[derive(Debug, Default)]
pub(super) struct Identities(Mutex<VecDeque<(String, Guarded)>>);

/// A client, and what had to leave for it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) client: Guarded,
    /// Its digest and its connections.
    pub(super) gone: Option<(String, Guarded)>,
}

impl Identities {
    /// The client of an identity, made where there is none.
    pub(super) fn of<E>(&self, digest: &str, make: impl FnOnce() -> Result<Guarded, E>) -> Result<Found, E> {
        if let Some(client) = self.used(digest) {
            return Ok(Found { client, gone: None });
        }
        // Nobody waits for a key that is read. Of two who make the same, one finds the other's.
        let made = make()?;
        if let Some(client) = self.used(digest) {
            return Ok(Found { client, gone: None });
        }
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = clients.len() >= limits::CLIENT_IDENTITIES_KEPT_MAX;
        let gone = if is_full { clients.pop_front() } else { None };
        clients.push_back((digest.to_owned(), made.clone()));
        Ok(Found { client: made, gone })
    }

    fn used(&self, digest: &str) -> Option<Guarded> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = clients.iter().position(|(of, _)| of == digest)?;
        let used = clients.remove(at)?;
        let client = used.1.clone();
        clients.push_back(used);
        Some(client)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}
