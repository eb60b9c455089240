//! Thousands of clients, lost and recovered under broadcast. The memory of recovery stays within its bound, and so does
//! the process.
//!
//! The test is a program of its own: it measures its process's memory, and raises the limit of open files.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::net::SocketAddr;

use futures_util::{StreamExt, stream};
use serde_json::json;
use sociable::{Recovery, Server, Socket};
use sociable_tests::{Client, Kind, Node, Packet, connect, eventually};

const CLIENTS: usize = 2000;
const AT_ONCE: usize = 100;
/// The bound of recovery's memory on this node.
const BOUND: usize = 16 << 20;
const ROUNDS: u64 = 8;
/// The allowed growth of the process since a round. The allocator takes less with each round.
const GROWTH: [(usize, usize); 2] = [(2, 2 * BOUND), (6, BOUND)];
const HEARD: u64 = 10;
const MISSED: u64 = 40;

struct Lost {
    sid: String,
    pid: String,
    offset: Option<String>,
}

struct Visitor {
    client: Client,
    state: Lost,
}

impl Visitor {
    /// Connects, as who was lost or as somebody new. Returns the numbers of the events that came before the answer.
    async fn connect(addr: SocketAddr, lost: Option<Lost>) -> (Self, Vec<u64>) {
        let client = Client::session(addr).await;
        let mut this = Self { client, state: Lost { sid: String::new(), pid: String::new(), offset: None } };
        let auth = lost.map(|Lost { pid, offset, .. }| json!({ "pid": pid, "offset": offset }));
        this.client.send(connect().data(auth)).await;
        let mut numbers = vec![];
        loop {
            let packet = this.client.packet().await;
            if packet.kind == Kind::Connect {
                let text = |name: &str| packet.data[name].as_str().unwrap().to_owned();
                (this.state.sid, this.state.pid) = (text("sid"), text("pid"));
                return (this, numbers);
            }
            numbers.push(this.heard(&packet));
        }
    }

    /// The number of an event; its offset is kept.
    fn heard(&mut self, event: &Packet) -> u64 {
        self.state.offset = event.args()[2].as_str().map(str::to_owned);
        event.args()[0].as_u64().unwrap()
    }

    async fn hear(&mut self) -> u64 {
        let packet = self.client.packet().await;
        self.heard(&packet)
    }
}

async fn connect_all(addr: SocketAddr, lost: impl IntoIterator<Item = Option<Lost>>) -> Vec<(Visitor, Vec<u64>)> {
    stream::iter(lost).map(|lost| Visitor::connect(addr, lost)).buffered(AT_ONCE).collect().await
}

/// The memory of this process, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn thousands_are_recovered_within_the_bound() {
    // Both ends of each connection are in this process.
    let files = rlimit::increase_nofile_limit(2 * CLIENTS as u64 + 1000).unwrap();
    assert!(files > 2 * CLIENTS as u64 + 500, "raise the limit of open files: it is {files}");
    let io = Server::builder().recovery(Recovery::default().max_total_bytes(BOUND)).build().unwrap();
    io.on_connect(async |socket: Socket| {
        if !socket.recovered() {
            socket.join(["all", "red"]);
        }
    });
    let node = Node::start(&io);
    let mut number = 0;
    let mut broadcast = |count: u64| {
        for _ in 0..count {
            io.to("red").emit("n", (number, "x".repeat(400))).unwrap();
            number += 1;
            assert!(io.recovery_usage().bytes <= BOUND);
        }
        (number - count)..number
    };

    let mut clients: Vec<_> = connect_all(node.addr, (0..CLIENTS).map(|_| None)).await.into_iter().map(|(client, _)| client).collect();
    let mut residents = vec![];
    for round in 1..=ROUNDS {
        for expected in broadcast(HEARD) {
            for client in &mut clients {
                assert_eq!(client.hear().await, expected);
            }
        }
        let lost: Vec<_> = clients.drain(..).map(|client| client.state).collect();
        eventually("all losses are noticed", || io.recovery_usage().sessions == CLIENTS).await;
        let ids: Vec<_> = lost.iter().map(|lost| lost.sid.clone()).collect();
        let missed: Vec<_> = broadcast(MISSED).collect();
        for ((client, numbers), id) in connect_all(node.addr, lost.into_iter().map(Some)).await.into_iter().zip(ids) {
            assert_eq!(client.state.sid, id);
            assert_eq!(numbers, missed);
            clients.push(client);
        }
        assert_eq!(io.stats().recovered, round * CLIENTS as u64);
        assert_eq!(io.recovery_usage().sessions, 0);
        let resident = resident();
        println!("round {round}: {} bytes kept, {resident} bytes resident", io.recovery_usage().bytes);
        for (since, growth) in GROWTH {
            if let Some(before) = residents.get(since - 1) {
                assert!(resident <= before + growth, "since round {since} the process has grown from {before} to {resident} bytes");
            }
        }
        residents.push(resident);
    }

    // The clients missed more than is kept, so no session is recovered partially.
    let lost: Vec<_> = clients.drain(..).map(|client| client.state).collect();
    eventually("all losses are noticed", || io.recovery_usage().sessions == CLIENTS).await;
    let ids: Vec<_> = lost.iter().map(|lost| lost.sid.clone()).collect();
    broadcast(40_000);
    for ((client, numbers), id) in connect_all(node.addr, lost.into_iter().map(Some)).await.into_iter().zip(ids) {
        assert_ne!(client.state.sid, id);
        assert_eq!(numbers, Vec::<u64>::new());
    }
}
