//! What the receiver was called with, from its journal: one JSON object per call.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Call {
    pub(super) id: String,
    sha256: String,
    signed: bool,
    pub(super) status: u16,
    /// The ids of its events.
    #[serde(default)]
    events: Vec<String>,
}

impl Call {
    /// A line of the receiver's output, if it is a call.
    pub(super) fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

/// All calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls(Vec<Call>);

impl Calls {
    pub(super) fn of(lines: &[String]) -> Self {
        Self(lines.iter().filter_map(|line| Call::parse(line)).collect())
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Distinct ids.
    pub(super) fn batches(&self) -> usize {
        self.by_id().len()
    }

    /// Ids that were called more than once.
    pub(super) fn repeated(&self) -> usize {
        self.by_id().values().filter(|calls| calls.len() > 1).count()
    }

    /// Every call of an id had the same bytes.
    pub(super) fn repeats_are_the_same(&self) -> bool {
        let digests = |calls: &Vec<&Call>| calls.iter().map(|call| &call.sha256).collect::<BTreeSet<_>>().len();
        // A batch that was formed anew would come under another id.
        let mut owners = BTreeMap::new();
        let mut owned = |call: &Call| {
            call.events.iter().all(|event| *owners.entry(event.clone()).or_insert_with(|| call.id.clone()) == call.id)
        };
        self.by_id().values().all(|calls| digests(calls) == 1) && self.0.iter().all(&mut owned)
    }

    pub(super) fn all_signed(&self) -> bool {
        self.0.iter().all(|call| call.signed && !call.id.is_empty())
    }

    /// Calls that were answered so.
    pub(super) fn answered(&self, status: u16) -> usize {
        self.0.iter().filter(|call| call.status == status).count()
    }

    fn by_id(&self) -> BTreeMap<&str, Vec<&Call>> {
        let mut by_id: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
        for call in &self.0 {
            by_id.entry(&call.id).or_default().push(call);
        }
        by_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, digest: &str, signed: bool, status: u16) -> String {
        serde_json::json!({"id": id, "sha256": digest, "signed": signed, "status": status, "events": []}).to_string()
    }

    #[test]
    fn repeats_are_told_from_doubles_and_forgeries() {
        let good = [
            line("a", "1", true, 503),
            "receiver is up".to_owned(),
            line("a", "1", true, 200),
            line("b", "2", true, 200),
        ];
        let calls = Calls::of(&good);
        assert_eq!((calls.count(), calls.batches(), calls.repeated(), calls.answered(503)), (3, 2, 1, 1));
        assert!(calls.repeats_are_the_same() && calls.all_signed());
        assert!(!Calls::of(&[line("a", "1", true, 200), line("a", "2", true, 200)]).repeats_are_the_same());
        assert!(!Calls::of(&[line("a", "1", false, 401)]).all_signed());
    }
}
