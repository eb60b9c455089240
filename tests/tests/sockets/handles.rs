//! Handles of sockets: found by id or room, of one client, with attached values, on other nodes.

use sociable::handler::ExtractError;
use sociable::{Attached, Id};

use super::*;

struct Score(AtomicUsize);

#[tokio::test]
async fn attached_value_belongs_to_its_socket() {
    let (io, node) = start(|options| options);
    io.on_connect(async |socket: Socket| drop(socket.attach(Score(AtomicUsize::new(10)))));
    io.on("add", async |Attached(score): Attached<Score>, Data(points): Data<usize>, ack: Ack| {
        ack.send(score.0.fetch_add(points, SeqCst) + points)
    });
    io.on("swap", async |socket: Socket, ack: Ack| ack.send(socket.attach(Score(AtomicUsize::new(0))).map(|before| before.0.load(SeqCst))));
    io.on("drop", async |socket: Socket, ack: Ack| {
        let (dropped, rest) = (socket.detach::<Score>(), socket.detach::<Score>());
        ack.send((dropped.map(|score| score.0.load(SeqCst)), rest.is_none(), socket.attached::<Score>().is_none()))
    });
    io.on("check", async |score: Result<Attached<Score>, ExtractError>, ack: Ack| ack.send(score.err().map(|error| error.to_string())));
    let mut clients = [Client::connect(node.addr).await, Client::connect(node.addr).await];
    for client in &mut clients {
        assert_eq!(client.ask("add", 1).await, json!([11]));
        assert_eq!(client.ask("add", 2).await, json!([13]));
        assert_eq!(client.ask("check", ()).await, json!([null]));
        assert_eq!(client.ask("swap", ()).await, json!([13]));
        assert_eq!(client.ask("drop", ()).await, json!([0, true, true]));
        let error = client.ask("check", ()).await;
        assert!(error[0].as_str().unwrap().ends_with("Score is attached: attach it with `Socket::attach`"), "{error}");
    }
}

#[tokio::test]
async fn attached_value_is_dropped_with_its_socket() {
    let (io, node) = start(|options| options);
    let value = Arc::new(());
    let attached = Arc::clone(&value);
    io.on_connect(move |socket: Socket| ready(drop(socket.attach(Arc::clone(&attached)))));
    let client = Client::connect(node.addr).await;
    eventually("the value is attached", || Arc::strong_count(&value) == 3).await;
    client.tear();
    eventually("the value is dropped", || Arc::strong_count(&value) == 2).await;
}

#[tokio::test]
async fn local_socket_is_found_by_its_id_on_any_thread() {
    let (io, node) = start(|options| options.max_private_rooms(1));
    io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| ack.send((socket.join(room), ()).1));
    let mut clients = Client::connect_many(node.addr, 4).await;
    io.of("/other");
    clients[3].join("/other").await;
    let ids: Vec<_> = clients.iter().map(|client| Id::try_from(client.id()).unwrap()).collect();
    // The second joins the room of the first one's id.
    let room = ids[0].as_str().to_owned();
    clients[1].ask("join", room).await;
    clients[2].ask("join", "red").await;
    for (client, id) in clients.iter().zip(&ids) {
        let socket = io.local_socket(*id).await.unwrap();
        assert_eq!((socket.id().as_str(), socket.namespace().name().as_ref()), (client.id(), "/"));
    }
    let mut all: Vec<_> = io.local_sockets().await.iter().map(Socket::id).collect();
    let mut expected = ids.clone();
    all.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    expected.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    assert_eq!(all, expected);
    assert_eq!(io.to("red").local_sockets().await.iter().map(Socket::id).collect::<Vec<_>>(), [ids[2]]);
    let last = clients.pop().unwrap();
    let other = Id::try_from(last.id_in("/other")).unwrap();
    assert!(io.local_socket(other).await.is_none() && io.of("/other").local_socket(other).await.is_some());
    last.close().await;
    eventually("the client has left", || io.socket_count() == 3).await;
    assert!(io.local_socket(ids[3]).await.is_none());
}

