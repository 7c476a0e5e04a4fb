//! Makes the calls of a check, one after the other, and remembers what is said of all of them.

use std::time::Duration;

use bytes::Bytes;
use fpaas_core::subscription::{ClientCertificate, Secret};
use fpaas_core::{Clock as _, SubscriptionId, Timestamp, TopicName};
use fpaas_dispatcher::{Answered, Sample, SampleEvent, Sampler, Signing};
use reqwest::header::{HeaderMap, HeaderValue};

use super::events::Events;
use super::raw::Raw;
use super::script::{Check, Forgery, Seen, Step};
use super::verdict::{self, Verdict};
use crate::clock::WallClock;
use crate::exit::Failure;

/// A signature of the right length, and of nothing.
const ZEROS: &str = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
/// What a receiver must pass over: another version, and what is no base64.
const MALFORMED: &str = "v2,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= v1,%%% v1";

/// One run of the script.
#[derive(Debug)]
pub(super) struct Calls {
    sampler: Sampler,
    raw: Raw,
    events: Events,
    secret: Secret,
    other: Secret,
    timeout: Duration,
    seen: Whole,
}

/// What was seen of valid calls.
#[derive(Debug)]
struct Whole {
    /// How the first one ended, where there was no answer.
    away: Option<Failure>,
    calls: usize,
    kept: usize,
    unreadable: Option<String>,
    refused: Option<String>,
    understood: String,
    largest: Option<usize>,
    slowest: (Duration, &'static str),
    records_of_one: usize,
}

impl Calls {
    pub(super) fn new(
        url: &str,
        secret: Secret,
        events: Events,
        timeout: Duration,
        certificate: Option<ClientCertificate>,
    ) -> Result<Self, Failure> {
        let subscription = SubscriptionId::parse("verify-receiver").map_err(failed)?;
        let output = TopicName::parse("verify-receiver-results").map_err(failed)?;
        let other = Secret::from_bytes(&random()?).map_err(failed)?;
        let sampler = Sampler::new(url, timeout, subscription, output)?;
        let raw = Raw::new(url, timeout, certificate.as_ref())?;
        let sampler = sampler.showing(certificate);
        let seen = Whole {
            away: None,
            calls: 0,
            kept: 0,
            unreadable: None,
            refused: None,
            understood: "no answer".to_owned(),
            largest: Some(0),
            slowest: (Duration::ZERO, "none"),
            records_of_one: 0,
        };
        Ok(Self { sampler, raw, events, secret, other, timeout, seen })
    }

    /// Why it cannot be called at all, where that is so.
    pub(super) fn away(&mut self) -> Option<Failure> {
        self.seen.away.take()
    }

    /// Does what a check says.
    pub(super) async fn verdict(&mut self, check: &Check) -> Result<Verdict, Failure> {
        let name = check.name;
        let like = || self.events.one();
        Ok(match check.step {
            Step::Batch(made) => verdict::acknowledged(&self.valid(name, made(&self.events)).await?),
            Step::Rare(made) => {
                verdict::acknowledged(&self.valid(name, made(&self.events)).await?).no_worse_than_a_warning()
            }
            Step::Extended(made) => {
                let mut sample = self.batch(made(&self.events))?;
                sample.body = extended(&sample.body);
                verdict::acknowledged(&self.call(name, &sample, 0, 1).await)
            }
            Step::Repeat => {
                let sample = self.batch(self.events.three())?;
                let first = self.call(name, &sample, 0, 1).await;
                verdict::repeated(&first, &self.call(name, &sample, 1, 2).await)
            }
            Step::UnderWay => {
                let sample = self.batch(self.events.three())?;
                let [one, other] = [1, 2].map(|attempt| self.sent(&sample, self.signed(&sample, 0, attempt)));
                let (one, other) = tokio::join!(one, other);
                verdict::under_way(&one, &other)
            }
            Step::Forged(forgeries) => self.forged(forgeries).await?,
            Step::ForgedFirst => self.forged_first(name).await?,
            Step::Rotated => self.rotated(name).await?,
            Step::Skewed => {
                let [one, other] = [self.batch(like())?, self.batch(like())?];
                let behind = verdict::acknowledged(&self.call(name, &one, -60, 1).await).of("a minute behind");
                behind.and(verdict::acknowledged(&self.call(name, &other, 60, 1).await).of("a minute ahead"))
            }
            Step::Slow => {
                let sample = self.batch(self.events.hundred())?;
                self.raw.slow(&sample, self.signed(&sample, 0, 1)).await
            }
            Step::Methods => self.raw.methods().await,
            Step::ContentType => {
                let sample = self.batch(like())?;
                self.raw.content_type(&sample, self.signed(&sample, 0, 1)).await
            }
            Step::Seen(what) => self.seen.verdict(what, self.timeout),
        })
    }

