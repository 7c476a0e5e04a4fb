//! What expressions match, what is refused, and that no pair of expression and document is dangerous.

use std::time::Duration;

use fpaas_core::limits;
use fpaas_expression::{Document, EvaluationError, Expression};
use proptest::prelude::*;

const EVENT: &str = r#"{"did":"did:plc:a","kind":"commit","commit":{"operation":"create","collection":"app.bsky.feed.post",
    "record":{"text":"hello world","langs":["en","de"],"likes":3,"facets":[],
              "reply":null,"tags":[{"n":1,"s":"b"},{"n":2,"s":"a"}]}}}"#;

// Clippy takes what is under `cfg(test)` for tests, helpers included.
#[cfg(test)]
fn is_match(expression: &str, document: &str) -> Result<bool, EvaluationError> {
    let expression = Expression::compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    expression.is_match(&Document::parse(document.as_bytes()).unwrap())
}

#[test]
fn an_expression_matches_when_its_result_is_truthy() {
    let cases = [
        ("commit.record.text", true),
        ("commit.record.facets", false),
        ("commit.record.reply", false),
        ("commit.record.nothing.at.all", false),
        ("commit.record.likes", true),
        ("commit.record.likes > `2`", true),
        ("commit.record.likes > '2'", false),
        ("contains(commit.record.langs, 'de')", true),
        ("contains(commit.record.text, 'hello') && !contains(commit.record.langs, 'fr')", true),
        ("kind == 'identity' || did == 'did:plc:a'", true),
        ("commit.record.tags[?n > `1`].s | [0] == 'a'", true),
        ("commit.record.tags[*].n | sum(@) == `3`", true),
        ("commit.record.langs[::-1] | [0] == 'de'", true),
        ("commit.record.langs[1::2147483647] | length(@) == `1`", true),
        ("sort_by(commit.record.tags, &s)[0].n == `2`", true),
        ("max_by(commit.record.tags, &n).s == 'a'", true),
        ("min_by(commit.record.tags, &n).s == 'b'", true),
        ("map(&n, commit.record.tags) == `[1, 2]`", true),
        ("{a: kind, b: did}.a == 'commit'", true),
        ("*.operation | [0] == 'create'", true),
        ("commit.record.tags[].s | join('', @) == 'ba'", true),
        ("to_string(commit.record.langs) == '[\"en\",\"de\"]'", true),
    ];
    for (expression, expected) in cases {
        assert_eq!(is_match(expression, EVENT), Ok(expected), "{expression}");
    }
}

#[test]
fn an_expression_that_cannot_work_is_refused_with_a_place_and_a_sentence() {
    let cases = [
        ("", 0),
        ("a.", 2),
        ("a ~ b", 2),
        ("foo(a)", 3),
        ("a && (b", 7),
        ("[&a]", 1),
        ("sort_by(a, b)", 7),
        ("sort_by(a)", 7),
        ("a[::0]", 5),
        ("'open", 0),
    ];
    for (expression, offset) in cases {
        let error = Expression::compile(expression).unwrap_err();
        assert_eq!(error.offset, offset, "{expression}: {error}");
        assert!(!error.message.is_empty());
    }
}

#[test]
fn hostile_expressions_are_errors_or_harmless_even_on_a_small_stack() {
    let chain = |part: &str, times: usize| vec![part; times].concat();
    let run = move || {
        let parts = [
            "(", "[", "{a:", "!", "&", "[*]", "*.", "[]", "[?", "f(", "`[", "[[*", "a.", "a||", "a|", "a&&", "[0]",
            "a==", "[:]", "\"a\".", "@.*.",
        ];
        for part in parts {
            for times in [1, 30, 31, 32, 33, 127, 255, 256, 257, 500, 511, 512, 1023, 1024, 10_000, 100_000] {
                for end in ["", "a", "]", ")"] {
                    if let Ok(expression) = Expression::compile(&(chain(part, times) + end)) {
                        drop(expression.is_match(&Document::parse(b"{\"a\":[[{\"a\":1}]]}").unwrap()));
                    }
                }
            }
        }
        assert!(Expression::compile(&(chain("[", 10_000) + &chain("]", 10_000))).is_err());
        let longest = "a".to_owned() + &chain(".a", limits::EXPRESSION_OPERATORS_MAX);
        assert!(Expression::compile(&longest).is_ok());
    };
    // A thread of the runtime has 2 MiB.
    std::thread::Builder::new().stack_size(1024 * 1024).spawn(run).unwrap().join().unwrap();
}

