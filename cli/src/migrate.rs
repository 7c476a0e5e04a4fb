//! `fpaas migrate`: an installation on an embedded log moves to a Kafka cluster, and its work goes on there.
//!
//! ```text
//!  drain ─▶ mark ─▶ copy every record ─▶ read it back ─▶ commands ─▶ cursors, rows, positions ─▶ mark ─▶ the folder
//!            │                              │ offsets of before ─▶ offsets of now       │           │
//!            └── neither side starts ───────┴───────────────────────────────────────────┴───────────┘ cluster starts
//! ```
//!
//! It may be killed at any moment and is run again: what is there is found and compared, and the rest is done. Owns the
//! order of these steps; the only part of the program that has two logs open. Invariant: offsets-with-effects.

mod cluster;
mod copy;
mod drain;
mod places;
mod placing;
mod rewrite;
mod setting;
#[cfg(test)]
mod tests;
mod translation;

use std::sync::Arc;

use fpaas_core::Offset;
use fpaas_core::crashpoint::{self, Point};
use fpaas_core::topics::{Stage, Topics};
use fpaas_log::{Created, Log, Record, Retention, Stored, TopicSpec, Transaction};
use tracing::info;

use crate::args::Migrate;
use crate::config::Settings;
use crate::exit::Failure;
use crate::mark::State;
use copy::{Copier, Pair, Tally};
use places::{Kind, Moving, Places};
use placing::Placing;
use rewrite::Translations;
use setting::Setting;

/// What one transaction appends to bring a partition's end up.
const PADDING: u64 = 10_000;

/// `fpaas migrate`.
pub(crate) async fn run(args: Migrate, settings: &Settings) -> Result<(), Failure> {
    let setting = Setting::open(&args, settings)?;
    if args.abandon { setting.abandon().await } else { setting.run().await }
}

/// From one log to another, whatever they are.
#[derive(Debug)]
struct Move {
    copier: Copier,
    places: Places,
    /// The same on both sides.
    id: String,
    /// The node that will go on.
    node: String,
}

/// What has moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Moved {
    /// By the new name.
    topics: Vec<(String, Tally)>,
    positions: usize,
}

impl Move {
    async fn new(
        (from, before): (Arc<dyn Log>, &Topics),
        (to, after): (Arc<dyn Log>, &Topics),
        (id, node): (&str, &str),
    ) -> Result<Self, Failure> {
        let view = places::view(&*from, before).await?;
        let places = Places::find(&*from, &view, before, after).await?;
        let copier = Copier::new(from, to).await?;
        Ok(Self { copier, places, id: id.to_owned(), node: node.to_owned() })
    }

    /// Until all is there and the cluster says so.
    async fn run(&mut self) -> Result<Moved, Failure> {
        let places = self.places.clone();
        self.announce(&places).await?;
        cluster::put(&mut self.copier, &places.after, &self.id, State::Begun).await?;
        for topic in &places.topics {
            self.copy(topic).await?;
        }
        let (mut moved, mut translations) = (Moved::default(), Translations::new());
        for topic in &places.topics {
            let tally = self.verify(topic, &mut translations).await?;
            moved.topics.push((topic.target.clone(), tally));
        }
        moved.topics.push((places.control.target.clone(), self.control(&places, &translations).await?));
        moved.positions = self.place(&places, &translations).await?;
        crashpoint::hit(Point::MigrationPlaced);
        cluster::put(&mut self.copier, &places.after, &self.id, State::Finished).await?;
        crashpoint::hit(Point::MigrationFinished);
        // Only now: until then, what is read back is to be all of it. A node's start does the same.
        for topic in &places.topics {
            self.copier.to.alter_topic(&topic.target, &topic.spec.retention).await?;
        }
        Ok(moved)
    }

    /// How much is to be done: as many records as there are offsets, or fewer.
    async fn announce(&self, places: &Places) -> Result<(), Failure> {
        let mut offsets = 0;
        for pair in places.topics.iter().flat_map(Moving::pairs) {
            let marks = self.copier.from.watermarks(&pair.source).await?;
            offsets += marks.end.0.saturating_sub(marks.low.0);
        }
        info!(topics = places.topics.len(), records_at_most = offsets, "moving");
        Ok(())
    }

