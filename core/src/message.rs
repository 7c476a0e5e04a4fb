//! A sentence for people about how something ended: on one line and of a bounded length, whatever it was made of.
//!
//! Parts of it are what an endpoint answered or a log said. It stands in `/status` and in the headers of every dead
//! letter of a batch, so that there is no other way to make one than to cut it. Does not own what it says: whoever
//! makes it keeps secrets out. Invariant: bounded.

use std::fmt::{self, Write};
use std::ops::Deref;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits;

/// Stands for what was cut off.
const CUT: char = '…';

/// At most `limits::FAILURE_MESSAGE_BYTES_MAX`, without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Message(String);

impl Message {
    /// What `text` shows. It is asked for no more than is kept, so that a long one costs nothing.
    pub fn new(text: impl fmt::Display) -> Self {
        let mut line = Line(String::new());
        if write!(line, "{text}").is_err() {
            line.0.push(CUT);
        }
        Self(line.0)
    }
}

/// As if it were made of what was written.
impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::new(String::deserialize(from)?))
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl Deref for Message {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes what fits beside [`CUT`], and then no more.
struct Line(String);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| self.write_char(character))
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        // A line break or an escape sequence would forge lines on a terminal and in a log.
        let character = if character.is_control() { ' ' } else { character };
        let room = limits::FAILURE_MESSAGE_BYTES_MAX - CUT.len_utf8();
        if self.0.len() + character.len_utf8() > room {
            return Err(fmt::Error);
        }
        self.0.push(character);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = limits::FAILURE_MESSAGE_BYTES_MAX - CUT.len_utf8();

    #[test]
    fn a_long_one_is_cut_between_characters_and_shows_it() {
        let cut = Message::new("x".repeat(1_000_000));
        assert_eq!(*cut, ["x".repeat(MOST), "…".to_owned()].concat());
        let odd = Message::new(format_args!("x{}", "é".repeat(1_000_000)));
        assert!(
            odd.ends_with("é…") && (MOST..=limits::FAILURE_MESSAGE_BYTES_MAX).contains(&odd.len()),
            "{}",
            odd.len()
        );
        assert_eq!(*Message::new("x".repeat(MOST)), "x".repeat(MOST));
    }

    #[test]
    fn it_is_one_line_without_escapes() {
        assert_eq!(*Message::from("a\r\nb\u{1b}[31m\u{85}\0é"), *"a  b [31m  é");
    }
}
