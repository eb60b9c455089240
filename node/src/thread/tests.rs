//! The deaths of actors on a running server. Only unit tests can cause them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;

use actix_web::App;
use sociable_protocol::websocket::{Payload, payloads};

use super::namespace_actor::{BreakRoom, Crash};
use crate::{Ack, CloseReason, Data, DisconnectReason, Server, Socket};

/// Starts a server on its own thread, which runs until the tests end.
fn serve(io: &Server) -> SocketAddr {
    let (sender, receiver) = mpsc::channel();
    let io = io.clone();
    std::thread::spawn(move || {
        let service = io.service();
        let server = io.serve(move || App::new().service(service.clone())).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        sender.send(server.addrs()[0]).unwrap();
        actix_rt::System::new().block_on(server.run()).unwrap();
    });
    receiver.recv().unwrap()
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
        let name = if namespace == "/" { String::new() } else { format!("{namespace},") };
        client.send(&format!("40{name}"));
        assert!(client.next().starts_with(&format!("40{name}")));
        client
    }
}

/// Returns the numbers of actors that died and that were restarted.
fn deaths(io: &Server) -> (u64, u64) {
    let stats = io.stats();
    (stats.actors_died, stats.actors_restarted)
}

/// Returns the last death on the server's thread: kind, cause and directive.
fn last_death(io: &Server) -> (&'static str, String, &'static str) {
    let death = io.inner.engine().workers()[0].actors().last_deaths().pop().unwrap();
    (death.kind.name(), death.cause, death.directive.as_str())
}

/// Adds handlers by which a test joins rooms, sends to them, and breaks them.
fn with_rooms(io: &Server) {
    io.of("/a")
        .on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
            socket.join(room);
            ack.send(()).ok();
        })
        .on("leave", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
            socket.leave(room);
            ack.send(()).ok();
        })
        .on("broadcast", async |socket: Socket, Data(rooms): Data<Vec<String>>| {
            socket.namespace().to(rooms).emit("news", ()).ok();
        })
        .on("break", async |socket: Socket| {
            socket.here().unwrap().namespace.send(BreakRoom("red"));
        })
        .on("crash", async |socket: Socket| {
            assert!(socket.here().unwrap().namespace.send(Crash).is_none());
        });
}

