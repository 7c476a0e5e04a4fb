//! Merge patches (RFC 7396): what is given replaces what is there, `null` takes it away, and the rest stays. Pure.

use fpaas_core::Violation;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::problem::Problem;
use crate::strict;

/// A patch: an object, since what it patches is one.
#[derive(Debug)]
pub(crate) struct Patch(Map<String, Value>);

impl Patch {
    /// Reads a body.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let refuse = |detail: String| Err(Problem::invalid(vec![Violation::new("", detail)]));
        let fields = match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return refuse("must be an object: a merge patch (RFC 7396)".to_owned()),
            Err(error) => return refuse(format!("must be JSON: {error}")),
        };
        let twice = strict::twice(bytes);
        if twice.is_empty() { Ok(Self(fields)) } else { Err(Problem::invalid(twice)) }
    }

    /// `whole`, changed, as it would have been put.
    pub(crate) fn applied(&self, whole: &impl Serialize) -> Result<Value, Problem> {
        let mut value = serde_json::to_value(whole).map_err(|error| Problem::internal(&error))?;
        merge(&mut value, &self.0);
        Ok(value)
    }

    /// What is taken away and can never be there: those fields of a `T` that nobody knows.
    pub(crate) fn unknown<T: DeserializeOwned + Serialize>(&self, whole: &Value) -> Vec<Violation> {
        let (mut probe, mut taken) = (whole.clone(), Vec::new());
        keep_nulls(&mut probe, &self.0, "", &mut taken);
        if taken.is_empty() {
            return Vec::new();
        }
        strict::unknown_fields::<T>(&probe).into_iter().filter(|found| taken.contains(&found.pointer)).collect()
    }
}

/// Puts each null of a patch to where it would take something away and there is nothing.
fn keep_nulls(whole: &mut Value, patch: &Map<String, Value>, pointer: &str, taken: &mut Vec<String>) {
    let Value::Object(fields) = whole else { return };
    for (name, change) in patch {
        let deeper = format!("{pointer}/{}", strict::escape(name));
        match change {
            Value::Null => {
                fields.entry(name).or_insert(Value::Null);
                taken.push(deeper);
            }
            Value::Object(change) => {
                if let Some(inner) = fields.get_mut(name) {
                    keep_nulls(inner, change, &deeper, taken);
                }
            }
            _ => {}
        }
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
            assert_eq!(Patch::parse(&bytes).unwrap().applied(&whole).unwrap(), result, "{patch}");
        }
        for wrong in ["[]", "null", "3", "{", r#"{"a":1,"a":2}"#, r#"{"a":[{"b":{"c":1,"c":1}}]}"#] {
            assert!(Patch::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
