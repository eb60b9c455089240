//! The metrics of webhooks.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::shared::Shared;

/// A metric: its name without `_total`, its type and its help.
struct Metric(&'static str, &'static str, &'static str);

/// Returns all metrics as OpenMetrics, without the mark of the end.
pub(super) fn text(shared: &Shared) -> String {
    let endpoints = shared.endpoints.read().clone();
    let mut text = String::new();
    let mut write = |metric: Metric, samples: Vec<(String, u64)>| {
        let Metric(name, kind, help) = metric;
        let suffix = if kind == "counter" { "_total" } else { "" };
        // A text takes all that is written.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{suffix}{{{labels}}} {value}");
        }
    };
    let urls: Vec<_> = endpoints.iter().map(|endpoint| format!("url=\"{}\"", escaped(&endpoint.name))).collect();
    let labelled = |of: &dyn Fn(usize) -> Vec<(String, u64)>| -> Vec<(String, u64)> {
        let one = |index: usize| of(index).into_iter().map(move |(label, value)| (index, label, value));
        let join = |(index, label, value): (usize, String, u64)| {
            let separator = if label.is_empty() { "" } else { "," };
            (format!("{}{separator}{label}", urls[index]), value)
        };
        (0..endpoints.len()).flat_map(one).map(join).collect()
    };
    let single = |value: u64| vec![(String::new(), value)];
    let counters = |index: usize| &endpoints[index].counters;
    write(
        Metric("sociable_webhooks", "counter", "Webhooks, by outcome."),
        labelled(&|index| counters(index).outcomes().map(|(name, value)| (format!("outcome=\"{name}\""), value)).collect()),
    );
    write(
        Metric("sociable_webhook_requests", "counter", "Requests of webhooks, by result."),
        labelled(&|index| counters(index).attempts().map(|(name, value)| (format!("result=\"{name}\""), value)).collect()),
    );
    write(
        Metric("sociable_webhook_retries", "counter", "Requests of webhooks after the first."),
        labelled(&|index| single(counters(index).retries.load(Ordering::Relaxed))),
    );
    write(
        Metric("sociable_webhook_answer_faults", "counter", "Parts of answers that could not be applied."),
        labelled(&|index| single(counters(index).unapplied.load(Ordering::Relaxed))),
    );
    write(
        Metric("sociable_webhook_breaker_openings", "counter", "Times that the circuit breaker opened."),
        labelled(&|index| single(counters(index).breaker_opened.load(Ordering::Relaxed))),
    );
    write(
        Metric("sociable_webhook_breaker_closed", "gauge", "1 while the circuit breaker lets all requests through, else 0."),
        labelled(&|index| single(u64::from(endpoints[index].breaker.is_closed()))),
    );
    write(
        Metric("sociable_webhook_queue_bytes", "gauge", "Bytes of webhooks that wait or are on their way."),
        labelled(&|index| single(endpoints[index].queue.used() as u64)),
    );
    text
}

/// Returns the value of a label in its written form.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