#[test]
fn an_evaluation_that_would_not_end_in_time_or_memory_runs_out_of_budget() {
    let doubling = vec!["[@,@]"; 60].join(" | ");
    let numbers = format!("[{}]", vec!["1"; 100_000].join(","));
    let empty = format!("[{}]", vec!["\"\""; 100_000].join(","));
    let glue = "x".repeat(4000);
    let nested = format!("{}{}", "map(&map(&map(&@, @), @), ".repeat(8), "@".to_owned() + &")".repeat(8));
    let cases = [
        (format!("to_string({doubling})"), "1"),
        (format!("{doubling} == `1`"), "1"),
        (format!("contains({doubling}, `7`)"), "1"),
        (format!("join('{glue}', @)"), &empty),
        ("[*].[@,@,@,@,@,@,@,@,@,@,@,@]".to_owned(), &numbers),
        (format!("map(&[{}], @)", vec!["@"; 20].join(",")), &numbers),
    ];
    for (expression, document) in cases {
        assert_eq!(is_match(&expression, document), Err(EvaluationError::Budget), "{expression}");
    }
    assert!(matches!(is_match(&nested, "[1]"), Err(EvaluationError::Failed(_))));
}

#[test]
fn a_value_that_is_not_json_or_too_deep_is_an_error() {
    for bad in [&b"{"[..], b"", b"\xff", "[".repeat(1000).as_bytes()] {
        assert!(matches!(Document::parse(bad), Err(EvaluationError::NotJson(_))));
    }
}

#[test]
fn expressions_and_documents_are_shared_by_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    shared(&Expression::compile("a").unwrap());
    shared(&Document::parse(b"{}").unwrap());
}

/// Expressions as people write them, and some that nobody would.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[abc]",
        Just("@".to_owned()),
        Just("*".to_owned()),
        "`-?[0-9]{1,2}`",
        "'[ab]{0,2}'",
        "\\[-?[1-3]\\]",
        Just("[*]".to_owned()),
        Just("[]".to_owned()),
        "\\[[0-2]?:[0-2]?(:-?[1-2])?\\]",
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            (two.clone(), prop_oneof![".", " \\| ", " \\|\\| ", " && ", " == ", " != ", " < ", " >= "])
                .prop_map(|((left, right), operator)| format!("{left}{operator}{right}")),
            two.clone().prop_map(|(left, right)| format!("[{left}, {right}]")),
            two.clone().prop_map(|(left, right)| format!("{{a: {left}, b: {right}}}")),
            two.clone().prop_map(|(left, right)| format!("{left}[?{right}]")),
            two.clone().prop_map(|(left, right)| format!("contains({left}, {right})")),
            (two, "sort_by|min_by|max_by").prop_map(|((left, right), name)| format!("{name}({left}, &{right})")),
            (inner.clone(), "length|type|to_string|to_array|keys|values|sort|max|sum|reverse|not_null|to_number")
                .prop_map(|(inner, name)| format!("{name}({inner})")),
            inner.clone().prop_map(|inner| format!("map(&{inner}, @)")),
            inner.clone().prop_map(|inner| format!("!{inner}")),
            inner.prop_map(|inner| format!("({inner})")),
        ]
    })
}

fn documents() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9i64..99).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 30, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn an_expression_says_what_the_jmespath_crate_says(text in expressions(), document in documents()) {
        let Ok(expression) = Expression::compile(&text) else { return Ok(()) };
        let ours = expression.is_match(&Document::parse(document.to_string().as_bytes()).unwrap());
        let theirs = jmespath::compile(&text).unwrap().search(&document).map(|result| result.is_truthy());
        prop_assert_eq!(ours.ok(), theirs.ok(), "{} on {}", text, document);
    }

    #[test]
    fn any_text_compiles_or_is_refused(text in "[\\PC\\s]{0,200}", document in documents()) {
        if let Ok(expression) = Expression::compile(&text) {
            drop(expression.is_match(&Document::parse(document.to_string().as_bytes()).unwrap()));
        }
    }

    #[test]
    fn any_run_of_tokens_compiles_or_is_refused(
        tokens in proptest::collection::vec(prop_oneof!["[\\[\\](){}.*!&|,:@<>=?]", "[ab0-9-]", "'a'|`1`|\"b\"|sort_by|map|length"], 0..60),
        document in documents(),
    ) {
        if let Ok(expression) = Expression::compile(&tokens.concat()) {
            drop(expression.is_match(&Document::parse(document.to_string().as_bytes()).unwrap()));
        }
    }
}

#[test]
fn a_spent_budget_is_spent_quickly() {
    let began = std::time::Instant::now();
    let numbers = format!("[{}]", vec!["1"; 200_000].join(","));
    let document = Document::parse(numbers.as_bytes()).unwrap();
    let expression = Expression::compile("[*].[@,@,@,@,@,@,@,@,@,@,@,@]").unwrap();
    assert_eq!(expression.is_match(&document), Err(EvaluationError::Budget));
    assert!(began.elapsed() < Duration::from_secs(5));
}
