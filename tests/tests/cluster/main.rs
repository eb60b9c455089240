//! Several nodes over real NATS servers: what one does reaches the sockets of all, once and in order.
#![allow(clippy::unwrap_used, clippy::unit_arg, reason = "a helper that fails fails its test, and a handler is often one call")]

mod delivery;
mod drain;
mod hostile_bus;
mod links;
mod metrics;
mod nats_security;
mod requests;
mod returns;
mod store;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::json;
use sociable::adapter::conformance::{Peer, check_all};
use sociable::adapter::{Adapter, AdapterError, Answer, Ask, Emitter, Message, Request, Target};
use sociable::protocol::Id;
use sociable::testing::TestServer;
use sociable::{Ack, AckError, Data, EmitError, NatsAdapter, NatsAuth, NatsOptions, RawArgs, Recovery, Server, ServerBuilder, Socket};
use sociable_tests::{Client, Nats, Node, Packet, ack, event, eventually, eventually_async, get, patience, within};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Far longer than a test may take: what ends sooner was not ended by the clock.
const AGES: Duration = Duration::from_secs(3600);

/// A node of a cluster.
struct Member {
    io: Server,
    node: Node,
    adapter: NatsAdapter,
}

fn options(nats: &Nats, name: &str) -> NatsOptions {
    NatsOptions::new(nats.url()).node_name(name)
}

async fn start_with(options: NatsOptions, change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Member {
    let adapter = NatsAdapter::connect(options).await.unwrap();
    let builder = Server::builder().adapter(adapter.clone()).request_timeout(patience()).ack_timeout(patience()).max_private_rooms(10);
    let io = change(builder).build().unwrap();
    io.on("join", async |socket: Socket, Data(rooms): Data<Vec<String>>, ack: Ack| {
        socket.join(rooms);
        ack.send(())
    });
    io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
    let node = Node::raw(&io, 2);
    // The answer shows that the node's threads run, and can answer questions.
    get(node.addr, "/socket.io/?EIO=4&transport=none").await;
    Member { io, node, adapter }
}

/// Waits until each node is a member for all others.
async fn acquainted(members: &[&Member]) {
    for member in members {
        eventually("the nodes know each other", || member.adapter.members().len() == members.len() - 1).await;
    }
}

async fn start<const N: usize>(nats: [&Nats; N]) -> [Member; N] {
    let mut members = vec![];
    for (at, nats) in nats.into_iter().enumerate() {
        members.push(start_with(options(nats, &format!("node-{at}")), |builder| builder).await);
    }
    acquainted(&members.iter().collect::<Vec<_>>()).await;
    members.try_into().ok().unwrap()
}

async fn client(member: &Member, rooms: &[&str]) -> Client {
    let mut client = Client::connect(member.node.addr).await;
    client.ask("join", json!([rooms])).await;
    client
}

/// Returns the packets that a client gets before the last event of this server.
async fn heard(io: &Server, client: &mut Client) -> Vec<Packet> {
    io.to(client.id()).emit("last", ()).unwrap();
    client.packets_until(event("last", ())).await
}

fn events(packets: &[Packet], name: &str) -> usize {
    packets.iter().filter(|packet| packet.name() == name).count()
}
