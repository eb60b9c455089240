//! Spans by the semantic conventions of OpenTelemetry for messaging, and their contexts across processes.
//!
//! A span is opened only where a subscriber wants the target `sociable::span`: everywhere else the cost is one load. The program connects
//! the spans with those of other processes by a [`TracePropagator`].

use std::fmt;
use std::sync::Arc;
use std::thread::panicking;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use sociable_engine::Handshake;
use sociable_protocol::trace_context::{TRACEPARENT, TRACESTATE};
use sociable_protocol::{Id, TraceContext};
use tracing::field::{self, Empty};
use tracing::{Instrument, Level, Span, debug_span};

use crate::trace::plain;

/// The tie between the spans of the server and those of other processes.
///
/// The library opens spans of `tracing` and knows no tracing system. This trait reads and sets the ids that the tracing system of the
/// program gives them. Without one, spans have no parents or children in other processes. The calls come from any thread and must not block.
///
/// With `opentelemetry` 0.33 and `tracing-opentelemetry` 0.34:
///
/// ```ignore
/// use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
/// use sociable::{TraceContext, TracePropagator};
/// use tracing::Span;
/// use tracing_opentelemetry::OpenTelemetrySpanExt;
///
/// struct OpenTelemetry;
///
/// impl TracePropagator for OpenTelemetry {
///     fn context(&self, span: &Span) -> Option<TraceContext> {
///         let context = span.context();
///         let span = context.span().span_context().clone();
///         let context = TraceContext::new(span.trace_id().to_bytes(), span.span_id().to_bytes(), span.is_sampled())?;
///         Some(context.with_state(&span.trace_state().header()))
///     }
///
///     fn set_parent(&self, span: &Span, parent: &TraceContext) {
///         span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote(parent))).ok();
///     }
///
///     fn add_link(&self, span: &Span, link: &TraceContext) {
///         span.add_link(remote(link));
///     }
/// }
///
/// fn remote(context: &TraceContext) -> SpanContext {
///     let flags = if context.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
///     let state = context.state().parse::<TraceState>().unwrap_or_default();
///     SpanContext::new(TraceId::from(context.trace_id()), SpanId::from(context.span_id()), flags, true, state)
/// }
/// ```
pub trait TracePropagator: Send + Sync + 'static {
    /// Returns the ids of a span. `None` if the tracing system does not know it.
    fn context(&self, span: &Span) -> Option<TraceContext>;

    /// Makes a span of another process the parent of a span that was just opened.
    fn set_parent(&self, span: &Span, parent: &TraceContext);

    /// Links a span that was just opened to a span of another process.
    fn add_link(&self, span: &Span, link: &TraceContext);
}

/// Returns true if a subscriber wants spans.
#[inline]
pub(crate) fn are_on() -> bool {
    tracing::span_enabled!(target: "sociable::span", Level::DEBUG)
}

/// Opens a span. The name has no part that clients choose: see [`NamespaceSpans::name`].
macro_rules! open {
    ($operation:literal, $kind:literal, $namespace:expr, $event:expr, $($fields:tt)*) => {
        debug_span!(
            target: "sociable::span", $operation, otel.name = %$namespace.name($operation, $event), otel.kind = $kind,
            otel.status_code = Empty, otel.status_description = Empty, error.type = Empty, messaging.system = "socketio",
            messaging.operation.name = $operation, messaging.destination.name = %plain($namespace.name),
            messaging.destination.template = $namespace.template, $($fields)*
        )
    };
}

/// The spans of a namespace.
pub(crate) struct NamespaceSpans<'a> {
    pub(crate) name: &'a str,
    /// True if a client made the namespace by its name.
    pub(crate) is_dynamic: bool,
    /// The pattern that such a name fits.
    pub(crate) template: Option<&'a str>,
    pub(crate) propagator: Option<Arc<dyn TracePropagator>>,
}

