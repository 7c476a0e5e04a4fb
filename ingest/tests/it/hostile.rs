//! Frames made to break the decoder: by hand, by properties, and by mutation. It must never panic, and what it takes
//! the reference decoder must read the same way.

use std::path::Path;
use std::time::{Duration, Instant};

use ciborium::Value as Cbor;
use fpaas_core::limits;
use fpaas_ingest::DropReason;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{
    DID, REV, car, cid_of, commit_body, commit_frame, create, dag_cbor, decode, decode_record, delete, encode, link,
    map, message, op, record_bytes, recorded_frames, text, with, work,
};
use crate::{check, reference};

fn check_drop(frame: &[u8], expected: DropReason) {
    assert_eq!(decode(frame), (vec![], vec![expected]));
}

/// What we say of a frame is what the reference says of it, op by op; it may say more.
fn assert_agrees(frame: &[u8]) {
    check::frame(frame);
    let (events, _) = decode(frame);
    if events.is_empty() {
        return;
    }
    let mut theirs =
        reference::events(frame).unwrap_or_else(|| panic!("only we read {frame:02x?}")).into_iter().flatten();
    for mut event in events {
        event.as_object_mut().unwrap().remove("time_us").unwrap();
        assert!(theirs.any(|their| their == event), "only we say {event} of {frame:02x?}");
    }
}

#[test]
fn broken_frames_are_dropped_under_the_reason_that_names_it() {
    let body = |ops, blocks| message("#commit", &commit_body(ops, blocks));
    let no_ops = || Cbor::Array(vec![]);
    check_drop(b"", DropReason::CborTruncated);
    check_drop(b"\x80", DropReason::FrameHeader);
    check_drop(b"\xa1\x62op\x01", DropReason::FrameHeader);
    check_drop(b"\xa2\x62op\x01\x62op\x01", DropReason::FrameHeader);
    check_drop(&message("#commit", &map([])), DropReason::FrameField);
    check_drop(&message("#commit", &text("x")), DropReason::FrameField);
    check_drop(&message("#new", &map([("seq", 1.into())])), DropReason::FrameUnknownType);
    check_drop(&body(no_ops(), Cbor::Bytes(vec![])), DropReason::FrameCar);
    check_drop(&body(no_ops(), text("x")), DropReason::FrameField);
    check_drop(&body(Cbor::Null, Cbor::Bytes(car([]))), DropReason::FrameField);
    check_drop(&body(Cbor::Array(vec![Cbor::Null; 201]), Cbor::Bytes(car([]))), DropReason::FrameTooManyOps);
    check_drop(&[commit_frame(&[]), vec![0]].concat(), DropReason::CborTrailing);
    let sync = |did, rev| map([("did", text(did)), ("rev", text(rev)), ("seq", 1.into()), ("time", text(""))]);
    check_drop(&message("#sync", &sync("did:x", "3n2xs7smpiz2q")), DropReason::FrameDid);
    check_drop(&message("#sync", &sync(DID, "3n2xs7smpiz2")), DropReason::FrameRev);
    let identity = [("did", text(DID)), ("seq", 1.into()), ("time", text("")), ("handle", text("no handle"))];
    check_drop(&message("#identity", &map(identity)), DropReason::FrameHandle);
}

#[test]
fn a_seq_that_is_none_is_named_in_every_kind_of_frame() {
    let statement = |seq: Cbor| {
        let fields =
            [("did", text(DID)), ("rev", text(REV)), ("time", text("")), ("active", true.into()), ("seq", seq)];
        map(fields)
    };
    let commit = |seq: Cbor| with(commit_body(Cbor::Array(vec![]), Cbor::Bytes(car([]))), "seq", seq);
    let bad = [
        ((-1).into(), DropReason::FrameSeq),
        (i64::MIN.into(), DropReason::FrameSeq),
        ((limits::SEQ_MAX + 1).into(), DropReason::FrameSeq),
        (i64::MAX.into(), DropReason::FrameSeq),
        ((i64::MAX as u64 + 1).into(), DropReason::CborInteger),
        (u64::MAX.into(), DropReason::CborInteger),
        (text("7"), DropReason::FrameField),
        (Cbor::Null, DropReason::FrameField),
    ];
    for (seq, reason) in bad {
        check_drop(&message("#commit", &commit(seq.clone())), reason);
        for kind in ["#sync", "#identity", "#account"] {
            check_drop(&message(kind, &statement(seq.clone())), reason);
        }
    }
    for seq in [0, 1, limits::SEQ_MAX] {
        assert_eq!(decode(&message("#sync", &statement(seq.into()))).1, []);
    }
}

