//! What happens when actors die: only from within can they be made to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;

use actix_web::App;
use sociable_protocol::websocket::{Payload, payloads};

use crate::{Ack, Data, DisconnectReason, Server, Socket, Stats};

/// Starts a server on a thread of its own. It ends with the tests.
fn serve(io: &Server) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    let io = io.clone();
    std::thread::spawn(move || {
        let service = io.service();
        let server = io.serve(move || App::new().service(service.clone())).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        tell.send(server.addrs()[0]).unwrap();
        actix_rt::System::new().block_on(server.run()).unwrap();
    });
    told.recv().unwrap()
}

/// A client that speaks WebSocket by hand.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    fn connect(addr: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let head = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut client = Self { stream, read: vec![] };
        while !client.read.windows(4).any(|end| end == b"\r\n\r\n") {
            client.fill();
        }
        let head = client.read.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        client.read.drain(..head);
        assert!(client.next().starts_with('0'));
        client
    }

    fn fill(&mut self) {
        let mut buffer = [0; 4096];
        let length = self.stream.read(&mut buffer).unwrap();
        assert!(length > 0, "the server closed the connection");
        self.read.extend_from_slice(&buffer[..length]);
    }

    fn send(&mut self, text: &str) {
        let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        self.stream.write_all(&frame).unwrap();
    }

    fn next(&mut self) -> String {
        loop {
            let first = match payloads(&self.read).next() {
                Some(Payload::Text(text)) => Some(text.to_owned()),
                _ => None,
            };
            if let Some(text) = first {
                assert!(text.len() < 126);
                self.read.drain(..text.len() + 2);
                return text;
            }
            self.fill();
        }
    }

    fn join(addr: SocketAddr, namespace: &str) -> Self {
        let mut client = Self::connect(addr);
        client.send(&format!("40{namespace},"));
        assert!(client.next().starts_with(&format!("40{namespace},")));
        client
    }
}

fn stats(io: &Server) -> (u64, u64) {
    let Stats { actors_died, actors_restarted, .. } = io.stats();
    (actors_died, actors_restarted)
}

#[test]
fn a_socket_actor_that_dies_is_ended_cleanly_and_alone() {
    let io = Server::builder().build().unwrap();
    let (tell, told) = mpsc::channel();
    for name in ["/a", "/b"] {
        let tell = tell.clone();
        io.of(name)
            .on("crash", async |socket: Socket| socket.here().unwrap().crash())
            .on("echo", async |Data(value): Data<u32>, ack: Ack| drop(ack.send(value)))
            .on_disconnect(move |socket: Socket, reason: DisconnectReason| {
                tell.send((socket.id(), socket.rooms().len(), reason)).unwrap();
                std::future::ready(())
            });
    }
    let addr = serve(&io);
    let (mut one, mut other) = (Client::join(addr, "/a"), Client::join(addr, "/a"));
    one.send("40/b,");
    one.next();
    one.send(r#"42/a,["crash"]"#);
    assert_eq!(one.next(), "41/a,", "the client learns that it is out");
    let (_, rooms, reason) = told.recv().unwrap();
    assert_eq!((rooms, reason), (0, DisconnectReason::SocketFailed));
    one.send(r#"42/b,1["echo",7]"#);
    assert_eq!(one.next(), "43/b,1[7]", "its session and its other sockets go on");
    other.send(r#"42/a,1["echo",8]"#);
    assert_eq!(other.next(), "43/a,1[8]", "others notice nothing");
    assert_eq!(io.of("/a").socket_count(), 1);
    assert_eq!(stats(&io), (1, 0));
    one.send("40/a,");
    assert!(one.next().starts_with(r#"40/a,{"sid":"#), "it may come back");
}

#[test]
fn the_rooms_of_a_namespace_are_built_anew_and_keep_their_members() {
    let io = Server::builder().build().unwrap();
    io.of("/a")
        .on("crash", async |socket: Socket| {
            let rooms = socket.here().unwrap();
            assert!(rooms.namespace.rooms.call(|_| -> () { panic!("crash") }).is_none());
        })
        .on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
            socket.join(room);
            ack.send(()).ok();
        })
        .on("tell", async |socket: Socket, Data(room): Data<String>| {
            socket.namespace().to(room).emit("told", ()).ok();
        });
    let addr = serve(&io);
    let (mut one, mut other) = (Client::join(addr, "/a"), Client::join(addr, "/a"));
    other.send(r#"42/a,1["join","red"]"#);
    assert_eq!(other.next(), "43/a,1[]");
    one.send(r#"42/a,["crash"]"#);
    one.send(r#"42/a,["tell","red"]"#);
    assert_eq!(other.next(), r#"42/a,["told"]"#);
    assert_eq!(stats(&io), (1, 1));
}

#[test]
fn a_dead_member_of_a_room_is_passed_by() {
    let io = Server::builder().build().unwrap();
    io.of("/a").on_connect(async |socket: Socket| socket.join("red")).on("crash", async |socket: Socket| {
        socket.here().unwrap().crash();
        socket.namespace().to("red").emit("told", ()).ok();
    });
    let addr = serve(&io);
    let (mut one, mut other) = (Client::join(addr, "/a"), Client::join(addr, "/a"));
    one.send(r#"42/a,["crash"]"#);
    assert_eq!(other.next(), r#"42/a,["told"]"#);
    assert_eq!(one.next(), "41/a,");
}
