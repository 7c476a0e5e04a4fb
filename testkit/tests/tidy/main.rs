//! Rules of this code base that no lint has: lengths, first lines, dependency edges, links. A rule without a check is a
//! wish.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod bans;
mod circles;
mod edges;
mod features;
mod links;
mod ratchet;
mod sources;

use std::path::{Path, PathBuf};

use fpaas_testkit::checkout;

/// What is not ours, or not source.
const SKIPPED: [&str; 6] = ["target", ".git", "bin", "testdata", "node_modules", "fpaas-data"];

/// A file of the checkout.
struct File {
    /// From the checkout's root, with `/`.
    path: String,
    text: String,
}

/// All text files whose name ends so, in a fixed order.
fn files(endings: &[&str]) -> Vec<File> {
    let root = checkout();
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let wanted = |path: &PathBuf| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).ok()?;
        Some(File { path: path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(), text })
    };
    found.into_iter().filter(wanted).filter_map(read).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !SKIPPED.contains(&name.to_string_lossy().as_ref()) {
            walk(&path, found);
        } else if kind.is_file() {
            found.push(path);
        }
    }
}

/// Fails with all findings at once.
fn clean(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
