//! JSON to a type, strictly, with everything that is wrong with it. Pure.
//!
//! A deserializer stops at the first error. Here the field at fault is noted and taken away, and the rest is looked at
//! again, so that the person who sent it sees all of it at once. What was taken away is never used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fpaas_core::{Violation, limits};
use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::Value;
use serde_path_to_error::Segment;

/// A body that was looked at.
#[derive(Debug)]
pub(crate) struct Parsed<T> {
    value: Option<T>,
    /// What of it was not JSON of the type.
    found: Vec<Violation>,
    /// Pointers to what was taken away.
    taken: Vec<String>,
}

impl<T: DeserializeOwned + Serialize> Parsed<T> {
    /// Looks at `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut rest = match serde_json::from_slice(bytes) {
            Ok(left) => Rest { left, taken: Vec::new(), shifts: BTreeMap::new() },
            Err(error) => return Self::nothing(Violation::new("", format!("must be JSON: {error}"))),
        };
        let mut found = Vec::new();
        while found.len() < limits::API_VIOLATIONS_MAX {
            match serde_path_to_error::deserialize::<_, T>(&rest.left) {
                Ok(value) => return Self { value: Some(value), found, taken: rest.taken }.strictly(bytes, &rest.left),
                Err(error) => {
                    let pointer = pointer_of(&rest.left, error.path());
                    found.extend(rest.violation(&pointer, &error.into_inner()));
                    if !rest.take(&pointer) {
                        break;
                    }
                }
            }
        }
        Self { value: None, found, taken: rest.taken }
    }

    fn nothing(violation: Violation) -> Self {
        Self { value: None, found: vec![violation], taken: Vec::new() }
    }

    /// What a deserializer lets pass: the same field twice, a list in place of an object.
    fn strictly(mut self, bytes: &[u8], left: &Value) -> Self {
        if let Some(Ok(shown)) = self.value.as_ref().map(serde_json::to_value) {
            let before = self.found.len();
            compare(left, &shown, "", &mut self.found);
            self.taken.extend(self.found.iter().skip(before).map(|violation| violation.pointer.clone()));
        }
        if self.found.is_empty() {
            let mut deserializer = serde_json::Deserializer::from_slice(bytes);
            let direct: Result<T, _> = serde_path_to_error::deserialize(&mut deserializer);
            if let Err(error) = direct {
                let pointer = pointer_of(left, error.path());
                self.found.push(violation(&pointer, &error.into_inner()));
            }
        }
        self
    }

    /// The value, if it is right by its type and by `check`; all that is wrong otherwise.
    pub(crate) fn checked(self, check: impl FnOnce(&T) -> Vec<Violation>) -> Result<T, Vec<Violation>> {
        let Self { value, mut found, taken } = self;
        let Some(value) = value else { return Err(found) };
        // Where something was taken away, a default stands in: what is wrong with that is nobody's fault.
        let rest = check(&value).into_iter();
        found.extend(rest.filter(|violation| !taken.iter().any(|taken| related(taken, &violation.pointer))));
        found.truncate(limits::API_VIOLATIONS_MAX);
        if found.is_empty() { Ok(value) } else { Err(found) }
    }
}

/// What of `value` is a field that a `T` does not have.
pub(crate) fn unknown_fields<T: DeserializeOwned + Serialize>(value: &Value) -> Vec<Violation> {
    let mut found = Parsed::<T>::of(value.to_string().as_bytes()).found;
    found.retain(|violation| violation.detail.starts_with("unknown field `"));
    found
}

/// The fields that are given twice, at any depth. Nothing of what is no JSON.
pub(crate) fn twice(bytes: &[u8]) -> Vec<Violation> {
    let mut found = Vec::new();
    let seen = Twice { pointer: String::new(), found: &mut found };
    match seen.deserialize(&mut serde_json::Deserializer::from_slice(bytes)) {
        Ok(()) => found,
        Err(_) => Vec::new(),
    }
}

/// Looks through one value.
struct Twice<'f> {
    pointer: String,
    found: &'f mut Vec<Violation>,
}

impl<'de> DeserializeSeed<'de> for Twice<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Twice<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        let at = |index: usize| format!("{}/{index}", self.pointer);
        while items.next_element_seed(Twice { pointer: at(index), found: &mut *self.found })?.is_some() {
            index += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = fields.next_key::<String>()? {
            let pointer = format!("{}/{}", self.pointer, escape(&name));
            if !names.insert(name) && self.found.len() < limits::API_VIOLATIONS_MAX {
                self.found.push(Violation::new(&*pointer, "is given twice"));
            }
            fields.next_value_seed(Twice { pointer, found: &mut *self.found })?;
        }
        Ok(())
    }
}

