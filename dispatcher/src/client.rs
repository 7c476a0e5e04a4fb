//! The one HTTP client: no redirects, no proxy, one deadline over everything, capped answers, guarded addresses.
//!
//! Does not own what an answer means ([`crate::response`]) or when a call is made again ([`crate::retry`]). Messages
//! are made here without the URL, whose path and query may be secret.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fpaas_core::limits;
use http::HeaderMap;
use reqwest::{ClientBuilder, Response, redirect};
use tracing::warn;
use url::Url;

use crate::address::{Guard, Refused, Resolver};
use crate::response::{Answer, Body, Failure, Reason};
use crate::{Config, Ended, Error, Outside};

/// Connections that were not used for so long are closed: many load balancers close theirs after 60 s.
const IDLE: Duration = Duration::from_secs(50);
/// Idle connections kept for one endpoint.
const IDLE_PER_HOST: usize = 16;
/// How much of a body that nobody needs is read so that its connection can be used again, and for how long.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// Shared by all lanes; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    https: Guarded,
    http: Guarded,
    outside: Option<Arc<dyn Outside>>,
}

/// Each with its own resolver: a name is not called by `http` at an address that asks for `https`.
#[derive(Clone, Debug)]
struct Guarded {
    client: reqwest::Client,
    guard: Guard,
}

/// A call.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) url: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Over name, connection, TLS, request and answer.
    pub(crate) timeout: Duration,
    /// Whether the body of a 2xx answer must be whole.
    pub(crate) wants_body: bool,
}

impl Client {
    /// Made once per stage.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        // Where the program has already chosen a provider, that one stays.
        drop(rustls::crypto::ring::default_provider().install_default());
        let (https, http) = (Guard::https(config.reach.clone()), Guard::http(config.reach.clone()));
        let with_tls = builder(&https).build().or_else(|error| {
            warn!(%error, "no certificates of authorities are found here: https endpoints cannot be verified and will fail");
            builder(&https).tls_certs_only([]).build()
        });
        let without = builder(&http).tls_certs_only([]).build();
        Ok(Self {
            https: Guarded { client: with_tls.map_err(Error::Client)?, guard: https },
            http: Guarded { client: without.map_err(Error::Client)?, guard: http },
            outside: config.outside.clone(),
        })
    }

    /// Makes a call and reads its answer.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Answer, Failure> {
        let timeout = call.timeout;
        let late = |_| Failure::new(Reason::Timeout, format!("no answer within {} ms", timeout.as_millis()));
        tokio::time::timeout(timeout, self.exchange(call)).await.map_err(late)?
    }

    /// Uniform in 0..1. Only spreads retries, so that a failing source of randomness costs nothing but that.
    pub(crate) fn random(&self) -> f64 {
        let random = || f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
        self.outside.as_ref().map_or_else(random, |outside| outside.random())
    }

    async fn exchange(&self, call: Call<'_>) -> Result<Answer, Failure> {
        if let Some(outside) = &self.outside {
            return simulated(&**outside, call).await;
        }
        let (client, url) = self.permitted(call.url)?;
        let sent = client.post(url).headers(call.headers).body(call.body).send().await;
        let response = sent.map_err(|error| failure(&error))?;
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (status, retry_after, delivery) = (response.status(), text("retry-after"), text("webhook-delivery"));
        let body = match status.is_success() {
            true if call.wants_body => read(response).await?,
            // What cannot be read says nothing.
            true => read(response).await.unwrap_or(Body::Unread),
            false => drain(response).await,
        };
        Ok(Answer { status: status.as_u16(), retry_after, delivery, body })
    }

    fn permitted(&self, url: &str) -> Result<(&reqwest::Client, Url), Failure> {
        let url = Url::parse(url).map_err(|error| Failure::new(Reason::Url, error.to_string()))?;
        let Guarded { client, guard } = if url.scheme() == "https" { &self.https } else { &self.http };
        guard.check_host(&url).map_err(|refused| Failure::new(Reason::Address, refused.to_string()))?;
        Ok((client, url))
    }
}

