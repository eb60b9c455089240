//! A Socket.IO client over either transport, of either protocol version. The client answers only pings.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use serde_json::Value;

use crate::packet::{Kind, Packet, connect, event};
use crate::polling::Polling;
use crate::websocket::{Frame, WebSocket, base64, unbase64};

const PATH: &str = "/socket.io/";

/// A version of Engine.IO. Clients of the third speak the fourth version of Socket.IO's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    V3,
    V4,
}

impl Revision {
    /// Returns the value in the query.
    pub fn number(self) -> u8 {
        if self == Self::V3 { 3 } else { 4 }
    }
}

/// A message of the server, without the digits of Engine.IO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Text(String),
    Binary(Vec<u8>),
}

#[derive(Debug)]
enum Transport {
    Polling(Polling),
    WebSocket(WebSocket),
}

#[derive(Debug)]
pub struct Client {
    transport: Transport,
    revision: Revision,
    /// The id of its session.
    pub sid: String,
    /// The ids of its sockets, by namespace.
    ids: HashMap<String, String>,
    queue: VecDeque<Message>,
}

/// Opening, and joining namespaces.
impl Client {
    /// A session by WebSocket, in no namespace yet.
    pub async fn session(addr: SocketAddr) -> Self {
        Self::session_over(WebSocket::open(addr, "/socket.io/?EIO=4&transport=websocket").await).await
    }

    /// A session over a WebSocket that was just opened.
    pub async fn session_over(mut socket: WebSocket) -> Self {
        let sid = socket.handshake().await;
        Self::new(Transport::WebSocket(socket), Revision::V4, sid)
    }

    /// A session by polling, in no namespace yet.
    pub async fn polling_session(addr: SocketAddr) -> Self {
        Self::polling_session_over(Polling::open(addr, PATH).await)
    }

    /// A session by polling that was just opened.
    pub fn polling_session_over(polling: Polling) -> Self {
        let (sid, revision) = (polling.sid.clone(), polling.revision);
        let mut client = Self::new(Transport::Polling(polling.clone()), revision, sid);
        for packet in polling.early {
            client.take(&packet);
        }
        client
    }

    /// A session over a WebSocket that has taken over from polling.
    pub fn upgraded(socket: WebSocket, sid: &str) -> Self {
        Self::new(Transport::WebSocket(socket), Revision::V4, sid.to_owned())
    }

    fn new(transport: Transport, revision: Revision, sid: String) -> Self {
        Self { transport, revision, sid, ids: HashMap::new(), queue: VecDeque::new() }
    }

    /// Connects by WebSocket, in the main namespace.
    pub async fn connect(addr: SocketAddr) -> Self {
        let mut client = Self::session(addr).await;
        client.join("/").await;
        client
    }

    /// Connects by polling, in the main namespace.
    pub async fn connect_polling(addr: SocketAddr) -> Self {
        let mut client = Self::polling_session(addr).await;
        client.join("/").await;
        client
    }

    /// Connects by polling or WebSocket, in the main namespace, for tests of both.
    pub async fn connect_by(addr: SocketAddr, polling: bool) -> Self {
        if polling { Self::connect_polling(addr).await } else { Self::connect(addr).await }
    }

    /// Connects by Engine.IO 3 over WebSocket, in the main namespace, which such a client joins at once.
    pub async fn connect_v3(addr: SocketAddr) -> Self {
        let mut socket = WebSocket::open(addr, "/socket.io/?EIO=3&transport=websocket").await;
        let sid = socket.handshake().await;
        Self::new(Transport::WebSocket(socket), Revision::V3, sid).let_in().await
    }

    /// Connects by Engine.IO 3 over polling, in the main namespace.
    pub async fn connect_polling_v3(addr: SocketAddr) -> Self {
        Self::polling_session_over(Polling::open_v3(addr, PATH).await).let_in().await
    }

    async fn let_in(mut self) -> Self {
        assert_eq!(self.packet().await, connect());
        self
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
        self.send(connect().of(namespace)).await;
        self.joined(namespace).await;
    }

    /// Takes the answer of a namespace that lets it in.
    pub async fn joined(&mut self, namespace: &str) {
        let answer = self.packet().await;
        assert!(answer.kind == Kind::Connect && answer.namespace == namespace, "not let in: {answer:?}");
        self.ids.insert(namespace.to_owned(), answer.data["sid"].as_str().unwrap().to_owned());
    }

    /// Returns the session of a polling client, for manual requests.
    pub fn into_polling(self) -> Polling {
        match self.transport {
            Transport::Polling(polling) => polling,
            Transport::WebSocket(_) => panic!("it does not poll"),
        }
    }

    /// The id of its socket in the main namespace.
    pub fn id(&self) -> &str {
        self.id_in("/")
    }

    pub fn id_in(&self, namespace: &str) -> &str {
        &self.ids[namespace]
    }
}

/// Sending.
impl Client {
    /// Sends a packet with its attachments.
    pub async fn send(&mut self, packet: impl Borrow<Packet>) {
        let packet = packet.borrow();
        self.send_text(&packet.to_string()).await;
        for bytes in &packet.attachments {
            self.send_binary(bytes).await;
        }
    }

