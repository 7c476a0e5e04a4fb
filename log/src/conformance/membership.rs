//! One owner per slot, and who fences whom.

use std::collections::BTreeSet;

use bytes::Bytes;
use fpaas_core::Offset;
use fpaas_core::partition::{SLOTS, Slot};

use super::Backend;
use super::kit::{Member, append, appending, assigned, partition, position, refused, soon, text, values};
use crate::{Culprit, Error, Lease, MembershipEvent, Refusal, Transaction};

fn slots(leases: &[Lease]) -> BTreeSet<Slot> {
    leases.iter().map(|lease| lease.slot).collect()
}

/// All of them, each once.
pub async fn the_only_member_gets_every_slot(backend: &dyn Backend) {
    let member = Member::alone(backend).await;
    assert_eq!(slots(&member.leases), Slot::all().collect());
}

/// Until the first one lets go its leases are good and the second one has nothing; after that it is the other way
/// round.
pub async fn a_second_member_gets_half_once_the_first_let_go(backend: &dyn Backend) {
    let (at, group) = (partition(backend).await, backend.fresh("group"));
    let mut first = Member::join(backend, &group, "first").await;
    let mut second = backend.log().join(&group, "second").await.unwrap();
    let MembershipEvent::Revoked(revoked, ack) = soon(first.membership.next()).await.unwrap() else {
        panic!("the first member is asked to let go")
    };
    assert_eq!(revoked.len(), SLOTS as usize / 2);
    let last_work = under(&revoked[0], &at, "last work");
    first.writer.commit(last_work).await.unwrap();
    ack.acknowledge();
    let leases = assigned(&mut second).await;
    assert_eq!(slots(&leases), slots(&revoked));
    let writer = backend.log().writer(&backend.fresh("writer"), Some(&second)).await.unwrap();
    writer.commit(under(&leases[0], &at, "first work")).await.unwrap();
    let late = refused(&*first.writer, under(&revoked[0], &at, "too late")).await;
    assert_eq!(late, Error::Abort(Culprit::Fenced));
    let kept = first.leases.iter().find(|lease| !slots(&revoked).contains(&lease.slot)).unwrap();
    first.writer.commit(under(kept, &at, "kept")).await.unwrap();
    assert_eq!(values(&*backend.log(), &at).await, ["last work", "first work", "kept"]);
}

fn under(lease: &Lease, at: &fpaas_core::TopicPartition, value: &str) -> Transaction {
    let mut transaction = Transaction::under(lease);
    transaction.append(at.clone(), text(value));
    transaction
}

/// Dropping a membership is leaving.
pub async fn the_slots_of_one_that_leaves_go_to_the_other(backend: &dyn Backend) {
    let (at, group) = (partition(backend).await, backend.fresh("group"));
    let mut first = Member::join(backend, &group, "first").await;
    let mut second = backend.log().join(&group, "second").await.unwrap();
    let MembershipEvent::Revoked(revoked, ack) = soon(first.membership.next()).await.unwrap() else {
        panic!("the first member is asked to let go")
    };
    ack.acknowledge();
    let mut leases = assigned(&mut second).await;
    let stale = first.leases.iter().find(|lease| !revoked.contains(lease)).unwrap().clone();
    drop(first.membership);
    while leases.len() < SLOTS as usize {
        leases.extend(assigned(&mut second).await);
    }
    assert_eq!(slots(&leases), Slot::all().collect());
    let late = refused(&*first.writer, under(&stale, &at, "too late")).await;
    assert_eq!(late, Error::Abort(Culprit::Fenced));
    assert!(values(&*backend.log(), &at).await.is_empty());
}

/// The new one has every slot, the old one hears of it and commits nothing more: no record and no position.
pub async fn a_member_of_the_same_name_fences_the_old_one(backend: &dyn Backend) {
    let (at, group) = (partition(backend).await, backend.fresh("group"));
    let mut old = Member::join(backend, &group, "name").await;
    let new = Member::join(backend, &group, "name").await;
    assert_eq!(slots(&new.leases), Slot::all().collect());
    match soon(old.membership.next()).await {
        None => {}
        Some(MembershipEvent::Lost(lost)) => {
            assert_eq!(slots(&lost), slots(&old.leases));
            assert!(soon(old.membership.next()).await.is_none());
        }
        Some(other) => panic!("{other:?}"),
    }
    let late = refused(&*old.writer, under(&old.leases[0], &at, "too late")).await;
    assert_eq!(late, Error::Abort(Culprit::Fenced));
    let mut late = Transaction::under(&old.leases[0]);
    late.advance(at.clone(), Offset(1), Bytes::new());
    assert_eq!(refused(&*old.writer, late).await, Error::Abort(Culprit::Fenced));
    drop(old);
    new.writer.commit(under(&new.leases[0], &at, "in time")).await.unwrap();
    assert_eq!(values(&*backend.log(), &at).await, ["in time"]);
}

