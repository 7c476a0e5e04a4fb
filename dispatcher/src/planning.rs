//! What a lane writes next: it takes what is settled, parks what failed, and freezes what is due, as one [`Plan`].
//!
//! The window is changed as if that were committed already: if it never is, the lane begins anew from its rows. Does
//! not own what is where ([`crate::window`]). Invariants: key-order, bounded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::subscription::Ordering;
use fpaas_core::{Offset, Timestamp, limits};
use fpaas_state::SubscriptionEntry;
use tokio::time::Instant;

use crate::batch::{Batcher, Bounds};
use crate::body::{Delivery, Shape};
use crate::budget::Taken;
use crate::error::Step;
use crate::freeze::Freezing;
use crate::lane::Lane;
use crate::plan::{Finish, Plan};
use crate::reports;
use crate::set::{self, Phase, Retries, Set};
use crate::window::ranges;

/// About what a row takes in a transaction, or its end, beside what it holds.
const ROW_BYTES: usize = 192;

impl Lane {
    /// What is to be written now; none where nothing is.
    pub(crate) fn plan(&mut self, entry: &Arc<SubscriptionEntry>, now: Instant) -> Step<Option<Plan>> {
        let (mut plan, ordering) = (Plan::default(), entry.config.ordering);
        self.finish(&mut plan, now);
        if ordering != Ordering::Partition && !self.site.unparkable.load(std::sync::atomic::Ordering::Relaxed) {
            self.park(&mut plan, ordering);
        }
        self.note_retries(&mut plan, now);
        let may_freeze = !entry.config.is_paused() && !self.is_stopping();
        self.batch_due = None;
        if may_freeze {
            self.freeze(&mut plan, entry, now)?;
            self.redrive.write(&mut plan, now);
        }
        self.tell(&mut plan, entry);
        plan.position = self.window.position();
        let idle = plan.is_empty();
        if idle && self.age.due(plan.position).is_none_or(|due| now < due) {
            return Ok(None);
        }
        self.place_done(&mut plan);
        // It rides along: by itself it is worth no transaction.
        plan.failing = self.failing.take_news();
        plan.reports.add(self.reports.take(&self.site));
        plan.mark = self.marks.next(&self.site.shared.writer_id);
        self.note_parked();
        Ok(Some(plan))
    }

    /// That its subscription is disabled is told once, by a row.
    fn tell(&mut self, plan: &mut Plan, entry: &SubscriptionEntry) {
        if reports::system_of(&self.site, entry).is_none() {
            return;
        }
        if let Some(event) = reports::disabled(&self.site, entry, self.alerted.disabled) {
            plan.reports.events.push(event);
        }
        if !plan.reports.events.is_empty() || self.alerted.position_lost {
            self.alerted = reports::alerted(entry);
            plan.alerted = Some(self.alerted.clone());
        }
    }

    /// What is parked counts in what all may park, and is shown.
    pub(crate) fn note_parked(&mut self) {
        self.parked.set(self.window.parked_bytes());
        self.site.counters.note_parked(self.site.at.partition, self.window.parked_events());
    }

    /// Batches whose events are settled.
    fn finish(&mut self, plan: &mut Plan, now: Instant) {
        let is_settled = |set: &Set| matches!(set.phase, Phase::Settled(_)) && set.batch.is_some();
        let settled = |set: &Set| is_settled(set).then_some((set.first, set.bytes));
        let settled: Vec<_> = self.window.sets().filter_map(settled).collect();
        for (first, bytes) in settled {
            if plan.is_full_with(bytes) {
                break;
            }
            let Some(set) = self.window.remove(first) else { continue };
            let (Phase::Settled(settlement), Some(batch)) = (set.phase, set.batch) else { continue };
            plan.note_bytes(bytes + settlement.written_bytes() + set.row.events as usize * ROW_BYTES);
            let done = settlement.done(batch.events.len());
            for left in &settlement.left {
                let events: Vec<_> = left.events.iter().filter_map(|index| batch.events.get(*index)).cloned().collect();
                let at = self.site.shared.context.clock.now().plus(left.wait);
                let freezing = Freezing::left_over(&batch.row, events, left.retries, at);
                let waits = Phase::Waiting(now + left.wait);
                self.window.insert(of_freezing(&freezing, set.parked, left.retries, waits, None));
                plan.freezes.push(freezing);
            }
            plan.finishes.push(Finish { batch, parked: set.parked, settlement: *settlement, done, above: None });
        }
    }

    /// What failed makes room for others, and what follows its keys waits behind it.
    fn park(&mut self, plan: &mut Plan, ordering: Ordering) {
        let waits = |set: &&Set| {
            let waits = match &set.phase {
                Phase::Waiting(_) => true,
                Phase::Freezing(then) => matches!(**then, Phase::Waiting(_)),
                _ => false,
            };
            waits && !set.parked
        };
        let waiting: Vec<_> =
            self.window.sets().filter(waits).map(|set| (set.first, set.row.events as usize, set.bytes)).collect();
        for (first, events, bytes) in waiting {
            let room = self.window.has_room_to_park(events, bytes) && self.parked.has_room_for(bytes);
            if !room || plan.is_full_with(bytes) {
                break;
            }
            let frozen_now = plan.freezes.iter().find(|freezing| freezing.first() == first);
            let events = match (frozen_now, self.window.set_mut(first).and_then(|set| set.batch.clone())) {
                (Some(freezing), _) => freezing.events.clone(),
                (None, Some(batch)) => batch.events.to_vec(),
                (None, None) => continue,
            };
            plan.note_bytes(bytes);
            plan.parks.extend(events);
            self.window.park(first);
        }
        let followers = self.window.take_followers(ordering, self.parked.room().min(plan.room()));
        plan.note_bytes(set::bytes(&followers));
        if plan.room() < limits::RECORD_BYTES_MAX {
            // The next transaction may take what does not fit into this one.
            self.window.sort_again();
        }
        plan.parks.extend(followers);
    }

