//! The answers of the operations.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::openapi::Ref;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};

use super::{examples, schemas};
use crate::api::format::Format;
use crate::api::problem::{PROBLEM_TYPE, ProblemKind};
use crate::api::repetition::REPLAYED;
use crate::api::routes::Route;

/// Returns the kinds of problems that an operation answers, in the order of their status codes.
pub(super) fn problems(route: Route) -> Vec<ProblemKind> {
    use ProblemKind::*;
    let has_body = [Malformed, Timeout, InProgress, OutcomeUnknown, TooLarge, UnsupportedMediaType, KeyReused];
    let is_possible = |kind: &ProblemKind| match kind {
        MethodNotAllowed => false,
        // The outcomes of a batch have them, each for its operation.
        Forbidden => route != Route::Batch,
        NotFound => !matches!(route, Route::Batch | Route::Info),
        DurabilityUnavailable => route == Route::Emit,
        kind => !route.is_read() || !has_body.contains(kind),
    };
    ProblemKind::ALL.iter().copied().filter(is_possible).collect()
}

/// Returns the successful answer of an operation.
pub(super) fn success(route: Route) -> Response {
    let reference = || Ref::from_schema_name(answer(route));
    let json = ContentBuilder::new().schema(Some(reference())).example(Some(examples::answer(route))).build();
    let msgpack = ContentBuilder::new().schema(Some(reference())).build();
    let response = ResponseBuilder::new()
        .description(description(route))
        .content(Format::Json.content_type(), json)
        .content(Format::MessagePack.content_type(), msgpack);
    if route.is_read() { response.build() } else { response.header(REPLAYED, replayed()).build() }
}

/// Returns the answers of the HTTP server itself to heads that it cannot read. They have no body.
pub(super) fn of_the_server() -> BTreeMap<u16, (String, Response)> {
    let answers = [
        (400, "no-http", "The head is no HTTP, or its address is longer than 65,534 bytes. The connection is closed."),
        (408, "slow-head", "The head did not arrive in time. The connection is closed."),
        (431, "long-head", "The head has more than 96 fields or 128 KiB. The connection is closed."),
    ];
    let answer = |(status, name, description): (u16, &str, &str)| {
        (status, (name.to_owned(), ResponseBuilder::new().description(description).build()))
    };
    answers.into_iter().map(answer).collect()
}

/// Returns the answers to requests that fail by status code: the name of each, and the answer itself.
pub(super) fn failures(route: Route) -> BTreeMap<u16, (String, Response)> {
    let mut kinds = BTreeMap::<u16, Vec<ProblemKind>>::new();
    for kind in problems(route) {
        kinds.entry(kind.status()).or_default().push(kind);
    }
    let mut failures = of_the_server();
    failures.extend(kinds.into_iter().map(|(status, kinds)| (status, failure(status, &kinds, route))));
    failures
}

fn failure(status: u16, kinds: &[ProblemKind], route: Route) -> (String, Response) {
    let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    // An answer is stored once the request had effects, also if it is an error.
    let is_stored = kinds.contains(&ProblemKind::Unavailable) && !route.is_read();
    let name = names.join("-or-") + if is_stored { "-or-replayed" } else { "" };
    let types = kinds.iter().map(|kind| kind.uri());
    let narrower = ObjectBuilder::new()
        .property("type", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(types)))
        .property("status", ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status])));
    let schema = AllOfBuilder::new().item(Ref::from_schema_name(schemas::PROBLEM)).item(narrower);
    let example = |kind: &ProblemKind| {
        let problem = examples::problem(*kind);
        (kind.name(), ExampleBuilder::new().summary(kind.title()).value(serde_json::to_value(problem).ok()).build())
    };
    let content = ContentBuilder::new().schema(Some(schema)).examples_from_iter(kinds.iter().map(example)).build();
    let titles: Vec<_> = kinds.iter().map(|kind| format!("{} (`{}`)", kind.title(), kind.name())).collect();
    let server = of_the_server().remove(&status).map(|(_, answer)| format!(" Without a body: {}", answer.description)).unwrap_or_default();
    let response = ResponseBuilder::new().description(format!("{}.{server}", titles.join(", or "))).content(PROBLEM_TYPE, content);
    let headers = headers(kinds, is_stored);
    (name, headers.into_iter().fold(response, |response, (name, header)| response.header(name, header)).build())
}

fn headers(kinds: &[ProblemKind], is_stored: bool) -> Vec<(&'static str, Header)> {
    let mut headers = vec![];
    if kinds.contains(&ProblemKind::Unauthorized) {
        let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["Bearer"]));
        headers.push(("WWW-Authenticate", HeaderBuilder::new().schema(Some(schema)).description(Some("The scheme of keys.")).build()));
    }
    if kinds.iter().any(|kind| matches!(kind, ProblemKind::InProgress | ProblemKind::TooManyRequests | ProblemKind::Unavailable)) {
        let schema = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(schemas::whole(1)));
        headers.push(("Retry-After", HeaderBuilder::new().schema(Some(schema)).description(Some("The seconds to wait.")).build()));
    }
    if is_stored {
        headers.push((REPLAYED, replayed()));
    }
    headers
}

fn replayed() -> Header {
    let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([json!("true")]));
    HeaderBuilder::new().schema(Some(schema)).description(Some("Present if an earlier request with this key got the answer first.")).build()
}

/// Returns the name of the type of an answer.
fn answer(route: Route) -> &'static str {
    match route {
        Route::Emit => "Emitted",
        Route::EmitWithAck => "Answers",
        Route::Join | Route::Leave | Route::Disconnect => "Done",
        Route::Sockets => "SocketList",
        Route::Rooms => "RoomList",
        Route::Count => "SocketCount",
        Route::Info => "NodeList",
        Route::Batch => "BatchAnswer",
    }
}

fn description(route: Route) -> &'static str {
    match route {
        Route::Emit => "The event was sent, and persisted if `durable` is true.",
        Route::EmitWithAck => "The acknowledgements that arrived before the deadline.",
        Route::Join => "The sockets were told to join.",
        Route::Leave => "The sockets were told to leave.",
        Route::Disconnect => "The sockets were told to disconnect.",
        Route::Sockets => "The sockets, and the nodes that did not answer.",
        Route::Rooms => "The rooms, and the nodes that did not answer.",
        Route::Count => "The number of sockets, and the nodes that did not answer.",
        Route::Info => "The nodes that answered, and those that did not.",
        Route::Batch => "The outcome of each operation, in their order.",
    }
}
