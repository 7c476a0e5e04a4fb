//! Alone in its process, so that what is measured is the log's.

#![allow(clippy::unwrap_used, dead_code, reason = "shared with the other tests of this backend")]

#[path = "embedded/support.rs"]
mod support;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_behind_a_stalled_reader_stay_on_the_disk() {
    let backend = support::Local::new(None);
    fpaas_log::conformance::memory::a_hundred_megabytes_behind_a_stalled_reader_stay_on_the_disk(&backend).await;
}
