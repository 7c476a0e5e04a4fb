//! What is there after the process was killed: exactly what was acknowledged.

use bytes::Bytes;
use fpaas_core::Offset;

use super::Backend;
use super::kit::{
    Member, append, append_numbers, appender, keyed, make, numbers, partition, position, read, refused, text, values,
};
use crate::{Culprit, Error, TopicSpec};

/// Records, positions and topics; and after it goes on where it was.
pub async fn what_was_acknowledged_is_there_after_a_kill(backend: &dyn Backend) {
    let (at, source, member) = (partition(backend).await, partition(backend).await, Member::alone(backend).await);
    for n in 0..50u32 {
        let mut transaction = member.begin();
        transaction.append(at.clone(), text(n.to_string()));
        transaction.advance(source.clone(), Offset(u64::from(n) + 1), Bytes::from(n.to_string()));
        member.writer.commit(transaction).await.unwrap();
    }
    let before = read(&*backend.log(), &at).await;
    for round in 0..2 {
        backend.kill_and_reopen().await;
        assert_eq!(read(&*backend.log(), &at).await, before, "round {round}");
        let found = position(&*backend.log(), member.membership.group(), &source).await.unwrap();
        assert_eq!((found.offset, found.metadata), (Offset(50), Bytes::from_static(b"49")));
    }
    let writer = appender(backend).await;
    let offsets = append_numbers(&*writer, &at, 50..60).await;
    assert!(offsets[0] > before[49].offset);
    assert_eq!(values(&*backend.log(), &at).await, numbers(0..60));
}

/// Also where nothing is left to tell them by.
pub async fn watermarks_and_trims_survive_a_kill(backend: &dyn Backend) {
    let (at, writer) = (partition(backend).await, appender(backend).await);
    append_numbers(&*writer, &at, 0..10).await;
    backend.log().trim(&at, Offset(u64::MAX)).await.unwrap();
    let before = backend.log().watermarks(&at).await.unwrap();
    backend.kill_and_reopen().await;
    let after = backend.log().watermarks(&at).await.unwrap();
    assert_eq!(after, before);
    let offsets = append_numbers(&*appender(backend).await, &at, 0..1).await;
    assert!(offsets[0] >= before.end);
}

/// A process that comes back does not find its old rights.
pub async fn leases_of_before_a_kill_are_void(backend: &dyn Backend) {
    let (at, group) = (partition(backend).await, backend.fresh("group"));
    let before = Member::join(backend, &group, "name").await;
    backend.kill_and_reopen().await;
    let after = Member::join(backend, &group, "name").await;
    let mut stale = crate::Transaction::under(&before.leases[0]);
    stale.append(at.clone(), text("of before"));
    assert_eq!(refused(&*after.writer, stale).await, Error::Abort(Culprit::Fenced));
    after.advance(&at, Offset(1), "of now").await;
    assert!(values(&*backend.log(), &at).await.is_empty());
}

/// Nothing comes back that was deleted, trimmed or replaced.
pub async fn deletions_and_compaction_survive_a_kill(backend: &dyn Backend) {
    let writer = appender(backend).await;
    let (deleted, trimmed) = (partition(backend).await, partition(backend).await);
    let compacted = fpaas_core::TopicPartition::new(make(backend, &TopicSpec::compacted(1)).await, 0);
    append_numbers(&*writer, &deleted, 0..10).await;
    let offsets = append_numbers(&*writer, &trimmed, 0..10).await;
    append(&*writer, &compacted, (0..10).map(|n| keyed("key", &n.to_string()))).await;
    backend.log().delete_topic(&deleted.topic).await.unwrap();
    backend.log().trim(&trimmed, offsets[7]).await.unwrap();
    if let Some(levers) = backend.retention() {
        levers.run();
    }
    let kept = values(&*backend.log(), &compacted).await;
    backend.kill_and_reopen().await;
    assert_eq!(backend.log().describe_topic(&deleted.topic).await.unwrap(), None);
    assert_eq!(values(&*backend.log(), &trimmed).await, numbers(7..10));
    assert_eq!(values(&*backend.log(), &compacted).await, kept);
    assert_eq!(kept.last().unwrap(), "9");
}
