//! Spans as a subscriber sees them, and their contexts as a propagator sees them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use regex::Regex;
use sociable_adapter::{Adapter, AdapterError, Answer, Message, Node, Request};
use sociable_protocol::{IdSource, NodeTag};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id as SpanId, Record};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

use super::*;
use crate::Server;
use crate::handler::{ExtractError, Failure, HandlerError};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The fields of a span, by their names.
type Fields = BTreeMap<&'static str, String>;

/// Spans with their fields, in the order in which they were opened.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(SpanId, Fields)>>>);

struct Visitor<'a>(&'a mut Fields);

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Layer<Registry> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &SpanId, _: Context<'_, Registry>) {
        let mut fields = Fields::new();
        attributes.record(&mut Visitor(&mut fields));
        self.0.lock().push((id.clone(), fields));
    }

    fn on_record(&self, id: &SpanId, values: &Record<'_>, _: Context<'_, Registry>) {
        let mut spans = self.0.lock();
        let (_, fields) = spans.iter_mut().rfind(|(of, _)| of == id).expect("the span is open");
        values.record(&mut Visitor(fields));
    }
}

impl Spans {
    /// Returns the fields of the only span that `act` opens.
    fn of<R>(act: impl FnOnce() -> R) -> Fields {
        let spans = Self::default();
        let subscriber = tracing_subscriber::registry().with(spans.clone());
        drop(tracing::subscriber::with_default(subscriber, act));
        let mut opened = std::mem::take(&mut *spans.0.lock());
        assert_eq!(opened.len(), 1, "{opened:?}");
        opened.remove(0).1
    }
}

/// A propagator that notes its calls, and whose spans have one context.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>, bool);

impl TracePropagator for Notes {
    fn context(&self, _: &Span) -> Option<TraceContext> {
        TraceContext::new([1; 16], [2; 8], self.1)
    }

    fn set_parent(&self, _: &Span, parent: &TraceContext) {
        self.0.lock().push(format!("child of {parent}"));
    }

    fn add_link(&self, _: &Span, link: &TraceContext) {
        self.0.lock().push(format!("linked to {link}"));
    }
}

/// An adapter whose other nodes are deaf.
#[derive(Debug)]
struct Deaf;

impl Adapter for Deaf {
    fn start(&self, _: Arc<dyn Node>) {}

    fn publish(&self, _: Message) -> Result<(), AdapterError> {
        Ok(())
    }

    fn request(&self, _: Request) -> futures_util::stream::BoxStream<'static, Answer> {
        Box::pin(futures_util::stream::empty())
    }

    fn server_count(&self) -> futures_util::future::BoxFuture<'static, usize> {
        Box::pin(async { 2 })
    }

    fn close(&self) -> futures_util::future::BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

fn parent() -> Option<TraceContext> {
    TraceContext::parse(PARENT, None)
}

fn server(notes: &Notes) -> Server {
    Server::builder().adapter(Deaf).trace_propagator(notes.clone()).build().unwrap()
}

fn client() -> Id {
    IdSource::new(NodeTag::random()).draw()
}

fn handler_span(io: &Server) -> Span {
    io.of("/chat").spans().opened(Some(&client()), "say")
}

#[test]
fn handler_span_follows_the_messaging_conventions() {
    let (io, client) = (server(&Notes::default()), client());
    let span = Spans::of(|| io.of("/chat").spans().opened(Some(&client), "say"));
    let shown = client.shortened().to_string();
    for (field, value) in [
        ("otel.name", "process /chat say"),
        ("otel.kind", "consumer"),
        ("messaging.system", "socketio"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "/chat"),
        ("messaging.socketio.event", "say"),
        ("messaging.client.id", &shown),
    ] {
        assert_eq!(span.get(field).map(String::as_str), Some(value), "{field} in {span:?}");
    }
    assert!(!span.contains_key("error.type") && !span.contains_key("messaging.destination.template"), "{span:?}");
}

