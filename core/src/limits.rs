//! Every bound of the system, with where it comes from. Invariant: bounded.

use std::time::Duration;

/// The longest DID (atproto.com/specs/did).
pub const DID_BYTES_MAX: usize = 2048;

/// The largest frame taken from an upstream. The spec caps a commit's blocks at 2 MB and a frame at 5 MB.
pub const FRAME_BYTES_MAX: usize = 5 * 1024 * 1024;
/// The largest message that is read at all: a frame above its own limit is dropped and counted, and the next one comes.
pub const MESSAGE_BYTES_MAX: usize = 4 * FRAME_BYTES_MAX;
/// Frames waiting between the socket and the decoder.
pub const FRAMES_WAITING_MAX: usize = 512;
/// The same in bytes: frames above it wait in the socket.
pub const FRAMES_WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The highest `seq` of an upstream: the integers that JSON takes everywhere (atproto.com/specs/data-model: 53 bits).
pub const SEQ_MAX: u64 = (1 << 53) - 1;
/// How far one `seq` may be above the last: a year of microseconds, for upstreams that count in them.
pub const SEQ_LEAP_MAX: u64 = 1 << 45;
/// What decoding one commit may hash, read and write of records, in multiples of its bytes: each once, and what is
/// written is at most fourteen times what is read (an empty byte string). Only ops that share a block can need more.
pub const FRAME_WORK_FACTOR: usize = 16;
/// The same beyond that: room for many small records that are one block.
pub const FRAME_WORK_BYTES_MIN: usize = 1024 * 1024;
/// The events of one frame in bytes: JSON can be several times its CBOR, and ops may share a block.
pub const FRAME_EVENTS_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// The first wait before a lost upstream is dialled again; it doubles from there.
pub const RECONNECT_WAIT_MIN: Duration = Duration::from_millis(500);
/// The longest wait before a lost upstream is dialled again.
pub const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(30);
/// The longest that dialling an upstream takes: name, connection, TLS and upgrade.
pub const UPSTREAM_DIAL_MAX: Duration = Duration::from_secs(10);
/// How often an upstream is pinged.
pub const UPSTREAM_PING: Duration = Duration::from_secs(15);
/// How long an upstream may be silent, pongs included, until it is dialled again.
pub const UPSTREAM_SILENCE_MAX: Duration = Duration::from_secs(45);
/// The longest that a recording's play waits for one frame, whatever its time says.
pub const RECORDING_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Repos and statements remembered to tell what several upstreams bring twice.
pub const SEEN_ELSEWHERE_MAX: usize = 1_000_000;
/// How far back from where the upstreams were left, by receipt, a restart reads to remember them: one upstream may lag
/// the other by so much.
pub const SEEN_ELSEWHERE_HORIZON: Duration = Duration::from_secs(600);
/// The furthest back that a restart reads for an upstream that was left earlier than the others.
pub const SEEN_ELSEWHERE_REACH: Duration = Duration::from_secs(3600);
/// What one ingest transaction carries at most, so that its memory and its latency are bounded.
pub const INGEST_TRANSACTION_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The frames of one ingest transaction in bytes, whatever becomes of them: a step ends with the frame that reaches it.
pub const INGEST_STEP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The deepest nesting of a record that is decoded; what is deeper is dropped under a reason.
pub const RECORD_DEPTH_MAX: usize = 64;
/// The most operations of one commit (atproto.com/specs/sync: 200).
pub const COMMIT_OPS_MAX: usize = 200;

/// Slots whose tables are read back at a time.
pub const RESTORES_MAX: usize = 16;

