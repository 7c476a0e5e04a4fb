//! What was said of a Kafka cluster: its address, the names on it, and the properties of the client, which may be
//! passwords: no message repeats a value.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fpaas_core::TopicName;
use fpaas_core::topics::Topics;
use fpaas_log::KafkaConfig;
use tracing::warn;

use crate::args::Cluster;
use crate::config::Reading;
use crate::config::setting::{KAFKA_PROPERTIES, KAFKA_PROPERTY, LOG, TOPIC_PREFIX};
use crate::exit::Failure;

/// What a cluster's address begins with.
pub(crate) const SCHEME: &str = "kafka://";

/// The cluster at `log`, kafka://HOST:PORT,…, for a command that is no node.
pub(crate) fn config(log: &str, cluster: &Cluster) -> Result<KafkaConfig, Failure> {
    let wrong = |flag: String| move |why: String| Failure::Usage(format!("{flag}: {why}"));
    let brokers = brokers(log, "").map_err(wrong(format!("--log {log}")))?;
    let prefix = prefix(&cluster.topic_prefix).map_err(wrong(format!("--topic-prefix {}", cluster.topic_prefix)))?;
    let mut config = KafkaConfig::new(brokers, &Topics::with_prefix(prefix));
    if let Some(file) = &cluster.kafka_properties {
        config.properties = read(file).map_err(wrong(format!("--kafka-properties {}", file.display())))?;
    }
    let given = cluster.kafka_property.iter().map(|text| property(text).map_err(wrong("--kafka-property".to_owned())));
    config.properties.extend(given.collect::<Result<Vec<_>, _>>()?);
    config.check().map_err(|error| wrong("--kafka-property".to_owned())(error.to_string()))?;
    Ok(config)
}

/// The cluster of a node.
pub(crate) fn of_node(reading: &mut Reading<'_>) -> Option<KafkaConfig> {
    let brokers = reading.one(&LOG, |log| brokers(log, "embedded, or "));
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
fn brokers<'a>(log: &'a str, alternative: &str) -> Result<&'a str, String> {
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

    #[test]
    fn a_file_of_properties_is_read_and_what_is_typed_counts_more() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kafka.properties");
        fs::write(&file, "# who we are\n\nsasl.username = anna\n  sasl.password=a=b #c \nsasl.mechanism=PLAIN\n")
            .unwrap();
        let cluster = |typed: &[&str]| Cluster {
            topic_prefix: "fpaas".to_owned(),
            kafka_property: typed.iter().map(ToString::to_string).collect(),
            kafka_properties: Some(file.clone()),
        };
        let config = config("kafka://127.0.0.1:1", &cluster(&["sasl.mechanism=SCRAM-SHA-512"])).unwrap();
        let found: Vec<_> = config.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("sasl.username", "anna"),
            ("sasl.password", "a=b #c"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
        ];
        assert_eq!(found, expected);
        fs::write(&file, "sasl.username=anna\nhunter2\n").unwrap();
        let said = super::config("kafka://127.0.0.1:1", &cluster(&[])).unwrap_err().to_string();
        assert!(said.ends_with("kafka.properties: line 2: must be NAME=VALUE") && !said.contains("hunter2"), "{said}");
        fs::write(&file, "sasl.mechanism=PLAIN\nacks=1\n").unwrap();
        let said = super::config("kafka://127.0.0.1:1", &cluster(&[])).unwrap_err().to_string();
        assert!(said.contains("the property acks is set by FPaaS"), "{said}");
    }
}
