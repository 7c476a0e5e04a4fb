//! Bodies and the pointers they get.

use fpaas_core::subscription::Subscription;
use proptest::prelude::*;

use super::*;

fn check(body: &str, expected: &[&str]) {
    let result = Parsed::<Subscription>::of(body.as_bytes()).checked(|value| value.violations(true));
    let pointers: Vec<_> = result.map_or_else(|found| found, |_| vec![]).into_iter().map(|one| one.pointer).collect();
    assert_eq!(pointers, expected, "{body}");
}

const HOOK: &str = r#""processor":{"webhook":{"url":"http://127.0.0.1:1/"}}"#;

#[test]
fn what_is_right_passes() {
    check(&format!("{{{HOOK}}}"), &[]);
}

#[test]
fn every_wrong_field_is_named_at_once() {
    let cases: [(&str, &[&str]); 12] = [
        ("\"lane\":1", &["/lane"]),
        ("\"lanes\":\"1\"", &["/lanes"]),
        ("\"lanes\":0,\"ordering\":\"sideways\"", &["/ordering", "/lanes"]),
        (
            "\"collector\":{\"maxEvents\":-1,\"max\":1,\"maxWaitMs\":400000}",
            &["/collector/max", "/collector/maxEvents", "/collector/maxWaitMs"],
        ),
        ("\"filter\":{\"kinds\":[\"commit\",\"x\",\"sync\",\"y\"]}", &["/filter/kinds/1", "/filter/kinds/3"]),
        ("\"filter\":{\"collections\":[\"a.b.c\",\"a\"]}", &["/filter/collections/1"]),
        ("\"output\":{}", &["/output/topic"]),
        ("\"output\":{\"topic\":\"-\"}", &["/output/topic"]),
        ("\"a/b~c\":1", &["/a~1b~0c"]),
        ("\"lanes\":1,\"lanes\":1", &["/lanes"]),
        ("\"collector\":[7]", &["/collector"]),
        ("\"ordering\":{\"partition\":null}", &["/ordering"]),
    ];
    for (fields, expected) in cases {
        check(&format!("{{{HOOK},{fields}}}"), expected);
    }
}

#[test]
fn a_wrong_processor_is_named_where_it_is_wrong() {
    let cases: [(&str, &[&str]); 8] = [
        (r#"{"webhook":{"uri":"x"}}"#, &["/processor/webhook/uri", "/processor/webhook/url"]),
        (r#"{"webhook":{"url":5,"timeoutMs":"x"}}"#, &["/processor/webhook/timeoutMs", "/processor/webhook/url"]),
        (r#"{"webhook":{"url":"ftp://x","timeoutMs":5}}"#, &["/processor/webhook/url", "/processor/webhook/timeoutMs"]),
        (r#"{"webhook":{"url":"http://x/","secret":"whsec_x"}}"#, &["/processor/webhook/secret"]),
        (r#"{"email":{}}"#, &["/processor/email"]),
        (r#"{"e/~`,":{}}"#, &["/processor/e~1~0`,"]),
        (r#""email""#, &["/processor"]),
        (r#"{"webhook":{"url":"http://x/"},"reduce":{}}"#, &["/processor"]),
    ];
    for (processor, expected) in cases {
        check(&format!(r#"{{"processor":{processor}}}"#), expected);
    }
}

#[test]
fn what_is_no_object_is_wrong_as_a_whole() {
    let deep = "[".repeat(100_000);
    for body in ["", "x", "[]", "null", "{}{}", "{\"a\":", "\"\\ud800", &deep] {
        check(body, &[""]);
    }
    assert!(Parsed::<Subscription>::of(b"{\"metadata\":{\"a\":\"\xff\"}}").checked(|_| vec![]).is_err());
}

#[test]
fn what_is_wrong_is_listed_up_to_a_bound() {
    let fields: Vec<_> = (0..1000).map(|at| format!("\"f{at}\":1")).collect();
    let Err(found) = Parsed::<Subscription>::of(format!("{{{}}}", fields.join(",")).as_bytes()).checked(|_| vec![])
    else {
        panic!("accepted");
    };
    assert_eq!(found.len(), limits::API_VIOLATIONS_MAX);
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from)
    ];
    let name = prop_oneof![
        "[a-z]{1,3}",
        proptest::sample::select(vec![
            "filter",
            "kinds",
            "collections",
            "processor",
            "webhook",
            "url",
            "output",
            "topic",
            "retry",
            "source",
            "metadata",
            "headers"
        ])
        .prop_map(str::to_owned)
    ];
    leaf.prop_recursive(4, 64, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Every pointer names something that was sent, or a field missing in something that was sent.
    #[test]
    fn any_json_is_read_or_refused_with_pointers_into_it(value in json()) {
        if let Err(found) = Parsed::<Subscription>::of(value.to_string().as_bytes()).checked(|_| vec![]) {
            prop_assert!(!found.is_empty());
            for violation in found {
                let parent = violation.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
                prop_assert!(value.pointer(parent).is_some(), "{} in {}", violation.pointer, value);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        drop(Parsed::<Subscription>::of(&bytes).checked(|_| vec![]));
    }
}