/// The largest record of any topic: Kafka's default `message.max.bytes` is 1 MiB + 12; ours is set where topics are
/// made.
pub const RECORD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What stages add to a record's headers after it was taken in: where it came from, why it was given up on.
pub const ADDED_HEADERS_BYTES_MAX: usize = 64 * 1024;
/// The largest record that is taken in, from an upstream or from an answer: whatever is added to it later, the log
/// still takes it.
pub const SOURCE_RECORD_BYTES_MAX: usize = RECORD_BYTES_MAX - ADDED_HEADERS_BYTES_MAX;
/// What a delivery has more than its source: topic, partition and offset, and the same once more as an id.
pub const DELIVERY_HEADERS_BYTES_MAX: usize = 2 * TOPIC_NAME_BYTES_MAX + 256;
/// What a dead letter has more than its delivery: the message, and names, times, numbers and ids beside it.
pub const DEAD_LETTER_HEADERS_BYTES_MAX: usize = FAILURE_MESSAGE_BYTES_MAX + 1024;
/// The longest sentence about a failure: the rest of it is cut off.
pub const FAILURE_MESSAGE_BYTES_MAX: usize = 1024;
/// The most bytes of one transaction: the largest batch's results and a margin.
pub const TRANSACTION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What one fetch returns at most, unless a single record is larger.
pub const FETCH_BYTES_MAX: usize = 1024 * 1024;
/// The same in records.
pub const FETCH_RECORDS_MAX: usize = 1000;
/// The longest a fetch waits at the tail before it answers empty.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(30);
/// Partitions of one topic.
pub const PARTITIONS_MAX: u32 = 256;
/// The longest name of a topic: Kafka's.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// The metadata of a position: what a Kafka broker takes by default (`offset.metadata.max.bytes`).
pub const POSITION_METADATA_BYTES_MAX: usize = 4096;
/// What all partitions that are read from Kafka hold ahead of their readers: a quarter of a fetch each, where there are
/// very many.
pub const KAFKA_AHEAD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Transactions that wait for the log's committer.
pub const COMMITS_WAITING_MAX: usize = 1024;
/// The bytes of those, so that many writers do not gather in memory what the disk cannot take.
pub const COMMITS_WAITING_BYTES_MAX: usize = TRANSACTION_BYTES_MAX;
/// Transactions that the embedded log writes at once.
pub const COMMIT_GROUP_MAX: usize = 1024;
/// The bytes of those, unless a single one is larger.
pub const COMMIT_GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Messages of a membership that wait to be read; a member that leaves more unread is fenced.
pub const MEMBER_EVENTS_MAX: usize = 256;
/// The partitions of `firehose` where nothing else is said.
pub const FIREHOSE_PARTITIONS: u32 = 16;

