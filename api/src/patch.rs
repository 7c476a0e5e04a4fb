//! Merge patches (RFC 7396): what is given replaces what is there, `null` takes it away, and the rest stays. Pure.

use fpaas_core::Violation;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::problem::Problem;

/// A patch: an object, since what it patches is one.
#[derive(Debug)]
pub(crate) struct Patch(Map<String, Value>);

impl Patch {
    /// Reads a body.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let refuse = |detail: String| Err(Problem::invalid(vec![Violation::new("", detail)]));
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => refuse("must be an object: a merge patch (RFC 7396)".to_owned()),
            Err(error) => refuse(format!("must be JSON: {error}")),
        }
    }

    /// `whole`, changed, as it would have been put.
    pub(crate) fn applied(&self, whole: &impl Serialize) -> Result<Vec<u8>, Problem> {
        let mut value = serde_json::to_value(whole).map_err(|error| Problem::internal(&error))?;
        merge(&mut value, &self.0);
        serde_json::to_vec(&value).map_err(|error| Problem::internal(&error))
    }
}

fn merge(whole: &mut Value, patch: &Map<String, Value>) {
    if !whole.is_object() {
        *whole = Value::Object(Map::new());
    }
    let Value::Object(fields) = whole else { return };
    for (name, change) in patch {
        match change {
            Value::Null => drop(fields.remove(name)),
            Value::Object(deeper) => merge(fields.entry(name).or_insert(Value::Null), deeper),
            other => drop(fields.insert(name.clone(), other.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The cases of RFC 7396, appendix A, whose patches are objects.
    #[test]
    fn the_examples_of_the_rfc_come_out_as_it_says() {
        for (whole, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"a":"foo"}), json!({"a":{"b":"c"}}), json!({"a":{"b":"c"}})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            let bytes = serde_json::to_vec(&patch).unwrap();
            let patched = Patch::parse(&bytes).unwrap().applied(&whole).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&patched).unwrap(), result, "{patch}");
        }
        for wrong in ["[]", "null", "3", "{"] {
            assert!(Patch::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
