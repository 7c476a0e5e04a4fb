//! The suite that every backend passes, on a real broker.

fpaas_log::log_conformance!(match crate::support::Cluster::open().await {
    Some(cluster) => cluster,
    None => return,
});
