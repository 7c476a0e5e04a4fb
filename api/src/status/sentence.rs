//! One sentence that says what a subscription does, or why it does nothing, and what to do about it. Pure.
//!
//! For those that neither stand still nor are held: these have a reason of their own.

use std::time::Duration;

use fpaas_core::subscription::{OnExhausted, Retry};
use fpaas_state::LastOutcome;

/// What is known of it.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// Records of the source that are not read yet.
    pub(super) source: u64,
    /// Events that are delivered and not acknowledged.
    pub(super) deliveries: u64,
    pub(super) catching_up: bool,
    /// Dead letters that are to be delivered again and are not yet.
    pub(super) redrive: u64,
    /// How the last call ended.
    pub(super) last: Option<&'a LastOutcome>,
    pub(super) retry: Retry,
    /// Nothing was ever delivered to it.
    pub(super) never: bool,
    /// A part of its source is delivered once more, or was: events may be old.
    pub(super) replayed: bool,
    /// Records that match, per second.
    pub(super) rate: f64,
    /// How long the oldest event waits that is not acknowledged.
    pub(super) waiting: Option<Duration>,
    /// How long a batch is collected at most.
    pub(super) collects: Duration,
}

impl Facts<'_> {
    pub(super) fn sentence(&self) -> String {
        let failing = self.last.filter(|last| self.deliveries > 0 && last.outcome != "acknowledged");
        match failing {
            Some(last) => self.failing(last),
            None if self.deliveries > 0 => self.delivering(),
            None if self.catching_up => format!("it reads the past of its source: {} to go", records(self.source)),
            None if self.source > 0 => self.reading(),
            None if self.redrive > 0 => format!("it delivers dead letters again: {} to go", self.redrive),
            None if self.never => {
                "it has read all that its source holds, and nothing has passed its filter: try the filter with \
                 ?dryRun=true"
                    .to_owned()
            }
            None => "it is up to date: nothing waits".to_owned(),
        }
    }

    fn failing(&self, last: &LastOutcome) -> String {
        let then = match self.retry.on_exhausted {
            OnExhausted::DeadLetter => "its events become dead letters",
            OnExhausted::Drop => "its events are dropped",
            OnExhausted::Block => "it is called on and on, as onExhausted says",
        };
        let most = humanly(self.retry.max_elapsed());
        let why = last.message.trim_end_matches('.');
        format!(
            "its endpoint fails ({}: {why}): see to it; the batch was called {} and is called again until {most} have \
             passed, then {then}",
            last.outcome,
            times(last.attempt),
        )
    }

    fn delivering(&self) -> String {
        let waiting = self.waiting.unwrap_or_default();
        let events = format!("{} for its endpoint", waits(self.deliveries));
        if self.replayed || waiting <= self.collects + Duration::from_secs(5) {
            return format!("{events}: a batch is collected or called");
        }
        let advice = "if that grows, the endpoint is too slow: larger batches or more lanes help";
        format!("{events}, the oldest for {}: {advice}", humanly(waiting))
    }

    fn reading(&self) -> String {
        let left = records(self.source);
        if self.rate > 0.0 {
            return format!("it reads its source: {left} to go");
        }
        format!("{left} of its source are not read yet: if that stays so, see whether a node runs the part router")
    }
}

fn records(count: u64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}

fn waits(count: u64) -> String {
    if count == 1 { "1 event waits".to_owned() } else { format!("{count} events wait") }
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// With a precision that a person needs.
fn humanly(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpaas_core::Timestamp;

    fn check<'a>(change: impl FnOnce(&mut Facts<'a>), expected: &str) {
        let mut facts = Facts {
            source: 0,
            deliveries: 0,
            catching_up: false,
            last: None,
            retry: Retry::default(),
            never: false,
            redrive: 0,
            replayed: false,
            rate: 0.0,
            waiting: None,
            collects: Duration::from_secs(1),
        };
        change(&mut facts);
        assert_eq!(facts.sentence(), expected);
    }

    #[test]
    fn a_sentence_says_what_it_does_or_why_it_does_nothing() {
        check(|_| {}, "it is up to date: nothing waits");
        check(
            |facts| (facts.source, facts.catching_up) = (9, true),
            "it reads the past of its source: 9 records to go",
        );
        check(|facts| (facts.source, facts.rate) = (1, 0.5), "it reads its source: 1 record to go");
        check(
            |facts| facts.source = 3,
            "3 records of its source are not read yet: if that stays so, see whether a node runs the part router",
        );
        check(
            |facts| facts.never = true,
            "it has read all that its source holds, and nothing has passed its filter: try the filter with \
             ?dryRun=true",
        );
        check(|facts| facts.deliveries = 1, "1 event waits for its endpoint: a batch is collected or called");
        check(
            |facts| (facts.deliveries, facts.waiting) = (7, Some(Duration::from_secs(600))),
            "7 events wait for its endpoint, the oldest for 10 min: if that grows, the endpoint is too slow: larger \
             batches or more lanes help",
        );
    }

    #[test]
    fn of_an_endpoint_that_fails_it_says_how_and_what_comes_then() {
        let last = LastOutcome {
            time: Timestamp::from_millis(0),
            status: Some(503),
            outcome: "status".to_owned(),
            message: "the endpoint answered 503".into(),
            attempt: 3,
        };
        check(
            |facts| (facts.deliveries, facts.last) = (2, Some(&last)),
            "its endpoint fails (status: the endpoint answered 503): see to it; the batch was called 3 times and is called \
             again until 5 min have passed, then its events become dead letters",
        );
        check(|facts| facts.last = Some(&last), "it is up to date: nothing waits");
    }
}
