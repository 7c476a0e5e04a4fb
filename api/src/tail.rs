//! `/v1/topics/{name}/tail`: records as they come, as server-sent events (HTML Living Standard, section 9.2).
//!
//! One long poll per partition, all in the connection's own task; nothing is read ahead of a client that does not read.
//! Each event's id says where every partition goes on, so that `Last-Event-ID` resumes without a gap or a double; what
//! retention has removed in between is told. It names the topic too, as another one may have its name by now.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use fpaas_core::{Offset, TopicName, TopicPartition, Violation, limits};
use fpaas_log::{FetchBounds, Fetched, Log, Stored};
use fpaas_state::View;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};
use http::HeaderMap;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::app::{MAKING_DIGITS, Readable};
use crate::browse::{Lost, from_param};
use crate::caller::Caller;
use crate::cursor::From;
use crate::params::{Name, Params};
use crate::problem::{Kind, Problem};
use crate::share::{Full, Share};
use crate::{item, starts};

/// Tails end when it is cancelled; the server puts it into every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown(pub(crate) CancellationToken);

pub(crate) async fn get(
    caller: Caller,
    Name(name): Name,
    mut params: Params,
    headers: HeaderMap,
    shutdown: Option<Extension<Shutdown>>,
) -> Result<Response, Problem> {
    let readable = caller.readable(&name).await?;
    let from = from_param(&mut params, From::Latest).unwrap_or(From::Latest);
    params.finish()?;
    let share = taken(&caller)?;
    let places = match headers.get("last-event-id") {
        Some(id) => resumed(&*caller.app.context.log, &readable, id.to_str().unwrap_or_default()).await?,
        None => starts::resolve_all(&*caller.app.context.log, &readable, from).await?,
    };
    let tail = Tail::new(Arc::clone(&caller.app.context.log), &readable, places, share);
    let Extension(Shutdown(token)) = shutdown.unwrap_or_default();
    let gone = until_gone(&caller, &name);
    let ended = async move {
        tokio::select! {
            () = token.cancelled_owned() => {}
            () = gone => {}
            () = caller.until_over() => {}
        }
    };
    let events = tail.events().take_until(ended);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(limits::TAIL_HEARTBEAT)).into_response())
}

/// Returns once the topic is deleted: another one of its name is not what is read. Never of the built-in source.
fn until_gone(caller: &Caller, name: &str) -> impl Future<Output = ()> + Send + use<> {
    let key = TopicName::parse(name).ok().map(|name| (caller.tenant.clone(), name));
    let made = move |view: &View| {
        let topic = key.as_ref().and_then(|key| view.topics.get(key));
        topic.map(|topic| (topic.incarnation, topic.created))
    };
    let mut views = caller.app.context.control.views();
    let read = made(&views.borrow());
    async move {
        let other = views.wait_for(|view| read.is_some() && made(view) != read).await.is_ok();
        if !other {
            std::future::pending().await
        }
    }
}

/// Room for one more of the tenant's.
fn taken(caller: &Caller) -> Result<Share, Problem> {
    let mut share = caller.app.tails.of(&caller.tenant);
    match share.grow(1) {
        Ok(()) => Ok(share),
        Err(Full::Own { tenant, most }) => {
            let detail = format!("the tenant {tenant} has {most} tails open, which is as many as one may have");
            Err(Problem::new(Kind::TooManyTails, detail))
        }
        Err(full) => Err(Problem::full(&full, "tails")),
    }
}

/// Where an id says that it goes on, all of which the topic has come to.
async fn resumed(log: &dyn Log, readable: &Readable, id: &str) -> Result<Vec<Offset>, Problem> {
    let places = resume(id, &readable.making, readable.partitions)?;
    let ends = starts::resolve_all(log, readable, From::Latest).await?;
    match places.iter().zip(&ends).position(|(place, end)| end < place) {
        None => Ok(places),
        Some(partition) => {
            let detail = format!("Last-Event-ID is of records that partition {partition} does not hold: begin anew");
            Err(Problem::invalid(vec![Violation::new("", detail)]))
        }
    }
}

/// An id is the topic and the next offsets of all partitions.
fn resume(id: &str, making: &str, partitions: u32) -> Result<Vec<Offset>, Problem> {
    let refuse = |detail: &str| Err(Problem::invalid(vec![Violation::new("", detail)]));
    let offsets: Option<Vec<_>> = id.split('-').skip(1).map(|offset| offset.parse().ok().map(Offset)).collect();
    match (id.split('-').next(), offsets) {
        (Some(of), Some(_)) if of.len() == MAKING_DIGITS && of != making => {
            refuse("Last-Event-ID is of another topic, or of one that had this name before: begin anew")
        }
        // What the topic was given since begins with its first record.
        (Some(of), Some(mut offsets)) if of == making && (1..=partitions as usize).contains(&offsets.len()) => {
            offsets.resize(partitions as usize, Offset::ZERO);
            Ok(offsets)
        }
        _ => refuse("Last-Event-ID is not the id of an event of this tail"),
    }
}

