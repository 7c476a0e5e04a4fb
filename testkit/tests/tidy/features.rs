//! `make demo` and `make test` build every shared crate with the same features, so that nothing compiles twice.

use std::collections::BTreeMap;
use std::process::Command;

use fpaas_testkit::checkout;

use crate::clean;

/// What every build is asked for: `flags=(…)` of `scripts/lib.sh`.
fn flags() -> Vec<String> {
    let script = std::fs::read_to_string(checkout().join("scripts/lib.sh")).unwrap();
    let line = script.lines().find_map(|line| line.strip_prefix("flags=(")?.strip_suffix(')'));
    line.unwrap().split_whitespace().map(str::to_owned).collect()
}

/// Package to its features, as cargo resolves them when these kinds of dependencies are asked for.
fn resolved(edges: &str) -> BTreeMap<String, String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.arg("tree").args(flags()).args(["--offline", "--prefix", "none"]).current_dir(checkout());
    let output = cargo.args(["--no-dedupe", "--format", "{p}\t{f}", "--edges", edges]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // A path or a mark may follow.
    let name = |package: &str| package.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let features = |of: &str| of.trim_end_matches(" (*)").to_owned();
    text.lines().filter_map(|line| line.split_once('\t')).map(|(package, of)| (name(package), features(of))).collect()
}

#[test]
fn programs_and_tests_are_built_with_the_same_features() {
    // What build scripts depend on is resolved apart (resolver 2 and later): `cargo tree` mixes it with the rest.
    let (programs, tests) = (resolved("normal"), resolved("normal,dev"));
    let differs = programs.iter().filter(|(package, features)| tests.get(*package) != Some(features));
    let finding = |(package, features): (&String, &String)| {
        let other = tests.get(package).map_or("nothing", String::as_str);
        format!(
            "{package}: [{features}] in programs, [{other}] in tests: ask for them in scripts/lib.sh or testkit/Cargo.toml"
        )
    };
    clean(&differs.map(finding).collect::<Vec<_>>());
}
