//! What follows from an answer, as data.

use super::*;
use crate::response::Action::{Ack, Reject, Retry as Again};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(50_000);

fn case(events: usize, attempts: u32, policy: &Retry) -> Case<'_> {
    Case {
        events,
        keys: &[],
        retries: Retries { attempts, first_failed: None },
        policy,
        ordering: Ordering::Key,
        elapsed: Duration::ZERO,
        now: NOW,
        jitter: 0.5,
    }
}

fn failure(reason: Reason, status: Option<u16>, retryable: bool) -> Failure {
    Failure { status, retryable, ..Failure::new(reason, "m") }
}

/// `letters 0,1 reason; dropped 2; left 3,4 after 1000`, or `again after 1000`.
fn shown(verdict: &Verdict) -> String {
    let list = |events: &[usize]| events.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    match verdict {
        Verdict::Again(wait, _) => format!("again after {}", wait.as_millis()),
        Verdict::Settled(settled) => {
            let letters = settled.letters.iter().map(|(events, given_up)| {
                format!("letters {} {} {}", list(events), given_up.failure.reason.as_str(), given_up.attempts)
            });
            let dropped = Some(&settled.dropped).filter(|dropped| !dropped.is_empty());
            let left =
                settled.left.iter().map(|left| format!("left {} after {}", list(&left.events), left.wait.as_millis()));
            let dropped = dropped.map(|events| format!("dropped {}", list(events)));
            letters.chain(dropped).chain(left).collect::<Vec<_>>().join("; ")
        }
    }
}

fn check_answer(events: usize, actions: &[(usize, Action)], policy: &Retry, expected: &str) {
    assert_eq!(shown(&answered(case(events, 2, policy), Results::default(), actions)), expected, "{actions:?}");
}

#[test]
fn single_events_are_acknowledged_called_with_again_or_rejected() {
    let (policy, second) = (Retry::default(), Duration::from_secs(1));
    check_answer(3, &[], &policy, "");
    check_answer(3, &[(0, Ack), (2, Ack)], &policy, "");
    check_answer(3, &[(1, Again(None))], &policy, "left 1 after 2000");
    check_answer(3, &[(1, Again(Some(second * 5)))], &policy, "left 1 after 5000");
    check_answer(3, &[(0, Again(Some(second * 5))), (2, Again(None))], &policy, "left 2 after 2000; left 0 after 5000");
    check_answer(3, &[(0, Again(Some(Duration::MAX)))], &policy, "left 0 after 3600000");
    check_answer(3, &[(0, Reject), (1, Again(None))], &policy, "letters 0 rejected 2; left 1 after 2000");
    let all = [(0, Again(None)), (1, Again(None)), (2, Again(None))];
    check_answer(3, &all, &policy, "again after 2000");
    check_answer(2, &[(0, Reject), (1, Reject)], &policy, "letters 0,1 rejected 2");
    let drop = Retry { on_exhausted: OnExhausted::Drop, ..policy };
    check_answer(3, &[(0, Reject)], &drop, "dropped 0");
    let brief = Retry { max_elapsed_ms: 0, ..policy };
    check_answer(3, &[(0, Again(None)), (2, Again(Some(second)))], &brief, "letters 0,2 retry 2");
    let block = Retry { max_elapsed_ms: 0, on_exhausted: OnExhausted::Block, ..policy };
    check_answer(3, &[(0, Again(None)), (1, Reject)], &block, "letters 1 rejected 2; left 0 after 2000");
}

#[test]
fn a_lane_that_waits_for_all_of_it_waits_for_one_batch() {
    let policy = Retry::default();
    let case = Case { ordering: Ordering::Partition, ..case(4, 1, &policy) };
    let actions = [(0, Again(Some(Duration::from_secs(9)))), (2, Again(None))];
    assert_eq!(shown(&answered(case, Results::default(), &actions)), "left 0,2 after 9000");
}

