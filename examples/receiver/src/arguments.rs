//! The command line.

use std::time::Duration;

/// What was asked for.
#[derive(Debug, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) listen: String,
    pub(crate) secret: String,
    pub(crate) fail_once_after: Option<Duration>,
    pub(crate) journal: Option<String>,
}

impl Arguments {
    /// Pairs of a flag and its value.
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut listen, mut secret) = ("127.0.0.1:8787".to_owned(), None);
        let (mut fail_once_after, mut journal) = (None, None);
        while let Some(flag) = given.next() {
            let value = given.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--listen" => listen = value,
                "--secret" => secret = Some(value),
                "--fail-once-after" => fail_once_after = Some(seconds(&value)?),
                "--journal" => journal = Some(value),
                _ => {
                    return Err(format!(
                        "{flag} is unknown: there are --listen, --secret, --fail-once-after, --journal"
                    ));
                }
            }
        }
        let secret = secret.ok_or("--secret whsec_… is missing: it is in the answer that created the subscription")?;
        Ok(Self { listen, secret, fail_once_after, journal })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| format!("{text} is no number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_have_defaults_and_errors_name_the_flag() {
        let parsed = parse("--secret whsec_x --fail-once-after 1.5").unwrap();
        assert_eq!(parsed.listen, "127.0.0.1:8787");
        assert_eq!(parsed.fail_once_after, Some(Duration::from_millis(1500)));
        for (line, expected) in
            [("", "--secret"), ("--listen", "needs a value"), ("--x 1", "--x"), ("--fail-once-after -1", "-1")]
        {
            assert!(parse(line).unwrap_err().contains(expected), "{line}");
        }
    }
}
