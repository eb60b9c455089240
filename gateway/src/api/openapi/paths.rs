//! The operations by path.

use std::collections::BTreeMap;

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, PathItem, Paths, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder, Responses};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Ref, Required, SecurityRequirement};

use super::{examples, parameters, responses};
use crate::api::format::Format;
use crate::api::limits::Limits;
use crate::api::routes::Route;

/// The tags with their descriptions.
pub(super) const TAGS: [(&str, &str); 4] = [
    ("events", "Events to sockets."),
    ("sockets", "Changes of sockets: their rooms and their connections."),
    ("cluster", "Questions to all nodes."),
    ("description", "The API itself. These paths need no key."),
];

/// Returns the operations, and the named answers that they refer to.
pub(super) fn all(limits: &Limits) -> (Paths, BTreeMap<String, Response>) {
    let (mut paths, mut named) = (PathsBuilder::new(), BTreeMap::new());
    for route in Route::ALL.iter().copied() {
        let method = if route.is_read() { HttpMethod::Get } else { HttpMethod::Post };
        paths = paths.path(format!("/{route}"), PathItem::new(method, operation(route, limits, &mut named)));
    }
    let open = [
        ("/openapi.json", "openapi", "This document", "The document.", Format::Json.content_type(), Type::Object),
        ("/", "page", "A page to read this document and to try requests", "The page.", "text/html", Type::String),
    ];
    for (path, id, summary, description, kind, schema) in open {
        let content = ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(schema))).build();
        let operation = OperationBuilder::new()
            .tag("description")
            .operation_id(Some(id))
            .summary(Some(summary))
            .response("200", ResponseBuilder::new().description(description).content(kind, content).build())
            .securities(Some::<[SecurityRequirement; 0]>([]));
        let operation = responses::of_the_server()
            .into_iter()
            .fold(operation, |operation, (status, (name, _))| operation.response(status.to_string(), Ref::from_response_name(name)));
        paths = paths.path(path, PathItem::new(HttpMethod::Get, operation));
    }
    (paths.build(), named)
}

fn operation(route: Route, limits: &Limits, named: &mut BTreeMap<String, Response>) -> Operation {
    let (tag, summary, description) = texts(route);
    let mut answers = Responses::new();
    answers.responses.insert("200".to_owned(), responses::success(route).into());
    for (status, (name, response)) in responses::failures(route) {
        answers.responses.insert(status.to_string(), Ref::from_response_name(&name).into());
        named.insert(name, response);
    }
    let operation = OperationBuilder::new()
        .tag(tag)
        .operation_id(Some(route.name()))
        .summary(Some(summary))
        .description(Some(description))
        .parameters(Some(parameters::of(route, limits)))
        .responses(answers);
    if route.is_read() {
        return operation.build();
    }
    let reference = || Ref::from_schema_name(request(route));
    let json = ContentBuilder::new().schema(Some(reference())).example(Some(examples::request(route))).build();
    let msgpack = ContentBuilder::new().schema(Some(reference())).build();
    let body = RequestBodyBuilder::new()
        .required(Some(Required::True))
        .description(Some(format!("At most {} bytes.", limits.max_body)))
        .content(Format::Json.content_type(), json)
        .content(Format::MessagePack.content_type(), msgpack);
    operation.request_body(Some(body.build())).build()
}

/// Returns the name of the type of a request.
fn request(route: Route) -> &'static str {
    match route {
        Route::Emit => "Emit",
        Route::EmitWithAck => "EmitWithAck",
        Route::Join => "Join",
        Route::Leave => "Leave",
        Route::Disconnect => "Disconnect",
        Route::Sockets => "Sockets",
        Route::Rooms => "Rooms",
        Route::Count => "Count",
        Route::Info => "Info",
        Route::Batch => "Batch",
    }
}

/// Returns tag, summary and description of an operation.
fn texts(route: Route) -> (&'static str, &'static str, &'static str) {
    match route {
        Route::Emit => ("events", "Send an event", "Sends an event to the sockets of rooms, or to all sockets of a namespace."),
        Route::EmitWithAck => (
            "events",
            "Send an event, and collect acknowledgements",
            "Sends an event, and answers when all sockets have acknowledged it or the deadline has passed. A socket that leaves is missing.",
        ),
        Route::Join => ("sockets", "Let sockets join rooms", "Lets the sockets of rooms join other rooms, on all nodes."),
        Route::Leave => ("sockets", "Let sockets leave rooms", "Lets the sockets of rooms leave rooms, on all nodes."),
        Route::Disconnect => ("sockets", "Disconnect sockets", "Disconnects the sockets of rooms from the namespace, on all nodes."),
        Route::Sockets => ("cluster", "List sockets", "Lists the sockets of any of the rooms, with their rooms and their data."),
        Route::Rooms => ("cluster", "List rooms", "Lists rooms with their numbers of sockets, in the order of their names."),
        Route::Count => ("cluster", "Count sockets", "Counts the sockets of any of the rooms. A socket in several rooms counts once."),
        Route::Info => ("cluster", "List nodes", "Lists the nodes with their versions, sessions and sockets."),
        Route::Batch => (
            "events",
            "Run several operations",
            "Runs operations one after the other. One that fails stops none of the others. Each is checked against the scope of the key.",
        ),
    }
}
