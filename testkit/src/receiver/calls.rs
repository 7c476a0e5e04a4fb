//! What was called, and what must be true of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;
use serde_json::Value;
use tokio::sync::watch;

use super::body;
use super::script::{Answer, Script};

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Call {
    /// When its head was read.
    pub at: Instant,
    /// Connections are counted from 0.
    pub connection: u64,
    /// `webhook-id`.
    pub id: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The raw bytes; `None` when the request was cut, by the script or by the caller's death.
    pub body: Option<Vec<u8>>,
    /// Whether its signature is right; an error says what is wrong.
    pub signature: Result<(), String>,
    /// What the script said.
    pub answer: Answer,
    /// Whether the answer was written to its end.
    pub answered: bool,
}

impl Call {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// `fpaas-attempt`: which attempt of its process on this batch it is, from 1.
    pub fn attempt(&self) -> Option<u32> {
        self.header("fpaas-attempt")?.parse().ok()
    }

    /// The events in its body, as `{"id","event"}`, whatever its format and its compression are.
    pub fn events(&self) -> Result<Vec<Value>> {
        let body = self.body.as_deref().unwrap_or_default();
        body::events(self.header("content-type"), self.header("content-encoding"), body)
    }

    /// The ids of the events in its body.
    pub fn event_ids(&self) -> Vec<String> {
        let events = self.events().unwrap_or_default();
        events.iter().filter_map(|event| event.get("id")?.as_str().map(str::to_owned)).collect()
    }
}

/// What can be said of all calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Requests.
    pub calls: usize,
    /// Distinct ids among them.
    pub batches: usize,
    /// Ids that were called more than once.
    pub repeated: usize,
    /// Attempts of a batch whose number is not above those before: the process that made one of those died, and
    /// another one found the batch frozen.
    pub taken_up_again: usize,
    /// Calls that their caller gave up on and repeated while the script still had it wait.
    pub timed_out: usize,
    /// Requests that were cut before their body was whole.
    pub cut: usize,
    /// Events in distinct batches.
    pub events: usize,
    /// Times each kind of answer was given.
    pub answers: BTreeMap<String, usize>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls, {} batches, {} repeated, ", self.calls, self.batches, self.repeated)?;
        write!(f, "{} cut, {} events, answers {:?}", self.cut, self.events, self.answers)
    }
}

/// Sums up. An error when a repeated call had other bytes than the first of its id, an event was in two batches, a
/// signature was wrong, or a call had no id.
pub fn summarize(calls: &[Call]) -> Result<Summary> {
    let mut summary = Summary { calls: calls.len(), ..Summary::default() };
    let mut batches: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        *summary.answers.entry(format!("{:?}", call.answer)).or_default() += 1;
        anyhow::ensure!(!call.id.is_empty(), "a call without webhook-id: {:?}", call.headers);
        batches.entry(&call.id).or_default().push(call);
        if call.body.is_some() {
            anyhow::ensure!(call.signature.is_ok(), "batch {}: {:?}", call.id, call.signature);
        } else {
            summary.cut += 1;
        }
    }
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for (id, calls) in &batches {
        let mut whole = calls.iter().filter_map(|call| call.body.as_ref().map(|body| (*call, body)));
        let Some((first, body)) = whole.next() else { continue };
        let events = first.event_ids();
        summary.events += events.len();
        for event in events {
            // A batch that was formed anew would come under another id.
            let other = owners.insert(event, id);
            anyhow::ensure!(other.is_none(), "an event of batch {id} was also in batch {other:?}");
        }
        anyhow::ensure!(whole.all(|(_, other)| other == body), "batch {id} was repeated with other bytes");
    }
    summary.batches = batches.len();
    summary.taken_up_again = batches.values().map(|calls| taken_up_again(calls)).sum();
    summary.timed_out = batches.values().map(|calls| timed_out(calls)).sum();
    summary.repeated = batches.values().filter(|calls| calls.len() > 1).count();
    Ok(summary)
}

/// How often an attempt on a batch had a number that was there: what failed is counted, and what was cut off is not.
fn taken_up_again(calls: &[&Call]) -> usize {
    let mut most = None;
    let mut is_again = |call: &Call| {
        let again = call.attempt() <= most;
        most = most.max(call.attempt());
        again
    };
    calls.iter().filter(|call| is_again(call)).count()
}

/// The answers that were not waited for: the next attempt came before they were due.
fn timed_out(calls: &[&Call]) -> usize {
    let early = |call: &Call, next: &Call| {
        let (Answer::Slow(wait) | Answer::Hang(wait)) = call.answer else { return false };
        // Not after a restart: the process before it was killed, and had not given up.
        next.attempt() == call.attempt().map(|attempt| attempt + 1) && next.at < call.at + wait
    };
    calls.windows(2).filter(|pair| matches!(pair, [call, next] if early(call, next))).count()
}

