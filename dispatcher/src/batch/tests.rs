//! The collector against what its documentation says.

use super::*;
use crate::body::tests::delivery;
use proptest::prelude::*;

fn policy(max_events: u32, max_bytes: u32) -> Collector {
    Collector { max_events, max_bytes, max_wait_ms: 1000 }
}

/// Offsets of the batches that come of `sizes`, when no timer ends one.
fn batches(policy: Collector, sizes: &[usize]) -> Vec<Vec<u64>> {
    let events: Vec<_> = (0..).zip(sizes).map(|(at, size)| delivery(at, "id", Some(&vec![b'1'; *size]))).collect();
    let (mut done, mut batch, mut batcher) = (Vec::new(), Vec::new(), Batcher::new(policy));
    for event in events {
        if batcher.is_full() || !batcher.offer(&event) {
            done.push(std::mem::take(&mut batch));
            batcher = Batcher::new(policy);
            assert!(batcher.offer(&event), "the first one always fits");
        }
        batch.push(event.offset.0);
    }
    done.push(batch);
    done.retain(|batch| !batch.is_empty());
    done
}

/// Sizes of events and the offsets of the batches they make.
type Case<'a> = (Collector, &'a [usize], &'a [&'a [u64]]);

#[test]
fn the_first_bound_reached_wins() {
    let overhead = delivery(0, "id", Some(b"1")).body_bytes(Format::Json) - 1;
    let sized = |bytes: usize| bytes - overhead;
    let cases: [Case<'_>; 6] = [
        (policy(2, 1024), &[1, 1, 1, 1, 1], &[&[0, 1], &[2, 3], &[4]]),
        (policy(9, 1024), &[sized(512), sized(512), 1], &[&[0, 1], &[2]]),
        (policy(9, 1024), &[sized(512), sized(513), 1], &[&[0], &[1, 2]]),
        (policy(9, 1024), &[sized(1024), 1], &[&[0], &[1]]),
        (policy(9, 1024), &[1, sized(5000), 1], &[&[0], &[1], &[2]]),
        (policy(1, 1024), &[1, sized(5000), 1], &[&[0], &[1], &[2]]),
    ];
    for (policy, sizes, expected) in cases {
        assert_eq!(batches(policy, sizes), expected, "{policy:?} {sizes:?}");
    }
}

#[test]
fn keys_and_headers_count_towards_memory() {
    let mut large = delivery(0, "a", None);
    large.record.key = Some(vec![0; limits::BATCH_RECORD_BYTES_MAX / 2].into());
    let mut batcher = Batcher::new(policy(9, 1024));
    assert!(batcher.offer(&large) && !batcher.offer(&large));
    assert!(batcher.is_full());
}

proptest! {
    #[test]
    fn batches_hold_every_event_once_in_order_within_their_bounds(
        max_events in 1u32..6, max_bytes in 1024u32..1400,
        sizes in proptest::collection::vec(1usize..700, 0..40),
    ) {
        let policy = policy(max_events, max_bytes);
        let found = batches(policy, &sizes);
        prop_assert_eq!(found.concat(), (0..sizes.len() as u64).collect::<Vec<_>>());
        let bytes = |at: &u64| delivery(*at, "id", Some(&vec![b'1'; sizes[*at as usize]])).body_bytes(Format::Json);
        for (at, batch) in found.iter().enumerate() {
            let total: usize = batch.iter().map(bytes).sum();
            prop_assert!(batch.len() <= max_events as usize);
            prop_assert!(batch.len() == 1 || total <= max_bytes as usize);
            // None is smaller than it had to be: one more event would have overflowed it.
            if let Some(next) = found.get(at + 1) {
                prop_assert!(batch.len() == max_events as usize || total + bytes(&next[0]) > max_bytes as usize);
            }
        }
    }
}
