//! What the brokers' settings mean for FPaaS. Pure: settings in, findings out.

use std::collections::HashMap;

use fpaas_core::limits;
use rdkafka::admin::ConfigResource;

use super::{Finding, Grade, Subject};
use crate::kafka::config::{RECORD_MARGIN, TRANSACTION_TIMEOUT};

/// Positions are committed again at least daily.
const RENEWED_MINUTES: i64 = 24 * 60;
/// A member's session (`KafkaConfig::session`).
const SESSION_MS: i64 = 10_000;

/// A broker's settings, those that it tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings(HashMap<String, String>);

impl Settings {
    pub(super) fn of(resource: &ConfigResource) -> Self {
        let told = resource.entries.iter();
        Self(told.filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?))).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    fn is(&self, name: &str) -> Option<bool> {
        self.text(name)?.parse().ok()
    }
}

/// Of each subject the worst that is found at any of the brokers, which is named where they differ.
pub(super) fn judged(settings: &[(i32, Settings)], brokers: usize) -> Vec<Finding> {
    let mut worst: Vec<(i32, Finding)> = Vec::new();
    let mut differ = Vec::new();
    for (id, of_one) in settings {
        for finding in judge(of_one, brokers) {
            match worst.iter_mut().find(|(_, known)| known.subject == finding.subject) {
                None => worst.push((*id, finding)),
                Some(known) if known.1 == finding => {}
                Some(known) => {
                    differ.push(finding.subject);
                    if finding.grade > known.1.grade {
                        *known = (*id, finding);
                    }
                }
            }
        }
    }
    let named = worst.into_iter().map(|(id, finding)| match differ.contains(&finding.subject) {
        true => Finding { found: format!("{} (at broker {id}; the brokers differ)", finding.found), ..finding },
        false => finding,
    });
    named.collect()
}

fn judge(settings: &Settings, brokers: usize) -> Vec<Finding> {
    let brokers = i64::try_from(brokers).unwrap_or(i64::MAX);
    let found = [
        replication(settings, brokers),
        internals(settings, brokers),
        sessions(settings),
        positions(settings),
        timeout(settings),
        records(settings),
        auto_creation(settings),
    ];
    found.into_iter().flatten().collect()
}

fn replication(settings: &Settings, brokers: i64) -> Option<Finding> {
    let copies = settings.number("default.replication.factor")?;
    let present = settings.number("min.insync.replicas").unwrap_or(1);
    let found = format!("new topics get {copies} of {brokers} copies, {present} of which must be there to write");
    let warn = |advice: &str| Finding::new(Subject::Replication, Grade::Warning, found.clone()).advise(advice);
    let wrong = |advice: &str| Finding::new(Subject::Replication, Grade::Wrong, found.clone()).advise(advice);
    Some(if copies > brokers {
        let found = format!("new topics get {copies} copies, and there are {brokers} brokers");
        Finding::new(Subject::Replication, Grade::Wrong, found)
            .advise("start those that are down, or set the brokers' default.replication.factor to what there are")
    } else if present > copies {
        wrong("set the brokers' min.insync.replicas below default.replication.factor: nothing can be written as it is")
    } else if copies == 1 {
        warn("a lost disk is a lost topic: for more than a try-out, three brokers with default.replication.factor 3")
    } else if present == copies {
        warn("one broker that is down stops all writing: set min.insync.replicas one below default.replication.factor")
    } else if present == 1 {
        warn("a record that one broker has is taken for safe: set the brokers' min.insync.replicas to 2")
    } else {
        Finding::right(Subject::Replication, found)
    })
}