    async fn forged(&self, forgeries: &[Forgery]) -> Result<Verdict, Failure> {
        let mut worst: Option<Verdict> = None;
        for forgery in forgeries {
            let sample = self.batch(self.events.one())?;
            let headers = self.forgery(&sample, *forgery)?;
            let found = verdict::refused(&self.sent(&sample, headers).await);
            let found = if let Forgery::Without(name) = forgery { found.of(&format!("without {name}")) } else { found };
            worst = Some(match worst {
                Some(worst) => worst.and(found),
                None => found,
            });
        }
        Ok(worst.unwrap_or_else(|| Verdict::right("nothing was sent")))
    }

    fn forgery(&self, sample: &Sample, forgery: Forgery) -> Result<HeaderMap, Failure> {
        let mut headers = self.signed(sample, 0, 1);
        let signature = "webhook-signature";
        match forgery {
            Forgery::Zeros => drop(headers.insert(signature, HeaderValue::from_static(ZEROS))),
            Forgery::Malformed => drop(headers.insert(signature, HeaderValue::from_static(MALFORMED))),
            Forgery::OtherSecret => headers = self.signing(sample, std::slice::from_ref(&self.other), 0, 1),
            Forgery::OtherBody => {
                let mut other = sample.clone();
                other.body = Bytes::from_static(b"{\"events\":[]}");
                headers = self.signed(&other, 0, 1);
            }
            Forgery::OtherId => {
                let mut other = self.signed(&self.batch(self.events.one())?, 0, 1);
                if let Some(id) = other.remove("webhook-id") {
                    drop(headers.insert("webhook-id", id));
                }
            }
            Forgery::Without(name) => drop(headers.remove(name)),
            Forgery::Off(seconds) => headers = self.signed(sample, seconds, 1),
        }
        Ok(headers)
    }

    async fn forged_first(&mut self, name: &'static str) -> Result<Verdict, Failure> {
        let sample = self.batch(self.events.one())?;
        let headers = self.forgery(&sample, Forgery::Zeros)?;
        drop(self.sent(&sample, headers).await);
        let answered = self.call(name, &sample, 0, 1).await;
        let found = verdict::acknowledged(&answered);
        if answered.failure.is_none() && answered.records() < self.seen.records_of_one {
            let advice = "remember a webhook-id only once its signature was verified: else anybody can use it up";
            return Ok(Verdict::wrong(format!("{}, as if it were known", found.got), advice));
        }
        Ok(found)
    }

    async fn rotated(&mut self, name: &'static str) -> Result<Verdict, Failure> {
        let mut found = Verdict::right(String::new());
        for (at, secrets) in
            [[&self.secret, &self.other], [&self.other, &self.secret]].map(|of| of.map(Clone::clone)).iter().enumerate()
        {
            let sample = self.batch(self.events.one())?;
            let headers = self.signing(&sample, secrets, 0, 1);
            let answered = self.sent(&sample, headers).await;
            self.seen.note(name, &answered);
            let one = verdict::acknowledged(&answered).of(if at == 0 { "right one first" } else { "right one last" });
            found = if at == 0 { one } else { found.and(one) };
        }
        Ok(found)
    }

    async fn valid(&mut self, name: &'static str, events: Vec<SampleEvent>) -> Result<Answered, Failure> {
        let sample = self.batch(events)?;
        Ok(self.call(name, &sample, 0, 1).await)
    }

