//! Rooms, broadcasts over worker threads, and what can be asked of all sockets.

use std::future::ready;
use std::time::Duration;

use serde_json::json;
use sociable::protocol::Id;
use sociable::{Ack, AckError, Data, RawArgs, RoomEvent, Server, Socket};
use sociable_tests::{Client, Node, Packet, ack, disconnect, event, eventually, note, patience, within};

/// A server whose clients join and leave rooms by events.
fn start(workers: usize) -> (Server, Node) {
    let io = Server::builder().max_private_rooms(7).build().unwrap();
    io.on("join", async |socket: Socket, Data(rooms): Data<Vec<String>>, ack: sociable::Ack| {
        socket.join(rooms);
        ack.send(())
    });
    io.on("leave", async |socket: Socket, Data(rooms): Data<Vec<String>>, ack: sociable::Ack| {
        socket.leave(rooms);
        ack.send(())
    });
    io.on("echo", async |args: RawArgs, ack: sociable::Ack| ack.send(args));
    let node = Node::raw(&io, workers);
    (io, node)
}

/// Clients in these rooms.
async fn clients<const N: usize>(node: &Node, rooms: [&[&str]; N]) -> [Client; N] {
    let mut clients = vec![];
    for rooms in rooms {
        let mut client = Client::connect(node.addr).await;
        client.ask("join", json!([rooms])).await;
        clients.push(client);
    }
    clients.try_into().unwrap()
}

/// Ends a test: everybody gets one last event, and this gives what each got before it.
async fn heard(io: &Server, clients: &mut [Client]) -> Vec<Vec<Packet>> {
    io.emit("last", ()).unwrap();
    let mut heard = vec![];
    for client in clients {
        heard.push(client.packets_until(event("last", ())).await);
    }
    heard
}

/// The names of the events that each got.
async fn names(io: &Server, clients: &mut [Client]) -> Vec<String> {
    heard(io, clients).await.iter().map(|packets| packets.iter().map(Packet::name).collect::<Vec<_>>().join(" ")).collect()
}

fn ids(clients: &[Client]) -> Vec<Id> {
    clients.iter().map(|client| Id::try_from(client.id()).unwrap()).collect()
}

#[tokio::test]
async fn broadcast_reaches_each_target_once() {
    for workers in [1, 2, 4] {
        let (io, node) = start(workers);
        let mut clients = clients(&node, [&["red"], &["red", "blue"], &["blue"], &["green", "red", "blue"], &[]]).await;
        io.emit("all", ()).unwrap();
        io.to("red").emit("red", ()).unwrap();
        io.to("red").to("blue").emit("either", ()).unwrap();
        io.within(["red", "blue", "green"]).emit("any", ()).unwrap();
        io.to("red").except("blue").emit("only-red", ()).unwrap();
        io.except(["red", "blue"]).emit("neither", ()).unwrap();
        io.to("nobody").emit("nobody", ()).unwrap();
        io.to("red").except("red").emit("nobody", ()).unwrap();
        io.local().emit("local", ()).unwrap();
        io.to("blue").local().compress(false).emit("local-blue", ()).unwrap();
        let expected = [
            "all red either any only-red local",
            "all red either any local local-blue",
            "all either any local local-blue",
            "all red either any local local-blue",
            "all neither local",
        ];
        assert_eq!(names(&io, &mut clients).await, expected);
    }
}

#[tokio::test]
async fn broadcast_operator_is_unchanged_by_its_use() {
    let (io, node) = start(2);
    let mut clients = clients(&node, [&["red"], &["blue"]]).await;
    let red = io.to("red");
    let both = red.clone().to("blue");
    red.clone().except("red").emit("nobody", ()).unwrap();
    both.emit("both", ()).unwrap();
    red.emit("red", ()).unwrap();
    assert_eq!(names(&io, &mut clients).await, ["both red", "both"]);
}

