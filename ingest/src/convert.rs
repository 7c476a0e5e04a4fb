//! A frame to events: the decoder's second half and our hot path. Pure and total: what cannot be an event is dropped
//! under a reason, op by op. Invariants: drop-and-count, pure-decisions.
//!
//! The value is Jetstream v1 JSON (github.com/bluesky-social/jetstream, `pkg/models`), written straight from the
//! frame's bytes. At most one allocation per frame, its list of ops; all bytes go to the end of one buffer.

use fpaas_core::event::{self, Kind, header};
use fpaas_core::limits;

use crate::events::{Events, HeaderWriter};
use crate::frame::{Account, Commit, Frame, Identity, Sync};
use crate::gate::DropReason;
use crate::ops::Op;
use crate::stamps::Stamps;
use crate::work::Work;
use crate::{cid, json, ops, record};

/// Adds the events of `frame` to `events`: one per op of a commit, one of anything else that is about a repo.
pub fn convert(frame: &Frame<'_>, stamps: &mut Stamps, now_us: i64, events: &mut Events) {
    let converted = match frame {
        Frame::Commit(commit) => commit_events(commit, stamps, now_us, events),
        Frame::Sync(sync) => sync_event(sync, stamps.next(now_us), events),
        Frame::Identity(identity) => identity_event(identity, stamps.next(now_us), events),
        Frame::Account(account) => account_event(account, stamps.next(now_us), events),
        Frame::Unknown => Err(DropReason::FrameUnknownType),
        Frame::Info(_) | Frame::Error(_) => Ok(()),
    };
    if let Err(reason) = converted {
        events.drop_one(reason);
    }
}

fn commit_events(commit: &Commit<'_>, stamps: &mut Stamps, now_us: i64, events: &mut Events) -> Result<(), DropReason> {
    if commit.too_big {
        return Err(DropReason::FrameTooBig);
    }
    let mut work = Work::of(commit);
    let mut ops = ops::read(commit.ops, events)?;
    ops::find_blocks(&mut ops, commit.blocks, &mut work)?;
    let before = events.bytes();
    for op in &ops {
        let added = match events.bytes() - before {
            0..limits::FRAME_EVENTS_BYTES_MAX => commit_event(commit, op, stamps.next(now_us), &mut work, events),
            _ => Err(DropReason::OpTooLarge),
        };
        if let Err(reason) = added {
            events.drop_one(reason);
        }
    }
    events.note_work(work.spent());
    Ok(())
}

fn commit_event(
    commit: &Commit<'_>,
    op: &Op<'_>,
    time_us: i64,
    work: &mut Work,
    events: &mut Events,
) -> Result<(), DropReason> {
    let (did, rev, collection, rkey) = (commit.did, commit.rev, op.collection, op.rkey);
    let operation = op.operation.as_str();
    let record = op.record()?;
    let headers = |headers: &mut HeaderWriter<'_>| {
        headers.add(header::KIND, &[Kind::Commit.as_str()]);
        headers.add(header::COLLECTION, &[collection]);
        headers.add(header::OPERATION, &[operation]);
        headers.add(header::REV, &[rev]);
        headers.add(header::ID, &[did, "/", collection, "/", rkey, "@", rev]);
    };
    events.push(did, time_us, headers, |out| {
        // Checked fields need no escapes (`syntax`).
        for part in [",\"kind\":\"commit\",\"commit\":{\"rev\":\"", rev, "\",\"operation\":\"", operation] {
            out.extend_from_slice(part.as_bytes());
        }
        for part in ["\",\"collection\":\"", collection, "\",\"rkey\":\"", rkey, "\""] {
            out.extend_from_slice(part.as_bytes());
        }
        if let Some((block, cid)) = record {
            out.extend_from_slice(b",\"record\":");
            work.begin(block.len())?;
            let from = out.len();
            let written = record::write(out, block);
            work.done(out.len() - from);
            written?;
            out.extend_from_slice(b",\"cid\":\"");
            cid::write(out, cid.as_bytes());
            out.push(b'"');
        }
        out.push(b'}');
        Ok(())
    })
}

