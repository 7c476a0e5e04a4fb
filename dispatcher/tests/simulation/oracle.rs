//! What must hold, from the calls that the endpoint saw and from the log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fpaas_core::{Offset, limits};
use fpaas_log::Record;
use tokio::time::Instant;

use crate::endpoint::{Said, Seen};
use crate::world::World;

struct Known {
    /// Each lane's events in order, with their keys.
    lanes: BTreeMap<u32, Vec<(String, Option<String>)>>,
    results: Vec<String>,
    letters: Vec<String>,
    /// Of those the ones of which no payload could be made.
    unsendable: BTreeSet<String>,
    /// Those that were delivered again.
    redriven: Vec<String>,
}

/// Panics where something does not.
pub(crate) fn check(seed: u64, world: &mut World) {
    let known = known(world);
    let seen = world.endpoint.seen.lock().unwrap().clone();
    let told = |what: &str| format!("seed {seed}: {what}\n{}", world.plan.settings);
    every_event_ends_once(world, &known, &told);
    repeats_are_the_same(world, &told);
    what_cannot_be_sent_is_not(world, &known, &seen, &told);
    bounds_hold(world, &seen, &told);
    waits_are_kept(world, &told);
    breakers_are_told(world, &told);
    if world.plan.ordering != "none" {
        keys_keep_their_order(world, &known, &seen, &told);
    }
    count(world, &known, &seen);
}

/// That an endpoint answers again is told of one that was let rest; whoever dies has forgotten that.
fn breakers_are_told(world: &World, told: Told<'_>) {
    let (opened, closed) = breakers(world);
    assert!(closed <= opened || world.tally.crashes > 0, "{}", told(&format!("opened {opened}, closed {closed}")));
}

/// How often the tenant is told that one has opened, and that one has closed.
fn breakers(world: &World) -> (usize, usize) {
    let records = world.log.records(&world.system());
    let is = |stored: &fpaas_log::Stored, what: &str| {
        let value: serde_json::Value = serde_json::from_slice(stored.record.value.as_deref().unwrap()).unwrap();
        value["type"] == what
    };
    let count = |what: &str| records.iter().filter(|stored| is(stored, what)).count();
    (count("breakerOpened"), count("breakerClosed"))
}

fn known(world: &World) -> Known {
    let text = |record: &Record| record.headers.get_str("id").unwrap().to_owned();
    let results = world.log.records(&world.results());
    let letters = (0..world.plan.lanes).flat_map(|lane| {
        let to = world.redrive.as_ref().map_or(Offset::ZERO, |(_, to)| to[lane as usize]);
        world.log.records(&world.dead_letters(lane)).into_iter().map(move |stored| (stored.offset < to, stored))
    });
    let letters: Vec<_> = letters.collect();
    let unsendable = letters
        .iter()
        .filter(|(_, stored)| stored.record.headers.get_str("fpaas.error.reason") == Some("payloadFailed"));
    let unsendable = unsendable.map(|(_, stored)| text(&stored.record)).collect();
    let letters: Vec<_> = letters.iter().map(|(again, stored)| (*again, text(&stored.record))).collect();
    Known {
        lanes: world.sent.clone(),
        results: results.iter().map(|of| String::from_utf8(of.record.key.clone().unwrap().to_vec()).unwrap()).collect(),
        unsendable,
        redriven: letters.iter().filter(|(again, _)| *again).map(|(_, id)| id.clone()).collect(),
        letters: letters.into_iter().map(|(_, id)| id).collect(),
    }
}

type Told<'a> = &'a dyn Fn(&str) -> String;

/// In the log each is a result or a dead letter, once, and once more for each letter that was delivered again; where
/// they
/// are dropped, at most once.
fn every_event_ends_once(world: &World, known: &Known, told: Told<'_>) {
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    for id in known.results.iter().chain(&known.letters) {
        *counts.entry(id).or_default() += 1;
    }
    for (id, _) in known.lanes.values().flatten() {
        let count = counts.get(id).copied().unwrap_or(0);
        let expected = 1 + known.redriven.iter().filter(|again| *again == id).count();
        assert!(
            count == expected || (count == 0 && world.plan.drops),
            "{}",
            told(&format!("{id} ended {count} times: {}", calls_with(world, id)))
        );
    }
    let all: BTreeSet<_> = known.lanes.values().flatten().map(|(id, _)| id).collect();
    assert!(counts.keys().all(|id| all.contains(id)), "{}", told("something else ended"));
    if world.plan.drops {
        assert!(known.letters.is_empty(), "{}", told("a dead letter where they are dropped"));
    }
}

/// The calls with an event, a line each, for a person.
fn calls_with(world: &World, id: &String) -> String {
    let seen = world.endpoint.seen.lock().unwrap();
    let calls = seen.iter().filter(|call| call.events.contains(id));
    let line = |call: &Seen| {
        let Seen { id, attempt, events, begun, answered, life, .. } = call;
        format!("\n{begun:?} life {life} {id} attempt {attempt} {events:?} {answered:?}")
    };
    calls.map(line).collect()
}

/// Invariant: frozen-batch.
fn repeats_are_the_same(world: &World, told: Told<'_>) {
    for (id, calls) in world.endpoint.batches() {
        let same = calls.iter().all(|call| call.body == calls[0].body && call.events == calls[0].events);
        assert!(same, "{}", told(&format!("{id} has changed")));
    }
}

