//! Resources as a person has asked for them: JSON, YAML, or a table.

use serde_json::Value;

use crate::args::Form;
use crate::exit::Failure;
use crate::out;

/// A column: what stands above it, and where its value is (RFC 6901).
pub(super) type Column = (&'static str, &'static str);

/// Shows all of them; a table has these columns.
pub(super) fn all(form: Form, columns: &[Column], values: &[Value]) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    match form {
        Form::Json => values.iter().try_for_each(|value| {
            out::line(serde_json::to_string_pretty(value).map_err(|error| failed(&error))?).map(drop)
        }),
        Form::Yaml => values.iter().try_for_each(|value| {
            let text = serde_norway::to_string(value).map_err(|error| failed(&error))?;
            out::line(format_args!("---\n{}", text.trim_end())).map(drop)
        }),
        Form::Table => table(columns, values).iter().try_for_each(|line| out::line(line).map(drop)),
    }
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
}
