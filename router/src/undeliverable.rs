//! Records that one subscription cannot be given, and what it gets instead, so that no record stops a scan or a lane.
//! Pure.
//!
//! What the log takes is known here by its limits; a log with lower ones refuses, and what it refused is remembered
//! until it is passed. Invariant: drop-and-count.

use std::collections::BTreeMap;
use std::sync::Arc;

use fpaas_core::{Offset, TopicPartition};
use fpaas_log::Refusal;

use crate::Member;
use crate::roster::Key;

/// By the record's offset and the subscription.
#[derive(Debug, Default)]
pub(crate) struct Undeliverable(BTreeMap<(Offset, Key), Instead>);

/// What a subscription gets instead of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instead {
    /// A dead letter that says why.
    DeadLetter,
    /// One without the value, and without the key and the headers if need be: the log takes less than we know of.
    BareDeadLetter,
    /// Not even that could be written: it is counted.
    Nothing,
}

/// A commit was refused for one of its records.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) at: TopicPartition,
    pub(crate) refusal: Refusal,
    /// The record of the source that the largest append to `at` was made of.
    pub(crate) source: Option<Offset>,
}

impl Undeliverable {
    /// What `member` gets instead of the record at `offset`, if it cannot have it.
    pub(crate) fn instead(&self, offset: Offset, member: &Member) -> Option<Instead> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(offset, Arc::clone(&member.key))).copied()
    }

    /// Takes note of what the log refused. False where it is not about a single record: then nothing of that
    /// subscription can be written.
    pub(crate) fn note(&mut self, members: &[Arc<Member>], refused: &Refused) -> bool {
        let Some(offset) = refused.source else { return false };
        let found = members.iter().find_map(|member| Some((member, self.next(offset, member, refused)?)));
        let Some((member, instead)) = found else { return false };
        tracing::warn!(subscription = %member.key, at = %refused.at, %offset, refusal = %refused.refusal, ?instead,
            "a record cannot be delivered");
        self.0.insert((offset, Arc::clone(&member.key)), instead);
        true
    }

    /// What is tried after what was refused; only a size can be helped.
    fn next(&self, offset: Offset, member: &Member, refused: &Refused) -> Option<Instead> {
        let (at, too_large) = (&refused.at.topic, refused.refusal == Refusal::TooLarge);
        match self.instead(offset, member) {
            None if too_large && *at == member.deliveries => Some(Instead::DeadLetter),
            None | Some(Instead::DeadLetter) if too_large && *at == member.dead_letters => {
                Some(Instead::BareDeadLetter)
            }
            Some(Instead::BareDeadLetter) if too_large && *at == member.dead_letters => Some(Instead::Nothing),
            _ => None,
        }
    }

    /// Everything below `position` is behind us.
    pub(crate) fn passed(&mut self, position: Offset) {
        while self.0.first_key_value().is_some_and(|((offset, _), _)| *offset < position) {
            self.0.pop_first();
        }
    }
}
