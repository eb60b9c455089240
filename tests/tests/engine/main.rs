//! Engine.IO: requests and their exact answers on one worker, on more, and in a plain `HttpServer`.
#![allow(clippy::unwrap_used, clippy::unit_arg, reason = "a helper that fails fails its test, and a handler is often one call")]

mod client_files;
mod closing;
mod deflate;
mod direct;
mod eio3;
mod frames;
mod heartbeat;
mod jsonp;
mod middleware;
mod options;
mod requests;
mod upgrade;

use sociable::{CloseReason, Cookie, Cors, ErrorCode, Transport};
use sociable_tests::{Client, Connection, Engines, Node, Polling, Response, WebSocket, get, note, post, request, upgrade_request};

const POLLING: &str = "/engine.io/?EIO=4&transport=polling";

const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

fn error(code: u8, message: &str) -> String {
    format!(r#"{{"code":{code},"message":"{message}"}}"#)
}

fn assert_refused(response: &Response, status: u16, code: u8, message: &str) {
    assert_eq!(response.brief(), (status, &*error(code, message)));
    assert_eq!(response.header("content-type"), Some("application/json"));
}

/// A default engine on one, two and four workers, and in a plain `HttpServer`.
fn everywhere() -> Vec<(Engines, Node)> {
    let nodes = [1, 2, 4].map(|workers| {
        let engines = Engines::new(|options| options);
        let node = Node::raw(&engines.engine, workers);
        (engines, node)
    });
    let engines = Engines::new(|options| options);
    let node = Node::plain(&engines.engine, 2);
    nodes.into_iter().chain([(engines, node)]).collect()
}

/// The raw way, and a plain `HttpServer`.
fn both(options: impl Fn(sociable::engine::EngineBuilder) -> sociable::engine::EngineBuilder) -> [(Engines, Node); 2] {
    [true, false].map(|raw| {
        let engines = Engines::new(&options);
        let node = if raw { Node::raw(&engines.engine, 2) } else { Node::plain(&engines.engine, 2) };
        (engines, node)
    })
}

fn start(options: impl FnOnce(sociable::engine::EngineBuilder) -> sociable::engine::EngineBuilder) -> (Engines, Node) {
    let engines = Engines::new(options);
    let node = Node::start(&engines.engine);
    (engines, node)
}