#[tokio::test]
async fn socket_broadcasts_to_others() {
    let (io, node) = start(2);
    io.on("go", async |socket: Socket, ack: sociable::Ack| {
        socket.broadcast().emit("others", ())?;
        socket.to("red").emit("red", ())?;
        socket.within(["red", "blue"]).emit("either", ())?;
        socket.except("red").emit("not-red", ())?;
        socket.local().emit("local", ())?;
        socket.to(socket.id()).emit("nobody", ())?;
        socket.namespace().to(socket.id()).emit("myself", ())?;
        ack.send(())
    });
    let mut clients = clients(&node, [&["red"], &["red", "blue"], &["blue"], &[]]).await;
    clients[0].send(event("go", ()).id(0)).await;
    assert_eq!(clients[0].packet().await, event("myself", ()));
    assert_eq!(clients[0].packet().await, ack(0, ()));
    let expected = ["", "others red either local", "others either not-red local", "others not-red local"];
    assert_eq!(names(&io, &mut clients).await, expected);
}

#[tokio::test]
async fn socket_id_is_a_room_on_every_thread() {
    for workers in [1, 2, 4] {
        let (io, node) = start(workers);
        let mut clients = Client::connect_many(node.addr, 8).await;
        let ids = ids(&clients);
        let homes = ids.iter().map(|id| id.shard(workers)).collect::<std::collections::HashSet<_>>();
        assert_eq!(homes.len(), workers, "the clients are on all workers");
        for (n, id) in ids.iter().enumerate() {
            io.to(*id).emit(&format!("to-{n}"), ()).unwrap();
            io.except(id.as_str()).emit(&format!("not-{n}"), ()).unwrap();
        }
        let expected: Vec<_> = (0..8)
            .map(|me| (0..8).map(|n| if n == me { format!("to-{n}") } else { format!("not-{n}") }).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(names(&io, &mut clients).await, expected);
    }
}

#[tokio::test]
async fn room_may_have_the_id_of_another_socket() {
    let (io, node) = start(4);
    let mut clients = Client::connect_many(node.addr, 8).await;
    let first = clients[0].id().to_owned();
    for client in &mut clients[1..] {
        client.ask("join", json!([[first]])).await;
    }
    io.to(first.as_str()).emit("guests", ()).unwrap();
    assert_eq!(names(&io, &mut clients).await, ["guests"; 8]);
    for client in &mut clients[1..] {
        client.ask("leave", json!([[first]])).await;
    }
    io.to(first.as_str()).emit("alone", ()).unwrap();
    let mut expected = vec![""; 8];
    expected[0] = "alone";
    assert_eq!(names(&io, &mut clients).await, expected);
}

#[tokio::test]
async fn joined_socket_gets_broadcasts_of_other_threads() {
    let (io, node) = start(4);
    io.on("tell", async |socket: Socket| socket.to("room").emit("told", ()));
    for round in 0..50 {
        let [mut a, mut b] = clients(&node, [&[], &[]]).await;
        // The answer to a join says that it is done; whatever is sent to the room after that comes.
        a.ask("join", json!([["room"]])).await;
        b.emit("tell", ()).await;
        assert_eq!(a.packet().await, event("told", ()), "round {round}");
        a.ask("leave", json!([["room"]])).await;
    }
}

#[tokio::test]
async fn server_side_join_precedes_the_next_emit() {
    let (io, node) = start(4);
    let mut clients = Client::connect_many(node.addr, 8).await;
    for round in 0..20 {
        let room = format!("room-{round}");
        io.sockets_join(room.as_str()).unwrap();
        io.to(room.as_str()).emit("in", ()).unwrap();
        io.sockets_leave(room).unwrap();
        io.to(format!("room-{round}")).emit("out", ()).unwrap();
    }
    assert_eq!(names(&io, &mut clients).await, vec![["in"; 20].join(" "); 8]);
}

#[tokio::test]
async fn room_events_come_in_order() {
    let (io, node) = start(2);
    let (events, note) = note();
    io.of("/r").on_room_event(move |what| note(what.clone()));
    io.of("/r").on("join", async |socket: Socket, Data(room): Data<String>| socket.join(room));
    io.of("/r").on("leave", async |socket: Socket, Data(room): Data<String>| socket.leave(room));
    let mut client = Client::session(node.addr).await;
    client.join("/r").await;
    for (what, room) in [("join", "a"), ("join", "a"), ("join", "b"), ("leave", "nowhere"), ("leave", "a")] {
        client.send(event(what, room).of("/r")).await;
    }
    let mut other = Client::session(node.addr).await;
    eventually("all events are recorded", || events.lock().unwrap().len() == 8).await;
    other.join("/r").await;
    other.send(event("join", "b").of("/r")).await;
    eventually("the socket has joined", || events.lock().unwrap().len() == 11).await;
    client.send(disconnect().of("/r")).await;
    eventually("the first has left", || events.lock().unwrap().len() == 14).await;
    other.tear();
    eventually("so has the second", || events.lock().unwrap().len() == 18).await;

    use RoomEvent::{Create, Delete, Join, Leave};
    let (first, second) = (client.id_in("/r"), {
        let events = events.lock().unwrap();
        let Join(_, id) = &events[9] else { panic!("{events:?}") };
        *id
    });
    let (own, a, b, own2) = (|| first.into(), || "a".into(), || "b".into(), || second.as_str().into());
    let first = Id::try_from(first).unwrap();
    let expected = [
        Create(own()),
        Join(own(), first),
        Create(a()),
        Join(a(), first),
        Create(b()),
        Join(b(), first),
        Leave(a(), first),
        Delete(a()),
        Create(own2()),
        Join(own2(), second),
        Join(b(), second),
        Leave(b(), first),
        Leave(own(), first),
        Delete(own()),
        Leave(b(), second),
        Delete(b()),
        Leave(own2(), second),
        Delete(own2()),
    ];
    assert_eq!(*events.lock().unwrap(), expected);
}

#[tokio::test]
async fn room_is_counted_over_all_threads() {
    let (io, node) = start(4);
    let (events, event) = note();
    io.on_room_event(move |what| match what {
        RoomEvent::Create(room) if room == "shared" => event("create"),
        RoomEvent::Delete(room) if room == "shared" => event("delete"),
        _ => {}
    });
    let mut clients = Client::connect_many(node.addr, 8).await;
    for client in &mut clients {
        client.ask("join", json!([["shared"]])).await;
    }
    let rooms = io.local_rooms().await;
    assert_eq!((rooms.len(), rooms["shared"]), (9, 8));
    assert_eq!((io.to("shared").local_count().await, io.local().local_count().await), (8, 8));
    let (own, other) = (clients[0].id().to_owned(), clients[1].id().to_owned());
    assert_eq!(io.to(&*own).to("shared").except(&*other).local_count().await, 7);
    assert_eq!((io.to([&*own, "none"]).local_count().await, io.except("shared").local_count().await), (1, 0));
    let named = async |prefix| io.local_rooms_with_prefix(prefix).await.into_keys().collect::<Vec<_>>();
    assert_eq!((named("").await, named("sh").await, named("x").await.len()), (vec!["shared".into()], vec!["shared".into()], 0));
    assert!(io.namespace("/none").is_none() && io.namespace("").is_some());
    for client in &mut clients {
        client.ask("leave", json!([["shared"]])).await;
    }
    assert_eq!(*events.lock().unwrap(), ["create", "delete"]);
    drop(clients);
    eventually("all sockets have left", || io.socket_count() == 0).await;
    assert!(io.local_rooms().await.is_empty());
}

#[tokio::test]
async fn room_count_holds_when_a_listener_leaves_the_room() {
    let (io, node) = start(1);
    let (events, event) = note();
    let at = io.clone();
    io.on_room_event(move |what| match what {
        RoomEvent::Join(room, id) if room == "a" => at.to(id).sockets_leave("b").unwrap(),
        RoomEvent::Create(room) if room == "b" => event("create"),
        RoomEvent::Delete(room) if room == "b" => event("delete"),
        _ => {}
    });
    let [_first, mut second] = clients(&node, [&["a", "b"], &[]]).await;
    events.lock().unwrap().clear();
    second.ask("join", json!([["b"]])).await;
    second.ask("leave", json!([["b"]])).await;
    assert_eq!(*events.lock().unwrap(), ["create", "delete"]);
}

#[tokio::test]
async fn fetched_sockets_can_be_acted_on() {
    let (io, node) = start(4);
    io.on_connect(async |socket: Socket| socket.set_data(&json!({"n": 7})).map_err(|error| error.to_string()));
    let mut clients = clients(&node, [&["red"], &["red", "blue"], &["blue"], &[]]).await;
    let all = io.fetch_sockets().await.unwrap();
    assert_eq!(all.len(), 4);
    let red = io.within("red").except("blue").fetch_sockets().await.unwrap();
    assert_eq!(red.len(), 1);
    assert_eq!(red[0].id().as_str(), clients[0].id());
    let mut rooms: Vec<_> = red[0].rooms().iter().map(ToString::to_string).collect();
    rooms.sort_by_key(|room| room != "red");
    assert_eq!(rooms, ["red", clients[0].id()]);
    assert_eq!(red[0].data_as::<serde_json::Value>(), Some(json!({"n": 7})));
    assert_eq!((red[0].url(), red[0].address()), ("/socket.io/?EIO=4&transport=websocket", "127.0.0.1"));
    assert_eq!(red[0].query().count(), 2);
    assert!(io.to("nobody").fetch_sockets().await.unwrap().is_empty());

    // An action on a fetched socket reaches it on any thread.
    red[0].emit("hello", ()).unwrap();
    red[0].join("green").unwrap();
    io.to("green").emit("green", ()).unwrap();
    red[0].leave("green").unwrap();
    io.to("green").emit("nobody", ()).unwrap();
    io.within("blue").sockets_join(["x", "y"]).unwrap();
    io.within("x").except("red").sockets_leave("y").unwrap();
    io.to("x").emit("x", ()).unwrap();
    io.to("y").emit("y", ()).unwrap();
    assert_eq!(names(&io, &mut clients).await, ["hello green", "x y", "x", ""]);

    io.within("blue").disconnect_sockets(false).unwrap();
    red[0].disconnect(true).unwrap();
    assert_eq!(clients[1].packet().await, disconnect());
    assert_eq!(clients[2].packet().await, disconnect());
    assert_eq!(clients[0].rest().await, [disconnect()]);
    eventually("one socket is left", || io.socket_count() == 1).await;
    eventually("three have their connection", || io.session_count() == 3).await;
    let left = io.fetch_sockets().await.unwrap();
    assert_eq!(left[0].id().as_str(), clients[3].id());
    io.disconnect_sockets(true).unwrap();
    assert_eq!(clients[3].rest().await, [disconnect()]);
}

#[tokio::test]
async fn broadcast_with_ack_gathers_all_answers() {
    let (io, node) = start(4);
    assert!(io.emit_with_ack("nobody", ()).await.unwrap().is_empty(), "no client is asked, so the answers end at once");
    let mut clients = Client::connect_many(node.addr, 6).await;
    let asked = tokio::spawn(io.timeout(patience()).emit_with_ack("q", 1));
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.packet().await, event("q", 1).id(1));
        client.send(ack(1, json!([n, "more"]))).await;
        client.send(ack(1, 99)).await;
    }
    let replies = within("the replies", asked).await.unwrap().unwrap();
    let mut got: Vec<_> = replies.iter().map(|reply| (reply.args.decode::<usize>(0).unwrap(), reply.id, reply.args.len())).collect();
    got.sort_by_key(|reply| reply.0);
    assert_eq!(got, ids(&clients).into_iter().enumerate().map(|(n, id)| (n, id, 2)).collect::<Vec<_>>());
}