#[tokio::test]
async fn client_sockets_are_those_of_one_session() {
    let (io, node) = start(|options| options);
    let siblings = |socket: &Socket| {
        let mut names: Vec<_> = socket.client_sockets().iter().map(|other| other.namespace().name().to_string()).collect();
        names.sort();
        names
    };
    let (ends, end) = note();
    for name in ["/", "/a", "/b"] {
        io.of(name).on("siblings", move |socket: Socket, ack: Ack| ready(ack.send(siblings(&socket))));
    }
    io.of("/a").on_disconnecting(move |socket: Socket| ready(end(siblings(&socket))));
    let mut client = Client::connect(node.addr).await;
    let _other = Client::connect(node.addr).await;
    assert_eq!(client.ask("siblings", ()).await, json!([["/"]]));
    client.join("/a").await;
    client.join("/b").await;
    assert_eq!(client.ask("siblings", ()).await, json!([["/", "/a", "/b"]]));
    let elsewhere = io.local_socket(Id::try_from(client.id()).unwrap()).await.unwrap();
    assert!(elsewhere.client_sockets().is_empty(), "this is another thread");
    client.send(disconnect().of("/a")).await;
    assert_eq!(client.ask("siblings", ()).await, json!([["/", "/b"]]));
    assert_eq!(*ends.lock().unwrap(), [["/", "/a", "/b"].map(str::to_owned)]);
}

#[tokio::test]
async fn remote_socket_answers_alone() {
    let (io, node) = start(|options| options.max_private_rooms(1));
    io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| ack.send((socket.join(room), ()).1));
    let mut client = Client::connect(node.addr).await;
    let mut spy = Client::connect(node.addr).await;
    let id = client.id().to_owned();
    spy.ask("join", id.clone()).await;
    let sockets = io.fetch_sockets().await.unwrap();
    let remote = sockets.iter().find(|socket| socket.id().as_str() == id).unwrap();
    assert_eq!(remote.namespace(), &*io);
    let asked = remote.emit_with_ack("who?", ());
    let question = client.packet().await;
    assert_eq!(question.name(), "who?");
    let _same_question = spy.packet().await;
    spy.send(ack(question.id.unwrap(), "the spy")).await;
    client.send(ack(question.id.unwrap(), "the client")).await;
    assert_eq!(asked.await.unwrap().decode::<String>(0).unwrap(), "the client");
    // Only the spy stays silent.
    let error = remote.timeout(Duration::from_millis(50)).emit_with_ack("who?", ()).await.unwrap_err();
    assert_eq!((error.reason, error.missing.len()), (AckError::Timeout, 2));
    client.tear();
    eventually("the client has left", || io.socket_count() == 1).await;
    assert_eq!(remote.timeout(Duration::from_millis(50)).emit_with_ack("who?", ()).await.unwrap_err().missing.len(), 1);
}

#[tokio::test]
async fn parent_namespace_reaches_its_children_by_every_operator() {
    let (io, node) = start(|options| options);
    let parent = io.of_pattern(regex::Regex::new("^/room-").unwrap());
    let mut client = Client::session(node.addr).await;
    client.join("/room-1").await;
    parent.send("a").unwrap();
    parent.local().compress(false).send("b").unwrap();
    parent.compress(false).emit("c", ()).unwrap();
    parent.within("nobody").emit("d", ()).unwrap();
    parent.except("nobody").within("nobody").emit("d", ()).unwrap();
    parent.emit("e", ()).unwrap();
    for expected in [event("message", "a"), event("message", "b"), event("c", ()), event("e", ())] {
        assert_eq!(client.packet().await, expected.of("/room-1"));
    }
    assert_eq!(io.path(), "/socket.io/");
}
