//! The recording of a real PDS: every frame is understood, says what the reference says, and adds up to what the PDS
//! answered itself.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use fpaas_core::event;
use fpaas_ingest::{Events, Frame, Stamps, convert};
use serde_json::Value;

use crate::reference;
use crate::support::{decode, recorded_frames, recorded_text};

#[test]
fn every_recorded_frame_says_what_the_reference_decoder_says() {
    let frames = recorded_frames();
    assert_eq!(frames.len(), 1985);
    for frame in &frames {
        let (mut events, drops) = decode(frame);
        assert_eq!(drops, []);
        for event in &mut events {
            event.as_object_mut().unwrap().remove("time_us").unwrap();
        }
        assert_eq!(
            Some(events),
            reference::events(frame).map(|events| events.into_iter().map(Option::unwrap).collect())
        );
    }
}

/// All events of the recording, decoded into one buffer.
fn all_events() -> Events {
    let (mut events, mut stamps) = (Events::new(), Stamps::after(1_000_000));
    for frame in &recorded_frames() {
        convert(&Frame::parse(frame).unwrap(), &mut stamps, 0, &mut events);
    }
    events
}

#[test]
fn all_events_folded_are_the_repos_as_the_pds_lists_them() {
    let mut repos: BTreeMap<String, (String, Value)> = BTreeMap::new();
    for json in all_events().values() {
        let event: Value = serde_json::from_slice(json).unwrap();
        let Some(commit) = event.get("commit") else { continue };
        let word = |field: &str| commit[field].as_str().unwrap().to_owned();
        let uri = format!("at://{}/{}/{}", event["did"].as_str().unwrap(), word("collection"), word("rkey"));
        assert!(fpaas_ingest::syntax::is_at_uri(&uri));
        match word("operation").as_str() {
            "delete" => drop(repos.remove(&uri).unwrap()),
            "create" => assert_eq!(repos.insert(uri, (word("cid"), commit["record"].clone())), None),
            _ => drop(repos.insert(uri, (word("cid"), commit["record"].clone())).unwrap()),
        }
    }
    let listed: Vec<Value> = serde_json::from_str(&recorded_text("final.json.zst")).unwrap();
    let served: Vec<_> = listed.iter().filter(|repo| repo["getRepo"] == 200).collect();
    assert_eq!(served.len(), 17);
    for repo in served {
        let prefix = format!("at://{}/", repo["did"].as_str().unwrap());
        let ours: BTreeMap<_, _> =
            repos.range(prefix.clone()..).take_while(|(uri, _)| uri.starts_with(&prefix)).collect();
        let records = repo["records"].as_array().unwrap();
        assert_eq!(ours.len(), records.len(), "{prefix}");
        for record in records {
            let (cid, value) = ours[&record["uri"].as_str().unwrap().to_owned()];
            assert_eq!((cid.as_str(), value), (record["cid"].as_str().unwrap(), &record["value"]), "{prefix}");
        }
    }
}

/// The likes the PDS accepted, by event id, as its answers say; without those of the account it deleted later, whose
/// events are gone from its stream.
fn accepted_likes() -> BTreeSet<String> {
    const LIKE: &str = "app.bsky.feed.like";
    let (mut likes, mut deleted) = (BTreeSet::new(), HashSet::new());
    for line in recorded_text("truth.jsonl.zst").lines() {
        let call: Value = serde_json::from_str(line).unwrap();
        let rev = call["answer"]["commit"]["rev"].as_str().unwrap_or_default();
        if call["nsid"] == "com.atproto.admin.deleteAccount" {
            deleted.insert(format!("at://{}/", call["body"]["did"].as_str().unwrap()));
        }
        let results = call["answer"]["results"].as_array().cloned().unwrap_or_default();
        let single = (call["nsid"] == "com.atproto.repo.createRecord").then(|| call["answer"].clone());
        for created in results.iter().chain(&single) {
            let uri = created["uri"].as_str().unwrap_or_default();
            if uri.contains(LIKE) {
                likes.insert(format!("{uri}@{rev}"));
            }
        }
    }
    likes.retain(|like| !deleted.iter().any(|did: &String| like.starts_with(did)));
    likes.into_iter().map(|like| like["at://".len()..].to_owned()).collect()
}

#[test]
fn the_likes_are_those_the_pds_accepted_by_event_id() {
    let mut ids = Vec::new();
    for record in all_events().into_records() {
        let header = |name| record.headers.get_str(name);
        let like = header("collection") == Some("app.bsky.feed.like") && header("operation") == Some("create");
        ids.extend(like.then(|| header("id").unwrap().to_owned()));
    }
    let accepted = accepted_likes();
    assert_eq!((ids.len(), accepted.len()), (719, 719));
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), accepted);
}

#[test]
fn records_carry_what_filters_need_in_key_headers_and_timestamp() {
    let (mut ids, mut last_us) = (HashSet::new(), 1_000_000);
    for record in all_events().into_records() {
        let event: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        let header = |name| record.headers.get_str(name);
        let did = event["did"].as_str().unwrap();
        assert_eq!(record.key.as_deref(), Some(did.as_bytes()));
        assert_eq!(header("kind"), event["kind"].as_str());
        if let Some(commit) = event.get("commit") {
            let word = |field: &str| commit[field].as_str().unwrap();
            assert_eq!(header("collection"), Some(word("collection")));
            assert_eq!(header("operation"), Some(word("operation")));
            assert_eq!(header("rev"), Some(word("rev")));
            let id = event::commit_id(did, word("collection"), word("rkey"), word("rev"));
            assert_eq!(header("id"), Some(id.as_str()));
        }
        let time_us = event["time_us"].as_i64().unwrap();
        assert!(time_us > last_us);
        assert_eq!(record.timestamp, fpaas_core::Timestamp::from_micros(time_us));
        last_us = time_us;
        assert!(ids.insert(header("id").unwrap().to_owned()), "{ids:?} twice");
    }
}
