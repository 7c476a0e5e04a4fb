//! Several upstreams at once: what they bring twice arrives once, a bad copy hides no good one, and a restart remembers
//! as far back as the upstream that was left first.

use std::collections::HashMap;

use bytes::Bytes;
use ciborium::Value as Cbor;
use fpaas_core::{Offset, TopicPartition};
use fpaas_ingest::{Cursor, Frame, State};
use fpaas_log::Record;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::{
    REV, car, cid_of, commit_body, create, delete, encode, map, message, recorded_frames, sync_frame, with,
};
use crate::world::{RecordingFile, Relay, Script, Then, World, drops, expected};

const NOW: i64 = 1_800_000_000_000_000;
const MINUTE_US: i64 = 60_000_000;

fn once(partitions: &[Vec<Record>]) -> HashMap<String, usize> {
    let ids = partitions.iter().flatten().map(|record| record.headers.get_str("id").unwrap().to_owned());
    ids.fold(HashMap::new(), |mut counts, id| {
        *counts.entry(id).or_default() += 1;
        counts
    })
}

fn idle() -> Vec<Script> {
    vec![Script::All(Then::Idle)]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_several_upstreams_bring_arrives_once_also_after_a_restart() {
    let (world, frames) = (World::new().await, recorded_frames());
    let serve = || Relay::serve(frames.clone(), idle());
    let (first, second, third) = (serve().await, serve().await, serve().await);
    let expected = expected(&frames);
    let running = world.start(&[first.url(), second.url()], NOW);
    let counted = once(&world.events(&expected).await);
    assert!(expected.iter().all(|event| counted[&event.id] == 1) && counted.len() == expected.len());
    running.stop().await.unwrap();
    // The third has no cursor: it brings everything again. Only empty commits, which leave no record, pass unseen.
    let running = world.start(&[first.url(), third.url()], NOW);
    let mut upstreams = running.status.upstreams();
    upstreams.wait_for(|all| all[1].state == State::Connected).await.unwrap();
    let last = Frame::parse(&frames[1984]).unwrap().seq();
    world.cursor_reaches(&third.url(), last.unwrap()).await;
    assert_eq!(once(&world.events(&expected).await), counted);
    running.stop().await.unwrap();
}

/// A commit of `did` with two records and a deletion; `broken` says what is wrong with this copy of it.
fn commit(did: &str, seq: u64, broken: Broken) -> Bytes {
    let (first, second) = (encode(&map([("a", 1.into())])), encode(&map([("a", 2.into())])));
    let ops = [create("a.b.c/1", &first), create("a.b.c/2", &second), delete("a.b.c/3")].map(|(op, _)| op);
    let forged = if broken == Broken::OneBlock { first.clone() } else { second.clone() };
    let mut blocks = car([(cid_of(&first), first), (cid_of(&second), forged)]);
    if broken == Broken::AllBlocks {
        blocks.pop();
    }
    let body = with(commit_body(Cbor::Array(ops.to_vec()), Cbor::Bytes(blocks)), "repo", did);
    message("#commit", &with(body, "seq", seq)).into()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    OneBlock,
    AllBlocks,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_copy_from_one_upstream_hides_no_good_one_from_another() {
    let (world, file) = (World::new().await, RecordingFile::new());
    let copies = |all: [Broken; 4]| -> Vec<_> {
        let named = all.into_iter().zip(["did:plc:a", "did:plc:b", "did:plc:c", "did:plc:d"]).zip(1..);
        named.map(|((broken, did), seq)| commit(did, seq, broken)).collect()
    };
    use Broken::{AllBlocks, Nothing, OneBlock};
    file.write(&copies([OneBlock, AllBlocks, Nothing, OneBlock]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let running = world.start(&[file.upstream(), url.clone()], NOW);
    // The bad copies are there first: the other upstream lets us wait until they are committed.
    running.status.upstreams().wait_for(|all| all[0].state == State::Finished).await.unwrap();
    let good = copies([Nothing, Nothing, Nothing, OneBlock]);
    let _relay = Relay::on(listener, good, idle());
    world.cursor_reaches(&url, 4).await;
    let counted = once(&world.events(&[]).await);
    let mut all: Vec<_> = ["did:plc:a", "did:plc:b", "did:plc:c"]
        .iter()
        .flat_map(|did| (1..=3).map(move |n| format!("{did}/a.b.c/{n}@{REV}")))
        .chain([1, 3].map(|n| format!("did:plc:d/a.b.c/{n}@{REV}")))
        .collect();
    let mut ids: Vec<_> = counted.keys().cloned().collect();
    ids.sort_unstable();
    all.sort_unstable();
    assert_eq!(ids, all);
    assert!(counted.values().all(|times| *times == 1), "{counted:?}");
    let status = running.status.clone();
    running.stop().await.unwrap();
    assert_eq!(drops(&status), HashMap::from([("op-block-hash", 3), ("frame-car", 1), ("frame-seen-elsewhere", 1)]));
}

/// The cursors in the log, in their order.
async fn cursors(world: &World) -> Vec<(String, Cursor)> {
    let records = world.records(&TopicPartition::new(world.topics.ingest(), 0), 1).await;
    let read = |record: Record| {
        let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        (key, serde_json::from_slice(&record.value.unwrap()).unwrap())
    };
    records.into_iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_says_where_the_firehose_ended_before_its_own_events() {
    let (world, frames, file) = (World::new().await, recorded_frames(), RecordingFile::new());
    for part in [500, 1985] {
        file.write(&frames[..part]);
        let running = world.start(&[file.upstream()], NOW);
        running.status.finished().await;
        running.stop().await.unwrap();
    }
    let (cursors, mut before) = (cursors(&world).await, i64::MIN);
    assert!(cursors.len() > 2, "{} transactions", cursors.len());
    assert_eq!(cursors[0].1.firehose_ends, [Offset(0); 4]);
    for (_, cursor) in cursors {
        for (partition, end) in (0..).zip(&cursor.firehose_ends) {
            for (offset, time_us) in stamps(&world, partition).await {
                // What is below was there at the cursor before; what is of this one is not.
                assert_eq!(offset < *end, time_us <= before, "{offset:?} and {end:?} of partition {partition}");
            }
        }
        before = cursor.time_us;
    }
}

/// The records of a partition: where they are and when they were stamped.
async fn stamps(world: &World, partition: u32) -> Vec<(Offset, i64)> {
    let (at, mut from, mut all) = (world.partition(partition), Offset::ZERO, vec![]);
    loop {
        let fetched = world.log.fetch(&at, from, fpaas_log::FetchBounds::now()).await.unwrap();
        let stamp = |record: &Record| {
            serde_json::from_slice::<Value>(record.value.as_ref().unwrap()).unwrap()["time_us"].as_i64().unwrap()
        };
        all.extend(fetched.records.iter().map(|stored| (stored.offset, stamp(&stored.record))));
        from = fetched.next;
        if fetched.next >= fetched.end {
            return all;
        }
    }
}

/// One upstream goes on alone for so long; the other brings all of it again after a restart.
async fn check_left_behind(minutes: i64, doubled: usize) {
    let (world, file) = (World::new().await, RecordingFile::new());
    let of = |did: &str, seq| sync_frame(&format!("did:plc:{did}"), REV, seq);
    let (a, b, c) = (of("a", 1), of("b", 2), of("c", 3));
    let left = Relay::serve(vec![a.clone()], idle()).await;
    file.write(std::slice::from_ref(&a));
    let running = world.start(&[file.upstream(), left.url()], NOW);
    running.status.finished().await;
    world.cursor_reaches(&left.url(), 1).await;
    running.stop().await.unwrap();
    // Alone, at two moments: right after, and much later.
    for (at, frames) in
        [(NOW + 1, vec![a.clone(), b.clone()]), (NOW + minutes * MINUTE_US, vec![a, b.clone(), c.clone()])]
    {
        file.write(&frames);
        let running = world.start(&[file.upstream()], at);
        running.status.finished().await;
        running.stop().await.unwrap();
    }
    let url = left.url();
    let _left = left.replaced(vec![b, c], idle()).await;
    let running = world.start(&[file.upstream(), url.clone()], NOW + minutes * MINUTE_US);
    world.cursor_reaches(&url, 3).await;
    running.stop().await.unwrap();
    let counted = once(&world.events(&[]).await);
    let twice: usize = counted.values().map(|times| times - 1).sum();
    assert_eq!((counted.len(), twice), (3, doubled), "{minutes} minutes: {counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_remembers_from_where_the_upstream_was_left_that_was_left_first() {
    check_left_behind(5, 0).await;
    check_left_behind(50, 0).await;
    // Beyond `limits::SEEN_ELSEWHERE_REACH`: what is older than that is brought again, under the same ids.
    check_left_behind(120, 1).await;
}
