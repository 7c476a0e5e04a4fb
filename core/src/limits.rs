//! Every bound of the system, with where it comes from. Invariant: bounded.

use std::time::Duration;

/// The longest DID (atproto.com/specs/did).
pub const DID_BYTES_MAX: usize = 2048;

/// The largest frame taken from an upstream. The spec caps a commit's blocks at 2 MB and a frame at 5 MB.
pub const FRAME_BYTES_MAX: usize = 5 * 1024 * 1024;
/// Frames waiting between the socket and the decoder.
pub const FRAMES_WAITING_MAX: usize = 512;
/// What one ingest transaction carries at most, so that its memory and its latency are bounded.
pub const INGEST_TRANSACTION_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The deepest nesting of a record that is decoded; what is deeper is dropped under a reason.
pub const RECORD_DEPTH_MAX: usize = 64;
/// The most operations of one commit (atproto.com/specs/sync: 200).
pub const COMMIT_OPS_MAX: usize = 200;

/// The largest record of any topic: Kafka's default `message.max.bytes` is 1 MiB + 12; ours is set where topics are made.
pub const RECORD_BYTES_MAX: usize = 8 * 1024 * 1024;
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
/// The partitions of `firehose` where nothing else is said.
pub const FIREHOSE_PARTITIONS: u32 = 16;

/// The most bytes of an API request's body.
pub const API_BODY_BYTES_MAX: usize = 1024 * 1024;
/// The most items of a page.
pub const PAGE_ITEMS_MAX: usize = 1000;
/// The items of a page where nothing else is said.
pub const PAGE_ITEMS_DEFAULT: usize = 100;
/// The longest a PUT waits until its command is applied and durable.
pub const API_APPLY_WAIT: Duration = Duration::from_secs(10);
/// Open SSE tails of one process.
pub const TAILS_MAX: usize = 256;

/// Subscriptions of one tenant, until quotas are there.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;
/// Entries of one list of a filter (collections, operations, kinds).
pub const FILTER_ENTRIES_MAX: usize = 100;
/// DIDs of one filter.
pub const FILTER_DIDS_MAX: usize = 10_000;
/// The longest JMESPath.
pub const EXPRESSION_BYTES_MAX: usize = 8 * 1024;
/// Lanes of one subscription.
pub const LANES_MAX: u32 = 64;
/// Custom headers of one webhook, and the bytes of one of them.
pub const WEBHOOK_HEADERS_MAX: usize = 32;
/// The longest value of a custom header.
pub const WEBHOOK_HEADER_BYTES_MAX: usize = 4096;
/// The longest URL of a webhook.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2048;

/// `collector.maxEvents`.
pub const BATCH_EVENTS: std::ops::RangeInclusive<u32> = 1..=10_000;
/// `collector.maxBytes`: 1 KiB to 6 MiB.
pub const BATCH_BYTES: std::ops::RangeInclusive<u32> = 1024..=6 * 1024 * 1024;
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
/// The most records one answer may hold.
pub const RESPONSE_RECORDS_MAX: usize = 20_000;
/// The longest `Retry-After` that is obeyed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// The least wait after 429 or a timeout when `Retry-After` says nothing.
pub const OVERLOAD_WAIT_MIN: Duration = Duration::from_secs(60);

/// How often a scan that matched nothing commits its position: re-reading has no effect.
pub const IDLE_SCAN_COMMIT: Duration = Duration::from_secs(2);
/// How long a stop may take before what still runs is cut off.
pub const DRAIN: Duration = Duration::from_secs(8);

const _: () = assert!(*BATCH_BYTES.end() as usize <= RECORD_BYTES_MAX);
const _: () = assert!(RESPONSE_BYTES_MAX < TRANSACTION_BYTES_MAX / 2);
const _: () = assert!(FRAME_BYTES_MAX < RECORD_BYTES_MAX);
const _: () = assert!(INGEST_TRANSACTION_BYTES_MAX + FRAME_BYTES_MAX * 4 < TRANSACTION_BYTES_MAX);