/// Neither one whose name was taken nor one that left: also what is under no lease and moves no position.
pub async fn who_is_no_member_any_more_commits_nothing_at_all(backend: &dyn Backend) {
    let (at, group) = (partition(backend).await, backend.fresh("group"));
    let old = Member::join(backend, &group, "name").await;
    append(&*old.writer, &at, [text("as a member")]).await;
    let new = Member::join(backend, &group, "name").await;
    assert_eq!(refused(&*old.writer, appending(&at, [text("too late")])).await, Error::Abort(Culprit::Fenced));
    append(&*new.writer, &at, [text("as the new one")]).await;
    drop(new.membership);
    assert_eq!(refused(&*new.writer, appending(&at, [text("too late")])).await, Error::Abort(Culprit::Fenced));
    assert_eq!(values(&*backend.log(), &at).await, ["as a member", "as the new one"]);
}

/// It is the work of a slot.
pub async fn a_position_moves_only_under_a_lease(backend: &dyn Backend) {
    let (at, member) = (partition(backend).await, Member::alone(backend).await);
    let mut transaction = appending(&at, [text("lost")]);
    transaction.advance(at.clone(), Offset(1), Bytes::new());
    let refusal = Refusal::NotAuthorised;
    let refused = refused(&*member.writer, transaction).await;
    assert_eq!(refused, Error::Abort(Culprit::Append { at: at.clone(), refusal }));
    assert!(values(&*backend.log(), &at).await.is_empty());
    assert_eq!(position(&*backend.log(), member.membership.group(), &at).await, None);
}

/// The slot of a position is always the same; the lease of another one does not cover it.
pub async fn a_position_moves_only_under_the_slot_it_belongs_to(backend: &dyn Backend) {
    let (at, member) = (partition(backend).await, Member::alone(backend).await);
    let moved = |slots: &[u32], to| {
        let mut transaction = Transaction::new();
        transaction.leases = slots.iter().map(|slot| member.lease(Slot(*slot)).clone()).collect();
        transaction.advance(at.clone(), Offset(to), Bytes::new());
        member.writer.commit(transaction)
    };
    moved(&[7, 8], 1).await.unwrap();
    moved(&[8, 9], 2).await.unwrap();
    for other in [7, 9] {
        assert_eq!(moved(&[other], 3).await.unwrap_err().error, Error::Abort(Culprit::Fenced));
    }
    moved(&[8], 4).await.unwrap();
    moved(&[9, 8, 7], 5).await.unwrap();
    let group = member.membership.group();
    assert_eq!(position(&*backend.log(), group, &at).await.unwrap().offset, Offset(5));
}

/// One stale lease among good ones is enough.
pub async fn a_stale_lease_commits_nothing(backend: &dyn Backend) {
    let (at, member) = (partition(backend).await, Member::alone(backend).await);
    let stale = Lease { incarnation: member.leases[1].incarnation + 1_000_000, ..member.leases[1].clone() };
    let mut transaction = under(&member.leases[0], &at, "lost");
    transaction.leases.push(stale);
    assert_eq!(refused(&*member.writer, transaction).await, Error::Abort(Culprit::Fenced));
    let foreign = Member::alone(backend).await;
    let transaction = under(&foreign.leases[0], &at, "lost");
    assert_eq!(refused(&*member.writer, transaction).await, Error::Abort(Culprit::Fenced));
    assert!(values(&*backend.log(), &at).await.is_empty());
}

/// So that what was begun under the first assignment is not finished under the second.
pub async fn a_slot_comes_back_with_another_incarnation(backend: &dyn Backend) {
    let (at, group) = (partition(backend).await, backend.fresh("group"));
    let mut first = Member::join(backend, &group, "first").await;
    let second = backend.log().join(&group, "second").await.unwrap();
    let MembershipEvent::Revoked(revoked, ack) = soon(first.membership.next()).await.unwrap() else {
        panic!("the first member is asked to let go")
    };
    ack.acknowledge();
    drop(second);
    let again = assigned(&mut first.membership).await;
    let slot = again[0].slot;
    let before = revoked.iter().find(|lease| lease.slot == slot).unwrap();
    assert_ne!(before.incarnation, again[0].incarnation);
    let late = refused(&*first.writer, under(before, &at, "of before")).await;
    assert_eq!(late, Error::Abort(Culprit::Fenced));
    first.writer.commit(under(&again[0], &at, "of now")).await.unwrap();
    assert_eq!(values(&*backend.log(), &at).await, ["of now"]);
}

/// Initialising an id ends whatever its predecessor left open.
pub async fn a_writer_made_anew_fences_the_one_before(backend: &dyn Backend) {
    let (at, id, log) = (partition(backend).await, backend.fresh("writer"), backend.log());
    let old = log.writer(&id, None).await.unwrap();
    append(&*old, &at, [text("old")]).await;
    let new = log.writer(&id, None).await.unwrap();
    let late = refused(&*old, appending(&at, [text("too late")])).await;
    assert_eq!(late, Error::Abort(Culprit::Fenced));
    append(&*new, &at, [text("new")]).await;
    assert_eq!(values(&*log, &at).await, ["old", "new"]);
}
