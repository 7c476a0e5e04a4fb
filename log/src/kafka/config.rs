//! What can be set about the Kafka log, and every option of librdkafka that is set, with its reason. No other file sets
//! one.

use std::time::Duration;

use fpaas_core::limits;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::pace::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
use crate::{Error, Result};

/// Settings of a [`crate::Kafka`] log.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port,…` of some of the brokers.
    pub brokers: String,
    /// The topic whose partitions are the slots: joined by every member, never written (`Topics::slots`).
    pub slots: String,
    /// The topic whose offsets count each slot's transactions, never written (`Topics::fence`).
    pub fence: String,
    /// What transactional ids and the fetch group's name begin with: as the topics.
    pub prefix: String,
    /// Any property of librdkafka, over those set here. Those that the guarantee rests on are refused.
    pub properties: Vec<(String, String)>,
    /// Copies of each topic's records; `None` is the cluster's default.
    pub replication: Option<i32>,
    /// How long a member may be silent until its slots go to others. Default: 10 s.
    pub session: Duration,
    /// How long a member may take to let go of its revoked slots. Default: 10 s.
    pub revoke_wait: Duration,
    /// How long an answer of the brokers is waited for. Default: 10 s.
    pub request_wait: Duration,
}

/// After this the brokers abort a transaction by themselves: the longest that a dead node's open one holds readers back
/// when nobody ends it.
pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(8);

/// What clients call themselves.
const CLIENT_ID: &str = concat!("fpaas/", env!("CARGO_PKG_VERSION"));

/// What the guarantee rests on.
const OURS: [&str; 24] = [
    "group.id",
    "group.instance.id",
    "transactional.id",
    "transaction.timeout.ms",
    "enable.idempotence",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "auto.offset.reset",
    "isolation.level",
    "acks",
    "request.required.acks",
    "partition.assignment.strategy",
    "bootstrap.servers",
    "metadata.broker.list",
    "group.protocol",
    "allow.auto.create.topics",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "enable.gapless.guarantee",
    "log.queue",
    "message.max.bytes",
];

/// How a client logs in, by either of its names.
pub(super) const MECHANISM: [&str; 2] = ["sasl.mechanism", "sasl.mechanisms"];

/// Without the properties' values: they may be passwords.
impl std::fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let properties: Vec<_> = self.properties.iter().map(|(name, _)| name).collect();
        let Self { brokers, prefix, .. } = self;
        f.debug_struct("KafkaConfig")
            .field("brokers", brokers)
            .field("prefix", prefix)
            .field("properties", &properties)
            .finish_non_exhaustive()
    }
}

/// Names the property and not its value, which may be a password.
pub(super) fn unusable(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, why, name, _) => format!("the property {name}: {why}"),
        _ => "librdkafka does not take the properties".to_owned(),
    }
}

impl KafkaConfig {
    /// The defaults, for an installation whose names start with `prefix`.
    pub fn new(brokers: &str, topics: &fpaas_core::topics::Topics) -> Self {
        Self {
            brokers: brokers.to_owned(),
            slots: topics.slots(),
            fence: topics.fence(),
            prefix: topics.prefix().to_owned(),
            properties: Vec::new(),
            replication: None,
            session: Duration::from_secs(10),
            revoke_wait: Duration::from_secs(10),
            request_wait: Duration::from_secs(10),
        }
    }

    /// What is wrong with the properties, before anything is opened.
    pub fn check(&self) -> Result<()> {
        for (name, _) in &self.properties {
            if OURS.contains(&name.as_str()) {
                return Err(Error::Fatal(format!("the property {name} is set by FPaaS: exactly-once rests on it")));
            }
        }
        let has_tokens = self.property(&["enable.sasl.oauthbearer.unsecure.jwt"]) == Some("true");
        if self.property(&MECHANISM) == Some("OAUTHBEARER") && !has_tokens {
            return Err(Error::Fatal(
                "sasl.mechanism=OAUTHBEARER: this build has no tokens but those of \
                 enable.sasl.oauthbearer.unsecure.jwt=true, which are for tests; log in by PLAIN, SCRAM or a certificate"
                    .to_owned(),
            ));
        }
        self.admin().create_native_config().map(drop).map_err(|error| Error::Fatal(unusable(&error)))
    }

    /// What all clients have.
    fn common(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        for (name, value) in [
            ("bootstrap.servers", self.brokers.as_str()),
            ("client.id", CLIENT_ID),
            // A broker that is away is tried again soon: the defaults wait up to 10 s.
            ("reconnect.backoff.ms", "50"),
            ("reconnect.backoff.max.ms", "1000"),
            // A request that failed is sent again at once: the default of 100 ms is most of a transaction's time.
            ("retry.backoff.ms", "5"),
            ("retry.backoff.max.ms", "500"),
            // Topics are made by us, with their settings, or not at all. Producers allow it by default.
            ("allow.auto.create.topics", "false"),
            // A new topic is known within this; who appends to one that is gone learns it within this.
            ("topic.metadata.propagation.max.ms", "5000"),
            // Several connections to one broker do not wait for each other's small packets.
            ("socket.nagle.disable", "true"),
            // Loopback and private networks lose no connection silently; others are asked now and then.
            ("socket.keepalive.enable", "true"),
            // One connection attempt; the default of 30 s is longer than a session.
            ("socket.connection.setup.timeout.ms", "5000"),
            // No messages to a telemetry endpoint (KIP-714) that nobody asked for.
            ("enable.metrics.push", "false"),
        ] {
            config.set(name, value);
        }
        config
    }

