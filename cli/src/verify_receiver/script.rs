//! What a receiver is sent, in this order, and what it should do then.

use super::events::{self, Events, Made};

/// One line of the report.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) sent: &'static str,
    pub(super) expected: &'static str,
    pub(super) step: Step,
}

/// What is done for a check.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A valid batch must be acknowledged.
    Batch(Made),
    /// One that not every receiver gets: else it is a warning.
    Rare(Made),
    /// The same with fields beside those that are known.
    Extended(Made),
    /// A batch, and once more.
    Repeat,
    /// A batch twice at once.
    UnderWay,
    /// Calls that must be refused.
    Forged(&'static [Forgery]),
    /// A forged call, and then a valid one of the same id.
    ForgedFirst,
    /// Two signatures, the right one first and last.
    Rotated,
    /// A clock that is a minute behind or ahead.
    Skewed,
    /// A body that comes piece by piece.
    Slow,
    /// Other methods.
    Methods,
    /// How an answer calls itself.
    ContentType,
    /// What is said of all valid calls before.
    Seen(Seen),
}

/// How a call is not FPaaS's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Forgery {
    /// A signature of the right length, of nothing.
    Zeros,
    /// What is no signature of this version, and what is no base64.
    Malformed,
    /// Signed with another secret.
    OtherSecret,
    /// The signature of another body.
    OtherBody,
    /// The signature of another `webhook-id`.
    OtherId,
    /// Without a header.
    Without(&'static str),
    /// Signed, so many seconds off: a copy of an old call, or a clock that is wrong.
    Off(i64),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    /// The bodies of answers can be read.
    Form,
    /// They are not too long.
    Size,
    /// They come in time.
    InTime,
    /// Connections are kept.
    KeepAlive,
}

const ACKNOWLEDGED: &str = "2xx";
const REFUSED: &str = "401 or 403";

const fn check(name: &'static str, sent: &'static str, expected: &'static str, step: Step) -> Check {
    Check { name, sent, expected, step }
}

const fn batch(name: &'static str, sent: &'static str, made: Made) -> Check {
    check(name, sent, ACKNOWLEDGED, Step::Batch(made))
}

const fn forged(name: &'static str, sent: &'static str, how: &'static [Forgery]) -> Check {
    check(name, sent, REFUSED, Step::Forged(how))
}

/// The first one says whether it can be reached at all; what is seen of all of them comes last.
pub(super) const SCRIPT: &[Check] = &[
    batch("batch-of-1", "a batch of one event", Events::one),
    batch("batch-of-3", "a batch of three events", Events::three),
    batch("batch-of-100", "a batch of a hundred events", Events::hundred),
    batch("nothing-to-do", "an event of a collection that it cannot know", events::strange),
    check("repeat", "a batch, and the same again", "2xx both times, and the same answer", Step::Repeat),
    check("repeat-under-way", "a batch twice at once", "2xx, or 429 or 503 for one of them", Step::UnderWay),
    forged("bad-signature", "a signature of zeros", &[Forgery::Zeros]),
    forged("malformed-signature", "signatures that are none: v2,… and no base64", &[Forgery::Malformed]),
    forged("other-secret", "a signature with another secret", &[Forgery::OtherSecret]),
    forged("other-body", "the signature of another body", &[Forgery::OtherBody]),
    forged("other-id", "the signature of another webhook-id", &[Forgery::OtherId]),
    forged(
        "missing-headers",
        "calls without webhook-id, without webhook-timestamp, without webhook-signature",
        &[Forgery::Without("webhook-id"), Forgery::Without("webhook-timestamp"), Forgery::Without("webhook-signature")],
    ),
    forged("old-timestamp", "a call signed ten minutes ago", &[Forgery::Off(-600)]),
    forged("future-timestamp", "a call signed ten minutes from now", &[Forgery::Off(600)]),
    check("clock-skew", "calls of a clock that is a minute off", ACKNOWLEDGED, Step::Skewed),
    check("two-signatures", "the signatures of two secrets, as while one is rotated", ACKNOWLEDGED, Step::Rotated),
    check("forged-first", "a forged call, then the valid one with its id", ACKNOWLEDGED, Step::ForgedFirst),
    batch("other-kinds", "identity, account and sync: events without a commit", events::other_kinds),
    batch("deletion", "a delete: a commit without a record", events::deletion),
    batch("tombstone", "an event that is null", events::tombstone),
    check("no-json", "an event that is no JSON: eventBase64", ACKNOWLEDGED, Step::Rare(events::bytes)),
    batch("unicode", "texts of many scripts, with escapes and zero bytes", events::unicode),
    check("unknown-fields", "fields that nobody knows yet", ACKNOWLEDGED, Step::Extended(events::fields)),
    batch("large-1m", "a batch of 1 MiB", events::default_batch),
    check("large-6m", "a batch of 6 MiB, the most there is", ACKNOWLEDGED, Step::Rare(events::largest_batch)),
    check("slow-upload", "a batch that takes seconds to come", ACKNOWLEDGED, Step::Slow),
    check("other-methods", "GET and HEAD", "anything but 2xx", Step::Methods),
    check("content-type", "a batch of one event", "application/json, where there is a body", Step::ContentType),
    check("answer-form", "(all valid batches)", "bodies that can be read as results", Step::Seen(Seen::Form)),
    check("answer-size", "(all valid batches)", "at most 8 MiB, better 4", Step::Seen(Seen::Size)),
    check("in-time", "(all valid batches)", "within a third of --timeout", Step::Seen(Seen::InTime)),
    check("keep-alive", "(all valid batches)", "connections that are kept", Step::Seen(Seen::KeepAlive)),
];
