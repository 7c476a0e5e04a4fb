//! The parts of a subscription with their defaults (design §6).

use std::time::Duration;

use schemars::JsonSchema;

use super::client_certificate::given;
use super::{BTreeMap, ClientCertificate, Deserialize, Did, Kind, Operation, Secret, Serialize, TopicName, limits};

/// The topic records come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Source {
    /// `firehose`, or a topic of the tenant.
    pub topic: TopicName,
}

impl Default for Source {
    #[expect(clippy::expect_used, reason = "a constant name, parsed in every test")]
    fn default() -> Self {
        Self { topic: TopicName::parse(TopicName::FIREHOSE).expect("the built-in name is well-formed") }
    }
}

/// Where a new subscription begins: `earliest`, `latest`, or an RFC 3339 time (by receipt, not by the event's own
/// time).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, from = "String", into = "String")]
pub enum StartFrom {
    /// With what is still there.
    Earliest,
    /// With the next record.
    #[default]
    Latest,
    /// With the first record received at or after this time; checked by `violations`.
    At(String),
}

impl From<String> for StartFrom {
    fn from(text: String) -> Self {
        match text.as_str() {
            "earliest" => Self::Earliest,
            "latest" => Self::Latest,
            _ => Self::At(text),
        }
    }
}

impl From<StartFrom> for String {
    fn from(start: StartFrom) -> String {
        match start {
            StartFrom::Earliest => "earliest".to_owned(),
            StartFrom::Latest => "latest".to_owned(),
            StartFrom::At(text) => text,
        }
    }
}

/// Which records: every list that is not empty must hold, and the expression must be true. `collections` or
/// `operations` imply commits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Filter {
    /// Kinds of events.
    #[schemars(length(max = limits::FILTER_ENTRIES_MAX))]
    pub kinds: Vec<Kind>,
    /// NSIDs, exact or as a prefix: `app.bsky.feed.*`.
    #[schemars(length(max = limits::FILTER_ENTRIES_MAX))]
    #[schemars(inner(pattern(r"^[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*(\.\*)?$")))]
    pub collections: Vec<String>,
    /// What was done to the record.
    #[schemars(length(max = limits::FILTER_ENTRIES_MAX))]
    pub operations: Vec<Operation>,
    /// Repos.
    #[schemars(length(max = limits::FILTER_DIDS_MAX))]
    pub dids: Vec<Did>,
    /// A JMESPath over the value; the record passes when the result is truthy. One that fails is no match, counted.
    #[schemars(length(min = 1, max = limits::EXPRESSION_BYTES_MAX))]
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

/// How deliveries become batches: the first bound reached wins; the timer starts at the first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Collector {
    /// 1–10,000.
    #[schemars(range(min = *limits::BATCH_EVENTS.start(), max = *limits::BATCH_EVENTS.end()))]
    pub max_events: u32,
    /// 1 KiB–6 MiB of event bytes. An event that would overflow starts the next batch; a larger one goes alone.
    #[schemars(range(min = *limits::BATCH_BYTES.start(), max = *limits::BATCH_BYTES.end()))]
    pub max_bytes: u32,
    /// 0–300,000.
    #[schemars(range(min = *limits::BATCH_WAIT_MS.start(), max = *limits::BATCH_WAIT_MS.end()))]
    pub max_wait_ms: u64,
}

impl Default for Collector {
    fn default() -> Self {
        Self { max_events: 100, max_bytes: 1024 * 1024, max_wait_ms: 1000 }
    }
}

/// What happens to a batch. Exactly one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Processor {
    /// An HTTP endpoint is called.
    Webhook(Webhook),
    /// An expression maps, filters or re-keys. Not built yet.
    #[schemars(skip)]
    Jmespath(serde_json::Value),
    /// A keyed aggregate over windows. Not built yet.
    #[schemars(skip)]
    Reduce(serde_json::Value),
}

