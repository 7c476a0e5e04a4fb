//! Answers and what they mean, as data.

use super::*;
use fpaas_core::limits;
use proptest::prelude::*;

fn answer(status: u16, body: &str) -> Answer {
    let body = Body::Whole(Bytes::copy_from_slice(body.as_bytes()));
    Answer { status, retry_after: None, delivery: None, body }
}

fn judge(answer: &Answer, output: bool) -> Outcome {
    let name = TopicName::parse("out").unwrap();
    let exists = |topic: &TopicName| topic.as_str() == "other";
    let allowed = Allowed { output: output.then_some(&name), exists: &exists };
    outcome(answer, &allowed, Timestamp::from_millis(784_111_777_000))
}

/// `topic key value headers`, one line a record, then what is refused and done with events; or `reason: message`.
fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Acknowledged(results) => {
            let line = |record: &OutputRecord| {
                let value = String::from_utf8_lossy(&record.value);
                let headers: String = record.headers.iter().map(|(name, value)| format!(" {name}={value}")).collect();
                format!("{} {} {value}{headers}", record.topic, record.key.as_deref().unwrap_or("-"))
            };
            let refused = results.refused.iter().map(|refused| {
                let value = String::from_utf8_lossy(&refused.value);
                format!("refused {} {value}: {}", refused.key.as_deref().unwrap_or("-"), refused.why)
            });
            let actions = results.actions.iter().map(|(id, action)| format!("{id}: {action:?}"));
            results.records.iter().map(line).chain(refused).chain(actions).collect::<Vec<_>>().join("\n")
        }
        Outcome::Failed(failure) => format!("{}: {}", failure.reason.as_str(), failure.message),
    }
}

fn check(body: &str, expected: &str) {
    let found = shown(&judge(&answer(200, body), true));
    assert!(found.starts_with(expected) && (!expected.is_empty() || found.is_empty()), "{body}\n{found}\n{expected}");
}

