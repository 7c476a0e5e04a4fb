//! What the stages must not call, and where it may be called all the same. Clippy's bans hold for tests too, where
//! these are in order; here they hold for what runs.

use crate::{File, clean, files};

/// What is called, why not, and the only place that may.
struct Ban {
    words: &'static [&'static str],
    why: &'static str,
    home: Option<&'static str>,
}

const BANS: [Ban; 2] = [
    Ban {
        words: &["std::time", "Instant"],
        why: "tokio's Instant stands still where a test pauses time",
        // Its threads block beside the runtime, where no time is paused.
        home: Some("log/src/kafka/"),
    },
    Ban {
        words: &["tokio::spawn("],
        why: "a task nobody owns fails unseen: the supervisor's, or a JoinSet",
        home: None,
    },
];

#[test]
fn what_runs_measures_time_that_tests_can_pause_and_detaches_no_task() {
    let running = files(&[".rs"]).into_iter().filter(|file| runs(&file.path));
    clean(&running.flat_map(|file| findings(&file)).collect::<Vec<_>>());
}

/// Of a crate that is in the program, and not of its tests or of the log's suite.
fn runs(path: &str) -> bool {
    let tools = ["testkit/", "benches/", "examples/", "log/src/conformance/"];
    let test = path.ends_with("tests.rs") || path.ends_with("testing.rs");
    path.contains("/src/") && !test && !tools.iter().any(|folder| path.starts_with(folder))
}

fn findings(file: &File) -> Vec<String> {
    let lines = file.text.lines().take_while(|line| *line != "#[cfg(test)]").enumerate();
    let found = lines.filter_map(|(at, line)| {
        let ban =
            BANS.iter().find(|ban| ban.words.iter().all(|word| line.contains(word)) && !ban.is_home(&file.path))?;
        Some(format!("{}:{}: {}: {}", file.path, at + 1, line.trim(), ban.why))
    });
    found.collect()
}

impl Ban {
    fn is_home(&self, path: &str) -> bool {
        self.home.is_some_and(|home| path.starts_with(home))
    }
}

#[test]
fn a_ban_holds_outside_of_its_home_and_of_tests() {
    let text = "use std::time::{Duration, Instant};\n    tokio::spawn(x);\n#[cfg(test)]\n    tokio::spawn(y);\n";
    let found = |path: &str| findings(&File { path: path.to_owned(), text: text.to_owned() }).len();
    assert_eq!((found("router/src/scan.rs"), found("log/src/kafka/fence.rs")), (2, 1));
    assert!(runs("log/src/fetch.rs") && !runs("router/tests/it/scan.rs") && !runs("testkit/src/relay.rs"));
}