/// What is left of a body when its wrong parts were taken away.
struct Rest {
    left: Value,
    taken: Vec<String>,
    /// By pointers to lists: how many items were taken from their fronts.
    shifts: BTreeMap<String, usize>,
}

impl Rest {
    /// None for a field that is missing because it was taken away, or whose parts were.
    fn violation(&self, pointer: &str, error: &serde_json::Error) -> Option<Violation> {
        let found = unknown_variant(self.left.pointer(pointer), error)
            .map(|name| Violation::new(format!("{}/{}", self.as_sent(pointer), escape(&name)), error.to_string()));
        let violation = found.unwrap_or_else(|| violation(&self.as_sent(pointer), error));
        (!self.taken.iter().any(|taken| is_within(taken, &violation.pointer))).then_some(violation)
    }

    /// Takes what `pointer` points to out of its object, or the list's front up to it. False when that is everything.
    fn take(&mut self, pointer: &str) -> bool {
        let Some((parent, name)) = pointer.rsplit_once('/') else { return false };
        match self.left.pointer_mut(parent) {
            Some(Value::Object(fields)) => {
                let gone = fields.remove(&unescape(name));
                self.taken.push(pointer.to_owned());
                gone.is_some()
            }
            Some(Value::Array(items)) => {
                let upto = name.parse().map_or(items.len(), |index: usize| items.len().min(index + 1));
                items.drain(..upto);
                *self.shifts.entry(parent.to_owned()).or_default() += upto;
                self.taken.push(parent.to_owned());
                upto > 0
            }
            _ => false,
        }
    }

    /// A pointer into what is left, as it was before items were taken from the fronts of lists.
    fn as_sent(&self, pointer: &str) -> String {
        let item = |(list, shift): (&String, &usize)| {
            let rest = pointer.strip_prefix(list.as_str())?.strip_prefix('/')?;
            let (index, deeper) = rest.split_once('/').map_or((rest, None), |(index, deeper)| (index, Some(deeper)));
            let index = index.parse::<usize>().ok()? + shift;
            Some(deeper.map_or_else(|| format!("{list}/{index}"), |deeper| format!("{list}/{index}/{deeper}")))
        };
        self.shifts.iter().find_map(item).unwrap_or_else(|| pointer.to_owned())
    }
}

/// The field that names a variant nobody knows, where the variant is a field: serde points at the object around it.
fn unknown_variant(at: Option<&Value>, error: &serde_json::Error) -> Option<String> {
    let message = error.to_string();
    // The name may hold anything, so it is looked for and not cut out.
    let named = |name: &&String| message.starts_with(&format!("unknown variant `{name}`, expected "));
    at?.as_object()?.keys().find(named).cloned()
}

/// serde says which field is missing, or there twice, in its message alone; tests hold the two together.
fn violation(pointer: &str, error: &serde_json::Error) -> Violation {
    let message = error.to_string();
    let named = |start: &str| message.strip_prefix(start)?.split('`').next();
    let below = |field: &str, detail: &str| Violation::new(format!("{pointer}/{}", escape(field)), detail);
    match (named("missing field `"), named("duplicate field `")) {
        (Some(field), _) => below(field, "is missing"),
        (_, Some(field)) => below(field, "is given twice"),
        (None, None) => Violation::new(pointer, message),
    }
}

/// The path of an error as a JSON pointer, as deep as there is something in `value`.
fn pointer_of(value: &Value, path: &serde_path_to_error::Path) -> String {
    let (mut at, mut pointer) = (value, String::new());
    for segment in path {
        let name = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.clone(),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => break,
        };
        let deeper = match at {
            Value::Object(fields) => fields.get(&name),
            Value::Array(items) => name.parse().ok().and_then(|index: usize| items.get(index)),
            _ => None,
        };
        let Some(deeper) = deeper else { break };
        pointer = format!("{pointer}/{}", escape(&name));
        at = deeper;
    }
    pointer
}

/// Where `sent` is another kind of JSON than what it was read as.
fn compare(sent: &Value, read: &Value, pointer: &str, found: &mut Vec<Violation>) {
    match (sent, read) {
        (Value::Object(sent), Value::Object(read)) => {
            for (name, sent) in sent {
                if let Some(read) = read.get(name) {
                    compare(sent, read, &format!("{pointer}/{}", escape(name)), found);
                }
            }
        }
        (_, Value::Object(_)) => found.push(Violation::new(pointer, "must be an object")),
        (Value::Object(_), Value::String(_)) => found.push(Violation::new(pointer, "must be a string")),
        _ => {}
    }
}

/// One is the other, or holds it.
fn related(one: &str, other: &str) -> bool {
    is_within(one, other) || is_within(other, one)
}

fn is_within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// RFC 6901, section 3.
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn unescape(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests;
