//! Subscriptions for the tests of this crate.

use std::sync::Arc;

use fpaas_core::subscription::{Filter, Secret, Subscription};
use fpaas_core::topics::Topics;
use fpaas_core::{Incarnation, Offset, PoolId, SubscriptionId, TenantId, Timestamp};
use fpaas_state::{Board, SubscriptionEntry};

use crate::Member;
use crate::roster::Source;

/// A subscription of the tenant `acme` made at `incarnation`, which starts at these offsets.
pub(crate) fn entry(id: &str, incarnation: u64, filter: Filter, starts: &[u64]) -> Arc<SubscriptionEntry> {
    let tenant = TenantId::parse("acme").unwrap();
    Arc::new(SubscriptionEntry {
        pool: PoolId::of_tenant(&tenant),
        tenant,
        id: SubscriptionId::parse(id).unwrap(),
        incarnation: Incarnation(incarnation),
        revision: incarnation,
        created: Timestamp::default(),
        updated: Timestamp::default(),
        active_since: Timestamp::default(),
        config: Subscription { filter, ..Subscription::default() },
        secret: Secret::from_bytes(&[7; 24]).unwrap(),
        previous: None,
        client_key: None,
        starts: starts.iter().copied().map(Offset).collect(),
        replay: None,
        redrive: None,
        disabled: None,
        came: None,
        in_use: Arc::default(),
    })
}

pub(crate) fn member(entry: &Arc<SubscriptionEntry>) -> Arc<Member> {
    Arc::new(Member::new(entry, &Topics::default(), &Board::default()))
}

/// One that may lack a topic.
pub(crate) fn held(entry: &Arc<SubscriptionEntry>, lacking: bool) -> Arc<Member> {
    Arc::new(Member::new(entry, &Topics::default(), &Board::default()).held_back(lacking))
}

/// A source with these subscriptions: id, incarnation and start.
pub(crate) fn source(subscriptions: &[(&str, u64, u64)]) -> Source {
    let make =
        |(id, incarnation, start): &(&str, u64, u64)| member(&entry(id, *incarnation, Filter::default(), &[*start]));
    Source::new(subscriptions.iter().map(make).collect())
}
