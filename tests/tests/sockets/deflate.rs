//! permessage-deflate of events: broadcasts are compressed once, `compress(false)` is honoured.

use sociable::{PerMessageDeflate, Recovery};
use sociable_tests::{Deflating, Frame, WebSocket};

use super::*;

const TARGET: &str = "/socket.io/?EIO=4&transport=websocket";

/// A client that offers compression, and its context.
struct Offering {
    socket: WebSocket,
    deflating: Deflating,
    alone: bool,
    id: String,
}

impl Offering {
    async fn connect(node: &Node, offer: &str) -> Self {
        let headers = [("Sec-WebSocket-Extensions", offer)];
        let mut socket = WebSocket::try_open(node.addr, TARGET, &headers).await.unwrap();
        let alone = socket.response.header("sec-websocket-extensions").unwrap().contains("server_no_context_takeover");
        socket.handshake().await;
        socket.send("40").await;
        let mut client = Self { socket, deflating: Deflating::default(), alone, id: String::new() };
        let (answer, _) = client.message().await;
        let connected: serde_json::Value = serde_json::from_str(answer.strip_prefix("40").unwrap()).unwrap();
        client.id = connected["sid"].as_str().unwrap().to_owned();
        client
    }

    /// Returns the next message, and whether it was compressed.
    async fn message(&mut self) -> (String, bool) {
        let frame = self.socket.frame().await.unwrap();
        if let Frame::Text(text) = frame {
            return (text, false);
        }
        if self.alone {
            self.deflating.reset();
        }
        (self.deflating.inflate(&frame), true)
    }
}

fn long(n: usize) -> String {
    format!("{n}").repeat(3000)
}

fn packet(n: usize) -> String {
    format!("42[\"news\",\"{}\"]", long(n))
}

#[tokio::test]
async fn broadcast_is_compressed_once_for_half_of_the_clients() {
    let (io, node) = start(|options| options.per_message_deflate(PerMessageDeflate::default()));
    let mut offering = vec![];
    for _ in 0..10 {
        offering.push(Offering::connect(&node, "permessage-deflate; client_max_window_bits").await);
    }
    let mut plain = Client::connect_many(node.addr, 10).await;
    plain.push(Client::connect_polling(node.addr).await);
    for n in 1..=3 {
        io.emit("news", long(n)).unwrap();
        for client in &mut offering {
            assert_eq!(client.message().await, (packet(n), true));
        }
        for client in &mut plain {
            assert_eq!(client.packet().await, event("news", long(n)));
        }
        let stats = io.stats();
        assert_eq!((stats.deflations, stats.messages_deflated), (n as u64, 10 * n as u64));
    }
    let stats = io.stats();
    assert!((30 * 2_900..30 * 3_020).contains(&stats.deflate_bytes_saved), "{}", stats.deflate_bytes_saved);
}

#[tokio::test]
async fn persisted_broadcast_is_compressed_once() {
    let (io, node) = start(|options| options.recovery(Recovery::default()).per_message_deflate(PerMessageDeflate::default()));
    let mut clients = vec![];
    for _ in 0..6 {
        clients.push(Offering::connect(&node, "permessage-deflate").await);
    }
    io.emit("news", long(1)).unwrap();
    for client in &mut clients {
        let (text, compressed) = client.message().await;
        assert!(compressed && text.starts_with(packet(1).trim_end_matches(']')), "{text}");
    }
    assert_eq!(io.stats().deflations, 1);
}

#[tokio::test]
async fn broadcast_is_not_compressed_when_nobody_wants_it() {
    let (io, node) = start(|options| options.per_message_deflate(PerMessageDeflate::default()));
    let mut plain = Client::connect_many(node.addr, 3).await;
    io.emit("news", long(1)).unwrap();
    for client in &mut plain {
        assert_eq!(client.packet().await, event("news", long(1)));
    }
    assert_eq!(io.stats().deflations, 0);
}

#[tokio::test]
async fn event_stays_plain_when_compress_is_false() {
    let (io, node) = start(|options| options.per_message_deflate(PerMessageDeflate::default()));
    io.on("ask", async |socket: Socket| {
        socket.compress(false).emit("news", long(2)).unwrap();
        socket.emit("news", long(3)).unwrap();
    });
    let mut client = Offering::connect(&node, "permessage-deflate").await;
    io.compress(false).emit("news", long(1)).unwrap();
    assert_eq!(client.message().await, (packet(1), false));
    client.socket.send("42[\"ask\"]").await;
    assert_eq!(client.message().await, (packet(2), false));
    assert_eq!(client.message().await, (packet(3), true));
}

#[tokio::test]
async fn small_window_gets_a_form_of_its_own() {
    let (io, node) = start(|options| options.per_message_deflate(PerMessageDeflate::default()));
    let mut clients = vec![];
    for bits in [15, 15, 12, 12, 9, 8] {
        clients.push(Offering::connect(&node, &format!("permessage-deflate; server_max_window_bits={bits}")).await);
    }
    io.emit("news", long(1)).unwrap();
    for client in &mut clients {
        assert_eq!(client.message().await, (packet(1), true));
    }
    // 3 KiB fit into windows of 15 and 12 bits.
    assert_eq!(io.stats().deflations, 3);
}

#[tokio::test]
async fn broadcasts_pass_between_messages_in_context() {
    let options = PerMessageDeflate::default().server_no_context_takeover(false);
    let (io, node) = start(|builder| builder.per_message_deflate(options));
    let mut client = Offering::connect(&node, "permessage-deflate").await;
    assert!(!client.alone);
    for n in 1..=3 {
        for _ in 0..2 {
            io.to(client.id.clone()).emit("own", "short, but in context").unwrap();
            assert_eq!(client.message().await, ("42[\"own\",\"short, but in context\"]".to_owned(), true));
        }
        io.emit("news", long(n)).unwrap();
        assert_eq!(client.message().await, (packet(n), true));
        io.emit("news", "short").unwrap();
        assert_eq!(client.message().await, ("42[\"news\",\"short\"]".to_owned(), false));
    }
}
