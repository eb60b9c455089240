//! The tie between spans of this process and those of others.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use sociable::{TraceContext, TracePropagator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Reads and sets the ids of spans by `tracing-opentelemetry`.
pub(crate) struct OpenTelemetry;

impl TracePropagator for OpenTelemetry {
    fn context(&self, span: &Span) -> Option<TraceContext> {
        let context = span.context();
        let span = context.span();
        let span = span.span_context();
        let context = TraceContext::new(span.trace_id().to_bytes(), span.span_id().to_bytes(), span.is_sampled())?;
        Some(context.with_state(&span.trace_state().header()))
    }

    fn set_parent(&self, span: &Span, parent: &TraceContext) {
        // The call fails for spans without a subscriber.
        drop(span.set_parent(Context::new().with_remote_span_context(remote(parent))));
    }

    fn add_link(&self, span: &Span, link: &TraceContext) {
        span.add_link(remote(link));
    }
}

fn remote(context: &TraceContext) -> SpanContext {
    let flags = if context.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let state = context.state().parse::<TraceState>().unwrap_or_default();
    SpanContext::new(TraceId::from_bytes(context.trace_id()), SpanId::from_bytes(context.span_id()), flags, true, state)
}
