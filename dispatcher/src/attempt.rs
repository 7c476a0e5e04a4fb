//! One attempt: a call of the endpoint, and what the delivery log says of it.
//!
//! HTTP happens outside of every transaction. Does not own what follows ([`crate::calls`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fpaas_core::subscription::Webhook;
use fpaas_state::{Attempt as AttemptReport, CallOf, SubscriptionEntry};

use crate::body::{Body, Shape};
use crate::client::Call;
use crate::freeze::Batch;
use crate::reports;
use crate::request::{self, Attempt};
use crate::response::{Answer, Failure, Reason};
use crate::site::Site;

/// One attempt, in a task of its own.
pub(crate) struct Request {
    pub(crate) site: Arc<Site>,
    /// The revision that is called: its URL, headers, secrets and timeout.
    pub(crate) entry: Arc<SubscriptionEntry>,
    pub(crate) webhook: Webhook,
    pub(crate) batch: Arc<Batch>,
    /// See [`crate::calls::Calls`].
    pub(crate) warm: Arc<AtomicBool>,
}

impl Request {
    /// The answer, and the calls that were made, how the last one ended apart.
    pub(crate) async fn answer(&self, body: &Body, attempt: u32) -> (Result<Answer, Failure>, Vec<AttemptReport>) {
        let (answer, mut made) = self.call(body, attempt).await;
        match &answer {
            Err(failure) if failure.reason == Reason::Cut && self.warm.swap(false, Ordering::Relaxed) => {
                // The connection was kept from an earlier call and may have been stale: one try on a new one.
                self.site.note_failure(failure, attempt);
                (made.status, made.outcome, made.message) =
                    (failure.status, failure.reason.as_str().to_owned(), failure.message.clone());
                let (answer, again) = self.call(body, attempt.saturating_add(1)).await;
                (answer, vec![made, again])
            }
            _ => (answer, vec![made]),
        }
    }

    async fn call(&self, body: &Body, attempt: u32) -> (Result<Answer, Failure>, AttemptReport) {
        let (site, batch) = (&self.site, &self.batch);
        site.counters.calls.add(1);
        let (entry, now) = (&self.entry, site.shared.context.clock.now());
        let headers = {
            let attempt = Attempt {
                head: &batch.head,
                events: &batch.events,
                shape: &Shape::frozen(&batch.row),
                body,
                number: attempt,
                timestamp: now.as_millis().div_euclid(1000),
                version: &site.shared.version,
            };
            request::headers(&attempt, &self.webhook, entry.secrets(now))
        };
        let call = Call {
            url: &self.webhook.url,
            headers,
            body: body.bytes.clone(),
            timeout: Duration::from_millis(self.webhook.timeout_ms),
            wants_body: entry.config.output.is_some(),
            identity: entry.identity(),
        };
        let called = site.shared.client.call(call).await;
        if called.answer.is_ok() {
            self.warm.store(true, Ordering::Relaxed);
        }
        let of = CallOf {
            time: now,
            subscription: &entry.id,
            incarnation: entry.incarnation,
            lane: site.at.partition.0,
            batch: &batch.id,
            events: body.events,
            attempt,
            origin: reports::origin(&self.webhook.url),
        };
        let shown = reports::shown(&called.piece, &self.webhook, entry, now);
        (called.answer, AttemptReport::new(of, called.timings, shown))
    }
}