/// The topics in which transactions and positions are kept.
fn internals(settings: &Settings, brokers: i64) -> Option<Finding> {
    let transactions = settings.number("transaction.state.log.replication.factor")?;
    let present = settings.number("transaction.state.log.min.isr")?;
    let offsets = settings.number("offsets.topic.replication.factor")?;
    let found = format!(
        "{transactions} copies of transactions, {present} of which must be there, {offsets} copies of positions"
    );
    let finding = |grade| Finding::new(Subject::Internals, grade, found.clone());
    Some(if present > transactions {
        finding(Grade::Wrong).advise("set transaction.state.log.min.isr below transaction.state.log.replication.factor")
    } else if transactions > brokers || offsets > brokers {
        finding(Grade::Warning).advise(
            "more copies than brokers: unless these topics are there already, set transaction.state.log.replication.factor \
             and offsets.topic.replication.factor to no more than there are brokers",
        )
    } else if brokers > 1 && (transactions < 3.min(brokers) || offsets < 3.min(brokers)) {
        finding(Grade::Warning).advise(
            "set transaction.state.log.replication.factor and offsets.topic.replication.factor to 3 before the first use",
        )
    } else {
        Finding::right(Subject::Internals, found)
    })
}

fn sessions(settings: &Settings) -> Option<Finding> {
    let (least, most) =
        (settings.number("group.min.session.timeout.ms")?, settings.number("group.max.session.timeout.ms")?);
    let found = format!("members may be silent for {least} to {most} ms, and FPaaS asks for {SESSION_MS}");
    Some(match (least..=most).contains(&SESSION_MS) {
        true => Finding::right(Subject::Sessions, found),
        false => Finding::new(Subject::Sessions, Grade::Wrong, found).advise(format!(
            "set the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms so that {SESSION_MS} is between"
        )),
    })
}

fn positions(settings: &Settings) -> Option<Finding> {
    let minutes = settings.number("offsets.retention.minutes")?;
    let found = format!("kept for {minutes} minutes ({} days) where no member renews them", minutes / RENEWED_MINUTES);
    let finding = |grade| {
        Finding::new(Subject::Positions, grade, found.clone()).advise(
            "FPaaS renews them daily, and a node that is off for longer loses its place: set the brokers' \
             offsets.retention.minutes to 10080 (7 days) or more",
        )
    };
    Some(match minutes {
        ..=RENEWED_MINUTES => finding(Grade::Wrong),
        minutes if minutes < 2 * RENEWED_MINUTES => finding(Grade::Warning),
        _ => Finding::right(Subject::Positions, found),
    })
}

fn timeout(settings: &Settings) -> Option<Finding> {
    let most = settings.number("transaction.max.timeout.ms")?;
    let wanted = i64::try_from(TRANSACTION_TIMEOUT.as_millis()).unwrap_or(i64::MAX);
    let found = format!("a transaction may take {most} ms, and FPaaS asks for {wanted}");
    Some(match most >= wanted {
        true => Finding::right(Subject::Timeout, found),
        false => Finding::new(Subject::Timeout, Grade::Wrong, found)
            .advise(format!("set the brokers' transaction.max.timeout.ms to {wanted} or more")),
    })
}

/// `message.max.bytes` counts only where a topic does not say: ours do.
fn records(settings: &Settings) -> Option<Finding> {
    let (request, largest) = (settings.number("socket.request.max.bytes")?, settings.number("message.max.bytes")?);
    let ours = i64::try_from(limits::RECORD_BYTES_MAX + RECORD_MARGIN).unwrap_or(i64::MAX);
    let found = format!("{ours} bytes at most in our topics, {largest} in others, {request} in a request");
    Some(match request > ours {
        true => Finding::right(Subject::Records, found),
        false => Finding::new(Subject::Records, Grade::Wrong, found)
            .advise(format!("set the brokers' socket.request.max.bytes above {ours}")),
    })
}

