//! Resources as a person has asked for them: JSON, YAML, or a table.

use std::ops::ControlFlow;

use serde_json::Value;

use crate::args::Form;
use crate::exit::Failure;
use crate::out;

/// A column: what stands above it, and where its value is (RFC 6901).
pub(super) type Column = (&'static str, &'static str);

/// What is shown one by one, without an end that is known: records, and what an expression makes of them.
#[derive(Debug)]
pub(super) struct Stream {
    form: Form,
    /// Each as wide as it is at least, since what is still to come is not known.
    columns: &'static [(Column, usize)],
    begun: bool,
}

impl Stream {
    pub(super) const fn new(form: Form, columns: &'static [(Column, usize)]) -> Self {
        Self { form, columns, begun: false }
    }

    /// Shows one, JSON as it is; breaks once nobody reads any more.
    pub(super) fn item(&mut self, json: &str) -> Result<ControlFlow<()>, Failure> {
        if self.form == Form::Json {
            return out::line(json);
        }
        let value = serde_json::from_str(json);
        let value = value.map_err(|error| Failure::Failed(format!("the server's answer is not JSON: {error}")))?;
        if self.form == Form::Yaml {
            return out::line(yaml(&value)?);
        }
        if !self.begun {
            self.begun = true;
            if out::line(self.row(|(name, _)| name.to_owned()))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        out::line(self.row(|(_, pointer)| cell(value.pointer(pointer))))
    }

    fn row(&self, text: impl Fn(Column) -> String) -> String {
        let cells = self.columns.iter().map(|&(column, width)| format!("{:<width$}", text(column)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

/// Shows all of them; a table has these columns.
pub(super) fn all(form: Form, columns: &[Column], values: &[Value]) -> Result<(), Failure> {
    match form {
        Form::Json => values.iter().try_for_each(|value| {
            let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?;
            out::line(text).map(drop)
        }),
        Form::Yaml => values.iter().try_for_each(|value| out::line(yaml(value)?).map(drop)),
        Form::Table => table(columns, values).iter().try_for_each(|line| out::line(line).map(drop)),
    }
}

fn yaml(value: &Value) -> Result<String, Failure> {
    let text = serde_norway::to_string(value).map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(format!("---\n{}", text.trim_end()))
}

fn table(columns: &[Column], values: &[Value]) -> Vec<String> {
    let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let row = |value: &Value| columns.iter().map(|(_, pointer)| cell(value.pointer(pointer))).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(values.iter().map(row)).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// On one line, whatever it is.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.chars().map(|of| if of.is_control() { ' ' } else { of }).collect(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_a_line_each_and_columns_as_wide_as_they_must_be() {
        let values = [json!({"id": "a", "of": {"n": 1}}), json!({"id": "long\nname", "of": {"n": null}})];
        let lines = table(&[("ID", "/id"), ("N", "/of/n"), ("NONE", "/no")], &values);
        assert_eq!(lines, ["ID         N  NONE", "a          1  -", "long name  -  -"]);
        assert_eq!(table(&[("ID", "/id")], &[]), ["ID"]);
    }

    #[test]
    fn a_row_of_a_stream_is_as_wide_as_its_columns_are_at_least() {
        let stream = Stream::new(Form::Table, &[(("ID", "/id"), 4), (("VALUE", "/value"), 0)]);
        assert_eq!(stream.row(|(name, _)| name.to_owned()), "ID    VALUE");
        let value = json!({"id": "longer", "value": {"a": 1}});
        assert_eq!(stream.row(|(_, pointer)| cell(value.pointer(pointer))), r#"longer  {"a":1}"#);
    }
}
