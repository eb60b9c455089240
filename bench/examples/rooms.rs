//! The cost of a delivery for the nodes of a cluster, as nodes and rooms grow and all else stays.
//!
//! ```text
//! cargo build --release -p sociable --example bench
//! cargo build --release -p sociable-bench --example rooms
//! taskset -c 1 target/release/examples/rooms target/release/examples/bench
//! taskset -c 1 target/release/examples/rooms target/release/examples/bench histories
//! ```
//!
//! 200 clients are spread over the nodes, and each room has 20 of them, on all nodes: with 10 rooms a client is in one, with 10,000 in a thousand. They send
//! broadcasts to random rooms of theirs: as fast as 64 under way at a time go, and then 200 a second. The nodes have one core; NATS the other, and the clients too (`taskset -c 1`).
//! Senders and events are the same for every number of rooms. A run takes five minutes.
//! With `histories` it is measured what it costs that clients can come back: to the node that they left, or to any.
#![allow(clippy::unwrap_used, reason = "a measurement that fails is none")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use sociable_bench::process::{Nats, Process, cpu, free_port, median, pinned};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

const ROOMS: [usize; 4] = [10, 100, 1_000, 10_000];
const NODES: [usize; 3] = [1, 2, 4];
const ROUNDS: usize = 5;
const CLIENTS: usize = 200;
const MEMBERS: usize = 20;
const UNDER_WAY: usize = 64;
const RATE: f64 = 200.0;
/// How long each figure is taken, and the same load runs before.
const SLICE: Duration = Duration::from_millis(1500);
const WARM_UP: Duration = Duration::from_millis(700);

type Stream = WebSocketStream<TcpStream>;

/// The clients that a room has: neighbours, so that they are on all nodes.
fn members(room: usize) -> impl Iterator<Item = usize> {
    (0..MEMBERS).map(move |at| (room * MEMBERS + at) % CLIENTS)
}

/// A Socket.IO client in `/`, and in its rooms.
async fn connect(port: u16, client: usize, rooms: usize) -> Stream {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let url = format!("ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket");
    let (mut stream, _) = client_async(url, tcp).await.unwrap();
    stream.send("40".into()).await.unwrap();
    answers(&mut stream, "40", 1).await;
    let mine: Vec<_> = (0..rooms).filter(|&room| members(room).any(|member| member == client)).collect();
    for room in &mine {
        stream.feed(format!("420[\"join\",\"room-{room}\"]").into()).await.unwrap();
    }
    stream.flush().await.unwrap();
    answers(&mut stream, "43", mine.len()).await;
    stream
}

/// Waits for so many packets that begin so.
async fn answers(stream: &mut Stream, prefix: &str, mut count: usize) {
    while count > 0 {
        let packet = stream.next().await.unwrap().unwrap();
        count -= usize::from(packet.to_text().unwrap().starts_with(prefix));
    }
}

/// The events that the clients sent and received.
#[derive(Default)]
struct State {
    /// For each broadcast how many have not got it yet.
    missing: Vec<usize>,
    under_way: usize,
    received: u64,
}

/// Notes what a client gets; a broadcast that all have got is told.
async fn listen(
    mut from: SplitStream<Stream>,
    answer: mpsc::UnboundedSender<Message>,
    state: Rc<RefCell<State>>,
    done: mpsc::UnboundedSender<()>,
) {
    while let Some(Ok(packet)) = from.next().await {
        let Ok(text) = packet.to_text() else { continue };
        if text == "2" {
            answer.send("3".into()).ok();
        }
        let Some(payload) = text.strip_prefix("42[\"msg\",\"") else { continue };
        let number: usize = payload[..8].parse().unwrap();
        let mut state = state.borrow_mut();
        state.received += 1;
        let missing = &mut state.missing[number];
        *missing = missing.checked_sub(1).expect("nothing comes twice");
        if *missing == 0 {
            state.under_way -= 1;
            done.send(()).ok();
        }
    }
}

async fn speak(mut to: SplitSink<Stream, Message>, mut from: mpsc::UnboundedReceiver<Message>) {
    while let Some(message) = from.recv().await {
        to.feed(message).await.unwrap();
        while let Ok(message) = from.try_recv() {
            to.feed(message).await.unwrap();
        }
        to.flush().await.unwrap();
    }
}

