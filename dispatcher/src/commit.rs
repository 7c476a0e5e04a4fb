//! A lane's transaction, until it is known what became of it.
//!
//! Answers stay in memory until then, so that an endpoint is never called again because the log could not be written.
//! What became of one whose outcome the log does not know is read from the mark beside the lane's position. Invariant:
//! offsets-with-effects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::crashpoint::{self, Point};
use fpaas_core::topics::Stage;
use fpaas_core::{TopicName, TopicPartition};
use fpaas_log::{Backoff, Culprit, Error as LogError, Refusal, TopicSpec, patiently};
use fpaas_state::Mutations;
use tracing::warn;

use crate::error::{Halt, Step};
use crate::plan::{Places, Plan};
use crate::redrive::Portion;
use crate::reports;
use crate::site::{Site, wait_for_log};

/// How often a lane tries again what the log refuses: an operator has to do something about it.
pub(crate) const REFUSED_AGAIN: Duration = Duration::from_secs(15);

/// A plan, and where it is committed the bytes of the rows of what it froze, in their order.
pub(crate) type Committed = (Plan, Step<Vec<Bytes>>);

/// Makes `plan` durable; what the log does not take of it is taken out.
pub(crate) async fn commit(site: Arc<Site>, mut plan: Plan) -> Committed {
    let mut unknown = Unknown { site: &site, is: false };
    let committed = until_known(&site, &mut plan, &mut unknown.is).await;
    unknown.is &= committed.is_err();
    drop(unknown);
    (plan, committed)
}

/// Whether a transaction may be in the log whose rows are not here. The slot's rows are read again then, also where
/// nobody has waited for the end: what the writer was given it commits.
struct Unknown<'a> {
    site: &'a Site,
    is: bool,
}

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        if self.is {
            self.site.shared.unsure.note([self.site.lease.slot]);
        }
    }
}

/// `unknown` where one of the attempts may have been committed.
async fn until_known(site: &Site, plan: &mut Plan, unknown: &mut bool) -> Step<Vec<Bytes>> {
    let mut backoff = Backoff::default();
    let mut earlier = false;
    loop {
        let places = places(site, plan).await?;
        let (transaction, mutations, frozen) = plan.transaction(site, &places)?;
        hit_before(plan);
        // Not given up when asked to stop: it may be committed all the same, and then the rows must follow.
        *unknown = true;
        let Err(rejected) = site.shared.writer.commit(transaction).await else {
            return Ok(committed(site, plan, mutations, frozen));
        };
        earlier |= rejected.error == LogError::Unknown;
        *unknown = earlier;
        match rejected.error {
            error if error.may_pass() => {
                wait_for_log(&site.stop, &mut backoff, &error).await?;
                // Its time counts from when it is frozen, however long it has waited for the log.
                plan.freeze_anew(site.shared.context.clock.now());
            }
            LogError::Unknown if is_committed(site, plan).await? => {
                return Ok(committed(site, plan, mutations, frozen));
            }
            error @ LogError::Unknown => wait_for_log(&site.stop, &mut backoff, &error).await?,
            LogError::Abort(Culprit::Append { at, refusal }) => refused(site, plan, &places, &at, refusal).await?,
            error => return Err(error.into()),
        }
    }
}

/// The one that was committed last carries our mark.
async fn is_committed(site: &Site, plan: &Plan) -> Step<bool> {
    Ok(site.committed().await?.is_some_and(|position| position.metadata == plan.mark))
}

fn committed(site: &Site, plan: &Plan, mutations: Mutations, frozen: Vec<Bytes>) -> Vec<Bytes> {
    site.shared.tables.apply(mutations);
    if !plan.finishes.is_empty() {
        crashpoint::hit(Point::LaneAfterCommit);
    }
    if !plan.parks.is_empty() {
        crashpoint::hit(Point::LaneAfterPark);
    }
    if plan.redrive.is_some() {
        crashpoint::hit(Point::LaneAfterRedrive);
    }
    if !frozen.is_empty() {
        crashpoint::hit(Point::LaneAfterFreeze);
    }
    frozen
}

fn hit_before(plan: &Plan) {
    if !plan.finishes.is_empty() {
        crashpoint::hit(Point::LaneBeforeCommit);
    }
    if !plan.parks.is_empty() {
        crashpoint::hit(Point::LaneBeforePark);
    }
    if plan.redrive.is_some() {
        crashpoint::hit(Point::LaneBeforeRedrive);
    }
    if plan.finishes.is_empty() && !plan.freezes.is_empty() {
        crashpoint::hit(Point::LaneBeforeFreeze);
    }
}