fn auto_creation(settings: &Settings) -> Option<Finding> {
    let on = settings.is("auto.create.topics.enable")?;
    let (state, grade) = if on { ("on", Grade::Note) } else { ("off", Grade::Right) };
    let finding = Finding::new(Subject::AutoCreation, grade, format!("{state}: FPaaS makes its topics by itself"));
    let advice = "a mistyped topic of another client is made in silence: auto.create.topics.enable may be false";
    Some(if on { finding.advise(advice) } else { finding })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a cluster of three should be.
    const GOOD: [(&str, &str); 12] = [
        ("default.replication.factor", "3"),
        ("min.insync.replicas", "2"),
        ("transaction.state.log.replication.factor", "3"),
        ("transaction.state.log.min.isr", "2"),
        ("offsets.topic.replication.factor", "3"),
        ("group.min.session.timeout.ms", "6000"),
        ("group.max.session.timeout.ms", "1800000"),
        ("offsets.retention.minutes", "10080"),
        ("transaction.max.timeout.ms", "900000"),
        ("auto.create.topics.enable", "false"),
        ("socket.request.max.bytes", "104857600"),
        ("message.max.bytes", "1048588"),
    ];

    fn with(changes: &[(&str, &str)]) -> Settings {
        Settings(GOOD.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn grade(subject: Subject, brokers: usize, changes: &[(&str, &str)]) -> Grade {
        let findings = judged(&[(1, with(changes))], brokers);
        let of: Vec<_> = findings.iter().filter(|finding| finding.subject == subject).collect();
        assert_eq!(of.len(), 1, "{findings:?}");
        assert_eq!(of[0].grade == Grade::Right, of[0].advice.is_none(), "{findings:?}");
        of[0].grade
    }

    #[test]
    fn each_setting_is_judged_by_what_fpaas_counts_on() {
        assert!(judged(&[(1, with(&[]))], 3).iter().all(|finding| finding.grade == Grade::Right));
        let of = grade;
        use Grade::{Note, Right, Warning, Wrong};
        use Subject::{AutoCreation, Internals, Positions, Records, Replication, Sessions, Timeout};
        for (subject, brokers, name, value, grade) in [
            (Replication, 3, "default.replication.factor", "1", Wrong),
            (Replication, 2, "default.replication.factor", "3", Wrong),
            (Replication, 3, "min.insync.replicas", "3", Warning),
            (Replication, 3, "min.insync.replicas", "1", Warning),
            (Internals, 3, "transaction.state.log.min.isr", "4", Wrong),
            (Internals, 3, "offsets.topic.replication.factor", "1", Warning),
            (Internals, 1, "offsets.topic.replication.factor", "1", Warning),
            (Sessions, 3, "group.min.session.timeout.ms", "10001", Wrong),
            (Sessions, 3, "group.max.session.timeout.ms", "9999", Wrong),
            (Sessions, 3, "group.max.session.timeout.ms", "10000", Right),
            (Positions, 3, "offsets.retention.minutes", "1440", Wrong),
            (Positions, 3, "offsets.retention.minutes", "2879", Warning),
            (Positions, 3, "offsets.retention.minutes", "2880", Right),
            (Timeout, 3, "transaction.max.timeout.ms", "7999", Wrong),
            (Timeout, 3, "transaction.max.timeout.ms", "8000", Right),
            (Records, 3, "socket.request.max.bytes", "8000000", Wrong),
            (AutoCreation, 3, "auto.create.topics.enable", "true", Note),
        ] {
            assert_eq!(of(subject, brokers, &[(name, value)]), grade, "{name}={value} on {brokers}");
        }
        let alone = [("default.replication.factor", "1"), ("min.insync.replicas", "1")];
        assert_eq!(of(Replication, 1, &alone), Warning);
    }

    #[test]
    fn what_is_not_told_is_not_judged_and_the_worst_broker_counts() {
        assert_eq!(judged(&[(1, Settings::default())], 3), []);
        let two = [(1, with(&[])), (2, with(&[("transaction.max.timeout.ms", "1")])), (3, with(&[]))];
        let found = judged(&two, 3);
        let wrong: Vec<_> = found.iter().filter(|finding| finding.grade == Grade::Wrong).collect();
        assert_eq!((found.len(), wrong.len()), (7, 1));
        assert!(wrong[0].found.ends_with("(at broker 2; the brokers differ)"), "{wrong:?}");
    }
}
