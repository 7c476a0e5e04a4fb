//! Which versions of which requests a cluster's brokers answer, and whether they are enough.
//!
//! librdkafka asks each broker (ApiVersions) and keeps the answer to itself: it leaves out what a broker does not know,
//! stable positions too, and exactly-once would be gone in silence. It only tells its log (`debug=feature`), which is
//! read here.

use std::collections::HashMap;

/// A request's number, the version of it that is needed, and its name: KIP-447 (positions in a transaction, read
/// stably), KIP-360 (a producer that recovers), KIP-345 (static members), KIP-339 (single settings).
const NEEDED: [(i16, i16, &str); 5] = [
    (28, 3, "TxnOffsetCommit"),
    (9, 7, "OffsetFetch"),
    (22, 3, "InitProducerId"),
    (11, 5, "JoinGroup"),
    (44, 0, "IncrementalAlterConfigs"),
];

/// What a version of Kafka brought: the newest that all brokers have names it.
const BROUGHT: [(i16, i16, &str); 5] = [(26, 5, "4.0"), (65, 0, "3.0"), (28, 3, "2.5"), (11, 5, "2.3"), (36, 0, "1.0")];

/// The highest version of each request that every broker asked so far answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Versions(HashMap<i16, i16>);

impl Versions {
    /// A line of librdkafka's log: `…ApiKey Produce (0) Versions 0..13`. Any other is none.
    pub(super) fn note(&mut self, line: &str) {
        if let Some((request, highest)) = read(line) {
            self.0.entry(request).and_modify(|known| *known = highest.min(*known)).or_insert(highest);
        }
    }

    /// True until a broker has said something.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, request: i16, version: i16) -> bool {
        self.0.get(&request).is_some_and(|highest| *highest >= version)
    }

    /// What is too old, or nothing.
    pub(super) fn missing(&self) -> Option<String> {
        let missing: Vec<_> = NEEDED.iter().filter(|(request, version, _)| !self.has(*request, *version)).collect();
        let named = missing.iter().map(|(request, version, name)| match self.0.get(request) {
            Some(highest) => format!("{name} {highest} instead of {version}"),
            None => format!("no {name}"),
        });
        (!missing.is_empty()).then(|| named.collect::<Vec<_>>().join(", "))
    }

    /// The version of Kafka that the oldest of the brokers has at least.
    pub(super) fn kafka(&self) -> &'static str {
        let newest = BROUGHT.iter().find(|(request, version, _)| self.has(*request, *version));
        newest.map_or("0.10", |(_, _, kafka)| kafka)
    }
}

fn read(line: &str) -> Option<(i16, i16)> {
    let (_, rest) = line.split_once("ApiKey ")?;
    let (_, rest) = rest.split_once('(')?;
    let (request, rest) = rest.split_once(") Versions ")?;
    let (_, highest) = rest.split_once("..")?;
    Some((request.parse().ok()?, highest.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[(&str, i16, i16)]) -> Versions {
        let mut versions = Versions::default();
        for (name, request, highest) in lines {
            versions.note(&format!("[thrd:h:1/1]: h:1/1:   ApiKey {name} ({request}) Versions 0..{highest}"));
        }
        versions
    }

    #[test]
    fn the_oldest_broker_says_what_all_of_them_can() {
        let new = [("TxnOffsetCommit", 28, 5), ("OffsetFetch", 9, 9), ("InitProducerId", 22, 5), ("JoinGroup", 11, 9)];
        let all = [&new[..], &[("IncrementalAlterConfigs", 44, 1), ("EndTxn", 26, 5)]].concat();
        assert_eq!((heard(&all).missing(), heard(&all).kafka()), (None, "4.0"));
        let older = heard(&[&all[..], &[("EndTxn", 26, 3)]].concat());
        assert_eq!((older.missing(), older.kafka()), (None, "2.5"));
        let old = heard(&[&all[..], &[("OffsetFetch", 9, 6), ("TxnOffsetCommit", 28, 2), ("EndTxn", 26, 1)]].concat());
        assert_eq!(old.missing().unwrap(), "TxnOffsetCommit 2 instead of 3, OffsetFetch 6 instead of 7");
        assert_eq!(old.kafka(), "2.3");
        let unheard = Versions::default();
        assert!(unheard.is_empty() && unheard.missing().unwrap().contains("no JoinGroup"));
    }

    #[test]
    fn other_lines_say_nothing() {
        let mut versions = Versions::default();
        for line in ["Broker API support:", "ApiKey ", "ApiKey X (a) Versions 1..2", "ApiKey X (1) Versions 1..x"] {
            versions.note(line);
        }
        assert!(versions.is_empty());
    }
}
