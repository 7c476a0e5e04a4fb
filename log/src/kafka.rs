//! The Kafka backend: any Kafka-compatible cluster, through librdkafka.
//!
//! ```text
//!   Kafka ─┬─ Admin      topics, offsets, positions           one client
//!          ├─ Fetcher    layers ▸ streams ▸ readers            one consumer per layer, all partitions in it
//!          ├─ Member     a group over the slots                one consumer and one thread each
//!          └─ Writer     transactions, fenced and counted      one producer and one thread each
//! ```
//!
//! Nothing is public but how it is opened. What Kafka asks of us is written where it is obeyed; every option of
//! librdkafka is in `config`, and every call that its crate lacks in `ffi`. Invariants: one-owner,
//! offsets-with-effects.

mod admin;
mod believed;
mod bootstrap;
mod check;
mod config;
mod context;
mod coordinators;
mod ends;
mod error;
mod fence;
mod fetcher;
mod ffi;
mod ghost;
mod layer;
mod leases;
mod member;
mod offsets;
mod pace;
mod promised;
mod reach;
mod record;
mod rights;
mod stream;
mod transaction;
mod unheld;
mod versions;
mod watch;
mod writer;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fpaas_core::{Offset, Timestamp, TopicPartition};

pub use check::{Finding, Grade, Subject};
pub use config::KafkaConfig;
pub use reach::Reached;

use crate::patient::patiently_within;
use crate::{
    Created, Error, FetchBounds, Fetched, Hold, Log, Membership, Position, Result, Retention, TopicSpec, Watermarks,
};
use admin::Admin;
use context::Trouble;
use fetcher::Fetcher;
use member::{Joining, Member, Seat};
use offsets::Stuck;
use writer::{Known, Writer, Writing};

/// How long a start waits for brokers that are not all there, or have much to do, at a time.
const ALL_THERE_WITHIN: Duration = Duration::from_secs(150);

/// A log on a Kafka cluster.
#[derive(Debug)]
pub struct Kafka {
    config: KafkaConfig,
    trouble: Trouble,
    admin: Arc<Admin>,
    fetcher: Fetcher,
    owners: Known,
    next_lease: Arc<AtomicU64>,
    members: Mutex<HashMap<(String, String), Arc<Member>>>,
    writers: Mutex<HashMap<String, Arc<AtomicBool>>>,
}

impl Kafka {
    /// Looks whether a cluster answers as it must, and makes nothing. [`Error::Retry`] where no broker answers,
    /// [`Error::Fatal`] where something is in the way that does not pass by itself: the message says what to do.
    pub async fn reach(config: KafkaConfig) -> Result<Reached> {
        Reached::at(config).await
    }

    /// Reaches a cluster and opens the log on it, as [`Reached::open`] does.
    pub async fn open(config: KafkaConfig) -> Result<Arc<Self>> {
        Self::reach(config).await?.open().await
    }

    /// Leaves every group, so that the others go on at once. Blocks for as long as that takes: some hundred
    /// milliseconds, or a few seconds where no broker answers.
    pub fn close(&self) {
        let members = std::mem::take(&mut *self.members.lock().unwrap_or_else(PoisonError::into_inner));
        let members: Vec<_> = members.into_values().collect();
        member::leave_all(&members);
    }
}

impl Reached {
    /// Makes the two topics that membership rests on, and opens the log. Brokers that are not all there, or have much
    /// to do, are waited for, for some minutes: [`Error::Retry`] comes after that.
    pub async fn open(self) -> Result<Arc<Kafka>> {
        let Self { config, trouble, admin } = self;
        for (topic, spec) in reach::own(&config) {
            let made = patiently_within(ALL_THERE_WITHIN, || admin.create_topic(topic, &spec)).await?;
            if let Created::Different(found) = made {
                reach::as_made(topic, &spec, &found)?;
            }
        }
        let fetcher = Fetcher::new(Arc::clone(&admin), config.clone(), trouble.clone())?;
        Ok(Arc::new(Kafka {
            config,
            trouble,
            admin,
            fetcher,
            owners: Known::default(),
            next_lease: Arc::new(AtomicU64::new(first_lease()?)),
            members: Mutex::default(),
            writers: Mutex::default(),
        }))
    }
}

/// Leases of one process are numbered from a random place, so that those of an earlier one are none of them.
fn first_lease() -> Result<u64> {
    Ok(random()? >> 1)
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| Error::Fatal(format!("no random bytes: {error}")))?;
    Ok(u64::from_le_bytes(bytes))
}

#[async_trait]
impl Log for Kafka {
    fn is_shared(&self) -> bool {
        true
    }

    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<Created> {
        self.admin.create_topic(topic, spec).await
    }

