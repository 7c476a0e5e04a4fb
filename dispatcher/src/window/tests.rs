//! The window against a model: what it says of every offset, and what may be called when.

use std::sync::Arc;

use fpaas_core::{HeadersBuilder, Timestamp, TopicPartition};
use fpaas_log::{Record, Stored};
use proptest::prelude::*;

use super::*;
use crate::freeze::Freezing;
use crate::set::{self, Retries};

fn event(offset: u64, key: Option<u8>) -> Delivery {
    let record = Record {
        key: key.map(|key| Bytes::copy_from_slice(&[key])),
        value: Some("1".into()),
        headers: HeadersBuilder::new().build(),
        ..Record::default()
    };
    Delivery::new(&TopicPartition::new("lane", 0), Stored { offset: Offset(offset), record })
}

fn policy(max_events: u32) -> Collector {
    Collector { max_events, ..Collector::default() }
}

fn read(window: &mut Window, events: &[(u64, Option<u8>)]) {
    let next = events.last().map_or(window.next(), |(offset, _)| Offset(offset + 1));
    window.read(events.iter().map(|(offset, key)| event(*offset, *key)).collect(), next, next, Instant::now());
}

/// Freezes what the next batch is made of: its offsets.
fn freeze(window: &mut Window, max_events: u32, ordering: Ordering) -> Vec<u64> {
    window.collect(policy(max_events), ordering);
    let events = window.take();
    let offsets = events.iter().map(|event| event.offset.0).collect::<Vec<_>>();
    if !events.is_empty() {
        window.insert(set_of(events, false));
    }
    offsets
}

fn set_of(events: Vec<Delivery>, parked: bool) -> Set {
    let freezing = Freezing::of(events, crate::body::Shape::default(), Timestamp::default());
    Set {
        first: freezing.first(),
        row: freezing.row.clone(),
        keys: set::keys(&freezing.events),
        behind: 0,
        bytes: set::bytes(&freezing.events),
        batch: None,
        parked,
        retries: Retries::default(),
        unwritten: false,
        phase: Phase::Ready,
        taken: None,
    }
}

#[test]
fn sets_in_flight_share_no_key_and_the_position_waits_for_the_lowest() {
    let mut window = Window::at(Offset(10));
    read(&mut window, &[(10, Some(1)), (11, Some(2)), (13, Some(1)), (14, None), (15, Some(3))]);
    assert_eq!(freeze(&mut window, 2, Ordering::Key), [10, 11]);
    assert_eq!(freeze(&mut window, 2, Ordering::Key), [14, 15], "13 waits for the key of 10");
    assert_eq!(freeze(&mut window, 2, Ordering::Key), [0u64; 0]);
    assert_eq!(window.position(), Offset(10));
    window.remove(Offset(14)).unwrap();
    window.note_done(ranges([Offset(14), Offset(15)]));
    assert_eq!((window.position(), window.take_passed()), (Offset(10), vec![]));
    window.remove(Offset(10)).unwrap();
    assert_eq!((window.position(), window.take_passed()), (Offset(13), vec![]));
    assert_eq!(freeze(&mut window, 2, Ordering::Key), [13]);
    window.remove(Offset(13)).unwrap();
    assert_eq!((window.position(), window.take_passed()), (Offset(16), vec![Offset(14)]));
}

#[test]
fn without_an_order_nothing_waits_for_a_key() {
    let mut window = Window::at(Offset(0));
    read(&mut window, &[(0, Some(1)), (1, Some(1)), (2, Some(1))]);
    assert_eq!(freeze(&mut window, 1, Ordering::None), [0]);
    assert_eq!(freeze(&mut window, 2, Ordering::None), [1, 2]);
    assert_eq!(window.callable(Ordering::None), Some(Offset(0)));
    window.set_mut(Offset(0)).unwrap().phase = Phase::Calling;
    assert_eq!(window.callable(Ordering::None), Some(Offset(1)));
    assert_eq!(window.callable(Ordering::Key), None, "it holds the key of the first");
}