/// The most bytes of an API request's body.
pub const API_BODY_BYTES_MAX: usize = 1024 * 1024;
/// What the bodies that arrive at a time may take together, and what those of one tenant.
pub const API_BODIES_BYTES_MAX: usize = 32 * 1024 * 1024;
pub const API_BODIES_BYTES_EACH: usize = 8 * 1024 * 1024;
/// The most items of a page.
pub const PAGE_ITEMS_MAX: usize = 1000;
/// The items of a page where nothing else is said.
pub const PAGE_ITEMS_DEFAULT: usize = 100;
/// The longest a PUT waits until its command is applied and durable.
pub const API_APPLY_WAIT: Duration = Duration::from_secs(10);
/// Open SSE tails of one process, and of one tenant.
pub const TAILS_MAX: usize = 256;
pub const TAILS_EACH: usize = 32;
/// Open connections of the API; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 1024;
/// The most bytes of a request's head.
pub const API_HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long a client may take to send a request's head, and how long a connection may be idle.
pub const API_HEAD_WAIT: Duration = Duration::from_secs(30);
/// How long a client may take to send a request's body.
pub const API_BODY_WAIT: Duration = Duration::from_secs(30);
/// How long a client may read nothing of what is written to it.
pub const API_WRITE_WAIT: Duration = Duration::from_secs(30);
/// What is wrong with one request: more is not looked for.
pub const API_VIOLATIONS_MAX: usize = 50;
/// How many entity tags `If-Match` and `If-None-Match` may name.
pub const API_TAGS_MAX: usize = 32;
/// How often a patch is tried on what somebody else has changed meanwhile.
pub const API_PATCH_TRIES: u32 = 8;
/// How long a secret signs beside the one that has replaced it, in milliseconds: a day, and a week at most.
pub const SECRET_OVERLAP_MS_DEFAULT: u64 = 24 * 3600 * 1000;
pub const SECRET_OVERLAP_MS_MAX: u64 = 7 * SECRET_OVERLAP_MS_DEFAULT;
/// How many of the most recent records a dry run looks at.
pub const DRY_RUN_EVENTS_MAX: usize = 1000;
/// How many events an expression is tried on at once, how many such requests have their turn at a time, and how many of
/// one tenant.
pub const EVALUATE_EVENTS_MAX: usize = 100;
pub const EVALUATIONS_MAX: usize = 2;
pub const EVALUATIONS_EACH: usize = 1;
/// How many of one tenant have their turn or wait for it: the next one is told at once.
pub const EVALUATIONS_WAITING_EACH: usize = 8;
/// How long one waits for its turn, and how long it may take.
pub const EVALUATION_WAIT: Duration = Duration::from_secs(5);
pub const EVALUATION_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a node waits to hear of a revision that a request names.
pub const API_FOLLOW_WAIT: Duration = Duration::from_secs(1);
/// A page ends with the record that reaches it.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The deepest nesting of a record's value that is shown as JSON: most parsers give up at 128.
pub const PAGE_DEPTH_MAX: usize = 100;
/// What a tail holds of all its partitions at most, unless single records are larger.
pub const TAIL_BYTES_MAX: usize = 1024 * 1024;
/// How often a tail that has nothing to say shows that it is there.
pub const TAIL_HEARTBEAT: Duration = Duration::from_secs(15);