    async fn copy(&mut self, topic: &Moving) -> Result<(), Failure> {
        make(&*self.copier.to, topic).await?;
        let mut copied = Tally::default();
        for pair in topic.pairs() {
            if matches!(topic.kind, Kind::Tenant(_)) && !topic.spec.compacted {
                self.pad(&pair).await?;
            }
            copied.add(self.copier.copy(&pair, &|stored| Ok(kept(topic, &pair, stored))).await?);
        }
        info!(topic = topic.target, records = copied.records, bytes = copied.bytes, "copied");
        Ok(())
    }

    /// A record of a tenant's topic is known by where it stands: those that come after the move must not stand where
    /// others stood before it, which were removed since.
    async fn pad(&mut self, pair: &Pair) -> Result<(), Failure> {
        let (to, low) = (Arc::clone(&self.copier.to), self.copier.from.watermarks(&pair.source).await?.low);
        // Trimmed once it is long enough, and before the first record is copied.
        if low == Offset::ZERO || to.watermarks(&pair.target).await?.low > Offset::ZERO {
            return Ok(());
        }
        loop {
            let end = to.appended_end(&pair.target).await?;
            if end >= low {
                return Ok(to.trim(&pair.target, end).await?);
            }
            let mut transaction = Transaction::new();
            for _ in 0..(low.0 - end.0).min(PADDING) {
                transaction.append(pair.target.clone(), Record::default());
            }
            self.copier.append(transaction).await?;
        }
    }

    /// Reads it back, and learns where everything stands now.
    async fn verify(&self, topic: &Moving, translations: &mut Translations) -> Result<Tally, Failure> {
        let mut all = Tally::default();
        for pair in topic.pairs() {
            let kept = |stored| Ok(kept(topic, &pair, stored));
            let (tally, translation) = self.copier.verify(&pair, &kept).await?;
            all.add(tally);
            translations.insert(pair.source.clone(), translation);
        }
        info!(topic = topic.target, records = all.records, bytes = all.bytes, "read back, the same");
        Ok(all)
    }

    /// Commands: one by one, since their number is the revision.
    async fn control(&mut self, places: &Places, translations: &Translations) -> Result<Tally, Failure> {
        make(&*self.copier.to, &places.control).await?;
        let mut all = Tally::default();
        let change = |stored| rewrite::command(places, translations, stored);
        for pair in places.control.pairs() {
            self.copier.copy(&pair, &change).await?;
            all.add(self.copier.verify(&pair, &change).await?.0);
        }
        info!(topic = places.control.target, records = all.records, "copied and read back");
        Ok(all)
    }

    async fn place(&mut self, places: &Places, translations: &Translations) -> Result<usize, Failure> {
        let placing = Placing { places, translations, node: &self.node };
        placing.cursors(&mut self.copier).await?;
        let mut positions = 0;
        for pool in &places.pools {
            for stage in [Stage::Router, Stage::Dispatcher] {
                positions += placing.stage(&self.copier, pool, stage).await?;
            }
        }
        Ok(positions)
    }
}

/// What a record becomes in a topic whose records hold no offsets.
fn kept(topic: &Moving, pair: &Pair, stored: Stored) -> Record {
    match topic.kind {
        Kind::Tenant(incarnation) => rewrite::of_tenant(&pair.source, incarnation, topic.spec.compacted, stored),
        _ => stored.record,
    }
}

/// Without retention for now: what is copied stays until it is read back.
async fn make(to: &dyn Log, topic: &Moving) -> Result<(), Failure> {
    let spec = TopicSpec { retention: Retention::FOREVER, ..topic.spec.clone() };
    match to.create_topic(&topic.target, &spec).await? {
        Created::New | Created::Existed => Ok(()),
        Created::Different(found) => Err(Failure::Usage(format!(
            "{} is there with {} partitions{} instead of {}{}: choose another --topic-prefix",
            topic.target,
            found.partitions,
            if found.compacted { ", compacted," } else { "" },
            spec.partitions,
            if spec.compacted { ", compacted" } else { "" },
        ))),
    }
}
