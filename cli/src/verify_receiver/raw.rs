//! Calls that the dispatcher never makes: other methods, a body that comes slowly, and an answer's own headers.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::subscription::ClientCertificate;
use fpaas_dispatcher::Sample;
use http_body::{Body, Frame, SizeHint};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Identity, Method, RequestBuilder, redirect};
use tokio::time::{Instant, Sleep};

use super::verdict::Verdict;
use crate::exit::Failure;

/// In how many pieces a slow body comes.
const PIECES: usize = 10;
/// How long it takes at most.
const SLOW: Duration = Duration::from_secs(3);

/// To one endpoint.
#[derive(Debug)]
pub(super) struct Raw {
    http: reqwest::Client,
    url: String,
    timeout: Duration,
}

impl Raw {
    pub(super) fn new(url: &str, timeout: Duration, shown: Option<&ClientCertificate>) -> Result<Self, Failure> {
        let builder = reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(timeout);
        let built = match shown.and_then(ClientCertificate::identity) {
            Some(own) => Identity::from_pem(own.pem().as_bytes()).and_then(|own| builder.identity(own).build()),
            None => builder.build(),
        };
        let http = built.map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Self { http, url: url.to_owned(), timeout })
    }

    /// GET and HEAD: nothing is done for one that only looks.
    pub(super) async fn methods(&self) -> Verdict {
        let (mut got, mut taken) = (Vec::new(), false);
        for method in [Method::GET, Method::HEAD] {
            let status = status(self.http.request(method.clone(), &self.url)).await;
            taken |= status.as_ref().is_ok_and(|status| (200..300).contains(status));
            got.push(format!("{method} {}", status.map_or_else(|why| why, |status| status.to_string())));
        }
        let got = got.join(", ");
        if taken {
            return Verdict::warning(got, "see to it that only a signed POST has effects; 405 would say so");
        }
        Verdict::right(got)
    }

    /// A body that comes piece by piece.
    pub(super) async fn slow(&self, sample: &Sample, headers: HeaderMap) -> Verdict {
        let trickle = Trickle::new(&sample.body, SLOW.min(self.timeout / 2));
        match status(self.post(headers).body(reqwest::Body::wrap(trickle))).await {
            Ok(status @ 200..300) => Verdict::right(status.to_string()),
            Ok(status) => Verdict::wrong(status.to_string(), "wait for a body as long as for an answer: timeoutMs"),
            Err(why) => Verdict::wrong(why, "wait for a body as long as for an answer: timeoutMs"),
        }
    }

    /// How the body of an answer is called.
    pub(super) async fn content_type(&self, sample: &Sample, headers: HeaderMap) -> Verdict {
        let advice = "say content-type: application/json: what stands before the receiver may change the body";
        let mut answer = match self.post(headers).body(sample.body.clone()).send().await {
            Ok(answer) => answer,
            Err(error) => return Verdict::warning(sentence(&error), advice),
        };
        let called = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let called = called.to_owned();
        let is_empty = !matches!(answer.chunk().await, Ok(Some(chunk)) if !chunk.is_empty());
        let kind = called.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            _ if is_empty => Verdict::right("no body"),
            "application/json" => Verdict::right(called),
            "" => Verdict::warning("a body without a content-type", advice),
            kind if kind.ends_with("+json") => Verdict::right(called),
            _ => Verdict::warning(called, advice),
        }
    }

    fn post(&self, headers: HeaderMap) -> RequestBuilder {
        self.http.post(&self.url).headers(headers)
    }
}

async fn status(request: RequestBuilder) -> Result<u16, String> {
    request.send().await.map(|answer| answer.status().as_u16()).map_err(|error| sentence(&error))
}

/// The innermost cause: it has no URL in it.
fn sentence(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    format!("no answer: {cause}")
}

/// The pieces of a body, and when the next one comes.
struct Trickle {
    pieces: VecDeque<Bytes>,
    every: Duration,
    next: Pin<Box<Sleep>>,
}

impl Trickle {
    fn new(body: &Bytes, takes: Duration) -> Self {
        let size = body.len().div_ceil(PIECES).max(1);
        let pieces = body.chunks(size).map(Bytes::copy_from_slice).collect();
        let every = takes / u32::try_from(PIECES).unwrap_or(1);
        Self { pieces, every, next: Box::pin(tokio::time::sleep(every)) }
    }
}

impl Body for Trickle {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.pieces.is_empty() {
            return Poll::Ready(None);
        }
        if self.next.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let due = Instant::now() + self.every;
        self.next.as_mut().reset(due);
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}