/// A commit of 200 ops that all name the one block.
fn sharing(block: &[u8], data: &[u8]) -> Vec<u8> {
    let ops = (0..200).map(|n| create(&format!("a.b.c/{n}"), block).0).collect();
    message("#commit", &commit_body(Cbor::Array(ops), Cbor::Bytes(car([(cid_of(block), data.to_vec())]))))
}

#[test]
fn ops_that_share_a_large_block_cost_no_more_than_the_frames_bytes_allow() {
    let text_of = |byte: &str, length: usize| encode(&map([("a", text(&byte.repeat(length)))]));
    let bad_at_its_end = encode(&map([("a", text(&"x".repeat(4_700_000))), ("b", 0.5.into())]));
    let empties = encode(&map([("a", Cbor::Array(vec![Cbor::Bytes(vec![]); 4_700_000]))]));
    for (block, at_least) in [
        (text_of("x", 4_700_000), 2),
        (text_of("\0", 4_700_000), 0),
        (text_of("\0", 50_000), 5),
        (text_of("x", 5_000), 90),
        (text_of("x", 1_000), 200),
        (bad_at_its_end, 0),
        (empties, 0),
    ] {
        let frame = sharing(&block, &block);
        let allowed = limits::FRAME_WORK_FACTOR * frame.len() + limits::FRAME_WORK_BYTES_MIN;
        // What was begun is finished: one record's JSON, which is given up with the text that makes it too long.
        let one_more = limits::RECORD_BYTES_MAX.min(14 * block.len()) + 6 * block.len();
        assert!(work(&frame) <= allowed + one_more, "{} for {} bytes", work(&frame), frame.len());
        let (events, drops) = decode(&frame);
        assert!((at_least..=200).contains(&events.len()), "{} events", events.len());
        assert_eq!(drops.is_empty(), events.len() == 200, "{drops:?}");
    }
}

#[test]
fn a_record_is_taken_up_to_the_limit_that_leaves_room_for_what_stages_add() {
    let frame = |pad: usize| {
        let empties = Cbor::Array(vec![Cbor::Bytes(vec![]); 590_000]);
        let block = encode(&map([("a", empties), ("b", text(&"x".repeat(pad)))]));
        commit_frame(&[create("app.example.record/self", &block)])
    };
    let bytes = |pad| record_bytes(&frame(pad)).unwrap();
    let pad = limits::SOURCE_RECORD_BYTES_MAX - bytes(0);
    assert_eq!(bytes(pad), limits::SOURCE_RECORD_BYTES_MAX);
    check_drop(&frame(pad + 1), DropReason::OpTooLarge);
}