/// And nothing else is kept as that.
fn what_cannot_be_sent_is_not(world: &World, known: &Known, seen: &[Seen], told: Told<'_>) {
    for (id, _) in known.lanes.values().flatten() {
        let unsendable = world.plan.is_unsendable(id);
        let is_kept_so = known.unsendable.contains(id);
        assert!(is_kept_so == (unsendable && !world.plan.drops), "{}", told(&format!("{id} is kept as another")));
        let is_sent = seen.iter().any(|call| call.events.contains(id));
        assert!(is_sent != unsendable, "{}", told(&format!("{id} is sent: {is_sent}")));
    }
}

/// Invariant: bounded.
fn bounds_hold(world: &World, seen: &[Seen], told: Told<'_>) {
    let most = usize::try_from(world.plan.settings["collector"]["maxEvents"].as_u64().unwrap()).unwrap();
    assert!(seen.iter().all(|call| call.events.len() <= most), "{}", told("a batch is too large"));
    let at_once = at_once(seen);
    assert!(at_once <= limits::LANE_CALLS_MAX * world.plan.lanes as usize, "{}", told("too many calls at once"));
    if world.plan.ordering == "partition" {
        assert!(at_once <= world.plan.lanes as usize, "{}", told("a lane does not wait"));
    }
}

/// How many calls that were answered were under way at once.
fn at_once(seen: &[Seen]) -> usize {
    let answered = seen.iter().filter_map(|call| call.answered.as_ref().map(|(end, _)| (call.begun, *end)));
    let mut moments: Vec<(Instant, i32)> = answered.flat_map(|(begun, end)| [(begun, 1), (end, -1)]).collect();
    moments.sort();
    let (mut now, mut most) = (0i32, 0);
    for (_, change) in moments {
        now += change;
        most = most.max(now);
    }
    usize::try_from(most).unwrap()
}

/// Between the end of a call and the next one of the same batch: no less than the table says, whoever makes it.
fn waits_are_kept(world: &World, told: Told<'_>) {
    let retry = &world.plan.settings["retry"];
    let millis = |name: &str| Duration::from_millis(retry[name].as_u64().unwrap());
    let (initial, most) = (millis("initialBackoffMs"), millis("maxBackoffMs"));
    for (id, calls) in world.endpoint.batches() {
        for pair in calls.windows(2) {
            let [one, next] = pair else { continue };
            // A crash may come before the wait is written down.
            let Some((ended, Said::No(after))) = &one.answered else { continue };
            // A change of what is called counts from the call that was under way then.
            let reshaped = world.reshaped.iter().any(|when| (one.begun..=next.begun).contains(when));
            if one.life != next.life || reshaped {
                continue;
            }
            let doubled = initial * 2u32.saturating_pow(one.attempt - 1).min(1 << 20);
            let least = after.unwrap_or(doubled.min(most).mul_f64(0.8)).max(if after.is_some() {
                initial
            } else {
                Duration::ZERO
            });
            let waited = next.begun.duration_since(*ended);
            let near = Duration::from_millis(2);
            assert!(waited + near >= least, "{}", told(&format!("{id} waited {waited:?} and not {least:?}: {one:?}")));
        }
    }
}

/// Invariant: key-order. Who is called with an event was called with every earlier one of its key before, and never is
/// again: those calls are over.
fn keys_keep_their_order(world: &World, known: &Known, seen: &[Seen], told: Told<'_>) {
    for (lane, events) in &known.lanes {
        let mut earlier: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
        let mut before: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
        for (id, key) in events {
            // What is delivered again stands behind what came meanwhile.
            let is_in_order = !world.plan.is_unsendable(id) && !known.redriven.contains(id);
            let Some(key) = key.as_ref().filter(|_| is_in_order) else { continue };
            let of_key = earlier.entry(key).or_default();
            before.insert(id, of_key.clone());
            of_key.push(id);
        }
        let calls: Vec<_> = seen.iter().filter(|call| call.lane == u64::from(*lane)).collect();
        for call in &calls {
            for id in &call.events {
                for one in before.get(id).into_iter().flatten().filter(|one| !call.events.contains(one)) {
                    let mut of_one = calls.iter().filter(|other| other.events.contains(one)).peekable();
                    let over = |other: &&&Seen| other.ended.is_some_and(|ended| ended <= call.begun);
                    let fine = of_one.peek().is_some() && of_one.all(|other| over(&other));
                    assert!(fine, "{}", told(&format!("{id} overtook {one} in {call:?}")));
                }
            }
        }
    }
}

fn count(world: &mut World, known: &Known, seen: &[Seen]) {
    let events: usize = known.lanes.values().map(Vec::len).sum();
    let leftovers =
        seen.iter().filter(|call| matches!(&call.answered, Some((_, Said::Done { again, .. })) if !again.is_empty()));
    let leftovers = leftovers.count();
    (world.tally.breaker_opened, world.tally.breaker_closed) = breakers(world);
    let tally = &mut world.tally;
    tally.events += events;
    tally.calls += seen.len();
    tally.repeats += seen.len() - seen.iter().map(|call| &call.id).collect::<BTreeSet<_>>().len();
    tally.acknowledged += known.results.len();
    tally.letters += known.letters.len();
    tally.dropped += events + known.redriven.len() - known.results.len() - known.letters.len();
    tally.redriven += known.redriven.len();
    tally.leftovers += leftovers;
    tally.unsendable += known.unsendable.len();
    for call in seen {
        *tally.shapes.entry(call.shape.clone()).or_default() += 1;
    }
    tally.most_at_once = tally.most_at_once.max(at_once(seen));
}
