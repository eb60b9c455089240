//! Changes of a socket by a namespace's middleware take effect when the socket is connected, as in the JavaScript
//! server.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use sociable::testing::TestServer;
use sociable::{Ack, Auth, Failure, Recovery, RoomEvent, Server, ServerBuilder, Socket};
use sociable_tests::{Client, Node, connect, connect_error, event, eventually};

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Login {
    refused: bool,
    waits: bool,
}

type Seen = Arc<Mutex<Vec<String>>>;

/// Returns a server whose middleware changes each socket, and the list of events of rooms and sockets.
fn server(change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (Server, Seen) {
    let io = change(Server::builder()).build().unwrap();
    let seen = Seen::default();
    let note = {
        let seen = Arc::clone(&seen);
        move |text: String| seen.lock().push(text)
    };
    let of_middleware = note.clone();
    io.middleware(move |socket: Socket, Auth(login): Auth<Login>| {
        let (note, server) = (of_middleware.clone(), socket.namespace().clone());
        async move {
            socket.join(["users", "a", "b", "users"]);
            socket.leave("b");
            note(format!("asked {:?}", socket.rooms()));
            socket.on("own", async |ack: Ack| ack.send("heard"));
            socket.on_disconnect({
                let note = note.clone();
                move |_: Socket| {
                    note("left".to_owned());
                    async {}
                }
            });
            socket.set_data(&7).unwrap();
            socket.emit("early", "x").unwrap();
            // The socket is not connected yet, so it gets neither event.
            server.to("users").emit("all", ()).unwrap();
            server.to(socket.id()).emit("own", ()).unwrap();
            server.within("users").sockets_join("too early").unwrap();
            note(format!("found {}", server.within("users").fetch_sockets().await.unwrap().len()));
            socket.disconnect();
            socket.disconnect_and_close();
            if login.waits {
                std::future::pending::<()>().await;
            }
            if login.refused { Err(Failure::new("not you")) } else { Ok(()) }
        }
    });
    io.on_room_event({
        let note = note.clone();
        move |event: &RoomEvent| match event {
            RoomEvent::Join(room, _) if room.len() < 20 => note(format!("join {room}")),
            RoomEvent::Leave(room, _) if room.len() < 20 => note(format!("leave {room}")),
            _ => {}
        }
    });
    io.on_connect(move |socket: Socket| {
        let mut rooms = socket.rooms();
        rooms.retain(|room| room.len() < 20);
        note(format!("connected {rooms:?} {:?}", socket.data::<u8>()));
        async {}
    });
    io.on("ask", async |socket: Socket, ack: Ack| drop(ack.send(socket.rooms().len())));
    (io, seen)
}

#[tokio::test]
async fn socket_enters_rooms_of_its_middleware_when_let_in() {
    for by_polling in [false, true] {
        let (io, seen) = server(|builder| builder);
        let node = Node::start(&io);
        let mut client = if by_polling { Client::polling_session(node.addr).await } else { Client::session(node.addr).await };
        client.send(connect()).await;
        assert_eq!(client.packet().await, event("early", "x"));
        client.joined("/").await;
        assert_eq!(client.ask("ask", ()).await, json!([3]));
        assert_eq!(client.ask("own", ()).await, json!(["heard"]));
        io.to("users").emit("to all", ()).unwrap();
        assert_eq!(client.packet().await, event("to all", ()));
        let told = [r#"asked ["users", "a"]"#, "found 0", "join users", "join a", r#"connected ["users", "a"] Some(7)"#];
        assert_eq!(*seen.lock(), told);
        assert_eq!(io.local_rooms().await.len(), 3);
    }
}

#[tokio::test]
async fn refused_socket_leaves_nothing_behind() {
    let (io, seen) = server(|builder| builder);
    let node = Node::start(&io);
    let mut client = Client::session(node.addr).await;
    for _ in 0..3 {
        client.send(connect().data(json!({ "refused": true }))).await;
        assert_eq!(client.packet().await, event("early", "x"));
        assert_eq!(client.packet().await, connect_error("not you"));
    }
    assert_eq!((io.local_rooms().await.len(), io.room_count(), io.socket_count()), (0, 0, 0));
    assert!(seen.lock().iter().all(|told| told.starts_with("asked") || told.starts_with("found")), "{seen:?}");
}

#[tokio::test]
async fn client_that_leaves_meanwhile_leaves_nothing_behind() {
    let (io, seen) = server(|builder| builder);
    let node = Node::start(&io);
    let mut client = Client::session(node.addr).await;
    client.send(connect().data(json!({ "waits": true }))).await;
    assert_eq!(client.packet().await, event("early", "x"));
    client.tear();
    eventually("the session is gone", || io.session_count() == 0).await;
    assert_eq!((io.local_rooms().await.len(), io.room_count()), (0, 0));
    assert!(!seen.lock().iter().any(|told| told.starts_with("join")), "{seen:?}");
}

#[tokio::test]
async fn other_threads_join_a_socket_before_it_is_connected() {
    let io = Server::builder().build().unwrap();
    io.middleware(async |socket: Socket| {
        let elsewhere = std::thread::spawn({
            let socket = socket.clone();
            move || socket.join("users")
        });
        eventually("the other thread has joined it", || !socket.rooms().is_empty()).await;
        elsewhere.join().unwrap();
    });
    let node = Node::start(&io);
    let mut client = Client::connect(node.addr).await;
    io.to("users").emit("to all", ()).unwrap();
    assert_eq!(client.packet().await, event("to all", ()));
}

#[tokio::test]
async fn room_named_like_an_id_is_refused_in_middleware() {
    let io = Server::builder().build().unwrap();
    io.middleware(async |socket: Socket, Auth(login): Auth<serde_json::Value>| {
        if let Some(room) = login["room"].as_str() {
            socket.join(room);
        }
    });
    let node = Node::start(&io);
    let victim = Client::connect(node.addr).await;
    let mut client = Client::session(node.addr).await;
    client.send(connect().data(json!({ "room": victim.id() }))).await;
    client.joined("/").await;
    assert_eq!((io.stats().private_joins_refused, io.local_rooms().await.len()), (1, 2));
}

#[tokio::test]
async fn recovered_socket_is_changed_by_its_middleware() {
    let io = Server::builder().recovery(Recovery::default().skip_middlewares(false)).build().unwrap();
    io.middleware(async |socket: Socket, Auth(leaves): Auth<Option<serde_json::Value>>| {
        let returns = leaves.is_some_and(|auth| auth.get("leaves").is_some());
        if returns {
            assert!(socket.recovered());
            let mut rooms = socket.rooms();
            rooms.retain(|room| **room != *socket.id().as_str());
            rooms.sort();
            assert_eq!(rooms, ["first", "users"]);
            socket.leave("first");
            socket.join("second");
        } else {
            socket.join(["users", "first"]);
        }
    });
    let server = TestServer::start(&io).unwrap();
    let client = server.connect().await.unwrap();
    io.to("users").emit("n", "1").unwrap();
    assert_eq!(client.expect("n").await.unwrap().data::<String>().unwrap(), "1");
    let lost = client.drop_connection();
    io.to("users").emit("n", "2").unwrap();
    let client = server.client().auth(&serde_json::json!({ "leaves": true })).recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(client.expect("n").await.unwrap().data::<String>().unwrap(), "2");
    for (room, text) in [("first", "not this"), ("second", "3"), ("users", "4")] {
        io.to(room).emit("n", text).unwrap();
    }
    for text in ["3", "4"] {
        assert_eq!(client.expect("n").await.unwrap().data::<String>().unwrap(), text);
    }
    let rooms = io.local_rooms().await;
    assert_eq!((rooms.len(), rooms.contains_key("first")), (3, false));
}

#[tokio::test]
async fn disconnect_in_a_middleware_leaves_recovery_alone() {
    let (io, _) = server(|builder| builder.recovery(Recovery::default()));
    let server = TestServer::start(&io).unwrap();
    let client = server.connect().await.unwrap();
    io.to("users").emit("n", "1").unwrap();
    client.expect("n").await.unwrap();
    let lost = client.drop_connection();
    io.to("users").emit("n", "2").unwrap();
    let client = server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(client.expect("n").await.unwrap().data::<String>().unwrap(), "2");
}

#[tokio::test]
async fn connect_handler_of_a_socket_runs_once_when_let_in() {
    let io = Server::builder().build().unwrap();
    let ran = Seen::default();
    let note = Arc::clone(&ran);
    io.middleware(move |socket: Socket, Auth(login): Auth<Login>| {
        socket.join("red");
        let note = Arc::clone(&note);
        socket.on_connect(move |socket: Socket| {
            note.lock().push(format!("{} {}", socket.is_connected(), socket.rooms().len()));
            // The socket is in, so this does nothing.
            socket.on_connect(async |socket: Socket| socket.leave("red"));
            std::future::ready(socket.to("none").emit("x", ()))
        });
        std::future::ready(if login.refused { Err(Failure::new("not you")) } else { Ok(()) })
    });
    let first = Arc::clone(&ran);
    io.on_connect(move |_: Socket| std::future::ready(first.lock().push("of the namespace".into())));
    let server = TestServer::start(&io).unwrap();
    server.client().auth(&json!({ "refused": true })).connect().await.unwrap_err();
    assert!(ran.lock().is_empty());
    server.connect().await.unwrap().sync().await.unwrap();
    assert_eq!(*ran.lock(), ["of the namespace", "true 2"]);
    assert_eq!(io.stats().handler_panics, 0);
}
