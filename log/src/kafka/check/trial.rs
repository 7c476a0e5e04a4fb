//! One transaction on a topic and a group of its own, from their making to their end.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fpaas_core::{Clock, Offset, Timestamp, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message as _, Timestamp as Stamp};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset as At, TopicPartitionList};

use super::{Finding, Grade, Subject, blocking};
use crate::kafka::admin::Admin;
use crate::kafka::config::KafkaConfig;
use crate::kafka::context::{Quiet, Trouble};
use crate::kafka::error::{Failure, hint};
use crate::kafka::ffi::{self, GroupMetadata};
use crate::kafka::offsets::Stuck;
use crate::kafka::pace::Batches;
use crate::kafka::transaction::{Transactional, Undone};
use crate::{Append, Created, Error, Position, Record, Retention, TopicSpec};

/// Should the program be killed meanwhile, little is kept of what it leaves behind.
const KEPT: Duration = Duration::from_secs(3600);
/// How long joining and reading may take: a first group and a first transaction make the brokers' own topics.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a client is served at a time.
const POLL: Duration = Duration::from_millis(50);
/// How often a group that its last member has just left is asked to go.
const AGAIN: Duration = Duration::from_millis(200);
/// How often, and after how long, a broker that has not heard of a topic's setting yet is given another record.
const STAMPS: usize = 10;
const SETTING: Duration = Duration::from_millis(200);
/// How far apart clocks may be: retention goes by the receiver's time, and is the brokers' work.
const CLOCK_MS: i64 = 10_000;

/// What is made for it.
pub(super) struct Trial {
    config: KafkaConfig,
    admin: Arc<Admin>,
    clock: Arc<dyn Clock>,
    /// The topic, and the group.
    name: String,
}

type Tried<T> = Result<T, Box<Finding>>;

impl Trial {
    /// Whatever comes of it, what was made is removed.
    pub(super) async fn run(config: &KafkaConfig, admin: &Arc<Admin>, clock: Arc<dyn Clock>) -> Vec<Finding> {
        let Ok(number) = crate::kafka::random() else { return Vec::new() };
        let name = format!("{}.check-{number:016x}", config.prefix);
        let trial = Arc::new(Self { config: config.clone(), admin: Arc::clone(admin), clock, name });
        let spec = TopicSpec { retention: Retention { time: Some(KEPT), bytes: None }, ..TopicSpec::kept(1) };
        let mut findings = match trial.admin.create_topic(&trial.name, &spec).await {
            Ok(Created::New) => vec![Finding::right(Subject::Creating, format!("the topic {} was made", trial.name))],
            Ok(_) => vec![Finding::new(Subject::Creating, Grade::Wrong, format!("{} was there already", trial.name))],
            Err(error @ Error::Fatal(_)) => return vec![trial.not_made(&error)],
            Err(error) => vec![trial.not_made(&error)],
        };
        if findings.iter().all(|finding| finding.grade == Grade::Right) {
            let tried = Arc::clone(&trial);
            findings.extend(blocking(move || tried.used()).await.unwrap_or_default());
        }
        findings.push(trial.removed().await);
        findings
    }

    fn not_made(&self, error: &Error) -> Finding {
        Finding::new(Subject::Creating, Grade::Wrong, error.to_string()).advise(format!(
            "topics that begin with {}. must be made, described, altered and deleted by this user, with the settings that FPaaS gives them",
            self.config.prefix
        ))
    }

    /// Joins, commits, reads.
    fn used(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let member = match self.joined() {
            Ok((member, found)) => {
                findings.push(found);
                member
            }
            Err(failed) => return vec![*failed],
        };
        findings.extend(self.transaction(&member).unwrap_or_else(|failed| vec![*failed]));
        // Leaves, so that its group can go.
        drop(member);
        findings
    }

    fn joined(&self) -> Tried<(BaseConsumer<Quiet>, Finding)> {
        let trouble = Trouble::default();
        let mut config = self.config.member(&self.name, "check", "check");
        // A static member would be remembered until its session is over.
        config.remove("group.instance.id");
        let made: Result<BaseConsumer<Quiet>, _> = config.create_with_context(Quiet(trouble.clone()));
        let wrong = |failed: &Failure| Box::new(self.refused(Subject::Joining, "the group cannot be joined", failed));
        let member = made.map_err(|error| wrong(&Failure::from(error)))?;
        ffi::serve_tokens(member.client());
        member.subscribe(&[&self.name]).map_err(|error| wrong(&Failure::from(error)))?;
        let (began, mut last) = (Instant::now(), None);
        while member.assignment().map_or(0, |assigned| assigned.count()) == 0 {
            match member.poll(POLL) {
                Some(Err(error)) => last = Some(Failure::from(error)),
                _ if began.elapsed() < PATIENCE => {}
                _ => last = last.or_else(|| Some(Failure::of(Code::OperationTimedOut).saying(said(&trouble)))),
            }
            if let Some(failed) = last.as_ref().filter(|last| last.is_lasting() || began.elapsed() >= PATIENCE) {
                return Err(wrong(failed));
            }
        }
        let found = format!("a group was joined in {} ms", began.elapsed().as_millis());
        Ok((member, Finding::right(Subject::Joining, found)))
    }

