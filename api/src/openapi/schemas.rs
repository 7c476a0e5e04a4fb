//! JSON Schemas of the types that are read and of those that are written, under names of their own.
//!
//! A type may look otherwise in a request than in an answer: there, absent fields take defaults. Where the two differ,
//! the request's is called `…Input`.

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

const ASKED: &str = "#/asked/";
const ANSWERED: &str = "#/answered/";
const SETTLED: &str = "#/components/schemas/";

/// Those seen so far.
#[derive(Debug)]
pub(super) struct Schemas {
    asked: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = |path: &'static str| {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = path.trim_start_matches('#').into();
                settings.meta_schema = None;
            })
        };
        let asked = settings(ASKED).for_deserialize().into_generator();
        Self { asked, answered: settings(ANSWERED).for_serialize().into_generator() }
    }
}

impl Schemas {
    /// Of what a request holds.
    pub(super) fn request<T: JsonSchema>(&mut self) -> Schema {
        self.asked.subschema_for::<T>()
    }

    /// Of what an answer holds.
    pub(super) fn answer<T: JsonSchema>(&mut self) -> Schema {
        self.answered.subschema_for::<T>()
    }

    /// What refers to them with the names that hold in the end, and what these stand for.
    pub(super) fn settle(mut self, mut referring: Value) -> (Value, Map<String, Value>) {
        let (asked, answered) = (self.asked.take_definitions(true), self.answered.take_definitions(true));
        let differing = differing(&asked, &answered);
        rename(&mut referring, &differing);
        let mut all = Map::new();
        for (name, mut schema) in answered {
            rename(&mut schema, &differing);
            all.insert(name, schema);
        }
        for (name, mut schema) in asked {
            rename(&mut schema, &differing);
            all.insert(input_name(&name, &differing), schema);
        }
        (referring, all)
    }
}

fn input_name(name: &str, differing: &BTreeSet<String>) -> String {
    if differing.contains(name) { format!("{name}Input") } else { name.to_owned() }
}

/// The names that stand for one thing in requests and for another in answers, directly or by what they refer to.
fn differing(asked: &Map<String, Value>, answered: &Map<String, Value>) -> BTreeSet<String> {
    let own = |schema: &Value| schema.to_string().replace(ASKED, SETTLED).replace(ANSWERED, SETTLED);
    let both = |name: &String| Some((own(asked.get(name)?), own(answered.get(name)?)));
    let texts: BTreeMap<&String, (String, String)> =
        asked.keys().filter_map(|name| Some((name, both(name)?))).collect();
    let mut found: BTreeSet<String> =
        texts.iter().filter(|(_, (one, other))| one != other).map(|(name, _)| (*name).clone()).collect();
    loop {
        let refers = |text: &str| found.iter().any(|name| text.contains(&format!("\"{SETTLED}{name}\"")));
        let more: Vec<_> = texts.iter().filter(|(name, (text, _))| !found.contains(**name) && refers(text)).collect();
        if more.is_empty() {
            return found;
        }
        let more: Vec<_> = more.into_iter().map(|(name, _)| (*name).clone()).collect();
        found.extend(more);
    }
}

fn rename(value: &mut Value, differing: &BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|value| rename(value, differing)),
        Value::Array(items) => items.iter_mut().for_each(|value| rename(value, differing)),
        Value::String(text) => {
            if let Some(name) = text.strip_prefix(ASKED) {
                *text = format!("{SETTLED}{}", input_name(name, differing));
            } else if let Some(name) = text.strip_prefix(ANSWERED) {
                *text = format!("{SETTLED}{name}");
            }
        }
        _ => {}
    }
}