impl NamespaceSpans<'_> {
    /// Returns the name of a span: the operation, the namespace, and the event if it has a handler. A namespace that a client made is named by
    /// its pattern, or not at all.
    fn name(&self, operation: &str, event: Option<&str>) -> impl fmt::Display {
        let destination = if self.is_dynamic { self.template } else { Some(self.name) };
        fmt::from_fn(move |f| {
            f.write_str(operation)?;
            [destination, event].into_iter().flatten().try_for_each(|part| write!(f, " {}", plain(part)))
        })
    }

    /// Opens the span of a client that enters the namespace: a child of the span that the handshake names.
    #[cold]
    pub(crate) fn connecting(&self, handshake: &Handshake) -> Span {
        let (path, peer) = (handshake.url().split('?').next(), handshake.peer_addr());
        let span = open!(
            "connect",
            "server",
            self,
            None,
            messaging.client.id = Empty,
            url.path = path.map(plain).map(field::display),
            url.scheme = if handshake.secure() { "https" } else { "http" },
            network.peer.address = peer.map(|peer| field::display(peer.ip())),
            network.peer.port = peer.map(|peer| peer.port())
        );
        self.adopt(&span, context_of(handshake).as_ref());
        span
    }

    /// Opens the span of a handler of a client's event. A session may last for days, so that its events do not belong to the trace of the
    /// handshake: the span is linked to it.
    #[cold]
    pub(crate) fn processing(&self, client: &Id, event: &str, handshake: &Handshake) -> Span {
        let span = self.opened(Some(client), event);
        if let Some((propagator, link)) = self.propagator.as_ref().zip(context_of(handshake)) {
            propagator.add_link(&span, &link);
        }
        span
    }

    /// Opens the span of a handler that runs when a client has entered the namespace, in the trace of that.
    #[cold]
    pub(crate) fn processing_connection(&self, client: &Id) -> Span {
        self.opened(Some(client), "connection")
    }

    /// Opens the span of a handler of a server event: a child of the span that sent it.
    #[cold]
    pub(crate) fn processing_server_event(&self, event: &str, parent: Option<&TraceContext>) -> Span {
        let span = self.opened(None, event);
        self.adopt(&span, parent);
        span
    }

    /// Opens the span of an event that is sent to the other nodes. Returns the context that travels with it. With `starts_spans` the context of
    /// a trace that is not recorded travels, too, so that no receiver begins one.
    #[cold]
    pub(crate) fn sending(&self, event: &str, starts_spans: bool) -> (Span, Option<Box<TraceContext>>) {
        let span = open!("send", "producer", self, None, messaging.operation.type = "send", messaging.socketio.event = %plain(event));
        let context = self.propagator.as_ref().and_then(|propagator| propagator.context(&span));
        let travels = |context: &TraceContext| starts_spans || context.is_sampled();
        (span, context.filter(travels).map(Box::new))
    }

    /// Opens the span of an event of another node that goes to the sockets of this one.
    #[cold]
    pub(crate) fn delivering(&self, parent: &TraceContext) -> Span {
        let span = open!("deliver", "consumer", self, None, messaging.operation.type = "process");
        self.adopt(&span, Some(parent));
        span
    }

    fn opened(&self, client: Option<&Id>, event: &str) -> Span {
        open!(
            "process", "consumer", self, Some(event), messaging.operation.type = "process",
            messaging.client.id = client.map(|client| field::display(client.shortened())), messaging.socketio.event = %plain(event)
        )
    }

    fn adopt(&self, span: &Span, parent: Option<&TraceContext>) {
        if let Some((propagator, parent)) = self.propagator.as_ref().zip(parent) {
            propagator.set_parent(span, parent);
        }
    }
}

/// Returns the context that the request of a handshake names. A malformed one is ignored.
fn context_of(handshake: &Handshake) -> Option<TraceContext> {
    TraceContext::parse(handshake.header(TRACEPARENT)?, handshake.header(TRACESTATE))
}

/// A fault, as its span shows it. What a client sent stays out of it.
pub(crate) trait Fault {
    /// Returns the kind: one of few.
    fn kind(&self) -> &'static str;

    /// Returns the text of the application.
    fn text(&self) -> Option<&str>;
}

/// Runs a handler within its span.
pub(crate) fn run_within<E, F>(span: Span, handle: impl FnOnce() -> F) -> LocalBoxFuture<'static, Result<(), E>>
where
    E: Fault + 'static,
    F: Future<Output = Result<(), E>> + 'static,
{
    let future = span.in_scope(handle);
    let panics = PanicNote(span.clone());
    let noted = async move {
        let panics = panics;
        let result = future.await;
        if let Err(error) = &result {
            note(&panics.0, error.kind(), error.text());
        }
        result
    };
    noted.instrument(span).boxed_local()
}

/// Marks the span of a client that was refused.
pub(crate) fn note_refusal(span: &Span, text: &str) {
    note(span, "refused", Some(text));
}

fn note(span: &Span, error_type: &str, description: Option<&str>) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error_type);
    if let Some(description) = description {
        span.record("otel.status_description", field::display(plain(description)));
    }
}

/// Marks the span of a handler that panics.
struct PanicNote(Span);

impl Drop for PanicNote {
    fn drop(&mut self) {
        if panicking() {
            note(&self.0, "panic", None);
        }
    }
}

#[cfg(test)]
mod tests;
