//! Rooms whose names a hostile client chooses.

use serde_json::json;
use sociable::{Ack, Data, Server, ServerBuilder, Socket};
use sociable_tests::{Client, Node, event};

/// A server whose clients choose the rooms that they join and leave.
fn start(options: impl Fn(ServerBuilder) -> ServerBuilder) -> (Server, Node) {
    let io = options(Server::builder()).build().unwrap();
    io.on("join", async |socket: Socket, Data(rooms): Data<Vec<String>>, ack: Ack| {
        socket.join(rooms);
        let rooms = socket.rooms();
        ack.send(&rooms)
    });
    io.on("leave", async |socket: Socket, Data(rooms): Data<Vec<String>>, ack: Ack| {
        socket.leave(rooms);
        let rooms = socket.rooms();
        ack.send(&rooms)
    });
    let node = Node::start(&io);
    (io, node)
}

#[tokio::test]
async fn socket_gets_no_event_of_another_sockets_room() {
    let (io, node) = start(|options| options);
    let mut clients = Client::connect_many(node.addr, 2).await;
    let [victim, spy] = &mut clients[..] else { panic!("two clients") };
    let (of_victim, of_spy) = (victim.id().to_owned(), spy.id().to_owned());
    for name in [of_victim.clone(), format!("/#{of_victim}"), "AbCdEfGhIjKlMnOpQrSt".into()] {
        assert_eq!(spy.ask("join", json!([[name, "red"]])).await, json!([["red", of_spy]]));
    }
    io.within("red").sockets_join(&*of_victim).unwrap();
    io.to(&*of_victim).emit("secret", ()).unwrap();
    io.emit("last", ()).unwrap();
    assert_eq!(spy.packets_until(event("last", ())).await, []);
    assert_eq!(victim.packets_until(event("last", ())).await, [event("secret", ())]);
    assert_eq!(io.stats().private_joins_refused, 4);
    assert_eq!(spy.ask("join", json!([[of_spy]])).await, json!([["red", of_spy]]), "its own is no other's");
    assert_eq!(io.stats().private_joins_refused, 4);
}

#[tokio::test]
async fn rooms_of_others_are_joined_up_to_the_limit() {
    let (io, node) = start(|options| options.max_private_rooms(2));
    let mut clients = Client::connect_many(node.addr, 3).await;
    let [victim, spy, other] = &mut clients[..] else { panic!("three clients") };
    let (of_victim, of_spy, of_other) = (victim.id().to_owned(), spy.id().to_owned(), other.id().to_owned());
    let names: Vec<_> = (0..1_000).map(|n| format!("{n:020}")).collect();
    let joined = spy.ask("join", json!([[of_victim, of_victim, of_victim]])).await;
    assert_eq!(joined, json!([[of_victim, of_spy]]));
    assert_eq!(spy.ask("join", json!([names])).await, json!([[of_victim, names[0], of_spy]]));
    assert_eq!(io.stats().private_joins_refused, 999);
    assert_eq!(other.ask("join", json!([names])).await, json!([[of_other]]));
    io.to(&*of_victim).emit("shared", ()).unwrap();
    io.emit("last", ()).unwrap();
    assert_eq!(spy.packets_until(event("last", ())).await, [event("shared", ())]);
    // Leaving a room makes room for another.
    assert_eq!(spy.ask("leave", json!([[of_victim, "nowhere", names[7]]])).await, json!([[names[0], of_spy]]));
    other.packets_until(event("last", ())).await;
    assert_eq!(other.ask("join", json!([[names[3], names[4]]])).await, json!([[names[3], of_other]]));
}

#[tokio::test]
async fn many_rooms_are_left_in_any_order() {
    let (io, node) = start(|options| options);
    let mut client = Client::connect(node.addr).await;
    let own = client.id().to_owned();
    let names: Vec<_> = (0..2_000).map(|n| format!("room {n}")).collect();
    client.ask("join", json!([names])).await;
    let (gone, left): (Vec<_>, Vec<_>) = names.iter().cloned().enumerate().partition(|(n, _)| n % 7 != 0);
    let gone: Vec<_> = gone.into_iter().map(|(_, name)| name).rev().collect();
    let left: Vec<_> = left.into_iter().map(|(_, name)| name).chain([own.clone()]).collect();
    assert_eq!(client.ask("leave", json!([gone])).await, json!([left]));
    assert_eq!(io.room_count(), left.len() - 1);
    assert_eq!(client.ask("leave", json!([names])).await, json!([[own]]));
    assert_eq!(io.room_count(), 0);
}
