//! The expected set, computed twice by programs that share nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use fpaas_testkit::{Need, Oracle, bundled, checkout, skip};

/// Runs the script on the truth, which it gets plain: Python's standard library knows no zstd.
fn python() -> Option<String> {
    let script = checkout().join("scripts/expected_likes.py");
    let mut python =
        Command::new("python3").arg(script).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let truth = zstd::decode_all(std::fs::File::open(bundled().join("truth.jsonl.zst")).unwrap()).unwrap();
    python.stdin.take().unwrap().write_all(&truth).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "the script failed: {}", output.status);
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_oracle_and_a_script_of_its_own_expect_the_same_likes() {
    let Some(found) = python() else {
        return skip(Need::Python, "the expected set, computed a second time");
    };
    let found: BTreeSet<_> = found.lines().map(str::to_owned).collect();
    assert_eq!(found.len(), 719);
    assert_eq!(Oracle::bundled().unwrap().likes(), found);
}
