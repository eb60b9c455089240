//! A small Socket.IO client over either transport. It answers pings, and nothing else by itself.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use serde_json::Value;

use crate::polling::{Polling, packets};
use crate::websocket::{Frame, WebSocket, base64, unbase64};

const PATH: &str = "/socket.io/";

/// What the server sent, without the digits of Engine.IO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Text(String),
    Binary(Vec<u8>),
}

#[derive(Debug)]
enum Way {
    Polling(Polling),
    WebSocket(WebSocket),
}

#[derive(Debug)]
pub struct Client {
    way: Way,
    /// The id of its session.
    pub sid: String,
    /// The ids of its sockets, by namespace.
    ids: HashMap<String, String>,
    queue: VecDeque<Message>,
}

impl Client {
    /// A session by WebSocket, in no namespace yet.
    pub async fn session(addr: SocketAddr) -> Self {
        Self::session_over(WebSocket::open(addr, "/socket.io/?EIO=4&transport=websocket").await).await
    }

    /// A session over a WebSocket that was just opened.
    pub async fn session_over(mut socket: WebSocket) -> Self {
        let open = socket.text().await;
        let handshake: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        Self::new(Way::WebSocket(socket), handshake["sid"].as_str().unwrap())
    }

    /// A session by polling, in no namespace yet.
    pub async fn polling_session(addr: SocketAddr) -> Self {
        let polling = Polling::open(addr, PATH).await;
        let sid = polling.sid.clone();
        Self::new(Way::Polling(polling), &sid)
    }

    fn new(way: Way, sid: &str) -> Self {
        Self { way, sid: sid.to_owned(), ids: HashMap::new(), queue: VecDeque::new() }
    }

    /// By WebSocket, in the main namespace.
    pub async fn connect(addr: SocketAddr) -> Self {
        let mut client = Self::session(addr).await;
        client.join("/").await;
        client
    }

    /// By polling, in the main namespace.
    pub async fn connect_polling(addr: SocketAddr) -> Self {
        let mut client = Self::polling_session(addr).await;
        client.join("/").await;
        client
    }

    /// Several by WebSocket, in the main namespace, on all workers in turn.
    pub async fn connect_many(addr: SocketAddr, count: usize) -> Vec<Self> {
        let mut clients = vec![];
        for _ in 0..count {
            clients.push(Self::connect(addr).await);
        }
        clients
    }

    /// Joins a namespace that lets it in.
    pub async fn join(&mut self, namespace: &str) {
        self.send(&format!("0{}", prefix(namespace))).await;
        self.joined(namespace).await;
    }

    /// Takes the answer of a namespace that lets it in.
    pub async fn joined(&mut self, namespace: &str) {
        let answer = self.packet().await;
        let told = answer.strip_prefix(&*format!("0{}", prefix(namespace))).unwrap_or_else(|| panic!("not let in: {answer}"));
        let told: Value = serde_json::from_str(told).unwrap();
        self.ids.insert(namespace.to_owned(), told["sid"].as_str().unwrap().to_owned());
    }

    /// The id of its socket in the main namespace.
    pub fn id(&self) -> &str {
        self.id_in("/")
    }

    pub fn id_in(&self, namespace: &str) -> &str {
        &self.ids[namespace]
    }

    /// Sends a packet.
    pub async fn send(&mut self, packet: &str) {
        self.send_engine(&format!("4{packet}")).await;
    }

    /// Sends a packet of Engine.IO.
    pub async fn send_engine(&mut self, packet: &str) {
        match &mut self.way {
            Way::Polling(polling) => drop(polling.post(packet).await),
            Way::WebSocket(socket) => socket.send(packet).await,
        }
    }

    pub async fn send_binary(&mut self, bytes: &[u8]) {
        match &mut self.way {
            Way::Polling(polling) => polling.send(&format!("b{}", base64(bytes))).await,
            Way::WebSocket(socket) => socket.send_binary(bytes).await,
        }
    }

    /// The next message. `None` when the session has ended.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.queue.pop_front() {
                return Some(message);
            }
            let packets = match &mut self.way {
                Way::WebSocket(socket) => match socket.frame().await? {
                    Frame::Text(text) => vec![text],
                    Frame::Binary(bytes) => {
                        self.queue.push_back(Message::Binary(bytes));
                        continue;
                    }
                    Frame::Close(_) => return None,
                    other => panic!("unexpected: {other:?}"),
                },
                Way::Polling(polling) => {
                    let response = polling.poll().await;
                    if response.status != 200 {
                        return None;
                    }
                    packets(response.text())
                }
            };
            for packet in packets {
                match packet.split_at(1) {
                    ("1", _) => return self.queue.pop_front(),
                    ("2", _) => self.send_engine("3").await,
                    ("4", text) => self.queue.push_back(Message::Text(text.to_owned())),
                    ("b", text) => self.queue.push_back(Message::Binary(unbase64(text))),
                    ("6", _) => {}
                    other => panic!("unexpected: {other:?}"),
                }
            }
        }
    }

    /// The next message, which is text.
    pub async fn packet(&mut self) -> String {
        match self.next().await {
            Some(Message::Text(text)) => text,
            other => panic!("no packet, but {other:?}"),
        }
    }

    pub async fn binary(&mut self) -> Vec<u8> {
        match self.next().await {
            Some(Message::Binary(bytes)) => bytes,
            other => panic!("no bytes, but {other:?}"),
        }
    }

    /// All packets up to this one, which is left out.
    pub async fn packets_until(&mut self, last: &str) -> Vec<String> {
        let mut packets = vec![];
        loop {
            match self.packet().await {
                packet if packet == last => return packets,
                packet => packets.push(packet),
            }
        }
    }

    /// All messages until the session ends.
    pub async fn rest(&mut self) -> Vec<Message> {
        let mut messages = vec![];
        while let Some(message) = self.next().await {
            messages.push(message);
        }
        messages
    }

    /// Sends an event of the main namespace and takes its acknowledgement, which has to be the next packet.
    pub async fn ask(&mut self, event: &str, args: &str) -> String {
        let comma = if args.is_empty() { "" } else { "," };
        self.send(&format!(r#"20["{event}"{comma}{args}]"#)).await;
        let answer = self.packet().await;
        answer.strip_prefix("30").unwrap_or_else(|| panic!("no acknowledgement: {answer}")).to_owned()
    }

    /// Ends the connection without a word. By polling, there is nothing to end.
    pub fn tear(self) {
        drop(self);
    }
}

/// What stands in a packet before its payload.
fn prefix(namespace: &str) -> String {
    if namespace == "/" { String::new() } else { format!("{namespace},") }
}