/// The calls so far, the script, and who waits for them.
#[derive(Debug)]
pub(super) struct Calls {
    secret: String,
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Inner {
    calls: Vec<Call>,
    script: Script,
}

impl Calls {
    pub(super) fn new(secret: &str, script: Script) -> Self {
        let inner = Mutex::new(Inner { calls: Vec::new(), script });
        Self { secret: secret.to_owned(), inner, changed: watch::channel(()).0 }
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_script(&self, script: Script) {
        self.inner().script = script;
    }

    /// A call has begun: its number and what it gets.
    pub(super) fn begin(&self, make: impl FnOnce(Answer) -> Call) -> (usize, Answer) {
        let mut inner = self.inner();
        let number = inner.calls.len();
        let answer = inner.script.next(number as u64);
        inner.calls.push(make(answer));
        drop(inner);
        self.changed.send_replace(());
        (number, answer)
    }

    /// More is known of a call.
    pub(super) fn update(&self, number: usize, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self.inner().calls.get_mut(number) {
            change(call);
        }
        self.changed.send_replace(());
    }

    pub(super) fn all(&self) -> Vec<Call> {
        self.inner().calls.clone()
    }

    pub(super) async fn wait(&self, wanted: impl Fn(&[Call]) -> bool) -> Vec<Call> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            {
                let inner = self.inner();
                if wanted(&inner.calls) {
                    return inner.calls.clone();
                }
            }
            // The sender lives in `self`: it cannot be gone.
            drop(changed.changed().await);
        }
    }

    pub(super) fn describe(&self) -> String {
        summarize(&self.all()).map_or_else(|error| error.to_string(), |summary| summary.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn call(id: &str, body: &str) -> Call {
        Call {
            at: Instant::now(),
            connection: 0,
            id: id.to_owned(),
            headers: Vec::new(),
            body: Some(body.as_bytes().to_vec()),
            signature: Ok(()),
            answer: Answer::Records,
            answered: true,
        }
    }

    #[test]
    fn a_repeat_with_the_same_bytes_is_counted_once() {
        let [a, b] = [r#"{"events":[{"id":"x"},{"id":"y"}]}"#, r#"{"events":[{"id":"z"}]}"#];
        let summary = summarize(&[call("a", a), call("b", b), call("a", a)]).unwrap();
        assert_eq!((summary.calls, summary.batches, summary.repeated, summary.events), (3, 2, 1, 3));
    }

    fn attempt(number: u32, at: Instant, answer: Answer) -> Call {
        let headers = vec![("fpaas-attempt".to_owned(), number.to_string())];
        Call { at, headers, answer, ..call("a", "1") }
    }

    #[test]
    fn a_batch_that_a_new_process_took_up_is_told_from_one_that_was_tried_again() {
        let (now, ok) = (Instant::now(), Answer::Records);
        let summary = |numbers: &[u32]| summarize(&numbers.iter().map(|n| attempt(*n, now, ok)).collect::<Vec<_>>());
        assert_eq!(summary(&[1, 2, 3]).unwrap().taken_up_again, 0);
        assert_eq!(summary(&[1, 2, 1, 1, 2, 3]).unwrap().taken_up_again, 3);
    }

    #[test]
    fn a_timeout_is_a_repeat_before_the_answer_was_due() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let count = |numbers: [u32; 2], after: Duration| {
            let calls =
                [attempt(numbers[0], now, Answer::Hang(second)), attempt(numbers[1], now + after, Answer::Records)];
            summarize(&calls).unwrap().timed_out
        };
        assert_eq!(count([1, 2], second / 2), 1);
        assert_eq!(count([1, 2], second * 2), 0, "the connection was closed first");
        assert_eq!(count([1, 1], second / 2), 0, "the caller was killed");
    }

    #[test]
    fn an_event_in_two_batches_is_found() {
        let body = r#"{"events":[{"id":"x"}]}"#;
        let error = summarize(&[call("a", body), call("b", body)]).unwrap_err();
        assert_eq!(error.to_string(), "an event of batch b was also in batch Some(\"a\")");
    }

    #[test]
    fn a_repeat_with_other_bytes_is_found() {
        let error = summarize(&[call("a", "1"), call("a", "2")]).unwrap_err();
        assert_eq!(error.to_string(), "batch a was repeated with other bytes");
    }

    #[test]
    fn a_wrong_signature_is_found_and_a_cut_call_is_not_blamed() {
        let wrong = Call { signature: Err("no".to_owned()), ..call("a", "1") };
        assert!(summarize(std::slice::from_ref(&wrong)).is_err());
        assert_eq!(summarize(&[Call { body: None, ..wrong }]).unwrap().cut, 1);
    }
}