    /// Looks whether the brokers answer and what they speak (`reach`).
    pub(super) fn scout(&self) -> ClientConfig {
        let mut config = self.admin();
        // The versions that a broker speaks are told to the log alone.
        config.set_log_level(RDKafkaLogLevel::Debug);
        let debug = config.get("debug").map_or_else(String::new, |debug| format!("{debug},"));
        config.set("debug", format!("{debug}feature"));
        config
    }

    /// How long a member may be silent, whoever has said so.
    pub(super) fn session(&self) -> Duration {
        let set = self.property(&["session.timeout.ms"]).and_then(|text| text.parse().ok());
        set.map_or(self.session, Duration::from_millis)
    }

    /// What is set of a property, under any of its names.
    pub(super) fn property(&self, names: &[&str]) -> Option<&str> {
        let mut found = self.properties.iter().rev().filter(|(name, _)| names.contains(&name.as_str()));
        found.next().map(|(_, value)| value.as_str())
    }

    fn with_properties(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        if self.property(&MECHANISM) == Some("OAUTHBEARER") {
            // Tokens are renewed on a thread of librdkafka's own (`ffi::serve_tokens`).
            config.set("enable_sasl_queue", "true");
        }
        config
    }

    /// Settings of topics, offsets, groups.
    pub(super) fn admin(&self) -> ClientConfig {
        self.with_properties(self.common())
    }

    /// Reads partitions that it is given; member of no group.
    pub(super) fn fetcher(&self) -> ClientConfig {
        let mut config = self.common();
        for (name, value) in [
            // librdkafka assigns partitions only to a client that names a group; this one has no members.
            ("group.id", format!("{}.fetch", self.prefix).as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            // Aborted records and those of open transactions are never seen.
            ("isolation.level", "read_committed"),
            // The end tells a reader that all is read, past every control record.
            ("enable.partition.eof", "true"),
            // What is gone is said, not skipped.
            ("auto.offset.reset", "error"),
            // A partition that is added waits for the fetch under way: at most this long.
            ("fetch.wait.max.ms", "100"),
            ("fetch.min.bytes", "1"),
            // What one answer may bring, and what is kept of it before our own windows: at the defaults (50 MB and
            // 64 MB) a busy process grows to gigabytes.
            ("fetch.max.bytes", "4194304"),
            ("max.partition.fetch.bytes", "1048576"),
            ("queued.max.messages.kbytes", "8192"),
            // Asked for again at once after the queue was full; the default waits a second.
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.error.backoff.ms", "50"),
            // TCP and the brokers check what they carry; the CRC costs a tenth of the reading.
            ("check.crcs", "false"),
        ] {
            config.set(name, value);
        }
        self.with_properties(config)
    }

    /// A member of a stage's group: owns slots, fetches nothing.
    /// `client_id` tells it from others of its name (`ghost`).
    pub(super) fn member(&self, group: &str, member: &str, client_id: &str) -> ClientConfig {
        let mut config = self.common();
        for (name, value) in [
            ("group.id", group),
            // Static membership (KIP-345): a node that comes back has its slots at once, and one of the same name is
            // fenced.
            ("group.instance.id", member),
            // Only the slots that move are revoked (KIP-429). The classic protocol: with KIP-848 the session is the
            // broker's, 45 s or more.
            ("group.protocol", "classic"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("session.timeout.ms", self.session.as_millis().to_string().as_str()),
            // So late the members hear that one has gone: most of a takeover after a stop.
            ("heartbeat.interval.ms", (self.session.as_millis() / 6).clamp(100, 1000).to_string().as_str()),
            // Our thread polls all the time, except while a revocation is waited for.
            ("max.poll.interval.ms", "60000"),
        ] {
            config.set(name, value);
        }
        let mut config = self.with_properties(config);
        config.set("client.id", client_id);
        config
    }

    /// What a member calls itself: no other does.
    pub(super) fn member_client_id(&self, random: u64) -> String {
        let given = self.properties.iter().rev().find(|(name, _)| name == "client.id");
        format!("{}-{random:016x}", given.map_or(CLIENT_ID, |(_, value)| value))
    }

    /// A transactional producer.
    pub(super) fn writer(&self, id: &str) -> ClientConfig {
        let mut config = self.common();
        let timeout = TRANSACTION_TIMEOUT.as_millis().to_string();
        let record_max = (limits::RECORD_BYTES_MAX + RECORD_MARGIN).to_string();
        let (batch_max, records_max) = (BATCH_BYTES_MAX.to_string(), BATCH_RECORDS_MAX.to_string());
        let queue_kbytes = (2 * limits::TRANSACTION_BYTES_MAX / 1024).to_string();
        for (name, value) in [
            ("transactional.id", id),
            ("transaction.timeout.ms", timeout.as_str()),
            ("message.timeout.ms", timeout.as_str()),
            ("enable.idempotence", "true"),
            ("acks", "all"),
            // What is handed over is one batch (`pace`): the broker thread, which wakes for its first record, waits for
            // the others. At the first of a transaction it waits at least as long for the partition's registration.
            ("linger.ms", "1"),
            ("batch.size", batch_max.as_str()),
            ("batch.num.messages", records_max.as_str()),
            // Firehose JSON shrinks to a third; lz4 costs the least.
            ("compression.type", "lz4"),
            ("message.max.bytes", record_max.as_str()),
            // Room for the largest transaction; what waits beyond it waits in our own queue.
            ("queue.buffering.max.kbytes", queue_kbytes.as_str()),
            ("queue.buffering.max.messages", "1000000"),
        ] {
            config.set(name, value);
        }
        self.with_properties(config)
    }
}

/// What a record takes in a topic beyond its parts: framing, headers' lengths, the batch's own header.
pub(super) const RECORD_MARGIN: usize = 64 * 1024;