#[test]
fn a_block_is_hashed_once_however_many_ops_name_it() {
    let block = encode(&map([("a", text(&"x".repeat(4_700_000)))]));
    let forged = [&block[..block.len() - 1], b"y"].concat();
    let frame = sharing(&block, &forged);
    assert_eq!(work(&frame), forged.len());
    check_drop(&frame, DropReason::OpBlockHash);
    let small = encode(&map([("a", 1.into())]));
    assert_eq!(work(&sharing(&small, &small)), small.len() + 200 * (small.len() + r#"{"a":1}"#.len()));
}

#[test]
fn a_frame_whose_ops_share_no_block_is_never_too_costly() {
    let block = |n: u64| encode(&map([("a", Cbor::Array(vec![Cbor::Bytes(vec![]); 3_000])), ("n", n.into())]));
    let paths: Vec<_> = (0..200).map(|n| format!("a.b.c/{n}")).collect();
    let ops: Vec<_> = paths.iter().zip(0..).map(|(path, n)| create(path, &block(n))).collect();
    let (events, drops) = decode(&commit_frame(&ops));
    assert_eq!((events.len(), drops), (200, vec![]));
}

#[test]
fn a_bad_op_is_dropped_alone() {
    let block = encode(&map([("a", 1.into())]));
    let cid = link(&cid_of(&block));
    let bad = |op, reason| {
        let frame = commit_frame(&[create("a.b.c/1", &block), (op, None), delete("a.b.c/2")]);
        let (events, drops) = decode(&frame);
        assert_eq!((events.len(), drops), (2, vec![reason]));
    };
    bad(op("move", "a.b.c/1", cid.clone()), DropReason::OpAction);
    bad(op("create", "a.b.c", cid.clone()), DropReason::OpPath);
    bad(op("create", "a.b.c/..", cid.clone()), DropReason::OpPath);
    bad(op("create", "a.b/x", cid.clone()), DropReason::OpPath);
    bad(op("create", "a.b.c/1", Cbor::Null), DropReason::OpField);
    bad(op("delete", "a.b.c/1", cid.clone()), DropReason::OpField);
    bad(op("create", "a.b.c/1", link(&cid_of(b"other"))), DropReason::OpBlockMissing);
    bad(op("create", "a.b.c/1", link(&cid::Cid::new_v1(0x55, *cid_of(&block).hash()))), DropReason::OpCid);
    bad(Cbor::Null, DropReason::FrameField);
}

#[test]
fn a_block_that_is_not_what_its_cid_says_is_dropped() {
    let (block, forged) = (encode(&map([("a", 1.into())])), encode(&map([("a", 2.into())])));
    let ops = Cbor::Array(vec![create("a.b.c/1", &block).0]);
    let blocks = car([(cid_of(&block), forged)]);
    check_drop(&message("#commit", &commit_body(ops, Cbor::Bytes(blocks))), DropReason::OpBlockHash);
}

#[test]
fn ops_that_share_a_block_all_get_it() {
    let block = encode(&map([("a", 1.into())]));
    let paths = ["a.b.c/1", "a.b.c/2", "a.b.c/3"];
    let (events, drops) = decode(&commit_frame(&paths.map(|path| create(path, &block))));
    let said: Vec<_> = events.iter().map(|event| (&event["commit"]["rkey"], &event["commit"]["record"])).collect();
    let record = json!({"a": 1});
    assert_eq!((said, drops), (vec![(&"1".into(), &record), (&"2".into(), &record), (&"3".into(), &record)], vec![]));
}

#[test]
fn a_frame_cannot_make_more_events_than_its_bound() {
    let block = |n: u64| encode(&map([("a", text(&"\0".repeat(200_000))), ("n", n.into())]));
    let paths: Vec<_> = (0..20).map(|n| format!("a.b.c/{n}")).collect();
    let ops: Vec<_> = paths.iter().zip(0..).map(|(path, n)| create(path, &block(n))).collect();
    let (events, drops) = decode(&commit_frame(&ops));
    let bytes: usize = events.iter().map(|event| event.to_string().len()).sum();
    assert!(
        (limits::FRAME_EVENTS_BYTES_MAX..limits::FRAME_EVENTS_BYTES_MAX + limits::RECORD_BYTES_MAX).contains(&bytes)
    );
    assert_eq!(drops, [DropReason::OpTooLarge]);
}

#[test]
fn a_record_above_the_limit_of_a_record_is_dropped_alone() {
    let block = encode(&map([("a", text(&"\0".repeat(2_000_000)))]));
    let (events, drops) = decode(&commit_frame(&[create("a.b.c/1", &block), delete("a.b.c/2")]));
    assert_eq!((events.len(), drops), (1, vec![DropReason::OpTooLarge]));
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,20}|[\\x00-\\x7f]{0,20}".prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|block| json!({"$link": cid_of(&block).to_string()})),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::btree_map("[a-zA-Z\\PC]{0,6}", inner, 0..8).prop_map(|map| json!(map)),
        ]
    })
}

fn cbor_value() -> impl Strategy<Value = Cbor> {
    let leaf = prop_oneof![
        Just(Cbor::Null),
        any::<bool>().prop_map(Cbor::from),
        any::<i64>().prop_map(Cbor::from),
        any::<u64>().prop_map(Cbor::from),
        any::<f64>().prop_map(Cbor::from),
        "\\PC{0,9}".prop_map(Cbor::from),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Cbor::from),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Cbor::Tag(42, Box::new(bytes.into()))),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Cbor::Array),
            proptest::collection::vec((inner.clone(), inner.clone()), 0..4).prop_map(Cbor::Map),
            proptest::collection::vec(("\\$?[a-z]{0,4}|\\$type|\\$link|\\$bytes|ref|size", inner), 0..6)
                .prop_map(|entries| Cbor::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_record_of_the_data_model_comes_out_as_it_went_in(
        object in proptest::collection::btree_map("[a-z]{0,6}", json_value(), 0..6),
    ) {
        let record = json!(object);
        prop_assert_eq!(decode_record(&encode(&dag_cbor(&record))), Ok(record));
    }

    #[test]
    fn any_cbor_as_a_record_is_read_as_the_reference_reads_it_or_dropped(value in cbor_value()) {
        assert_agrees(&commit_frame(&[create("a.b.c/1", &encode(&value))]));
    }

    #[test]
    fn any_cbor_as_a_message_is_read_as_the_reference_reads_it_or_dropped(value in cbor_value(), ops in cbor_value()) {
        for kind in ["#commit", "#sync", "#identity", "#account", "#info", "#x"] {
            assert_agrees(&message(kind, &value));
        }
        assert_agrees(&message("#commit", &commit_body(ops, Cbor::Bytes(car([])))));
    }

    #[test]
    fn any_bytes_are_dropped_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        assert_agrees(&bytes);
        assert_agrees(&[b"\xa2\x61t\x67#commit\x62op\x01".to_vec(), bytes.clone()].concat());
        assert_agrees(&commit_frame(&[create("a.b.c/1", &bytes)]));
    }
}

