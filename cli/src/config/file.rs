//! A file of settings: YAML, one mapping of keys to values. Strict: what is not known, or written in another way than
//! its setting is, is wrong, and all of it is said at once.

use std::collections::BTreeMap;

use serde_norway::Value;

use super::place;
use super::setting::{ALL, Kind, Setting};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Of each key, its value as flags would have it. What is null is not here; what is wrong is empty.
    pub(super) texts: BTreeMap<&'static str, Vec<String>>,
    pub(super) faults: Vec<Fault>,
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// A JSON pointer into the file, `""` for all of it.
    pub(super) pointer: String,
    /// From 1; 0 where YAML's own message says it.
    pub(super) line: usize,
    pub(super) detail: String,
}

pub(super) fn parse(text: &str) -> Said {
    let whole = |detail: String| Said { faults: vec![Fault::new("", 0, detail)], ..Said::default() };
    let entries = match serde_norway::from_str(text) {
        // Empty, or nothing but comments.
        Ok(Value::Null) => return Said::default(),
        Ok(Value::Mapping(entries)) => entries,
        Ok(_) => return whole("must be settings, one KEY: VALUE a line".to_owned()),
        Err(error) => return whole(error.to_string()),
    };
    let mut said = Said::default();
    for (key, value) in &entries {
        said.take(text, key, value);
    }
    said
}

impl Said {
    fn take(&mut self, text: &str, key: &Value, value: &Value) {
        let Some(key) = key.as_str() else {
            return self.faults.push(Fault::new("", 0, "every key must be the name of a setting".to_owned()));
        };
        let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        let Some(setting) = ALL.into_iter().find(|setting| setting.key == key) else {
            let line = place::line(text, key, None).unwrap_or(0);
            return self.faults.push(Fault::new(&pointer, line, unknown(key)));
        };
        match texts(setting.kind, value) {
            Ok(None) => {}
            Ok(Some(texts)) => drop(self.texts.insert(setting.key, texts)),
            Err((index, detail)) => {
                self.texts.insert(setting.key, Vec::new());
                let pointer = index.map_or(pointer.clone(), |index| format!("{pointer}/{index}"));
                let line = place::line(text, key, index).unwrap_or(0);
                self.faults.push(Fault::new(&pointer, line, detail.to_owned()));
            }
        }
    }
}

impl Fault {
    fn new(pointer: &str, line: usize, detail: String) -> Self {
        Self { pointer: pointer.to_owned(), line, detail }
    }
}

/// A key written as its flag or its variable is.
fn unknown(key: &str) -> String {
    let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
    let meant = |setting: &&Setting| [setting.key, setting.variable].iter().any(|name| plain(name) == plain(key));
    let hint = match ALL.into_iter().find(meant) {
        Some(setting) => format!("write {}", setting.key),
        None => "`fpaas config default` prints all there are".to_owned(),
    };
    format!("there is no such setting: {hint}")
}

type Wrong = (Option<usize>, &'static str);

/// `None` of null, which says nothing. An error has the index of a list's wrong element.
fn texts(kind: Kind, value: &Value) -> Result<Option<Vec<String>>, Wrong> {
    let one = |text: String| Ok(Some(vec![text]));
    match (kind, value) {
        (_, Value::Null) => Ok(None),
        (Kind::Text, Value::String(text)) => one(text.clone()),
        (Kind::Text, Value::Number(_) | Value::Bool(_)) => Err((None, "must be text: put it in quotes")),
        (Kind::Text, _) => Err((None, "must be text")),
        (Kind::Number, Value::Number(number)) => one(number.to_string()),
        (Kind::Number, _) => Err((None, "must be a number, without quotes")),
        (Kind::Switch, Value::Bool(switch)) => one(switch.to_string()),
        (Kind::Switch, _) => Err((None, "must be true or false, without quotes")),
        (Kind::List(_), Value::Sequence(elements)) => elements.iter().enumerate().map(element).collect(),
        (Kind::List(_), _) => Err((None, "must be a list, such as [one, another]")),
    }
}

fn element((index, value): (usize, &Value)) -> Result<Option<String>, Wrong> {
    value.as_str().map(|text| Some(text.to_owned())).ok_or((Some(index), "must be text: put it in quotes"))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: &Expect) {
        let lines = |fault: &Fault| format!("{:?}, line {}: {}\n", fault.pointer, fault.line, fault.detail);
        expected.assert_eq(&parse(text).faults.iter().map(lines).collect::<String>());
    }

    #[test]
    fn everything_that_is_wrong_is_said_with_its_place() {
        check("", &expect![""]);
        check("# nothing\n", &expect![""]);
        check(
            "- data\n",
            &expect![[r#"
            "", line 0: must be settings, one KEY: VALUE a line
        "#]],
        );
        check(
            "data: a\n\ndata: b\n",
            &expect![[r#"
            "", line 0: duplicate entry with key "data"
        "#]],
        );
        check(
            "data: a\n  listen: b\n",
            &expect![[r#"
            "", line 0: mapping values are not allowed in this context at line 2 column 9
        "#]],
        );
        let wrong = "\
# Much
data: 5
kafka_properties: a
listen: [a]

upstream:
  - wss://a.example
  - 7
bogus: {a: b}
a/b: 1
partitions: '4'
messagesJson: yes
only: router
fsync: !new 5ms
";
        check(
            wrong,
            &expect![[r#"
            "/data", line 2: must be text: put it in quotes
            "/kafka_properties", line 3: there is no such setting: write kafkaProperties
            "/listen", line 4: must be text
            "/upstream/1", line 8: must be text: put it in quotes
            "/bogus", line 9: there is no such setting: `fpaas config default` prints all there are
            "/a~1b", line 10: there is no such setting: `fpaas config default` prints all there are
            "/partitions", line 11: must be a number, without quotes
            "/messagesJson", line 12: must be true or false, without quotes
            "/only", line 13: must be a list, such as [one, another]
            "/fsync", line 14: must be text
        "#]],
        );
    }
}
