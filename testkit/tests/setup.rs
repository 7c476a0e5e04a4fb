//! `scripts/setup.sh` on machines that lack something: what it does, and what it tells a person to do.
//!
//! The machines are folders of programs: `PATH` leads nowhere else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use fpaas_testkit::checkout;
use tempfile::TempDir;

/// What every Debian has, and the script uses.
const BASE: [&str; 8] = ["bash", "dirname", "sed", "awk", "sort", "head", "env", "printf"];
const RUST: (&str, &str) = ("cargo", "echo cargo 1.95.0 '(f2d3ce0bd 2026-03-21)'");
const COMPILER: (&str, &str) = ("c++", "exit 0");
/// What OpenSSL and librdkafka are built with: there, unless a machine has it otherwise.
const BUILD: [(&str, &str); 3] = [("cc", "exit 0"), ("make", "exit 0"), ("perl", "exit 0")];
const CURL: (&str, &str) = ("curl", "exit 0");
const ROOT: (&str, &str) = ("id", "echo 0");
const PERSON: (&str, &str) = ("id", "echo 1000");
const APT: (&str, &str) = ("apt-get", "echo apt-get \"$@\" >&2");

fn found(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()).unwrap()
}

/// A program that the machine lacks.
const fn none(name: &'static str) -> (&'static str, &'static str) {
    (name, "")
}

fn machine(programs: &[(&'static str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in BASE {
        symlink(found(name), folder.path().join(name)).unwrap();
    }
    let overridden = |(name, _): &&(&str, &str)| !programs.iter().any(|(other, _)| other == name);
    for (name, script) in BUILD.iter().filter(overridden).chain(programs).filter(|program| **program != none(program.0))
    {
        let file = folder.path().join(name);
        std::fs::write(&file, format!("#!{}\n{script}\n", found("bash").display())).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn run(machine: &Path, argument: &str, ci: bool) -> (bool, String) {
    let mut setup = Command::new(found("bash"));
    setup.arg("scripts/setup.sh").arg(argument).current_dir(checkout());
    // The library is taken to be there: where it is looked for is this machine's.
    setup.env_clear().env("PATH", machine).env("HOME", machine).env("LIBCLANG_PATH", machine);
    if ci {
        setup.env("CI", "true");
    }
    let output = setup.output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn check(programs: &[(&'static str, &str)], argument: &str, succeeds: bool, said: &str) {
    check_run(&machine(programs), argument, false, succeeds, said);
}

fn check_run(machine: &TempDir, argument: &str, ci: bool, succeeds: bool, said: &str) {
    let (success, text) = run(machine.path(), argument, ci);
    assert_eq!(success, succeeds, "{text}");
    assert!(text.contains(said) && (!said.is_empty() || text.is_empty()), "{said:?} is not in {text:?}");
}

#[test]
fn where_all_is_there_it_does_nothing_and_says_nothing() {
    check(&[RUST, COMPILER], "", true, "");
    check(&[RUST, COMPILER, CURL], "test", true, "");
}

#[test]
fn what_is_missing_is_installed_by_root_or_with_sudo() {
    let install = "apt-get install -y -qq --no-install-recommends g++";
    check(&[RUST, ROOT, APT], "", true, install);
    check(&[RUST, PERSON, APT, ("sudo", "exec \"$@\"")], "", true, install);
    check(&[RUST, COMPILER, ROOT, APT], "test", true, "--no-install-recommends curl");
    let offline = ("apt-get", "echo apt-get \"$@\" >&2; [ \"$1\" = install ]");
    check(&[RUST, ROOT, offline], "", true, install);
}

#[test]
fn what_openssl_is_built_with_is_installed_too() {
    let install = "--no-install-recommends gcc make perl";
    let minimal_perl = ("perl", "case \"$*\" in *-M*) exit 2 ;; esac");
    check(&[RUST, COMPILER, none("cc"), none("make"), minimal_perl, ROOT, APT], "", true, install);
    check(&[RUST, COMPILER, none("perl"), ROOT, APT], "", true, "--no-install-recommends perl");
}

/// A daemon that does not run, and a Java that does.
const DOCKER: [(&str, &str); 5] = [
    ("docker", "exit 1"),
    ("dockerd", "exit 0"),
    ("iptables", "exit 0"),
    ("docker-compose", "exit 0"),
    ("kcat", "exit 0"),
];
const JAVA: [(&str, &str); 3] =
    [("java", "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2"), ("jlink", "exit 0"), ("mvn", "exit 0")];

#[test]
fn docker_and_java_come_where_ci_runs_or_they_are_asked_for() {
    let bare = [RUST, COMPILER, CURL, ROOT, APT];
    let install = "--no-install-recommends docker.io iptables docker-compose kcat default-jdk-headless maven";
    check(&bare, "test", true, "");
    check(&bare, "", true, "");
    check(&bare, "kafka", true, install);
    check_run(&machine(&bare), "test", true, true, install);
    check_run(&machine(&bare), "", true, true, "");
    let all = [&bare[..], &DOCKER, &JAVA].concat();
    check(&all, "kafka", true, "");
    let old = ("java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2");
    check(&[&bare[..], &DOCKER, &[old, JAVA[1], JAVA[2]]].concat(), "kafka", true, "recommends default-jdk-headless");
    // Its Compose is a part of it there.
    let running = [&bare[..], &[("docker", "exit 0"), DOCKER[4]], &JAVA].concat();
    check(&running, "kafka", true, "");
}

#[test]
fn what_cannot_be_installed_is_named() {
    let by_hand = "please install, as root: apt-get install g++";
    check(&[RUST, PERSON, APT], "", false, by_hand);
    check(&[RUST, ROOT, ("apt-get", "exit 100")], "", false, by_hand);
    check(&[RUST, PERSON, APT, ("sudo", "exit 1")], "", false, by_hand);
    check(&[RUST, ROOT, ("uname", "echo Linux")], "", false, "please install what Debian calls g++");
}

#[test]
fn a_rust_that_is_missing_or_too_old_is_said_to_be_so() {
    check(&[COMPILER], "", false, "please install Rust: https://rustup.rs");
    check(&[COMPILER, ("cargo", "echo cargo 1.63.0")], "", false, "Rust 1.95.0 is needed, here is 1.63.0");
    check(&[COMPILER, ("cargo", "exit 1")], "", false, "cargo does not run");
    check(&[COMPILER, ("cargo", "echo cargo 1.101.0")], "", true, "note: ");
}
