//! Nodes that share their history by JetStream. Clients recover on other nodes, with all missed events, once and in
//! order.

mod faults;
mod nodes;
mod returns;
mod sessions;

use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;
use sociable::adapter::Emitter;
use sociable::adapter::conformance::{Peer, check_all};
use sociable::adapter::{Adapter, Limits};
use sociable::testing::{LostClient, TestClient, TestServer};
use sociable::{Ack, Data, Failure, JetStreamOptions, NatsAdapter, NatsAuth, NatsOptions, Recovery, Server, Socket};
use sociable_tests::{Nats, eventually, patience, within};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const LIMITS: Limits =
    Limits { session_age: Duration::from_secs(60), event_age: Duration::from_secs(60), session_bytes: 1 << 20, total_bytes: 1 << 26 };

/// A node of a cluster.
struct Member {
    io: Server,
    server: TestServer,
    adapter: NatsAdapter,
}

fn options(nats: &Nats) -> NatsOptions {
    NatsOptions::new(nats.url()).jetstream(JetStreamOptions::default())
}

async fn start(options: NatsOptions) -> Member {
    let adapter = NatsAdapter::connect(options).await.unwrap();
    let io = Server::builder()
        .adapter(adapter.clone())
        .recovery(Recovery::default())
        .request_timeout(patience())
        .ack_timeout(patience())
        .build()
        .unwrap();
    io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.join(room);
        ack.send(())
    });
    io.on("leave", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.leave(room);
        ack.send(())
    });
    io.on("name", async |socket: Socket, Data(name): Data<String>, ack: Ack| {
        socket.set_data(&name).ok();
        ack.send(())
    });
    io.on("tell me", async |socket: Socket, Data(n): Data<u64>, ack: Ack| {
        socket.emit("n", n).ok();
        ack.send(())
    });
    let server = TestServer::start(&io).unwrap();
    Member { io, server, adapter }
}

async fn cluster<const N: usize>(nats: &Nats) -> [Member; N] {
    let mut members = vec![];
    for _ in 0..N {
        members.push(start(options(nats)).await);
    }
    for member in &members {
        eventually("the nodes know each other", || member.adapter.members().len() == N - 1).await;
    }
    members.try_into().ok().unwrap()
}

/// The numbers that a client gets up to one.
async fn numbers(client: &TestClient, last: u64) -> Vec<u64> {
    let mut numbers = vec![];
    while numbers.last() != Some(&last) {
        numbers.push(client.expect("n").await.unwrap().data().unwrap());
    }
    numbers
}

/// A client of a node that has got something, so that it can say what it has.
async fn served(member: &Member) -> TestClient {
    let client = member.server.connect().await.unwrap();
    member.io.emit("n", 1).unwrap();
    numbers(&client, 1).await;
    client
}

/// The only client of a node loses its connection, which the node notices.
async fn lose(member: &Member, client: TestClient) -> LostClient {
    let lost = client.drop_connection();
    eventually("the loss is noticed", || member.io.socket_count() == 0).await;
    lost
}

/// Returns so many numbers.
async fn some(client: &TestClient, count: usize) -> Vec<u64> {
    let mut numbers = vec![];
    while numbers.len() < count {
        numbers.push(client.expect("n").await.unwrap().data().unwrap());
    }
    numbers
}
