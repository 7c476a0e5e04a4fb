//! `fpaas config check`: what each setting is, where that was said, and everything that is wrong.
//!
//! Does not decide what is wrong: a node's start does (`node::check`).

use serde_json::{Value, json};

use crate::args::Output;
use crate::config::setting::{Kind, Setting};
use crate::config::{Origin, Settings, Wrong, shown};
use crate::exit::Failure;
use crate::node;
use crate::out;

/// Looks, and says it.
pub(crate) fn run(settings: &Settings, output: Output) -> Result<(), Failure> {
    let wrong = node::check(settings).err().map_or_else(Vec::new, |wrongs| wrongs.0);
    let said = match output {
        Output::Text => text(settings, &wrong),
        Output::Json => json(settings, &wrong).to_string(),
    };
    let _enough = out::line(said.trim_end())?;
    let command = settings.role.as_str();
    let would_not = |what: &str| Err(Failure::Usage(format!("fpaas {command} would not start: {what} wrong")));
    match wrong.len() {
        0 => Ok(()),
        1 => would_not("a setting is"),
        count => would_not(&format!("{count} settings are")),
    }
}

fn text(settings: &Settings, wrong: &[Wrong]) -> String {
    let line = |setting: &'static Setting| {
        let origin = settings.origin(setting, None);
        format!("{:17} {:40} {}\n", setting.key, value(settings, setting), place(&origin))
    };
    let mut said: String = settings.all().map(line).collect();
    for wrong in wrong {
        said.push_str(&format!("\nwrong: {wrong}"));
    }
    if wrong.is_empty() {
        said.push_str(&format!("\nfpaas {} would start with these settings", settings.role.as_str()));
    }
    said
}

/// As it may be shown.
fn value(settings: &Settings, setting: &Setting) -> String {
    let texts = settings.texts(setting);
    match setting.kind {
        Kind::List(_) if texts.is_empty() => "none".to_owned(),
        // What is null there is not said there.
        _ if texts.is_empty() && settings.origin(setting, None) != Origin::Default => "of another type".to_owned(),
        _ if texts.is_empty() => "not set".to_owned(),
        _ if setting.secret => "set, not shown".to_owned(),
        _ => texts.iter().map(|text| shown(text)).collect::<Vec<_>>().join(", "),
    }
}

fn place(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        origin => format!("{}: {origin}", origin.kind()),
    }
}

fn json(settings: &Settings, wrong: &[Wrong]) -> Value {
    let setting = |setting: &'static Setting| {
        let origin = settings.origin(setting, None);
        let (value, source) = (typed(settings, setting), origin.kind());
        let at = (origin != Origin::Default).then(|| origin.to_string());
        let hidden = setting.secret && !settings.texts(setting).is_empty();
        json!({"key": setting.key, "value": value, "hidden": hidden, "source": source, "at": at})
    };
    let one = |Wrong { pointer, origin, value, detail }: &Wrong| {
        let (source, at) = (origin.kind(), origin.to_string());
        json!({"pointer": pointer, "source": source, "at": at, "value": value, "detail": detail})
    };
    json!({
        "command": settings.role.as_str(),
        "starts": wrong.is_empty(),
        "wrong": wrong.iter().map(one).collect::<Vec<_>>(),
        "settings": settings.all().map(setting).collect::<Vec<_>>(),
    })
}

/// As a file would have it; null where nothing is set, or nothing may be shown.
fn typed(settings: &Settings, setting: &Setting) -> Value {
    let texts = settings.texts(setting);
    let parsed = || texts.first().and_then(|text| serde_json::from_str(text).ok());
    match setting.kind {
        _ if setting.secret => Value::Null,
        Kind::List(_) => texts.iter().map(|text| shown(text)).collect(),
        Kind::Number | Kind::Switch if parsed().is_some() => parsed().unwrap_or_default(),
        _ => texts.first().map_or(Value::Null, |text| shown(text).into()),
    }
}
