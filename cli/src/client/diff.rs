//! What differs between two resources, field by field. Values of a webhook's headers may be passwords: they are
//! compared, and never shown, and so is the private key of its client certificate.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// Its fields have values that may not be shown.
pub(super) const HEADERS: &str = "/processor/webhook/headers";
/// The same of the whole value.
const PRIVATE_KEY: &str = "/processor/webhook/clientCertificate/privateKey";
/// In place of such a value: what a key that may only read is answered, too.
pub(super) const MASK: &str = "***";

/// A field that is new, gone or other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Change {
    /// Where it is (RFC 6901).
    pub(super) pointer: String,
    /// Absent where it was not there, and where it may not be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Value>,
    /// The same of what it becomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Value>,
}

impl Change {
    fn of(pointer: &str, from: Option<&Value>, to: Option<&Value>) -> Self {
        let is_header = pointer.strip_prefix(HEADERS).is_some_and(|rest| rest.starts_with('/'));
        let is_hidden = is_header || pointer == PRIVATE_KEY;
        if is_hidden && from.is_some() && to.is_some() {
            return Self::hidden(pointer);
        }
        let shown = |value: &Value| if is_hidden { MASK.into() } else { value.clone() };
        Self { pointer: pointer.to_owned(), from: from.map(shown), to: to.map(shown) }
    }

    /// Of a field whose value may not be shown.
    pub(super) fn hidden(pointer: &str) -> Self {
        Self { pointer: pointer.to_owned(), from: None, to: None }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pointer, from, to } = self;
        match (from, to) {
            (Some(old), Some(new)) => write!(f, "{pointer}: {old} -> {new}"),
            (None, Some(new)) => write!(f, "{pointer}: {new}"),
            (Some(old), None) => write!(f, "{pointer}: {old} -> nothing"),
            (None, None) => write!(f, "{pointer}: another one"),
        }
    }
}

/// In the order of their pointers; lists are fields as a whole.
pub(super) fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    fields(String::new(), before, &mut old);
    fields(String::new(), after, &mut new);
    let mut all: Vec<&String> = old.keys().chain(new.keys()).collect();
    all.sort_unstable();
    all.dedup();
    let change = |pointer: &String| {
        let (from, to) = (old.get(pointer).copied(), new.get(pointer).copied());
        (from != to).then(|| Change::of(pointer, from, to))
    };
    all.into_iter().filter_map(change).collect()
}

fn fields<'v>(pointer: String, value: &'v Value, found: &mut BTreeMap<String, &'v Value>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (name, value) in object {
                fields(format!("{pointer}/{}", escaped(name)), value, found);
            }
        }
        // Nothing and null say the same.
        Value::Null => {}
        value => drop(found.insert(pointer, value)),
    }
}

/// A name as a part of a pointer (RFC 6901 section 3).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(before: &Value, after: &Value) -> Vec<String> {
        changes(before, after).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_field_that_differs_has_a_line() {
        let before = json!({"a": 1, "b": {"c": [1, 2], "d": null, "e/f": "x"}, "g": {}});
        let after = json!({"a": 1, "b": {"c": [2], "d": 7}, "g": {}});
        assert_eq!(lines(&before, &after), ["/b/c: [1,2] -> [2]", "/b/d: 7", "/b/e~1f: \"x\" -> nothing"]);
        assert!(lines(&before, &before).is_empty());
        assert_eq!(lines(&Value::Null, &json!({"a": {"b": true}})), ["/a/b: true"]);
    }

    #[test]
    fn what_may_not_be_shown_is_said_to_be_another_one() {
        assert_eq!(Change::hidden("/secret").to_string(), "/secret: another one");
        assert_eq!(serde_json::to_value(Change::hidden("/secret")).unwrap(), json!({"pointer": "/secret"}));
    }

    #[test]
    fn values_of_headers_are_compared_and_never_shown() {
        let of = |headers: Value| json!({"processor": {"webhook": {"headers": headers, "url": "u"}}});
        let before = of(json!({"same": "s1", "x-key": "s2", "gone": "s3"}));
        let after = of(json!({"same": "s1", "x-key": "s4", "new": "s5"}));
        let expected = ["/gone: \"***\" -> nothing", "/new: \"***\"", "/x-key: another one"];
        assert_eq!(lines(&before, &after), expected.map(|line| format!("{HEADERS}{line}")));
        let shown = serde_json::to_value(changes(&before, &after)).unwrap();
        assert_eq!(shown[2], json!({"pointer": format!("{HEADERS}/x-key")}));
        assert!((1..=5).all(|n| !shown.to_string().contains(&format!("s{n}"))), "{shown}");
    }

    #[test]
    fn a_private_key_is_never_shown() {
        let of = |certificate: Value| json!({"processor": {"webhook": {"clientCertificate": certificate}}});
        let (before, after) =
            (of(json!({"certificate": "c"})), of(json!({"certificate": "d", "privateKey": "secret"})));
        let expected = ["/certificate: \"c\" -> \"d\"", "/privateKey: \"***\""];
        let pointer = "/processor/webhook/clientCertificate";
        assert_eq!(lines(&before, &after), expected.map(|line| format!("{pointer}{line}")));
    }
}
