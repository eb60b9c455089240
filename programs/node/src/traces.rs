//! Traces: a span for each event that a handler is given, and what the application opens within, sent to a collector of OpenTelemetry by OTLP over HTTP.

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// How long the last spans may take at the end: a collector that swallows all must not keep the node from ending.
const LAST: Duration = Duration::from_secs(1);
/// The target of spans.
const TARGET: &str = "sociable::span";

/// Sends spans until this is dropped: what waits is sent then.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// To the collector at `endpoint`, such as `http://127.0.0.1:4318`; of so many traces in one, that `share`.
    pub(crate) fn to(endpoint: &str, node: String, share: f64) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()?;
        let resource = Resource::builder()
            .with_service_name("sociable-node")
            .with_attribute(opentelemetry::KeyValue::new("service.instance.id", node))
            .build();
        // It queues 2,048 spans; those beyond are dropped. That, and what can't be sent, is logged by `opentelemetry`.
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
            .with_resource(resource)
            .build();
        Ok(Self(provider))
    }

    /// What takes spans from the program.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        tracing_opentelemetry::layer().with_tracer(self.0.tracer("sociable")).with_filter(Targets::new().with_target(TARGET, Level::DEBUG))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // Nobody is left who could be told.
        drop(self.0.shutdown_with_timeout(LAST));
    }
}
