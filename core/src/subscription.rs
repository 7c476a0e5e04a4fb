//! A subscription as the API takes and gives it, and what is wrong with one.
//!
//! Parsing is `serde` (camelCase, unknown fields refused, absent fields take defaults at every level); everything a
//! type cannot say is a [`Violation`] with a JSON pointer. Does not own JMESPath: whether an expression compiles is
//! asked of the `expression` crate by the API.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::event::{Kind, Operation};
use crate::{Did, SubscriptionId, TopicName, Violation, limits};

mod check;
mod client_certificate;
mod der;
mod parts;
mod secret;
mod signing;

pub use client_certificate::{ClientCertificate, Identity, PrivateKey};
pub use parts::{
    Collector, Compression, Filter, Format, OnExhausted, OnFailure, Ordering, Output, Processor, Retry, Scheme, Source,
    StartFrom, State, Throttle, Webhook,
};
pub use secret::{Secret, SecretError};
pub use signing::SigningKey;

/// Source topic + filter + collector + processor + output topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Subscription {
    /// Must equal the path it is put to; absent there, it is the path's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<SubscriptionId>,
    /// Where the records come from. Fixed at creation.
    pub source: Source,
    /// Where to begin; read at creation only.
    pub start_from: StartFrom,
    /// Which records.
    pub filter: Filter,
    /// How they are grouped.
    pub collector: Collector,
    /// What happens to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub processor: Option<Processor>,
    /// Where results go; absent, answers are only acknowledgements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// What keeps its order.
    pub ordering: Ordering,
    /// Partitions of the deliveries: parallel across, ordered inside. Fixed at creation.
    #[schemars(range(min = 1, max = limits::LANES_MAX))]
    pub lanes: u32,
    /// What happens after a failure.
    pub retry: Retry,
    /// The most events per second.
    pub throttle: Throttle,
    /// Whether it runs.
    pub state: State,
    /// The tenant's own notes; FPaaS does not read them.
    pub metadata: BTreeMap<String, String>,
}

impl Default for Subscription {
    fn default() -> Self {
        Self {
            id: None,
            source: Source::default(),
            start_from: StartFrom::default(),
            filter: Filter::default(),
            collector: Collector::default(),
            processor: None,
            output: None,
            ordering: Ordering::default(),
            lanes: 1,
            retry: Retry::default(),
            throttle: Throttle::default(),
            state: State::default(),
            metadata: BTreeMap::new(),
        }
    }
}

impl Subscription {
    /// The webhook, if that is the processor.
    pub fn webhook(&self) -> Option<&Webhook> {
        match &self.processor {
            Some(Processor::Webhook(webhook)) => Some(webhook),
            _ => None,
        }
    }

    /// True while it is to stand still.
    pub fn is_paused(&self) -> bool {
        self.state != State::Active
    }

    /// What is wrong with it, all of it at once. `allow_http` is true in dev.
    pub fn violations(&self, allow_http: bool) -> Vec<Violation> {
        check::violations(self, allow_http)
    }

    /// What cannot change from `old` to this: pointers with reasons, answered with 409.
    pub fn conflicts(&self, old: &Self) -> Vec<Violation> {
        check::conflicts(self, old)
    }
}
