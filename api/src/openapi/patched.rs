//! What a merge patch (RFC 7396) of a type may hold: each field of it, at any depth, or null, or nothing of it.

use std::borrow::Cow;

use fpaas_core::subscription::Subscription;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

/// A patch of a subscription.
pub(super) struct SubscriptionPatch;

impl JsonSchema for SubscriptionPatch {
    fn schema_name() -> Cow<'static, str> {
        "SubscriptionPatch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
        let whole = settings.for_deserialize().into_generator().into_root_schema_for::<Subscription>();
        let mut patch = Value::from(whole);
        if let Some(fields) = patch.as_object_mut() {
            fields.remove("title");
            let about = "What changes; null takes a field away, and its default comes back.";
            fields.insert("description".to_owned(), about.into());
        }
        loosen(&mut patch);
        Schema::try_from(patch).unwrap_or_default()
    }
}

/// What is not given stays, so that nothing is required and nothing takes a default.
fn loosen(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.remove("default");
    for either in ["anyOf", "oneOf", "allOf"] {
        fields.get_mut(either).and_then(Value::as_array_mut).into_iter().flatten().for_each(loosen);
    }
    let has_fields = fields.get("properties").is_some();
    if has_fields {
        fields.remove("required");
    }
    // An object in which nothing is required is one of several shapes at once.
    if let Some(either) = fields.remove("oneOf") {
        fields.insert("anyOf".to_owned(), either);
    }
    for field in
        fields.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(|all| all.values_mut())
    {
        or_null(field);
    }
    // A map takes any name: each may be taken away.
    if let Some(value) = fields.get_mut("additionalProperties").filter(|value| value.is_object()) {
        or_null(value);
    }
}

fn or_null(schema: &mut Value) {
    loosen(schema);
    let whole = schema.take();
    *schema = match whole.get("type").and_then(Value::as_array) {
        Some(types) if types.contains(&"null".into()) => whole,
        _ => json!({"anyOf": [whole, {"type": "null"}]}),
    };
}