fn id(making: &str, places: &[Offset]) -> String {
    let offsets = places.iter().map(ToString::to_string);
    [making.to_owned()].into_iter().chain(offsets).collect::<Vec<_>>().join("-")
}

type Poll = BoxFuture<'static, (usize, fpaas_log::Result<Fetched>)>;

/// The state of one tail.
struct Tail {
    log: Arc<dyn Log>,
    making: String,
    partitions: Vec<TopicPartition>,
    bounds: FetchBounds,
    /// Where each partition goes on behind what was sent.
    places: Vec<Offset>,
    polls: FuturesUnordered<Poll>,
    /// Of the partition whose poll came back last.
    waiting: VecDeque<Stored>,
    from: usize,
    /// Where that partition is polled again once all of `waiting` is sent.
    next: Option<Offset>,
    _share: Share,
}

impl Tail {
    fn new(log: Arc<dyn Log>, readable: &Readable, places: Vec<Offset>, share: Share) -> Self {
        let partition = |number| TopicPartition::new(Arc::clone(&readable.topic), number);
        let partitions: Vec<_> = (0..readable.partitions).map(partition).collect();
        let bytes = limits::TAIL_BYTES_MAX / partitions.len().max(1);
        let bounds = FetchBounds { bytes, ..FetchBounds::waiting(limits::FETCH_WAIT_MAX) }.of_guest();
        let polls = FuturesUnordered::new();
        let (making, waiting) = (readable.making.clone(), VecDeque::new());
        let tail = Self { log, making, partitions, bounds, places, polls, waiting, from: 0, next: None, _share: share };
        (0..tail.partitions.len()).for_each(|number| tail.poll(number));
        tail
    }

    /// The first event has an id and no data: from then on nothing is missed, also by whoever resumes.
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        let first = Event::default().comment("tail").id(id(&self.making, &self.places));
        let rest = futures_util::stream::unfold(self, |mut tail| async move {
            let event = tail.event().await?;
            Some((event, tail))
        });
        futures_util::stream::iter([first]).chain(rest).map(Ok)
    }

    fn poll(&self, number: usize) {
        let (Some(at), Some(from)) = (self.partitions.get(number).cloned(), self.places.get(number).copied()) else {
            return;
        };
        let (log, bounds) = (Arc::clone(&self.log), self.bounds);
        self.polls.push(Box::pin(async move { (number, log.fetch(&at, from, bounds).await) }));
    }

    /// The next record; none when the topic is gone, or the log.
    async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(stored) = self.waiting.pop_front() {
                return Some(self.sent(&stored));
            }
            if let Some(next) = self.next.take() {
                self.advance(next);
                self.poll(self.from);
            }
            let (number, fetched) = self.polls.next().await?;
            match fetched {
                Ok(fetched) => {
                    (self.from, self.next) = (number, Some(fetched.next));
                    self.waiting = fetched.records.into();
                    if let Some(until) = fetched.lost_until {
                        return Some(self.lost(until));
                    }
                }
                Err(error) => {
                    warn!(topic = %self.partitions.first()?.topic, %error, "a tail ends");
                    return None;
                }
            }
        }
    }

    fn sent(&mut self, stored: &Stored) -> Event {
        self.advance(stored.offset.next());
        let partition = self.partitions.get(self.from).map_or(0, |at| at.partition.0);
        let mut json = serde_json::to_vec(&item::plain(partition, stored)).unwrap_or_default();
        // In JSON they can only be white space between tokens, and they would cut the event in pieces.
        json.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        Event::default().id(id(&self.making, &self.places)).data(String::from_utf8(json).unwrap_or_default())
    }

    /// What retention removed before it was read.
    fn lost(&mut self, to: Offset) -> Event {
        let partition = self.partitions.get(self.from).map_or(0, |at| at.partition.0);
        let from = self.places.get(self.from).copied().unwrap_or_default();
        self.advance(to);
        let json = serde_json::to_string(&Lost { partition, from, to }).unwrap_or_default();
        Event::default().event("lost").id(id(&self.making, &self.places)).data(json)
    }

    fn advance(&mut self, next: Offset) {
        if let Some(place) = self.places.get_mut(self.from) {
            *place = next.max(*place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_and_others_are_refused() {
        let (making, places) = ("0123456789ab", [Offset(0), Offset(u64::MAX), Offset(7)]);
        assert_eq!(id(making, &places), "0123456789ab-0-18446744073709551615-7");
        assert_eq!(resume(&id(making, &places), making, 3).unwrap(), places);
        assert!(resume(&id(making, &places), "0123456789ac", 3).is_err());
        for text in ["", "1-2-3", "1-2", "1-2-3-4", "1-2-x", "1--2", "-1-2-3"] {
            for text in [text.to_owned(), format!("{making}-{text}")] {
                let read = resume(&text, making, 3);
                let right = ["1-2-3", "1-2"].iter().any(|places| text == format!("{making}-{places}"));
                assert_eq!(read.is_ok(), right, "{text}");
            }
        }
        let grown = resume(&format!("{making}-1-2"), making, 3).unwrap();
        assert_eq!(grown, [Offset(1), Offset(2), Offset::ZERO], "what was added begins with its first record");
    }
}
