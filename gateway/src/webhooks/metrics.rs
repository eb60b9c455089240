//! The metrics of webhooks.

use std::sync::atomic::Ordering;

use sociable::MetricFamily;

use super::endpoint::Endpoint;
use super::shared::Shared;

/// Returns all metrics. URLs that differ in their query alone are added up.
pub(super) fn families(shared: &Shared) -> Vec<MetricFamily> {
    let endpoints = shared.endpoints.read().clone();
    let single = |family: MetricFamily, value: &dyn Fn(&Endpoint) -> u64| {
        endpoints.iter().fold(family, |family, endpoint| family.sample(&[("url", &endpoint.name)], value(endpoint)))
    };
    let mut outcomes = MetricFamily::counter("webhooks", "Webhooks, by outcome.");
    let mut attempts = MetricFamily::counter("webhook_requests", "Requests of webhooks, by result.");
    for endpoint in &endpoints {
        for (outcome, value) in endpoint.counters.outcomes() {
            outcomes = outcomes.sample(&[("url", &endpoint.name), ("outcome", outcome)], value);
        }
        for (result, value) in endpoint.counters.attempts() {
            attempts = attempts.sample(&[("url", &endpoint.name), ("result", result)], value);
        }
    }
    vec![
        outcomes,
        attempts,
        single(MetricFamily::counter("webhook_retries", "Requests of webhooks after the first."), &|endpoint| {
            endpoint.counters.retries.load(Ordering::Relaxed)
        }),
        single(MetricFamily::counter("webhook_answer_faults", "Parts of answers that could not be applied."), &|endpoint| {
            endpoint.counters.unapplied.load(Ordering::Relaxed)
        }),
        single(MetricFamily::counter("webhook_breaker_openings", "Times that a circuit breaker opened."), &|endpoint| {
            endpoint.counters.breaker_opened.load(Ordering::Relaxed)
        }),
        single(MetricFamily::gauge("webhook_breakers_open", "Circuit breakers that do not let all requests through."), &|endpoint| {
            u64::from(!endpoint.breaker.is_closed())
        }),
        single(MetricFamily::gauge("webhook_queue_bytes", "Bytes of webhooks that wait or are on their way."), &|endpoint| {
            endpoint.queue.used() as u64
        }),
    ]
}