/// The longest filter of a node's messages.
pub const MESSAGES_BYTES_MAX: usize = 1024;
/// The most events a second that a replay can be held to.
pub const REPLAY_RATE_MAX: u32 = 1_000_000;
/// The longest a webhook that is tried may take, how many are tried at a time, and how many of one tenant.
pub const TRIAL_TIME_MAX: Duration = Duration::from_secs(30);
pub const TRIALS_MAX: usize = 32;
pub const TRIALS_EACH: usize = 2;
/// The longest that all checks of a receiver may take together, and the largest batch that one is sent.
pub const VERIFY_TIME_MAX: Duration = Duration::from_secs(600);
pub const VERIFY_BATCH_BYTES_MAX: usize = *BATCH_BYTES.end() as usize;
/// How long a request with an `Idempotency-Key` is remembered, and how many of a tenant's at most.
pub const ONCE_KEPT: Duration = Duration::from_secs(24 * 3600);
pub const ONCE_MAX: usize = 256;
/// The longest `Idempotency-Key`.
pub const ONCE_KEY_BYTES_MAX: usize = 255;
/// Tenants of an installation. Each that is in a pool of its own costs every node a consumer group per stage.
pub const TENANTS_MAX: usize = 10_000;
/// API keys of one tenant: one per program and its successor, and room for more.
pub const KEYS_MAX: usize = 100;
/// The longest description of an API key.
pub const KEY_DESCRIPTION_BYTES_MAX: usize = 200;
/// Subscriptions of one tenant, until quotas are there.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;
/// Topics of one tenant, until quotas are there.
pub const TOPICS_MAX: usize = 10_000;
/// Entries of one list of a filter (collections, operations, kinds).
pub const FILTER_ENTRIES_MAX: usize = 100;
/// DIDs of one filter.
pub const FILTER_DIDS_MAX: usize = 10_000;
/// The longest JMESPath.
pub const EXPRESSION_BYTES_MAX: usize = 8 * 1024;
/// How deep brackets of a JMESPath may nest: parsing and walking it recurse.
pub const EXPRESSION_DEPTH_MAX: usize = 32;
/// How many `[`, `*`, `!` and `&` it may have: each may be a level of recursion of its own.
pub const EXPRESSION_RECURSIONS_MAX: usize = 256;
/// How many operator characters it may have: chains such as `a.b.c` are trees as deep as they are long.
pub const EXPRESSION_OPERATORS_MAX: usize = 1024;
/// What evaluating one on one document may cost: nodes evaluated, elements collected, 16 bytes of text each.
pub const EXPRESSION_STEPS_MAX: usize = 500_000;
/// How much longer than its event a webhook's payload may be: it selects and renames. With it no body is longer than
/// [`WEBHOOK_BODY_BYTES_MAX`].
pub const PAYLOAD_GROWTH_BYTES_MAX: usize = 1024;
/// The longest body of a call, before it is compressed: a full batch whose payloads all are as long as they may be, or
/// one record that goes alone, in base64.
pub const WEBHOOK_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A body of more event bytes is made on a thread of its own, since that takes milliseconds.
pub const BODY_AT_ONCE_BYTES_MAX: usize = 64 * 1024;
/// Lanes of one subscription.
pub const LANES_MAX: u32 = 64;
/// Custom headers of one webhook, and the bytes of one of them.
pub const WEBHOOK_HEADERS_MAX: usize = 32;
/// The longest value of a custom header.
pub const WEBHOOK_HEADER_BYTES_MAX: usize = 4096;
/// Certificates of one webhook's client: its own, and those that lead to its authority.
pub const CLIENT_CERTIFICATES_MAX: usize = 8;
/// The bytes of their PEM, and of the PEM of the private key.
pub const CLIENT_CERTIFICATE_BYTES_MAX: usize = 32 * 1024;
pub const CLIENT_KEY_BYTES_MAX: usize = 8 * 1024;
/// Client certificates whose connections are kept, in one pool: beyond them, those of the one that was not used for the
/// longest time are closed.
pub const CLIENT_IDENTITIES_KEPT_MAX: usize = 128;
/// Hosts of webhooks to which connections are kept, in one pool: those of others are opened for each call.
pub const WEBHOOK_HOSTS_KEPT_MAX: usize = 128;
/// Names that are looked up at the same time, in one pool: each takes a thread.
pub const LOOKUPS_MAX: usize = 64;
/// The longest URL of a webhook.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2048;

