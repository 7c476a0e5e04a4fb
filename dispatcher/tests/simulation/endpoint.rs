//! An endpoint that changes its mind: it answers as its mood says, and writes down every call.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fpaas_dispatcher::{Ended, Outside};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::random::Random;

/// What it does with the next calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Slow,
    Failing,
    Busy,
    Away,
    Cutting,
    Hanging,
    Garbage,
    Partial,
    /// Refuses batches with an event that it cannot take, whatever else is in them.
    Poisoned,
}

pub(crate) const MOODS: [Mood; 10] = [
    Mood::Good,
    Mood::Slow,
    Mood::Failing,
    Mood::Busy,
    Mood::Away,
    Mood::Cutting,
    Mood::Hanging,
    Mood::Garbage,
    Mood::Partial,
    Mood::Poisoned,
];

/// A call as the endpoint saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) lane: u64,
    pub(crate) attempt: u32,
    /// Its media type and its encoding.
    pub(crate) shape: (String, String),
    pub(crate) body: Bytes,
    pub(crate) events: Vec<String>,
    pub(crate) begun: Instant,
    /// When and what it answered; none where it never did.
    pub(crate) answered: Option<(Instant, Said)>,
    /// When it was over, for whatever reason.
    pub(crate) ended: Option<Instant>,
    /// Which process called.
    pub(crate) life: u32,
}

/// Notes the end of a call, also of one that is dropped.
struct Call<'a>(&'a Endpoint, usize);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.seen.lock().unwrap()[self.1].ended = Some(Instant::now());
    }
}

/// What it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// These events are done; these are to be called with again; these are rejected.
    Done { acknowledged: Vec<String>, again: Vec<String>, rejected: Vec<String> },
    /// Nothing that acknowledges, and how long to wait where it said so.
    No(Option<Duration>),
}

#[derive(Debug)]
pub(crate) struct Endpoint {
    random: Mutex<Random>,
    mood: Mutex<Mood>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    life: Mutex<u32>,
}

impl Endpoint {
    pub(crate) fn new(random: Random) -> Arc<Self> {
        Arc::new(Self {
            random: Mutex::new(random),
            mood: Mutex::new(Mood::Good),
            seen: Mutex::default(),
            life: Mutex::default(),
        })
    }

