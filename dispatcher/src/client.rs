//! The one HTTP client: no redirects, one deadline over everything, capped answers, guarded addresses, so many kept
//! connections.
//!
//! Does not own what an answer means ([`crate::response`]) or when a call is made again ([`crate::retry`]). Messages
//! are made here without the URL, whose path and query may be secret.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fpaas_core::limits;
use fpaas_core::subscription::Identity;
use fpaas_state::Timings;
use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{ClientBuilder, redirect};
use rustls::sign::CertifiedKey;
use tokio::time::Instant;
use url::{Host, Position, Url};

use crate::address::{Guard, Lookup, Refused, Resolver, Unguarded};
use crate::response::{Answer, Body, Failure, Reason};
use crate::timings::{self, Marking};
use crate::{Config, Ended, Error, Network, Outside};

mod answer;
mod identities;
mod kept;
mod tls;

use answer::{Piece, Room};
use identities::{Found, Identities};
use kept::Kept;

/// Connections that were not used for so long are closed: many load balancers close theirs after 60 s.
const IDLE: Duration = Duration::from_secs(50);
/// Idle connections kept for one endpoint.
const IDLE_PER_HOST: usize = 16;
/// While something is asked over HTTP/2 and nothing comes, its connection is tried so often, for so long.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// What an endpoint may send ahead of what is read: of one answer, and of all answers on a connection.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// The longest head of an answer over HTTP/2.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Shared by all lanes; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    https: Guarded,
    http: Guarded,
    /// The clients of calls that show a certificate.
    identities: Arc<Identities>,
    kept: Arc<Kept>,
    /// For answers.
    room: Room,
    network: Network,
    outside: Option<Arc<dyn Outside>>,
}

/// Each with its own resolver: a name is not called by `http` at an address that asks for `https`.
#[derive(Clone, Debug)]
struct Guarded {
    /// Keeps connections.
    client: reqwest::Client,
    /// Opens one for each call.
    fresh: reqwest::Client,
    resolver: Resolver,
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
    /// What the endpoint knows the caller by.
    pub(crate) identity: Option<Identity<'a>>,
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Called {
    /// The answer, or why there is none.
    pub(crate) answer: Result<Answer, Failure>,
    pub(crate) timings: Timings,
    /// The beginning of the answer's body, whatever its status: at most `limits::RESPONSE_PIECE_BYTES_MAX`, decoded.
    pub(crate) piece: Bytes,
}

impl Client {
    /// Made once per stage.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        Self::with(config, Lookup::system())
    }

    /// Where `lookup` says which addresses a name has.
    pub(crate) fn with(config: &Config, lookup: Lookup) -> Result<Self, Error> {
        // Where the program has already chosen a provider, that one stays.
        drop(rustls::crypto::ring::default_provider().install_default());
        let made = |guard| Guarded::new(&config.network, Resolver { guard, lookup: lookup.clone() }, None);
        Ok(Self {
            https: made(Guard::https(config))?,
            http: made(Guard::http(config))?,
            identities: Arc::default(),
            kept: Arc::default(),
            room: Room::of(limits::ANSWERS_BYTES_MAX),
            network: config.network.clone(),
            outside: config.outside.clone(),
        })
    }

    /// Makes a call and reads its answer.
    pub(crate) async fn call(&self, call: Call<'_>) -> Called {
        let (timeout, mut piece) = (call.timeout, Piece::default());
        let late = |_| Failure::new(Reason::Timeout, format!("no answer within {} ms", timeout.as_millis()));
        let exchange = tokio::time::timeout(timeout, self.exchange(call, &mut piece));
        let (answer, timings) = timings::of(async { exchange.await.map_err(late)? }).await;
        Called { answer, timings, piece: piece.into_bytes() }
    }

    /// Uniform in 0..1. Only spreads retries, so that a failing source of randomness costs nothing but that.
    pub(crate) fn random(&self) -> f64 {
        let random = || f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
        self.outside.as_ref().map_or_else(random, |outside| outside.random())
    }

