//! Positions of groups.

use bytes::Bytes;
use fpaas_core::Offset;

use super::Backend;
use super::kit::{Member, appender, partition, position, refused};
use crate::{Culprit, Error, Position, Refusal, Transaction};

/// Neither zero nor the end: nothing.
pub async fn a_position_that_was_never_committed_is_none(backend: &dyn Backend) {
    let (at, group) = (partition(backend).await, backend.fresh("group"));
    assert_eq!(position(&*backend.log(), &group, &at).await, None);
}

/// Also within one transaction, and backwards too: the log does not judge.
pub async fn the_last_position_wins_and_keeps_its_metadata(backend: &dyn Backend) {
    let (at, other, member) = (partition(backend).await, partition(backend).await, Member::alone(backend).await);
    member.advance(&at, Offset(10), "first").await;
    let mut transaction = member.begin();
    transaction.advance(at.clone(), Offset(20), Bytes::from_static(b"second"));
    transaction.advance(other.clone(), Offset(5), Bytes::new());
    transaction.advance(at.clone(), Offset(15), Bytes::from_static("dritte ü".as_bytes()));
    member.writer.commit(transaction).await.unwrap();
    let wanted = [other, at];
    let found = backend.log().positions(member.membership.group(), &wanted).await.unwrap();
    let expected = |offset, metadata: &'static str| {
        Some(Position { offset: Offset(offset), metadata: Bytes::from_static(metadata.as_bytes()) })
    };
    assert_eq!(found, [expected(5, ""), expected(15, "dritte ü")]);
}

/// One group's position says nothing about another's.
pub async fn positions_of_groups_are_their_own(backend: &dyn Backend) {
    let (at, one, other) = (partition(backend).await, Member::alone(backend).await, Member::alone(backend).await);
    one.advance(&at, Offset(1), "one").await;
    assert_eq!(position(&*backend.log(), other.membership.group(), &at).await, None);
    other.advance(&at, Offset(2), "other").await;
    assert_eq!(position(&*backend.log(), one.membership.group(), &at).await.unwrap().offset, Offset(1));
}

/// It belongs to no group.
pub async fn a_writer_without_a_membership_cannot_move_positions(backend: &dyn Backend) {
    let (at, writer) = (partition(backend).await, appender(backend).await);
    let mut transaction = Transaction::new();
    transaction.advance(at.clone(), Offset(1), Bytes::new());
    let refusal = Refusal::NotAuthorised;
    assert_eq!(refused(&*writer, transaction).await, Error::Abort(Culprit::Append { at, refusal }));
}
