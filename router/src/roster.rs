//! A pool's subscriptions by source, compiled from a view: what scans and lanes work from. Pure.
//!
//! A member holds on to its control entry, and with it to its topics: they are removed when the last holder lets go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fpaas_core::topics::{Stage, Topics};
use fpaas_core::{Offset, Partition, PoolId, TopicPartition};
use fpaas_expression::Filter;
use fpaas_log::Refusal;
use fpaas_state::{Board, Counters, SubscriptionEntry, View};
use tracing::error;

use crate::Index;
use crate::grown::Counts;

/// A subscription, ready to be matched.
#[derive(Debug)]
pub struct Member {
    /// What the control view says of it.
    pub entry: Arc<SubscriptionEntry>,
    /// Its filter.
    pub filter: Filter,
    /// The topic of its deliveries.
    pub deliveries: Arc<str>,
    /// The topic of its dead letters.
    pub(crate) dead_letters: Arc<str>,
    /// How it fares.
    pub counters: Arc<Counters>,
    pub(crate) key: Key,
    /// It is paused, or lacks a topic: it keeps its place, and nothing is read for it.
    pub(crate) held: bool,
    /// Its tenant moves here, since this revision: a slot begins with it once it has what the old pool handed over.
    pub(crate) awaits: Option<u64>,
    /// The control revision at which its source was made.
    pub(crate) source: u64,
}

/// Tenant, id and incarnation: what stays the same as long as a subscription lives.
pub(crate) type Key = Arc<str>;

/// All members of one source.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) index: Index,
    numbers: HashMap<Key, usize>,
}

/// All members of a pool at one control revision.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    pub(crate) revision: u64,
    sources: BTreeMap<Arc<str>, Arc<Source>>,
}

impl Member {
    /// Compiles a subscription.
    pub fn new(entry: &Arc<SubscriptionEntry>, topics: &Topics, board: &Board) -> Self {
        let filter = Filter::compile(&entry.config.filter);
        if let Some(Err(reason)) = filter.expression() {
            error!(tenant = %entry.tenant, subscription = %entry.id, %reason, "a match no longer compiles");
        }
        Self {
            entry: Arc::clone(entry),
            filter,
            deliveries: topics.deliveries(&entry.tenant, &entry.id, entry.incarnation).into(),
            dead_letters: topics.dead_letters(&entry.tenant, &entry.id, entry.incarnation).into(),
            counters: board.of(&entry.tenant, &entry.id, entry.incarnation),
            key: format!("{}/{}/{}", entry.tenant, entry.id, entry.incarnation).into(),
            held: entry.config.is_paused(),
            awaits: None,
            source: 0,
        }
    }

    /// The same, which moves here since this revision.
    pub(crate) fn awaiting(self, awaits: Option<u64>) -> Self {
        Self { awaits, ..self }
    }

    /// The same, which reads a topic that was made at this control revision.
    pub(crate) fn reading(self, source: u64) -> Self {
        Self { source, ..self }
    }

    /// The same, which lacks a topic where `lacking`.
    pub(crate) fn held_back(self, lacking: bool) -> Self {
        Self { held: self.held || lacking, ..self }
    }

    /// True of its deliveries and of its dead letters.
    pub(crate) fn owns(&self, topic: &Arc<str>) -> bool {
        self.deliveries == *topic || self.dead_letters == *topic
    }

    /// Says on the board that the log does not take its deliveries from `source`.
    pub(crate) fn note_refused(&self, source: &TopicPartition, refusal: Refusal) {
        let why = format!("a delivery was refused: {refusal}");
        self.counters.note_stopped(Stage::Router, source.partition, why);
    }

    /// Where it starts in a partition of its source. One that the source was given since begins with what is newer.
    pub(crate) fn start(&self, partition: Partition) -> Offset {
        self.entry.starts.get(partition.0 as usize).copied().unwrap_or(Offset::ZERO)
    }
}