fn join(client: &mut Client, room: &str) {
    client.send(&format!(r#"42/a,1["join","{room}"]"#));
    assert_eq!(client.next(), "43/a,1[]");
}

#[test]
fn dead_socket_is_ended_alone() {
    let io = Server::builder().build().unwrap();
    let (sender, receiver) = mpsc::channel();
    for name in ["/a", "/b"] {
        let sender = sender.clone();
        io.of(name)
            .on("crash", async |socket: Socket| socket.here().unwrap().crash())
            .on("echo", async |Data(value): Data<u32>, ack: Ack| drop(ack.send(value)))
            .on_disconnect(move |socket: Socket, reason: DisconnectReason| {
                sender.send((socket.id(), socket.rooms().len(), reason)).unwrap();
                std::future::ready(())
            });
    }
    let addr = serve(&io);
    let (mut one, mut other) = (Client::join(addr, "/a"), Client::join(addr, "/a"));
    one.send("40/b,");
    one.next();
    one.send(r#"42/a,["crash"]"#);
    assert_eq!(one.next(), "41/a,", "the client gets a disconnect packet");
    let (_, rooms, reason) = receiver.recv().unwrap();
    assert_eq!((rooms, reason), (0, DisconnectReason::SocketFailed));
    one.send(r#"42/b,1["echo",7]"#);
    assert_eq!(one.next(), "43/b,1[7]", "its session and its other sockets are unaffected");
    other.send(r#"42/a,1["echo",8]"#);
    assert_eq!(other.next(), "43/a,1[8]", "others are unaffected");
    assert_eq!(io.of("/a").socket_count(), 1);
    assert_eq!((deaths(&io), last_death(&io)), ((1, 0), ("socket", "crash".into(), "stop")));
    one.send("40/a,");
    assert!(one.next().starts_with(r#"40/a,{"sid":"#), "the client may rejoin");
}

#[test]
fn broadcast_skips_a_socket_that_dies_of_it() {
    let io = Server::builder().build().unwrap();
    io.of("/a").on_connect(async |socket: Socket| socket.join("red")).on("break", async |socket: Socket| {
        socket.here().unwrap().break_actor();
        socket.namespace().to("red").emit("news", ()).ok();
    });
    let addr = serve(&io);
    let (mut one, mut other) = (Client::join(addr, "/a"), Client::join(addr, "/a"));
    one.send(r#"42/a,["break"]"#);
    assert_eq!(other.next(), r#"42/a,["news"]"#);
    assert_eq!(one.next(), "41/a,", "its client gets a disconnect packet");
    assert_eq!((deaths(&io), last_death(&io)), ((1, 0), ("socket", "crash".into(), "stop")));
    assert_eq!((io.of("/a").socket_count(), io.of("/a").room_count()), (1, 1));
}

#[test]
fn room_is_counted_right_when_a_join_or_leave_kills_it() {
    let io = Server::builder().build().unwrap();
    with_rooms(&io);
    let addr = serve(&io);
    let (mut one, mut other) = (Client::join(addr, "/a"), Client::join(addr, "/a"));
    join(&mut one, "red");
    other.send(r#"42/a,["break"]"#);
    join(&mut other, "red");
    assert_eq!(last_death(&io).0, "room");
    one.send(r#"42/a,["broadcast",["red"]]"#);
    assert_eq!(one.next(), r#"42/a,["news"]"#, "members are kept");
    one.send(r#"42/a,["break"]"#);
    one.send(r#"42/a,1["leave","red"]"#);
    assert_eq!(one.next(), "43/a,1[]");
    assert_eq!((deaths(&io), io.of("/a").room_count()), ((2, 2), 1), "a failed leave keeps the member");
    one.send("41/a,");
    while io.of("/a").room_count() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(io.of("/a").socket_count(), 1);
}

#[test]
fn dead_room_is_rebuilt_with_its_members() {
    let io = Server::builder().build().unwrap();
    with_rooms(&io);
    let addr = serve(&io);
    let (mut one, mut other) = (Client::join(addr, "/a"), Client::join(addr, "/a"));
    join(&mut one, "red");
    join(&mut other, "blue");
    one.send(r#"42/a,["break"]"#);
    one.send(r#"42/a,["broadcast",["red","blue"]]"#);
    assert_eq!(other.next(), r#"42/a,["news"]"#, "the other room gets the broadcast");
    assert_eq!((deaths(&io), last_death(&io)), ((1, 1), ("room", "crash".into(), "restart")));
    other.send(r#"42/a,["broadcast",["red"]]"#);
    assert_eq!(one.next(), r#"42/a,["news"]"#, "the room has its member");
    assert_eq!(io.of("/a").room_count(), 2);
}

#[test]
fn namespace_is_restarted_when_its_rooms_die_too_often() {
    let io = Server::builder().build().unwrap();
    with_rooms(&io);
    let addr = serve(&io);
    let mut one = Client::join(addr, "/a");
    join(&mut one, "red");
    for _ in 0..6 {
        one.send(r#"42/a,["break"]"#);
        one.send(r#"42/a,["broadcast",["red"]]"#);
    }
    one.send(r#"42/a,["broadcast",["red"]]"#);
    assert_eq!(one.next(), r#"42/a,["news"]"#, "the room has its member");
    assert_eq!(deaths(&io), (7, 6), "six rooms and the namespace died; five rooms and the namespace were restarted");
    assert_eq!(last_death(&io), ("namespace", "too many rooms died".into(), "restart"));
}

#[test]
fn dead_namespace_is_restarted_with_sockets_and_rooms() {
    let io = Server::builder().build().unwrap();
    with_rooms(&io);
    let addr = serve(&io);
    let (mut one, mut other) = (Client::join(addr, "/a"), Client::join(addr, "/a"));
    join(&mut other, "red");
    one.send(r#"42/a,["broadcast",["red"]]"#);
    assert_eq!(other.next(), r#"42/a,["news"]"#);
    one.send(r#"42/a,["crash"]"#);
    one.send(r#"42/a,["broadcast",["red"]]"#);
    assert_eq!(other.next(), r#"42/a,["news"]"#);
    assert_eq!((deaths(&io), last_death(&io)), ((1, 1), ("namespace", "crash".into(), "restart")));
    assert_eq!(io.of("/a").room_count(), 1);
}

#[test]
fn namespace_ends_its_sockets_when_it_dies_too_often() {
    let io = Server::builder().build().unwrap();
    with_rooms(&io);
    let addr = serve(&io);
    let (mut one, mut other) = (Client::join(addr, "/a"), Client::connect(addr));
    for _ in 0..6 {
        one.send(r#"42/a,["crash"]"#);
    }
    assert_eq!(one.next(), "41/a,", "the client gets a disconnect packet");
    assert_eq!(last_death(&io), ("namespace", "crash".into(), "stop"));
    other.send("40/a,");
    assert!(other.next().starts_with("40/a,"), "others may join");
}

#[test]
fn dead_session_ends_alone_with_its_sockets() {
    let io = Server::builder().build().unwrap();
    let (sender, receiver) = mpsc::channel();
    io.on("crash", async |socket: Socket| {
        let session = std::rc::Rc::clone(&socket.here().unwrap().session);
        actix_rt::spawn(async move { session.crash() });
    })
    .on("echo", async |Data(value): Data<u32>, ack: Ack| drop(ack.send(value)))
    .on_disconnect(move |reason: DisconnectReason| {
        sender.send(reason).unwrap();
        std::future::ready(())
    });
    let addr = serve(&io);
    let (mut one, mut other) = (Client::join(addr, "/"), Client::join(addr, "/"));
    one.send(r#"42["crash"]"#);
    assert_eq!(receiver.recv().unwrap(), DisconnectReason::Session(CloseReason::SessionFailed));
    other.send(r#"421["echo",8]"#);
    assert_eq!(other.next(), "431[8]", "others are unaffected");
    assert_eq!((io.session_count(), io.stats().sessions_failed), (1, 1));
    assert_eq!((deaths(&io), last_death(&io)), ((1, 0), ("session", "crash".into(), "stop")));
}

#[test]
fn worker_survives_a_call_that_panics() {
    let io = Server::builder().build().unwrap();
    io.on("echo", async |Data(value): Data<u32>, ack: Ack| drop(ack.send(value)));
    let mut one = Client::join(serve(&io), "/");
    let (sender, receiver) = mpsc::channel();
    io.inner.engine().call(0, 0, |_| panic!("crash")).unwrap();
    io.inner.engine().call(0, 0, move |_| sender.send(()).unwrap()).unwrap();
    receiver.recv().unwrap();
    one.send(r#"421["echo",8]"#);
    assert_eq!(one.next(), "431[8]");
    assert_eq!((deaths(&io), last_death(&io)), ((1, 1), ("worker", "crash".into(), "restart")));
}
