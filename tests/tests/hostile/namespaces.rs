//! Namespaces whose names a hostile client chooses.

use std::net::Ipv4Addr;

use serde_json::json;
use sociable::{Ack, Data, ParentNamespace, RawArgs, Recovery, Server, ServerBuilder};
use sociable_tests::{Client, Kind, Node, connect, connect_error, disconnect, eventually, eventually_async};

fn start(options: impl Fn(ServerBuilder) -> ServerBuilder) -> (Server, ParentNamespace, Node) {
    let io = options(Server::builder()).build().unwrap();
    let children = io.of_pattern(regex::Regex::new("^/child-").unwrap());
    children.on("echo", async |Data(text): Data<String>, ack: Ack| ack.send(&text));
    io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
    let node = Node::start(&io);
    (io, children, node)
}

/// Asks for a namespace, which may refuse.
async fn try_join(client: &mut Client, name: &str) -> bool {
    client.send(connect().of(name)).await;
    let answer = client.packet().await;
    let refused = answer == connect_error("Too many namespaces").of(name);
    assert!(refused || answer.kind == Kind::Connect && answer.namespace == name, "{answer}");
    !refused
}

async fn make(client: &mut Client, numbers: std::ops::Range<usize>) -> usize {
    let mut made = 0;
    for number in numbers {
        made += usize::from(try_join(client, &format!("/child-{number}")).await);
    }
    made
}

#[tokio::test]
async fn dynamic_namespaces_end_with_their_client() {
    let (_, children, node) = start(|options| options);
    let mut client = Client::session(node.addr).await;
    assert_eq!(make(&mut client, 0..20).await, 20);
    assert_eq!(children.children().len(), 20);
    client.tear();
    eventually("the namespaces are removed", || children.children().is_empty()).await;
}

#[tokio::test]
async fn session_creates_namespaces_up_to_its_limit() {
    let (io, _, node) = start(|options| options);
    let mut client = Client::session(node.addr).await;
    assert_eq!(make(&mut client, 0..150).await, 100);
    assert_eq!(io.stats().namespaces_refused, 50);
    let mut other = Client::session(node.addr).await;
    assert!(try_join(&mut other, "/child-200").await, "others may make some");
    assert!(try_join(&mut client, "/child-200").await, "an existing namespace may be joined");
    client.send(disconnect().of("/child-0")).await;
    eventually("the client leaves", || io.stats().client_disconnects == 1).await;
    assert!(try_join(&mut client, "/child-201").await, "removed namespaces do not count");
    assert!(!try_join(&mut client, "/child-202").await);
}

#[tokio::test]
async fn address_creates_namespaces_up_to_its_limit() {
    let options = |options: ServerBuilder| {
        let address = |request: &sociable::Handshake| request.query_value("from").and_then(|from| from.parse().ok());
        options.max_dynamic_namespaces_of_address(30).client_address(address)
    };
    let (io, children, node) = start(options);
    let from = |address: Ipv4Addr| async move {
        let url = format!("/socket.io/?EIO=4&transport=websocket&from={address}");
        Client::session_over(sociable_tests::WebSocket::open(node.addr, &url).await).await
    };
    let (mallory, alice) = (Ipv4Addr::new(203, 0, 113, 7), Ipv4Addr::new(198, 51, 100, 1));
    let (mut one, mut two, mut other) = (from(mallory).await, from(mallory).await, from(alice).await);
    assert_eq!(make(&mut one, 0..20).await, 20);
    assert_eq!(make(&mut two, 20..40).await, 10);
    assert_eq!(make(&mut other, 40..60).await, 20, "another address has its own");
    assert_eq!(io.stats().namespaces_refused, 10);
    one.tear();
    eventually("its namespaces go", || children.children().len() == 30).await;
    assert_eq!(make(&mut two, 60..70).await, 10);
}

#[tokio::test]
async fn empty_namespace_makes_room_for_another() {
    let (io, children, node) = start(|options| options.cleanup_empty_child_namespaces(false).max_dynamic_namespaces(6));
    let mut hostile = Client::session(node.addr).await;
    // The main one counts too.
    assert_eq!(make(&mut hostile, 0..10).await, 5);
    assert_eq!((io.stats().namespaces_refused, io.stats().namespaces_evicted), (5, 0), "none of them is empty");
    hostile.tear();
    eventually("the client leaves", || io.stats().sockets_closed == 5).await;
    assert_eq!(children.children().len(), 5, "the namespaces stay");
    let mut client = Client::session(node.addr).await;
    // Empty namespaces are looked for once a second.
    eventually_async("the client joins", async || try_join(&mut client, "/child-99").await).await;
    assert_eq!((io.stats().namespaces_evicted, children.children().len()), (5, 1));
}

#[tokio::test]
async fn client_gets_a_new_session_when_its_namespace_was_evicted() {
    let (io, _, node) = start(|options| options.recovery(Recovery::default()).max_dynamic_namespaces(2));
    let mut lost = Client::session(node.addr).await;
    lost.send(connect().of("/child-1")).await;
    let told = lost.packet().await.data;
    io.of("/child-1").emit("said", ()).unwrap();
    let said = lost.packet().await;
    lost.tear();
    eventually("the client is lost", || io.stats().sockets_closed == 1).await;
    assert_eq!(io.namespaces().len(), 2, "its namespace waits for it");
    let mut other = Client::session(node.addr).await;
    assert!(try_join(&mut other, "/child-2").await);
    assert_eq!(io.stats().namespaces_evicted, 1);
    other.send(disconnect().of("/child-2")).await;
    eventually("its namespace goes", || io.namespaces().len() == 1).await;
    let mut back = Client::session(node.addr).await;
    back.send(connect().of("/child-1").data(json!({ "pid": told["pid"], "offset": said.args()[0] }))).await;
    let anew = back.packet().await;
    assert_eq!(anew.kind, Kind::Connect);
    assert_ne!(anew.data["sid"], told["sid"]);
    assert_eq!((io.stats().recovered, io.stats().recoveries_incomplete), (0, 1));
}