#[test]
fn events_of_a_key_are_called_with_again_together() {
    let policy = Retry::default();
    let case = Case { keys: &[0, 1, 0, 3, 1], ..case(5, 1, &policy) };
    let after = |seconds| Again(Some(Duration::from_secs(seconds)));
    let actions = [(0, after(2)), (1, after(9)), (2, after(5)), (3, after(2)), (4, after(3))];
    let expected = "left 3 after 2000; left 0,2 after 5000; left 1,4 after 9000";
    assert_eq!(shown(&answered(case, Results::default(), &actions)), expected);
}

#[test]
fn what_is_left_over_is_frozen_in_a_bounded_number_of_batches() {
    let policy = Retry::default();
    let actions: Vec<_> = (0..100).map(|n| (n, Again(Some(Duration::from_secs(2 + n as u64))))).collect();
    let Verdict::Settled(settled) = answered(case(101, 1, &policy), Results::default(), &actions) else { panic!() };
    assert_eq!(settled.left.len(), limits::LEFTOVER_BATCHES_MAX);
    let last = settled.left.last().unwrap();
    assert_eq!((last.events.len(), last.wait), (85, Duration::from_secs(101)), "none waits shorter than it asked for");
    assert_eq!(settled.done(101), [100]);
}

fn check_failure(events: usize, attempts: u32, of: (Reason, Option<u16>, bool), policy: &Retry, expected: &str) {
    let found = failed(case(events, attempts, policy), failure(of.0, of.1, of.2));
    assert_eq!(shown(&found), expected, "{of:?}");
}

#[test]
fn a_batch_that_fails_as_a_whole_stays_the_same_batch_until_it_is_given_up_on() {
    let policy = Retry::default();
    check_failure(3, 1, (Reason::Status, Some(503), true), &policy, "again after 1000");
    check_failure(3, 3, (Reason::Status, Some(503), true), &policy, "again after 4000");
    check_failure(3, 1, (Reason::Status, Some(400), false), &policy, "letters 0,1,2 status 1");
    let drop = Retry { on_exhausted: OnExhausted::Drop, ..policy };
    check_failure(2, 1, (Reason::Status, Some(400), false), &drop, "dropped 0,1");
}

#[test]
fn a_batch_whose_content_may_be_to_blame_is_halved_down_to_one_event() {
    let policy = Retry { on_failure: OnFailure::Bisect, ..Retry::default() };
    for of in [
        (Reason::Status, Some(400), false),
        (Reason::Status, Some(500), true),
        (Reason::BadResponse, Some(200), true),
        (Reason::Timeout, None, true),
        (Reason::Cut, None, true),
    ] {
        check_failure(5, 9, of, &policy, "left 0,1,2 after 1000; left 3,4 after 1000");
    }
    check_failure(1, 9, (Reason::Status, Some(400), false), &policy, "letters 0 status 9");
    for of in [(Reason::Status, Some(503), true), (Reason::Status, Some(429), true), (Reason::Connect, None, true)] {
        check_failure(5, 9, of, &policy, "again after 60000");
    }
    let brief = Retry { max_elapsed_ms: 0, ..policy };
    check_failure(2, 1, (Reason::Status, Some(400), false), &brief, "letters 0,1 status 1");
}

#[test]
fn the_first_failure_is_remembered() {
    let policy = Retry::default();
    let Verdict::Again(_, retries) = failed(case(1, 1, &policy), failure(Reason::Connect, None, true)) else {
        panic!()
    };
    assert_eq!(retries, Retries { attempts: 1, first_failed: Some(NOW) });
    let later = Case {
        retries: Retries { attempts: 2, ..retries },
        now: NOW.plus(Duration::from_secs(9)),
        ..case(1, 2, &policy)
    };
    let Verdict::Settled(settled) = failed(later, failure(Reason::Status, Some(400), false)) else { panic!() };
    let (_, given_up) = &settled.letters[0];
    assert_eq!((given_up.first_failed, given_up.last_failed), (NOW, NOW.plus(Duration::from_secs(9))));
}