#[tokio::test]
async fn broadcast_ack_error_lists_missing_answers() {
    let (io, node) = start(4);
    let mut clients = Client::connect_many(node.addr, 6).await;
    let asked = tokio::spawn(io.timeout(patience() / 10).emit_with_ack("q", ()));
    for (n, client) in clients.iter_mut().enumerate() {
        client.packet().await;
        if n % 2 == 0 {
            client.send(ack(0, n)).await;
        }
    }
    let error = within("the end of it", asked).await.unwrap().unwrap_err();
    assert_eq!(error.reason, AckError::Timeout);
    assert_eq!(error.to_string(), "operation has timed out");
    let ids = ids(&clients);
    let (mut answered, mut missing): (Vec<_>, Vec<_>) = (error.replies.iter().map(|reply| reply.id).collect(), error.missing.clone());
    answered.sort();
    missing.sort();
    let sorted = |wanted: usize| {
        let mut ids: Vec<_> = ids.iter().enumerate().filter(|(n, _)| n % 2 == wanted).map(|(_, id)| *id).collect();
        ids.sort();
        ids
    };
    assert_eq!((answered, missing), (sorted(0), sorted(1)));
    assert_eq!(io.stats().acks_timed_out, 1);
    // Late answers are ignored.
    for client in clients.iter_mut().skip(1).step_by(2) {
        client.send(ack(0, 0)).await;
        client.ask("echo", 1).await;
    }
    assert_eq!(io.stats().acks_unexpected, 3);
}

