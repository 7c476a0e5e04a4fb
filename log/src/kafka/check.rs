//! What is right and what is wrong with a cluster, found by using it as the program would: `fpaas kafka check`.
//!
//! Looks first, then makes a topic and a group, commits one transaction, reads it back, and removes both. What stays
//! for a while is the transactional id, which is the same each time: brokers forget it by themselves
//! (`transactional.id.expiration.ms`), and nobody can make them.

mod settings;
mod trial;

use std::fmt;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use fpaas_core::Clock;
use rdkafka::admin::ResourceSpecifier;
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataTopic;

use super::Kafka;
use super::admin::Admin;
use super::config::{KafkaConfig, MECHANISM};
use super::context::Trouble;
use super::error::Failure;
use super::reach::{self, Seen, Unseen};
use settings::Settings;
use trial::Trial;

/// How long one address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// One line of what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub subject: Subject,
    /// How it is.
    pub grade: Grade,
    /// What was found, as a sentence without a full stop.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// How something is. In order: the last is the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Right,
    /// Good to know.
    Note,
    /// It works, and will not in some case that the advice names.
    Warning,
    /// FPaaS does not work there.
    Wrong,
    /// It does not answer.
    Unreachable,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The addresses that were given.
    Addresses,
    /// Encryption and who we are.
    Login,
    /// Which Kafka it is.
    Version,
    /// Every broker, wherever it says it is.
    Brokers,
    /// Copies of records.
    Replication,
    /// Copies of what the brokers themselves remember.
    Internals,
    /// How long a group's members may be silent.
    Sessions,
    /// How long positions are kept.
    Positions,
    /// How long a transaction may take.
    Timeout,
    /// How large records may be.
    Records,
    /// Topics that nobody made.
    AutoCreation,
    /// The topics of this prefix that are there.
    Topics,
    /// Making a topic.
    Creating,
    /// Joining a group.
    Joining,
    /// A transaction, from its beginning until it is read.
    Transaction,
    /// The brokers' clock and ours.
    Clock,
    /// What was made is gone again.
    CleaningUp,
}