fn sync_event(sync: &Sync<'_>, time_us: i64, events: &mut Events) -> Result<(), DropReason> {
    let id = event::sync_id(sync.did, sync.rev);
    let headers = |headers: &mut HeaderWriter<'_>| {
        headers.add(header::KIND, &[Kind::Sync.as_str()]);
        headers.add(header::REV, &[sync.rev]);
        headers.add(header::ID, &[&id]);
    };
    events.push(sync.did, time_us, headers, |out| {
        out.extend_from_slice(b",\"kind\":\"sync\",\"sync\":{\"did\":\"");
        out.extend_from_slice(sync.did.as_bytes());
        out.extend_from_slice(b"\",\"rev\":");
        json::string(out, sync.rev);
        stream_fields(out, sync.seq, sync.time);
        out.push(b'}');
        Ok(())
    })
}

fn identity_event(identity: &Identity<'_>, time_us: i64, events: &mut Events) -> Result<(), DropReason> {
    let id = identity_id(identity);
    statement(Kind::Identity, identity.did, &id, time_us, events, |out| {
        out.extend_from_slice(b"\"did\":\"");
        out.extend_from_slice(identity.did.as_bytes());
        out.push(b'"');
        if let Some(handle) = identity.handle {
            out.extend_from_slice(b",\"handle\":");
            json::string(out, handle);
        }
        stream_fields(out, identity.seq, identity.time);
    })
}

fn account_event(account: &Account<'_>, time_us: i64, events: &mut Events) -> Result<(), DropReason> {
    let (id, active) = (account_id(account), truth(account.active));
    statement(Kind::Account, account.did, &id, time_us, events, |out| {
        for part in ["\"active\":", active, ",\"did\":\"", account.did, "\""] {
            out.extend_from_slice(part.as_bytes());
        }
        stream_fields(out, account.seq, account.time);
        if let Some(status) = account.status {
            out.extend_from_slice(b",\"status\":");
            json::string(out, status);
        }
    })
}

/// What it says includes when it was said, since the same may be said again later; a relay passes that time on.
pub(crate) fn identity_id(identity: &Identity<'_>) -> String {
    let says = [identity.handle.unwrap_or_default().as_bytes(), identity.time.as_bytes()];
    event::statement_id(identity.did, Kind::Identity, &says)
}

/// See [`identity_id`].
pub(crate) fn account_id(account: &Account<'_>) -> String {
    let status = account.status.unwrap_or_default();
    let says = [truth(account.active).as_bytes(), status.as_bytes(), account.time.as_bytes()];
    event::statement_id(account.did, Kind::Account, &says)
}

const fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// An event that is what someone said of an account, not a change of its repo.
fn statement(
    kind: Kind,
    did: &str,
    id: &str,
    time_us: i64,
    events: &mut Events,
    fields: impl FnOnce(&mut Vec<u8>),
) -> Result<(), DropReason> {
    let headers = |headers: &mut HeaderWriter<'_>| {
        headers.add(header::KIND, &[kind.as_str()]);
        headers.add(header::ID, &[id]);
    };
    events.push(did, time_us, headers, |out| {
        for part in [",\"kind\":\"", kind.as_str(), "\",\"", kind.as_str(), "\":{"] {
            out.extend_from_slice(part.as_bytes());
        }
        fields(out);
        out.push(b'}');
        Ok(())
    })
}

/// `seq` and `time`, as the upstream said them.
fn stream_fields(out: &mut Vec<u8>, seq: u64, time: &str) {
    out.extend_from_slice(b",\"seq\":");
    json::integer(out, seq);
    out.extend_from_slice(b",\"time\":");
    json::string(out, time);
}
