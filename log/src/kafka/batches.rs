//! How many bytes go to a partition in one batch. A topic whose limit was set below ours refuses a whole batch for its
//! size: the batches get smaller until each record stands for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fpaas_core::TopicPartition;

use crate::Append;

/// What librdkafka makes at most where nothing else is known (`batch.size`).
pub(super) const BATCH_BYTES_MAX: usize = 1_000_000;

/// Topics that have refused a batch, and what they are given at a time since then.
#[derive(Debug, Default)]
pub(super) struct Batches(Mutex<HashMap<Arc<str>, usize>>);

/// What one transaction has sent since its last wait.
#[derive(Debug)]
pub(super) struct Sent<'b> {
    batches: &'b Batches,
    bytes: HashMap<TopicPartition, usize>,
}

impl Batches {
    /// A record of so many bytes was refused with the batch it was in. True where it may not have been alone there:
    /// then the same is tried again in smaller batches.
    pub(super) fn narrow(&self, topic: &Arc<str>, bytes: usize) -> bool {
        let mut batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let most = batches.entry(Arc::clone(topic)).or_insert(BATCH_BYTES_MAX);
        let in_company = bytes < *most;
        if in_company {
            *most /= 2;
        }
        in_company
    }

    fn most(&self, topic: &str) -> Option<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
    }

    /// For the next transaction.
    pub(super) fn sent(&self) -> Sent<'_> {
        Sent { batches: self, bytes: HashMap::new() }
    }
}

impl Sent<'_> {
    /// True where what was sent must have arrived before this record is sent, so that they share no batch.
    pub(super) fn must_wait(&mut self, append: &Append) -> bool {
        let Some(most) = self.batches.most(&append.at.topic) else { return false };
        let bytes = append.record.bytes();
        let sent = self.bytes.entry(append.at.clone()).or_default();
        let full = *sent > 0 && *sent + bytes > most;
        *sent = if full { bytes } else { *sent + bytes };
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    fn append(bytes: usize) -> Append {
        let record = Record { value: Some(vec![b'x'; bytes].into()), ..Record::default() };
        Append { at: TopicPartition::new("small", 0), record }
    }

    #[test]
    fn batches_of_a_topic_that_refuses_them_get_smaller_until_a_record_is_alone() {
        let (batches, topic) = (Batches::default(), Arc::from("small"));
        assert!(!batches.sent().must_wait(&append(400)) && batches.most("small").is_none());
        let mut narrowed = 0;
        while batches.narrow(&topic, 1000) {
            narrowed += 1;
        }
        assert_eq!((narrowed, batches.most("small")), (10, Some(976)));
        assert!(batches.narrow(&topic, 100), "a smaller one may have been refused for its neighbours");
        let mut sent = batches.sent();
        let waits: Vec<_> = [100, 300, 100, 400, 488].map(|bytes| sent.must_wait(&append(bytes))).into();
        assert_eq!(waits, [false, false, true, true, true]);
        assert!(!sent.must_wait(&Append { at: TopicPartition::new("other", 0), ..append(9000) }));
    }
}
