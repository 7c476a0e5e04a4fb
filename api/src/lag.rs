//! How far readers are behind: positions and ends from the log, where a subscription is on its source from the rows.
//!
//! What `/status`, `/metrics` and the line of progress say is all from here. Of a thousand subscriptions the log is
//! asked about as often as of one: a question per group, and one for all ends. Decides nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fpaas_core::topics::Stage;
use fpaas_core::{Offset, PoolId, TopicPartition};
use fpaas_log::Error as LogError;
use fpaas_state::rows::ScanRow;
use fpaas_state::{Context, Result, Standings, SubscriptionEntry};
use schemars::JsonSchema;
use serde::Serialize;

use crate::redrive;

/// Where a reader is on one partition.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct Place {
    pub(crate) position: Offset,
    pub(crate) end: Offset,
    /// Offsets between them, gaps included: 0 means that nothing is left, and it is never too low.
    pub(crate) lag: u64,
    /// False where nothing is known of it, and it is taken to be at its beginning.
    #[serde(skip)]
    begun: bool,
}

impl Place {
    fn new(position: Offset, end: Offset, begun: bool) -> Self {
        Self { position, end, lag: end.0.saturating_sub(position.0), begun }
    }
}

/// Where a subscription is on one partition of its source.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) at: TopicPartition,
    pub(crate) place: Place,
    /// True while it reads the past beside the scan.
    pub(crate) catching_up: bool,
}

/// Where a subscription is.
#[derive(Debug)]
pub(crate) struct Lag {
    /// On each partition of its source; none where the source is not there.
    pub(crate) source: Result<Vec<Standing>>,
    /// In each lane, by its number; none before they are made.
    pub(crate) lanes: Result<Vec<(u32, Place)>>,
}

/// The most positions of one question.
const POSITIONS_AT_ONCE: usize = 1000;

type Group<'a> = (&'a PoolId, Stage);
type Passed = HashMap<TopicPartition, Option<Offset>>;

/// Records of sources and deliveries that nobody has passed yet. A source partition counts once, however many
/// subscriptions read it: for the one that is furthest behind.
pub async fn backlog(context: &Context, standings: &Standings) -> Result<u64> {
    let view = context.control.view();
    let entries: Vec<_> = view.subscriptions.values().map(|entry| &**entry).collect();
    let (mut sources, mut deliveries) = (BTreeMap::<TopicPartition, u64>::new(), 0);
    for entry in &entries {
        deliveries += redrive::remaining(context, standings, entry).await?;
    }
    for lag in of_all(context, standings, &entries).await {
        for standing in lag.source? {
            let lag = sources.entry(standing.at).or_default();
            *lag = standing.place.lag.max(*lag);
        }
        deliveries += lag.lanes?.iter().map(|(_, place)| place.lag).sum::<u64>();
    }
    Ok(sources.values().sum::<u64>() + deliveries)
}

/// Where one of them is.
pub(crate) async fn of(context: &Context, standings: &Standings, entry: &SubscriptionEntry) -> Lag {
    let nowhere = Lag { source: Ok(Vec::new()), lanes: Ok(Vec::new()) };
    of_all(context, standings, &[entry]).await.pop().unwrap_or(nowhere)
}

/// Where each of these is, in their order.
pub(crate) async fn of_all(context: &Context, standings: &Standings, entries: &[&SubscriptionEntry]) -> Vec<Lag> {
    let view = context.control.view();
    let mut found = look(context, standings, entries).await;
    let from = |entry: &SubscriptionEntry| Some(view.on_the_move(entry)?.from.clone());
    let (mut moving, mut before) = (Vec::new(), Vec::new());
    for (entry, found) in entries.iter().zip(&mut found) {
        if let Some(pool) = from(entry) {
            before.push(SubscriptionEntry { pool, ..(*entry).clone() });
            moving.push(found);
        }
    }
    if !moving.is_empty() {
        let before: Vec<_> = before.iter().collect();
        for (now, before) in moving.into_iter().zip(look(context, standings, &before).await) {
            now.or(before);
        }
    }
    found
}

impl Lag {
    /// What has not come into its pool yet is where it was in the one before.
    fn or(&mut self, before: Self) {
        if let (Ok(now), Ok(before)) = (&mut self.source, before.source) {
            for standing in now.iter_mut().filter(|standing| !standing.place.begun) {
                let there = before.iter().find(|before| before.at == standing.at && before.place.begun);
                there.into_iter().for_each(|before| standing.clone_from(before));
            }
        }
        if let (Ok(now), Ok(before)) = (&mut self.lanes, before.lanes) {
            for (lane, place) in now.iter_mut().filter(|(_, place)| !place.begun) {
                let there = before.iter().find(|(of, before)| of == lane && before.begun);
                there.into_iter().for_each(|(_, before)| *place = *before);
            }
        }
    }
}