    async fn alter_topic(&self, topic: &str, retention: &Retention) -> Result<()> {
        self.admin.alter_topic(topic, retention).await
    }

    async fn delete_topic(&self, topic: &str) -> Result<()> {
        self.admin.delete_topic(topic).await?;
        self.fetcher.leave_topic(topic);
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.forget(|(_, at)| &*at.topic == topic);
        Ok(())
    }

    async fn describe_topic(&self, topic: &str) -> Result<Option<TopicSpec>> {
        self.admin.describe_topic(topic).await
    }

    async fn list_topics(&self, prefix: &str) -> Result<Vec<String>> {
        self.admin.list_topics(prefix).await
    }

    async fn watermarks(&self, at: &TopicPartition) -> Result<Watermarks> {
        self.admin.watermarks(at).await
    }

    async fn ends(&self, at: &[TopicPartition]) -> Vec<Result<Offset>> {
        self.admin.ends(at).await
    }

    async fn appended_end(&self, at: &TopicPartition) -> Result<Offset> {
        self.admin.appended_end(at).await
    }

    /// The brokers find control records, too: the first record that can be read from there on is looked for.
    async fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset> {
        let end = self.admin.end(at).await?;
        let Some(mut from) = self.admin.offset_at(at, time).await? else { return Ok(end) };
        loop {
            let fetched = self.fetcher.fetch(at, from, FetchBounds::now().of_guest()).await?;
            let found = fetched.records.iter().find(|stored| stored.record.timestamp >= time);
            if let Some(stored) = found {
                return Ok(stored.offset);
            }
            if fetched.next >= fetched.end {
                return Ok(fetched.end);
            }
            from = fetched.next;
        }
    }

    async fn trim(&self, at: &TopicPartition, before: Offset) -> Result<()> {
        let marks = self.admin.watermarks(at).await?;
        let before = before.min(marks.end);
        if before > marks.low {
            self.admin.trim(at, before).await?;
        }
        self.fetcher.trim(at, before);
        Ok(())
    }

    async fn fetch(&self, at: &TopicPartition, from: Offset, bounds: FetchBounds) -> Result<Fetched> {
        self.fetcher.fetch(at, from, bounds).await
    }

    /// Retention is the brokers' own.
    fn hold(&self, _at: &TopicPartition, _from: Offset) -> Hold {
        Hold::nothing()
    }

    async fn positions(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>> {
        if at.is_empty() {
            return Ok(Vec::new());
        }
        self.admin.positions(group, at).await
    }

    async fn join(&self, group: &str, name: &str) -> Result<Membership> {
        let member = Member::new(group, name);
        let before = {
            let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
            members.insert((group.to_owned(), name.to_owned()), Arc::clone(&member))
        };
        // The brokers fence it, too; here it knows at once.
        if let Some(before) = &before {
            before.leases.close();
        }
        // One that is leaving by itself leaves first: its farewell would be taken for that of who has its name now.
        if let Some(before) = before.filter(|before| before.stopped()) {
            drop(tokio::task::spawn_blocking(move || before.has_left()).await);
        }
        let joining = Joining {
            admin: Arc::clone(&self.admin),
            config: self.config.clone(),
            trouble: self.trouble.clone(),
            next: Arc::clone(&self.next_lease),
            client_id: self.config.member_client_id(random()?).into(),
        };
        member::join(&member, joining)
    }

    async fn writer(&self, id: &str, membership: Option<&Membership>) -> Result<Arc<dyn crate::Writer>> {
        let id = format!("{}.{id}", self.config.prefix);
        let member = membership.map(|membership| seat(membership, &id)).transpose()?;
        let replaced = Arc::<AtomicBool>::default();
        let before = self.writers.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), replaced.clone());
        if let Some(before) = before {
            before.store(true, Ordering::SeqCst);
        }
        let writing = Writing {
            admin: Arc::clone(&self.admin),
            config: self.config.clone(),
            trouble: self.trouble.clone(),
            owners: Arc::clone(&self.owners),
            mark: fence::mark(&id, random()?),
            stuck: Stuck::default(),
            id,
            member,
            replaced,
        };
        let opened = tokio::task::spawn_blocking(move || Writer::open(writing)).await;
        let opened = opened.map_err(|error| Error::Fatal(error.to_string()))??;
        Ok(Arc::new(opened))
    }
}

fn seat(membership: &Membership, id: &str) -> Result<(Arc<Member>, usize)> {
    let foreign = || Error::Fatal("a membership of another log".to_owned());
    let Seat(member) = membership.guard::<Seat>().ok_or_else(foreign)?;
    let number = member.seat_writer(id).ok_or_else(|| Error::Fatal("a member has two writers at most".to_owned()))?;
    Ok((Arc::clone(member), number))
}
