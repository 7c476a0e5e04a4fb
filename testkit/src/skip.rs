//! A test that cannot run here says so where a person sees it, and fails where it must not be skipped.
//!
//! The runner keeps what a passing test prints to itself, so this writes past it. `FPAAS_MUST_RUN` names what must be
//! there, such as `mount,python`: `.ci/run` sets it.

use std::io::Write as _;

/// What a test may find missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A Docker daemon that answers, and an image of Kafka.
    Docker,
    /// Java, for Kafka's own tools.
    Java,
    /// A real broker of Kafka, wherever it comes from.
    Kafka,
    /// `kcat`, a client of Kafka.
    Kcat,
    /// The right to mount a small file system.
    Mount,
    /// A network of one's own: `unshare`, `ip`, and the right to use them.
    NetworkNamespace,
    /// `python3`, its standard library only.
    Python,
    /// A package of Python's that `scripts/test.sh` installs where it can.
    PythonPackages,
    /// The programs, as `make build` leaves them.
    Program,
}

impl Need {
    const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Java => "java",
            Self::Kafka => "kafka",
            Self::Kcat => "kcat",
            Self::Mount => "mount",
            Self::NetworkNamespace => "network-namespace",
            Self::Python => "python",
            Self::PythonPackages => "python-packages",
            Self::Program => "program",
        }
    }
}

/// Says that the calling test does not test `what`. Panics where it must.
#[expect(clippy::panic, reason = "it is how a test fails")]
pub fn skip(need: Need, what: &str) {
    let must = std::env::var("FPAAS_MUST_RUN").unwrap_or_default();
    let line = format!("SKIPPED, for want of {}: {what}", need.name());
    if is_listed(need, &must) {
        panic!("{line}; FPAAS_MUST_RUN={must} does not let it be");
    }
    note(&line);
}

/// Says something where a person sees it.
pub fn note(line: &str) {
    // Nobody reads it: then it is not for a test to fail.
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// Whether a test that finds it missing fails.
pub fn is_required(need: Need) -> bool {
    is_listed(need, &std::env::var("FPAAS_MUST_RUN").unwrap_or_default())
}

fn is_listed(need: Need, must: &str) -> bool {
    must.split(',').any(|name| name.trim() == need.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Output};

    /// Runs the test below as a runner does, in a process of its own.
    fn run(must: &str) -> Output {
        let mut tests = Command::new(std::env::current_exe().unwrap());
        tests.args(["--exact", "skip::tests::skips", "--ignored"]).env("FPAAS_MUST_RUN", must);
        tests.output().unwrap()
    }

    #[test]
    #[ignore = "run by the others"]
    fn skips() {
        skip(Need::Mount, "the moon");
    }

    #[test]
    fn a_skipped_test_passes_and_says_so_past_the_runner() {
        let output = run("python");
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, "SKIPPED, for want of mount: the moon\n");
    }

    #[test]
    fn where_it_must_run_a_skipped_test_fails() {
        assert!(!run("python, mount").status.success());
        assert!(!is_listed(Need::Python, "python-packages"));
    }
}