#[test]
fn what_follows_a_parked_key_is_parked_and_all_others_go_on() {
    let mut window = Window::at(Offset(0));
    read(&mut window, &[(0, Some(1)), (1, Some(2)), (2, Some(1)), (3, Some(3))]);
    assert_eq!(freeze(&mut window, 1, Ordering::Key), [0]);
    window.park(Offset(0));
    assert_eq!(window.position(), Offset(1));
    let followers = |window: &mut Window| -> Vec<u64> {
        window.take_followers(Ordering::Key, usize::MAX).iter().map(|event| event.offset.0).collect()
    };
    assert_eq!(followers(&mut window), [2]);
    assert_eq!(followers(&mut window), [0u64; 0]);
    assert_eq!(freeze(&mut window, 9, Ordering::Key), [1, 3]);
    read(&mut window, &[(4, Some(1)), (5, Some(3))]);
    assert_eq!(followers(&mut window), [4]);
    assert_eq!((window.parked_events(), window.released(9, Ordering::Key, &BTreeSet::new())), (3, vec![]));
    window.remove(Offset(1)).unwrap();
    assert_eq!(window.position(), Offset(5));
    // The key returns once the last of it is done.
    window.remove(Offset(0)).unwrap();
    assert_eq!(window.released(1, Ordering::Key, &BTreeSet::new()), [Offset(2)]);
    assert_eq!(window.released(9, Ordering::Key, &BTreeSet::new()), [Offset(2), Offset(4)]);
    window.take_released(&[Offset(2), Offset(4)]);
    window.insert(set_of(vec![event(2, Some(1)), event(4, Some(1))], true));
    read(&mut window, &[(6, Some(1))]);
    assert_eq!(followers(&mut window), [6]);
    window.remove(Offset(2)).unwrap();
    window.take_released(&[Offset(6)]);
    assert_eq!((window.parked_events(), window.parked_bytes()), (0, 0));
    read(&mut window, &[(7, Some(1))]);
    assert_eq!(followers(&mut window), [0u64; 0]);
    assert_eq!(freeze(&mut window, 9, Ordering::Key), [5, 7]);
}

#[test]
fn where_there_is_no_room_to_park_followers_wait_and_none_overtakes() {
    let mut window = Window::at(Offset(0));
    read(&mut window, &[(0, Some(1)), (1, Some(1)), (2, Some(1)), (3, Some(4))]);
    assert_eq!(freeze(&mut window, 1, Ordering::Key), [0]);
    window.park(Offset(0));
    let bytes = event(1, Some(1)).record.bytes();
    let followers = window.take_followers(Ordering::Key, bytes * 2 - 1);
    assert_eq!(followers.iter().map(|event| event.offset.0).collect::<Vec<_>>(), [1]);
    assert_eq!(freeze(&mut window, 9, Ordering::Key), [3]);
    assert_eq!(window.position(), Offset(2), "it is where it was");
    window.remove(Offset(0)).unwrap();
    assert_eq!(freeze(&mut window, 9, Ordering::Key), [0u64; 0], "the one before it is parked");
    assert_eq!(window.take_followers(Ordering::Key, usize::MAX).len(), 1);
}

#[test]
fn a_batch_ends_with_the_event_that_would_overflow_it() {
    let mut window = Window::at(Offset(0));
    read(&mut window, &(0..5).map(|offset| (offset, None)).collect::<Vec<_>>());
    let bytes = event(0, None).body_bytes(fpaas_core::subscription::Format::Json) as u32;
    let policy = Collector { max_bytes: bytes * 2, ..policy(100) };
    let collected = window.collect(policy, Ordering::Key);
    assert_eq!((collected.events, collected.full), (2, true));
    let policy = Collector { max_bytes: bytes * 2 + 1, ..policy };
    assert_eq!(window.collect(policy, Ordering::Key).events, 2);
    assert!(!window.collect(Collector { max_bytes: 1 << 20, ..policy }, Ordering::Key).full);
}

