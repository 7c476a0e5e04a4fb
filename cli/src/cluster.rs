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
use crate::exit::Failure;

/// What a cluster's address begins with.
pub(crate) const SCHEME: &str = "kafka://";

/// The cluster at `log`, kafka://HOST:PORT,…; `alternative` is what else `--log` may be.
pub(crate) fn config(log: &str, cluster: &Cluster, alternative: &str) -> Result<KafkaConfig, Failure> {
    let brokers = log.strip_prefix(SCHEME).filter(|brokers| !brokers.is_empty());
    let brokers = brokers
        .ok_or_else(|| Failure::Usage(format!("--log {log}: must be {alternative}{SCHEME}HOST:PORT,HOST:PORT…")))?;
    let mut config = KafkaConfig::new(brokers, &Topics::with_prefix(prefix(&cluster.topic_prefix)?));
    if let Some(file) = &cluster.kafka_properties {
        config.properties = read(file)?;
    }
    let given = cluster.kafka_property.iter().map(|text| property("--kafka-property", text));
    config.properties.extend(given.collect::<Result<Vec<_>, _>>()?);
    config.check().map_err(|error| Failure::Usage(format!("--kafka-property: {error}")))?;
    Ok(config)
}

/// As a topic's name, since every name begins with it.
fn prefix(text: &str) -> Result<&str, Failure> {
    let wrong = |why: String| Failure::Usage(format!("--topic-prefix {text}: {why}"));
    if text.contains('.') {
        return Err(wrong("must have no dot".to_owned()));
    }
    TopicName::parse(text).map_err(|error| wrong(error.to_string()))?;
    Ok(text)
}

/// A property a line, as Kafka's own tools take them; lines that begin with # are none.
fn read(file: &Path) -> Result<Vec<(String, String)>, Failure> {
    let flag = format!("--kafka-properties {}", file.display());
    let unreadable = |error: std::io::Error| Failure::Usage(format!("{flag}: cannot be read: {error}"));
    let text = fs::read_to_string(file).map_err(unreadable)?;
    if fs::metadata(file).map_err(unreadable)?.permissions().mode() & 0o077 != 0 {
        warn!(file = %file.display(), "other users of this machine can read the file of Kafka's properties: chmod 600 it");
    }
    let lines =
        text.lines().enumerate().filter(|(_, line)| !matches!(line.trim().bytes().next(), None | Some(b'#' | b'!')));
    lines.map(|(at, line)| property(&format!("{flag}, line {}", at + 1), line)).collect()
}

fn property(of: &str, text: &str) -> Result<(String, String), Failure> {
    let parts = text.split_once('=').filter(|(name, _)| !name.trim().is_empty());
    let (name, value) = parts.ok_or_else(|| Failure::Usage(format!("{of}: must be NAME=VALUE")))?;
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
        let config = config("kafka://127.0.0.1:1", &cluster(&["sasl.mechanism=SCRAM-SHA-512"]), "").unwrap();
        let found: Vec<_> = config.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("sasl.username", "anna"),
            ("sasl.password", "a=b #c"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
        ];
        assert_eq!(found, expected);
        fs::write(&file, "sasl.username=anna\nhunter2\n").unwrap();
        let said = super::config("kafka://127.0.0.1:1", &cluster(&[]), "").unwrap_err().to_string();
        assert!(said.ends_with("kafka.properties, line 2: must be NAME=VALUE") && !said.contains("hunter2"), "{said}");
        fs::write(&file, "sasl.mechanism=PLAIN\nacks=1\n").unwrap();
        let said = super::config("kafka://127.0.0.1:1", &cluster(&[]), "").unwrap_err().to_string();
        assert!(said.contains("the property acks is set by FPaaS"), "{said}");
    }
}
