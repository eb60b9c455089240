//! Examples of requests and answers. A test sends each request to an API.

use serde_json::{Value, json};

use crate::api::problem::{Problem, ProblemKind};
use crate::api::routes::Route;

/// The id of a socket.
const SOCKET: &str = "cUgmPDVRBGgAAAAB";

/// Returns the body of a request.
pub(super) fn request(route: Route) -> Value {
    match route {
        Route::Emit => json!({"rooms": ["orders"], "event": "paid", "args": ["order-7", {"total": 12.5}]}),
        Route::EmitWithAck => json!({"rooms": ["orders"], "event": "confirm", "args": ["order-7"], "timeout_ms": 2000}),
        Route::Join => json!({"rooms": [SOCKET], "join": ["orders"]}),
        Route::Leave => json!({"rooms": ["orders"], "leave": ["orders"]}),
        Route::Disconnect => json!({"rooms": ["user:7"], "close": true}),
        Route::Batch => json!({"operations": [
            {"operation": "join", "rooms": ["user:7"], "join": ["orders"]},
            {"operation": "emit", "rooms": ["orders"], "event": "joined", "args": ["user:7"]},
        ]}),
        Route::Sockets | Route::Rooms | Route::Count | Route::Info => json!({}),
    }
}

/// Returns the body of an answer.
pub(super) fn answer(route: Route) -> Value {
    let missing = json!({"nodes": []});
    match route {
        Route::Emit => json!({"durable": false, "idempotency": null}),
        Route::EmitWithAck => {
            json!({"answers": [{"socket": SOCKET, "args": ["yes"]}], "missing": {"sockets": [], "nodes": []}, "timed_out": false})
        }
        Route::Join | Route::Leave | Route::Disconnect => json!({}),
        Route::Sockets => {
            let socket = json!({"id": SOCKET, "rooms": [SOCKET, "orders"], "data": {"name": "Ada"}, "address": "192.0.2.7:51234",
                "issued": 1_790_000_000_000_u64});
            json!({"sockets": [socket], "missing": missing, "truncated": false})
        }
        Route::Rooms => json!({"rooms": [{"room": "orders", "sockets": 3}], "missing": missing, "truncated": false}),
        Route::Count => json!({"sockets": 3, "missing": missing}),
        Route::Info => {
            let node = json!({"name": "node-1", "tag": "cUgm", "version": "1.0.0", "sessions": 3, "sockets": 4, "namespaces": 2,
                "uptime": 86_400, "draining": false});
            json!({"nodes": [node], "missing": missing})
        }
        Route::Batch => json!({"outcomes": [
            {"status": 200, "body": {}},
            {"status": 404, "problem": problem(ProblemKind::NotFound).at("/operations/1/namespace")},
        ]}),
    }
}

/// Returns an example of a problem.
pub(super) fn problem(kind: ProblemKind) -> Problem {
    let problem = |detail: &'static str| Problem::new(kind, detail);
    match kind {
        ProblemKind::Malformed => problem("the body is not JSON: expected value").on_line(2, 3),
        ProblemKind::Unauthorized => problem("the request has no key: send `Authorization: Bearer <secret>`").of_parameter("Authorization"),
        ProblemKind::Forbidden => problem("the key may not use this room: add a prefix of its name to `rooms` of the key").at("/rooms/0"),
        ProblemKind::NotFound => problem("no namespace has this name: check it, or define the namespace on the nodes").at("/namespace"),
        ProblemKind::MethodNotAllowed => problem("`emit` has another method: send POST"),
        ProblemKind::NotAcceptable => {
            problem("the API has other types of answers: send `Accept: application/json` or `application/msgpack`").of_parameter("Accept")
        }
        ProblemKind::Timeout => problem("the body did not arrive in 30 s: send it faster"),
        ProblemKind::InProgress => problem("a request with this key is running: repeat this one later").of_parameter("Idempotency-Key"),
        ProblemKind::OutcomeUnknown => {
            problem("a request with this key may have run, and its answer is lost: find out, and use a new key to run it again")
                .of_parameter("Idempotency-Key")
        }
        ProblemKind::TooLarge => problem("the body is longer than the limit: send at most 1000000 bytes"),
        ProblemKind::UnsupportedMediaType => {
            problem("the API reads other types of bodies: send `Content-Type: application/json` or `application/msgpack`")
                .of_parameter("Content-Type")
        }
        ProblemKind::Invalid => problem("the body cannot be used: unknown field `room`").at("/room").on_line(1, 20),
        ProblemKind::KeyReused => problem("another request had this key: use a new one").of_parameter("Idempotency-Key"),
        ProblemKind::DurabilityUnavailable => {
            problem("the cluster has no JetStream: leave `durable` out, or start the nodes with JetStream and recovery").at("/durable")
        }
        ProblemKind::TooManyRequests => problem("the key has used up its rate: wait 1 s"),
        ProblemKind::Unavailable => problem("JetStream refuses to persist events: the event was not sent"),
    }
}