impl Subject {
    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Login => "login",
            Self::Version => "version",
            Self::Brokers => "brokers",
            Self::Replication => "replication",
            Self::Internals => "internal topics",
            Self::Sessions => "sessions",
            Self::Positions => "positions",
            Self::Timeout => "timeout",
            Self::Records => "records",
            Self::AutoCreation => "auto creation",
            Self::Topics => "topics",
            Self::Creating => "creating",
            Self::Joining => "joining",
            Self::Transaction => "transaction",
            Self::Clock => "clock",
            Self::CleaningUp => "cleaning up",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Finding {
    fn new(subject: Subject, grade: Grade, found: impl Into<String>) -> Self {
        Self { subject, grade, found: found.into(), advice: None }
    }

    fn right(subject: Subject, found: impl Into<String>) -> Self {
        Self::new(subject, Grade::Right, found)
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

impl Kafka {
    /// Looks at everything that FPaaS counts on at the cluster of `config`, in the order in which it is reported; ends
    /// early where the rest cannot be known.
    pub async fn check(config: &KafkaConfig, clock: Arc<dyn Clock>) -> Vec<Finding> {
        let (asked, looked) = (config.clone(), config.clone());
        let mut findings = blocking(move || addresses(&asked.brokers)).await.unwrap_or_default();
        let seen = match blocking(move || reach::look(&looked)).await {
            Some(Ok(seen)) => seen,
            Some(Err(unseen)) => {
                findings.extend(unseen_as_found(config, unseen));
                return findings;
            }
            None => return findings,
        };
        findings.push(login(config));
        findings.push(version(&seen));
        let opened = Admin::open(config, &Trouble::default());
        let admin = match opened {
            Ok(admin) => admin,
            Err(error) => {
                findings.push(Finding::new(Subject::Brokers, Grade::Wrong, error.to_string()));
                return findings;
            }
        };
        let (answered, settings) = brokers(&admin, &seen).await;
        findings.push(answered);
        findings.extend(settings::judged(&settings, seen.brokers.len()));
        findings.push(topics(config, &admin).await);
        findings.extend(Trial::run(config, &admin, clock).await);
        findings
    }
}

async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(ask).await.ok()
}

/// Each address by itself: librdkafka is content with one that answers.
fn addresses(brokers: &str) -> Vec<Finding> {
    let tried: Vec<_> = brokers.split(',').map(|address| (address.trim(), connect(address.trim()))).collect();
    let silent: Vec<_> = tried.iter().filter_map(|(address, tried)| Some((address, tried.as_ref().err()?))).collect();
    let (all, answer) = (tried.len(), tried.len() - silent.len());
    if silent.is_empty() {
        return vec![Finding::right(Subject::Addresses, format!("{all} of {all} accept a connection"))];
    }
    let grade = if answer == 0 { Grade::Unreachable } else { Grade::Warning };
    let each: Vec<_> = silent.iter().map(|(address, why)| format!("{address}: {why}")).collect();
    let found = format!("{answer} of {all} accept a connection; {}", each.join("; "));
    let advice = "check the addresses in --log, and that Kafka is up and may be reached from here";
    vec![Finding::new(Subject::Addresses, grade, found).advise(advice)]
}

/// `[PROTOCOL://]HOST[:PORT]`, as librdkafka takes it.
fn connect(address: &str) -> Result<(), String> {
    let bare = address.rsplit("://").next().unwrap_or(address);
    let has_port = bare.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let whole = if has_port { bare.to_owned() } else { format!("{bare}:9092") };
    let mut why = "the name has no address".to_owned();
    for found in whole.to_socket_addrs().map_err(|error| error.to_string())? {
        match TcpStream::connect_timeout(&found, CONNECT) {
            Ok(_) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

fn unseen_as_found(config: &KafkaConfig, unseen: Unseen) -> Vec<Finding> {
    match unseen {
        Unseen::Silent(why) => vec![
            Finding::new(Subject::Brokers, Grade::Unreachable, format!("no broker answers: {why}"))
                .advise("check the addresses in --log and security.protocol, and that Kafka is up"),
        ],
        Unseen::Refused(why) => {
            vec![Finding::new(Subject::Login, Grade::Wrong, format!("refused: {why}")).advise(Unseen::ADVICE)]
        }
        Unseen::Properties(failed) => vec![
            Finding::new(Subject::Login, Grade::Wrong, failed.to_string())
                .advise("correct --kafka-property or --kafka-properties"),
        ],
        Unseen::Old(kafka, missing) => vec![
            login(config),
            Finding::new(Subject::Version, Grade::Wrong, format!("Kafka {kafka} is too old: {missing}"))
                .advise("FPaaS needs Kafka 2.5 or later on every broker"),
        ],
    }
}

fn login(config: &KafkaConfig) -> Finding {
    let protocol = config.property(&["security.protocol"]).unwrap_or("plaintext").to_uppercase();
    let user = config.property(&["sasl.username"]).map(|user| format!(" as {user}")).unwrap_or_default();
    let mechanism = config.property(&MECHANISM).filter(|_| protocol.starts_with("SASL"));
    let login = mechanism.map(|mechanism| format!(" with {mechanism}{user}")).unwrap_or_default();
    let found = format!("{protocol}{login}");
    match protocol.as_str() {
        "PLAINTEXT" => Finding::new(Subject::Login, Grade::Note, format!("{found}: no encryption, no login"))
            .advise("keep the brokers on a network of their own, or set security.protocol to SSL or SASL_SSL"),
        "SASL_PLAINTEXT" => Finding::new(Subject::Login, Grade::Note, format!("{found}, without encryption"))
            .advise("keep the brokers on a network of their own, or set security.protocol to SASL_SSL"),
        _ => Finding::right(Subject::Login, found),
    }
}

fn version(seen: &Seen) -> Finding {
    let found = format!("every broker asked has Kafka {} or later, and 2.5 is enough", seen.versions.kafka());
    Finding::right(Subject::Version, found)
}

/// Each broker is asked for its own settings: whoever may not see them is answered, too.
async fn brokers(admin: &Admin, seen: &Seen) -> (Finding, Vec<(i32, Settings)>) {
    let (mut named, mut silent, mut hidden, mut settings) = (Vec::new(), Vec::new(), false, Vec::new());
    for (id, address) in &seen.brokers {
        named.push(format!("{id} at {address}"));
        let asked = admin.client.describe_configs([&ResourceSpecifier::Broker(*id)], &admin.options()).await;
        let answer = asked.map_err(Failure::from).and_then(|mut answers| match answers.pop() {
            Some(Err(code)) => Err(Failure::of(code)),
            Some(Ok(resource)) => Ok(Settings::of(&resource)),
            None => Ok(Settings::default()),
        });
        match answer {
            Ok(found) if !found.is_empty() => settings.push((*id, found)),
            Err(failed) if !failed.is_about_rights() => silent.push(format!("{id} at {address}: {failed}")),
            Ok(_) | Err(_) => hidden = true,
        }
    }
    let (all, answer) = (seen.brokers.len(), seen.brokers.len() - silent.len());
    let finding = if !silent.is_empty() {
        Finding::new(Subject::Brokers, Grade::Unreachable, format!("{answer} of {all} answer; {}", silent.join("; ")))
            .advise("every broker must be reached from here at the address that it names: see its advertised.listeners")
    } else if hidden {
        let found = format!("{all} of {all} answer, and keep their settings to themselves: {}", named.join(", "));
        Finding::new(Subject::Brokers, Grade::Note, found)
            .advise("with the right DESCRIBE_CONFIGS on the cluster they are checked, too; nothing else needs it")
    } else {
        Finding::right(Subject::Brokers, format!("{all} of {all} answer: {}", named.join(", ")))
    };
    (finding, settings)
}

async fn topics(config: &KafkaConfig, admin: &Arc<Admin>) -> Finding {
    let wrong = |found: String| Finding::new(Subject::Topics, Grade::Wrong, found);
    for (topic, spec) in reach::own(config) {
        match admin.describe_topic(topic).await {
            Ok(Some(found)) => {
                if let Err(error) = reach::as_made(topic, &spec, &found) {
                    return wrong(error.to_string());
                }
            }
            Ok(None) => {}
            Err(error) => return wrong(error.to_string()),
        }
    }
    match copies(config, admin).await {
        Ok(copies) => there(&config.prefix, &copies),
        Err(failed) => wrong(format!("the topics cannot be listed: {failed}")),
    }
}

/// The copies of each topic of the prefix: the fewest of any of its partitions.
async fn copies(config: &KafkaConfig, admin: &Arc<Admin>) -> Result<Vec<usize>, Failure> {
    let (admin, wait, prefix) = (Arc::clone(admin), config.request_wait, format!("{}.", config.prefix));
    let listed = blocking(move || {
        let found = admin.client.inner().fetch_metadata(None, wait)?;
        let ours = found.topics().iter().filter(|topic| topic.name().starts_with(&prefix));
        let fewest = |topic: &MetadataTopic| topic.partitions().iter().map(|one| one.replicas().len()).min();
        Ok::<_, KafkaError>(ours.filter_map(fewest).collect())
    });
    Ok(listed.await.unwrap_or_else(|| Ok(Vec::new()))?)
}

fn there(prefix: &str, copies: &[usize]) -> Finding {
    match (copies.iter().min(), copies.iter().max()) {
        (Some(fewest), Some(most)) if fewest == most => {
            Finding::right(Subject::Topics, format!("{} of the prefix {prefix}, copies of each: {most}", copies.len()))
        }
        (Some(fewest), Some(most)) => {
            let found = format!("{} of the prefix {prefix}, with {fewest} to {most} copies", copies.len());
            Finding::new(Subject::Topics, Grade::Warning, found)
                .advise("those with fewer were made before: give them more with kafka-reassign-partitions.sh")
        }
        _ => Finding::right(Subject::Topics, format!("none of the prefix {prefix} yet")),
    }
}
