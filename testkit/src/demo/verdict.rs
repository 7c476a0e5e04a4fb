//! Whether it all came out right, what it cost, and what to try next.

use std::time::Duration;

use super::calls::Calls;
use super::screen::{Screen, grouped};
use crate::oracle::Comparison;

/// Commands that are worth trying next, and why. Each is run by a test.
pub const TIPS: [(&str, &str); 3] = [
    ("bin/fpaas dev --upstream file:testdata/pds20/frames.bin.zst", "the same recording, and a server that stays"),
    ("bin/fpaas tap firehose -n 3", "in another terminal: what an event looks like"),
    ("bin/fpaas --help", "everything else; `make demo RELAY=wss://relay1.us-west.bsky.network` is this, live"),
];

/// What the run cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) seconds: Duration,
    pub(super) cpu: Duration,
    pub(super) memory_peak: u64,
}

/// What came out.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) recorded: bool,
    pub(super) comparison: Comparison,
    pub(super) calls: Calls,
    /// The webhook answered its 503.
    pub(super) failed: bool,
    pub(super) dead_letters: Option<usize>,
    pub(super) figures: Figures,
}

impl Verdict {
    /// Shows it; whether every check held.
    pub(super) fn show(&self, screen: &Screen) -> bool {
        screen.say("");
        let checks = self.checks();
        for (held, what) in &checks {
            screen.say(&format!("  {}  {what}", if *held { "ok    " } else { "FAILED" }));
        }
        let Figures { seconds, cpu, memory_peak } = self.figures;
        screen.say("");
        screen.say(&format!(
            "  {:.0} s, {:.1} CPU-seconds of fpaas (both lives), at most {} MB of memory",
            seconds.as_secs_f64(),
            cpu.as_secs_f64(),
            grouped(memory_peak.div_ceil(1 << 20))
        ));
        let held = checks.iter().all(|(held, _)| *held);
        if held {
            screen.say("\nTry next:\n");
            TIPS.iter().for_each(|(command, why)| screen.say(&format!("  {command}\n      {why}")));
        }
        held
    }

    fn checks(&self) -> Vec<(bool, String)> {
        let Self { recorded, comparison, calls, .. } = self;
        let source = if *recorded { "by what the PDS answered" } else { "by the firehose topic" };
        let (count, batches, repeated) = (calls.count(), calls.batches(), calls.repeated());
        let mut checks = vec![
            (comparison.exact() && comparison.expected > 0, format!("likes, {source}: {comparison}")),
            (
                calls.repeats_are_the_same() && batches > 0,
                format!("{count} calls for {batches} batches; repeated: {repeated}, each with the same id and bytes"),
            ),
            (calls.all_signed(), "every call's signature is valid".to_owned()),
            (self.dead_letters == Some(0), "nothing was given up: no dead letters".to_owned()),
        ];
        // Live there may be no call at half-time; of the recording it is known that there is one.
        if *recorded || self.failed {
            let held = calls.answered(503) == 1 && repeated > 0;
            checks.push((held, "one call was answered 503 and came again, after a SIGKILL in between".to_owned()));
        }
        checks
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn verdict(found: &[&str], lines: &[&str]) -> Verdict {
        let expected = BTreeSet::from(["a".to_owned()]);
        let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        let zero = Duration::ZERO;
        Verdict {
            recorded: true,
            comparison: Comparison::of(&expected, found.iter().map(|id| (*id).to_owned())),
            calls: Calls::of(&lines),
            failed: true,
            dead_letters: Some(0),
            figures: Figures { seconds: zero, cpu: zero, memory_peak: 0 },
        }
    }

    const FAILED: &str = r#"{"id":"1","sha256":"x","signed":true,"status":503}"#;
    const OK: &str = r#"{"id":"1","sha256":"x","signed":true,"status":200}"#;
    const OTHER: &str = r#"{"id":"1","sha256":"y","signed":true,"status":200}"#;
    const FORGED: &str = r#"{"id":"2","sha256":"y","signed":false,"status":401}"#;

    fn held(verdict: &Verdict) -> Vec<bool> {
        verdict.checks().iter().map(|(held, _)| *held).collect()
    }

    #[test]
    fn every_check_can_fail() {
        assert_eq!(held(&verdict(&["a"], &[FAILED, OK])), [true; 5]);
        assert_eq!(held(&verdict(&[], &[FAILED, OK])), [false, true, true, true, true]);
        assert_eq!(held(&verdict(&["a", "a"], &[FAILED, OK])), [false, true, true, true, true]);
        assert_eq!(held(&verdict(&["a"], &[FAILED, OTHER])), [true, false, true, true, true]);
        assert_eq!(held(&verdict(&["a"], &[FAILED, OK, FORGED])), [true, true, false, true, true]);
        assert_eq!(held(&verdict(&["a"], &[OK])), [true, true, true, true, false]);
        let unknown = Verdict { dead_letters: None, ..verdict(&["a"], &[FAILED, OK]) };
        assert_eq!(held(&unknown), [true, true, true, false, true]);
    }
}
