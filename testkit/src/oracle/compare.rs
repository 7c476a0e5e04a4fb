//! Expected against found, by event id: lost, doubled, foreign.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The ids shown of each kind of difference.
const SHOWN: usize = 5;

/// How what was found differs from what must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many must be there.
    pub expected: usize,
    /// How many are, doubles counted.
    pub found: usize,
    /// Expected and not found.
    pub lost: Vec<String>,
    /// Found more than once.
    pub doubled: Vec<String>,
    /// Found and not expected.
    pub foreign: Vec<String>,
}

impl Comparison {
    /// Compares.
    pub fn of(expected: &BTreeSet<String>, found: impl IntoIterator<Item = String>) -> Self {
        let mut times = BTreeMap::new();
        for id in found {
            *times.entry(id).or_insert(0usize) += 1;
        }
        let ids = |keep: &dyn Fn(&str, usize) -> bool| -> Vec<String> {
            times.iter().filter(|(id, times)| keep(id, **times)).map(|(id, _)| id.clone()).collect()
        };
        Self {
            expected: expected.len(),
            found: times.values().sum(),
            lost: expected.iter().filter(|id| !times.contains_key(*id)).cloned().collect(),
            doubled: ids(&|_, times| times > 1),
            foreign: ids(&|id, _| !expected.contains(id)),
        }
    }

    /// Nothing lost, nothing doubled, nothing foreign.
    pub fn exact(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.foreign.is_empty()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} expected, {} found, ", self.expected, self.found)?;
        write!(f, "{} lost, {} doubled", self.lost.len(), self.doubled.len())?;
        if !self.foreign.is_empty() {
            write!(f, ", {} foreign", self.foreign.len())?;
        }
        for (what, ids) in [("lost", &self.lost), ("doubled", &self.doubled), ("foreign", &self.foreign)] {
            for id in ids.iter().take(SHOWN) {
                write!(f, "\n  {what}: {id}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(expected: &[&str], found: &[&str]) -> String {
        let expected = expected.iter().map(|id| (*id).to_owned()).collect();
        Comparison::of(&expected, found.iter().map(|id| (*id).to_owned())).to_string()
    }

    #[test]
    fn every_difference_has_its_name() {
        assert_eq!(of(&["a", "b"], &["b", "a"]), "2 expected, 2 found, 0 lost, 0 doubled");
        assert_eq!(of(&["a", "b"], &["b", "b"]), "2 expected, 2 found, 1 lost, 1 doubled\n  lost: a\n  doubled: b");
        assert_eq!(of(&["a"], &["a", "x"]), "1 expected, 2 found, 0 lost, 0 doubled, 1 foreign\n  foreign: x");
    }
}
