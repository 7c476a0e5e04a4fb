//! Tells the program which commit it was built from, for `fpaas --version`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=FPAAS_COMMIT");
    // Only when the commit moves, so that a build is not repeated for nothing.
    for file in ["../.git/HEAD", "../.git/logs/HEAD"] {
        if Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    let commit = std::env::var("FPAAS_COMMIT").ok().or_else(git).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=FPAAS_COMMIT={commit}");
}

fn git() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
