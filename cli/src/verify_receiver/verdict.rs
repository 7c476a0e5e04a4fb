//! What an answer is worth, and what to do about it. Pure.

use std::time::Duration;

use fpaas_core::limits;
use fpaas_dispatcher::{Answered, SampleFailure};

/// How much of an answer's body is shown.
const SHOWN_CHARACTERS: usize = 100;

/// The worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    Right,
    Warning,
    Wrong,
}

/// Of one check.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) grade: Grade,
    pub(super) got: String,
    pub(super) advice: Option<String>,
}

impl Verdict {
    pub(super) fn right(got: impl Into<String>) -> Self {
        Self { grade: Grade::Right, got: got.into(), advice: None }
    }

    pub(super) fn warning(got: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { grade: Grade::Warning, got: got.into(), advice: Some(advice.into()) }
    }

    pub(super) fn wrong(got: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { grade: Grade::Wrong, got: got.into(), advice: Some(advice.into()) }
    }

    /// The worse of two; of two that are as bad, this one.
    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        if other.grade > self.grade { other } else { self }
    }

    #[must_use]
    pub(super) fn no_worse_than_a_warning(self) -> Self {
        Self { grade: self.grade.min(Grade::Warning), ..self }
    }

    /// Where what came is one of several things.
    #[must_use]
    pub(super) fn of(self, what: &str) -> Self {
        Self { got: format!("{what}: {}", self.got), ..self }
    }
}

/// Of an answer to a valid batch. What its body says is a check of its own.
pub(super) fn acknowledged(answered: &Answered) -> Verdict {
    let got = got(answered);
    match &answered.failure {
        _ if answered.disables => Verdict::wrong(got, "webhook-delivery: disable stops the subscription"),
        None => Verdict::right(got),
        Some(failure) if failure.reason == "badResponse" => Verdict::right(got),
        Some(failure) => Verdict::wrong(got, advice(answered.status, failure)),
    }
}

fn advice(status: Option<u16>, failure: &SampleFailure) -> &'static str {
    match (status, failure.reason) {
        (Some(401 | 403), _) => {
            "a valid call is refused: is --secret the receiver's, is the HMAC made over the bytes as they came \
             (id.timestamp.body), and is any one of the signatures enough?"
        }
        (_, "redirect") => "a redirect is never followed: give FPaaS the URL that it leads to",
        (_, "gone") => "410 disables the subscription: answer it only where no call is to come any more",
        (_, "aborted") => "webhook-delivery: abort-message gives the batch up: it becomes dead letters",
        (Some(404 | 405), _) => "nothing takes a POST there: look at the path",
        (Some(413), _) => "the body is too large for it: raise its limit, or lower collector.maxBytes",
        (Some(415), _) => "it must take content-type: application/json",
        (Some(408), _) => "it must wait for a slow body, up to timeoutMs",
        (_, "timeout") => "answer sooner, put work aside, or raise timeoutMs; FPaaS calls again",
        (_, "cut") => "it closes the connection before it has answered; FPaaS calls again",
        (_, "connect") => "it takes no connections any more: has it crashed?",
        (Some(429 | 500..=599), _) => "FPaaS would call again, and get the same: look at the receiver's log",
        _ => "this is not tried again, and the batch becomes dead letters: answer 2xx, and `reject` single events",
    }
}

/// Of an answer to a call that is not FPaaS's, or too old.
pub(super) fn refused(answered: &Answered) -> Verdict {
    let got = got(answered);
    match answered.status {
        Some(401 | 403) => Verdict::right(got),
        Some(200..=299) => Verdict::wrong(got, "anybody could call it so: refuse it with 401 before anything is done"),
        Some(400..=499) => Verdict::warning(got, "it is refused; 401 would say why"),
        Some(500..=599) => Verdict::wrong(got, "it fails where it should refuse: anybody can make it fail so"),
        Some(_) => Verdict::warning(got, "answer 401"),
        None => Verdict::wrong(got, "answer 401 in place of nothing"),
    }
}