    /// How often batches were called, where that is news.
    fn note_retries(&mut self, plan: &mut Plan, now: Instant) {
        let (clock, revision) = (self.site.shared.context.clock.now(), self.site.current().revision);
        for set in self.window.sets_mut().filter(|set| set.unwritten) {
            if let Some(due) = set.due() {
                set.unwritten = false;
                let due = clock.plus(due.saturating_duration_since(now));
                plan.retries.push((set.first, set.retries.row(due, revision)));
            }
        }
    }

    /// New batches, as many as can be called.
    fn freeze(&mut self, plan: &mut Plan, entry: &SubscriptionEntry, now: Instant) -> Step<()> {
        let (policy, ordering) = (entry.config.collector, entry.config.ordering);
        let most = if ordering == Ordering::Partition { 1 } else { self.calls.worthwhile() };
        self.hungry |= self.window.is_short_of(policy);
        // What is parked with this plan has no row yet; it comes after all others of its key.
        let unwritten: BTreeSet<Offset> = plan.parks.iter().map(|event| event.offset).collect();
        loop {
            let live = self.window.sets().filter(|set| set.is_live()).count();
            let waits_for_all = ordering == Ordering::Partition && !self.window.is_drained();
            if live >= most {
                self.calls.note_capped();
                return Ok(());
            }
            if self.window.sets().count() >= limits::LANE_BATCHES_MAX {
                return Ok(());
            }
            if let Some(events) = self.released(&unwritten, entry)? {
                self.freeze_one(plan, entry, events, (true, None));
                continue;
            }
            if waits_for_all {
                return Ok(());
            }
            let collected = self.window.collect(Bounds::of(&entry.config), ordering);
            let Some(since) = collected.since else {
                self.hungry = true;
                return Ok(());
            };
            if !collected.full && !self.site.shared.draining {
                self.hungry = true;
                let due = since + Duration::from_millis(policy.max_wait_ms);
                if !self.window.has_caught_up() {
                    return Ok(());
                }
                if due > now {
                    self.batch_due = Some(due);
                    return Ok(());
                }
            }
            let Some(taken) = self.share(live, collected.bytes) else { return Ok(()) };
            let events = self.window.take();
            self.freeze_one(plan, entry, events, (false, taken));
        }
    }

    /// One batch a lane is always there, one that waits included; what is beyond it must fit into what all may hold.
    /// `None` where it does not.
    fn share(&self, live: usize, bytes: usize) -> Option<Option<Taken>> {
        let holds_one = || self.window.sets().any(|set| set.batch.is_some() || set.is_live());
        if live == 0 && !holds_one() { Some(None) } else { self.site.shared.in_flight.take(bytes).map(Some) }
    }

    /// Parked events whose key is free again, as far as they make one batch.
    fn released(&mut self, unwritten: &BTreeSet<Offset>, entry: &SubscriptionEntry) -> Step<Option<Vec<Delivery>>> {
        let most = entry.config.collector.max_events as usize;
        let (mut batcher, mut events) = (Batcher::new(Bounds::of(&entry.config)), Vec::new());
        for offset in self.window.released(most, entry.config.ordering, unwritten) {
            let event = self.site.unpark(offset)?;
            if !batcher.offer(&event) {
                break;
            }
            events.push(event);
        }
        let offsets: Vec<Offset> = events.iter().map(|event| event.offset).collect();
        self.window.take_released(&offsets);
        Ok((!events.is_empty()).then_some(events))
    }

    fn freeze_one(
        &mut self,
        plan: &mut Plan,
        entry: &SubscriptionEntry,
        events: Vec<Delivery>,
        (parked, taken): (bool, Option<Taken>),
    ) {
        let shape = entry.config.webhook().map(Shape::of).unwrap_or_default();
        let freezing = Freezing::of(events, shape, self.clock());
        self.window.insert(of_freezing(&freezing, parked, Retries::default(), Phase::Ready, taken));
        plan.freezes.push(freezing);
    }

    fn clock(&self) -> Timestamp {
        self.site.shared.context.clock.now()
    }

    /// What is done above the position has rows, until the position has passed it.
    fn place_done(&mut self, plan: &mut Plan) {
        let position = plan.position;
        for finish in &mut plan.finishes {
            let offset = |index: &usize| finish.batch.events.get(*index).map(|event| event.offset);
            let offsets = ranges(finish.done.iter().filter_map(offset));
            let above = offsets.last().is_some_and(|(_, last)| *last >= position);
            if above {
                self.window.note_done(offsets.clone());
                finish.above = Some(offsets);
            }
        }
        plan.passed = self.window.take_passed();
    }
}

fn of_freezing(freezing: &Freezing, parked: bool, retries: Retries, then: Phase, taken: Option<Taken>) -> Set {
    Set {
        first: freezing.first(),
        row: freezing.row.clone(),
        keys: set::keys(&freezing.events),
        behind: 0,
        bytes: set::bytes(&freezing.events),
        batch: None,
        parked,
        retries,
        unwritten: false,
        phase: Phase::Freezing(Box::new(then)),
        taken,
    }
}
