//! Limits, and the exceptions to them in `ratchet.txt`: those only tighten.

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// `file PATH LINES` or `fn PATH::NAME LINES`, one a line; `#` begins a comment.
const EXCEPTIONS: &str = include_str!("ratchet.txt");

/// Something that was measured.
pub(crate) struct Measure {
    key: String,
    lines: usize,
    limit: usize,
}

impl Measure {
    pub(crate) fn file(path: &str, lines: usize) -> Self {
        Self { key: format!("file {path}"), lines, limit: FILE_LINES_MAX }
    }

    pub(crate) fn function(path: &str, name: &str, lines: usize) -> Self {
        Self { key: format!("fn {path}::{name}"), lines, limit: FUNCTION_LINES_MAX }
    }
}

/// What is above its limit, and exceptions that are wider than they need be.
pub(crate) fn check(measures: &[Measure]) -> Vec<String> {
    against(measures, EXCEPTIONS)
}

fn against(measures: &[Measure], exceptions: &str) -> Vec<String> {
    let mut exceptions: Vec<_> = exceptions.lines().filter_map(exception).collect();
    let mut findings = Vec::new();
    for measure in measures {
        let at = exceptions.iter().position(|(key, _)| *key == measure.key);
        let allowed = at.map(|at| exceptions.remove(at).1);
        findings.extend(finding(measure, allowed));
    }
    findings.extend(exceptions.iter().map(|(key, _)| format!("{key}: is gone: remove it from ratchet.txt")));
    findings
}

fn exception(line: &str) -> Option<(&str, usize)> {
    let (key, lines) = line.split('#').next()?.trim().rsplit_once(' ')?;
    Some((key, lines.parse().ok()?))
}

fn finding(measure: &Measure, allowed: Option<usize>) -> Option<String> {
    let Measure { key, lines, limit } = measure;
    match allowed {
        None if lines > limit => Some(format!("{key}: {lines} lines, at most {limit}")),
        Some(allowed) if *lines > allowed => Some(format!("{key}: {lines} lines, and ratchet.txt allows {allowed}")),
        Some(_) if lines <= limit => Some(format!("{key}: {lines} lines: remove it from ratchet.txt")),
        Some(allowed) if *lines < allowed => Some(format!("{key}: {lines} lines: tighten ratchet.txt from {allowed}")),
        _ => None,
    }
}

#[test]
fn exceptions_only_tighten() {
    let measures = [Measure::file("a", 501), Measure::file("b", 600), Measure::file("c", 600), Measure::file("d", 9)];
    let exceptions = "# why\nfile b 600 # because\nfile c 700\nfile d 600\nfn e::f 80\n";
    let expected = [
        "file a: 501 lines, at most 500",
        "file c: 600 lines: tighten ratchet.txt from 700",
        "file d: 9 lines: remove it from ratchet.txt",
        "fn e::f: is gone: remove it from ratchet.txt",
    ];
    assert_eq!(against(&measures, exceptions), expected);
}