#[test]
fn what_was_there_when_a_batch_began_is_read_before_it_is_closed_early() {
    let mut window = Window::at(Offset(0));
    assert!(window.has_caught_up());
    window.read(vec![event(0, None)], Offset(1), Offset(5), Instant::now());
    assert!(!window.has_caught_up());
    window.read(vec![event(4, None)], Offset(5), Offset(9), Instant::now());
    assert!(window.has_caught_up(), "what came later waits for the timer");
    assert_eq!(freeze(&mut window, 1, Ordering::Key), [0]);
    assert!(!window.has_caught_up(), "the next batch has begun");
    window.at_tail();
    assert!(window.has_caught_up());
    // What is left of what was read to the end waits for its timer and not for a fetch.
    read(&mut window, &[(9, None), (10, None)]);
    assert_eq!(freeze(&mut window, 1, Ordering::Key), [4]);
    assert!(window.has_caught_up());
}

#[test]
fn what_is_done_above_what_was_forgotten_is_not_read_again() {
    let mut window = Window::at(Offset(3));
    let events = [(3, Some(1)), (5, Some(1)), (6, Some(2)), (7, Some(3))];
    read(&mut window, &events);
    assert_eq!(freeze(&mut window, 1, Ordering::Key), [3]);
    assert_eq!(freeze(&mut window, 2, Ordering::Key), [6, 7]);
    window.remove(Offset(6)).unwrap();
    window.note_done(ranges([Offset(6), Offset(7)]));
    window.remove(Offset(3)).unwrap();
    window.unread();
    assert_eq!((window.next(), window.position()), (Offset(5), Offset(5)));
    read(&mut window, &events[1..]);
    assert_eq!(freeze(&mut window, 9, Ordering::Key), [5]);
    window.remove(Offset(5)).unwrap();
    assert_eq!((window.position(), window.take_passed()), (Offset(8), vec![Offset(6)]));
}