struct Load {
    clients: Vec<mpsc::UnboundedSender<Message>>,
    state: Rc<RefCell<State>>,
    done: mpsc::UnboundedReceiver<()>,
    rooms: usize,
    seed: u64,
}

impl Load {
    fn random(&mut self, below: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed % below as u64) as usize
    }

    /// One of a room sends to it.
    fn publish(&mut self) {
        let room = self.random(self.rooms);
        let from = members(room).nth(self.random(MEMBERS)).unwrap();
        let mut state = self.state.borrow_mut();
        let number = state.missing.len();
        state.missing.push(MEMBERS);
        state.under_way += 1;
        self.clients[from].send(format!("42[\"broadcast\",\"room-{room}\",\"{number:08}{:x<56}\"]", "").into()).unwrap();
    }

    fn under_way(&self) -> usize {
        self.state.borrow().under_way
    }

    /// As fast as it goes, or at the rate, for so long.
    async fn run(&mut self, rate: Option<f64>, time: Duration) {
        let begun = Instant::now();
        let mut published = 0;
        while begun.elapsed() < time {
            if let Some(rate) = rate {
                while published < (begun.elapsed().as_secs_f64() * rate) as usize {
                    self.publish();
                    published += 1;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            } else {
                while self.under_way() < UNDER_WAY {
                    self.publish();
                }
                self.done.recv().await;
            }
        }
    }

    async fn settle(&mut self) {
        while self.under_way() > 0 {
            let one = tokio::time::timeout(Duration::from_secs(5), self.done.recv()).await;
            one.expect("nothing is lost");
        }
    }
}

/// The kinds of history, each with the variable that enables it in the server.
const HISTORIES: [(&str, Option<&str>); 3] = [("nothing", None), ("its node", Some("RECOVERY")), ("any node", Some("JETSTREAM"))];

/// A node, and its port.
fn node(server: &str, nats: &Nats, history: Option<&str>) -> (Process, u16) {
    let port = free_port();
    let mut command = pinned(server.into(), Some("0"));
    command.env("PORT", port.to_string()).env("NATS", nats.url()).envs(history.map(|history| (history, "1")));
    (Process::listening(&mut command, port), port)
}

fn of_all(nodes: &[(Process, u16)]) -> Duration {
    nodes.iter().map(|(process, _)| cpu(process.id())).sum()
}

/// Clients on these nodes, all in their rooms.
async fn load(nodes: &[(Process, u16)], rooms: usize) -> Load {
    let state = Rc::new(RefCell::new(State::default()));
    let (tell, done) = mpsc::unbounded_channel();
    let mut clients = vec![];
    for client in 0..CLIENTS {
        let (to, from) = connect(nodes[client % nodes.len()].1, client, rooms).await.split();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::task::spawn_local(listen(from, sender.clone(), Rc::clone(&state), tell.clone()));
        tokio::task::spawn_local(speak(to, receiver));
        clients.push(sender);
    }
    Load { clients, state, done, rooms, seed: 0x9e37_79b9_7f4a_7c15 }
}

/// CPU of all nodes for each delivery, in microseconds: as fast as it goes, and at the rate; and that of the NATS server.
async fn measure(server: &str, nodes: usize, rooms: usize, history: Option<&str>) -> [[f64; 2]; 2] {
    let nats = Nats::start(Some("1"));
    let nodes: Vec<_> = (0..nodes).map(|_| node(server, &nats, history)).collect();
    let mut load = load(&nodes, rooms).await;
    let mut taken = [[0.0; 2]; 2];
    for (rate, taken) in [None, Some(RATE)].into_iter().zip(&mut taken) {
        load.run(rate, WARM_UP).await;
        let (before, of_nats, received) = (of_all(&nodes), cpu(nats.process.id()), load.state.borrow().received);
        load.run(rate, SLICE).await;
        let deliveries = load.state.borrow().received - received;
        *taken = [of_all(&nodes) - before, cpu(nats.process.id()) - of_nats].map(|time| time.as_secs_f64() * 1e6 / deliveries as f64);
        load.settle().await;
    }
    taken
}

