//! Topics: made, found, listed, changed, deleted.

use std::time::Duration;

use fpaas_core::{Offset, TopicPartition};

use super::Backend;
use super::kit::{Member, append, fetch, make, partition, position, refused, soon, text, values};
use crate::{Created, Culprit, Error, FetchBounds, Refusal, Retention, TopicSpec};

/// What was asked for, or what is there instead.
pub async fn a_topic_is_made_once_and_found_again(backend: &dyn Backend) {
    let (log, name) = (backend.log(), backend.fresh("topic"));
    let retention = Retention { time: Some(Duration::from_secs(60)), bytes: Some(1_000_000) };
    let spec = TopicSpec { partitions: 3, compacted: false, retention };
    assert_eq!(log.describe_topic(&name).await.unwrap(), None);
    assert_eq!(log.create_topic(&name, &spec).await.unwrap(), Created::New);
    assert_eq!(log.create_topic(&name, &TopicSpec::kept(3)).await.unwrap(), Created::Existed);
    assert_eq!(log.describe_topic(&name).await.unwrap().as_ref(), Some(&spec));
    let other = log.create_topic(&name, &TopicSpec::kept(4)).await.unwrap();
    assert_eq!(other, Created::Different(spec.clone()));
    let compacted = log.create_topic(&name, &TopicSpec::compacted(3)).await.unwrap();
    assert_eq!(compacted, Created::Different(spec));
    for number in 0..3 {
        let fetched = fetch(&*log, &TopicPartition::new(name.as_str(), number), Offset::ZERO).await;
        assert!(fetched.records.is_empty() && fetched.next == Offset::ZERO && fetched.end == Offset::ZERO);
    }
}

/// And no others.
pub async fn topics_are_listed_by_prefix_in_order(backend: &dyn Backend) {
    let (log, prefix) = (backend.log(), backend.fresh("list"));
    for name in ["b", "a.2", "a.1", "c"] {
        log.create_topic(&format!("{prefix}.{name}"), &TopicSpec::kept(1)).await.unwrap();
    }
    let of = |names: &[&str]| names.iter().map(|name| format!("{prefix}.{name}")).collect::<Vec<_>>();
    assert_eq!(log.list_topics(&format!("{prefix}.")).await.unwrap(), of(&["a.1", "a.2", "b", "c"]));
    assert_eq!(log.list_topics(&format!("{prefix}.a.")).await.unwrap(), of(&["a.1", "a.2"]));
    assert!(log.list_topics(&format!("{prefix}.d")).await.unwrap().is_empty());
}

/// Making it again does not change it back.
pub async fn retention_can_be_altered(backend: &dyn Backend) {
    let (log, spec) = (backend.log(), TopicSpec::kept(2));
    let name = make(backend, &spec).await;
    let retention = Retention { time: Some(Duration::from_secs(3600)), bytes: None };
    log.alter_topic(&name, &retention).await.unwrap();
    assert_eq!(log.create_topic(&name, &spec).await.unwrap(), Created::Existed);
    let found = log.describe_topic(&name).await.unwrap().unwrap();
    assert_eq!(found, TopicSpec { retention, ..spec });
    let missing = log.alter_topic(&backend.fresh("nowhere"), &retention).await.unwrap_err();
    assert!(matches!(missing, Error::NoSuchTopic(_)));
}

/// One made anew under its name starts empty; deleting twice is no error.
pub async fn a_deleted_topic_is_gone_with_its_records_and_positions(backend: &dyn Backend) {
    let (at, member, log) = (partition(backend).await, Member::alone(backend).await, backend.log());
    append(&*member.writer, &at, (0..10).map(|n| text(n.to_string()))).await;
    member.advance(&at, Offset(5), "half").await;
    log.delete_topic(&at.topic).await.unwrap();
    log.delete_topic(&at.topic).await.unwrap();
    assert!(log.list_topics(&at.topic).await.unwrap().is_empty());
    let gone = log.fetch(&at, Offset::ZERO, FetchBounds::now()).await.unwrap_err();
    assert!(matches!(gone, Error::NoSuchTopic(_)));
    let late = refused(&*member.writer, super::kit::appending(&at, [text("late")])).await;
    assert_eq!(late, Error::Abort(Culprit::Append { at: at.clone(), refusal: Refusal::NoSuchTopic }));
    assert_eq!(log.create_topic(&at.topic, &TopicSpec::kept(1)).await.unwrap(), Created::New);
    assert_eq!(position(&*log, member.membership.group(), &at).await, None);
    assert!(values(&*log, &at).await.is_empty());
    let offsets = append(&*member.writer, &at, [text("anew")]).await;
    assert_eq!(offsets, [Offset::ZERO]);
    assert_eq!(values(&*log, &at).await, ["anew"]);
}

/// A reader that waits there is told, and does not wait on.
pub async fn deleting_a_topic_ends_the_wait_at_its_tail(backend: &dyn Backend) {
    let (at, log) = (partition(backend).await, backend.log());
    let (reader, place) = (backend.log(), at.clone());
    let waiting = tokio::spawn(async move {
        reader.fetch(&place, Offset::ZERO, FetchBounds::waiting(fpaas_core::limits::FETCH_WAIT_MAX)).await
    });
    tokio::task::yield_now().await;
    log.delete_topic(&at.topic).await.unwrap();
    assert!(matches!(soon(waiting).await.unwrap(), Err(Error::NoSuchTopic(_))));
}
