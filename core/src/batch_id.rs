//! The id of a frozen batch: what the webhook sees as `webhook-id`, the same on every repeat.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hash;
use crate::{Incarnation, Partition, SubscriptionId, TenantId};

/// A hash of subscription, incarnation, lane and the whole frozen row (design §3, The frozen batch).
/// Invariant: frozen-batch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(String);

impl BatchId {
    /// The id of the batch frozen as `row` on `lane`.
    pub fn derive(
        tenant: &TenantId,
        subscription: &SubscriptionId,
        incarnation: Incarnation,
        lane: Partition,
        row: &[u8],
    ) -> Self {
        let parts: [&[u8]; 5] = [
            tenant.as_str().as_bytes(),
            subscription.as_str().as_bytes(),
            &incarnation.0.to_be_bytes(),
            &lane.0.to_be_bytes(),
            row,
        ];
        Self(format!("batch_{}", hash::hex(&parts, 32)))
    }

    /// Of a call that is no delivery: `test_` and what nobody else has.
    pub fn of_trial(random: &str) -> Self {
        Self(format!("test_{random}"))
    }

    /// `batch_` and 32 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
