//! Where partitions begin and end, asked of their leaders: one of them, or as many as there are in one question.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fpaas_core::{Offset, TopicPartition};
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::admin::Admin;
use super::error::{Failure, no_such};
use super::ffi;
use crate::{Error, Result, Watermarks};

/// How often a commit that is not shown yet is looked for, and for how long.
const SOON: Duration = Duration::from_millis(1);
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
/// Asks for the first offset, and for the end.
const FIRST: i64 = -2;
pub(super) const END: i64 = -1;
/// Of more topics than these all that there are is asked for, in one question.
const ONE_BY_ONE: usize = 8;
/// The most partitions of one question.
const AT_ONCE: usize = 2000;

type Ends = HashMap<TopicPartition, Result<Offset>>;

impl Admin {
    pub(super) async fn watermarks(self: &Arc<Self>, at: &TopicPartition) -> Result<Watermarks> {
        let low = self.place(at, FIRST, true).await?;
        let end = self.end(at).await?;
        // The first offset may have moved past the last stable one in between.
        Ok(Watermarks { low, end: end.max(low) })
    }

    /// The last stable offset: past everything that was acknowledged here, as soon as the brokers show it. A
    /// transaction of somebody else that is open there may keep it back; that is not waited for for long.
    pub(super) async fn end(self: &Arc<Self>, at: &TopicPartition) -> Result<Offset> {
        let began = Instant::now();
        loop {
            let end = self.place(at, END, true).await?;
            if !self.promised.is_short(at, end) || began.elapsed() > SHOWN_WITHIN {
                return Ok(end);
            }
            tokio::time::sleep(SOON).await;
        }
    }

    /// The ends of those of these partitions whose leaders say so. Blocks.
    pub(super) fn ends_now(&self, at: &[&TopicPartition]) -> Result<HashMap<TopicPartition, Offset>, Failure> {
        if at.is_empty() {
            return Ok(HashMap::new());
        }
        let wanted: Vec<_> = at.iter().map(|at| (*at, END)).collect();
        let answers = ffi::list_offsets(self.native(), &wanted, true, self.request_wait())?;
        let end = |at: &TopicPartition| {
            let key = (at.topic.to_string(), i32::try_from(at.partition.0).unwrap_or(i32::MAX));
            let end = answers.get(&key)?.as_ref().ok()?;
            Some((at.clone(), Offset(u64::try_from(*end).ok()?)))
        };
        Ok(at.iter().filter_map(|at| end(at)).collect())
    }

    /// The end of what is appended, decided or not.
    pub(super) async fn appended_end(self: &Arc<Self>, at: &TopicPartition) -> Result<Offset> {
        self.place(at, END, false).await
    }

    /// The first offset or the end: every partition has both, so that no answer is never taken for one.
    async fn place(self: &Arc<Self>, at: &TopicPartition, which: i64, committed: bool) -> Result<Offset> {
        let found = self.offset(at, which, committed).await?;
        found.ok_or_else(|| Error::Retry(format!("{at}: its leader does not say where it begins and ends")))
    }

    /// As [`crate::Log::ends`].
    pub(super) async fn ends(self: &Arc<Self>, at: &[TopicPartition]) -> Vec<Result<Offset>> {
        let mut found = Ends::new();
        for some in at.chunks(AT_ONCE) {
            found.extend(self.some_ends(some.to_vec()).await);
        }
        let began = Instant::now();
        loop {
            let is_short = |(at, end): &(&TopicPartition, &Result<Offset>)| {
                end.as_ref().is_ok_and(|end| self.promised.is_short(at, *end))
            };
            let short: Vec<_> = found.iter().filter(is_short).map(|(at, _)| at.clone()).take(AT_ONCE).collect();
            if short.is_empty() || began.elapsed() > SHOWN_WITHIN {
                break;
            }
            tokio::time::sleep(SOON).await;
            found.extend(self.some_ends(short).await);
        }
        at.iter().map(|at| found.get(at).cloned().unwrap_or_else(|| Err(no_such(at)))).collect()
    }

    async fn some_ends(self: &Arc<Self>, at: Vec<TopicPartition>) -> Ends {
        let asked = at.clone();
        let answers = self.blocking(move |admin| Ok(admin.existing_ends_now(&asked))).await;
        answers
            .unwrap_or_else(|failed| at.into_iter().map(|at| (at.clone(), Err(failed.on(&at.to_string())))).collect())
    }

    /// librdkafka waits for a topic that is not there until its time is over: so they are looked for first. What is
    /// wrong with one topic is said of that one. Blocks.
    fn existing_ends_now(&self, at: &[TopicPartition]) -> Ends {
        let (counts, mut ends, mut there) = (self.counts_now(at), Ends::new(), Vec::new());
        for at in at {
            match counts.get(&*at.topic) {
                Some(Ok(Some(count))) if at.partition.0 < *count => there.push(at),
                Some(Err(failed)) => drop(ends.insert(at.clone(), Err(failed.on(&at.to_string())))),
                Some(Ok(_)) | None => drop(ends.insert(at.clone(), Err(no_such(at)))),
            }
        }
        let found = self.ends_now(&there);
        if found.is_err() {
            there.iter().for_each(|at| self.forget(&at.topic));
        }
        let silent = |at: &TopicPartition| Error::Retry(format!("{at}: its leader does not say where it ends"));
        for at in there {
            let end = match &found {
                Ok(found) => found.get(at).copied().ok_or_else(|| silent(at)),
                Err(failed) => Err(failed.on(&at.to_string())),
            };
            ends.insert(at.clone(), end);
        }
        ends
    }

    /// How many partitions each of these topics has; none of one that is not there. Blocks.
    fn counts_now(&self, at: &[TopicPartition]) -> HashMap<String, Result<Option<u32>, Failure>> {
        let (mut counts, mut unknown) = (HashMap::new(), BTreeSet::new());
        for topic in at.iter().map(|at| &*at.topic) {
            match self.believed.count(topic) {
                Some(count) => drop(counts.insert(topic.to_owned(), Ok(Some(count)))),
                None => drop(unknown.insert(topic)),
            }
        }
        if unknown.len() <= ONE_BY_ONE {
            counts.extend(unknown.into_iter().map(|topic| (topic.to_owned(), self.partitions_now(topic))));
            return counts;
        }
        let all = self.native().fetch_metadata(None, self.request_wait()).map_err(Failure::from);
        let found: HashMap<_, _> = match &all {
            Ok(all) => all.topics().iter().map(|topic| (topic.name(), counted(topic))).collect(),
            Err(_) => HashMap::new(),
        };
        for topic in unknown {
            let count = match (&all, found.get(topic)) {
                (Err(failed), _) => Err(failed.clone()),
                (Ok(_), Some(Ok(Some(count)))) => {
                    self.believed.note_count(topic, *count);
                    Ok(Some(*count))
                }
                (Ok(_), Some(Err(failed))) => Err(failed.clone()),
                (Ok(_), Some(Ok(None)) | None) => self.doubt(topic).map(|()| None),
            };
            counts.insert(topic.to_owned(), count);
        }
        counts
    }
}

/// How many partitions it has, all led; none where it is not there.
fn counted(topic: &MetadataTopic) -> Result<Option<u32>, Failure> {
    match topic.error().map(Code::from) {
        None => {}
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => return Ok(None),
        Some(code) => return Err(Failure::of(code)),
    }
    if topic.partitions().iter().any(|partition| partition.leader() < 0) {
        return Err(Failure::of(Code::LeaderNotAvailable));
    }
    let count = u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
    Ok((count > 0).then_some(count))
}