#[test]
fn a_body_is_read_as_results() {
    check("", "");
    check(" \n", "");
    check(r#"{"records":[]}"#, "");
    check(r#"{"records":null}"#, "");
    check(r#"{"records":[{"value":1}]}"#, "out - 1");
    check(
        r#"{"records":[{"value": { "a" : 1.50 } , "key":"k"},{"topic":"other","value":null}]}"#,
        "out k {\"a\":1.50}\nother - null",
    );
    check(r#"{"records":[{"value":1,"headers":{"b":"2","a":"1"},"key":null}]}"#, "out - 1 a=1 b=2");
    check("[1, \"a\", {\"n\": 2}, {\"key\":\"k\",\"value\":3}]", "out - 1\nout - \"a\"\nout - {\"n\":2}\nout k 3");
    check("[]", "");
    check("null", "out - null");
    check("12345678901234567890.10", "out - 12345678901234567890.10");
    check(r#"{"likes": 3}"#, r#"out - {"likes":3}"#);
    check(r#"{"key":"k","value":[1, 2]}"#, "out k [1,2]");
    check(r#"{"key":5,"value":1}"#, r#"out - {"key":5,"value":1}"#);
    check(r#"[["a", 1]]"#, r#"out - ["a",1]"#);
    check(r#"[[null, null, 1, null]]"#, "out - [null,null,1,null]");
    check(r#"{"records":[{"value":1}],"results":[],"state":null,"batchItemFailures":[ ]}"#, "out - 1");
}

#[test]
fn a_body_that_cannot_be_read_as_results_is_a_bad_response() {
    for body in ["<html>", "{", "[1,", "{\"a\":1}x", "\u{feff}1"] {
        check(body, "badResponse: the body is not JSON: ");
    }
    check(r#"{"records":5}"#, "badResponse: the body cannot be read as results: ");
    check(r#"{"records":[],"records":[]}"#, "badResponse: the body cannot be read as results: duplicate field");
    check(r#"{"records":[],"more":1}"#, "badResponse: the body cannot be read as results: unknown field `more`");
    check(r#"{"records":[{"value":1},{"key":"k"}]}"#, "badResponse: records/1: missing field `value`");
    check(r#"{"records":[[null,null,1,null]]}"#, "badResponse: records/0: must be an object");
    check(r#"{"records":[{"value":1,"kye":"k"}]}"#, "badResponse: records/0: unknown field `kye`");
    check(r#"{"records":[{"value":1,"key":5}]}"#, "badResponse: records/0: invalid type");
    check(r#"{"records":[{"value":1,"headers":{"a":5}}]}"#, "badResponse: records/0: invalid type");
    check(r#"{"records":[{"value":1,"headers":{"fpaas.batch":"x"}}]}"#, "badResponse: records/0: a header's name");
    check(r#"{"state":"ok"}"#, "badResponse: state in an answer is refused: there are no buckets yet");
    check(r#"{"results":[{"id":"a"}]}"#, "badResponse: results/0: missing field `action`");
    check(r#"{"results":[{"id":"a","action":"again"}]}"#, "badResponse: results/0: unknown variant `again`");
    check(r#"{"results":[{"id":"a","action":"ack","delay":1}]}"#, "badResponse: results/0: unknown field `delay`");
    check(r#"{"results":["a"]}"#, "badResponse: results/0: must be an object");
    check(r#"{"batchItemFailures":["a"]}"#, "badResponse: batchItemFailures/0: must be an object");
    check(r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#, "badResponse: batchItemFailures/0: invalid type: null");
    check(&format!("[{}1]", "1,".repeat(20_000)), "badResponse: the body cannot be read as results: more than 20000");
    let bytes = Answer { body: Body::Whole(Bytes::from_static(b"\"\xff\"")), ..answer(200, "") };
    assert!(shown(&judge(&bytes, true)).starts_with("badResponse: the body is not JSON"));
    let long = Answer { body: Body::TooLong, ..answer(200, "") };
    assert_eq!(shown(&judge(&long, true)), "badResponse: the answer's body is too long");
}

#[test]
fn a_record_that_goes_nowhere_is_refused_and_the_rest_is_taken() {
    for topic in ["firehose", "system", "missing", "../x", ""] {
        let why = format!("topic {topic:?} is not a topic that results can go to");
        let body = format!(r#"{{"records":[{{"value":1,"topic":"{topic}","key":"k"}},{{"value":2}}]}}"#);
        check(&body, &format!("out - 2\nrefused k 1: {why}"));
        check(&format!(r#"[{{"value":1,"topic":"{topic}"}}]"#), &format!("refused - 1: {why}"));
    }
}

#[test]
fn single_events_are_named() {
    let actions = r#"{"results":[{"id":"a","action":"ack"},{"id":"b","action":"retry"},
        {"id":"c","action":"retry","delayMs":1500},{"id":"d","action":"reject"}],"records":[{"value":1}]}"#;
    check(actions, "out - 1\na: Ack\nb: Retry(None)\nc: Retry(Some(1.5s))\nd: Reject");
    // As AWS Lambda answers.
    check(r#"{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"b"}]}"#, "a: Retry(None)\nb: Retry(None)");
}

#[test]
fn a_result_is_taken_up_to_what_leaves_room_for_a_chained_subscription_and_messages_have_an_end() {
    let sized = |bytes: usize| shown(&judge(&answer(200, &format!("[\"{}\"]", "x".repeat(bytes))), true));
    assert!(sized(limits::SOURCE_RECORD_BYTES_MAX - 1000).starts_with("out - \"x"));
    assert!(sized(limits::SOURCE_RECORD_BYTES_MAX).ends_with("x\": the record is larger than 8323072 bytes"));
    let named = format!(r#"{{"records":[{{"value":1,"{}":1}}]}}"#, "x".repeat(1_000_000));
    assert_eq!(
        shown(&judge(&answer(200, &named), true)).len(),
        "badResponse: ".len() + limits::FAILURE_MESSAGE_BYTES_MAX
    );
}

#[test]
fn deep_and_long_bodies_cost_no_more_than_their_size() {
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    check(&deep, "out - [");
    check(&format!(r#"{{"records":[{{"value":{deep}}}]}}"#), "out - [");
    check(&format!("{{{}\"z\":1}}", "\"a\":1,".repeat(1_000_000)), "out - {");
}

#[test]
fn without_an_output_a_2xx_acknowledges_and_only_an_object_that_says_what_to_do_is_read() {
    let nothing = Outcome::Acknowledged(Results::default());
    for body in ["<html>", "", "[1]", "5", "{\"likes\":3}", "{\"records\":[]}"] {
        for status in [200, 201, 204, 299] {
            assert_eq!(judge(&answer(status, body), false), nothing, "{body}");
        }
    }
    assert_eq!(judge(&answer(204, "<html>"), true), nothing);
    assert_eq!(judge(&Answer { body: Body::TooLong, ..answer(200, "") }, false), nothing);
    let check = |body, expected: &str| {
        let found = shown(&judge(&answer(200, body), false));
        assert!(found.starts_with(expected), "{found}");
    };
    check(r#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#, "a: Retry(None)");
    check(r#"{"results":5}"#, "badResponse: the body cannot be read as results");
    check(r#"{"records":[{"topic":"other","value":1}]}"#, "other - 1");
    check(r#"{"records":[{"value":1}]}"#, "refused - 1: the subscription has no output, and the record names no topic");
}

#[test]
fn every_other_status_fails_as_the_table_says() {
    let cases = [
        (300, "redirect", false),
        (301, "redirect", false),
        (304, "redirect", false),
        (307, "redirect", false),
        (400, "status", false),
        (401, "status", false),
        (404, "status", false),
        (408, "status", true),
        (410, "gone", false),
        (413, "status", false),
        (429, "status", true),
        (500, "status", true),
        (501, "status", false),
        (502, "status", true),
        (503, "status", true),
        (599, "status", true),
        (199, "status", false),
        (600, "status", false),
        (999, "status", false),
    ];
    for (status, reason, retryable) in cases {
        for output in [false, true] {
            let Outcome::Failed(failure) = judge(&answer(status, "[1]"), output) else { panic!("{status}") };
            assert_eq!((failure.reason.as_str(), failure.retryable), (reason, retryable), "{status}");
            assert_eq!(failure.status, Some(status));
        }
    }
}

#[test]
fn an_endpoint_may_ask_for_no_more_attempts() {
    for (delivery, reason, retryable) in
        [("abort-message", "aborted", false), (" disable ", "gone", false), ("x", "status", true)]
    {
        let answer = Answer { delivery: Some(delivery.to_owned()), ..answer(503, "") };
        let Outcome::Failed(failure) = judge(&answer, true) else { panic!("{delivery}") };
        assert_eq!((failure.reason.as_str(), failure.retryable), (reason, retryable), "{delivery}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    // The dates of RFC 9110 §5.6.7 are 784,111,777 s after the epoch.
    let now = Timestamp::from_millis(784_111_777_000 - 30_000);
    let cases = [
        ("120", Some(120)),
        (" 0 ", Some(0)),
        ("99999999999999999999999", Some(u64::MAX)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
        ("Sun Nov  6 08:49:37 1994", Some(30)),
        ("Sun, 06 Nov 1983 08:49:37 GMT", Some(0)),
        ("-1", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
    ];
    for (text, seconds) in cases {
        assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
    }
}

proptest! {
    #[test]
    fn any_answer_has_an_outcome(status in 100u16..1000, body in proptest::collection::vec(any::<u8>(), 0..200), after in "\\PC{0,30}") {
        let answer = Answer { status, retry_after: Some(after), delivery: None, body: Body::Whole(body.into()) };
        judge(&answer, true);
    }

    #[test]
    fn every_json_value_is_one_record_or_a_named_failure(body in "[\\[\\]{}\",:a1 ]{0,30}|\\{\"(records|state|value|key)\":[\\[\\]{}\"a1]{0,9}\\}") {
        if let Outcome::Acknowledged(results) = judge(&answer(200, &body), true) {
            for record in results.records {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&record.value).is_ok());
            }
        }
    }
}
