//! From arrivals to steps: what is waiting is decoded at once and becomes one transaction, as long as it fits.
//!
//! Decoding is CPU work: more than a little of it runs on the blocking pool, beside the commit of the step before.
//! It is one thread as yet, so the order per DID is the order of arrival. Does not own cursors or the writer.

use std::collections::VecDeque;
use std::sync::Arc;

use fpaas_core::crashpoint::{self, Point};
use fpaas_core::{Clock, TopicPartition, limits, partition};
use fpaas_log::Transaction;
use tokio::sync::mpsc;

use crate::convert::convert;
use crate::error::{Error, Result};
use crate::events::Events;
use crate::frame::{Frame, Notice};
use crate::gate::{DropReason, Drops};
use crate::inbox::{Arrival, What};
use crate::seen::Seen;
use crate::stamps::Stamps;
use crate::status::Counts;

/// Below this, moving to another thread costs more than the work.
const INLINE_BYTES_MAX: usize = 32 * 1024;

/// What one transaction will do, and what is true once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// The events.
    pub(crate) transaction: Transaction,
    /// How far each upstream of this step has come.
    pub(crate) reached: Vec<(usize, u64)>,
    /// The last stamp that was given.
    pub(crate) time_us: i64,
    /// Recordings that are at their end.
    pub(crate) finished: Vec<usize>,
    pub(crate) counts: Counts,
    pub(crate) drops: Drops,
}

/// Everything decoding needs and changes.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) seen: Seen,
    pub(crate) stamps: Stamps,
    pub(crate) clock: Arc<dyn Clock>,
    /// The partitions of the firehose topic.
    pub(crate) firehose: Vec<TopicPartition>,
    pub(crate) arrivals: VecDeque<Arrival>,
}

/// Decodes until the upstreams' tasks or the committing side are gone.
pub(crate) async fn run(
    mut decoder: Decoder,
    mut inbox: mpsc::Receiver<Arrival>,
    steps: mpsc::Sender<Step>,
) -> Result<()> {
    loop {
        let mut arrivals = Vec::new();
        if inbox.recv_many(&mut arrivals, limits::FRAMES_WAITING_MAX).await == 0 {
            return Ok(());
        }
        crashpoint::hit(Point::IngestAfterFetch);
        decoder.arrivals = arrivals.into();
        while !decoder.arrivals.is_empty() {
            let step;
            (decoder, step) = next(decoder).await?;
            if steps.send(step).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn next(mut decoder: Decoder) -> Result<(Decoder, Step)> {
    if decoder.waiting_bytes() <= INLINE_BYTES_MAX {
        let step = decoder.step();
        return Ok((decoder, step));
    }
    let decoding = tokio::task::spawn_blocking(move || {
        let step = decoder.step();
        (decoder, step)
    });
    decoding.await.map_err(|error| Error::Task(error.to_string()))
}

impl Decoder {
    /// Takes what is waiting, up to one transaction, by what goes in and by what comes out. A frame is never split
    /// across two.
    fn step(&mut self) -> Step {
        let room = self.waiting_bytes().min(limits::INGEST_TRANSACTION_BYTES_MAX);
        let mut events = Events::with_capacity(room);
        let mut step = Step::default();
        while events.bytes() < limits::INGEST_TRANSACTION_BYTES_MAX
            && step.counts.frame_bytes < limits::INGEST_STEP_BYTES_MAX as u64
        {
            let Some(arrival) = self.arrivals.pop_front() else { break };
            self.take(&arrival, &mut step, &mut events);
        }
        self.close(step, events)
    }

    fn take(&mut self, arrival: &Arrival, step: &mut Step, events: &mut Events) {
        match &arrival.what {
            What::Frame(bytes) => {
                step.counts.frames += 1;
                step.counts.frame_bytes += bytes.len() as u64;
                self.frame(arrival.upstream, bytes, step, events);
            }
            What::NotBinary => events.drop_one(DropReason::FrameNotBinary),
            What::BrokenOff => events.drop_one(DropReason::RecordingBrokenOff),
            What::Restarted => {
                self.seen.restarted(arrival.upstream);
                // Nobody knows what was between its old count and where it is followed from.
                events.drop_one(DropReason::FramesMissed);
            }
            What::Finished => step.finished.push(arrival.upstream),
        }
    }

    fn frame(&mut self, upstream: usize, bytes: &[u8], step: &mut Step, events: &mut Events) {
        let frame = match Frame::parse(bytes) {
            Ok(frame) => frame,
            Err(reason) => return events.drop_one(reason),
        };
        match self.seen.admit(upstream, &frame) {
            Err(reason) => events.drop_one(reason),
            Ok(new) => {
                let mark = events.mark();
                convert(&frame, &mut self.stamps, self.clock.now_micros(), events);
                self.seen.note(&frame, new, events, mark);
            }
        }
        if let Some(seq) = self.seen.seq(upstream) {
            step.reach(upstream, seq);
        }
        if let Frame::Info(Notice { name, message }) = frame {
            tracing::warn!(upstream, name, message, "the upstream says");
            if name == "OutdatedCursor" {
                events.drop_one(DropReason::FramesMissed);
            }
        }
    }

    fn close(&self, mut step: Step, events: Events) -> Step {
        step.counts.events = events.len() as u64;
        step.drops = events.drops().clone();
        let partitions = u32::try_from(self.firehose.len()).unwrap_or(u32::MAX);
        for record in events.into_records() {
            let partition = partition::of_key(record.key.as_deref().unwrap_or_default(), partitions);
            if let Some(at) = self.firehose.get(partition.0 as usize) {
                step.transaction.append(at.clone(), record);
            }
        }
        step.counts.event_bytes = step.transaction.bytes() as u64;
        step.time_us = self.stamps.last_us();
        step
    }

    fn waiting_bytes(&self) -> usize {
        self.arrivals.iter().map(Arrival::bytes).sum()
    }
}

impl Step {
    fn reach(&mut self, upstream: usize, seq: u64) {
        match self.reached.iter_mut().find(|(known, _)| *known == upstream) {
            Some((_, known)) => *known = seq,
            None => self.reached.push((upstream, seq)),
        }
    }
}

#[cfg(test)]
mod tests;
