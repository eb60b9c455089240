//! Metrics that the application adds to those of the server.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// All samples of one metric, which an application adds by [`Server::add_metrics`](crate::Server::add_metrics).
///
/// ```
/// use sociable::MetricFamily;
///
/// let orders = MetricFamily::counter("orders", "Orders, by their outcome.")
///     .sample(&[("outcome", "paid")], 12)
///     .sample(&[("outcome", "cancelled")], 3);
/// # let io = sociable::Server::builder().build()?;
/// io.add_metrics(move || vec![orders.clone()]);
/// # Ok::<(), sociable::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricFamily {
    name: Cow<'static, str>,
    help: Cow<'static, str>,
    kind: Kind,
    samples: Vec<(Labels, u64)>,
}

/// The names and the values of labels.
type Labels = Vec<(&'static str, String)>;

/// A function of the application that returns its metrics.
pub(crate) type MetricSource = Arc<dyn Fn() -> Vec<MetricFamily> + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

impl MetricFamily {
    /// Returns a counter without samples. The server writes `sociable_` before the name, and `_total` behind it.
    pub fn counter(name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), help: help.into(), kind: Kind::Counter, samples: vec![] }
    }

    /// Returns a gauge without samples. The server writes `sociable_` before the name.
    pub fn gauge(name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Gauge, ..Self::counter(name, help) }
    }

    /// Adds a sample with these labels and their values. A sample with the same labels is added to the one that is there.
    #[must_use]
    pub fn sample(mut self, labels: &[(&'static str, &str)], value: u64) -> Self {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.add(labels, value);
        self
    }

    fn add(&mut self, labels: Labels, value: u64) {
        match self.samples.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, sum)) => *sum = sum.saturating_add(value),
            None => self.samples.push((labels, value)),
        }
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        let mut family = encoder.encode_descriptor(&self.name, &self.help, None, kind)?;
        for (labels, value) in &self.samples {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, &**value)).collect();
            let labels = &labels[..];
            let sample = family.encode_family(&labels)?;
            match self.kind {
                Kind::Counter => ConstCounter::new(*value).encode(sample)?,
                Kind::Gauge => ConstGauge::new(*value).encode(sample)?,
            }
        }
        Ok(())
    }
}

/// Adds up the families of one name. A text of metrics may have each name once.
pub(crate) fn merged(families: impl IntoIterator<Item = MetricFamily>) -> Vec<MetricFamily> {
    let mut merged: Vec<MetricFamily> = vec![];
    for family in families {
        match merged.iter_mut().find(|known| known.name == family.name) {
            Some(known) => family.samples.into_iter().for_each(|(labels, value)| known.add(labels, value)),
            None => merged.push(family),
        }
    }
    merged
}

pub(crate) fn encode(families: &[MetricFamily], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    families.iter().try_for_each(|family| family.encode(encoder))
}
