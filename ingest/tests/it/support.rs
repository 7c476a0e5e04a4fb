//! Test data, frames made by hand, and the decoder under test behind one function.

use std::path::PathBuf;

use bytes::Bytes;
use ciborium::Value as Cbor;
use cid::Cid;
use fpaas_ingest::{DropReason, Events, Frame, Frames, Stamps, convert};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) const DID: &str = "did:plc:irdc5wmqs4nm35zeruynybsn";
pub(crate) const REV: &str = "3n2xs7smpiz2q";

/// A file under `testdata/`.
pub(crate) fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(name)
}

/// The frames of the recording of a real PDS.
pub(crate) fn recorded_frames() -> Vec<Bytes> {
    Frames::open(&testdata("pds20/frames.bin.zst")).unwrap().map(Result::unwrap).collect()
}

/// A compressed text file of the recording.
pub(crate) fn recorded_text(name: &str) -> String {
    let file = std::fs::File::open(testdata("pds20").join(name)).unwrap();
    String::from_utf8(zstd::decode_all(file).unwrap()).unwrap()
}

/// The decoder under test: the events of a frame, and what was dropped. `time_us` counts from 1.
pub(crate) fn decode(frame: &[u8]) -> (Vec<Value>, Vec<DropReason>) {
    let mut events = Events::new();
    match Frame::parse(frame) {
        Ok(frame) => convert(&frame, &mut Stamps::default(), 0, &mut events),
        Err(reason) => events.drop_one(reason),
    }
    let values = events.values().map(|json| serde_json::from_slice(json).unwrap()).collect();
    (values, events.drops().iter().map(|(reason, _)| reason).collect())
}

/// How large the record of a frame's first event is, as the log counts.
pub(crate) fn record_bytes(frame: &[u8]) -> Option<usize> {
    let mut events = Events::new();
    convert(&Frame::parse(frame).unwrap(), &mut Stamps::default(), 0, &mut events);
    events.into_records().next().map(|record| record.bytes())
}

/// What decoding a frame costs, in bytes of records hashed, read and written.
pub(crate) fn work(frame: &[u8]) -> usize {
    let mut events = Events::new();
    convert(&Frame::parse(frame).unwrap(), &mut Stamps::default(), 0, &mut events);
    events.work()
}

/// The one record of a frame that creates `block`, or why it was dropped.
pub(crate) fn decode_record(block: &[u8]) -> Result<Value, DropReason> {
    let (events, drops) = decode(&commit_frame(&[create("app.example.record/self", block)]));
    match (events.as_slice(), drops.as_slice()) {
        ([event], []) => Ok(event["commit"]["record"].clone()),
        ([], [reason]) => Err(*reason),
        other => panic!("one event or one reason: {other:?}"),
    }
}

pub(crate) fn text(text: &str) -> Cbor {
    Cbor::Text(text.to_owned())
}

pub(crate) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Cbor)>) -> Cbor {
    Cbor::Map(entries.into_iter().map(|(key, value)| (text(key), value)).collect())
}

pub(crate) fn encode(value: &Cbor) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

pub(crate) fn cid_of(block: &[u8]) -> Cid {
    Cid::new_v1(0x71, cid::multihash::Multihash::wrap(0x12, &Sha256::digest(block)).unwrap())
}

pub(crate) fn link(cid: &Cid) -> Cbor {
    Cbor::Tag(42, Box::new(Cbor::Bytes([&[0][..], &cid.to_bytes()].concat())))
}

/// An op, and the block it brings.
pub(crate) type Op = (Cbor, Option<Vec<u8>>);

pub(crate) fn op(action: &str, path: &str, cid: Cbor) -> Cbor {
    map([("cid", cid), ("path", text(path)), ("action", text(action))])
}

pub(crate) fn create(path: &str, block: &[u8]) -> Op {
    (op("create", path, link(&cid_of(block))), Some(block.to_vec()))
}

pub(crate) fn delete(path: &str) -> Op {
    (op("delete", path, Cbor::Null), None)
}

pub(crate) fn car(blocks: impl IntoIterator<Item = (Cid, Vec<u8>)>) -> Vec<u8> {
    let header = encode(&map([("roots", Cbor::Array(vec![])), ("version", 1.into())]));
    let sections = blocks.into_iter().map(|(cid, block)| [cid.to_bytes(), block].concat());
    std::iter::once(header).chain(sections).flat_map(|section| [varint(section.len()), section].concat()).collect()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

/// A message of that type.
pub(crate) fn message(kind: &str, body: &Cbor) -> Vec<u8> {
    [encode(&map([("t", text(kind)), ("op", 1.into())])), encode(body)].concat()
}

/// A `#sync`.
pub(crate) fn sync_frame(did: &str, rev: &str, seq: u64) -> Bytes {
    let fields = [("did", text(did)), ("rev", text(rev)), ("seq", seq.into()), ("time", text(""))];
    message("#sync", &map(fields)).into()
}

/// A `#commit` of these ops, with their blocks.
pub(crate) fn commit_frame(ops: &[Op]) -> Vec<u8> {
    let blocks = ops.iter().filter_map(|(_, block)| block.clone()).map(|block| (cid_of(&block), block));
    let blocks = Cbor::Bytes(car(blocks));
    message("#commit", &commit_body(Cbor::Array(ops.iter().map(|(op, _)| op.clone()).collect()), blocks))
}

/// A message's body with another value of `field`.
pub(crate) fn with(mut body: Cbor, field: &str, value: impl Into<Cbor>) -> Cbor {
    let fields = body.as_map_mut().unwrap();
    fields.iter_mut().find(|(key, _)| key.as_text() == Some(field)).unwrap().1 = value.into();
    body
}

pub(crate) fn commit_body(ops: Cbor, blocks: Cbor) -> Cbor {
    map([
        ("ops", ops),
        ("rev", text(REV)),
        ("seq", 7.into()),
        ("repo", text(DID)),
        ("time", text("2026-11-23T09:15:57.122Z")),
        ("since", Cbor::Null),
        ("blobs", Cbor::Array(vec![])),
        ("blocks", blocks),
        ("tooBig", false.into()),
    ])
}

/// Atproto's JSON as DAG-CBOR: links and bytes in their own forms, where they are well-formed; keys in their order.
pub(crate) fn dag_cbor(json: &Value) -> Cbor {
    match json {
        Value::Null => Cbor::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.into(),
            (None, Some(float)) if float.fract() == 0.0 => (float as i64).into(),
            (None, float) => float.unwrap().into(),
        },
        Value::String(string) => text(string),
        Value::Array(items) => Cbor::Array(items.iter().map(dag_cbor).collect()),
        Value::Object(object) => match object.iter().collect::<Vec<_>>().as_slice() {
            [(key, Value::String(cid))] if *key == "$link" && Cid::try_from(cid.as_str()).is_ok() => {
                link(&Cid::try_from(cid.as_str()).unwrap())
            }
            [(key, Value::String(base64))] if *key == "$bytes" => Cbor::Bytes(from_base64(base64)),
            _ => sorted(object),
        },
    }
}

fn sorted(object: &serde_json::Map<String, Value>) -> Cbor {
    let mut entries: Vec<_> = object.iter().collect();
    entries.sort_by_key(|(key, _)| (key.len(), key.as_bytes().to_vec()));
    map(entries.into_iter().map(|(key, value)| (key.as_str(), dag_cbor(value))))
}

pub(crate) fn from_base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD_NO_PAD.decode(text).unwrap()
}
