//! The answers that were given, by `webhook-id`: a repeated call gets the one it had.
//!
//! In memory, so this receiver forgets at its end. One that does something outside of its answer (writes a row, sends a
//! mail) keeps the ids where that is kept, in the same transaction.

use std::collections::{HashMap, VecDeque};

/// How many are remembered: retries come within minutes.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Answers {
    by_id: HashMap<String, String>,
    order: VecDeque<String>,
}

impl Answers {
    pub(crate) fn get(&self, id: &str) -> Option<&str> {
        self.by_id.get(id).map(String::as_str)
    }

    /// Remembers one; the oldest makes room.
    pub(crate) fn put(&mut self, id: &str, answer: &str) {
        if self.by_id.insert(id.to_owned(), answer.to_owned()).is_none() {
            self.order.push_back(id.to_owned());
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let mut answers = Answers::default();
        (0..=REMEMBERED_MAX).for_each(|id| answers.put(&id.to_string(), "x"));
        assert_eq!((answers.get("0"), answers.get("1")), (None, Some("x")));
        assert_eq!(answers.by_id.len(), answers.order.len());
    }
}
