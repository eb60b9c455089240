//! Helpers for collectors: each writes one metric with its metadata.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Writes a gauge.
///
/// # Errors
///
/// The writer behind the encoder fails.
pub fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

/// Writes a counter. `name` is without `_total`.
///
/// # Errors
///
/// The writer behind the encoder fails.
pub fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

/// Writes a counter with a sample for each value of a label.
///
/// # Errors
///
/// The writer behind the encoder fails.
pub fn counters<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    samples: impl IntoIterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let samples = samples.into_iter().map(|(value, count)| (value, ConstCounter::new(count)));
    family(encoder.encode_descriptor(name, help, None, MetricType::Counter)?, label, samples)
}

/// Writes a gauge with a sample for each value of a label.
///
/// # Errors
///
/// The writer behind the encoder fails.
pub fn gauges<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    samples: impl IntoIterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let samples = samples.into_iter().map(|(value, amount)| (value, ConstGauge::new(amount)));
    family(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?, label, samples)
}

/// Writes the samples of a metric, each with its value of the label.
fn family<'a>(mut encoder: MetricEncoder<'_>, label: &str, samples: impl Iterator<Item = (&'a str, impl EncodeMetric)>) -> fmt::Result {
    for (value, metric) in samples {
        metric.encode(encoder.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}

/// Writes an info metric: the value is 1, the facts are labels. `name` ends in `_info`.
///
/// # Errors
///
/// The writer behind the encoder fails.
pub fn info(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(1_u64).encode(family.encode_family(&labels)?)
}
