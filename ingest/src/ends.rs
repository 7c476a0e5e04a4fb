//! Where the firehose topic ends, partition by partition, as its one writer knows it: looked up once, then moved by
//! what is appended. A cursor record says it, for whoever restarts from there.

use fpaas_core::{Offset, TopicPartition};
use fpaas_log::Log;

use crate::error::Result;
use crate::retry;

/// The end of each partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends(Vec<(TopicPartition, Offset)>);

impl Ends {
    /// As the log says; nobody else appends to it while we have the lease.
    pub(crate) async fn read(log: &dyn Log, firehose: &[TopicPartition]) -> Result<Self> {
        let mut ends = Vec::with_capacity(firehose.len());
        for at in firehose {
            ends.push((at.clone(), retry::patiently(|| log.watermarks(at)).await?.end));
        }
        Ok(Self(ends))
    }

    /// These were appended, at these offsets.
    pub(crate) fn move_past(&mut self, appends: &[TopicPartition], offsets: &[Offset]) {
        for (at, offset) in appends.iter().zip(offsets) {
            if let Some((_, end)) = self.0.get_mut(at.partition.0 as usize).filter(|(known, _)| known == at) {
                *end = offset.next();
            }
        }
    }

    pub(crate) fn to_vec(&self) -> Vec<Offset> {
        self.0.iter().map(|(_, end)| *end).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_behind_the_last_record_of_its_own_partition() {
        let at = |topic: &str, partition| TopicPartition::new(topic, partition);
        let mut ends = Ends(vec![(at("f", 0), Offset(5)), (at("f", 1), Offset(7))]);
        ends.move_past(&[at("f", 1), at("f", 1), at("cursors", 0)], &[Offset(9), Offset(11), Offset(40)]);
        assert_eq!(ends.to_vec(), [Offset(5), Offset(12)]);
    }
}