    /// Sends an event of the main namespace. Arguments are given as for [`event`].
    pub async fn emit(&mut self, name: &str, args: impl Into<Value>) {
        self.send(event(name, args)).await;
    }

    /// Sends an event of the main namespace. Returns the arguments of its acknowledgement, which has to be the next packet.
    pub async fn ask(&mut self, name: &str, args: impl Into<Value>) -> Value {
        self.send(event(name, args).id(0)).await;
        let answer = self.packet().await;
        assert!(answer.kind == Kind::Ack && answer.id == Some(0), "no acknowledgement: {answer:?}");
        answer.data
    }

    /// Sends the text of a packet as it is.
    pub async fn send_text(&mut self, packet: &str) {
        self.send_engine(&format!("4{packet}")).await;
    }

    /// Sends the text of a packet of Engine.IO as it is.
    pub async fn send_engine(&mut self, packet: &str) {
        match &mut self.transport {
            Transport::Polling(polling) => drop(polling.post_packets(&[packet]).await),
            Transport::WebSocket(socket) => socket.send(packet).await,
        }
    }

    pub async fn send_binary(&mut self, bytes: &[u8]) {
        let v3 = self.revision == Revision::V3;
        match &mut self.transport {
            Transport::Polling(_) => self.send_engine(&format!("b{}{}", if v3 { "4" } else { "" }, base64(bytes))).await,
            Transport::WebSocket(socket) if v3 => socket.send_binary(&[&[4], bytes].concat()).await,
            Transport::WebSocket(socket) => socket.send_binary(bytes).await,
        }
    }

    /// Ends a WebSocket by a close frame.
    pub async fn close(mut self) {
        match &mut self.transport {
            Transport::WebSocket(socket) => socket.close().await,
            Transport::Polling(_) => panic!("it polls"),
        }
    }

    /// Ends the connection without a word. A polling client has no connection to end.
    pub fn tear(self) {
        drop(self);
    }
}

/// Reading.
impl Client {
    /// The next packet, with its attachments. `None` when the session has ended.
    pub async fn next_packet(&mut self) -> Option<Packet> {
        let (mut packet, attachments) = match self.next().await? {
            Message::Text(text) => Packet::parse(&text),
            other => panic!("no packet, but {other:?}"),
        };
        for _ in 0..attachments {
            packet.attachments.push(self.binary().await);
        }
        Some(packet)
    }

    /// The next packet, with its attachments.
    pub async fn packet(&mut self) -> Packet {
        self.next_packet().await.unwrap_or_else(|| panic!("the session has ended"))
    }

    /// Returns all packets up to this one, without it.
    pub async fn packets_until(&mut self, last: impl Borrow<Packet>) -> Vec<Packet> {
        let mut packets = vec![];
        loop {
            match self.packet().await {
                packet if packet == *last.borrow() => return packets,
                packet => packets.push(packet),
            }
        }
    }

    /// Returns all packets until the session ends.
    pub async fn rest(&mut self) -> Vec<Packet> {
        let mut packets = vec![];
        while let Some(packet) = self.next_packet().await {
            packets.push(packet);
        }
        packets
    }

    /// The text of the next packet, as it came.
    pub async fn text(&mut self) -> String {
        match self.next().await {
            Some(Message::Text(text)) => text,
            other => panic!("no text, but {other:?}"),
        }
    }

    /// The next message, which is binary.
    pub async fn binary(&mut self) -> Vec<u8> {
        match self.next().await {
            Some(Message::Binary(bytes)) => bytes,
            other => panic!("no bytes, but {other:?}"),
        }
    }

    /// The next message. `None` when the session has ended.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.queue.pop_front() {
                return Some(message);
            }
            let packets = match &mut self.transport {
                Transport::WebSocket(socket) => match socket.frame().await? {
                    Frame::Text(text) => vec![text],
                    Frame::Binary(bytes) => {
                        let bytes = if self.revision == Revision::V3 { bytes[1..].to_vec() } else { bytes };
                        return Some(Message::Binary(bytes));
                    }
                    Frame::Close(_) => return None,
                    other => panic!("unexpected: {other:?}"),
                },
                Transport::Polling(polling) => {
                    let response = polling.poll().await;
                    if response.status != 200 {
                        return None;
                    }
                    polling.packets(response.text())
                }
            };
            for packet in packets {
                match &*packet {
                    "1" => return self.queue.pop_front(),
                    "2" => self.send_engine("3").await,
                    packet => self.take(packet),
                }
            }
        }
    }

    /// Takes a packet of Engine.IO that asks for no answer.
    fn take(&mut self, packet: &str) {
        match (packet.split_at(1), self.revision) {
            (("4", text), _) => self.queue.push_back(Message::Text(text.to_owned())),
            (("b", text), Revision::V4) => self.queue.push_back(Message::Binary(unbase64(text))),
            (("b", text), Revision::V3) => self.queue.push_back(Message::Binary(unbase64(&text[1..]))),
            // A pong comes to clients of the third revision, which ping.
            (("6", _), _) | (("3", _), Revision::V3) => {}
            other => panic!("unexpected: {other:?}"),
        }
    }
}
