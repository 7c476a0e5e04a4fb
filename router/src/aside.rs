//! A tenant that leaves a slot of the router's pool is set aside there, before any scan hears that it leaves.
//!
//! The scans of the slot stop at the border of a transaction, as they do where it goes to another owner, and what they
//! carried of the tenant is written into its rows. Then they go on without it, whenever the log takes what is handed
//! over. Where something of the tenant is lost, the scan that it is lost to stands still, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use fpaas_core::crashpoint::{self, Point};
use fpaas_core::partition::Slot;
use fpaas_core::topics::Stage;
use fpaas_core::{Offset, TopicPartition};
use fpaas_log::{Position, patiently};
use fpaas_state::moves::Slots;
use fpaas_state::rows::{self, ScanRow};
use fpaas_state::{Error as StateError, SubscriptionEntry, View};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::grown::Counts;
use crate::mark::Mark;
use crate::moving::{Leaving, Lost, asked, by_departure};
use crate::scan::row_lost;
use crate::service::Service;
use crate::{Result, sweep};

/// What a slot's rows are to say of one who leaves.
#[derive(Default)]
struct Aside {
    rows: Vec<(String, Bytes)>,
    /// Where something is missing: elsewhere it would begin again.
    lost: Vec<TopicPartition>,
}

impl Service {
    /// Who leaves is set aside in every slot of ours. The scans of a slot stand still for as long as that takes.
    pub(crate) async fn set_aside(
        &mut self,
        view: &Arc<View>,
        counts: &Counts,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        self.look_again(view, counts)?;
        let mut waiting = Vec::new();
        for (slot, departure) in self.departing(view)? {
            if !self.moving.moves.is_aside(&self.shared.tables, slot, &departure)? {
                waiting.push((slot, departure));
            }
        }
        waiting.retain(|(slot, departure)| !self.moving.lost.contains_key(&(*slot, departure.since)));
        let slots: BTreeSet<Slot> = waiting.iter().map(|(slot, _)| *slot).collect();
        if slots.is_empty() || (self.moving.is_early() && slots.is_subset(&self.moving.stuck)) {
            self.moving.stuck = slots;
            return Ok(());
        }
        self.moving.stuck.clone_from(&slots);
        let log = &self.shared.context.log;
        let stopped = self.running().filter(|source| slots.contains(&Slot::of_source(source)));
        self.moving.between.extend(stopped.map(|source| log.hold(source, Offset::ZERO)).collect::<Vec<_>>());
        self.stop(|slot| slots.contains(&slot)).await?;
        for (departure, slots) in by_departure(waiting) {
            if self.unsure {
                return Ok(());
            }
            let leaving = self.leaving(view, counts, &departure);
            let all = self.aside(&leaving, &slots, shutdown).await?;
            if all || slots.len() == 1 {
                continue;
            }
            // What keeps one slot from it need not keep the others.
            for slot in slots {
                if self.unsure {
                    return Ok(());
                }
                self.aside(&leaving, &[slot], shutdown).await?;
            }
        }
        let mut stuck = BTreeSet::new();
        for (slot, departure) in self.departing(view)? {
            let is_lost = self.moving.lost.contains_key(&(slot, departure.since));
            if !is_lost && !self.moving.moves.is_aside(&self.shared.tables, slot, &departure)? {
                stuck.insert(slot);
            }
        }
        self.moving.stuck = stuck;
        if !self.moving.stuck.is_empty() {
            self.moving.put_off();
        }
        Ok(())
    }

    /// Forgets what was lost of who has left, in slots that are not ours any more, and where the subscriptions that
    /// leave are others by now.
    fn look_again(&mut self, view: &Arc<View>, counts: &Counts) -> Result<()> {
        if self.moving.lost.is_empty() {
            return Ok(());
        }
        let mut known = BTreeMap::new();
        for (slot, departure) in self.departing(view)? {
            let key = (slot, departure.since);
            if self.moving.lost.contains_key(&key) {
                known.insert(key, self.leaving(view, counts, &departure).names());
            }
        }
        self.moving.lost.retain(|key, lost| known.get(key) == Some(&lost.of));
        Ok(())
    }

