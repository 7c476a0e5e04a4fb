//! Numbers of one name, as they stood when they were asked for.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Names and values, in the order in which they are shown; shared by all numbers of one thing.
pub type Labels = Arc<[(&'static str, String)]>;

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1: its labels are what it says.
    Info,
}

/// One name with all its numbers.
#[derive(Clone, Debug)]
pub struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    samples: Vec<(Labels, u64)>,
}

impl Family {
    /// Without numbers yet. The text gets `_total` or `_info` behind the name, as the kind wants it, and a full stop
    /// behind the help.
    pub fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, help, samples: Vec::new() }
    }

    /// With one more number.
    #[must_use]
    pub fn with(mut self, labels: &Labels, value: u64) -> Self {
        self.push(labels, value);
        self
    }

    /// Adds a number.
    pub fn push(&mut self, labels: &Labels, value: u64) {
        self.samples.push((Arc::clone(labels), value));
    }
}

/// Counts of stages that this crate does not know; each is asked at every scrape and must not block.
#[derive(Clone, Default)]
pub struct Sources(Vec<Arc<dyn Fn() -> Vec<Family> + Send + Sync>>);

impl Sources {
    /// With one more.
    #[must_use]
    pub fn with(mut self, source: impl Fn() -> Vec<Family> + Send + Sync + 'static) -> Self {
        self.0.push(Arc::new(source));
        self
    }

    /// What they say now.
    pub(crate) fn families(&self) -> impl Iterator<Item = Family> {
        self.0.iter().flat_map(|source| source())
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sources({})", self.0.len())
    }
}

/// All of a scrape.
#[derive(Debug)]
pub(crate) struct Pulled(pub(crate) Vec<Family>);

impl Collector for Pulled {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Info => MetricType::Info,
            };
            let metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            encode(family, metric)?;
        }
        Ok(())
    }
}

fn encode(family: &Family, mut metric: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    for (labels, value) in &family.samples {
        let labels: &[_] = labels;
        match family.kind {
            Kind::Info => metric.encode_info(&labels)?,
            // What has no labels has no braces either.
            kind if labels.is_empty() => encode_value(kind, *value, &mut metric)?,
            kind => encode_value(kind, *value, &mut metric.encode_family(&labels)?)?,
        }
    }
    Ok(())
}

fn encode_value(kind: Kind, value: u64, metric: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match kind {
        Kind::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
        Kind::Gauge | Kind::Info => metric.encode_gauge(&value),
    }
}