/// An HTTP endpoint and how it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// `https`; `http` in dev.
    #[schemars(length(max = limits::WEBHOOK_URL_BYTES_MAX), extend("format" = "uri"))]
    pub url: String,
    /// A JMESPath over each event: its result stands in the event's place. An event on which it fails is a dead letter.
    #[schemars(length(min = 1, max = limits::EXPRESSION_BYTES_MAX))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Of the request's body.
    #[serde(default)]
    pub format: Format,
    /// One deadline over DNS, connect, TLS, request and body.
    #[serde(default = "default_timeout_ms")]
    #[schemars(range(min = *limits::WEBHOOK_TIMEOUT_MS.start(), max = *limits::WEBHOOK_TIMEOUT_MS.end()))]
    pub timeout_ms: u64,
    /// Sent with every call.
    #[serde(default)]
    #[schemars(extend("maxProperties" = limits::WEBHOOK_HEADERS_MAX))]
    pub headers: BTreeMap<String, String>,
    /// Of the request's body.
    #[serde(default)]
    pub compression: Compression,
    /// How calls are signed; at least one, each once.
    #[serde(default = "default_signing")]
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub signing: Vec<Scheme>,
    /// `whsec_…`; write-only: taken, stored, never given back but by `GET …/secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("writeOnly" = true))]
    pub secret: Option<Secret>,
    /// What the endpoint knows the caller by, over `https` alone.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
}

const fn default_timeout_ms() -> u64 {
    30_000
}

fn default_signing() -> Vec<Scheme> {
    vec![Scheme::V1]
}

/// A signature scheme of Standard Webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// HMAC-SHA256 with the secret.
    V1,
    /// Ed25519 with a key that follows from the secret: checked with the public key of `GET …/publicKey`.
    V1a,
}

/// How a body holds its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One object with a list.
    #[default]
    Json,
    /// One event a line.
    Ndjson,
    /// A list of CloudEvents 1.0.
    CloudeventsBatch,
}

/// Of a request's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Where results go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Output {
    /// A topic of the tenant; made with defaults where it is missing.
    pub topic: TopicName,
}

/// What keeps its order when a batch fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// Only events of the same key wait: they are parked behind the one that failed, and all others go on.
    #[default]
    Key,
    /// The lane waits.
    Partition,
    /// Nothing waits.
    None,
}

/// What happens after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retry {
    /// The first wait; doubles each time.
    #[schemars(range(min = *limits::BACKOFF_MS.start(), max = *limits::BACKOFF_MS.end()))]
    pub initial_backoff_ms: u64,
    /// The longest wait.
    #[schemars(range(min = *limits::BACKOFF_MS.start(), max = *limits::BACKOFF_MS.end()))]
    pub max_backoff_ms: u64,
    /// From the freeze of the batch on; then it is exhausted.
    #[schemars(range(min = *limits::ELAPSED_MS.start(), max = *limits::ELAPSED_MS.end()))]
    pub max_elapsed_ms: u64,
    /// What a failed batch does.
    pub on_failure: OnFailure,
    /// What an exhausted batch does.
    pub on_exhausted: OnExhausted,
}

impl Retry {
    /// `initialBackoffMs`.
    pub const fn initial_backoff(&self) -> Duration {
        Duration::from_millis(self.initial_backoff_ms)
    }

    /// `maxBackoffMs`.
    pub const fn max_backoff(&self) -> Duration {
        Duration::from_millis(self.max_backoff_ms)
    }

    /// `maxElapsedMs`.
    pub const fn max_elapsed(&self) -> Duration {
        Duration::from_millis(self.max_elapsed_ms)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            initial_backoff_ms: 1000,
            max_backoff_ms: 60_000,
            max_elapsed_ms: 300_000,
            on_failure: OnFailure::default(),
            on_exhausted: OnExhausted::default(),
        }
    }
}

/// What a failed batch does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// It is sent again as it is.
    #[default]
    Retry,
    /// Where what it holds may be to blame it is halved, down to the event that cannot go through. Where the endpoint
    /// is (no connection, `408`, `429`, `503`), it is sent again as it is.
    Bisect,
}

/// What an exhausted batch does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnExhausted {
    /// Its events become dead letters and the lane goes on.
    #[default]
    DeadLetter,
    /// It is retried for ever.
    Block,
    /// Its events are dropped, counted, and the lane goes on.
    Drop,
}

/// How fast an endpoint is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Throttle {
    /// The most events per second, an even share of it in each lane; null for no limit. A batch is never split.
    #[schemars(range(min = *limits::THROTTLE_EVENTS.start(), max = *limits::THROTTLE_EVENTS.end()))]
    pub events_per_second: Option<u32>,
}

/// Whether it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    #[default]
    Active,
    /// It keeps its place: nothing is read for it, and its endpoint is not called.
    Paused,
    /// The same: its endpoint said that it is no more, or did nothing but fail for days. Goes on when it is made
    /// active.
    Disabled,
}
