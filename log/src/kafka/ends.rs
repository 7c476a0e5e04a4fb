//! Where partitions begin and end, asked of their leaders: one of them, or as many as there are in one question.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fpaas_core::{Offset, TopicPartition};

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
        let answers = self.blocking(move |admin| admin.existing_ends_now(&asked)).await;
        match answers {
            Ok(ends) => ends,
            Err(failed) => {
                at.iter().for_each(|at| self.forget(&at.topic));
                at.into_iter().map(|at| (at, Err(failed.of_cluster()))).collect()
            }
        }
    }

    /// librdkafka waits for a topic that is not there until its time is over: so they are looked for first. Blocks.
    fn existing_ends_now(&self, at: &[TopicPartition]) -> Result<Ends, Failure> {
        let counts = self.counts_now(at)?;
        let is_there = |at: &&TopicPartition| counts.get(&*at.topic).is_some_and(|count| at.partition.0 < *count);
        let (there, missing): (Vec<_>, Vec<_>) = at.iter().partition(is_there);
        let ends = self.ends_now(&there)?;
        let silent = |at: &TopicPartition| Error::Retry(format!("{at}: its leader does not say where it ends"));
        let there = there.into_iter().map(|at| (at.clone(), ends.get(at).copied().ok_or_else(|| silent(at))));
        Ok(there.chain(missing.into_iter().map(|at| (at.clone(), Err(no_such(at))))).collect())
    }

    /// How many partitions these topics have, of those that are there. Blocks.
    fn counts_now(&self, at: &[TopicPartition]) -> Result<BTreeMap<String, u32>, Failure> {
        let (mut counts, mut unknown) = (BTreeMap::new(), Vec::new());
        for at in at {
            let topic = &*at.topic;
            if counts.contains_key(topic) || unknown.contains(&topic) {
                continue;
            }
            match self.believed.count(topic) {
                Some(count) => drop(counts.insert(topic.to_owned(), count)),
                None => unknown.push(topic),
            }
        }
        if unknown.len() <= ONE_BY_ONE {
            for topic in unknown {
                if let Some(count) = self.partitions_now(topic)? {
                    counts.insert(topic.to_owned(), count);
                }
            }
            return Ok(counts);
        }
        let all = self.native().fetch_metadata(None, self.request_wait())?;
        for topic in all.topics().iter().filter(|topic| unknown.contains(&topic.name())) {
            let is_led = topic.partitions().iter().all(|partition| partition.leader() >= 0);
            let count = u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
            if topic.error().is_none() && is_led && count > 0 {
                self.believed.note_count(topic.name(), count);
                counts.insert(topic.name().to_owned(), count);
            }
        }
        Ok(counts)
    }
}