/// CPU of a node without clients for each broadcast of another, in microseconds, without what it takes when nobody sends.
async fn bystander(server: &str, rooms: usize) -> [f64; 2] {
    let nats = Nats::start(Some("1"));
    let (busy, other) = ([node(server, &nats, None)], [node(server, &nats, None)]);
    let mut load = load(&busy, rooms).await;
    let before = of_all(&other);
    tokio::time::sleep(SLICE).await;
    let idle = of_all(&other) - before;
    let mut taken = [0.0; 2];
    for (rate, taken) in [None, Some(RATE)].into_iter().zip(&mut taken) {
        load.run(rate, WARM_UP).await;
        let (before, sent) = (of_all(&other), load.state.borrow().missing.len());
        load.run(rate, SLICE).await;
        let broadcasts = load.state.borrow().missing.len() - sent;
        *taken = (of_all(&other) - before).saturating_sub(idle).as_secs_f64() * 1e6 / broadcasts as f64;
        load.settle().await;
    }
    taken
}

fn shown(figures: Vec<f64>) -> String {
    let (low, high) = figures.iter().fold((f64::MAX, 0_f64), |(low, high), &figure| (low.min(figure), high.max(figure)));
    format!("{:.2} ({low:.2}–{high:.2})", median(figures))
}

/// The cost of recovery.
async fn histories(server: &str) {
    const NODES: usize = 2;
    println!("{}, {NODES} nodes, CPU in µs for each delivery, lowest and highest in brackets\n", Nats::version());
    println!("| clients can come back to | as fast as it goes | NATS | {RATE} broadcasts a second | NATS |");
    println!("|---|---|---|---|---|");
    let mut taken = HISTORIES.map(|_| [vec![], vec![], vec![], vec![]]);
    for _ in 0..ROUNDS {
        for ((_, history), taken) in HISTORIES.into_iter().zip(&mut taken) {
            let figures = tokio::task::LocalSet::new().run_until(measure(server, NODES, ROOMS[1], history)).await;
            taken.iter_mut().zip(figures.as_flattened()).for_each(|(taken, figure)| taken.push(*figure));
        }
    }
    for ((name, _), taken) in HISTORIES.into_iter().zip(taken) {
        let [fast, of_nats, slow, slow_of_nats] = taken.map(shown);
        println!("| {name} | {fast} | {of_nats} | {slow} | {slow_of_nats} |");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = std::env::args().nth(1).expect("the path of the server");
    if std::env::args().nth(2).is_some_and(|what| what == "histories") {
        return histories(&server).await;
    }
    println!("{}, CPU of all nodes in µs for each delivery, lowest and highest in brackets\n", Nats::version());
    println!("| nodes | rooms | as fast as it goes | {RATE} broadcasts a second |");
    println!("|---|---|---|---|");
    let cases: Vec<_> = NODES.into_iter().flat_map(|nodes| ROOMS.map(|rooms| (nodes, rooms))).collect();
    let mut taken = vec![[vec![], vec![]]; cases.len()];
    // In turns: what else the machine does falls on all alike.
    for _ in 0..ROUNDS {
        for (&(nodes, rooms), taken) in cases.iter().zip(&mut taken) {
            let figures = tokio::task::LocalSet::new().run_until(measure(&server, nodes, rooms, None)).await;
            taken.iter_mut().zip(figures).for_each(|(taken, [figure, _])| taken.push(figure));
        }
    }
    for ((nodes, rooms), taken) in cases.into_iter().zip(taken) {
        let [fast, slow] = taken.map(shown);
        println!("| {nodes} | {rooms} | {fast} | {slow} |");
    }
    let mut taken = [vec![], vec![]];
    for _ in 0..ROUNDS {
        let figures = tokio::task::LocalSet::new().run_until(bystander(&server, 1_000)).await;
        taken.iter_mut().zip(figures).for_each(|(taken, figure)| taken.push(figure));
    }
    let [fast, slow] = taken.map(shown);
    println!("\nA node without clients, for each broadcast of another node: {fast} as fast as it goes, {slow} at {RATE} a second.");
}
