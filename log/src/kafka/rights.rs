//! Topics that we may not write to, or not read. A transaction that touches one fails as a whole, and no record of it
//! says why: so the brokers are asked which it was (KIP-430), once, and whatever goes there is refused before that.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::admin::Admin;
use super::error::Failure;
use super::ffi::{self, Rights};

/// How long a refusal is believed: what an operator has mended is seen within this.
const BELIEVED: Duration = Duration::from_secs(15);

/// What a transaction wants of a topic: records are written to it; a position on it takes the right to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    Read,
    Write,
}

impl Want {
    const fn is_granted(self, rights: Rights) -> bool {
        match self {
            Self::Read => rights.read,
            Self::Write => rights.write,
        }
    }
}

/// See the module's head: what we lack, each with the time at which it was found.
#[derive(Debug, Default)]
pub(super) struct Denied(Mutex<HashMap<String, (Rights, Instant)>>);

impl Denied {
    fn of(&self, topic: &str) -> Option<(Rights, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
    }

    fn note(&self, topic: String, rights: Rights) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match rights {
            Rights { read: true, write: true } => drop(all.remove(&topic)),
            lacking => drop(all.insert(topic, (lacking, Instant::now()))),
        }
    }
}

impl Admin {
    /// Finds out which of these we are denied, and remembers it; true where there is one. Blocks for one request.
    pub(super) fn find_denied(&self, wanted: &[(&str, Want)]) -> Result<bool, Failure> {
        let mut topics: Vec<_> = wanted.iter().map(|(topic, _)| *topic).collect();
        topics.sort_unstable();
        topics.dedup();
        for (topic, answer) in ffi::rights(self.native(), &topics, self.request_wait())? {
            match answer {
                Ok(rights) => self.denied.note(topic, rights),
                Err(Code::TopicAuthorizationFailed) => self.denied.note(topic, Rights { read: false, write: false }),
                // That it is not there is found elsewhere.
                Err(_) => {}
            }
        }
        Ok(wanted.iter().any(|(topic, want)| self.is_known_denied(topic, *want)))
    }

    fn is_known_denied(&self, topic: &str, want: Want) -> bool {
        self.denied.of(topic).is_some_and(|(rights, _)| !want.is_granted(rights))
    }

    /// An error where we were found not to be let do this, and that still holds.
    pub(super) fn check_denied(&self, topic: &str, want: Want) -> Result<(), Failure> {
        let Some((_, since)) = self.denied.of(topic) else { return Ok(()) };
        if since.elapsed() >= BELIEVED {
            self.find_denied(&[(topic, want)])?;
        }
        match self.is_known_denied(topic, want) {
            true => Err(Failure::of(Code::TopicAuthorizationFailed)),
            false => Ok(()),
        }
    }
}
