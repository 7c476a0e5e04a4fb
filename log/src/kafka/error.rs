//! What librdkafka answers, classified by what the caller does about it. Nothing here looks at a text.

use std::fmt;

use fpaas_core::TopicPartition;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::{Error, Refusal};

/// A code of librdkafka or of the broker, and what was said beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: Code,
    said: String,
}

impl Failure {
    pub(super) const fn of(code: Code) -> Self {
        Self { code, said: String::new() }
    }

    pub(super) fn saying(self, said: impl Into<String>) -> Self {
        Self { said: said.into(), ..self }
    }

    /// True of what does not pass by itself.
    pub(super) const fn is_lasting(&self) -> bool {
        is_lasting(self.code)
    }

    /// True where this user may not do it.
    pub(super) const fn is_about_rights(&self) -> bool {
        matches!(
            self.code,
            Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::TransactionalIdAuthorizationFailed
        )
    }

    /// As an error of an operation on `topic`.
    pub(super) fn on(&self, topic: &str) -> Error {
        match self.code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId => {
                Error::NoSuchTopic(topic.to_owned())
            }
            code if is_of_topic(code) => Error::Refused(format!("{topic}: {self}{}", hint(code))),
            code if is_lasting(code) => Error::Fatal(format!("{topic}: {self}{}", hint(code))),
            code => Error::Retry(format!("{topic}: {self}{}", hint(code))),
        }
    }

    /// As an error of what concerns no topic.
    pub(super) fn of_cluster(&self) -> Error {
        if is_lasting(self.code) {
            return Error::Fatal(format!("Kafka: {self}{}", hint(self.code)));
        }
        Error::Retry(format!("Kafka: {self}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.said.is_empty() { write!(f, "{}", self.code) } else { f.write_str(&self.said) }
    }
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        let code = match &error {
            KafkaError::AdminOp(code) => Some(*code),
            KafkaError::Transaction(error) => Some(error.code()),
            other => other.rdkafka_error_code(),
        };
        // A setting's own error repeats its value.
        let said = match &error {
            KafkaError::ClientConfig(..) => super::config::unusable(&error),
            other => other.to_string(),
        };
        Self::of(code.unwrap_or(Code::Fail)).saying(said)
    }
}

/// What does not pass by itself and says nothing of other topics: a right on this one, a policy, a setting of it.
const fn is_of_topic(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::PolicyViolation
            | Code::InvalidConfig
            | Code::InvalidPartitions
            | Code::InvalidTopic
    )
}

/// What does not pass by itself: rights, settings, versions.
const fn is_lasting(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::InvalidConfig
            | Code::InvalidArgument
            | Code::InvalidPartitions
            | Code::InvalidTransactionTimeout
            | Code::InvalidSessionTimeout
            | Code::InvalidTopic
            | Code::PolicyViolation
            | Code::SecurityDisabled
    )
}

/// What to do about it, to be put behind what went wrong; empty where nobody knows.
pub(super) const fn hint(code: Code) -> &'static str {
    match code {
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => {
            "; give the user of --kafka-property rights on topics, groups and transactional ids of this prefix"
        }
        Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            "; check the user, the password and sasl.mechanism in --kafka-property"
        }
        Code::UnsupportedVersion | Code::UnsupportedFeature => "; the brokers must be Kafka 2.5 or later",
        Code::PolicyViolation => "; the cluster's policy for topics must admit those of this prefix",
        Code::InvalidReplicationFactor => "; there are fewer brokers than a topic gets copies",
        Code::InvalidTransactionTimeout => "; the brokers' transaction.max.timeout.ms must be at least 8000",
        Code::InvalidSessionTimeout => "; the brokers' group session timeouts must admit 10000",
        _ => "",
    }
}

/// Why a record cannot be where it was to go, if that is what `code` says.
pub(super) const fn refusal(code: Code) -> Option<Refusal> {
    Some(match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::InvalidTopic => {
            Refusal::NoSuchTopic
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => Refusal::TooLarge,
        Code::TopicAuthorizationFailed => Refusal::NotAuthorised,
        Code::InvalidRecord => Refusal::Invalid,
        Code::LeaderNotAvailable | Code::MessageTimedOut => Refusal::Unavailable,
        _ => return None,
    })
}

/// That a partition is not there.
pub(super) fn no_such(at: &TopicPartition) -> Error {
    Error::NoSuchTopic(at.to_string())
}
