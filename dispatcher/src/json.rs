//! JSON text as it is: made compact without touching a number or a string.

use bytes::Bytes;
use serde_json::value::RawValue;

/// The same value without the white space between its tokens. A parsed value would lose digits of large numbers.
pub(crate) fn compact(value: &RawValue) -> Bytes {
    let text = value.get();
    let (mut compact, mut string, mut escaped) = (Vec::with_capacity(text.len()), false, false);
    for byte in text.bytes() {
        if string {
            string = byte != b'"' || escaped;
            escaped = byte == b'\\' && !escaped;
        } else {
            string = byte == b'"';
        }
        if string || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            compact.push(byte);
        }
    }
    compact.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn check(text: &str, expected: &str) {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        assert_eq!(compact(raw), expected.as_bytes(), "{text}");
    }

    #[test]
    fn only_white_space_between_tokens_goes() {
        check("1", "1");
        check(
            " { \"a b\" : [ 1 , 2.50 , 1e400 ] ,\n\t\"c\" : \"\\\" { \\\\\" } ",
            r#"{"a b":[1,2.50,1e400],"c":"\" { \\"}"#,
        );
        check("123456789012345678901234567890", "123456789012345678901234567890");
        check("\"\\\\\" ", "\"\\\\\"");
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[ \"\\\\a\n\t{}\\[\\]:,]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map("[ \"\\\\a]{0,5}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_pretty_value_becomes_the_compact_one(value in values()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let raw: &RawValue = serde_json::from_str(&pretty).unwrap();
            prop_assert_eq!(compact(raw), value.to_string().into_bytes());
        }
    }
}
