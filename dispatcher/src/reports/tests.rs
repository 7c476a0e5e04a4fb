//! What is told, and what is hidden in it.

use super::*;
use fpaas_core::subscription::Secret;
use serde_json::json;

fn entry(secret: &Secret) -> SubscriptionEntry {
    serde_json::from_value(json!({
        "tenant": "acme", "pool": "acme", "id": "likes", "incarnation": 1, "revision": 1, "created": 0, "updated": 0,
        "activeSince": 0, "config": {"source": {"topic": "firehose"}}, "secret": secret.reveal(), "starts": [],
    }))
    .unwrap()
}

#[test]
fn an_answer_is_shown_without_what_only_its_caller_may_know() {
    let secret = Secret::from_bytes(&[7; 24]).unwrap();
    let webhook: Webhook = serde_json::from_value(json!({
        "url": "https://a.example/hooks/AbCdEf?token=s3cr3t-token&v=1",
        "headers": {"authorization": "Bearer abcdef123456", "x-v": "1"},
    }))
    .unwrap();
    let shown = |piece: &str| shown(piece.as_bytes(), &webhook, &entry(&secret), Timestamp::default());
    let key = secret.reveal();
    for (piece, expected) in [
        ("", None),
        ("{\"ok\":1}", Some("{\"ok\":1}".to_owned())),
        ("got Bearer abcdef123456!", Some("got [hidden]!".to_owned())),
        ("got abcdef123456, 1", Some("got [hidden], 1".to_owned())),
        ("no /hooks/AbCdEf?token=s3cr3t-token&v=1 here", Some("no [hidden] here".to_owned())),
        ("token s3cr3t-token", Some("token [hidden]".to_owned())),
        (&*key, Some("[hidden]".to_owned())),
        (&*format!("signed with {}.", key.trim_start_matches("whsec_")), Some("signed with [hidden].".to_owned())),
        ("Cannot POST /hooks/AbCdEf", Some("Cannot POST [hidden]".to_owned())),
        ("no AbCdEf", Some("no [hidden]".to_owned())),
        // Cut off where the piece ends.
        ("got Bearer abcdef12", Some("got [hidden]".to_owned())),
    ] {
        assert_eq!(shown(piece), expected, "{piece}");
    }
    assert!(super::shown(b"\xff\xfe", &webhook, &entry(&secret), Timestamp::default()).is_some());
}

#[test]
fn of_a_url_only_what_comes_before_its_path_is_told() {
    for (url, expected) in [
        ("https://a.example/hooks/secret?token=x", "https://a.example"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("no url", ""),
    ] {
        assert_eq!(origin(url), expected);
    }
}

#[test]
fn what_waits_to_be_reported_is_bounded() {
    let event = || SystemEvent {
        what: Happened::PositionLost {},
        time: Timestamp::default(),
        subscription: fpaas_core::SubscriptionId::parse("likes").unwrap(),
        lane: 0,
        message: Message::default(),
    };
    let mut reports = Reports::default();
    for _ in 0..limits::LANE_REPORTS_MAX + 3 {
        reports.add(Reports::of(vec![], Some(event())));
    }
    assert_eq!((reports.events.len(), reports.lost), (limits::LANE_REPORTS_MAX, 3));
}