async fn look(context: &Context, standings: &Standings, entries: &[&SubscriptionEntry]) -> Vec<Lag> {
    let sources = sources(context, entries).await;
    let lanes: Vec<_> = entries.iter().map(|entry| lanes(context, entry)).collect();
    let mut groups = HashMap::<Group<'_>, Vec<TopicPartition>>::new();
    for ((entry, source), lanes) in entries.iter().zip(&sources).zip(&lanes) {
        let source = source.as_deref().unwrap_or_default();
        groups.entry((&entry.pool, Stage::Router)).or_default().extend_from_slice(source);
        groups.entry((&entry.pool, Stage::Dispatcher)).or_default().extend_from_slice(lanes);
    }
    // Positions before ends: the other way round a position could seem to be beyond the end.
    let mut passed = HashMap::new();
    for ((pool, stage), mut at) in groups {
        at.sort_unstable();
        at.dedup();
        passed.insert((pool, stage), positions(context, &context.topics.group(pool, stage), &at).await);
    }
    let read = |of: &fpaas_log::Result<Vec<TopicPartition>>| of.clone().unwrap_or_default();
    let mut all: Vec<_> = sources.iter().map(read).chain(lanes.iter().cloned()).flatten().collect();
    all.sort_unstable();
    all.dedup();
    let ends: HashMap<_, _> = context.log.ends(&all).await.into_iter().zip(all).map(|(end, at)| (at, end)).collect();
    let mut asked = Vec::new();
    for (entry, source) in entries.iter().zip(&sources) {
        asked.extend(source.iter().flatten().map(|at| (*entry, at)));
    }
    let mut rows = standings.of_all(context, &asked).await.into_iter();
    let mut found = Vec::with_capacity(entries.len());
    for ((entry, source), lanes) in entries.iter().zip(&sources).zip(&lanes) {
        let of = |stage| passed.get(&(&entry.pool, stage));
        let rows: Vec<_> = rows.by_ref().take(source.as_ref().map_or(0, Vec::len)).collect();
        found.push(Lag {
            source: source.clone().map_err(Into::into).and_then(|source| {
                let places = places(&source, of(Stage::Router), &ends)?;
                standing(entry, places.into_iter().zip(rows))
            }),
            lanes: places(lanes, of(Stage::Dispatcher), &ends).map(|places| {
                let lane = |(at, passed, end): PlaceOf| {
                    (at.partition.0, Place::new(passed.unwrap_or_default(), end, passed.is_some()))
                };
                places.into_iter().flatten().map(lane).collect()
            }),
        });
    }
    found
}

/// The partitions of each one's source.
async fn sources(context: &Context, entries: &[&SubscriptionEntry]) -> Vec<fpaas_log::Result<Vec<TopicPartition>>> {
    let mut known = HashMap::<String, fpaas_log::Result<Vec<TopicPartition>>>::new();
    let mut found = Vec::with_capacity(entries.len());
    for entry in entries {
        let topic = context.topics.of_tenant(&entry.tenant, &entry.config.source.topic);
        if !known.contains_key(&topic) {
            let described = context.log.describe_topic(&topic).await;
            let partitions = described.map(|spec| partitions(&topic, spec.map_or(0, |spec| spec.partitions)));
            known.insert(topic.clone(), partitions);
        }
        found.extend(known.get(&topic).cloned());
    }
    found
}

fn lanes(context: &Context, entry: &SubscriptionEntry) -> Vec<TopicPartition> {
    let topic = context.topics.deliveries(&entry.tenant, &entry.id, entry.incarnation);
    partitions(&topic, entry.config.lanes)
}

fn partitions(topic: &str, count: u32) -> Vec<TopicPartition> {
    let topic: Arc<str> = topic.into();
    (0..count).map(|partition| TopicPartition::new(Arc::clone(&topic), partition)).collect()
}

async fn positions(context: &Context, group: &str, at: &[TopicPartition]) -> fpaas_log::Result<Passed> {
    let mut found = Passed::new();
    for some in at.chunks(POSITIONS_AT_ONCE) {
        let positions = context.log.positions(group, some).await?;
        let offsets = positions.into_iter().map(|position| position.map(|position| position.offset));
        found.extend(some.iter().cloned().zip(offsets));
    }
    Ok(found)
}

type PlaceOf = (TopicPartition, Option<Offset>, Offset);

/// Position of the stage's group and end, per partition; nothing of one that is not there.
fn places(
    at: &[TopicPartition],
    passed: Option<&fpaas_log::Result<Passed>>,
    ends: &HashMap<TopicPartition, fpaas_log::Result<Offset>>,
) -> Result<Vec<Option<PlaceOf>>> {
    let passed = match passed {
        Some(Ok(passed)) => Some(passed),
        Some(Err(error)) => return Err(error.clone().into()),
        None => None,
    };
    let place = |at: &TopicPartition| match ends.get(at) {
        Some(Ok(end)) => {
            let passed = passed.and_then(|passed| passed.get(at).copied()).flatten();
            Ok(Some((at.clone(), passed, *end)))
        }
        Some(Err(LogError::NoSuchTopic(_))) | None => Ok(None),
        Some(Err(error)) => Err(error.clone().into()),
    };
    at.iter().map(place).collect()
}

/// Where its scan, or what it reads beside that, is.
fn standing(
    entry: &SubscriptionEntry,
    places: impl Iterator<Item = (Option<PlaceOf>, Result<Option<ScanRow>>)>,
) -> Result<Vec<Standing>> {
    let mut found = Vec::new();
    for (place, row) in places {
        let (Some((at, scan, end)), row) = (place, row?) else { continue };
        let start = entry.starts.get(at.partition.0 as usize).copied().unwrap_or_default();
        let begun = row.is_some();
        // In the scan it is where the scan is, and not before it was let in.
        let (position, in_scan) = match row {
            Some(row) if row.in_scan => (scan.unwrap_or_default().max(row.position), true),
            Some(row) => (row.position, false),
            None => (start, scan.is_none_or(|scan| scan <= start)),
        };
        let catching_up = !in_scan && position < end;
        found.push(Standing { at, place: Place::new(position, end, begun), catching_up });
    }
    Ok(found)
}
