//! A sample is what a lane would send, and nothing of it is left to chance but its id.

use super::*;

const SECRET: [u8; 24] = [7; 24];

fn sampler() -> Sampler {
    let (subscription, output) = (SubscriptionId::parse("likes").unwrap(), TopicName::parse("results").unwrap());
    Sampler::new("http://127.0.0.1:1/", Duration::from_secs(1), subscription, output).unwrap()
}

fn like() -> SampleEvent {
    SampleEvent { id: "did:plc:a/x.y@1".to_owned(), value: Some(Bytes::from_static(b"{\"did\":\"did:plc:a\"}")) }
}

#[test]
fn a_sample_has_the_body_and_the_headers_of_a_batch() {
    let (sampler, secret) = (sampler(), [Secret::from_bytes(&SECRET).unwrap()]);
    let sample = sampler.batch("00ff", vec![like(), SampleEvent { value: None, ..like() }]);
    let expected = r#"{"subscription":"likes","batch":{"id":"test_00ff","lane":0,"firstOffset":0,"lastOffset":1},"events":[{"id":"did:plc:a/x.y@1","event":{"did":"did:plc:a"}},{"id":"did:plc:a/x.y@1","event":null}]}"#;
    assert_eq!((sample.body.as_ref(), sample.id(), sample.events()), (expected.as_bytes(), "test_00ff", 2));
    let signing = Signing { secrets: &secret, at: Timestamp::from_millis(1_700_000_000_999), attempt: 2 };
    let headers = sampler.headers(&sample, signing);
    let said = ["webhook-id", "webhook-timestamp", "fpaas-attempt", "fpaas-event-count", "fpaas-test"];
    assert_eq!(said.map(|name| headers[name].to_str().unwrap()), ["test_00ff", "1700000000", "2", "2", "true"]);
    assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
}

#[test]
fn an_answer_is_read_as_that_of_a_delivery_and_may_only_name_what_was_sent() {
    let (sampler, now) = (sampler(), Timestamp::from_millis(0));
    let sample = sampler.batch("00", vec![like()]);
    let reads = |status, body: &'static str| {
        let answer = Answer {
            status,
            retry_after: None,
            delivery: None,
            body: response::Body::Whole(Bytes::from_static(body.as_bytes())),
        };
        match sampler.outcome(&sample, &answer, now) {
            Outcome::Acknowledged(results) => Ok((results.records.len(), results.refused.len(), results.actions.len())),
            Outcome::Failed(failure) => Err(failure.reason.as_str()),
        }
    };
    assert_eq!(reads(200, r#"{"records":[{"value":1},{"value":2,"topic":"firehose"}]}"#), Ok((1, 1, 0)));
    assert_eq!(reads(200, r#"{"batchItemFailures":[{"itemIdentifier":"did:plc:a/x.y@1"}]}"#), Ok((0, 0, 1)));
    assert_eq!(reads(200, r#"{"batchItemFailures":[{"itemIdentifier":"no"}]}"#), Err("badResponse"));
    assert_eq!(
        (reads(200, "<p>"), reads(308, ""), reads(401, "")),
        (Err("badResponse"), Err("redirect"), Err("status"))
    );
}
