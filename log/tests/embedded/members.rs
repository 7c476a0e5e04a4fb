//! Members that misbehave: they lose their slots, and nobody waits for them for ever.

use fpaas_core::TopicPartition;
use fpaas_core::partition::SLOTS;
use fpaas_log::conformance::Backend;
use fpaas_log::conformance::kit::{Member, assigned, refused, soon, text, values};
use fpaas_log::{Culprit, Error, Log, MembershipEvent, TopicSpec, Transaction};

use crate::support::Local;

#[tokio::test]
async fn slots_that_are_not_let_go_of_are_taken() {
    let backend = Local::new(None);
    let log = backend.embedded();
    log.create_topic("t", &TopicSpec::kept(1)).await.unwrap();
    let mut first = Member::join(&backend, "group", "first").await;
    let mut second = log.join("group", "second").await.unwrap();
    let Some(MembershipEvent::Revoked(revoked, never_given)) = soon(first.membership.next()).await else {
        panic!("the first member is asked to let go")
    };
    let leases = assigned(&mut second).await;
    assert_eq!(leases.len(), SLOTS as usize / 2);
    let mut late = Transaction::under(&revoked[0]);
    late.append(TopicPartition::new("t", 0), text("too late"));
    assert_eq!(refused(&*first.writer, late).await, Error::Abort(Culprit::Fenced));
    drop(never_given);
    assert!(values(&*log, &TopicPartition::new("t", 0)).await.is_empty());
}

#[tokio::test]
async fn an_error_for_a_writer_of_a_closed_log_is_fatal() {
    let backend = Local::new(None);
    let log = backend.log();
    let writer = log.writer("writer", None).await.unwrap();
    let closing = backend.embedded();
    tokio::task::spawn_blocking(move || closing.close()).await.unwrap().unwrap();
    assert!(matches!(refused(&*writer, Transaction::new()).await, Error::Fatal(_)));
}

#[tokio::test]
async fn closing_ends_the_wait_at_every_tail() {
    let backend = Local::new(None);
    let log = backend.embedded();
    log.create_topic("t", &TopicSpec::kept(1)).await.unwrap();
    let reader = backend.log();
    let waiting = tokio::spawn(async move {
        let bounds = fpaas_log::FetchBounds::waiting(fpaas_core::limits::FETCH_WAIT_MAX);
        reader.fetch(&TopicPartition::new("t", 0), fpaas_core::Offset::ZERO, bounds).await
    });
    tokio::task::yield_now().await;
    log.close().unwrap();
    assert!(matches!(soon(waiting).await.unwrap(), Err(Error::Fatal(_))));
}