    /// Sets one tenant aside in these slots. False where nothing came of it.
    async fn aside(&mut self, leaving: &Leaving<'_>, slots: &[Slot], shutdown: &CancellationToken) -> Result<bool> {
        let read = slots.iter().filter_map(|slot| leaving.sources.get(slot)).flatten().map(|(_, at)| at.clone());
        let mut at: BTreeSet<TopicPartition> = read.collect();
        for slot in slots {
            let rows = self.shared.tables.scan(*slot, &format!("{}{}/", rows::SCAN, leaving.departure.tenant));
            at.extend(rows.iter().filter_map(|(key, _)| Some(rows::split_partition(key)?.1)));
        }
        let at: Vec<_> = at.into_iter().collect();
        let (log, group) = (&self.shared.context.log, &self.shared.group);
        let positions = patiently(shutdown, || log.positions(group, &at)).await;
        let Some(positions) = asked(positions.map_err(StateError::from), shutdown)? else { return Ok(false) };
        let positions = at.into_iter().zip(positions).filter_map(|(at, position)| Some((at, position?))).collect();
        let (mut steps, mut step) = (Vec::new(), (Slots::default(), Vec::new()));
        for slot in slots {
            let Some(lease) = self.owned.get(slot) else { continue };
            let Aside { rows, lost } = self.explicit(*slot, leaving, &positions)?;
            let (tables, moves) = (&self.shared.tables, &self.moving.moves);
            moves.set_aside((tables, leaving.view), &mut step.0, lease, leaving.departure, (rows, lost.is_empty()))?;
            if !lost.is_empty() {
                let lost = Lost { at: lost.into_iter().collect(), of: leaving.names() };
                step.1.push(((*slot, leaving.departure.since), lost));
            }
            if step.0.is_full() {
                steps.push(std::mem::take(&mut step));
            }
        }
        for (step, lost) in steps.into_iter().chain([step]) {
            crashpoint::hit(Point::MoveSettingAside);
            if !self.commit_slots(step, shutdown).await? {
                return Ok(false);
            }
            crashpoint::hit(Point::MoveSetAside);
            // Only now: until what others have there is written, nothing of the slot may go on.
            self.moving.lost.extend(lost);
        }
        Ok(true)
    }

    /// What the rows of a slot are to say of who leaves, where they do not yet: where it is, whoever carried it.
    fn explicit(
        &self,
        slot: Slot,
        leaving: &Leaving<'_>,
        positions: &BTreeMap<TopicPartition, Position>,
    ) -> Result<Aside> {
        let (tables, mut aside) = (&self.shared.tables, Aside::default());
        for (key, value) in tables.scan(slot, &format!("{}{}/", rows::SCAN, leaving.departure.tenant)) {
            let mut row: ScanRow = rows::decode(&key, &value)?;
            let at = rows::split_partition(&key).map(|(_, at)| at).filter(|_| row.in_scan);
            let Some(at) = at.filter(|_| !sweep::is_orphan(&key, leaving.view).unwrap_or(false)) else { continue };
            if let Some(position) = positions.get(&at) {
                row = ScanRow { position: row.position.max(position.offset), in_scan: false };
                aside.rows.push((key, rows::encode(&row)?));
            } else {
                let lost = format!("positionLost: the position on {at} was committed and is not there any more");
                leaving.entries.iter().for_each(|entry| self.note_lost(entry, &at, &lost));
                aside.lost.push(at);
            }
        }
        for (entry, at) in leaving.sources.get(&slot).into_iter().flatten() {
            let key = rows::scan_key(entry, at);
            if tables.get_bytes(slot, &key).is_some() {
                continue;
            }
            let there = entry.came.as_ref().map_or(entry.incarnation.0, |came| came.there);
            let mark = positions.get(at).map(|of| rows::decode::<Mark>("a position's metadata", &of.metadata));
            // Before it moved it may have come from elsewhere.
            if mark.is_some_and(|mark| mark.is_ok_and(|mark| mark.has_row(entry, there))) {
                let name = format!("{}/{}/{}", entry.tenant, entry.id, entry.incarnation);
                self.note_lost(entry, at, &row_lost(&name, at));
                aside.lost.push(at.clone());
            } else {
                let start = entry.starts.get(at.partition.0 as usize).copied().unwrap_or_default();
                aside.rows.push((key, rows::encode(&ScanRow { position: start, in_scan: false })?));
            }
        }
        Ok(aside)
    }

    fn note_lost(&self, entry: &SubscriptionEntry, at: &TopicPartition, why: &str) {
        error!(tenant = %entry.tenant, subscription = %entry.id, why, "a tenant cannot leave a slot");
        let counters = self.shared.context.board.of(&entry.tenant, &entry.id, entry.incarnation);
        counters.note_stopped(Stage::Router, at.partition, why);
    }
}