/// Somewhere the log takes nothing, or not this.
async fn refused(site: &Site, plan: &mut Plan, places: &Places, at: &TopicPartition, refusal: Refusal) -> Step<()> {
    let reports = &places.reports;
    if [&reports.attempts, &reports.system].into_iter().flatten().any(|of| of.topic == at.topic) {
        // The next attempt does without.
        site.shared.known.refused(at, &refusal.to_string());
        return Ok(());
    }
    let result = places.results.iter().find(|(_, (topic, _))| *topic == *at.topic).map(|(name, _)| name.clone());
    if let Some(topic) = result {
        refuse(site, plan, &topic, &format!("{at}: {refusal}"));
        return Ok(());
    }
    let too_large = refusal == Refusal::TooLarge;
    if too_large && site.shared.tables.is_of(at) && !plan.parks.is_empty() {
        // They stay where they are instead, and the lane waits for them.
        site.note_unparkable();
        return Err(Halt::Refused(format!("failed events cannot be parked: {at}: {refusal}").into()));
    }
    if *at == site.at && plan.redrive.is_some() {
        // Nothing else of a lane's goes there: everything else is done all the same.
        warn!(%at, %refusal, "the log does not take dead letters that are to be delivered again");
        if !(too_large && plan.redrive.as_mut().is_some_and(Portion::shrink)) {
            plan.redrive = None;
        }
        return Ok(());
    }
    if too_large && plan.shrink_letters() {
        warn!(%at, lane = %site.at, "dead letters are refused as too large");
        return Ok(());
    }
    // Answers stay in memory: no endpoint is called again because an operator takes his time.
    stand_still(site, &format!("{at}: {refusal}")).await
}

/// Says why, until something may have changed.
async fn stand_still(site: &Site, why: &str) -> Step<()> {
    warn!(lane = %site.at, %why, "a lane stands still");
    site.counters.note_stopped(Stage::Dispatcher, site.at.partition, why);
    let mut entry = site.entry.clone();
    entry.mark_unchanged();
    tokio::select! {
        biased;
        () = site.stop.cancelled() => return Err(Halt::Stopped),
        Ok(()) = entry.changed() => {}
        () = tokio::time::sleep(REFUSED_AGAIN) => {}
    }
    site.counters.note_moving(Stage::Dispatcher, site.at.partition);
    Ok(())
}

/// Results that go nowhere are kept as dead letters, or dropped; everything else stays.
fn refuse(site: &Site, plan: &mut Plan, topic: &TopicName, why: &str) {
    let policy = site.current().config.retry.on_exhausted;
    for (failure, attempts) in plan.refuse(topic, why, policy) {
        site.note_failure(&failure, attempts);
    }
}

/// Where everything goes. Results whose topic is not there, or not shown, go nowhere.
async fn places(site: &Site, plan: &mut Plan) -> Step<Places> {
    let results = places_of_results(site, plan).await?;
    let (entry, mut reports) = (site.current(), reports::Places::default());
    if !plan.reports.attempts.is_empty() {
        reports.attempts = site.shared.known.attempts(site, &entry.tenant).await;
    }
    if plan.tells() {
        reports.system = reports::system_of(site, &entry);
    }
    Ok(Places { results, reports })
}

async fn places_of_results(site: &Site, plan: &mut Plan) -> Step<BTreeMap<TopicName, (String, u32)>> {
    let mut places = BTreeMap::new();
    let records = plan.finishes.iter().flat_map(|finish| &finish.settlement.records);
    let topics: BTreeSet<TopicName> = records.map(|record| record.topic.clone()).collect();
    let tenant = site.current().tenant.clone();
    for topic in topics {
        let name = site.shared.context.topics.of_tenant(&tenant, &topic);
        match describe(site, &name).await? {
            Ok(Some(spec)) => drop(places.insert(topic, (name, spec.partitions))),
            Ok(None) => refuse(site, plan, &topic, &format!("there is no topic {topic}")),
            Err(why) => refuse(site, plan, &topic, &why),
        }
    }
    Ok(places)
}

/// The topic, or why the log does not show it. Asked even when the lane is to stop: an answer that is in memory is
/// worth a commit.
async fn describe(site: &Site, topic: &str) -> Step<Result<Option<TopicSpec>, String>> {
    match patiently(&site.stop, || site.shared.context.log.describe_topic(topic)).await {
        Err(LogError::Retry(_)) => Err(Halt::Stopped),
        Err(LogError::Refused(why)) => Ok(Err(why)),
        found => Ok(Ok(found?)),
    }
}
