//! A dead letter: a record that was given up on, and why (design §7, Dead letter), whichever stage gave up on it. Pure.
//!
//! It is never larger than the log takes: what does not fit is left out, and a header says so. Does not own when a
//! record is given up on, nor where its dead letter goes.

use bytes::Bytes;
use fpaas_core::event::header;
use fpaas_core::{BatchId, Headers, HeadersBuilder, Message, Timestamp, rfc3339};
use fpaas_log::Record;

/// The headers that say where a record first stood: kept whatever is left out.
const PLACE: [&str; 3] = [header::SOURCE_TOPIC, header::SOURCE_PARTITION, header::SOURCE_OFFSET];

/// Why a record was given up on.
#[derive(Clone, Debug)]
pub struct Cause<'a> {
    /// Who gave up.
    pub stage: &'static str,
    /// The name of the failure.
    pub reason: &'a str,
    /// What an endpoint answered, if it did.
    pub status: Option<u16>,
    /// A sentence, free of secrets; cut at `limits::FAILURE_MESSAGE_BYTES_MAX`.
    pub message: &'a str,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed for the first time.
    pub first_failed: Timestamp,
    /// And for the last.
    pub last_failed: Timestamp,
    /// The batch it was in, if it was in one.
    pub batch: Option<&'a BatchId>,
}

impl Cause<'_> {
    /// `fpaas.error.*`, at most `limits::DEAD_LETTER_HEADERS_BYTES_MAX` of it.
    pub fn headers(&self) -> Headers {
        let fields = [
            ("stage", Some(self.stage.to_owned())),
            ("reason", Some(self.reason.to_owned())),
            ("status", self.status.map(|status| status.to_string())),
            ("message", Some(Message::new(self.message).to_string())),
            ("attempts", Some(self.attempts.to_string())),
            ("firstFailedAt", Some(rfc3339::format(self.first_failed))),
            ("lastFailedAt", Some(rfc3339::format(self.last_failed))),
            ("batchId", self.batch.map(ToString::to_string)),
        ];
        let mut headers = HeadersBuilder::new();
        for (name, value) in fields {
            if let Some(value) = value {
                push(&mut headers, name, &value);
            }
        }
        headers.build()
    }
}

/// `record` as it was, with `error` and the time at which it was given up on. Above `bytes_max` its value is left out;
/// if that is not enough, its key and its headers too, all but where it first stood.
pub fn dead_letter(record: &Record, error: &Headers, now: Timestamp, bytes_max: usize) -> Record {
    let whole = |value: Option<Bytes>, omitted: Option<&str>| {
        let headers = with_error(HeadersBuilder::from_headers(&record.headers), error, omitted);
        Record { key: record.key.clone(), value, headers, timestamp: now }
    };
    let without_value = || whole(None, Some("value"));
    let bare = || Record {
        headers: with_error(place(record), error, Some("value,key,headers")),
        timestamp: now,
        ..Record::default()
    };
    let fits = |letter: &Record| letter.bytes() <= bytes_max;
    Some(whole(record.value.clone(), None))
        .filter(fits)
        .or_else(|| Some(without_value()).filter(fits))
        .unwrap_or_else(bare)
}

/// Why records may be given up on, as `fpaas.error.reason` names it: of events. The one of results is [`RESULT`].
pub const REASONS: [&str; 14] = [
    "timeout",
    "connect",
    "address",
    "url",
    "cut",
    "status",
    "gone",
    "redirect",
    "aborted",
    "badResponse",
    "retry",
    "rejected",
    "payloadFailed",
    "tooLarge",
];

/// The reason of dead letters that are no events: results that went nowhere.
pub const RESULT: &str = "output";

/// A dead letter as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    /// An event as it was before it was given up on, and the reason why it was.
    Event(Record, String),
    /// A result that went nowhere: it was never delivered.
    Result,
    /// What is left of an event of which something was left out.
    Cut,
}

impl Letter {
    /// What `record` is, without what [`dead_letter`] has put behind its headers.
    pub fn read(mut record: Record) -> Self {
        let all: Vec<_> = record.headers.iter().collect();
        let is_ours = |(name, _): &&(&str, &[u8])| name.starts_with(header::ERROR_PREFIX);
        let (own, error) = all.split_at(all.len() - all.iter().rev().take_while(is_ours).count());
        let text = |wanted: &str| {
            let found = error.iter().find(|(name, _)| name.strip_prefix(header::ERROR_PREFIX) == Some(wanted));
            found.and_then(|(_, value)| std::str::from_utf8(value).ok())
        };
        let reason = text("reason").unwrap_or_default().to_owned();
        if reason == RESULT {
            return Self::Result;
        }
        if text("omitted").is_some() {
            return Self::Cut;
        }
        let headers = own.iter().fold(HeadersBuilder::new(), |all, (name, value)| all.with(name, value)).build();
        record.headers = headers;
        Self::Event(record, reason)
    }
}

