//! The environment variables of OpenTelemetry. The SDK reads most of them by itself, and passes by values that it does not understand. So they
//! are checked here: a fault is told at the start.

use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use thiserror::Error;

use crate::flags::collector;

/// The time that a collector has to take spans.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The path of traces below the address of a collector.
const PATH: &str = "/v1/traces";

/// The values of `OTEL_TRACES_SAMPLER`, and whether each reads `OTEL_TRACES_SAMPLER_ARG`.
const SAMPLERS: [(&str, bool); 6] = [
    ("always_on", false),
    ("always_off", false),
    ("traceidratio", true),
    ("parentbased_always_on", false),
    ("parentbased_always_off", false),
    ("parentbased_traceidratio", true),
];
/// Variables with a number.
const NUMBERS: [&str; 7] = [
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
];

/// A variable with a value that is not understood.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{name}: {remedy}")]
pub(crate) struct VariableError {
    name: &'static str,
    remedy: String,
}

/// The variables of a process. An empty one counts as unset.
pub(crate) struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

/// The variables of the exporter: one for traces alone, and one for all signals.
macro_rules! of_exporter {
    ($($part:literal),*) => {
        fn names_of(part: &str) -> [&'static str; 2] {
            match part {
                $($part => [concat!("OTEL_EXPORTER_OTLP_TRACES_", $part), concat!("OTEL_EXPORTER_OTLP_", $part)],)*
                _ => unreachable!("all parts are listed"),
            }
        }
    };
}
of_exporter!("ENDPOINT", "PROTOCOL", "TIMEOUT", "HEADERS", "COMPRESSION", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY");

impl Variables<'static> {
    /// Returns the variables of this process.
    pub(crate) fn of_process() -> Self {
        Self(&|name| std::env::var(name).ok())
    }
}

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.trim().is_empty())
    }

    /// Returns a variable of the exporter with its name. The one for traces wins over the one for all signals.
    pub(super) fn of_exporter(&self, part: &str) -> Option<(&'static str, String)> {
        names_of(part).into_iter().find_map(|name| Some((name, self.get(name)?)))
    }

    /// Returns the address to which spans are posted: below `flag`, or what the variables say. `None` if no spans are sent.
    pub(crate) fn endpoint(&self, flag: Option<&str>) -> Result<Option<String>, VariableError> {
        if self.is_disabled()? {
            return Ok(None);
        }
        let below = |address: &str| format!("{}{PATH}", address.trim_end_matches('/'));
        if let Some(flag) = flag {
            return Ok(Some(below(flag)));
        }
        let Some((name, address)) = self.of_exporter("ENDPOINT") else { return Ok(None) };
        if let Err(remedy) = collector(&address) {
            return Err(VariableError { name, remedy: remedy.into() });
        }
        Ok(Some(if name.contains("TRACES") { address } else { below(&address) }))
    }

    fn is_disabled(&self) -> Result<bool, VariableError> {
        let disabled = self.one_of("OTEL_SDK_DISABLED", &["true", "false"], "write true or false")?;
        let exporter = self.one_of("OTEL_TRACES_EXPORTER", &["otlp", "none"], "this program sends by `otlp` alone; write that, or none")?;
        Ok(disabled.as_deref() == Some("true") || exporter.as_deref() == Some("none"))
    }

    /// Returns the time that a collector has to take spans.
    pub(super) fn timeout(&self) -> Duration {
        let millis = self.of_exporter("TIMEOUT").and_then(|(_, value)| value.parse().ok());
        millis.map_or(TIMEOUT, Duration::from_millis)
    }

    /// Checks the variables that the SDK reads.
    pub(crate) fn check(&self) -> Result<(), VariableError> {
        for name in names_of("PROTOCOL") {
            self.one_of(name, &["http/protobuf"], "write http/protobuf, and name the port for HTTP of the collector (4318)")?;
        }
        for name in names_of("COMPRESSION") {
            self.one_of(name, &["gzip", "none"], "write gzip or none")?;
        }
        for name in names_of("TIMEOUT") {
            self.number(name, "write milliseconds, such as 10000")?;
        }
        for name in NUMBERS {
            self.number(name, "write a whole number")?;
        }
        for name in names_of("HEADERS") {
            self.pairs(name, "write NAME=VALUE, separated by commas", |name, value| {
                HeaderName::try_from(name).is_ok() && HeaderValue::from_str(value).is_ok()
            })?;
        }
        self.pairs("OTEL_RESOURCE_ATTRIBUTES", "write NAME=VALUE, separated by commas", |name, _| !name.is_empty())?;
        self.check_sampler()
    }

    fn check_sampler(&self) -> Result<(), VariableError> {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        const ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
        let Some(sampler) = self.get(NAME) else { return Ok(()) };
        let Some((_, needs_share)) = SAMPLERS.iter().find(|(name, _)| *name == sampler) else {
            let known = SAMPLERS.map(|(name, _)| name).join(", ");
            return Err(VariableError { name: NAME, remedy: format!("write one of {known}") });
        };
        let is_share = |share: String| share.parse().is_ok_and(|share: f64| (0.0..=1.0).contains(&share));
        if *needs_share && !self.get(ARG).is_some_and(is_share) {
            return Err(VariableError { name: ARG, remedy: "write a number from 0 to 1".into() });
        }
        Ok(())
    }

    /// Returns a variable that has one of a few values, in lower case.
    fn one_of(&self, name: &'static str, values: &[&str], remedy: &str) -> Result<Option<String>, VariableError> {
        let Some(value) = self.get(name).map(|value| value.to_ascii_lowercase()) else { return Ok(None) };
        if values.contains(&value.as_str()) { Ok(Some(value)) } else { Err(VariableError { name, remedy: remedy.into() }) }
    }

    fn number(&self, name: &'static str, remedy: &str) -> Result<(), VariableError> {
        match self.get(name) {
            Some(value) if value.parse::<u32>().is_err() => Err(VariableError { name, remedy: remedy.into() }),
            _ => Ok(()),
        }
    }

    fn pairs(&self, name: &'static str, remedy: &str, is_valid: impl Fn(&str, &str) -> bool) -> Result<(), VariableError> {
        let value = self.get(name).unwrap_or_default();
        let is_pair = |pair: &str| pair.split_once('=').is_some_and(|(name, value)| is_valid(name.trim(), value.trim()));
        let mut pairs = value.split_terminator(',');
        if pairs.all(is_pair) { Ok(()) } else { Err(VariableError { name, remedy: remedy.into() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<R>(variables: &[(&str, &str)], act: impl FnOnce(&Variables<'_>) -> R) -> R {
        let get = |asked: &str| variables.iter().find(|(name, _)| *name == asked).map(|(_, value)| (*value).to_owned());
        act(&Variables(&get))
    }

    fn endpoint(flag: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        with(variables, |variables| variables.endpoint(flag).unwrap())
    }

    const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

    #[test]
    fn flag_wins_over_variables_of_the_endpoint() {
        assert_eq!(endpoint(None, &[]), None);
        assert_eq!(endpoint(None, &[(ALL, ""), (TRACES, " ")]), None);
        assert_eq!(endpoint(None, &[(ALL, "http://a:1/x/")]).as_deref(), Some("http://a:1/x/v1/traces"));
        assert_eq!(endpoint(None, &[(ALL, "http://a:1"), (TRACES, "https://b/as-is")]).as_deref(), Some("https://b/as-is"));
        assert_eq!(endpoint(Some("http://c:1/"), &[(TRACES, "https://b/as-is")]).as_deref(), Some("http://c:1/v1/traces"));
    }

    #[test]
    fn disabled_sdk_sends_nothing() {
        for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(endpoint(Some("http://c:1"), &[off]), None, "{off:?}");
        }
        for on in [("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "otlp")] {
            assert!(endpoint(Some("http://c:1"), &[on]).is_some(), "{on:?}");
        }
    }

    #[test]
    fn faulty_variables_are_refused_with_a_remedy() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a b=c"),
            ("OTEL_RESOURCE_ATTRIBUTES", "=x"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ] {
            let error = with(&[(name, value)], |variables| variables.check().unwrap_err());
            assert!(error.name == name && error.to_string().contains("write"), "{error}");
        }
        for value in ["collector:4318", "ftp://a", "http://", "x"] {
            assert!(with(&[(ALL, value)], |variables| variables.endpoint(None)).is_err(), "{value}");
        }
        for share in [None, Some("2"), Some("-0.1"), Some("few"), Some("NaN")] {
            let given: Vec<_> = [("OTEL_TRACES_SAMPLER", "traceidratio")]
                .into_iter()
                .chain(share.map(|share| ("OTEL_TRACES_SAMPLER_ARG", share)))
                .collect();
            assert_eq!(with(&given, |variables| variables.check().unwrap_err()).name, "OTEL_TRACES_SAMPLER_ARG", "{share:?}");
        }
    }

    #[test]
    fn valid_variables_are_accepted() {
        let valid = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x, x-tenant=1"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,k8s.pod.name=a"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ];
        with(&valid, |variables| {
            variables.check().unwrap();
            assert_eq!(variables.timeout(), Duration::from_millis(2500));
        });
    }
}
