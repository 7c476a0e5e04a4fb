//! The first look at a cluster: who answers, what it speaks, and why not where nobody does.
//!
//! Makes nothing: neither here nor there is anything left of a start that ends here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fpaas_core::partition::SLOTS;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::admin::Admin;
use super::config::KafkaConfig;
use super::context::{self, Trouble};
use super::error::Failure;
use super::versions::Versions;
use super::{fence, ffi};
use crate::{Error, Result, TopicSpec};

/// How long one question is waited for.
const STEP: Duration = Duration::from_millis(250);
/// So long after a first refusal to let us in nothing else is waited for.
const REFUSED: Duration = Duration::from_secs(2);

/// A cluster that answers, and on which nothing is in the way.
#[derive(Debug)]
pub struct Reached {
    pub(super) config: KafkaConfig,
    pub(super) trouble: Trouble,
    pub(super) admin: Arc<Admin>,
}

impl Reached {
    pub(super) async fn at(config: KafkaConfig) -> Result<Self> {
        config.check()?;
        let asked = config.clone();
        let looked = tokio::task::spawn_blocking(move || look(&asked)).await;
        looked.map_err(|error| Error::Fatal(error.to_string()))?.map_err(|unseen| unseen.as_error(&config.brokers))?;
        let trouble = Trouble::default();
        ffi::keep_leaders();
        let admin = Admin::open(&config, &trouble)?;
        let reached = Self { config, trouble, admin };
        for (topic, spec) in own(&reached.config) {
            if let Some(found) = reached.describe_topic(topic).await? {
                as_made(topic, &spec, &found)?;
            }
        }
        Ok(reached)
    }

    /// A topic's settings, or `None`.
    pub async fn describe_topic(&self, topic: &str) -> Result<Option<TopicSpec>> {
        self.admin.describe_topic(topic).await
    }
}

/// The topics that membership rests on.
pub(super) fn own(config: &KafkaConfig) -> [(&str, TopicSpec); 2] {
    [(&config.slots, TopicSpec::kept(SLOTS)), (&config.fence, TopicSpec::kept(fence::PARTITIONS))]
}

/// That a topic which was found is one that we made. Its retention may be another.
pub(super) fn as_made(topic: &str, wanted: &TopicSpec, found: &TopicSpec) -> Result<()> {
    if found.partitions == wanted.partitions && found.compacted == wanted.compacted {
        return Ok(());
    }
    let (found, wanted) = (shape(found), shape(wanted));
    Err(Error::Fatal(format!(
        "the topic {topic} is there with {found}, and FPaaS needs {wanted}: it is not ours, or was changed; choose another --topic-prefix"
    )))
}

fn shape(spec: &TopicSpec) -> String {
    let compacted = if spec.compacted { "compacted" } else { "not compacted" };
    format!("{} partitions, {compacted}", spec.partitions)
}

/// What was seen of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Each broker's number and address.
    pub(super) brokers: Vec<(i32, String)>,
    pub(super) versions: Versions,
}

/// Why nothing was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    /// Nobody answers.
    Silent(String),
    /// Somebody does, and does not let us in, or we do not trust it.
    Refused(String),
    /// It lacks what is needed: the version of Kafka that it has, and the requests.
    Old(&'static str, String),
    /// The properties are none.
    Properties(Failure),
}

impl Unseen {
    fn as_error(&self, brokers: &str) -> Error {
        match self {
            Self::Silent(why) => Error::Retry(format!("no Kafka broker answers at {brokers}: {why}")),
            Self::Refused(why) => {
                Error::Fatal(format!("the Kafka broker at {brokers} does not let us in: {why}; {}", Self::ADVICE))
            }
            Self::Old(kafka, missing) => Error::Fatal(format!(
                "the Kafka brokers at {brokers} are too old, at most {kafka} ({missing}): FPaaS needs 2.5 or later"
            )),
            Self::Properties(failed) => Error::Fatal(format!("the properties are of no use: {failed}")),
        }
    }

    /// What to do where we are not let in.
    pub(super) const ADVICE: &str = "check security.protocol, ssl.ca.location, sasl.mechanism, sasl.username and \
                                     sasl.password in --kafka-property or --kafka-properties";
}

