//! Topics, offsets and groups' positions, asked of the brokers. Keeps what topics look like for a moment, so that a
//! commit does not ask for it each time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fpaas_core::{Offset, Timestamp, TopicPartition, limits};
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigEntry, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::Client;
use rdkafka::groups::GroupMemberInfo;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::Semaphore;

use super::believed::Believed;
use super::bootstrap::Bootstrap;
use super::config::{KafkaConfig, RECORD_MARGIN};
use super::context::{Quiet, Trouble};
use super::coordinators::Coordinators;
use super::ends::END;
use super::error::{Failure, no_such};
use super::ffi;
use super::ghost::Described;
use super::promised::Promised;
use super::rights::Denied;
use super::unheld;
use crate::{Created, Error, Position, Result, Retention, TopicSpec};

/// How long what the client has to say is waited for at a time.
const LISTEN: Duration = Duration::from_millis(500);
/// How long brokers may take until they serve a topic that was made: a hundred partitions with three copies each are
/// some work for a small cluster.
const MADE_WITHIN: Duration = Duration::from_secs(60);
/// How often something that is on its way is looked for.
const LOOK: Duration = Duration::from_millis(10);
/// So many questions may wait for an answer at a time: each holds a thread.
const ASKED_AT_ONCE: usize = 64;

/// See the module's head. Its calls block a thread of tokio's pool for blocking work, never one of its own.
pub(super) struct Admin {
    pub(super) client: Arc<AdminClient<Quiet>>,
    coordinators: Coordinators,
    config: KafkaConfig,
    pub(super) believed: Believed,
    pub(super) promised: Promised,
    pub(super) denied: Denied,
    turns: Semaphore,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("brokers", &self.config.brokers).finish_non_exhaustive()
    }
}

impl Admin {
    pub(super) fn open(config: &KafkaConfig, trouble: &Trouble) -> Result<Arc<Self>> {
        let client: Result<AdminClient<Quiet>, _> = config.admin().create_with_context(Quiet(trouble.clone()));
        let client = client.map_err(|error| Error::Fatal(format!("Kafka: {}", Failure::from(error))))?;
        let client = Arc::new(client);
        ffi::serve_tokens(client.inner());
        listen(&client, Bootstrap::new(&config.brokers))?;
        let coordinators = Coordinators::new(config, trouble);
        Ok(Arc::new(Self {
            client,
            coordinators,
            config: config.clone(),
            believed: Believed::default(),
            promised: Promised::default(),
            denied: Denied::default(),
            turns: Semaphore::new(ASKED_AT_ONCE),
        }))
    }

    pub(super) fn native(&self) -> &Client<Quiet> {
        self.client.inner()
    }

