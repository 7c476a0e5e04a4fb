//! What a person sees: lines that stay, and a row that is rewritten on a terminal.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

/// Standard output.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    /// The last thing written is a row, which the next thing replaces.
    row: Cell<bool>,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { terminal: stdout().is_terminal(), row: Cell::new(false) }
    }

    /// How often a row is worth showing.
    pub(super) fn pace(&self) -> Duration {
        Duration::from_secs(if self.terminal { 1 } else { 4 })
    }

    /// A line that stays.
    pub(super) fn say(&self, line: &str) {
        let clear = if self.row.replace(false) { "\r\x1b[2K" } else { "" };
        put(&format!("{clear}{line}\n"));
    }

    /// A line that the next row replaces, where there is a terminal.
    pub(super) fn row(&self, line: &str) {
        if self.terminal {
            self.row.set(true);
            put(&format!("\r\x1b[2K{line}"));
        } else {
            put(&format!("{line}\n"));
        }
    }

    /// Leaves the row that is there.
    pub(super) fn keep_row(&self) {
        if self.row.replace(false) {
            put("\n");
        }
    }
}

/// A screen that is gone is no reason to stop: the checks are made all the same.
fn put(text: &str) {
    let mut out = stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