    /// A valid call, so many seconds from now.
    async fn call(&mut self, name: &'static str, sample: &Sample, off: i64, attempt: u32) -> Answered {
        let answered = self.sent(sample, self.signed(sample, off, attempt)).await;
        self.seen.note(name, &answered);
        answered
    }

    async fn sent(&self, sample: &Sample, headers: HeaderMap) -> Answered {
        self.sampler.call(sample, headers, now()).await
    }

    fn signed(&self, sample: &Sample, off: i64, attempt: u32) -> HeaderMap {
        self.signing(sample, std::slice::from_ref(&self.secret), off, attempt)
    }

    fn signing(&self, sample: &Sample, secrets: &[Secret], off: i64, attempt: u32) -> HeaderMap {
        let at = Timestamp::from_millis(now().as_millis() + off * 1000);
        self.sampler.headers(sample, Signing { secrets, at, attempt })
    }

    fn batch(&self, events: Vec<SampleEvent>) -> Result<Sample, Failure> {
        let random: String = random()?.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Ok(self.sampler.batch(&random, events))
    }
}

impl Whole {
    fn note(&mut self, name: &'static str, answered: &Answered) {
        let failure = answered.failure.as_ref();
        if self.calls == 0 {
            self.records_of_one = answered.records();
            self.understood = verdict::got(answered);
            self.away = failure.filter(|_| answered.status.is_none()).and_then(|failure| {
                let said = failure.message.to_string();
                match failure.reason {
                    "connect" => Some(Failure::Unreachable(format!("the receiver cannot be reached: {said}"))),
                    "address" | "url" => Some(Failure::Usage(said)),
                    _ => None,
                }
            });
        }
        self.calls += 1;
        self.kept += usize::from(answered.status.is_some() && answered.timings.connect.is_none());
        if let Some(failure) = failure.filter(|failure| failure.reason == "badResponse") {
            self.unreadable.get_or_insert_with(|| format!("{name}: {}", failure.message));
        }
        if let Some(why) = answered.refused() {
            self.refused.get_or_insert_with(|| format!("{name}: {why}"));
        }
        self.largest = self.largest.zip(answered.body_bytes).map(|(most, bytes)| most.max(bytes));
        if answered.timings.total > self.slowest.0 {
            self.slowest = (answered.timings.total, name);
        }
    }

    fn verdict(&self, what: Seen, timeout: Duration) -> Verdict {
        match what {
            Seen::Form => self.form(),
            Seen::Size => verdict::size(self.largest),
            Seen::InTime => verdict::in_time(self.slowest.0, self.slowest.1, timeout),
            Seen::KeepAlive if self.kept > 0 => {
                Verdict::right(format!("{} of {} calls were made on a kept one", self.kept, self.calls))
            }
            Seen::KeepAlive => {
                let advice = "each call opens a connection of its own: let it keep them, for more than 50 s";
                Verdict::warning(format!("none of {} calls was made on a kept one", self.calls), advice)
            }
        }
    }

    fn form(&self) -> Verdict {
        let advice = "answer an empty body, or {\"records\": […], \"results\": […]}, or {\"batchItemFailures\": […]}";
        match (&self.unreadable, &self.refused) {
            (Some(why), _) => Verdict::wrong(why.clone(), advice),
            (None, Some(why)) => {
                Verdict::warning(why.clone(), "such a record becomes a dead letter: name a topic of yours, or none")
            }
            (None, None) => Verdict::right(format!("of batch-of-1: {}", self.understood)),
        }
    }
}

/// The same batch with a field beside those that are known.
fn extended(body: &Bytes) -> Bytes {
    let text = String::from_utf8_lossy(body);
    text.strip_prefix('{').map_or_else(|| body.clone(), |rest| format!("{{\"addedLater\":[{{}}],{rest}").into())
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

fn now() -> Timestamp {
    WallClock.now()
}

fn random() -> Result<[u8; 24], Failure> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Failed(format!("no random bytes: {error}")))?;
    Ok(bytes)
}
