//! What moves and what it is called afterwards: every topic of an installation, from its control view.
//!
//! A topic that the view does not account for stops the move: nothing is left behind unsaid. Pure, but for asking the
//! log what is there.

use std::collections::{BTreeMap, BTreeSet};

use fpaas_core::topics::{Stage, Topics};
use fpaas_core::{PoolId, TopicPartition};
use fpaas_log::{Log, TopicSpec};
use fpaas_state::{Command, Machine, View};

use super::copy::{Pair, Reader};
use crate::exit::Failure;

/// What is copied record by record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moving {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) spec: TopicSpec,
    pub(super) kind: Kind,
}

/// What a copied topic holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Events of the firehose.
    Firehose,
    /// A tenant's own, and the control revision at which it was made.
    Tenant(u64),
    /// The deliveries of a subscription.
    Deliveries,
    /// Its dead letters.
    DeadLetters,
    /// Commands: where subscriptions start is in them.
    Control,
}

/// Everything that moves.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// In the order in which they are copied.
    pub(super) topics: Vec<Moving>,
    pub(super) control: Moving,
    /// Where the upstreams were left.
    pub(super) cursors: Option<(String, String)>,
    /// The pools that have tables.
    pub(super) pools: BTreeSet<PoolId>,
    /// The names of both sides.
    pub(super) before: Topics,
    pub(super) after: Topics,
}

/// The control view as the log has it. Nothing is made or removed, so that it may be looked at again and again.
pub(super) async fn view(log: &dyn Log, topics: &Topics) -> Result<View, Failure> {
    let at = TopicPartition::new(topics.control(), 0);
    let (mut machine, mut commands) = (Machine::default(), Reader::open(log, &at).await?);
    while let Some(stored) = commands.next().await? {
        machine.apply(&Command::decode(stored.record.value.as_deref().unwrap_or_default())?);
    }
    Ok(machine.view)
}

impl Moving {
    pub(super) fn pairs(&self) -> Vec<Pair> {
        let pair = |partition| Pair {
            source: TopicPartition::new(self.source.as_str(), partition),
            target: TopicPartition::new(self.target.as_str(), partition),
        };
        (0..self.spec.partitions).map(pair).collect()
    }
}

impl Places {
    /// Of the installation whose control view this is.
    pub(super) async fn find(log: &dyn Log, view: &View, before: &Topics, after: &Topics) -> Result<Self, Failure> {
        settled(view)?;
        let mut topics = Vec::new();
        for (source, target, kind) in named(view, before, after) {
            if let Some(spec) = log.describe_topic(&source).await? {
                topics.push(Moving { source, target, spec, kind });
            }
        }
        let (source, target) = (before.control(), after.control());
        let spec = log.describe_topic(&source).await?;
        let spec = spec.ok_or_else(|| Failure::Usage("this installation has no control topic".to_owned()))?;
        let control = Moving { source, target, spec, kind: Kind::Control };
        let cursors = log.describe_topic(&before.ingest()).await?.map(|_| (before.ingest(), after.ingest()));
        let pools = view.pools();
        let places = Self { topics, control, cursors, pools, before: before.clone(), after: after.clone() };
        let going: BTreeSet<_> = view.deleted.keys().map(|(tenant, name)| before.of_tenant(tenant, name)).collect();
        let found = log.list_topics(&format!("{}.", before.prefix())).await?;
        // What is deleted stays behind.
        places.check(found.into_iter().filter(|topic| !going.contains(topic)).collect())?;
        Ok(places)
    }

    /// Nothing else is there.
    fn check(&self, found: Vec<String>) -> Result<(), Failure> {
        let tables = self
            .pools
            .iter()
            .flat_map(|pool| [Stage::Router, Stage::Dispatcher].map(|stage| self.before.tables(pool, stage)));
        let mut known: BTreeSet<String> = self.topics.iter().map(|topic| topic.source.clone()).chain(tables).collect();
        // Snapshots stay: they say offsets of the topic they were taken of.
        known.extend([self.before.control(), self.before.control_snapshot(), self.before.ingest()]);
        match found.into_iter().find(|topic| !known.contains(topic) && !self.is_left_over(topic)) {
            None => Ok(()),
            Some(unknown) => Err(Failure::Failed(format!(
                "the topic {unknown} belongs to nothing that this version of fpaas knows: it cannot be moved"
            ))),
        }
    }

    /// The rows of a pool whose last tenant is gone, and what was handed over to one and taken: they are nobody's, and
    /// stay. The delivery log stays, too: it begins anew where calls are made.
    fn is_left_over(&self, topic: &str) -> bool {
        if self.before.parse_attempts(topic).is_some() {
            return true;
        }
        let inside = topic.strip_prefix(self.before.prefix()).and_then(|rest| rest.strip_prefix('.'));
        let pool = inside.and_then(|rest| rest.split_once('.')).and_then(|(pool, _)| PoolId::parse(pool).ok());
        pool.is_some_and(|pool| {
            let names = |of: &Stage| [self.before.tables(&pool, *of), self.before.moves(&pool, *of)];
            [Stage::Router, Stage::Dispatcher].iter().any(|of| names(of).iter().any(|name| name == topic))
        })
    }

    /// What each copied topic is called afterwards.
    pub(super) fn names(&self) -> BTreeMap<&str, &str> {
        self.topics.iter().map(|topic| (topic.source.as_str(), topic.target.as_str())).collect()
    }
}

/// What is between two pools is in neither: no tenant is on its way.
pub(super) fn settled(view: &View) -> Result<(), Failure> {
    match view.moving().next() {
        None => Ok(()),
        Some((tenant, moving)) => Err(Failure::Usage(format!(
            "not moved: the tenant {} is on its way from the pool {} to {}; start the installation, wait until \
             GET /v1/admin/tenants/{} says nothing of \"moving\" any more, and run this again",
            tenant.id, moving.from, tenant.pool, tenant.id
        ))),
    }
}

/// Both names of everything that is copied as it is.
fn named(view: &View, before: &Topics, after: &Topics) -> Vec<(String, String, Kind)> {
    let mut named = vec![(before.firehose(), after.firehose(), Kind::Firehose)];
    for ((tenant, name), entry) in &view.topics {
        let kind = Kind::Tenant(entry.incarnation);
        named.push((before.of_tenant(tenant, name), after.of_tenant(tenant, name), kind));
    }
    for entry in view.subscriptions.values() {
        let (tenant, id, incarnation) = (&entry.tenant, &entry.id, entry.incarnation);
        let of =
            |names: &Topics| [names.deliveries(tenant, id, incarnation), names.dead_letters(tenant, id, incarnation)];
        let [deliveries, dead_letters] = of(before);
        let [deliveries_after, dead_letters_after] = of(after);
        named.push((deliveries, deliveries_after, Kind::Deliveries));
        named.push((dead_letters, dead_letters_after, Kind::DeadLetters));
    }
    named
}
