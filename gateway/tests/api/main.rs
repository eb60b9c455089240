//! The API over HTTP, beside a server with real clients.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod bodies;
mod keys;
mod limits;
mod namespaces;
mod openapi;
mod operations;
mod questions;
mod repetition;

use actix_web::App;
use actix_web::body::to_bytes;
use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, init_service};
use bytes::Bytes;
use serde_json::{Value, json};
use sociable::testing::{TestClient, TestServer};
use sociable::{Data, Server, Socket};
use sociable_gateway::api::{Api, Keys, Limits};

/// The secret of the key that may do everything.
const ALL: &str = "secret of the key for all things";
/// The secret of a key for one namespace, and rooms with one prefix.
const SHOP: &str = "secret of the key of a small shop";

/// An API and its server.
struct Backend {
    io: Server,
    server: TestServer,
    api: Api,
}

/// An answer of the API.
struct Answered {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answered {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Checks the form of a problem. Returns its status, its name and its place.
    fn problem(&self) -> (u16, String, Value) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        assert!(!problem["title"].as_str().unwrap().is_empty() && !problem["detail"].as_str().unwrap().is_empty(), "{problem}");
        let name = problem["type"].as_str().unwrap().rsplit_once('#').unwrap().1.to_owned();
        (self.status, name, problem["pointer"].clone())
    }
}

fn keys() -> Keys {
    let file = json!({"keys": {
        "all": {"secret": ALL, "operations": ["*"]},
        "shop": {"secret": SHOP, "operations": ["emit", "join", "sockets", "rooms", "count"], "namespaces": ["/", "/shop-*"], "rooms": ["order:"]},
    }});
    Keys::new(serde_json::from_value(file).unwrap()).unwrap()
}

impl Backend {
    fn start() -> Self {
        Self::with(Limits::default(), keys())
    }

    fn with(limits: Limits, keys: Keys) -> Self {
        let io = Server::builder().build().unwrap();
        io.on("join", async |socket: Socket, Data(room): Data<String>| socket.join(room));
        let (server, api) = (TestServer::start(&io).unwrap(), Api::builder(&io, keys).limits(limits).build());
        Self { io, server, api }
    }

    /// Connects a client that is in rooms.
    async fn client(&self, rooms: &[&str]) -> TestClient {
        let client = self.server.connect().await.unwrap();
        for room in rooms {
            client.emit("join", *room).unwrap();
        }
        client.sync().await.unwrap();
        client
    }

    async fn send(&self, request: TestRequest) -> Answered {
        let app = init_service(App::new().service(self.api.service())).await;
        let response = actix_web::test::call_service(&app, request.to_request()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answered { status, headers, body: to_bytes(response.into_body()).await.unwrap() }
    }

    async fn post_as(&self, secret: &str, operation: &str, body: Value) -> Answered {
        self.send(post(operation).insert_header(("Authorization", format!("Bearer {secret}"))).set_json(body)).await
    }

    async fn post(&self, operation: &str, body: Value) -> Answered {
        self.post_as(ALL, operation, body).await
    }

    async fn get(&self, path: &str) -> Answered {
        self.send(TestRequest::get().uri(&format!("/api/v1/{path}")).insert_header(("Authorization", format!("Bearer {ALL}")))).await
    }
}

fn post(operation: &str) -> TestRequest {
    TestRequest::post().uri(&format!("/api/v1/{operation}"))
}

/// A problem of these parts.
fn problem(status: u16, name: &str, pointer: impl Into<Value>) -> (u16, String, Value) {
    (status, name.to_owned(), pointer.into())
}