async fn simulated(outside: &dyn Outside, call: Call<'_>) -> Result<Answer, Failure> {
    let mut request = http::Request::post(call.url).body(call.body).unwrap_or_default();
    *request.headers_mut() = call.headers;
    let response = outside.answer(request).await.map_err(|ended| match ended {
        Ended::NoConnection => Failure::new(Reason::Connect, "no connection"),
        Ended::Cut => Failure::new(Reason::Cut, "the connection ended before the answer"),
    })?;
    let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (retry_after, delivery) = (text("retry-after"), text("webhook-delivery"));
    Ok(Answer { status: response.status().as_u16(), retry_after, delivery, body: Body::Whole(response.into_body()) })
}

fn builder(guard: &Guard) -> ClientBuilder {
    reqwest::Client::builder()
        .dns_resolver(Resolver(guard.clone()))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .retry(reqwest::retry::never())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .tcp_nodelay(true)
}

/// The whole body, if it is not too long.
async fn read(mut response: Response) -> Result<Body, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if body.len() + chunk.len() > limits::RESPONSE_BYTES_MAX {
            return Ok(Body::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Body::Whole(body.freeze()))
}

/// Reads a little of a body that nobody needs. What goes wrong with it means nothing.
async fn drain(mut response: Response) -> Body {
    let rest = async {
        let mut read = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            if read > DRAIN_BYTES {
                break;
            }
        }
    };
    // A slow one costs its connection and nothing else.
    drop(tokio::time::timeout(DRAIN_TIME, rest).await);
    Body::Unread
}

fn failure(error: &reqwest::Error) -> Failure {
    let causes = || std::iter::successors(error.source(), |cause| (*cause).source());
    if let Some(refused) = causes().find_map(|cause| cause.downcast_ref::<Refused>()) {
        return Failure::new(Reason::Address, refused.to_string());
    }
    let reason = if error.is_connect() { Reason::Connect } else { Reason::Cut };
    let what = if error.is_connect() { "no connection" } else { "the connection ended before the answer" };
    let cause = causes().last().map(ToString::to_string).unwrap_or_default();
    Failure::new(reason, format!("{what}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reach;

    async fn check(url: &str, reach: Reach, reason: Reason, message: &str) {
        let config = Config { reach, version: "test".to_owned(), assigned: Arc::default(), outside: None };
        let client = Client::new(&config).unwrap();
        let timeout = Duration::from_secs(20);
        let call = Call { url, headers: HeaderMap::new(), body: Bytes::new(), timeout, wants_body: true };
        let failure = client.call(call).await.unwrap_err();
        assert_eq!((failure.reason, failure.status), (reason, None), "{url}: {failure:?}");
        assert!(failure.message.contains(message) && !failure.message.contains("secret"), "{url}: {failure:?}");
    }

    #[tokio::test]
    async fn what_may_not_be_called_is_not_connected_to() {
        check("https://localhost:1/secret", Reach::global(), Reason::Address, "loopback").await;
        check("https://127.0.0.1:1/secret", Reach::global(), Reason::Address, "127.0.0.1 may not be called").await;
        check("https://169.254.169.254/secret", Reach::Dev, Reason::Address, "link-local").await;
        check("http://1.1.1.1/secret", Reach::global(), Reason::Address, "http").await;
        check(
            "http://localhost:1/secret",
            Reach::Listed(["10.0.0.0/8".parse().unwrap()].into()),
            Reason::Address,
            "http",
        )
        .await;
        check("secret", Reach::Dev, Reason::Url, "relative URL").await;
    }

    #[tokio::test]
    async fn a_call_that_finds_nobody_says_so_without_its_url() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/secret", listener.local_addr().unwrap());
        drop(listener);
        check(&url, Reach::Dev, Reason::Connect, "no connection: Connection refused").await;
        check("https://name.invalid/secret", Reach::Dev, Reason::Connect, "no connection").await;
    }
}