impl Source {
    pub(crate) fn new(members: Vec<Arc<Member>>) -> Self {
        let numbers = members.iter().enumerate().map(|(number, member)| (Arc::clone(&member.key), number)).collect();
        Self { index: Index::new(members), numbers }
    }

    pub(crate) fn members(&self) -> &[Arc<Member>] {
        self.index.members()
    }

    pub(crate) fn number(&self, key: &str) -> Option<usize> {
        self.numbers.get(key).copied()
    }

    pub(crate) fn member(&self, key: &str) -> Option<&Arc<Member>> {
        self.members().get(self.number(key)?)
    }
}

impl Roster {
    /// The pool's part of `view`. What did not change since `before` is taken over, not compiled again.
    pub(crate) fn next(before: &Self, view: &View, pool: &PoolId, topics: &Topics, board: &Board) -> Self {
        let mut members: BTreeMap<Arc<str>, Vec<Arc<Member>>> = BTreeMap::new();
        for entry in view.subscriptions.values().filter(|entry| entry.pool == *pool) {
            let topic: Arc<str> = topics.of_tenant(&entry.tenant, &entry.config.source.topic).into();
            let held = entry.config.is_paused() || view.unmade(entry).is_some();
            let awaits = view.on_the_move(entry).map(|moving| moving.since);
            let source = view.topics.get(&(entry.tenant.clone(), entry.config.source.topic.clone()));
            let source = source.map_or(0, |source| source.incarnation);
            let member = || Member::new(entry, topics, board).reading(source);
            let made = || Arc::new(member().held_back(held).awaiting(awaits));
            let same = |member: &Arc<Member>| member.held == held && member.awaits == awaits;
            let member = before.unchanged(&topic, entry).filter(same).unwrap_or_else(made);
            members.entry(topic).or_default().push(member);
        }
        let sources = members.into_iter().map(|(topic, members)| {
            let source = before.same(&topic, &members).unwrap_or_else(|| Arc::new(Source::new(members)));
            (topic, source)
        });
        Self { revision: view.revision, sources: sources.collect() }
    }

    pub(crate) fn source(&self, topic: &str) -> Arc<Source> {
        self.sources.get(topic).cloned().unwrap_or_default()
    }

    /// What is read.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sources.keys()
    }

    /// True of a partition that its source was given after all who read it had begun.
    pub(crate) fn is_added(&self, at: &TopicPartition) -> bool {
        let source = self.source(&at.topic);
        source.members().iter().all(|member| member.entry.starts.len() <= at.partition.0 as usize)
    }

    /// Every source partition that a member starts in, or that its source has by now.
    pub(crate) fn partitions<'r>(&'r self, counts: &'r Counts) -> impl Iterator<Item = TopicPartition> + 'r {
        self.sources.iter().flat_map(|(topic, source)| {
            let most = source.members().iter().map(|member| member.entry.starts.len()).max().unwrap_or(0);
            let found = counts.get(topic).copied().unwrap_or(0);
            (0..found.max(u32::try_from(most).unwrap_or(u32::MAX)))
                .map(|partition| TopicPartition::new(Arc::clone(topic), partition))
        })
    }

    fn unchanged(&self, topic: &str, entry: &Arc<SubscriptionEntry>) -> Option<Arc<Member>> {
        let source = self.sources.get(topic)?;
        let key = format!("{}/{}/{}", entry.tenant, entry.id, entry.incarnation);
        source.member(&key).filter(|member| Arc::ptr_eq(&member.entry, entry)).cloned()
    }

    fn same(&self, topic: &str, members: &[Arc<Member>]) -> Option<Arc<Source>> {
        let source = self.sources.get(topic)?;
        let pairs = || source.members().iter().zip(members);
        let same = source.members().len() == members.len() && pairs().all(|(old, new)| Arc::ptr_eq(old, new));
        same.then(|| Arc::clone(source))
    }
}