/// `collector.maxEvents`.
pub const BATCH_EVENTS: std::ops::RangeInclusive<u32> = 1..=10_000;
/// `collector.maxBytes`: 1 KiB to 6 MiB.
pub const BATCH_BYTES: std::ops::RangeInclusive<u32> = 1024..=6 * 1024 * 1024;
/// What the records of one batch take in memory at most, keys and headers included, unless a single one is larger.
pub const BATCH_RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Events of one lane that are parked at most: where more fail, their batches stay where they are, and the lane waits.
pub const PARKED_EVENTS_MAX: usize = 20_000;
/// The bytes of one lane's parked events, and of all of a pool's on one node.
pub const PARKED_BYTES_MAX: usize = 2 * BATCH_RECORD_BYTES_MAX;
pub const PARKED_BYTES_OF_ALL_MAX: usize = 256 * 1024 * 1024;
/// Frozen batches of one lane at most, those that wait included, and how many of them are called at a time.
pub const LANE_BATCHES_MAX: usize = 256;
pub const LANE_CALLS_MAX: usize = 64;
/// How far a lane reads beyond its position at most, in offsets: what is done in between has rows.
pub const LANE_SPAN_MAX: u64 = 200_000;
/// What a lane has read and put into no batch, at most: in events, and in bytes beyond one fetch.
pub const LANE_PENDING_MAX: usize = 2 * *BATCH_EVENTS.end() as usize;
pub const LANE_PENDING_BYTES_MAX: usize = BATCH_RECORD_BYTES_MAX;
/// What the batches of all lanes of a pool hold on one node at most, beyond one batch a lane.
pub const IN_FLIGHT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// In how many batches what an answer leaves over is frozen at most: one for each time at which it is due.
pub const LEFTOVER_BATCHES_MAX: usize = 16;
/// An endpoint's breaker opens at so many calls of which so many in a hundred failed within the window, for so long.
pub const BREAKER_CALLS_MIN: u32 = 10;
pub const BREAKER_FAILURES_PERCENT: u32 = 70;
pub const BREAKER_WINDOW: Duration = Duration::from_secs(300);
pub const BREAKER_OPEN: Duration = Duration::from_secs(30);
/// An endpoint that did nothing but fail for so long is disabled.
pub const DISABLE_AFTER: Duration = Duration::from_secs(120 * 3600);
/// `throttle.eventsPerSecond`.
pub const THROTTLE_EVENTS: std::ops::RangeInclusive<u32> = 1..=1_000_000;
/// `collector.maxWaitMs`.
pub const BATCH_WAIT_MS: std::ops::RangeInclusive<u64> = 0..=300_000;
/// `processor.webhook.timeoutMs`: as long as a serverless function may run (15 minutes).
pub const WEBHOOK_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=900_000;
/// `retry.initialBackoffMs` and `retry.maxBackoffMs`: 10 ms to 1 h.
pub const BACKOFF_MS: std::ops::RangeInclusive<u64> = 10..=3_600_000;
/// `retry.maxElapsedMs`: up to 7 days.
pub const ELAPSED_MS: std::ops::RangeInclusive<u64> = 0..=604_800_000;
/// The most bytes of a webhook's answer that are read; a longer one is a `badResponse`.
pub const RESPONSE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The bytes of all answers that are read at a time, of a pool's calls on one node; small ones do not count.
pub const ANSWERS_BYTES_MAX: usize = 128 * 1024 * 1024;
/// What is kept of the beginning of any answer's body, to be shown.
pub const RESPONSE_PIECE_BYTES_MAX: usize = 1024;
/// How long the delivery log keeps attempts, and how many bytes of one tenant's.
pub const ATTEMPTS_KEPT: Duration = Duration::from_secs(72 * 3600);
pub const ATTEMPTS_KEPT_BYTES: u64 = 256 * 1024 * 1024;
/// What a lane has to report and has not written, at most: what comes beyond that is not reported.
pub const LANE_REPORTS_MAX: usize = 2 * LANE_BATCHES_MAX;
/// How many attempts are looked at for one page of the delivery log.
pub const ATTEMPTS_SEEN_MAX: usize = 20_000;
/// How much of a tenant's `system` topic is kept.
pub const SYSTEM_KEPT_BYTES: u64 = 256 * 1024 * 1024;
/// The most records one answer may hold.
pub const RESPONSE_RECORDS_MAX: usize = 20_000;
/// The longest `Retry-After` that is obeyed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// The least wait after 429 or a timeout when `Retry-After` says nothing.
pub const OVERLOAD_WAIT_MIN: Duration = Duration::from_secs(60);