    /// A record whose time is the broker's, and a position, in one transaction; both are read back.
    fn transaction(&self, member: &BaseConsumer<Quiet>) -> Tried<Vec<Finding>> {
        let wrong = |what: &str, failed: &Failure| Box::new(self.refused(Subject::Transaction, what, failed));
        let appended = [("message.timestamp.type", "LogAppendTime".to_owned())];
        ffi::alter_configs(self.admin.client.inner(), &self.name, &appended, self.config.request_wait)
            .map_err(|failed| wrong("the topic's settings cannot be changed", &failed))?;
        let began = Instant::now();
        let id = format!("{}.check", self.config.prefix);
        let producer = Transactional::open(&self.config, &id, Quiet(Trouble::default()), &Stuck::default())
            .map_err(|failed| wrong(&format!("the transactional id {id} cannot be used"), &failed))?;
        let at = TopicPartition::new(self.name.as_str(), 0);
        let group = || Failure::of(Code::UnknownMemberId).saying("the group has no member");
        let metadata = GroupMetadata::of(member.client()).ok_or_else(|| wrong("no transaction was begun", &group()))?;
        let record =
            Record { value: Some(Bytes::from_static(b"check")), timestamp: self.clock.now(), ..Record::default() };
        let append = Append { at: at.clone(), record };
        let positions = vec![(at.clone(), Position { offset: Offset(1), metadata: Bytes::from_static(b"check") })];
        let mut before = self.clock.now();
        let mut offsets = producer
            .commit(&[&append], Some((positions, metadata)), &Batches::default())
            .map_err(|undone| wrong("no transaction was committed", &why(undone)))?;
        let mut after = self.clock.now();
        let committed = began.elapsed();
        let mut stamp = self.read(&at, offsets.first().copied().unwrap_or_default())?;
        // A broker hears of the topic's new setting a little after it is made.
        for _ in 0..STAMPS {
            if matches!(stamp, Stamp::LogAppendTime(_)) {
                break;
            }
            thread::sleep(SETTING);
            before = self.clock.now();
            offsets = producer
                .commit(&[&append], None, &Batches::default())
                .map_err(|undone| wrong("no second transaction was committed", &why(undone)))?;
            after = self.clock.now();
            stamp = self.read(&at, offsets.first().copied().unwrap_or_default())?;
        }
        let position = self.admin.positions_now(&self.name, std::slice::from_ref(&at), true);
        match position {
            Ok(Some(found)) if matches!(found.as_slice(), [Some(position)] if position.offset == Offset(1)) => {}
            Ok(_) => return Err(wrong("the position is not there", &Failure::of(Code::NoOffset))),
            Err(failed) => return Err(wrong("the group's positions cannot be read", &failed)),
        }
        let found = format!("a record and a position were committed in {} ms, and read back", committed.as_millis());
        Ok(vec![Finding::right(Subject::Transaction, found), clock(stamp, before, after)])
    }

    /// The time at which the broker says that it appended the record.
    fn read(&self, at: &TopicPartition, offset: Offset) -> Tried<Stamp> {
        let wrong =
            |failed: &Failure| Box::new(self.refused(Subject::Transaction, "the record cannot be read", failed));
        let trouble = Trouble::default();
        let made: Result<BaseConsumer<Quiet>, _> = self.config.fetcher().create_with_context(Quiet(trouble.clone()));
        let consumer = made.map_err(|error| wrong(&Failure::from(error)))?;
        ffi::serve_tokens(consumer.client());
        let mut list = TopicPartitionList::with_capacity(1);
        let raw = At::Offset(i64::try_from(offset.0).unwrap_or(0));
        let added = list.add_partition_offset(&at.topic, 0, raw).and_then(|()| consumer.assign(&list));
        added.map_err(|error| wrong(&Failure::from(error)))?;
        let (began, mut last) = (Instant::now(), None);
        while began.elapsed() < PATIENCE {
            match consumer.poll(POLL) {
                Some(Ok(message)) => return Ok(message.timestamp()),
                Some(Err(error)) => last = Some(Failure::from(error)),
                None => {}
            }
            if let Some(failed) = last.as_ref().filter(|last| last.is_lasting()) {
                return Err(wrong(failed));
            }
        }
        Err(wrong(&last.unwrap_or_else(|| Failure::of(Code::OperationTimedOut).saying(said(&trouble)))))
    }