    pub(crate) fn feel(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn next_life(&self) {
        *self.life.lock().unwrap() += 1;
    }

    fn below(&self, end: u64) -> u64 {
        self.random.lock().unwrap().below(end)
    }

    fn enter(&self, request: &Request<Bytes>) -> (usize, Vec<(String, Value)>) {
        let events = events(request);
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        let mut seen = self.seen.lock().unwrap();
        seen.push(Seen {
            id: header("webhook-id"),
            lane: header("fpaas-lane").parse().unwrap(),
            attempt: header("fpaas-attempt").parse().unwrap(),
            shape: shape(request),
            body: request.body().clone(),
            events: events.iter().map(|(id, _)| id.clone()).collect(),
            begun: Instant::now(),
            answered: None,
            ended: None,
            life: *self.life.lock().unwrap(),
        });
        (seen.len() - 1, events)
    }

    fn leave(&self, at: usize, said: Said) {
        self.seen.lock().unwrap()[at].answered = Some((Instant::now(), said));
    }

    /// One call is decided upon when it arrives.
    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Ended> {
        let mood = *self.mood.lock().unwrap();
        let (at, events) = self.enter(&request);
        let _call = Call(self, at);
        sleep(Duration::from_millis(match mood {
            Mood::Slow => 200 + self.below(3000),
            _ => self.below(30),
        }))
        .await;
        let poison = |id: &String| id.ends_with('7');
        match mood {
            Mood::Failing if self.below(3) > 0 => {
                let status = *self.random.lock().unwrap().pick(&[500, 503, 502, 400, 301]);
                Ok(self.no(at, status, None))
            }
            Mood::Busy if self.below(3) > 0 => {
                let wait = self.below(20);
                Ok(self.no(at, 429, (wait > 4).then_some(wait)))
            }
            Mood::Away => Err(Ended::NoConnection),
            Mood::Cutting if self.below(2) == 0 => Err(Ended::Cut),
            Mood::Hanging => std::future::pending().await,
            Mood::Garbage if self.below(2) == 0 => {
                self.leave(at, Said::No(None));
                Ok(Response::new(Bytes::from_static(b"<html>")))
            }
            Mood::Poisoned if events.iter().any(|(id, _)| poison(id)) => Ok(self.no(at, 422, None)),
            Mood::Partial => Ok(self.partly(at, &events)),
            _ => Ok(self.done(at, &events)),
        }
    }

    fn no(&self, at: usize, status: u16, after: Option<u64>) -> Response<Bytes> {
        self.leave(at, Said::No(after.map(Duration::from_secs)));
        let response = Response::builder().status(status);
        let response = match after {
            Some(seconds) => response.header("retry-after", seconds),
            None => response,
        };
        response.body(Bytes::new()).unwrap()
    }

    /// Every event is answered with a record.
    fn done(&self, at: usize, events: &[(String, Value)]) -> Response<Bytes> {
        let records: Vec<_> = events.iter().map(|(id, event)| json!({"key": id, "value": event})).collect();
        let acknowledged = events.iter().map(|(id, _)| id.clone()).collect();
        self.leave(at, Said::Done { acknowledged, again: Vec::new(), rejected: Vec::new() });
        Response::new(json!({ "records": records }).to_string().into())
    }

    fn partly(&self, at: usize, events: &[(String, Value)]) -> Response<Bytes> {
        let (mut acknowledged, mut again, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
        let (mut records, mut results) = (Vec::new(), Vec::new());
        for (id, event) in events {
            match self.below(6) {
                0 => {
                    results.push(json!({"id": id, "action": "retry"}));
                    again.push(id.clone());
                }
                1 => {
                    results.push(json!({"id": id, "action": "retry", "delayMs": self.below(5000)}));
                    again.push(id.clone());
                }
                2 => {
                    results.push(json!({"id": id, "action": "reject"}));
                    rejected.push(id.clone());
                }
                other => {
                    if other == 3 {
                        results.push(json!({"id": id, "action": "ack"}));
                    }
                    records.push(json!({"key": id, "value": event}));
                    acknowledged.push(id.clone());
                }
            }
        }
        self.leave(at, Said::Done { acknowledged, again, rejected });
        Response::new(json!({"records": records, "results": results}).to_string().into())
    }

    /// The calls of each batch, in order.
    pub(crate) fn batches(&self) -> BTreeMap<String, Vec<Seen>> {
        let mut batches: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
        for seen in self.seen.lock().unwrap().iter() {
            batches.entry(seen.id.clone()).or_default().push(seen.clone());
        }
        batches
    }
}

fn shape(request: &Request<Bytes>) -> (String, String) {
    let header = |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    (header("content-type"), header("content-encoding"))
}

/// The ids of a request's events, and what stands for each.
fn events(request: &Request<Bytes>) -> Vec<(String, Value)> {
    let (kind, encoding) = shape(request);
    let mut body = Vec::new();
    match &*encoding {
        "" => body.extend_from_slice(request.body()),
        "gzip" => drop(flate2::read::GzDecoder::new(&**request.body()).read_to_end(&mut body).unwrap()),
        "zstd" => body = zstd::stream::decode_all(&**request.body()).unwrap(),
        other => panic!("{other}"),
    }
    let parse = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap();
    let (events, value) = match &*kind {
        "application/json" => (parse(&body)["events"].as_array().unwrap().clone(), "event"),
        "application/x-ndjson" => {
            (body.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').map(parse).collect(), "event")
        }
        "application/cloudevents-batch+json" => (parse(&body).as_array().unwrap().clone(), "data"),
        other => panic!("{other}"),
    };
    assert_eq!(request.headers()["fpaas-event-count"], events.len().to_string());
    events.iter().map(|event| (event["id"].as_str().unwrap().to_owned(), event[value].clone())).collect()
}

impl Outside for Endpoint {
    fn answer(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, Ended>> {
        Box::pin(self.exchange(request))
    }

    fn random(&self) -> f64 {
        self.below(1_000_000) as f64 / 1_000_000.0
    }
}
