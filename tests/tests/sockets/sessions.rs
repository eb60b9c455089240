//! Sessions as applications see them: their state, and their events.

use sociable::protocol::engine::Packet;
use sociable::{Id, Session, SessionEvent, Transport};
use sociable_tests::{Polling, WebSocket};

use super::*;

/// Returns a short text for an event.
fn brief(event: SessionEvent<'_>) -> String {
    let packet = |way: &str, packet: &Packet| match packet {
        Packet::Message(text) => format!("{way} {}", text.split_once('"').map_or(&**text, |(before, _)| before)),
        other => format!("{way} {other:?}"),
    };
    match event {
        SessionEvent::PacketIn(received) => packet("in", received),
        SessionEvent::PacketOut(sent) => packet("out", sent),
        other => format!("{other:?}"),
    }
}

fn watched(options: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (Server, Node, Arc<std::sync::Mutex<Vec<String>>>) {
    let (events, see) = note();
    let (io, node) = start(|builder| {
        options(builder).on_session(move |session| {
            let see = see.clone();
            session.on_event(move |_, event| see(brief(event)));
        })
    });
    (io, node, events)
}

#[tokio::test]
async fn session_reports_each_step_of_its_life() {
    let (io, node, events) = watched(|builder| builder);
    echoes(&io);
    let session = Polling::open(node.addr, "/socket.io/").await;
    let take = || std::mem::take(&mut *events.lock().unwrap());
    assert_eq!(take(), ["Drain"], "the handshake is taken");
    session.send("40").await;
    session.receive().await;
    assert_eq!(take(), ["in 0", "out 0{", "Flush", "Drain"]);
    let mut socket = WebSocket::open(node.addr, &session.upgrade_target()).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    assert_eq!(take(), ["Upgrading(WebSocket)"]);
    socket.send("5").await;
    socket.send(r#"451-1["echo",{"_placeholder":true,"num":0}]"#).await;
    socket.send_binary(&[7]).await;
    assert!(socket.text().await.starts_with("461-1["));
    let Some(sociable_tests::Frame::Binary(bytes)) = socket.frame().await else { panic!("no attachment") };
    assert_eq!(bytes, [7]);
    socket.close().await;
    eventually("the session has ended", || events.lock().unwrap().iter().any(|event| event.starts_with("Closed"))).await;
    assert_eq!(
        take(),
        [
            "Upgraded(WebSocket)",
            "in 51-1[",
            r#"in Binary(b"\x07")"#,
            "out 61-1[{",
            r#"out Binary(b"\x07")"#,
            "Flush",
            "Drain",
            "Closed(TransportClose)"
        ]
    );
}

#[tokio::test]
async fn heartbeats_are_reported_by_both_revisions() {
    let (_io, node, events) = watched(|builder| builder.allow_eio3(true).ping_interval(Duration::from_millis(50)));
    let mut new = Client::connect(node.addr).await;
    let reading = tokio::spawn(async move { new.next_packet().await });
    eventually("a pong came", || events.lock().unwrap().contains(&"Heartbeat".into())).await;
    let seen = std::mem::take(&mut *events.lock().unwrap());
    let order: Vec<_> = seen.iter().filter(|event| event.contains("P") || *event == "Heartbeat").map(String::as_str).take(3).collect();
    assert_eq!(order, [r#"out Ping("")"#, r#"in Pong("")"#, "Heartbeat"]);
    reading.abort();
    let (_io, node, events) = watched(|builder| builder.allow_eio3(true));
    let mut old = Client::connect_v3(node.addr).await;
    old.send_engine("2").await;
    eventually("a ping came", || events.lock().unwrap().contains(&"Heartbeat".into())).await;
    eventually("its answer left", || events.lock().unwrap().contains(&r#"out Pong("")"#.into())).await;
    let seen = events.lock().unwrap().clone();
    assert!(seen.contains(&r#"in Ping("")"#.into()) && seen.contains(&"out 0".into()), "{seen:?}");
}

#[tokio::test]
async fn listener_may_act_on_its_session() {
    let (io, node) = start(|builder| builder);
    echoes(&io);
    io.on_connect(async |socket: Socket| {
        let (session, own) = (socket.session().unwrap(), socket.clone());
        assert_eq!((session.protocol(), session.transport(), session.is_open()), (4, Transport::WebSocket, true));
        assert_ne!(session.id(), socket.id());
        session.on_event(move |session, event| match event {
            SessionEvent::PacketIn(Packet::Message(text)) if text.contains("quit") => session.close(),
            SessionEvent::PacketIn(Packet::Message(text)) if text.contains("panic") => panic!("a listener fails"),
            SessionEvent::PacketIn(Packet::Message(text)) if text.contains("off") => session.off_events(),
            // Sends again for each packet that leaves, without an end.
            SessionEvent::PacketOut(Packet::Message(_)) => drop(own.emit("left", ())),
            _ => {}
        });
    });
    io.on("quit", async || -> () { panic!("the packet was not dropped") });
    let mut client = Client::connect(node.addr).await;
    assert_eq!(client.ask("echo", "panic").await, json!(["panic"]));
    assert_eq!(client.packet().await, event("left", ()));
    assert_eq!(client.ask("echo", "off").await, json!(["off"]));
    assert_eq!(client.ask("echo", 1).await, json!([1]));
    assert_eq!(io.stats().handler_panics, 1);

    let mut client = Client::connect(node.addr).await;
    client.emit("quit", ()).await;
    assert_eq!(client.rest().await, []);
    assert_eq!(io.stats().handler_panics, 1);
}

#[tokio::test]
async fn listeners_are_dropped_with_their_session() {
    let value = Arc::new(());
    let held = Arc::clone(&value);
    let (io, node) = start(|builder| {
        builder.on_session(move |session| {
            // A listener that holds its session would keep it for ever.
            let (session, held) = (std::rc::Rc::clone(session), Arc::clone(&held));
            std::rc::Rc::clone(&session).on_event(move |_, _| _ = (session.id(), Arc::strong_count(&held)));
        })
    });
    let client = Client::connect(node.addr).await;
    let socket = io.local_socket(Id::try_from(client.id()).unwrap()).await.unwrap();
    assert_eq!(Arc::strong_count(&value), 3);
    assert!(socket.session().is_none(), "this is another thread");
    let (seen, see) = note();
    socket.with_session(move |session: &Session| see(session.id().as_str().to_owned()));
    eventually("the session was reached", || *seen.lock().unwrap() == [client.sid.clone()]).await;
    client.tear();
    eventually("the listener is dropped", || Arc::strong_count(&value) == 2).await;
}