/// Of two answers to the same batch, one after the other.
pub(super) fn repeated(first: &Answered, again: &Answered) -> Verdict {
    let both = acknowledged(first).of("first").and(acknowledged(again).of("again"));
    if both.grade > Grade::Right || first.failure.is_some() || again.failure.is_some() {
        return Verdict {
            advice: both.advice.map(|advice| format!("a repeated webhook-id is no mistake: {advice}")),
            ..both
        };
    }
    if first.means_the_same(again) {
        return Verdict::right(format!("{}, and the same again", got(first)));
    }
    let advice = "where the first answer was lost, the second one counts: remember answers by webhook-id";
    Verdict::warning(format!("first {}, then another answer: {}", got(first), got(again)), advice)
}

/// Of two answers to the same batch at once: one may be asked to come again.
pub(super) fn under_way(one: &Answered, other: &Answered) -> Verdict {
    let later = |answered: &Answered| matches!(answered.status, Some(429 | 503));
    match (one, other) {
        (waits, taken) | (taken, waits) if later(waits) && !later(taken) => acknowledged(taken),
        _ => acknowledged(one).and(acknowledged(other)),
    }
    .explained("the first call may still be under way when FPaaS repeats it: wait for it, or answer 503, never 4xx")
}

impl Verdict {
    fn explained(self, why: &str) -> Self {
        Self { advice: self.advice.map(|_| why.to_owned()), ..self }
    }
}

/// Of how long the slowest took.
pub(super) fn in_time(slowest: Duration, name: &str, timeout: Duration) -> Verdict {
    let got = format!("the slowest, {name}, took {} ms", slowest.as_millis());
    if slowest >= timeout {
        return Verdict::wrong(got, "a call that is not answered in time is made again, and done twice");
    }
    if slowest > timeout / 3 {
        let advice = "a slow answer holds its lane back, and a little more load makes it a timeout: put work aside";
        return Verdict::warning(got, advice);
    }
    Verdict::right(got)
}

/// Of the longest body; `None` where one is longer than is read.
pub(super) fn size(largest: Option<usize>) -> Verdict {
    let advice = "smaller batches (collector.maxEvents, maxBytes) have smaller answers";
    match largest {
        None => Verdict::wrong(format!("more than {} bytes", limits::RESPONSE_BYTES_MAX), advice),
        Some(bytes) if bytes > limits::RESPONSE_BYTES_MAX / 2 => {
            Verdict::warning(format!("up to {bytes} bytes"), advice)
        }
        Some(bytes) => Verdict::right(format!("up to {bytes} bytes")),
    }
}

/// What came, in short.
pub(super) fn got(answered: &Answered) -> String {
    let said = match &answered.failure {
        Some(failure) if failure.reason == "badResponse" => failure.message.to_string(),
        Some(failure) if answered.status.is_none() => failure.message.to_string(),
        Some(_) => shown(&answered.piece),
        None => understood(answered),
    };
    match answered.status {
        Some(status) if said.is_empty() => status.to_string(),
        Some(status) => format!("{status}, {said}"),
        None => said,
    }
}

fn understood(answered: &Answered) -> String {
    let counted = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{count} {what}s")),
    };
    let (retried, rejected) = answered.left_over();
    let parts = [
        counted(answered.records(), "record"),
        counted(retried, "event to be retried").map(|text| text.replace("retrieds", "retried")),
        counted(rejected, "rejected event"),
        answered.refused().map(|why| format!("a record that is refused ({why})")),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "no results".to_owned() } else { parts.join(", ") }
}

fn shown(piece: &[u8]) -> String {
    let text = String::from_utf8_lossy(piece);
    let line = text.chars().map(|of| if of.is_control() { ' ' } else { of }).take(SHOWN_CHARACTERS).collect::<String>();
    line.trim().to_owned()
}