/// How often a scan that matched nothing commits its position: re-reading has no effect.
pub const IDLE_SCAN_COMMIT: Duration = Duration::from_secs(2);
/// The same of a lane that has nothing to deliver, while only control records stand between its position and the end.
pub const IDLE_LANE_COMMIT: Duration = Duration::from_secs(2);
/// A position that does not move is committed again after this: a broker forgets offsets of topics that a group is not
/// subscribed to after `offsets.retention.minutes`, 7 days by default.
pub const POSITION_RENEW: Duration = Duration::from_secs(24 * 3600);
/// The same of one that was found at a start: it may be old.
pub const POSITION_RENEW_FOUND: Duration = Duration::from_secs(600);
/// What a scan or a catch-up lane that is behind reads for one step. A commit costs a cluster about the same whatever
/// is in it.
pub const ROUTE_FETCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The same in records.
pub const ROUTE_FETCH_RECORDS_MAX: usize = 5000;
/// What one transaction of a scan or a catch-up lane carries: after the record that reaches it, the next one begins.
pub const ROUTE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The same in deliveries.
pub const ROUTE_DELIVERIES_MAX: usize = 10_000;
/// What the deliveries of one record take of it: subscriptions that do not fit any more get it in a catch-up lane.
pub const ROUTE_RECORD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Catch-up lanes of a pool that read at the same time on one node; the others wait for their turn.
pub const CATCH_UP_LANES_MAX: usize = 32;
/// The longest a scan stands at a border for a catch-up lane that joins.
pub const JOIN_WAIT: Duration = Duration::from_secs(1);
/// The first and the longest wait before a stage asks a log again that was not available.
pub const LOG_RETRY: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(1);
/// How long a stop may take before what still runs is cut off.
pub const DRAIN: Duration = Duration::from_secs(6);

const _: () = assert!(*BATCH_BYTES.end() as usize <= SOURCE_RECORD_BYTES_MAX);
const _: () = assert!(
    *BATCH_BYTES.end() as usize + *BATCH_EVENTS.end() as usize * PAYLOAD_GROWTH_BYTES_MAX < WEBHOOK_BODY_BYTES_MAX
        && RECORD_BYTES_MAX / 3 * 4 < WEBHOOK_BODY_BYTES_MAX
);
const _: () = assert!(PARKED_EVENTS_MAX > *BATCH_EVENTS.end() as usize && PARKED_BYTES_MAX > BATCH_RECORD_BYTES_MAX);
const _: () = assert!(LANE_CALLS_MAX <= LANE_BATCHES_MAX && LANE_PENDING_MAX > *BATCH_EVENTS.end() as usize);
const _: () = assert!(DELIVERY_HEADERS_BYTES_MAX + DEAD_LETTER_HEADERS_BYTES_MAX <= ADDED_HEADERS_BYTES_MAX);
const _: () = assert!(
    BATCH_RECORD_BYTES_MAX + RECORD_BYTES_MAX + *BATCH_EVENTS.end() as usize * DEAD_LETTER_HEADERS_BYTES_MAX
        < TRANSACTION_BYTES_MAX
);
const _: () = assert!(ROUTE_FETCH_BYTES_MAX <= ROUTE_BYTES_MAX && ROUTE_FETCH_RECORDS_MAX <= ROUTE_DELIVERIES_MAX);
const _: () = assert!(RESPONSE_BYTES_MAX < TRANSACTION_BYTES_MAX / 2 && RESPONSE_BYTES_MAX <= ANSWERS_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX < SOURCE_RECORD_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX < FRAMES_WAITING_BYTES_MAX);
const _: () = assert!(FRAME_EVENTS_BYTES_MAX + RECORD_BYTES_MAX <= FRAME_BYTES_MAX * 4);
const _: () = assert!(FRAME_WORK_BYTES_MIN < FRAME_BYTES_MAX && FRAME_BYTES_MAX <= INGEST_STEP_BYTES_MAX);
const _: () = assert!(SEQ_LEAP_MAX < SEQ_MAX && SEQ_MAX < i64::MAX as u64);
const _: () = assert!(SEEN_ELSEWHERE_HORIZON.as_secs() < SEEN_ELSEWHERE_REACH.as_secs());
const _: () = assert!(UPSTREAM_PING.as_secs() * 2 < UPSTREAM_SILENCE_MAX.as_secs());
const _: () = assert!(INGEST_TRANSACTION_BYTES_MAX + FRAME_BYTES_MAX * 4 < TRANSACTION_BYTES_MAX);
const _: () = assert!(ROUTE_BYTES_MAX + ROUTE_RECORD_BYTES_MAX + 2 * RECORD_BYTES_MAX < TRANSACTION_BYTES_MAX);
