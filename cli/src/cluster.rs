//! What was said of a Kafka cluster: its address, the names on it, and the properties of the client, which may be
//! passwords: no message repeats a value.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fpaas_core::TopicName;
use fpaas_core::topics::Topics;
use fpaas_log::KafkaConfig;
use tracing::warn;

use crate::config::setting::{KAFKA_PROPERTIES, KAFKA_PROPERTY, LOG, TOPIC_PREFIX};
use crate::config::{Origin, Reading, Settings};
use crate::exit::Failure;

/// What a cluster's address begins with.
pub(crate) const SCHEME: &str = "kafka://";

/// The cluster of a command that is no node: `--log`, or that of the file.
pub(crate) fn asked(settings: &Settings) -> Result<KafkaConfig, Failure> {
    if settings.origin(&LOG, None) == Origin::Default {
        return Err(Failure::Usage(format!("which cluster? Give --log {SCHEME}HOST:PORT,…, or a file with --config")));
    }
    let mut reading = Reading::new(settings);
    let brokers = reading.one(&LOG, |log| brokers(log, ""));
    let config = of(&mut reading, brokers);
    Ok(reading.done(config)?)
}

/// The cluster of a node.
pub(crate) fn of_node(reading: &mut Reading<'_>) -> Option<KafkaConfig> {
    let brokers = reading.one(&LOG, |log| brokers(log, "embedded, or "));
    of(reading, brokers)
}

/// The cluster at these brokers.
pub(crate) fn of(reading: &mut Reading<'_>, brokers: Option<&str>) -> Option<KafkaConfig> {
    let prefix = reading.one(&TOPIC_PREFIX, prefix);
    let filed = reading.one(&KAFKA_PROPERTIES, |file| read(Path::new(file)));
    let given = reading.each(&KAFKA_PROPERTY, property);
    let mut config = KafkaConfig::new(brokers?, &Topics::with_prefix(prefix?));
    config.properties.extend(filed.into_iter().flatten().chain(given));
    if let Err(error) = config.check() {
        let setting = if reading.is_said(&KAFKA_PROPERTY) { &KAFKA_PROPERTY } else { &KAFKA_PROPERTIES };
        reading.refuse(setting, error.to_string());
    }
    Some(config)
}

/// `alternative` is what else the log may be.
pub(crate) fn brokers<'a>(log: &'a str, alternative: &str) -> Result<&'a str, String> {
    let brokers = log.strip_prefix(SCHEME).filter(|brokers| !brokers.is_empty());
    brokers.ok_or_else(|| format!("must be {alternative}{SCHEME}HOST:PORT,HOST:PORT…"))
}

/// As a topic's name, since every name begins with it.
fn prefix(text: &str) -> Result<&str, String> {
    if text.contains('.') {
        return Err("must have no dot".to_owned());
    }
    TopicName::parse(text).map(|_| text).map_err(|error| error.to_string())
}

/// A property a line, as Kafka's own tools take them; lines that begin with # are none.
fn read(file: &Path) -> Result<Vec<(String, String)>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let text = fs::read_to_string(file).map_err(unreadable)?;
    if fs::metadata(file).map_err(unreadable)?.permissions().mode() & 0o077 != 0 {
        warn!(file = %file.display(), "other users of this machine can read the file of Kafka's properties: chmod 600 it");
    }
    let lines =
        text.lines().enumerate().filter(|(_, line)| !matches!(line.trim().bytes().next(), None | Some(b'#' | b'!')));
    lines.map(|(at, line)| property(line).map_err(|why| format!("line {}: {why}", at + 1))).collect()
}

fn property(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.trim().is_empty());
    let (name, value) = parts.ok_or("must be NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use clap::Parser as _;

    #[test]
    fn a_file_of_properties_is_read_and_what_is_typed_counts_more() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kafka.properties");
        fs::write(&file, "# who we are\n\nsasl.username = anna\n  sasl.password=a=b #c \nsasl.mechanism=PLAIN\n")
            .unwrap();
        let named = file.display().to_string();
        let config = |typed: &[&str]| {
            let check = ["fpaas", "kafka", "check", "--log", "kafka://127.0.0.1:1", "--kafka-properties", &named];
            asked(&Args::try_parse_from(check.iter().chain(typed)).unwrap().settings())
        };
        let found = config(&["--kafka-property", "sasl.mechanism=SCRAM-SHA-512"]).unwrap();
        let found: Vec<_> = found.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("sasl.username", "anna"),
            ("sasl.password", "a=b #c"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
        ];
        assert_eq!(found, expected);
        fs::write(&file, "sasl.username=anna\nhunter2\n").unwrap();
        let said = config(&[]).unwrap_err().to_string();
        assert!(said.ends_with("kafka.properties: line 2: must be NAME=VALUE") && !said.contains("hunter2"), "{said}");
        fs::write(&file, "sasl.mechanism=PLAIN\nacks=1\n").unwrap();
        let said = config(&[]).unwrap_err().to_string();
        assert!(said.contains("the property acks is set by FPaaS"), "{said}");
    }

    #[test]
    fn a_cluster_is_that_of_the_file_where_nothing_else_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.yaml");
        fs::write(&file, "log: kafka://10.0.0.1:9092\ntopicPrefix: ours\n").unwrap();
        let named = file.display().to_string();
        let config = |typed: &[&str]| {
            let check = ["fpaas", "kafka", "check", "--config", &named];
            asked(&Args::try_parse_from(check.iter().chain(typed)).unwrap().settings())
        };
        let found = config(&[]).unwrap();
        assert_eq!((found.brokers.as_str(), found.prefix.as_str()), ("10.0.0.1:9092", "ours"));
        let found = config(&["--log", "kafka://10.0.0.2:1", "--topic-prefix", "theirs"]).unwrap();
        assert_eq!((found.brokers.as_str(), found.prefix.as_str()), ("10.0.0.2:1", "theirs"));
        fs::write(&file, "log: embedded\nlogs: no\n").unwrap();
        let said = config(&[]).unwrap_err().to_string();
        assert!(said.contains("/log embedded: must be kafka://HOST:PORT") && said.contains("/logs"), "{said}");
        fs::write(&file, "topicPrefix: ours\n").unwrap();
        assert!(config(&[]).unwrap_err().to_string().starts_with("which cluster?"));
    }
}
