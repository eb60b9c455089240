//! Samples of what Prometheus is shown.

use sociable::Server;

/// Returns the value of a sample, by its name with labels: the sum of all matching lines.
pub async fn sample_value(io: &Server, sample: &str) -> f64 {
    let text = io.metrics().await;
    let value = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
    let (name, labels) = sample.strip_suffix('}').and_then(|sample| sample.split_once('{')).unwrap_or((sample, ""));
    let fits = |line: &&str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']));
        rest.is_some_and(|rest| labels.split(',').all(|label| rest.contains(label)))
    };
    let lines: Vec<_> = text.lines().filter(fits).collect();
    assert!(!lines.is_empty(), "{sample} is in {text}");
    lines.into_iter().map(value).sum()
}
