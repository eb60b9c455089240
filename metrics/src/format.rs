//! The formats of an exposition.

use std::fmt::Write as _;

/// A text format of metrics.
///
/// ```
/// use sociable_metrics::MetricsFormat;
///
/// let format = MetricsFormat::negotiate(Some("application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"));
/// assert_eq!(format, MetricsFormat::OpenMetrics);
/// assert_eq!(MetricsFormat::negotiate(None), MetricsFormat::Text);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4: for people, `promtool` and older scrapers.
    Text,
}

impl MetricsFormat {
    /// Returns the format for a request with this `Accept` header: OpenMetrics if the header names it, else text.
    pub fn negotiate(accept: Option<&str>) -> Self {
        if accept.unwrap_or_default().split(',').any(accepts_open_metrics) { Self::OpenMetrics } else { Self::Text }
    }

    /// Returns the value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Returns an exposition, which is OpenMetrics, in this format.
    pub fn render(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Text => text_of(&open_metrics),
        }
    }
}

/// True for a media range that is OpenMetrics and not excluded by `q=0`.
fn accepts_open_metrics(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let is_named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
    let weight = |part: &str| part.strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
    is_named && parts.filter_map(weight).all(|weight| weight > 0.0)
}

/// The same samples in the text format: there, the metadata of a counter have `_total` in the name, and neither units nor the end are written.
fn text_of(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // The help comes before the type, which says how both are named.
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(about) = line.strip_prefix("# HELP ") {
            help = about.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|about| about.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                let _ = writeln!(text, "# HELP {name}{suffix} {help}");
            }
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_follows_the_accept_header() {
        use MetricsFormat::{OpenMetrics, Text};
        for (accept, format) in [
            ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5", OpenMetrics),
            ("text/plain, Application/OpenMetrics-Text ; q=0.1", OpenMetrics),
            ("application/openmetrics-text;q=0", Text),
            ("text/plain;version=0.0.4", Text),
            ("*/*", Text),
            ("", Text),
        ] {
            assert_eq!(MetricsFormat::negotiate(Some(accept)), format, "{accept}");
        }
    }

    #[test]
    fn text_format_names_counters_in_full() {
        let open_metrics = "# HELP a_seconds Time.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1.5\n\
                            # HELP b Things.\n# TYPE b gauge\nb{c=\"# EOF\"} 2\n# EOF\n";
        let text = "# HELP a_seconds_total Time.\n# TYPE a_seconds_total counter\na_seconds_total 1.5\n\
                    # HELP b Things.\n# TYPE b gauge\nb{c=\"# EOF\"} 2\n";
        assert_eq!(MetricsFormat::Text.render(open_metrics.to_owned()), text);
        assert_eq!(MetricsFormat::OpenMetrics.render(open_metrics.to_owned()), open_metrics);
    }
}