    pub(super) const fn request_wait(&self) -> Duration {
        self.config.request_wait
    }

    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let admin = Arc::clone(self);
        // Each takes a thread while it is waited for. Nobody closes it.
        let _turn = self.turns.acquire().await.ok();
        let asked = tokio::task::spawn_blocking(move || ask(&admin)).await;
        asked.unwrap_or_else(|error| Err(Failure::of(Code::Fail).saying(error.to_string())))
    }

    pub(super) fn options(&self) -> AdminOptions {
        let wait = self.config.request_wait;
        AdminOptions::new().request_timeout(Some(wait)).operation_timeout(Some(wait))
    }

    pub(super) async fn create_topic(self: &Arc<Self>, topic: &str, spec: &TopicSpec) -> Result<Created> {
        if let Some(found) = self.describe_topic(topic).await? {
            return Ok(compare(spec, found));
        }
        let settings = settings(spec);
        let copies = TopicReplication::Fixed(self.config.replication.unwrap_or(-1));
        let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
        let new = NewTopic::new(topic, partitions, copies);
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        let answer = self.client.create_topics([&new], &self.options()).await;
        match answer.map_err(Failure::from).map_err(|failed| failed.of_cluster())?.pop() {
            Some(Err((_, Code::TopicAlreadyExists))) => {
                let found = self.until_there(topic).await?;
                Ok(compare(spec, found))
            }
            Some(Err((_, code))) => {
                Err(Failure::of(code).saying(format!("the topic cannot be made: {code}")).on(topic))
            }
            _ => {
                let made = self.until_there(topic).await?;
                self.until_led(topic, made.partitions).await?;
                Ok(Created::New)
            }
        }
    }

    /// A leader that is named may not know it yet: it refuses until it does.
    async fn until_led(self: &Arc<Self>, topic: &str, partitions: u32) -> Result<()> {
        let all: Vec<_> = (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
        let began = Instant::now();
        loop {
            let asked = all.clone();
            let answers = self.blocking(move |admin| {
                let wanted: Vec<_> = asked.iter().map(|at| (at, END)).collect();
                ffi::list_offsets(admin.client.inner(), &wanted, true, admin.config.request_wait)
            });
            let why = match answers.await.map(|answers| answers.into_values().find_map(Result::err)) {
                Ok(None) => return Ok(()),
                Ok(Some(code)) => Failure::of(code),
                Err(failed) => failed,
            };
            if began.elapsed() > MADE_WITHIN {
                return Err(Error::Retry(format!("{topic}: made, and its leaders do not serve it yet ({why})")));
            }
            tokio::time::sleep(LOOK).await;
            // librdkafka goes on asking the leader that it knows: another one may have been elected.
            drop(self.partitions(topic).await);
        }
    }

    /// A topic that was made a moment ago is known to every broker a little later.
    async fn until_there(self: &Arc<Self>, topic: &str) -> Result<TopicSpec> {
        let began = Instant::now();
        loop {
            match self.describe_topic(topic).await {
                Ok(Some(spec)) => return Ok(spec),
                Ok(None) | Err(Error::Retry(_)) => {}
                Err(error) => return Err(error),
            }
            if began.elapsed() > MADE_WITHIN {
                return Err(Error::Retry(format!("{topic}: made, and not known to all brokers yet")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) async fn alter_topic(self: &Arc<Self>, topic: &str, retention: &Retention) -> Result<()> {
        let Some(spec) = self.describe_topic(topic).await? else { return Err(Error::NoSuchTopic(topic.to_owned())) };
        if spec.retention == *retention {
            return Ok(());
        }
        let (name, changes) = (topic.to_owned(), kept(retention));
        let altered = self.blocking(move |admin| {
            ffi::alter_configs(admin.client.inner(), &name, &changes, admin.config.request_wait)
        });
        altered.await.map_err(|failed| failed.on(topic))?;
        self.believed.note(topic, TopicSpec { retention: *retention, ..spec });
        Ok(())
    }

    pub(super) async fn delete_topic(self: &Arc<Self>, topic: &str) -> Result<()> {
        let answer = self.client.delete_topics(&[topic], &self.options()).await;
        let answer = answer.map_err(Failure::from).map_err(|failed| failed.of_cluster())?.pop();
        self.believed.remove(topic);
        self.promised.forget(topic);
        match answer {
            None | Some(Ok(_) | Err((_, Code::UnknownTopicOrPartition))) => self.until_gone(topic).await,
            Some(Err((_, code))) => Err(Failure::of(code).on(topic)),
        }
    }

    /// What was deleted is forgotten by the brokers a little later.
    async fn until_gone(self: &Arc<Self>, topic: &str) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < self.config.request_wait {
            match self.partitions(topic).await {
                Ok(None) => return Ok(()),
                Ok(Some(_)) | Err(Error::Retry(_)) => tokio::time::sleep(LOOK).await,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) async fn describe_topic(self: &Arc<Self>, topic: &str) -> Result<Option<TopicSpec>> {
        if let Some(spec) = self.believed.spec(topic) {
            return Ok(Some(spec));
        }
        let Some(partitions) = self.partitions(topic).await? else {
            return self.doubt(topic).map(|()| None).map_err(|failed| failed.on(topic));
        };
        let described = self.client.describe_configs([&ResourceSpecifier::Topic(topic)], &self.options()).await;
        let described = described.map_err(Failure::from).map_err(|failed| failed.of_cluster())?.pop();
        let resource = match described {
            Some(Ok(resource)) => resource,
            Some(Err(Code::UnknownTopicOrPartition)) | None => return Ok(None),
            Some(Err(code)) => return Err(Failure::of(code).on(topic)),
        };
        let spec = spec(partitions, &resource.entry_map());
        self.believed.note(topic, spec.clone());
        Ok(Some(spec))
    }

    /// How many partitions a topic has; `None` where it is not there (yet).
    async fn partitions(self: &Arc<Self>, topic: &str) -> Result<Option<u32>> {
        let name = topic.to_owned();
        let found = self.blocking(move |admin| admin.look(&name, false)).await;
        found.map_err(|failed| failed.on(topic))
    }

    /// `led` asks for a leader of each, too.
    pub(super) fn look(&self, topic: &str, led: bool) -> Result<Option<u32>, Failure> {
        let found = self.client.inner().fetch_metadata(Some(topic), self.config.request_wait)?;
        let Some(found) = found.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
        if let Some(error) = found.error() {
            let code = Code::from(error);
            return match code {
                Code::UnknownTopicOrPartition | Code::UnknownTopic => Ok(None),
                code => Err(Failure::of(code)),
            };
        }
        // A topic is there while its brokers are not.
        if led && found.partitions().iter().any(|partition| partition.leader() < 0) {
            return Err(Failure::of(Code::LeaderNotAvailable));
        }
        let count = u32::try_from(found.partitions().len()).unwrap_or(u32::MAX);
        Ok((count > 0).then_some(count))
    }

    /// The same, each with a leader, for a thread that may wait; from what is known where it is.
    pub(super) fn partitions_now(&self, topic: &str) -> Result<Option<u32>, Failure> {
        if let Some(count) = self.believed.count(topic) {
            return Ok(Some(count));
        }
        let found = self.look(topic, true)?;
        match found {
            Some(count) => self.believed.note_count(topic, count),
            None => self.doubt(topic)?,
        }
        Ok(found)
    }

    /// Whether a topic is there, led or not.
    pub(super) fn is_there_now(&self, topic: &str) -> Result<bool, Failure> {
        if self.believed.has(topic) || self.look(topic, false)?.is_some() {
            return Ok(true);
        }
        self.doubt(topic)?;
        Ok(false)
    }

    /// Of a topic that was there a moment ago not every broker has heard: that it is gone is not believed at once.
    pub(super) fn doubt(&self, topic: &str) -> Result<(), Failure> {
        let gone = !self.believed.was_there(topic);
        if gone { Ok(()) } else { Err(Failure::of(Code::LeaderNotAvailable)) }
    }

    /// What was believed of a topic is to be asked for again.
    pub(super) fn forget(&self, topic: &str) {
        self.believed.forget(topic);
    }

    pub(super) async fn list_topics(self: &Arc<Self>, prefix: &str) -> Result<Vec<String>> {
        let prefix = prefix.to_owned();
        let found = self.blocking(move |admin| {
            let found = admin.client.inner().fetch_metadata(None, admin.config.request_wait)?;
            let names = found.topics().iter().map(rdkafka::metadata::MetadataTopic::name);
            let mut names: Vec<_> = names.filter(|name| name.starts_with(&prefix)).map(ToOwned::to_owned).collect();
            names.sort_unstable();
            Ok(names)
        });
        found.await.map_err(|failed| failed.of_cluster())
    }

    /// The first record at or after `time`, as the brokers index it: control records too.
    pub(super) async fn offset_at(self: &Arc<Self>, at: &TopicPartition, time: Timestamp) -> Result<Option<Offset>> {
        self.offset(at, time.as_millis().max(0), true).await
    }

    /// librdkafka waits for a topic that is not there until its time is over: so it is looked for first, and again
    /// where nothing is answered.
    pub(super) async fn offset(
        self: &Arc<Self>,
        at: &TopicPartition,
        which: i64,
        committed: bool,
    ) -> Result<Option<Offset>> {
        self.find(at).await?;
        let asked = at.clone();
        let answers = self.blocking(move |admin| {
            let wanted = [(&asked, which)];
            let answers = ffi::list_offsets(admin.client.inner(), &wanted, committed, admin.config.request_wait)?;
            let answer = answers.into_values().next().unwrap_or(Err(Code::UnknownPartition));
            answer.map_err(Failure::of)
        });
        match answers.await {
            Ok(offset) => Ok(u64::try_from(offset).ok().map(Offset)),
            Err(failed) => {
                self.forget(&at.topic);
                self.find(at).await?;
                // It is there: a leader that does not know it yet will.
                match failed.on(&at.to_string()) {
                    Error::NoSuchTopic(of) => Err(Error::Retry(format!("{of}: {failed}"))),
                    error => Err(error),
                }
            }
        }
    }

    /// That a partition is there, as far as is known.
    async fn find(self: &Arc<Self>, at: &TopicPartition) -> Result<()> {
        let spec = self.describe_topic(&at.topic).await?;
        spec.filter(|spec| at.partition.0 < spec.partitions).map(drop).ok_or_else(|| no_such(at))
    }

    pub(super) async fn trim(self: &Arc<Self>, at: &TopicPartition, before: Offset) -> Result<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        let partition = i32::try_from(at.partition.0).unwrap_or(i32::MAX);
        let offset = rdkafka::Offset::Offset(i64::try_from(before.0).unwrap_or(i64::MAX));
        list.add_partition_offset(&at.topic, partition, offset)
            .map_err(|error| Failure::from(error).on(&at.to_string()))?;
        let answer = self.client.delete_records(&list, &self.options()).await;
        let answer = answer.map_err(|error| Failure::from(error).on(&at.to_string()))?;
        let failed = answer.elements().into_iter().find_map(|element| element.error().err());
        match failed.map(Failure::from) {
            // Somebody has trimmed further.
            None | Some(Failure { code: Code::OffsetOutOfRange, .. }) => Ok(()),
            Some(failed) => Err(failed.on(&at.to_string())),
        }
    }

    /// Who is in the group now. Blocks.
    pub(super) fn members_now(&self, group: &str) -> Result<Vec<Described>, Failure> {
        let found = self.client.inner().fetch_group_list(Some(group), self.config.request_wait)?;
        let members = found.groups().iter().filter(|found| found.name() == group).flat_map(|found| found.members());
        let described = |member: &GroupMemberInfo| Described {
            id: member.id().to_owned(),
            client_id: member.client_id().to_owned(),
        };
        Ok(members.map(described).collect())
    }

    /// How many slots somebody in the group has; `None` while the group has yet to say who has which, or where it
    /// speaks another protocol. Blocks.
    pub(super) fn held_now(&self, group: &str) -> Result<Option<usize>, Failure> {
        let found = self.client.inner().fetch_group_list(Some(group), self.config.request_wait)?;
        let Some(found) = found.groups().iter().find(|found| found.name() == group) else { return Ok(None) };
        let stable = found.state() == "Stable";
        let of = |member: &GroupMemberInfo| match member.assignment() {
            Some(assignment) if !assignment.is_empty() => unheld::assigned(assignment, &self.config.slots),
            _ => Some(0),
        };
        let held: Option<usize> = found.members().iter().map(of).sum();
        Ok(held.filter(|_| stable))
    }

    /// The group's positions. `None` where one of them is part of an open transaction.
    pub(super) fn positions_now(
        &self,
        group: &str,
        at: &[TopicPartition],
        stable: bool,
    ) -> Result<Option<Vec<Option<Position>>>, Failure> {
        let answers = match self.coordinators.offsets(group, at, stable) {
            Ok(answers) => answers,
            Err(failed) if failed.code == Code::UnstableOffsetCommit => return Ok(None),
            Err(failed) => return Err(failed),
        };
        let mut found = Vec::with_capacity(at.len());
        for at in at {
            let key = (at.topic.to_string(), i32::try_from(at.partition.0).unwrap_or(i32::MAX));
            match answers.get(&key) {
                Some(Ok(Some((offset, metadata)))) => {
                    let offset = Offset(u64::try_from(*offset).unwrap_or(0));
                    found.push(Some(Position { offset, metadata: Bytes::copy_from_slice(metadata) }));
                }
                Some(Err(Code::UnstableOffsetCommit)) => return Ok(None),
                Some(Ok(None)) => found.push(None),
                Some(Err(code)) => return Err(Failure::of(*code)),
                // A position that nobody has spoken of is not one that is not there.
                None => return Err(Failure::of(Code::BrokerTransportFailure)),
            }
        }
        Ok(Some(found))
    }

    pub(super) async fn positions(
        self: &Arc<Self>,
        group: &str,
        at: &[TopicPartition],
    ) -> Result<Vec<Option<Position>>> {
        let began = Instant::now();
        loop {
            let (name, asked) = (group.to_owned(), at.to_vec());
            let found = self.blocking(move |admin| admin.positions_now(&name, &asked, true)).await;
            match found.map_err(|failed| failed.of_cluster())? {
                Some(found) => return Ok(found),
                None if began.elapsed() > self.config.request_wait => {
                    return Err(Error::Retry(format!("{group}: a transaction that moves its positions stays open")));
                }
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

/// Hears what the client has to say for as long as it is used.
fn listen(client: &Arc<AdminClient<Quiet>>, mut bootstrap: Bootstrap) -> Result<()> {
    let client = Arc::downgrade(client);
    let heard = std::thread::Builder::new().name("kafka-admin".to_owned()).spawn(move || {
        while let Some(client) = client.upgrade() {
            ffi::hear(client.inner(), LISTEN);
            bootstrap.look(client.inner());
        }
    });
    heard.map(drop).map_err(|error| Error::Fatal(format!("no thread for what Kafka says: {error}")))
}

fn compare(spec: &TopicSpec, found: TopicSpec) -> Created {
    let same = found.partitions == spec.partitions && found.compacted == spec.compacted;
    if same { Created::Existed } else { Created::Different(found) }
}

fn settings(spec: &TopicSpec) -> Vec<(&'static str, String)> {
    let policy = if spec.compacted { "compact" } else { "delete" };
    let mut settings = vec![
        ("cleanup.policy", policy.to_owned()),
        ("max.message.bytes", (limits::RECORD_BYTES_MAX + RECORD_MARGIN).to_string()),
        // Ours is the receipt's time, whatever the brokers' clocks say.
        ("message.timestamp.type", "CreateTime".to_owned()),
        ("message.timestamp.before.max.ms", i64::MAX.to_string()),
        ("message.timestamp.after.max.ms", i64::MAX.to_string()),
    ];
    settings.extend(kept(&spec.retention));
    settings
}

fn kept(retention: &Retention) -> Vec<(&'static str, String)> {
    let time = retention.time.map(|time| time.as_millis().to_string());
    let bytes = retention.bytes.map(|bytes| bytes.to_string());
    let for_ever = || "-1".to_owned();
    vec![("retention.ms", time.unwrap_or_else(for_ever)), ("retention.bytes", bytes.unwrap_or_else(for_ever))]
}

fn spec(partitions: u32, entries: &HashMap<&str, &ConfigEntry>) -> TopicSpec {
    let value = |name: &str| entries.get(name).and_then(|entry| entry.value.as_deref());
    let number = |name: &str| value(name).and_then(|value| value.parse::<u64>().ok());
    let compacted = value("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
    let retention =
        Retention { time: number("retention.ms").map(Duration::from_millis), bytes: number("retention.bytes") };
    TopicSpec { partitions, compacted, retention }
}