#[tokio::test]
async fn broadcast_ack_does_not_wait_for_a_leaving_socket() {
    let (io, node) = start(4);
    let mut clients = Client::connect_many(node.addr, 4).await;
    let asked = tokio::spawn(io.timeout(patience() * 4).emit_with_ack("q", ()));
    for client in &mut clients {
        client.packet().await;
    }
    let gone = ids(&clients)[..2].to_vec();
    clients.remove(0).tear();
    clients.remove(0).send(disconnect()).await;
    for client in &mut clients {
        client.send(ack(0, ())).await;
    }
    let error = within("the end of it", asked).await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.replies.len()), (AckError::Disconnected, 2));
    let mut missing = error.missing;
    missing.sort_by_key(|id| gone.iter().position(|other| other == id));
    assert_eq!(missing, gone);
}

#[tokio::test]
async fn ack_timeout_has_a_default() {
    let io = Server::builder().ack_timeout(Duration::from_millis(30)).build().unwrap();
    let node = Node::start(&io);
    let _client = Client::connect(node.addr).await;
    assert_eq!(io.emit_with_ack("q", ()).await.unwrap_err().reason, AckError::Timeout);
    assert_eq!(io.to("nobody").emit_with_ack("q", ()).await.unwrap(), []);
}

#[tokio::test]
async fn server_side_emit_reaches_nobody_on_a_single_node() {
    let (io, node) = start(2);
    let (heard, hear) = note();
    io.on_server_event("e", move || ready(hear(())));
    assert_eq!(io.server_side_emit_with_ack("e", 1).await.unwrap(), vec![]);
    io.server_side_emit("e", 1).unwrap();
    for name in ["connect", "connection", "new_namespace"] {
        assert_eq!(io.server_side_emit(name, ()).unwrap_err().to_string(), format!("event name \"{name}\" is reserved: choose another"));
    }
    assert_eq!(io.server_count().await, 1);
    Client::connect(node.addr).await.ask("echo", 1).await;
    assert!(heard.lock().unwrap().is_empty(), "not even itself");
}