fn with_error(mut headers: HeadersBuilder, error: &Headers, omitted: Option<&str>) -> Headers {
    error.iter().for_each(|(name, value)| headers.push(name, value));
    if let Some(omitted) = omitted {
        push(&mut headers, "omitted", omitted);
    }
    headers.build()
}

fn place(record: &Record) -> HeadersBuilder {
    let mut headers = HeadersBuilder::new();
    for name in PLACE {
        if let Some(value) = record.headers.get(name) {
            headers.push(name, value);
        }
    }
    headers
}

fn push(headers: &mut HeadersBuilder, name: &str, value: &str) {
    headers.push(&[header::ERROR_PREFIX, name].concat(), value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpaas_core::limits;

    fn cause(message: &str) -> Cause<'_> {
        Cause {
            stage: "dispatcher",
            reason: "badResponse",
            status: Some(599),
            message,
            attempts: u32::MAX,
            first_failed: Timestamp::from_micros(0),
            last_failed: Timestamp::from_micros(1_700_000_000_000_001),
            batch: None,
        }
    }

    fn delivery(key: usize, value: usize) -> Record {
        let headers = HeadersBuilder::new()
            .with("id", "a")
            .with(header::SOURCE_TOPIC, "t")
            .with(header::SOURCE_PARTITION, "0")
            .with(header::SOURCE_OFFSET, "7")
            .build();
        let part = |length| Some(vec![b'x'; length].into());
        Record { key: part(key), value: part(value), headers, timestamp: Timestamp::default() }
    }

    #[test]
    fn a_long_message_is_cut_and_the_headers_stay_within_their_bound() {
        let long = "é".repeat(limits::FAILURE_MESSAGE_BYTES_MAX);
        let headers = cause(&long[..]).headers();
        let message = headers.get_str("fpaas.error.message").unwrap().len();
        assert!((limits::FAILURE_MESSAGE_BYTES_MAX - 3..=limits::FAILURE_MESSAGE_BYTES_MAX).contains(&message));
        // The id of a batch is 38 bytes.
        assert!(headers.as_bytes().len() + 100 < limits::DEAD_LETTER_HEADERS_BYTES_MAX);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_named() {
        let error = cause("no").headers();
        let check = |key, value, omitted: Option<&str>, kept: (usize, usize)| {
            let letter = dead_letter(&delivery(key, value), &error, Timestamp::default(), 2000);
            assert_eq!(letter.headers.get_str("fpaas.error.omitted"), omitted);
            let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
            assert_eq!((length(&letter.key), length(&letter.value)), kept);
            assert_eq!(letter.headers.get_str(header::SOURCE_OFFSET), Some("7"));
            assert_eq!(letter.headers.get_str("fpaas.error.message"), Some("no"));
            assert!(letter.bytes() <= 2000);
        };
        check(10, 10, None, (10, 10));
        check(10, 2000, Some("value"), (10, 0));
        check(2000, 2000, Some("value,key,headers"), (0, 0));
    }

    #[test]
    fn a_letter_is_read_as_the_event_it_was_and_what_is_no_whole_event_is_told_from_it() {
        let letter = |reason, record: &Record, bytes_max| {
            let cause = Cause { reason, ..cause("no") };
            Letter::read(dead_letter(record, &cause.headers(), Timestamp::from_millis(7), bytes_max))
        };
        let event = delivery(10, 10);
        let again = |reason: &str, event: &Record| {
            let event = Record { timestamp: Timestamp::from_millis(7), ..event.clone() };
            Letter::Event(event, reason.to_owned())
        };
        for reason in REASONS {
            assert_eq!(letter(reason, &event, 2000), again(reason, &event));
        }
        assert_eq!(letter(RESULT, &event, 2000), Letter::Result);
        assert_eq!(letter("status", &delivery(10, 2000), 2000), Letter::Cut);
        assert_eq!(letter("status", &delivery(2000, 2000), 2000), Letter::Cut);
        let tombstone = Record { value: None, ..delivery(10, 0) };
        assert_eq!(letter("status", &tombstone, 2000), again("status", &tombstone));
        // What somebody else calls an error stays where it was: it stands before what the router has put there.
        let headers = HeadersBuilder::new().with("fpaas.error.reason", "output").with(header::SOURCE_OFFSET, "7");
        let odd = Record { headers: headers.build(), ..event };
        assert_eq!(letter("timeout", &odd, 2000), again("timeout", &odd));
    }
}
