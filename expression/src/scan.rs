//! Looks at an expression before it is parsed: the parser and everything that walks its tree recurse, so what could
//! run out of stack is refused here. Sees text only; what is inside quotes does not count.

use std::iter::Peekable;
use std::str::CharIndices;

use fpaas_core::limits;

use crate::ExpressionError;

/// What makes the tree deep: brackets nest, prefixes and projections recurse one by one, and chains of other
/// operators (`a.b.c`, `a || b || c`) lean to the left.
#[derive(Debug, Default)]
struct Depth {
    brackets: usize,
    recursions: usize,
    operators: usize,
}

/// Refuses what is too long or too deep.
pub(crate) fn check(text: &str) -> Result<(), ExpressionError> {
    if text.len() > limits::EXPRESSION_BYTES_MAX {
        let message = format!("must be at most {} bytes", limits::EXPRESSION_BYTES_MAX);
        return Err(ExpressionError::new(limits::EXPRESSION_BYTES_MAX, message));
    }
    let mut depth = Depth::default();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' | '"' | '`' => skip_quoted(&mut characters, character),
            _ => depth.count(character, characters.peek().map(|(_, next)| *next)),
        }
        depth.check(at)?;
    }
    Ok(())
}

/// As the lexer does: a backslash takes the next character with it.
fn skip_quoted(characters: &mut Peekable<CharIndices<'_>>, quote: char) {
    while let Some((_, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            _ if character == quote => return,
            _ => {}
        }
    }
}

impl Depth {
    fn count(&mut self, character: char, next: Option<char>) {
        match character {
            '(' | '{' => self.brackets += 1,
            '[' => {
                self.brackets += 1;
                self.recursions += 1;
            }
            ')' | ']' | '}' => self.brackets = self.brackets.saturating_sub(1),
            '!' if next != Some('=') => self.recursions += 1,
            '*' | '&' => self.recursions += 1,
            _ => {}
        }
        if "([{.!&|*<>=".contains(character) {
            self.operators += 1;
        }
    }

    fn check(&self, at: usize) -> Result<(), ExpressionError> {
        let bounds = [
            (self.brackets, limits::EXPRESSION_DEPTH_MAX, "nests deeper than"),
            (self.recursions, limits::EXPRESSION_RECURSIONS_MAX, "has more [, *, ! and & than"),
            (self.operators, limits::EXPRESSION_OPERATORS_MAX, "has more operator characters than"),
        ];
        match bounds.into_iter().find(|(count, most, _)| count > most) {
            Some((_, most, what)) => Err(ExpressionError::new(at, format!("the expression {what} {most}"))),
            None => Ok(()),
        }
    }
}