#[tokio::test]
async fn broadcasts_keep_their_order_on_every_thread() {
    for workers in [1, 2, 4] {
        let (io, node) = start(workers);
        io.on("publish", async |socket: Socket, server: Server| {
            let everyone = server.fetch_sockets().await.map_err(|error| error.to_string())?;
            for n in 0..100 {
                server.emit("all", n).map_err(|error| error.to_string())?;
                for other in &everyone {
                    other.emit("one", n).map_err(|error| error.to_string())?;
                }
                socket.to("room").emit("room", n).map_err(|error| error.to_string())?;
            }
            server.emit("last", ()).map_err(|error| error.to_string())
        });
        let mut clients = clients(&node, [&["room"]; 8]).await;
        clients[0].emit("publish", ()).await;
        for (place, client) in clients.iter_mut().enumerate() {
            let kinds: &[&str] = if place == 0 { &["all", "one"] } else { &["all", "one", "room"] };
            let expected: Vec<_> = (0..100).flat_map(|n| kinds.iter().map(move |kind| event(kind, n))).collect();
            assert_eq!(client.packets_until(event("last", ())).await, expected);
        }
    }
}

#[tokio::test]
async fn pattern_reaches_rooms_of_all_its_namespaces() {
    let io = Server::builder().build().unwrap();
    let rooms = io.of_pattern(regex::Regex::new(r"^/room-\d$").unwrap());
    rooms.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.join(room);
        ack.send(())
    });
    let node = Node::start(&io);
    let mut clients = vec![];
    for (namespace, room) in [("/room-1", "red"), ("/room-2", "red"), ("/room-2", "blue")] {
        let mut client = Client::session(node.addr).await;
        client.join(namespace).await;
        client.send(event("join", room).of(namespace).id(1)).await;
        assert_eq!(client.packet().await, ack(1, ()).of(namespace));
        clients.push(client);
    }
    rooms.to("red").emit("news", 1).unwrap();
    rooms.to("red").to("blue").except("red").emit("rest", 2).unwrap();
    assert_eq!(clients[0].packet().await, event("news", 1).of("/room-1"));
    assert_eq!(clients[1].packet().await, event("news", 1).of("/room-2"));
    assert_eq!(clients[2].packet().await, event("rest", 2).of("/room-2"));
}