    fn refused(&self, subject: Subject, what: &str, failed: &Failure) -> Finding {
        let finding = Finding::new(subject, Grade::Wrong, format!("{what}: {failed}"));
        let advice = hint(failed.code).trim_start_matches("; ");
        let prefix = &self.config.prefix;
        match advice {
            "" => finding.advise(format!(
                "the user needs WRITE and DESCRIBE on topics and transactional ids, READ on topics and groups that begin with {prefix}."
            )),
            advice => finding.advise(advice),
        }
    }

    async fn removed(&self) -> Finding {
        let group = self.group_removed().await;
        let topic = self.admin.delete_topic(&self.name).await;
        let finding = |grade, found: String| Finding::new(Subject::CleaningUp, grade, found);
        match (topic, group) {
            (Ok(()), Ok(())) => Finding::right(Subject::CleaningUp, "what was made is removed"),
            (Ok(()), Err(failed)) => finding(Grade::Note, format!("the topic is removed; the group {} is not: {failed}", self.name))
                .advise("the brokers forget an empty group by themselves; FPaaS needs no right to remove one"),
            (Err(error), _) => finding(Grade::Wrong, format!("the topic {} is not removed: {error}", self.name)).advise(
                "delete it; topics of deleted subscriptions stay, too: give the right DELETE, and see delete.topic.enable",
            ),
        }
    }

    async fn group_removed(&self) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let asked = self.admin.client.delete_groups(&[&self.name], &self.admin.options()).await;
            let answer = asked.map_err(Failure::from)?.pop();
            match answer.and_then(Result::err).map(|(_, code)| code) {
                None | Some(Code::GroupIdNotFound) => return Ok(()),
                // Its member is on its way out.
                Some(Code::NonEmptyGroup) if began.elapsed() < PATIENCE => blocking(|| thread::sleep(AGAIN)).await,
                Some(code) => return Err(Failure::of(code)),
            };
        }
    }
}

fn why(undone: Undone) -> Failure {
    match undone {
        Undone::Record(_, code) | Undone::Stale(code) => Failure::of(code),
        Undone::Later(failed) | Undone::Never(failed) | Undone::Unknown(failed, _) => failed,
        Undone::Fenced => {
            Failure::of(Code::ProducerFenced).saying("another check of this prefix runs at the same time")
        }
        Undone::Redo => Failure::of(Code::Fail),
    }
}

fn said(trouble: &Trouble) -> String {
    trouble.last().unwrap_or_else(|| "no answer in time".to_owned())
}

/// The broker's clock showed `stamp` at some moment between these two of ours.
fn clock(stamp: Stamp, before: Timestamp, after: Timestamp) -> Finding {
    let Stamp::LogAppendTime(theirs) = stamp else {
        let found = "not compared: the broker does not say when it appended a record";
        return Finding::new(Subject::Clock, Grade::Note, found)
            .advise("compare the clocks by other means, such as NTP's");
    };
    let (early, late) = (before.as_millis() - theirs, theirs - after.as_millis());
    let unsure = after.as_millis() - before.as_millis();
    if early <= 0 && late <= 0 {
        return Finding::right(Subject::Clock, format!("no difference beyond the {unsure} ms that it took to ask"));
    }
    let (way, by) = if late > 0 { ("ahead of", late) } else { ("behind", early) };
    let found = format!("the broker's is {by} to {} ms {way} ours", by + unsure);
    if by < CLOCK_MS {
        return Finding::right(Subject::Clock, found);
    }
    Finding::new(Subject::Clock, Grade::Warning, found)
        .advise("records are kept by the time of their receipt here and removed by the brokers' clock: run NTP on both")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_differ_only_beyond_what_asking_took() {
        let at = Timestamp::from_millis;
        let grade = |theirs| clock(Stamp::LogAppendTime(theirs), at(100_000), at(100_050)).grade;
        assert_eq!([100_000, 100_050, 95_000, 105_000].map(grade), [Grade::Right; 4]);
        assert_eq!([90_000, 110_050].map(grade), [Grade::Warning; 2]);
        let said = |theirs| clock(Stamp::LogAppendTime(theirs), at(100_000), at(100_050)).found;
        assert_eq!(said(80_000), "the broker's is 20000 to 20050 ms behind ours");
        assert_eq!(said(120_050), "the broker's is 20000 to 20050 ms ahead of ours");
        assert_eq!(clock(Stamp::CreateTime(1), at(1), at(2)).grade, Grade::Note);
    }
}
