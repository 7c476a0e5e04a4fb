//! The receiver's faults are real: seen from a client that is not ours.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use fpaas_testkit::{Answer, Receiver, Script};
use serde_json::{Value, json};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const LONG: Duration = Duration::from_secs(20);

const BODY: &str = r#"{"events":[{"id":"did:x:a/n/1@2","event":{"did":"did:x:a"}}]}"#;

/// Of `msg_1.1614265330.` and the body, or `{}`; computed elsewhere.
const SIGNED: &str = "v1,cJma7t9YC9+914/IMPj14neJyOuSd8NwF58PgmkoPnI=";
const SIGNED_EMPTY: &str = "v1,ZztYR0IIDCBCUcYzh8ZE+qsQWpIgtHU7R1hpe8htaD4=";

async fn call(receiver: &Receiver, id: &str, body: &str, signature: &str) -> reqwest::Result<(u16, String)> {
    let client = reqwest::Client::builder().no_proxy().timeout(LONG).build()?;
    let request = client.post(receiver.url()).header("webhook-id", id).header("webhook-timestamp", "1614265330");
    let answer = request.header("webhook-signature", signature).body(body.to_owned()).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

async fn start(answers: &[Answer]) -> Receiver {
    drop(rustls::crypto::ring::default_provider().install_default());
    Receiver::start(SECRET, Script::list(answers.to_vec())).await.unwrap()
}

#[tokio::test]
async fn every_fault_is_what_it_says_and_a_repeat_gets_the_records() {
    let wait = Duration::from_millis(30);
    let faults = [
        Answer::Status(503),
        Answer::NoContent,
        Answer::Garbage,
        Answer::Hang(wait),
        Answer::CutRequest,
        Answer::CutAnswer,
        Answer::Slow(wait),
    ];
    let receiver = start(&faults).await;
    let mut seen = Vec::new();
    for _ in 0..=faults.len() {
        seen.push(call(&receiver, "msg_1", BODY, SIGNED).await.map_err(|_| ()));
    }
    let value = json!({"id": "did:x:a/n/1@2", "subject": null});
    let records = json!({"records": [{"key": "did:x:a", "value": value, "headers": {"by": "receiver"}}]});
    assert_eq!(seen[0], Ok((503, String::new())));
    assert_eq!(seen[1], Ok((204, String::new())));
    assert!(serde_json::from_str::<Value>(&seen[2].as_ref().unwrap().1).is_err());
    assert_eq!(seen[3..6], [Err(()), Err(()), Err(())]);
    for answer in &seen[6..] {
        assert_eq!(serde_json::from_str::<Value>(&answer.as_ref().unwrap().1).unwrap(), records);
    }
    assert_eq!(receiver.summary().unwrap().batches, 1);
    let calls = receiver.wait(LONG, |calls| calls.iter().filter(|call| call.answered).count() == 5).await.unwrap();
    assert_eq!(calls.iter().filter(|call| call.body.is_none()).count(), 1, "one request was cut");
    assert_eq!(calls[0].event_ids(), ["did:x:a/n/1@2"]);
}

#[tokio::test]
async fn a_repeat_is_counted_and_a_forged_or_changed_one_is_found() {
    let receiver = start(&[Answer::Status(500)]).await;
    call(&receiver, "msg_1", BODY, SIGNED).await.unwrap();
    call(&receiver, "msg_1", BODY, SIGNED).await.unwrap();
    let summary = receiver.summary().unwrap();
    assert_eq!((summary.calls, summary.batches, summary.repeated, summary.events), (2, 1, 1, 1));
    call(&receiver, "msg_1", "{}", SIGNED_EMPTY).await.unwrap();
    assert!(receiver.summary().unwrap_err().to_string().contains("repeated with other bytes"));
    call(&receiver, "msg_2", BODY, SIGNED).await.unwrap();
    assert!(receiver.stop().await.unwrap_err().to_string().contains("no signature matches"));
}
