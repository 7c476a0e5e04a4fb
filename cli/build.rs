//! Tells the program which commit it was built from, for `fpaas --version`, and has a function of librdkafka replaced
//! (`log/src/kafka/ffi/leaders.rs`).

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=FPAAS_COMMIT");
    // Only when the commit moves, so that a build is not repeated for nothing.
    for file in ["HEAD", "logs/HEAD"].into_iter().filter_map(|name| git(&["rev-parse", "--git-path", name])) {
        if Path::new(&file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    let commit = || git(&["rev-parse", "--short=12", "HEAD"]);
    let commit = std::env::var("FPAAS_COMMIT").ok().or_else(commit).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=FPAAS_COMMIT={commit}");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--wrap=rd_kafka_metadata_update_op");
    }
}

/// What git prints, where there is a git and a repository. A linked worktree keeps its `HEAD` elsewhere.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let printed = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !printed.is_empty()).then_some(printed)
}
