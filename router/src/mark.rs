//! What a scan notes beside its position: what it knew then.

use std::collections::BTreeSet;

use fpaas_core::TenantId;
use fpaas_state::SubscriptionEntry;
use serde::{Deserialize, Serialize};

/// A position's metadata has room for a few hundred bytes.
const NAMED_MAX: usize = 8;

/// See the module's head.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The control revision the scan ran under: a new owner first knows at least that much.
    pub(crate) revision: u64,
    /// Everybody who was known at it has a row. Where nothing is said of that, an older version wrote it.
    #[serde(default)]
    rows: bool,
    /// But for what came with these tenants: they were on their way.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    but: BTreeSet<TenantId>,
}

impl Mark {
    /// Of a scan that ran under `revision`, without those who were awaited.
    pub(crate) fn new(revision: u64, awaited: &BTreeSet<TenantId>) -> Self {
        // Of more than can be named nothing is said for a while.
        let rows = awaited.len() <= NAMED_MAX;
        Self { revision, rows, but: if rows { awaited.clone() } else { BTreeSet::new() } }
    }

    /// True where a subscription that was in the pool since a revision must have a row.
    pub(crate) fn has_row(&self, entry: &SubscriptionEntry, since: u64) -> bool {
        let awaited = entry.came.is_some() && self.but.contains(&entry.tenant);
        self.rows && since <= self.revision && !awaited
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::entry;
    use fpaas_core::PoolId;
    use fpaas_core::subscription::Filter;
    use fpaas_state::{Came, rows};

    fn tenants(count: usize) -> BTreeSet<TenantId> {
        let others = (1..count).map(|n| TenantId::parse(&format!("t{n}")).unwrap());
        others.chain([TenantId::parse("acme").unwrap()]).take(count).collect()
    }

    #[test]
    fn it_is_known_of_whom_a_row_must_be_there() {
        let made = entry("likes", 3, Filter::default(), &[0]);
        let came = Came { since: 7, from: PoolId::of_tenant(&made.tenant), there: 3 };
        let moved = SubscriptionEntry { came: Some(came), ..(*made).clone() };
        let of = |mark: &Mark, entry: &SubscriptionEntry| mark.has_row(entry, entry.since());
        for (revision, awaited, expected) in [
            (2, 0, [false, false]),
            (3, 0, [true, false]),
            (6, 0, [true, false]),
            (7, 0, [true, true]),
            // It came, but had not come to this slot.
            (9, 1, [true, false]),
            (9, NAMED_MAX, [true, false]),
            (9, NAMED_MAX + 1, [false, false]),
        ] {
            let mark = Mark::new(revision, &tenants(awaited));
            assert_eq!([of(&mark, &made), of(&mark, &moved)], expected, "{revision} {awaited}");
            let bytes = rows::encode(&mark).unwrap();
            assert!(bytes.len() < 700, "{} bytes", bytes.len());
            assert_eq!(rows::decode::<Mark>("mark", &bytes).unwrap(), mark);
        }
        // As it was written before tenants moved, and before that.
        for (bytes, known) in [(&br#"{"v":1,"revision":3,"rows":true}"#[..], true), (br#"{"v":1,"revision":3}"#, false)]
        {
            let mark: Mark = rows::decode("mark", bytes).unwrap();
            assert_eq!(of(&mark, &Arc::clone(&made)), known);
        }
    }
}
