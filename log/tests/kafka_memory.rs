//! The Kafka backend under a stalled reader, in a process of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "kafka/support.rs"]
mod support;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_behind_a_stalled_reader_stay_with_the_brokers() {
    let Some(cluster) = support::Cluster::open().await else { return };
    fpaas_log::conformance::memory::a_hundred_megabytes_behind_a_stalled_reader_stay_on_the_disk(&cluster).await;
}
