//! The server side of the admin UI, as its page meets it.
#![allow(clippy::unwrap_used, clippy::unit_arg, reason = "a helper that fails fails its test, and a handler is often one call")]

mod cluster;
mod commands;
mod login;
mod sockets;
mod sums;

use std::sync::LazyLock;

use serde_json::{Value, json};
use sociable::testing::{TestClient, TestClientBuilder, TestError, TestServer};
use sociable::{AdminMode, AdminOptions, Data, Server, ServerBuilder, Socket};
use sociable_tests::{eventually_async, patience};

const PASSWORD: &str = "changeit";

static HASH: LazyLock<String> = LazyLock::new(|| bcrypt::hash(PASSWORD, 4).unwrap());

fn options() -> AdminOptions {
    AdminOptions::new([("ada", &**HASH)])
}

fn development() -> AdminOptions {
    options().mode(AdminMode::Development)
}

/// Returns a server on which clients join, leave and echo.
fn server(options: AdminOptions, change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Server {
    let io = change(Server::builder()).build().unwrap();
    io.on("join", async |socket: Socket, Data(room): Data<String>| socket.join(room));
    io.on("leave", async |socket: Socket, Data(room): Data<String>| socket.leave(room));
    io.on("echo", async |socket: Socket, Data(text): Data<String>| drop(socket.emit("echo", text)));
    io.admin(options).unwrap();
    io
}

fn start(options: AdminOptions) -> (Server, TestServer) {
    let io = server(options, |builder| builder);
    let server = TestServer::start(&io).unwrap();
    (io, server)
}

fn page(server: &TestServer) -> TestClientBuilder {
    server.client().namespace("/admin").patience(patience())
}

/// Logs in by name and password.
async fn login(server: &TestServer) -> TestClient {
    page(server).auth(&json!({ "username": "ada", "password": PASSWORD })).connect().await.unwrap()
}

/// Waits for an event with these first arguments.
async fn expect(page: &TestClient, name: &str, args: Value) -> Vec<Value> {
    let args = args.as_array().unwrap();
    loop {
        let all: Vec<Value> = page.expect(name).await.unwrap().all().unwrap();
        if all.starts_with(args) {
            return all;
        }
    }
}

/// Returns a sample of the metrics.
async fn metric(io: &Server, name: &str) -> u64 {
    let text = io.metrics().await;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("sociable_{name} ")));
    line.unwrap_or_else(|| panic!("{name} is no metric")).parse().unwrap()
}

/// Waits until nobody looks at a server.
async fn unwatched(io: &Server) {
    eventually_async("nobody looks", async || metric(io, "admin_watched").await == 0).await;
}
