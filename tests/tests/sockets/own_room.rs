//! Sockets that have left the room of their own id. Broadcasts to the id no longer reach them.

use super::*;
use sociable::RoomEvent;
use sociable::protocol::Id;

/// A server whose clients move between rooms, and are greeted by their own socket.
fn rooms(workers: usize) -> (Server, Node) {
    let io = Server::builder().build().unwrap();
    io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.join(room);
        ack.send(())
    });
    io.on("leave", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.leave(room);
        ack.send(())
    });
    io.on("greet", async |socket: Socket| socket.emit("greeting", ()));
    io.on("rooms", async |socket: Socket, ack: Ack| ack.send(socket.rooms().len()));
    io.on("around", async |socket: Socket| socket.broadcast().emit("around", ()));
    let node = Node::raw(&io, workers);
    (io, node)
}

/// Everything that addresses sockets, by the room of one. The last event ends the wait of a client.
async fn address(io: &Server, id: &str) {
    io.to(id).emit("to", ()).unwrap();
    io.to(id).to("nobody").emit("either", ()).unwrap();
    io.except(id).emit("except", ()).unwrap();
    io.within(id).sockets_join("red").unwrap();
    io.to("red").emit("red", ()).unwrap();
    io.within(id).sockets_leave("red").unwrap();
    io.emit("last", ()).unwrap();
}

async fn heard(client: &mut Client) -> String {
    let packets = client.packets_until(event("last", ())).await;
    packets.iter().map(sociable_tests::Packet::name).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn socket_is_not_reached_by_its_id_after_leaving_it() {
    for workers in [1, 2, 4] {
        let (io, node) = rooms(workers);
        let mut client = Client::connect(node.addr).await;
        let mut other = Client::connect(node.addr).await;
        let id = client.id().to_owned();
        address(&io, &id).await;
        assert_eq!(heard(&mut client).await, "to either red");
        assert_eq!(heard(&mut other).await, "except");

        client.ask("leave", &*id).await;
        address(&io, &id).await;
        assert_eq!(heard(&mut client).await, "except", "except is a room, too");
        assert_eq!(heard(&mut other).await, "except");
        assert!(io.within(&id).fetch_sockets().await.unwrap().is_empty());
        assert!(io.to(&id).emit_with_ack("question", ()).await.unwrap().is_empty(), "no client is asked");
        assert!(!io.local_rooms().await.iter().any(|(room, _)| *room == *id));
        io.within(&id).disconnect_sockets(true).unwrap();
        assert_eq!(client.ask("rooms", ()).await, json!([0]));
        let all = io.fetch_sockets().await.unwrap();
        let found = all.iter().find(|socket| socket.id().as_str() == id).unwrap();
        assert!(found.rooms().is_empty(), "{:?}", found.rooms());

        // The socket itself still reaches its client, and its broadcasts do as in the JavaScript server.
        client.send(event("greet", ())).await;
        assert_eq!(client.packet().await, event("greeting", ()));
        client.send(event("around", ())).await;
        assert_eq!(client.packet().await, event("around", ()));
        assert_eq!(other.packet().await, event("around", ()));

        client.ask("join", &*id).await;
        client.ask("join", &*id).await;
        address(&io, &id).await;
        assert_eq!(heard(&mut client).await, "to either red");
        assert_eq!(client.ask("rooms", ()).await, json!([1]));
        io.within(&id).disconnect_sockets(false).unwrap();
        assert_eq!(client.packet().await, disconnect());
    }
}

#[tokio::test]
async fn leaving_the_own_room_is_a_room_event_once() {
    let (io, node) = rooms(2);
    let (events, note) = note();
    io.on_room_event(move |what| note(what.clone()));
    let mut client = Client::connect(node.addr).await;
    let own = || client.id().to_owned().into();
    let id = Id::try_from(client.id()).unwrap();
    use RoomEvent::{Create, Delete, Join, Leave};
    let (came, went) = ([Create(own()), Join(own(), id)], [Leave(own(), id), Delete(own())]);
    let own = client.id().to_owned();
    for what in ["leave", "leave", "join", "join", "leave"] {
        client.ask(what, &*own).await;
    }
    client.tear();
    eventually("the socket has left", || io.socket_count() == 0).await;
    assert_eq!(*events.lock().unwrap(), [&came[..], &went, &came, &went].concat());
}
