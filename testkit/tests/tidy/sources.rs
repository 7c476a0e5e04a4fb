//! Every Rust file: how long, how wide, how it begins, what it must not hold. Relies on rustfmt's indentation.

use crate::ratchet::{self, Measure};
use crate::{File, clean, files};

const COLUMNS_MAX: usize = 120;

#[test]
fn files_and_functions_are_short() {
    let (mut measures, mut lengths) = (Vec::new(), Vec::new());
    for file in files(&[".rs"]) {
        measures.push(Measure::file(&file.path, file.text.lines().count()));
        for (name, length) in functions(&file) {
            lengths.push(length);
            measures.push(Measure::function(&file.path, &name, length));
        }
    }
    lengths.sort_unstable();
    println!("{} functions, median {} lines", lengths.len(), lengths[lengths.len() / 2]);
    clean(&ratchet::check(&measures));
}

#[test]
fn every_file_says_first_what_it_owns() {
    let silent = files(&[".rs"]).into_iter().filter(|file| !file.text.starts_with("//! "));
    clean(&silent.map(|file| format!("{}: begin with `//!` and what it owns", file.path)).collect::<Vec<_>>());
}

#[test]
fn no_line_is_wider_than_120_columns() {
    each_line(&[".rs", ".sh", ".toml", ".yml", ".yaml", ".js", ".mjs", ".py"], |line| {
        let columns = line.chars().count();
        // A string is not broken for its width: it is searched for, or it is data.
        let quoted = line.contains('"');
        (columns > COLUMNS_MAX && !quoted).then(|| format!("{columns} columns, at most {COLUMNS_MAX}"))
    });
}

#[test]
fn nothing_is_left_to_do() {
    // Put together here, so that this file does not hold them.
    let words = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME"), concat!("dbg", "!(")];
    each_line(&[".rs", ".sh", ".js", ".mjs", ".py"], |line| {
        words.iter().find(|word| line.contains(*word)).map(|word| format!("holds {word}"))
    });
}

#[test]
fn no_path_of_one_machine() {
    let paths = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];
    let endings = [".rs", ".sh", ".toml", ".md", ".yml", ".yaml", ".js", ".mjs", ".py", "Makefile", ".ci/run"];
    each_line(&endings, |line| paths.iter().find(|path| line.contains(*path)).map(|path| format!("holds {path}")));
}

fn each_line(endings: &[&str], finding: impl Fn(&str) -> Option<String>) {
    let mut findings = Vec::new();
    for file in files(endings) {
        for (at, line) in file.text.lines().enumerate() {
            findings.extend(finding(line).map(|what| format!("{}:{}: {what}", file.path, at + 1)));
        }
    }
    clean(&findings);
}

/// Name and length of every function with a body: from its `fn` line to the closing brace of the same indentation.
fn functions(file: &File) -> Vec<(String, usize)> {
    let lines: Vec<_> = file.text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = declared(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let closing = format!("{}}}", " ".repeat(indent));
        let body = &lines[at..];
        // A declaration without a body ends with `;`, a short one closes on its own line.
        let ends =
            |line: &&str| **line == closing || line.starts_with(&format!("{closing} ")) || one_line(line, indent);
        if let Some(length) = body.iter().position(ends) {
            found.push((name, length + 1));
        }
    }
    found
}

fn one_line(line: &str, indent: usize) -> bool {
    let at_indent = line.len() - line.trim_start().len() == indent;
    at_indent && (line.ends_with(';') || line.ends_with(" }") || line.ends_with("{}"))
}

fn declared(line: &str) -> Option<String> {
    let code = line.trim_start();
    let words = code.split("fn ").next()?;
    let qualifiers = ["pub", "const", "async", "unsafe", "extern", "\"C\""];
    let only_qualifiers = words.split_whitespace().all(|word| qualifiers.contains(&word) || word.starts_with("pub("));
    let name = code.strip_prefix(words)?.strip_prefix("fn ")?;
    let name: String = name.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    (only_qualifiers && !name.is_empty()).then_some(name)
}

#[test]
fn functions_are_measured_from_their_first_to_their_last_line() {
    let lines = [
        "fn a() {",
        "    x();",
        "}",
        "impl B {",
        "    pub(crate) async fn b(",
        "        c: D,",
        "    ) -> E {",
        "        if f {",
        "        }",
        "    }",
        "    fn g();",
        "    fn h() {}",
        "}",
    ];
    let text = lines.join("\n");
    let file = File { path: String::new(), text };
    let expected = [("a", 3), ("b", 6), ("g", 1), ("h", 1)].map(|(name, length)| (name.to_owned(), length));
    assert_eq!(functions(&file), expected);
}