/// Looks; blocks, at most for as long as an answer is waited for.
pub(super) fn look(config: &KafkaConfig) -> Result<Seen, Unseen> {
    let made: Result<BaseConsumer<Ears>, _> = config.scout().create_with_context(Ears::default());
    let consumer = made.map_err(|error| Unseen::Properties(Failure::from(error)))?;
    ffi::serve_tokens(consumer.client());
    let (began, mut refused) = (Instant::now(), None);
    loop {
        let answer = consumer.fetch_metadata(Some(&config.slots), STEP);
        ffi::hear(consumer.client(), Duration::ZERO);
        let heard = consumer.context().heard();
        if let Ok(found) = answer
            && !heard.versions.is_empty()
        {
            let address = |broker: &rdkafka::metadata::MetadataBroker| format!("{}:{}", broker.host(), broker.port());
            let brokers = found.brokers().iter().map(|broker| (broker.id(), address(broker))).collect();
            let versions = heard.versions;
            return match versions.missing() {
                Some(missing) => Err(Unseen::Old(versions.kafka(), missing)),
                None => Ok(Seen { brokers, versions }),
            };
        }
        if heard.refused() {
            let since = *refused.get_or_insert_with(Instant::now);
            if since.elapsed() > REFUSED {
                return Err(heard.unseen(config));
            }
        }
        if began.elapsed() > config.request_wait {
            return Err(heard.unseen(config));
        }
    }
}

/// What librdkafka said beside its answers.
#[derive(Clone, Debug, Default)]
struct Heard {
    versions: Versions,
    trouble: Option<(Code, String)>,
}

impl Heard {
    /// What the brokers refuse once they refuse every time.
    fn refused(&self) -> bool {
        matches!(
            self.trouble,
            Some((
                Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism | Code::SSL,
                _
            ))
        )
    }

    fn unseen(self, config: &KafkaConfig) -> Unseen {
        let refused = self.refused();
        match self.trouble {
            Some((_, why)) if refused => Unseen::Refused(why),
            Some((_, why)) => Unseen::Silent(why),
            None => Unseen::Silent(format!("nothing was heard within {:?}", config.request_wait)),
        }
    }
}

#[derive(Debug, Default)]
struct Ears(Mutex<Heard>);

impl Ears {
    fn heard(&self) -> Heard {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Ears {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match facility {
            "APIVERSION" => self.0.lock().unwrap_or_else(PoisonError::into_inner).versions.note(line),
            // What is wrong is said once, at the end.
            _ => tracing::debug!(level = level as i32, facility, "librdkafka: {line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // That all brokers are down follows from what was said of each.
        if code != Code::AllBrokersDown || heard.trouble.is_none() {
            heard.trouble = Some((code, context::said(&error, reason)));
        }
    }
}

impl ConsumerContext for Ears {}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(errors: &[(Code, &str)]) -> Unseen {
        let ears = Ears::default();
        errors.iter().for_each(|(code, reason)| ears.error(KafkaError::Global(*code), reason));
        ears.heard().unseen(&KafkaConfig::new("h:1", &fpaas_core::topics::Topics::default()))
    }

    #[test]
    fn what_was_said_of_a_broker_is_not_hidden_by_what_follows_from_it() {
        let down = (Code::AllBrokersDown, "1/1 brokers are down");
        let (refused, silent) = ((Code::Authentication, "wrong password"), (Code::BrokerTransportFailure, "refused"));
        assert_eq!(heard(&[refused, down]), Unseen::Refused("wrong password".to_owned()));
        assert_eq!(heard(&[silent, down, down]), Unseen::Silent("refused".to_owned()));
        assert_eq!(heard(&[down]), Unseen::Silent("1/1 brokers are down".to_owned()));
        assert_eq!(heard(&[]), Unseen::Silent("nothing was heard within 10s".to_owned()));
        assert!(matches!(heard(&[refused]).as_error("h:1"), Error::Fatal(said) if said.contains("sasl.password")));
        assert!(matches!(heard(&[silent]).as_error("h:1"), Error::Retry(said) if said.ends_with("at h:1: refused")));
    }

    #[test]
    fn a_topic_of_other_partitions_or_compaction_is_not_ours() {
        let wanted = TopicSpec::kept(64);
        assert_eq!(as_made("p.slots", &wanted, &wanted), Ok(()));
        for found in [TopicSpec::kept(3), TopicSpec::compacted(64)] {
            let Err(Error::Fatal(said)) = as_made("p.slots", &wanted, &found) else { panic!("it is taken") };
            assert!(said.starts_with("the topic p.slots is there with ") && said.contains("--topic-prefix"), "{said}");
        }
    }
}
