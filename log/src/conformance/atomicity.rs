//! All of a transaction or nothing of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use fpaas_core::{Offset, TopicPartition, limits};
use tokio::task::JoinSet;

use super::Backend;
use super::kit::{
    Member, append, appender, appending, fetch, make, partition, position, read, refused, soon, text, value, values,
};
use crate::{Culprit, Error, FetchBounds, Record, Refusal, Stored, TopicSpec, Transaction};

/// A reader that follows the tail while transactions of several records are committed: whenever it has seen one record
/// of a transaction, the rest is readable without waiting.
pub async fn a_transaction_is_seen_whole_or_not_at_all(backend: &dyn Backend) {
    const TRANSACTIONS: u32 = 60;
    const RECORDS: u32 = 7;
    let (at, writer, log) = (partition(backend).await, appender(backend).await, backend.log());
    let target = at.clone();
    let writing = tokio::spawn(async move {
        for n in 0..TRANSACTIONS {
            append(&*writer, &target, (0..RECORDS).map(|_| text(n.to_string()))).await;
        }
    });
    let (mut from, mut seen) = (Offset::ZERO, Vec::new());
    while seen.len() < (TRANSACTIONS * RECORDS) as usize {
        let waiting = FetchBounds { records: 3, ..FetchBounds::waiting(limits::FETCH_WAIT_MAX) };
        let first = soon(log.fetch(&at, from, waiting)).await.unwrap();
        from = first.next;
        seen.extend(first.records.iter().map(value));
        while from < first.end {
            let rest = fetch(&*log, &at, from).await;
            from = rest.next;
            seen.extend(rest.records.iter().map(value));
        }
        assert!(counts(&seen).values().all(|count| *count == RECORDS as usize), "half a transaction was seen");
    }
    writing.await.unwrap();
}

fn counts(values: &[String]) -> BTreeMap<&String, usize> {
    let mut counts = BTreeMap::new();
    values.iter().for_each(|value| *counts.entry(value).or_default() += 1);
    counts
}

/// Records of two topics and positions of one transaction are all there once it is acknowledged.
pub async fn records_and_positions_are_committed_together(backend: &dyn Backend) {
    let (one, other, source) = (partition(backend).await, partition(backend).await, partition(backend).await);
    let (member, log) = (Member::alone(backend).await, backend.log());
    let mut transaction = member.begin();
    transaction.append(one.clone(), text("one"));
    transaction.append(other.clone(), text("other"));
    transaction.append(one.clone(), text("one more"));
    transaction.advance(source.clone(), Offset(7), Bytes::from_static(b"note"));
    let receipt = member.writer.commit(transaction).await.unwrap();
    let (in_one, in_other) = (read(&*log, &one).await, read(&*log, &other).await);
    let found = |stored: &Stored| (stored.offset, value(stored));
    assert_eq!(found(&in_one[0]), (receipt.offsets[0], "one".to_owned()));
    assert_eq!(found(&in_other[0]), (receipt.offsets[1], "other".to_owned()));
    assert_eq!(found(&in_one[1]), (receipt.offsets[2], "one more".to_owned()));
    let group = member.membership.group();
    assert_eq!(position(&*log, group, &source).await.unwrap().offset, Offset(7));
}

/// Nothing of a transaction is visible when one of its records has nowhere to go or is too large.
pub async fn a_rejected_transaction_leaves_nothing(backend: &dyn Backend) {
    let (at, source, member) = (partition(backend).await, partition(backend).await, Member::alone(backend).await);
    for (bad_at, bad, refusal) in bad_records(backend, &at) {
        let mut transaction = member.begin();
        transaction.append(at.clone(), text("good"));
        transaction.append(bad_at.clone(), bad);
        transaction.advance(source.clone(), Offset(9), Bytes::new());
        let error = refused(&*member.writer, transaction).await;
        assert_eq!(error, Error::Abort(Culprit::Append { at: bad_at, refusal }));
    }
    assert_eq!(values(&*backend.log(), &at).await, Vec::<String>::new());
    assert_eq!(position(&*backend.log(), member.membership.group(), &source).await, None);
    append(&*member.writer, &at, [text("after")]).await;
    assert_eq!(values(&*backend.log(), &at).await, ["after"]);
}

fn bad_records(backend: &dyn Backend, at: &TopicPartition) -> [(TopicPartition, Record, Refusal); 3] {
    let too_large = Record { value: Some(vec![0; limits::RECORD_BYTES_MAX + 1].into()), ..Record::default() };
    [
        (TopicPartition::new(backend.fresh("nowhere"), 0), text("lost"), Refusal::NoSuchTopic),
        (TopicPartition::new(std::sync::Arc::clone(&at.topic), 1), text("lost"), Refusal::NoSuchTopic),
        (at.clone(), too_large, Refusal::TooLarge),
    ]
}

/// The caller gets back what it gave, to redo it without the culprit.
pub async fn a_rejected_transaction_comes_back_as_it_was(backend: &dyn Backend) {
    let (at, member) = (partition(backend).await, Member::alone(backend).await);
    let mut transaction = member.begin();
    transaction.append(at.clone(), text("good"));
    transaction.append(TopicPartition::new(backend.fresh("nowhere"), 0), text("lost"));
    transaction.advance(at.clone(), Offset(3), Bytes::from_static(b"note"));
    let rejected = member.writer.commit(transaction.clone()).await.unwrap_err();
    assert_eq!(*rejected.transaction, transaction);
}

/// Good transactions that are committed at the same time as bad ones all succeed; each bad one gets its own reason.
pub async fn a_bad_transaction_does_not_stop_those_beside_it(backend: &dyn Backend) {
    let at = TopicPartition::new(make(backend, &TopicSpec::kept(1)).await, 0);
    let (nowhere, writer) = (TopicPartition::new(backend.fresh("nowhere"), 0), appender(backend).await);
    let mut tasks = JoinSet::new();
    for n in 0..60 {
        let (writer, good) = (std::sync::Arc::clone(&writer), n % 3 != 0);
        let target = if good { at.clone() } else { nowhere.clone() };
        let transaction: Transaction = appending(&target, [text(n.to_string())]);
        tasks.spawn(async move { (good, writer.commit(transaction).await.map_err(|rejected| rejected.error)) });
    }
    for (good, answer) in tasks.join_all().await {
        match answer {
            Ok(_) => assert!(good),
            Err(error) => {
                assert!(!good, "{error}");
                let refusal = Refusal::NoSuchTopic;
                assert_eq!(error, Error::Abort(Culprit::Append { at: nowhere.clone(), refusal }));
            }
        }
    }
    assert_eq!(read(&*backend.log(), &at).await.len(), 40);
}