/// xorshift64*: the same frames from the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        const TELLING: [u8; 16] =
            [0, 1, 0x17, 0x18, 0x1b, 0x3b, 0x40, 0x5f, 0x60, 0x7f, 0x80, 0xa0, 0xbf, 0xd8, 0xfb, 0xff];
        if self.below(2) == 0 { TELLING[self.below(16)] } else { self.below(256) as u8 }
    }
}

/// One to four changes: a bit, a byte, a piece removed, doubled, cut off, or taken from another frame.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(3) {
        let (from, length) = (random.below(bytes.len()), random.below(40));
        let piece = from..(from + length).min(bytes.len());
        match random.below(7) {
            0 if !bytes.is_empty() => bytes[from] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[from] = random.byte(),
            2 => drop(bytes.drain(piece)),
            3 => drop(bytes.splice(from..from, bytes[piece].to_vec())),
            4 if random.below(8) == 0 => bytes.truncate(from),
            5 => {
                let start = random.below(other.len());
                let taken = &other[start..(start + length).min(other.len())];
                drop(bytes.splice(piece, taken.iter().copied()));
            }
            _ => bytes.insert(from, random.byte()),
        }
    }
}

/// What the fuzz target starts from, and what it found here.
#[test]
fn every_frame_of_the_corpus_is_read_as_the_reference_reads_it() {
    let frames = recorded_frames();
    frames.iter().for_each(|frame| assert_agrees(frame));
    for folder in ["fuzz/corpus/frame", "fuzz/artifacts/frame"] {
        let found = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        found.into_iter().flatten().for_each(|file| assert_agrees(&std::fs::read(file.unwrap().path()).unwrap()));
    }
}

/// The same in every run, unless the environment says otherwise. Zero stays zero in a xorshift.
fn seed() -> u64 {
    let seed = std::env::var("FPAAS_FUZZ_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    seed.unwrap_or(0x9e37_79b9_7f4a_7c15).max(1)
}

/// `make fuzz` sets `FPAAS_FUZZ_FRAMES` to run longer, and a fresh `FPAAS_FUZZ_SEED`.
#[test]
fn mutated_frames_are_read_as_the_reference_reads_them_or_dropped() {
    let count = std::env::var("FPAAS_FUZZ_FRAMES").ok().map(|count| count.parse::<usize>().unwrap());
    let deadline = count.is_none().then(|| Instant::now() + Duration::from_secs(10));
    let (frames, mut random) = (recorded_frames(), Random(seed()));
    println!("FPAAS_FUZZ_SEED={}", seed());
    let mut taken = 0;
    for done in 0..count.unwrap_or(200_000) {
        if done % 1000 == 0 && deadline.is_some_and(|deadline| Instant::now() > deadline) {
            println!("{done} frames within the time");
            break;
        }
        let (at, other) = (random.below(frames.len()), random.below(frames.len()));
        let mut bytes = frames[at].to_vec();
        mutate(&mut random, &mut bytes, &frames[other]);
        taken += usize::from(!decode(&bytes).0.is_empty());
        assert_agrees(&bytes);
        // And behind the check of the hash: the same change to a record's block alone.
        let mut block = record_block(&frames[other]);
        mutate(&mut random, &mut block, &frames[at]);
        assert_agrees(&commit_frame(&[create("a.b.c/1", &block)]));
    }
    assert!(taken > 100, "the mutations leave something to read: {taken}");
}

/// A record like those of the recording, of a frame's own text.
fn record_block(frame: &[u8]) -> Vec<u8> {
    let record = decode(frame).0.first().map(|event| event["commit"]["record"].clone()).filter(Value::is_object);
    encode(&dag_cbor(&record.unwrap_or_else(|| json!({"$type": "a.b.c", "a": [1, {"b": null}], "c": "d"}))))
}
