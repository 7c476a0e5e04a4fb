//! A second decoder, built on libraries, slow and generic: what the fast one must agree with.
//!
//! It is lenient where the fast one is strict, so it is asked one thing: whether what the fast one says is right.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ciborium::Value as Cbor;
use cid::Cid;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The events of a frame without `time_us`, in the order of its ops; `None` for an op that is none.
pub(crate) fn events(mut frame: &[u8]) -> Option<Vec<Option<Value>>> {
    let header: Cbor = ciborium::from_reader(&mut frame).ok()?;
    let body: Cbor = ciborium::from_reader(&mut frame).ok()?;
    match get(&header, "t")?.as_text()? {
        "#commit" => commit(&body),
        "#sync" => Some(vec![statement(&body, "sync", &["did", "rev", "seq", "time"])]),
        "#identity" => Some(vec![statement(&body, "identity", &["did", "handle", "seq", "time"])]),
        "#account" => Some(vec![statement(&body, "account", &["active", "did", "seq", "time", "status"])]),
        _ => None,
    }
}

fn commit(body: &Cbor) -> Option<Vec<Option<Value>>> {
    let blocks = blocks(get(body, "blocks")?.as_bytes()?)?;
    Some(get(body, "ops")?.as_array()?.iter().map(|op| commit_event(body, op, &blocks)).collect())
}

fn commit_event(body: &Cbor, op: &Cbor, blocks: &HashMap<Cid, Vec<u8>>) -> Option<Value> {
    let (collection, rkey) = get(op, "path")?.as_text()?.split_once('/')?;
    let operation = get(op, "action")?.as_text()?;
    let rev = get(body, "rev")?.as_text()?;
    let mut commit = json!({"rev": rev, "operation": operation, "collection": collection, "rkey": rkey});
    if operation != "delete" {
        let cid = as_cid(get(op, "cid")?)?;
        let block = blocks.get(&cid).filter(|block| cid.hash().digest() == Sha256::digest(block).as_slice())?;
        commit["record"] = to_json(&ciborium::from_reader(block.as_slice()).ok()?)?;
        commit["cid"] = cid.to_string().into();
    }
    Some(json!({"did": get(body, "repo")?.as_text()?, "kind": "commit", "commit": commit}))
}

fn statement(body: &Cbor, kind: &str, fields: &[&str]) -> Option<Value> {
    let mut says = Map::new();
    for field in fields {
        match get(body, field).map(to_json) {
            Some(Some(Value::Null)) | None => {}
            Some(value) => {
                says.insert((*field).to_owned(), value?);
            }
        }
    }
    Some(json!({"did": says["did"], "kind": kind, kind: says}))
}

/// The blocks of a CAR by their CIDs; of equal CIDs the first one.
fn blocks(car: &[u8]) -> Option<HashMap<Cid, Vec<u8>>> {
    let (_header, mut rest) = section(car)?;
    let mut found = HashMap::new();
    while !rest.is_empty() {
        let (mut block, after) = section(rest)?;
        if let Ok(cid) = Cid::read_bytes(&mut block) {
            found.entry(cid).or_insert_with(|| block.to_vec());
        }
        rest = after;
    }
    Some(found)
}

fn section(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut at) = (0usize, 0);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        at += 1;
        if byte < 0x80 {
            return bytes.get(at..)?.split_at_checked(length);
        }
    }
}

fn get<'a>(map: &'a Cbor, key: &str) -> Option<&'a Cbor> {
    map.as_map()?.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
}

fn as_cid(value: &Cbor) -> Option<Cid> {
    let (42, bytes) = value.as_tag()? else { return None };
    Cid::try_from(bytes.as_bytes()?.strip_prefix(&[0])?).ok()
}

fn to_json(value: &Cbor) -> Option<Value> {
    Some(match value {
        Cbor::Null => Value::Null,
        Cbor::Bool(value) => (*value).into(),
        Cbor::Integer(number) => i64::try_from(*number).ok()?.into(),
        Cbor::Text(text) => text.as_str().into(),
        Cbor::Bytes(bytes) => json!({"$bytes": STANDARD_NO_PAD.encode(bytes)}),
        Cbor::Tag(..) => json!({"$link": as_cid(value)?.to_string()}),
        Cbor::Array(items) => Value::Array(items.iter().map(to_json).collect::<Option<_>>()?),
        Cbor::Map(entries) => {
            let entry = |(key, value): &(Cbor, Cbor)| Some((key.as_text()?.to_owned(), to_json(value)?));
            Value::Object(entries.iter().map(entry).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}
