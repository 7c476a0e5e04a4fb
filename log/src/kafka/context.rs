//! What a client of librdkafka says beside its answers: log lines, and errors of the connection.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use tracing::{debug, info, warn};

/// Shared by all clients of one log: what was last said to be wrong, for messages that would otherwise be "timed out".
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// What was said last, if anything.
    pub(super) fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, said: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(said.to_owned());
    }
}

/// The context of a client that has no events of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Quiet(pub(super) Trouble);

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // Where messages are taken in batches (`Inbox`), an error of the connection is a line of the log.
        if facility == "ERROR" {
            self.0.note(line);
        }
        log(level as i32, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        note(&self.0, &error, reason);
    }
}

impl ConsumerContext for Quiet {}

/// An error that concerns the connection, not one request: librdkafka goes on trying by itself.
pub(super) fn note(trouble: &Trouble, error: &KafkaError, reason: &str) {
    let said = said(error, reason);
    debug!(error = %said, "Kafka");
    trouble.note(&said);
}

/// librdkafka's reason says more than its code.
pub(super) fn said(error: &KafkaError, reason: &str) -> String {
    if reason.is_empty() { error.to_string() } else { reason.to_owned() }
}

/// A line of librdkafka's own log; `level` is syslog's. It repeats itself while a broker is away, so nothing of it is
/// louder than a warning.
pub(super) fn log(level: i32, facility: &str, line: &str) {
    // CONFWARN: settings that are for the other kind of client. One file sets both (`config`). ERROR: as `note`.
    match level {
        _ if matches!(facility, "CONFWARN" | "ERROR") => debug!(facility, "librdkafka: {line}"),
        0..=4 => warn!(facility, "librdkafka: {line}"),
        5 => info!(facility, "librdkafka: {line}"),
        _ => debug!(facility, "librdkafka: {line}"),
    }
}
