//! What came of each document, said as it was asked for.

use serde::Serialize;
use serde_json::{Value, json};

use super::documents::Document;
use crate::args::Form;
use crate::client::diff::Change;
use crate::client::render::{self, Column};
use crate::exit::Failure;
use crate::out;

const COLUMNS: &[Column] =
    &[("KIND", "/kind"), ("ID", "/id"), ("OUTCOME", "/outcome"), ("CHANGES", "/changed"), ("NOTES", "/noted")];

/// What was done, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Created,
    Updated,
    Unchanged,
    Refused,
}

/// What came of one document.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Done {
    kind: &'static str,
    id: String,
    pub(super) outcome: Outcome,
    /// True where nothing was done.
    dry_run: bool,
    pub(super) changes: Vec<Change>,
    /// What else there is to say, and what could not be tried.
    pub(super) notes: Vec<String>,
    /// What its filter made of recent events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recent: Option<Value>,
}

impl Done {
    pub(super) fn new(document: &Document, dry_run: bool, outcome: Outcome) -> Self {
        let (kind, id) = (document.kind.as_str(), document.id.clone());
        Self { kind, id, outcome, dry_run, changes: Vec::new(), notes: Vec::new(), recent: None }
    }

    /// A document that would not be taken.
    pub(super) fn refused(document: &Document, why: &Failure) -> Self {
        Self { notes: vec![why.to_string()], ..Self::new(document, true, Outcome::Refused) }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let outcome = match (self.outcome, self.dry_run) {
            (Outcome::Created, false) => "created",
            (Outcome::Created, true) => "would be created",
            (Outcome::Updated, false) => "updated",
            (Outcome::Updated, true) => "would change",
            (Outcome::Unchanged, _) => "unchanged",
            (Outcome::Refused, _) => "would be refused",
        };
        let head = format!("{} {} {outcome}", self.kind, self.id);
        let changes = self.changes.iter().map(|change| format!("  {change}"));
        let got = self.got();
        let notes = self.notes.iter().chain(&got).map(|note| format!("  {}", note.replace('\n', "\n  ")));
        std::iter::once(head).chain(changes).chain(notes).collect()
    }

    fn got(&self) -> Option<String> {
        let recent = self.recent.as_ref()?;
        let number = |name: &str| recent.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (matched, events, failed) = (number("matched"), number("events"), number("matchErrors"));
        let failed = if failed == 0 { String::new() } else { format!(", its match fails for {failed}") };
        Some(format!("it would have got {matched} of the {events} most recent events{failed}"))
    }

    fn row(&self) -> Value {
        let changed: Vec<_> = self.changes.iter().map(|change| change.pointer.as_str()).collect();
        let or_none = |texts: String| if texts.is_empty() { Value::Null } else { texts.into() };
        let (changed, noted) = (or_none(changed.join(", ")), or_none(self.notes.join("; ")));
        json!({"kind": self.kind, "id": self.id, "outcome": self.outcome, "changed": changed, "noted": noted})
    }
}

/// Says each as it comes; a table, whose columns are as wide as they must be, at the end. That nobody reads it is no
/// reason to do less.
#[derive(Debug)]
pub(super) struct Report {
    form: Option<Form>,
    rows: Vec<Value>,
}

impl Report {
    pub(super) const fn new(form: Option<Form>) -> Self {
        Self { form, rows: Vec::new() }
    }

    pub(super) fn say(&mut self, done: &Done) -> Result<(), Failure> {
        match self.form {
            None => done.lines().iter().try_for_each(|line| out::line(line).map(drop))?,
            Some(Form::Table) => self.rows.push(done.row()),
            Some(form) => {
                let value = serde_json::to_value(done).map_err(|error| Failure::Failed(error.to_string()))?;
                render::all(form, &[], &[value])?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), Failure> {
        if self.form == Some(Form::Table) { render::all(Form::Table, COLUMNS, &self.rows) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::apply::documents::parse;

    #[test]
    fn what_was_done_and_what_would_be_is_told_apart() {
        let document = parse("subscription: {id: likes}").unwrap().remove(0);
        let first = |outcome, dry| Done::new(&document, dry, outcome).lines().remove(0);
        assert_eq!(first(Outcome::Created, false), "subscription likes created");
        assert_eq!(first(Outcome::Created, true), "subscription likes would be created");
        assert_eq!(first(Outcome::Updated, true), "subscription likes would change");
        assert_eq!([true, false].map(|dry| first(Outcome::Unchanged, dry)), ["subscription likes unchanged"; 2]);
        let mut done = Done::new(&document, false, Outcome::Updated);
        done.changes = vec![Change { pointer: "/lanes".to_owned(), from: Some(json!(1)), to: Some(json!(2)) }];
        done.notes = vec!["a note\nof two lines".to_owned()];
        done.recent = Some(json!({"events": 994, "matched": 121, "matchErrors": 3}));
        let got = "  it would have got 121 of the 994 most recent events, its match fails for 3";
        let said = ["subscription likes updated", "  /lanes: 1 -> 2", "  a note\n  of two lines", got];
        assert_eq!(done.lines(), said);
        assert_eq!(done.row()["changed"], "/lanes");
        let shown = serde_json::to_value(&done).unwrap();
        assert_eq!((&shown["outcome"], &shown["dryRun"]), (&json!("updated"), &json!(false)));
        assert_eq!(shown["changes"], json!([{"pointer": "/lanes", "from": 1, "to": 2}]));
    }
}
