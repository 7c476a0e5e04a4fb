//! The service on a real log, from recordings and from a relay that cuts, lies and repeats: nothing lost, nothing
//! twice.

use std::collections::HashMap;

use bytes::Bytes;
use ciborium::Value as Cbor;
use fpaas_core::{Offset, TopicPartition, limits};
use fpaas_ingest::{Error, Frame, State};
use fpaas_log::{Record, Transaction};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{DID, REV, car, commit_body, encode, map, message, recorded_frames, sync_frame, text, with};
use crate::world::{RecordingFile, Relay, Script, Then, World, assert_exactly, drops, expected, time_us};

const NOW: i64 = 1_800_000_000_000_000;

fn seq(frame: &[u8]) -> Option<u64> {
    Frame::parse(frame).unwrap().seq()
}

/// A commit that its upstream left out: it has a place and makes no event.
fn too_big(seq: u64) -> Vec<u8> {
    let body = commit_body(Cbor::Array(vec![]), Cbor::Bytes(car([])));
    message("#commit", &with(with(body, "tooBig", true), "seq", seq))
}

fn error_frame(name: &str) -> Message {
    let frame = [encode(&map([("op", (-1).into())])), encode(&map([("error", text(name)), ("message", text("why"))]))];
    Message::Binary(frame.concat().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_arrives_whole_once_and_in_order_and_is_then_finished() {
    let (world, frames, file) = (World::new().await, recorded_frames(), RecordingFile::new());
    file.write(&frames);
    let running = world.start(&[file.upstream()], NOW);
    running.status.finished().await;
    let expected = expected(&frames);
    assert_exactly(&world.events(&expected).await, &expected);
    let counts = running.status.counts();
    assert_eq!((counts.frames, counts.events), (1985, expected.len() as u64));
    assert_eq!(counts.frame_bytes, frames.iter().map(|frame| frame.len() as u64).sum::<u64>());
    assert_eq!(drops(&running.status), HashMap::new());
    let upstream = running.status.upstreams().borrow()[0].clone();
    assert_eq!((upstream.state, upstream.seq), (State::Finished, seq(&frames[1984])));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_recording_goes_on_where_it_was_and_time_rises_though_the_clock_went_back() {
    let (world, frames, file) = (World::new().await, recorded_frames(), RecordingFile::new());
    for (part, now) in [(700, NOW), (700, NOW - 5), (1500, NOW - 1_000_000), (1985, 0)] {
        file.write(&frames[..part]);
        let running = world.start(&[file.upstream()], now);
        running.status.finished().await;
        assert_eq!(drops(&running.status), HashMap::new());
        running.stop().await.unwrap();
    }
    let expected = expected(&frames);
    assert_exactly(&world.events(&expected).await, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_breaks_off_is_taken_as_far_as_it_goes() {
    let (world, frames, file) = (World::new().await, recorded_frames(), RecordingFile::new());
    let (whole, broken) = (frames[..100].to_vec(), Bytes::from_static(b"\xff\xff\xff\xff"));
    let path = file.upstream()["file:".len()..].to_owned();
    file.write(&whole);
    std::fs::write(&path, [std::fs::read(&path).unwrap(), broken.to_vec()].concat()).unwrap();
    let running = world.start(&[file.upstream()], NOW);
    running.status.finished().await;
    let expected = expected(&whole);
    assert_exactly(&world.events(&expected).await, &expected);
    assert_eq!(drops(&running.status), HashMap::from([("recording-broken-off", 1)]));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_cut_anywhere_is_counted_as_broken_off_unless_between_two_frames() {
    let (frames, file) = (recorded_frames()[..3].to_vec(), RecordingFile::new());
    file.write(&frames);
    let path = file.upstream()["file:".len()..].to_owned();
    let (bytes, last) = (std::fs::read(&path).unwrap(), frames[2].len());
    for (cut, broken) in [(0, 0), (1, 1), (last - 1, 1), (last, 1), (last + 1, 1), (last + 3, 1), (last + 4, 0)] {
        std::fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
        let running = World::new().await.start(&[file.upstream()], NOW);
        running.status.finished().await;
        assert_eq!(drops(&running.status).values().sum::<u64>(), broken, "{cut} bytes less");
        assert_eq!(running.status.counts().frames, if cut == 0 { 3 } else { 2 }, "{cut} bytes less");
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_recording_ends_ingest_with_its_path() {
    let running = World::new().await.start(&["file:/no/such/recording".to_owned()], NOW);
    let error = running.ended().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot open the recording /no/such/recording: No such file or directory (os error 2)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_cuts_the_line_loses_and_doubles_nothing() {
    let (world, frames) = (World::new().await, recorded_frames());
    let scripts = [Script::Cut(300), Script::Cut(1), Script::Cut(0), Script::Cut(900), Script::All(Then::Idle)];
    let mut relay = Relay::serve(frames.clone(), scripts.to_vec()).await;
    let running = world.start(&[relay.url()], NOW);
    let expected = expected(&frames);
    assert_exactly(&world.events(&expected).await, &expected);
    let mut cursors = Vec::new();
    for _ in 0..5 {
        let dialled = relay.dialled().await;
        assert_eq!(dialled.path, "/xrpc/com.atproto.sync.subscribeRepos");
        assert!(dialled.user_agent.starts_with("fpaas/0."), "{}", dialled.user_agent);
        cursors.push(dialled.cursor);
    }
    // A cut line may swallow what was on its way, so the cursor is that of the last frame sent, or of one before it.
    let latest = [None, seq(&frames[299]), seq(&frames[300]), seq(&frames[300]), seq(&frames[1200])];
    assert!(cursors.iter().zip(latest).all(|(cursor, latest)| *cursor <= latest), "{cursors:?}");
    assert!(cursors.is_sorted(), "{cursors:?}");
    assert_eq!(drops(&running.status), HashMap::new());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_that_is_stopped_or_ended_in_the_middle_loses_and_doubles_nothing() {
    let (world, frames) = (World::new().await, recorded_frames());
    let relay = Relay::serve(frames.clone(), vec![Script::All(Then::Idle)]).await;
    let (last, mut cursor, mut rounds) = (seq(&frames[1984]).unwrap(), Offset::ZERO, 0);
    loop {
        let running = world.start(&[relay.url()], NOW);
        let (next, reached) = world.next_cursor(cursor).await;
        cursor = next;
        rounds += 1;
        if reached == last {
            running.stop().await.unwrap();
            break;
        }
        if rounds % 2 == 0 { running.abort().await } else { running.stop().await.unwrap() }
    }
    assert!(rounds > 2, "it was ended {rounds} times");
    let expected = expected(&frames);
    assert_exactly(&world.events(&expected).await, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_between_good_frames_is_counted_and_stops_nothing() {
    let (world, good) = (World::new().await, recorded_frames()[..50].to_vec());
    let mut frames = good.clone();
    frames.insert(10, Bytes::from_static(b"garbage"));
    frames.insert(20, message("#new", &map([("x", 1.into())])).into());
    frames.insert(30, good[5].clone());
    frames.insert(40, message("#info", &map([("name", text("OutdatedCursor"))])).into());
    // A text message, then one more frame with a place: what was counted by then is known.
    let last = too_big(1_000_000);
    let end = vec![Message::Text("hello".into()), Message::Binary(last.into())];
    let relay = Relay::serve(frames, vec![Script::All(Then::Send(end))]).await;
    let running = world.start(&[relay.url()], NOW);
    world.cursor_reaches(&relay.url(), 1_000_000).await;
    let expected = expected(&good);
    assert_exactly(&world.events(&expected).await, &expected);
    let (status, counted) = (
        running.status.clone(),
        [
            ("cbor-truncated", 1),
            ("frame-unknown-type", 1),
            ("frame-too-big", 1),
            ("frame-stale-seq", 1),
            ("frames-missed", 1),
            ("frame-not-binary", 1),
        ],
    );
    running.stop().await.unwrap();
    assert_eq!(drops(&status), HashMap::from(counted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_seq_moves_neither_the_cursor_nor_the_next_connection() {
    let (world, good) = (World::new().await, recorded_frames()[..60].to_vec());
    let forged = |seq: u64| sync_frame(DID, REV, seq);
    let mut frames = good.clone();
    for (at, seq) in [(10, limits::SEQ_MAX), (20, limits::SEQ_MAX - 1), (30, limits::SEQ_MAX + 1), (40, 0)] {
        frames.insert(at, forged(seq));
    }
    let unknown = |seq: u64| message("#new", &map([("seq", seq.into())])).into();
    frames.insert(25, unknown(limits::SEQ_MAX));
    frames.push(unknown(u64::MAX >> 1));
    let mut relay = Relay::serve(frames, vec![Script::Cut(50), Script::All(Then::Idle)]).await;
    let running = world.start(&[relay.url()], NOW);
    let expected = expected(&good);
    assert_exactly(&world.events(&expected).await, &expected);
    assert_eq!(relay.dialled().await.cursor, None);
    assert!(relay.dialled().await.cursor <= seq(&good[49]), "asked for what comes behind a good frame");
    world.cursor_reaches(&relay.url(), seq(&good[59]).unwrap()).await;
    let counted = running.status.clone();
    running.stop().await.unwrap();
    let counted = drops(&counted);
    for reason in ["frame-seq-leap", "frame-seq", "frame-stale-seq", "frame-unknown-type"] {
        assert!(counted.contains_key(reason), "{reason}: {counted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_ends_the_stream_is_dialled_again_behind_the_last_frame() {
    let (world, frames) = (World::new().await, recorded_frames()[..20].to_vec());
    let scripts = vec![Script::All(Then::End(error_frame("ConsumerTooSlow"))), Script::All(Then::Idle)];
    let mut relay = Relay::serve(frames.clone(), scripts).await;
    let running = world.start(&[relay.url()], NOW);
    let mut upstreams = running.status.upstreams();
    let lost = upstreams.wait_for(|all| matches!(all[0].state, State::Unreachable(_))).await.unwrap()[0].state.clone();
    let sentence = format!("cannot reach {}: it says \"ConsumerTooSlow\": \"why\"", relay.url());
    assert_eq!(lost, State::Unreachable(sentence));
    assert_eq!(relay.dialled().await.cursor, None);
    assert_eq!(relay.dialled().await.cursor, seq(&frames[19]));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_counts_anew_is_followed_from_now_on() {
    let (world, frames) = (World::new().await, recorded_frames());
    let (later, earlier) = (frames[100..120].to_vec(), frames[..20].to_vec());
    let old = Relay::serve(later.clone(), vec![Script::All(Then::Idle)]).await;
    let running = world.start(&[old.url()], NOW);
    let before = expected(&later);
    world.events(&before).await;
    running.stop().await.unwrap();
    let url = old.url();
    let mut new = old
        .replaced(earlier.clone(), vec![Script::All(Then::End(error_frame("FutureCursor"))), Script::All(Then::Idle)])
        .await;
    let running = world.start(&[url], NOW);
    assert_eq!(new.dialled().await.cursor, seq(&later[19]));
    assert_eq!(new.dialled().await.cursor, None);
    let all: Vec<_> = before.into_iter().chain(expected(&earlier)).collect();
    assert_exactly(&world.events(&all).await, &all);
    let status = running.status.clone();
    running.stop().await.unwrap();
    // What it brought between its old count and the new one never came: that is said.
    assert_eq!(drops(&status), HashMap::from([("frames-missed", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_cannot_be_reached_is_said_in_one_sentence() {
    let world = World::new().await;
    let running = world.start(&["ws://127.0.0.1:1".to_owned()], NOW);
    let mut upstreams = running.status.upstreams();
    let state = upstreams.wait_for(|all| all[0].state != State::Idle).await.unwrap()[0].state.clone();
    assert_eq!(state, State::Unreachable("cannot reach ws://127.0.0.1:1: nothing listens there".to_owned()));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wss_upstream_is_spoken_to_in_tls_and_nothing_else() {
    let (world, listener) = (World::new().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let running = world.start(&[format!("wss://{}", listener.local_addr().unwrap())], NOW);
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut hello = [0; 6];
    socket.read_exact(&mut hello).await.unwrap();
    // A handshake record (22) of TLS with a client hello (1) in it (RFC 8446, sections 5.1 and 4).
    assert_eq!((hello[0], hello[1], hello[5]), (22, 3, 1));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_of_the_same_name_takes_over() {
    let (world, relay) = (World::new().await, Relay::serve(vec![], vec![Script::All(Then::Idle)]).await);
    let running = world.start(&[relay.url()], NOW);
    running.status.upstreams().wait_for(|all| all[0].state == State::Connected).await.unwrap();
    let _usurper = world.log.join(&world.topics.ingest_group(), "node").await.unwrap();
    assert!(matches!(running.ended().await, Err(Error::Replaced)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_slot_moves_away_stops_and_goes_on_when_it_is_back() {
    let (world, frames) = (World::new().await, recorded_frames());
    let mut relay = Relay::serve(frames.clone(), vec![Script::Cut(1000), Script::All(Then::Idle)]).await;
    let running = world.start(&[relay.url()], NOW);
    let mut upstreams = running.status.upstreams();
    upstreams.wait_for(|all| all[0].state == State::Connected).await.unwrap();
    // Enough others for every slot but a few of the first ones to move.
    let mut others = JoinSet::new();
    for other in 0..20 {
        let mut other = world.log.join(&world.topics.ingest_group(), &format!("other-{other}")).await.unwrap();
        others.spawn(async move { while other.next().await.is_some() {} });
    }
    upstreams.wait_for(|all| all[0].state == State::Idle).await.unwrap();
    others.shutdown().await;
    let expected = expected(&frames);
    assert_exactly(&world.events(&expected).await, &expected);
    running.stop().await.unwrap();
    assert_eq!(relay.dialled().await.cursor, None);
    assert!(relay.dialled().await.cursor <= seq(&frames[999]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_cursor_stops_ingest_and_is_never_taken_for_none() {
    let (world, relay) = (World::new().await, Relay::serve(vec![], vec![Script::All(Then::Idle)]).await);
    let at = TopicPartition::new(world.topics.ingest(), 0);
    let mut transaction = Transaction::new();
    let (key, value) = (Some(Bytes::from(relay.url())), Some(Bytes::from_static(b"{}")));
    transaction.append(at, Record { key, value, ..Record::default() });
    world.log.writer("test", None).await.unwrap().commit(transaction).await.unwrap();
    let error = world.start(&[relay.url()], NOW).ended().await.unwrap_err();
    assert!(matches!(error, Error::Cursor { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_make_no_event_move_the_cursor_too() {
    let (world, file) = (World::new().await, RecordingFile::new());
    file.write(&[too_big(41).into()]);
    let running = world.start(&[file.upstream()], NOW);
    running.status.finished().await;
    let cursors = world.records(&TopicPartition::new(world.topics.ingest(), 0), 1).await;
    assert_eq!(cursors[0].value.as_deref(), Some(&br#"{"v":1,"seq":41,"timeUs":0,"firehoseEnds":[0,0,0,0]}"#[..]));
    assert_eq!(drops(&running.status), HashMap::from([("frame-too-big", 1)]));
    running.stop().await.unwrap();
    assert!(world.events(&[]).await.iter().flatten().map(time_us).next().is_none());
}
