//! The document as a page: what a person reads of it, without anything that runs or comes from elsewhere.

use std::fmt::{self, Write as _};

use serde_json::Value;

const STYLE: &str = "
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;color:#1a1a1a;background:#fff}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#16181c}a{color:#8ab4f8}
code,pre{background:#24272d!important}}
code,pre{font:14px/1.4 ui-monospace,monospace;background:#f3f4f6;border-radius:4px;padding:.1em .3em}
pre{padding:.6rem;overflow:auto}table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;
border-bottom:1px solid #8884;padding:.3rem .6rem .3rem 0}section{border-top:1px solid #8888;margin-top:1.5rem}
h3 code{font-size:1em}nav li{line-height:1.7}";

/// As HTML.
pub(super) fn render(document: &Value) -> String {
    let mut out = String::new();
    // A `String` takes whatever is written.
    write(&mut out, document).map(|()| out).unwrap_or_default()
}

fn write(out: &mut String, document: &Value) -> fmt::Result {
    let info = &document["info"];
    let (title, version, about) = (text(&info["title"]), text(&info["version"]), text(&info["description"]));
    write!(
        out,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">"
    )?;
    write!(out, "<title>{title} {version}</title><style>{STYLE}</style><h1>{title} <small>{version}</small></h1>")?;
    write!(out, "<p>{about}</p><p>The same for programs: <a href=\"/openapi.json\">openapi.json</a>.</p><nav>")?;
    for tag in items(&document["tags"]) {
        write!(out, "<h2>{}</h2><p>{}</p><ul>", text(&tag["name"]), text(&tag["description"]))?;
        for (method, path, operation) in operations(document, &tag["name"]) {
            let (id, summary) = (text(&operation["operationId"]), text(&operation["summary"]));
            write!(out, "<li><a href=\"#{id}\"><code>{method} {}</code></a> {summary}", escape(path))?;
        }
        write!(out, "</ul>")?;
    }
    write!(out, "</nav>")?;
    for tag in items(&document["tags"]) {
        for (method, path, operation) in operations(document, &tag["name"]) {
            section(out, &method, path, operation)?;
        }
    }
    for (name, schema) in at(document, "/components/schemas").as_object().into_iter().flatten() {
        let about = text(&schema["description"]);
        write!(out, "<section id=\"schema-{0}\"><h3>{0}</h3><p>{about}</p>", escape(name))?;
        properties(out, schema)?;
        write!(out, "</section>")?;
    }
    Ok(())
}

fn operations<'d>(document: &'d Value, tag: &'d Value) -> impl Iterator<Item = (String, &'d str, &'d Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let all = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| (method.to_ascii_uppercase(), path.as_str(), operation))
    });
    all.filter(move |(_, _, operation)| items(&operation["tags"]).any(|name| name == tag))
}

fn section(out: &mut String, method: &str, path: &str, operation: &Value) -> fmt::Result {
    let id = text(&operation["operationId"]);
    write!(out, "<section id=\"{id}\"><h3><code>{method} {}</code></h3>", escape(path))?;
    write!(out, "<p>{}. {}</p>", text(&operation["summary"]), text(&operation["description"]))?;
    if operation["parameters"].is_array() {
        write!(out, "<table><tr><th>Parameter<th>In<th>What<th>")?;
        for parameter in items(&operation["parameters"]) {
            let about = text(&parameter["description"]);
            let (name, place, kind) = (text(&parameter["name"]), text(&parameter["in"]), kind(&parameter["schema"]));
            write!(out, "<tr><td><code>{name}</code><td>{place}<td>{kind}<td>{about}")?;
        }
        write!(out, "</table>")?;
    }
    let json = at(operation, "/requestBody/content/application~1json");
    if json.is_object() {
        let example = serde_json::to_string_pretty(&json["example"]).unwrap_or_default();
        write!(out, "<p>Body: {}, such as</p><pre>{}</pre>", kind(&json["schema"]), escape(&example))?;
    }
    write!(out, "<table><tr><th>Answer<th>What<th>")?;
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let about = match answer["$ref"].as_str() {
            Some(reference) => escape(&reference.rsplit('/').next().unwrap_or_default().replace('-', " ")),
            None => text(&answer["description"]),
        };
        let content = answer["content"].as_object().into_iter().flatten();
        let shapes: Vec<_> = content.map(|(_, media)| kind(&media["schema"])).collect();
        write!(out, "<tr><td>{status}<td>{about}<td>{}", shapes.join(", "))?;
    }
    write!(out, "</table></section>")
}

fn properties(out: &mut String, schema: &Value) -> fmt::Result {
    let Some(fields) = schema["properties"].as_object() else {
        return write!(out, "<p>{}</p>", kind(schema));
    };
    write!(out, "<table><tr><th>Field<th>Type<th>Default<th>")?;
    for (name, field) in fields {
        let default = field.get("default").map(|value| escape(&value.to_string())).unwrap_or_default();
        let (name, kind, about) = (escape(name), kind(field), text(&field["description"]));
        write!(out, "<tr><td><code>{name}</code><td>{kind}<td>{default}<td>{about}")?;
    }
    write!(out, "</table>")
}

/// What a schema allows, in few words.
fn kind(schema: &Value) -> String {
    let several = |key: &str, sign: &str| {
        let all: Vec<_> = items(&schema[key]).map(kind).collect();
        (!all.is_empty()).then(|| all.join(sign))
    };
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escape(name));
    }
    if let Some(either) =
        several("anyOf", " or ").or_else(|| several("oneOf", " or ")).or_else(|| several("allOf", " and "))
    {
        return either;
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> =
            values.iter().map(|value| format!("<code>{}</code>", escape(&value.to_string()))).collect();
        return values.join(", ");
    }
    if let Some(value) = schema.get("const") {
        return format!("<code>{}</code>", escape(&value.to_string()));
    }
    let types = match &schema["type"] {
        Value::String(one) => escape(one),
        Value::Array(several) => several.iter().map(text).collect::<Vec<_>>().join(" or "),
        _ => "anything".to_owned(),
    };
    let of = if schema["items"].is_object() { format!(" of {}", kind(&schema["items"])) } else { String::new() };
    let bound = |key: &str, sign: &str| schema.get(key).map(|value| format!(", {sign} {value}")).unwrap_or_default();
    format!("{types}{of}{}{}", bound("minimum", "from"), bound("maximum", "to"))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