    async fn exchange(&self, mut call: Call<'_>, piece: &mut Piece) -> Result<Answer, Failure> {
        if let Some(outside) = &self.outside {
            return simulated(&**outside, call).await;
        }
        let (client, url) = self.permitted(call.url, call.identity).await?;
        call.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(answer::ENCODINGS));
        let sent = client.post(url).headers(call.headers).body(call.body).send().await;
        let response = sent.map_err(|error| tls::refused(&error, call.identity).unwrap_or_else(|| failure(&error)))?;
        timings::answered();
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (status, retry_after, delivery) = (response.status(), text("retry-after"), text("webhook-delivery"));
        let body = match status.is_success() {
            true if call.wants_body => answer::whole(response, piece, &self.room).await?,
            true => answer::unless_late(response, piece, &self.room).await,
            false => answer::drain(response, piece).await,
        };
        Ok(Answer { status: status.as_u16(), retry_after, delivery, body })
    }

    async fn permitted(&self, url: &str, identity: Option<Identity<'_>>) -> Result<(reqwest::Client, Url), Failure> {
        let url = Url::parse(url).map_err(|error| Failure::new(Reason::Url, error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Failure::new(Reason::Url, "a URL has no user and no password"));
        }
        let origin = &url[..Position::BeforePath];
        let (Guarded { client, fresh, resolver }, host) = match (url.scheme(), identity) {
            ("https", None) => (self.https.clone(), origin.to_owned()),
            ("https", Some(identity)) => {
                let digest = identity.digest();
                let host = Kept::host_of(&digest, origin);
                (self.identified(&digest, identity)?, host)
            }
            (_, None) => (self.http.clone(), origin.to_owned()),
            (_, Some(_)) => return Err(Failure::new(Reason::Url, "a client certificate is shown by https alone")),
        };
        resolver.guard.check_host(&url).map_err(|refused| refusal(&refused))?;
        if let Some(Host::Domain(name)) = url.host().filter(|_| self.network.proxy.is_some()) {
            // The proxy asks for the addresses anew, and connects to what it is told then.
            resolver.addresses(name).await.map_err(|error| match error.downcast_ref() {
                Some(refused) => refusal(refused),
                None => Failure::new(Reason::Connect, format!("no connection: {error}")),
            })?;
        }
        let keeps = self.kept.keeps(&host, Instant::now());
        Ok((if keeps { client } else { fresh }, url))
    }

    /// The client that shows this certificate, and nothing else.
    fn identified(&self, digest: &str, identity: Identity<'_>) -> Result<Guarded, Failure> {
        let unusable =
            |why: &str| Failure::new(Reason::Connect, format!("its client certificate cannot be used: {why}"));
        let Found { client, gone } = self.identities.of(digest, || {
            let certified = identity.certified().map_err(|wrong| unusable(&wrong.detail))?;
            let made = Guarded::new(&self.network, self.https.resolver.clone(), Some(&Arc::new(certified)));
            made.map_err(|error| unusable(&error.to_string()))
        })?;
        if let Some((digest, _connections)) = gone {
            self.kept.forget(&digest);
        }
        Ok(client)
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

impl Guarded {
    fn new(network: &Network, resolver: Resolver, shown: Option<&Arc<CertifiedKey>>) -> Result<Self, Error> {
        let made = |idle| -> Result<_, Error> {
            let builder = builder(network, &resolver, shown)?;
            builder.pool_max_idle_per_host(idle).build().map_err(Error::Client)
        };
        Ok(Self { client: made(IDLE_PER_HOST)?, fresh: made(0)?, resolver })
    }
}

fn builder(network: &Network, resolver: &Resolver, shown: Option<&Arc<CertifiedKey>>) -> Result<ClientBuilder, Error> {
    let builder = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .retry(reqwest::retry::never())
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PONG)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(HEAD_BYTES_MAX)
        .tls_backend_preconfigured(tls::config(&network.trust, shown).map_err(Error::Tls)?)
        .connector_layer(Marking);
    Ok(match &network.proxy {
        // Nothing but the proxy's own name is looked up on the way to a connection.
        Some(proxy) => {
            let proxy = proxy.client().map_err(Error::Client)?;
            builder.proxy(proxy).dns_resolver(Unguarded(resolver.lookup.clone()))
        }
        None => builder.dns_resolver(resolver.clone()),
    })
}

fn refusal(refused: &Refused) -> Failure {
    Failure::new(Reason::Address, refused.to_string())
}

fn failure(error: &reqwest::Error) -> Failure {
    let causes = || std::iter::successors(error.source(), |cause| (*cause).source());
    if let Some(refused) = causes().find_map(|cause| cause.downcast_ref::<Refused>()) {
        return refusal(refused);
    }
    let reason = if error.is_connect() { Reason::Connect } else { Reason::Cut };
    let what = if error.is_connect() { "no connection" } else { "the connection ended before the answer" };
    let cause = causes().last().map(ToString::to_string).unwrap_or_default();
    Failure::new(reason, format!("{what}: {cause}"))
}

#[cfg(test)]
mod tests;