/// What may happen to a window.
#[derive(Clone, Debug)]
enum Act {
    Read(Vec<Option<u8>>),
    Freeze(u32),
    Release,
    Finish(usize),
    Park(usize),
    Follow(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let key = proptest::option::weighted(0.8, 0u8..5);
    prop_oneof![
        3 => proptest::collection::vec(key, 0..6).prop_map(Act::Read),
        3 => (1u32..5).prop_map(Act::Freeze),
        1 => Just(Act::Release),
        3 => any::<usize>().prop_map(Act::Finish),
        2 => any::<usize>().prop_map(Act::Park),
        2 => (0usize..200).prop_map(Act::Follow),
    ]
}

/// Where each offset is, by the window's callers.
#[derive(Debug, Default)]
struct Model {
    keys: Vec<Option<u8>>,
    done: BTreeSet<u64>,
    parked: BTreeSet<u64>,
    called: Vec<Vec<u64>>,
}

impl Model {
    fn position(&self) -> u64 {
        let passed = |offset: &u64| self.done.contains(offset) || self.parked.contains(offset);
        (0..self.keys.len() as u64).find(|offset| !passed(offset)).unwrap_or(self.keys.len() as u64)
    }
}

fn play(window: &mut Window, model: &mut Model, act: Act) {
    match act {
        Act::Read(keys) => {
            let from = model.keys.len() as u64;
            read(window, &keys.iter().enumerate().map(|(at, key)| (from + at as u64, *key)).collect::<Vec<_>>());
            model.keys.extend(keys);
        }
        Act::Freeze(most) => drop(freeze(window, most, Ordering::Key)),
        Act::Release => {
            let offsets = window.released(3, Ordering::Key, &BTreeSet::new());
            if !offsets.is_empty() {
                window.take_released(&offsets);
                let events = offsets.iter().map(|offset| event(offset.0, model.keys[offset.0 as usize]));
                window.insert(set_of(events.collect(), true));
            }
        }
        Act::Finish(which) => {
            // Only what may be called ends.
            let first = window.callable(Ordering::Key).filter(|_| which % 3 > 0).or_else(|| {
                let sets: Vec<_> = window.sets().map(|set| set.first).collect();
                let goes = |first: &Offset| window.callable(Ordering::Key) == Some(*first);
                sets.into_iter().find(goes)
            });
            if let Some(set) = first.and_then(|first| window.remove(first)) {
                let offsets: Vec<_> = crate::restore::offsets(&set.row.offsets).map(|offset| offset.0).collect();
                model.done.extend(&offsets);
                model.parked.retain(|offset| !offsets.contains(offset));
                model.called.push(offsets);
            }
        }
        Act::Park(which) => {
            let sets: Vec<_> = window.sets().filter(|set| !set.parked).map(|set| set.first).collect();
            if let Some(first) = sets.get(which % sets.len().max(1)) {
                window.park(*first);
                let set = window.sets().find(|set| set.first == *first).unwrap();
                model.parked.extend(crate::restore::offsets(&set.row.offsets).map(|offset| offset.0));
            }
        }
        Act::Follow(room) => {
            model.parked.extend(window.take_followers(Ordering::Key, room).iter().map(|event| event.offset.0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Invariant: key-order. Whatever happens in whatever order, events of a key end in the order in which they came,
    /// every event ends once, and the position is the lowest that is neither done nor parked.
    #[test]
    fn events_of_a_key_keep_their_order(acts in proptest::collection::vec(act(), 1..60)) {
        let (mut window, mut model) = (Window::at(Offset(0)), Model::default());
        for act in acts {
            play(&mut window, &mut model, act.clone());
            prop_assert_eq!(window.position().0, model.position(), "{:?}", act);
            let parked = model.parked.len();
            prop_assert_eq!(window.parked_events(), parked);
        }
        // Everything that is there ends.
        for round in 0..1000 {
            for act in [Act::Follow(usize::MAX), Act::Release, Act::Freeze(3), Act::Finish(1)] {
                play(&mut window, &mut model, act);
            }
            if model.done.len() == model.keys.len() {
                break;
            }
            prop_assert!(round < 999, "{:?} {:?}", window, model);
        }
        prop_assert_eq!((window.position().0, window.parked_bytes()), (model.keys.len() as u64, 0));
        let all: Vec<u64> = model.called.concat();
        prop_assert_eq!(all.len(), model.keys.len());
        for key in 0..5 {
            let of_key = all.iter().filter(|offset| model.keys[**offset as usize] == Some(key));
            prop_assert!(of_key.is_sorted(), "{:?}", model.called);
        }
    }

    /// Offsets have gaps, of one or of thousands, and the next batch may begin within one.
    #[test]
    fn ranges_hold_exactly_the_offsets_of_a_batch(
        first in prop_oneof![Just(0), Just(u64::MAX - 200_000), any::<u32>().prop_map(u64::from)],
        steps in proptest::collection::vec(prop_oneof![4 => Just(1u64), 2 => 2..4u64, 1 => 5..2000u64], 1..80),
    ) {
        let mut at = first;
        let offsets: BTreeSet<u64> = steps.iter().map(|step| { at += step; at }).collect();
        let found = ranges(offsets.iter().copied().map(Offset));
        for offset in first..=at.saturating_add(3) {
            prop_assert_eq!(contains(&found, Offset(offset)), offsets.contains(&offset), "{} in {:?}", offset, found);
        }
        let all: Vec<_> = crate::restore::offsets(&found).map(|offset| offset.0).collect();
        prop_assert_eq!(all, offsets.into_iter().collect::<Vec<_>>());
        prop_assert!(found.windows(2).all(|pair| pair[0].1.next() < pair[1].0), "{:?}", found);
    }
}

#[test]
fn keys_of_a_set_are_held_once_each() {
    let set = set_of(vec![event(0, Some(1)), event(1, Some(1)), event(2, None)], false);
    assert_eq!(set.keys, Arc::<[Bytes]>::from([Bytes::from_static(&[1])]));
}