fn action() -> impl Strategy<Value = Action> {
    let delay = proptest::option::of((0u64..100_000).prop_map(Duration::from_millis));
    prop_oneof![Just(Ack), Just(Reject), delay.prop_map(Again)]
}

#[test]
fn what_no_call_can_carry_is_given_up_on_with_what_is_settled_and_waits_with_what_is_not() {
    let unsendable: Vec<_> = [(0, "a"), (2, "b"), (3, "a")].map(|(index, why)| (index, why.into())).into();
    let check = |verdict: Verdict, policy: &Retry, expected: &str| {
        assert_eq!(shown(&without(verdict, case(5, 2, policy), &unsendable)), expected);
    };
    let (keeps, drops) = (Retry::default(), Retry { on_exhausted: OnExhausted::Drop, ..Retry::default() });
    let bisects = Retry { on_failure: OnFailure::Bisect, ..Retry::default() };
    let answered = |policy, actions: &[_]| answered(case(5, 2, policy), Results::default(), actions);
    let [a, b] = ["letters 0,3 payloadFailed 2", "letters 2 payloadFailed 2"];
    check(answered(&keeps, &[]), &keeps, &format!("{a}; {b}"));
    check(answered(&drops, &[]), &drops, "dropped 0,3,2");
    check(unsent(case(5, 2, &keeps)), &keeps, &format!("{a}; {b}"));
    let again = answered(&keeps, &[(1, Again(None)), (4, Again(None))]);
    check(again, &keeps, &format!("{a}; {b}; left 1,4 after 2000"));
    let gone = |policy| failed(case(5, 2, policy), failure(Reason::Status, Some(400), false));
    check(gone(&keeps), &keeps, &format!("letters 1,4 status 2; {a}; {b}"));
    check(gone(&drops), &drops, "dropped 1,4,0,3,2");
    check(gone(&bisects), &bisects, &format!("{a}; {b}; left 1 after 1000; left 4 after 1000"));
    check(failed(case(5, 2, &keeps), failure(Reason::Status, Some(500), true)), &keeps, "again after 2000");
}

proptest! {
    /// Every event is done, left over once, or a dead letter once.
    #[test]
    fn every_event_is_settled_once(
        actions in proptest::collection::btree_map(0usize..40, action(), 0..40), more in 0usize..5,
        bisect: bool, drop: bool, elapsed in 0u64..400_000, fails: bool, retryable: bool,
    ) {
        let policy = Retry {
            on_failure: if bisect { OnFailure::Bisect } else { OnFailure::Retry },
            on_exhausted: if drop { OnExhausted::Drop } else { OnExhausted::DeadLetter },
            ..Retry::default()
        };
        let events = actions.keys().last().map_or(1, |last| last + 1) + more;
        let case = Case { elapsed: Duration::from_millis(elapsed), ..case(events, 1, &policy) };
        let actions: Vec<_> = actions.into_iter().collect();
        let verdict = if fails {
            failed(case, failure(Reason::Status, Some(500), retryable))
        } else {
            answered(case, Results::default(), &actions)
        };
        let Verdict::Settled(settled) = verdict else { return Ok(()) };
        let letters = settled.letters.iter().flat_map(|(events, _)| events);
        let ended: Vec<_> = letters.chain(&settled.dropped).copied().collect();
        let left: Vec<_> = settled.left.iter().flat_map(|left| &left.events).copied().collect();
        let done = settled.done(events);
        prop_assert!(ended.iter().all(|index| done.contains(index)));
        let mut all: Vec<_> = done.into_iter().chain(left).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..events).collect::<Vec<_>>());
        prop_assert!(settled.left.iter().all(|left| left.events.is_sorted() && !left.events.is_empty()));
        prop_assert!(settled.left.iter().all(|left| left.events.len() < events), "a batch that stays whole stays itself");
    }
}
