//! Traces: spans of the server, and those that the application opens within, for a collector of OpenTelemetry by OTLP over HTTP.
//!
//! * `variables.rs`: the environment variables of OpenTelemetry. `client.rs`: the HTTP client, with TLS.
//! * `propagator.rs`: the tie to spans of other processes.

mod client;
mod propagator;
mod variables;

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use sociable::ServerBuilder;
use thiserror::Error;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use self::client::ClientError;
use self::propagator::OpenTelemetry;
use self::variables::{VariableError, Variables};
use crate::flags::Flags;

/// The time for the last spans at the end: a silent collector must not keep the node from ending.
const LAST: Duration = Duration::from_secs(1);
/// The target of spans.
const TARGET: &str = "sociable::span";
/// The schema of the names of attributes.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Why no traces can be sent.
#[derive(Debug, Error)]
pub(crate) enum TracesError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}. Name a collector with --otlp-endpoint, such as http://127.0.0.1:4318")]
    Exporter(#[from] ExporterBuildError),
}

/// Sends spans until it is dropped. Spans that wait are sent then.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts to send spans. `None` if neither the flags nor the environment name a collector.
    pub(crate) fn start(flags: &Flags) -> Result<Option<Self>, TracesError> {
        let variables = Variables::of_process();
        let Some(endpoint) = variables.endpoint(flags.otlp_endpoint.as_deref())? else { return Ok(None) };
        variables.check()?;
        // The exporter speaks HTTP without a client, but not TLS.
        let client = client::client(&endpoint, &variables)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .with_http_client(client)
            .build()?;
        // By default it queues 2,048 spans. Further ones are dropped. `opentelemetry` logs that, and failures.
        let mut provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource(flags.node_name()));
        if let Some(share) = flags.otlp_share {
            provider = provider.with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))));
        }
        Ok(Some(Self(provider.build())))
    }

    /// Ties the spans of a server to those of other processes.
    pub(crate) fn tie(&self, builder: ServerBuilder) -> ServerBuilder {
        builder.trace_propagator(OpenTelemetry)
    }

    /// Returns the subscriber that takes spans from the program.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let scope = InstrumentationScope::builder("sociable").with_version(env!("CARGO_PKG_VERSION")).with_schema_url(SCHEMA).build();
        // The place in the source and the thread say nothing of a message.
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer_with_scope(scope))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TARGET, Level::DEBUG))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // Nobody is left to read of a failure.
        drop(self.0.shutdown_with_timeout(LAST));
    }
}

/// Returns what the spans have in common. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win.
fn resource(node: String) -> Resource {
    let given = EnvResourceDetector::new().detect();
    let is_named = std::env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty());
    let own = [
        ("service.name", "sociable-node".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", node),
    ];
    let is_given = |name: &str| given.get_ref(&Key::from(name.to_owned())).is_some() || name == "service.name" && is_named;
    let own = own.into_iter().filter(|(name, _)| !is_given(name)).map(|(name, value)| KeyValue::new(name, value));
    Resource::builder().with_attributes(own).build()
}
