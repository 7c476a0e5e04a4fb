//! What differs between two resources, field by field.

use std::collections::BTreeMap;

use serde_json::Value;

/// A line for each field that is new, gone or other, by its JSON pointer (RFC 6901); lists are fields as a whole.
pub(super) fn lines(before: &Value, after: &Value) -> Vec<String> {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    fields(String::new(), before, &mut old);
    fields(String::new(), after, &mut new);
    let mut all: Vec<&String> = old.keys().chain(new.keys()).collect();
    all.sort_unstable();
    all.dedup();
    let line = |pointer: &&String| match (old.get(*pointer), new.get(*pointer)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(old), Some(new)) => Some(format!("{pointer}: {old} -> {new}")),
        (None, Some(new)) => Some(format!("{pointer}: {new}")),
        (Some(old), None) => Some(format!("{pointer}: {old} -> nothing")),
        (None, None) => None,
    };
    all.iter().filter_map(line).collect()
}

fn fields<'v>(pointer: String, value: &'v Value, found: &mut BTreeMap<String, &'v Value>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (name, value) in object {
                fields(format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), value, found);
            }
        }
        // Nothing and null say the same.
        Value::Null => {}
        value => drop(found.insert(pointer, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_field_that_differs_has_a_line() {
        let before = json!({"a": 1, "b": {"c": [1, 2], "d": null, "e/f": "x"}, "g": {}});
        let after = json!({"a": 1, "b": {"c": [2], "d": 7}, "g": {}});
        assert_eq!(lines(&before, &after), ["/b/c: [1,2] -> [2]", "/b/d: 7", "/b/e~1f: \"x\" -> nothing"]);
        assert!(lines(&before, &before).is_empty());
        assert_eq!(lines(&Value::Null, &json!({"a": {"b": true}})), ["/a/b: true"]);
    }
}
