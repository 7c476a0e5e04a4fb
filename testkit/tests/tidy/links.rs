//! Links of README and docs lead somewhere: to a file, and to a heading in it.

use std::path::Path;

use fpaas_testkit::checkout;

use crate::{clean, files};

#[test]
fn links_resolve() {
    let mut findings = Vec::new();
    for file in files(&[".md"]) {
        let folder = Path::new(&file.path).parent().unwrap();
        for target in links(&file.text) {
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { Path::new(&file.path).to_owned() } else { folder.join(path) };
            if !leads_somewhere(&path, heading) {
                findings.push(format!("{}: {target} leads nowhere", file.path));
            }
        }
    }
    clean(&findings);
}

fn leads_somewhere(path: &Path, heading: &str) -> bool {
    let path = checkout().join(path);
    if heading.is_empty() {
        return path.exists();
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    prose(&text).filter(|line| line.starts_with('#')).any(|line| slug(line) == heading)
}

/// The targets of `[text](target)` outside of code, without those that lead out of the repository.
fn links(text: &str) -> Vec<&str> {
    let targets = prose(text).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

/// Lines outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// As forges make anchors of headings: lower case, spaces to hyphens, punctuation gone.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[test]
fn targets_and_headings_are_read_as_a_forge_reads_them() {
    let text = "a [b](c.md#d) and [e](https://f)\n```\n[g](h)\n```\n[i](#j)";
    assert_eq!(links(text), ["c.md#d", "#j"]);
    assert_eq!(slug("## What must work: `now`"), "what-must-work-now");
}