#[test]
fn span_name_has_the_pattern_of_a_dynamic_namespace() {
    let io = server(&Notes::default());
    io.of_pattern(Regex::new("^/tenant-[0-9]+$").unwrap());
    let span = Spans::of(|| io.of("/tenant-7").spans().opened(None, "say"));
    assert_eq!(span["otel.name"], "process ^/tenant-[0-9]+$ say");
    assert_eq!((&*span["messaging.destination.name"], &*span["messaging.destination.template"]), ("/tenant-7", "^/tenant-[0-9]+$"));
}

#[test]
fn send_span_gives_its_context_to_the_other_nodes() {
    for (sampled, starts_spans, travels) in [(true, false, true), (false, false, false), (false, true, true)] {
        let io = server(&Notes(Arc::default(), sampled));
        let mut context = None;
        let span = Spans::of(|| context = io.of("/chat").sending("said", starts_spans).1);
        assert_eq!((&*span["otel.name"], &*span["otel.kind"]), ("send /chat", "producer"));
        assert_eq!(context.is_some(), travels, "sampled: {sampled}, starts spans: {starts_spans}");
    }
}

#[test]
fn event_without_subscriber_or_other_nodes_has_no_span() {
    let io = server(&Notes(Arc::default(), true));
    let (span, context) = io.of("/").sending("said", true);
    assert!(span.is_disabled() && context.is_none());
    let alone = Server::builder().trace_propagator(Notes(Arc::default(), true)).build().unwrap();
    let subscriber = tracing_subscriber::registry().with(Spans::default());
    let (span, context) = tracing::subscriber::with_default(subscriber, || alone.of("/").sending("said", true));
    assert!(span.is_disabled() && context.is_none());
}

#[test]
fn span_of_a_remote_event_is_a_child_of_its_sender() {
    let notes = Notes::default();
    let io = server(&notes);
    let span = Spans::of(|| io.of("/chat").delivering(parent().as_ref()));
    assert_eq!((&*span["otel.name"], &*span["otel.kind"]), ("deliver /chat", "consumer"));
    Spans::of(|| io.of("/").spans().processing_server_event("note", parent().as_ref()));
    assert_eq!(*notes.0.lock(), [format!("child of {PARENT}"), format!("child of {PARENT}")]);
    let untraced = tracing::subscriber::with_default(tracing_subscriber::registry().with(Spans::default()), || io.of("/").delivering(None));
    assert!(untraced.is_disabled());
}

#[test]
fn failed_handler_marks_its_span() {
    let io = server(&Notes::default());
    let failed = HandlerError::Failed(Failure::new("no such room"));
    let span = Spans::of(|| run_within(handler_span(&io), || async { Err(failed) }).now_or_never());
    assert_eq!(
        (&*span["error.type"], &*span["otel.status_code"], &*span["otel.status_description"]),
        ("handler_error", "ERROR", "no such room")
    );
}

#[test]
fn span_of_bad_arguments_shows_nothing_of_them() {
    let io = server(&Notes::default());
    let refused = HandlerError::Arguments(ExtractError::Refused(Failure::new("a secret")));
    let span = Spans::of(|| run_within(handler_span(&io), || async { Err(refused) }).now_or_never());
    assert_eq!((&*span["error.type"], span.get("otel.status_description")), ("invalid_arguments", None));
}

#[test]
fn panic_of_a_handler_marks_its_span() {
    let io = server(&Notes::default());
    let span = Spans::of(|| {
        let future = run_within::<HandlerError, _>(handler_span(&io), || async { panic!("as the test wants") });
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| future.now_or_never())).unwrap_err();
    });
    assert_eq!((&*span["error.type"], &*span["otel.status_code"]), ("panic", "ERROR"));
}

#[test]
fn names_of_clients_do_not_break_a_span_name() {
    let io = server(&Notes::default());
    let namespace = io.of("/x\n\u{1b}[2J");
    assert_eq!(namespace.spans().name("process", Some("say\n")).to_string(), r"process /x\n\u{1b}[2J say\n");
}
