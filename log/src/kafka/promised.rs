//! What this process has committed and the brokers may not show yet.
//!
//! A commit is decided when the coordinator has written that it is; each partition is told a little later (KIP-98,
//! WriteTxnMarkers). Who asks here for the end of a partition waits for what was acknowledged here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use fpaas_core::{Offset, TopicPartition};

/// The end that each partition will have at least.
#[derive(Debug, Default)]
pub(super) struct Promised(Mutex<HashMap<TopicPartition, Offset>>);

impl Promised {
    /// A record at `offset` is committed.
    pub(super) fn note(&self, at: &TopicPartition, offset: Offset) {
        let mut promised = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = promised.entry(at.clone()).or_default();
        *end = offset.next().max(*end);
    }

    /// True where the partition ends at `end` and more was promised.
    pub(super) fn is_short(&self, at: &TopicPartition, end: Offset) -> bool {
        let mut promised = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match promised.get(at) {
            Some(promise) if end < *promise => true,
            Some(_) => {
                promised.remove(at);
                false
            }
            None => false,
        }
    }

    /// The topic is gone.
    pub(super) fn forget(&self, topic: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|at, _| &*at.topic != topic);
    }
}
