//! Who may depend on whom (ARCHITECTURE.md): stages never see each other, and a heavy dependency has one home.

use std::process::Command;

use fpaas_testkit::checkout;
use serde_json::Value;

use crate::clean;

/// Compares with anything, and nothing is built from it.
const BENCHES: &str = "fpaas-benches";

/// A crate and the crates of ours it may be built from. `testkit` is dev only, so everybody's tests may use it.
const EDGES: [(&str, &[&str]); 12] = [
    ("fpaas-core", &[]),
    ("fpaas-log", &["fpaas-core"]),
    ("fpaas-state", &["fpaas-core", "fpaas-log"]),
    ("fpaas-expression", &["fpaas-core"]),
    ("fpaas-ingest", &["fpaas-core", "fpaas-log"]),
    ("fpaas-router", STAGE),
    ("fpaas-dispatcher", STAGE),
    ("fpaas-api", STAGE),
    ("fpaas", ALL),
    ("fpaas-testkit", &["fpaas-core"]),
    (BENCHES, ALL),
    ("fpaas-example-receiver", &[]),
];
const STAGE: &[&str] = &["fpaas-core", "fpaas-log", "fpaas-state", "fpaas-expression"];
const ALL: &[&str] = &[
    "fpaas-core",
    "fpaas-log",
    "fpaas-state",
    "fpaas-expression",
    "fpaas-ingest",
    "fpaas-router",
    "fpaas-dispatcher",
    "fpaas-api",
];

/// A heavy dependency, where it lives, and whether tests elsewhere may use it.
const HOMES: [(&str, &[&str], bool); 11] = [
    ("rdkafka", &["fpaas-log"], false),
    ("rocksdb", &["fpaas-log", "fpaas-state"], false),
    ("tokio-tungstenite", &["fpaas-ingest", "fpaas-testkit"], true),
    ("ciborium", &["fpaas-ingest", "fpaas-testkit"], true),
    ("ring", &["fpaas-core"], true),
    ("jmespath", &["fpaas-expression"], false),
    ("reqwest", &["fpaas-dispatcher", "fpaas", "fpaas-testkit"], true),
    ("axum", &["fpaas-api", "fpaas-example-receiver"], true),
    ("clap", &["fpaas"], false),
    ("prometheus-client", &["fpaas-api"], false),
    ("testcontainers", &["fpaas-testkit"], false),
];

struct Edge {
    from: String,
    to: String,
    dev: bool,
}

fn edges() -> Vec<Edge> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(checkout());
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let of = |package: &Value| {
        let from = text(package, "name");
        let dependencies = package["dependencies"].as_array().unwrap().clone();
        let edge = move |to: Value| Edge { from: from.clone(), to: text(&to, "name"), dev: text(&to, "kind") == "dev" };
        dependencies.into_iter().map(edge).collect::<Vec<_>>()
    };
    metadata["packages"].as_array().unwrap().iter().flat_map(of).collect()
}

#[test]
fn our_crates_depend_on_each_other_in_one_direction() {
    let ours = |edge: &Edge| edge.to == "fpaas" || edge.to.starts_with("fpaas-");
    let allowed = |edge: &Edge| {
        let Some((_, may)) = EDGES.iter().find(|(from, _)| *from == edge.from) else { return false };
        // A crate's tests may ask itself for features that only tests need.
        let for_tests = edge.dev || edge.from == BENCHES;
        may.contains(&edge.to.as_str()) || for_tests && (edge.to == "fpaas-testkit" || edge.to == edge.from)
    };
    let wrong = edges().into_iter().filter(|edge| ours(edge) && !allowed(edge));
    clean(&wrong.map(|edge| format!("{} must not depend on {}", edge.from, edge.to)).collect::<Vec<_>>());
}

#[test]
fn a_heavy_dependency_has_one_home() {
    let wrong = |edge: &Edge| {
        let Some((_, homes, in_tests)) = HOMES.iter().find(|(name, ..)| *name == edge.to) else { return false };
        !(homes.contains(&edge.from.as_str()) || edge.dev && *in_tests || edge.from == BENCHES)
    };
    let found = edges().into_iter().filter(wrong).map(|edge| format!("{} is not a home of {}", edge.from, edge.to));
    clean(&found.collect::<Vec<_>>());
}
