//! Upgrades from polling to WebSocket without a loss, and the heartbeat on both.

use std::net::SocketAddr;
use std::time::Duration;

use sociable::CloseReason;
use sociable::engine::EngineBuilder;
use sociable_tests::{Connection, Engines, Frame, Node, Polling, WebSocket, eventually, masked, packets, upgrade_request};

pub(crate) const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

/// Returns the same engine on one, two and four workers, and in a plain `HttpServer`.
pub(crate) fn everywhere(options: impl Fn(EngineBuilder) -> EngineBuilder) -> Vec<(Engines, Node)> {
    let raw = [1, 2, 4].map(|workers| {
        let engines = Engines::new(&options);
        let node = Node::raw(&engines.engine, workers);
        (engines, node)
    });
    let engines = Engines::new(&options);
    let node = Node::plain(&engines.engine, 2);
    raw.into_iter().chain([(engines, node)]).collect()
}

/// Probes on a new WebSocket.
pub(crate) async fn probed(session: &Polling) -> WebSocket {
    let mut socket = WebSocket::open(session.addr, &session.upgrade_target()).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    socket
}

/// An unexpected WebSocket is opened and closed, as by the JavaScript server.
async fn assert_turned_away(target: &str, addr: SocketAddr) {
    let mut socket = WebSocket::open(addr, target).await;
    socket.send_raw([masked(0x81, "2probe"), masked(0x81, "5")].concat()).await;
    assert_eq!(socket.rest().await, [Frame::Close(None)]);
}

async fn assert_mismatch(session: &Polling) {
    assert_eq!(session.poll().await.brief(), (400, r#"{"code":3,"message":"Bad request"}"#));
}

#[tokio::test]
async fn probe_releases_the_poll_before_the_upgrade() {
    for (engines, node) in everywhere(|options| options) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut poll = Connection::open(node.addr).await;
        poll.ask("GET", &session.target, &[], "").await;
        let mut socket = probed(&session).await;
        assert_eq!(poll.response().await.unwrap().brief(), (200, "6"));
        // Until the upgrade completes, the session continues by polling.
        session.send("4by polling").await;
        assert_eq!(session.receive().await, "4by polling");
        socket.send("5").await;
        socket.send("4by websocket").await;
        assert_eq!(socket.text().await, "4by websocket");
        assert_mismatch(&session).await;
        assert_eq!(session.post("4x").await.status, 400);
        socket.send("4unharmed").await;
        assert_eq!(socket.text().await, "4unharmed");
        let stats = engines.engine.stats();
        assert_eq!((stats.sessions, stats.upgraded, stats.upgrades_failed), (1, 1, 0));
        socket.close().await;
        engines.ends(&session.sid, CloseReason::TransportClose).await;
    }
}

#[tokio::test]
async fn queued_packets_use_the_websocket_after_upgrade() {
    for (_, node) in everywhere(|options| options) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut socket = probed(&session).await;
        session.send("4one\u{1e}bAQID\u{1e}4two").await;
        socket.send("5").await;
        assert_eq!(socket.text().await, "4one");
        assert_eq!(socket.frame().await, Some(Frame::Binary(vec![1, 2, 3])));
        assert_eq!(socket.text().await, "4two");
    }
}

#[tokio::test]
async fn frames_after_the_upgrade_packet_are_kept() {
    for (_, node) in everywhere(|options| options) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut socket = probed(&session).await;
        let frames = [masked(0x81, "5"), masked(0x81, "4one"), masked(0x82, [9]), masked(0x81, "4two"), masked(0x81, "4three")].concat();
        // The last frame comes in two halves.
        let (most, rest) = frames.split_at(frames.len() - 3);
        socket.send_raw(most).await;
        assert_eq!(socket.text().await, "4one");
        assert_eq!(socket.frame().await, Some(Frame::Binary(vec![9])));
        assert_eq!(socket.text().await, "4two");
        socket.send_raw(rest).await;
        assert_eq!(socket.text().await, "4three");
    }
}

#[tokio::test]
async fn frames_sent_with_the_request_are_read() {
    for (_, node) in everywhere(|options| options) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut connection = Connection::open(node.addr).await;
        let mut bytes = upgrade_request(&session.upgrade_target(), &[]).into_bytes();
        bytes.extend([masked(0x81, "2probe"), masked(0x81, "5"), masked(0x81, "4at once")].concat());
        connection.send(bytes).await;
        let mut socket = WebSocket::opened(connection).await.unwrap();
        // The answer to an obsolete probe is optional.
        let first = socket.text().await;
        let second = if first == "3probe" { socket.text().await } else { first };
        assert_eq!(second, "4at once");

        let mut connection = Connection::open(node.addr).await;
        let mut bytes = upgrade_request(WEBSOCKET, &[]).into_bytes();
        bytes.extend([masked(0x81, "4one"), masked(0x81, "4two")].concat());
        connection.send(bytes).await;
        let mut socket = WebSocket::opened(connection).await.unwrap();
        assert!(socket.text().await.starts_with('0'));
        assert_eq!((socket.text().await, socket.text().await), ("4one".into(), "4two".into()));
    }
}

#[tokio::test]
async fn upgrade_amid_traffic_keeps_every_message_in_order() {
    for (_, node) in everywhere(|options| options) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let polls = tokio::spawn({
            let session = session.clone();
            async move {
                let mut got = vec![];
                loop {
                    let response = session.poll().await;
                    match response.text() {
                        "6" => return got,
                        payload => got.extend(packets(payload)),
                    }
                }
            }
        });
        let mut sent = 0;
        let mut batch = || {
            sent += 10;
            (sent - 10..sent).map(|n| format!("4{n}")).collect::<Vec<_>>()
        };
        for _ in 0..20 {
            session.send(&batch().join("\u{1e}")).await;
        }
        let mut socket = probed(&session).await;
        for _ in 0..20 {
            session.send(&batch().join("\u{1e}")).await;
        }
        let mut got = polls.await.unwrap();
        session.send(&batch().join("\u{1e}")).await;
        socket.send("5").await;
        for packet in batch() {
            socket.send(&packet).await;
        }
        while got.len() < sent {
            got.push(socket.text().await);
        }
        assert_eq!(got, (0..sent).map(|n| format!("4{n}")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn waiting_poll_is_answered_at_the_upgrade() {
    for (engines, node) in everywhere(|options| options) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut socket = probed(&session).await;
        let mut poll = Connection::open(node.addr).await;
        poll.ask("GET", &session.target, &[], "").await;
        socket.send("5").await;
        // The poll was released before, is closed by the upgrade, or comes after it.
        let response = poll.response().await.unwrap();
        assert!([(200, "6"), (200, "1"), (400, r#"{"code":3,"message":"Bad request"}"#)].contains(&response.brief()), "{response:?}");
        socket.send("4unharmed").await;
        assert_eq!(socket.text().await, "4unharmed");
        assert_eq!(engines.end_of(&session.sid), None);
    }
}

#[tokio::test]
async fn failed_upgrade_leaves_polling_usable() {
    for (engines, node) in everywhere(|options| options) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut failed = 0;
        // The packets in place of the probe, and of the upgrade.
        let wrong = [("4x", None), ("2", None), ("3", None), ("", None), ("2probe", Some("4x")), ("2probe", Some("6"))];
        for (first, second) in wrong {
            let mut socket = WebSocket::open(node.addr, &session.upgrade_target()).await;
            socket.send(first).await;
            if let Some(second) = second {
                assert_eq!(socket.text().await, "3probe");
                socket.send(second).await;
            }
            assert_eq!(socket.rest().await, [Frame::Close(None)], "{first:?} {second:?}");
            failed += 1;
            eventually("the failure is counted", || engines.engine.stats().upgrades_failed == failed).await;
            session.send("4still here").await;
            // A noop of the attempt may come first.
            assert!(session.receive().await.ends_with("4still here"));
        }
        for probe in [false, true] {
            let mut socket = WebSocket::open(node.addr, &session.upgrade_target()).await;
            if probe {
                socket.send("2probe").await;
                socket.text().await;
            }
            drop(socket);
            failed += 1;
            eventually("the failure is counted", || engines.engine.stats().upgrades_failed == failed).await;
        }
        let mut socket = probed(&session).await;
        socket.send("5").await;
        socket.send("4upgraded after all").await;
        assert_eq!(socket.text().await, "4upgraded after all");
        assert_eq!((engines.engine.stats().upgraded, engines.engine.session_count()), (1, 1));
    }
}

/// The .NET client upgrades without a probe. The JavaScript server takes each of these.
#[tokio::test]
async fn upgrade_is_taken_as_the_javascript_server_takes_it() {
    for (engines, node) in everywhere(|options| options) {
        for (sent, answers) in [(&["5"][..], 0), (&["5x"], 0), (&["2probe", "5x"], 1), (&["2probe", "2probe", "5"], 2)] {
            let session = Polling::open(node.addr, "/engine.io/").await;
            session.send("4by polling").await;
            let mut socket = WebSocket::open(node.addr, &session.upgrade_target()).await;
            for packet in sent {
                socket.send(packet).await;
            }
            socket.send("4by websocket").await;
            for _ in 0..answers {
                assert_eq!(socket.text().await, "3probe");
            }
            assert_eq!(socket.text().await, "4by polling");
            assert_eq!(socket.text().await, "4by websocket");
        }
        assert_eq!((engines.engine.stats().upgraded, engines.engine.stats().upgrades_failed), (4, 0));
    }
}

#[tokio::test]
async fn ping_frames_before_an_upgrade_are_answered() {
    for (_, node) in everywhere(|options| options) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut socket = WebSocket::open(node.addr, &session.upgrade_target()).await;
        socket.send_raw([masked(0x89, "one"), masked(0x8a, "unasked"), masked(0x81, "2probe"), masked(0x89, "two")].concat()).await;
        assert_eq!(socket.frame().await, Some(Frame::Pong(b"one".to_vec())));
        assert_eq!(socket.text().await, "3probe");
        assert_eq!(socket.frame().await, Some(Frame::Pong(b"two".to_vec())));
        socket.send("5").await;
        socket.send("4upgraded").await;
        assert_eq!(socket.text().await, "4upgraded");
    }
}

#[tokio::test]
async fn unfinished_upgrade_times_out() {
    for (engines, node) in everywhere(|options| options.upgrade_timeout(Duration::from_millis(50))) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        for probe in [false, true] {
            let mut socket = WebSocket::open(node.addr, &session.upgrade_target()).await;
            if probe {
                socket.send("2probe").await;
            }
            assert_eq!(socket.rest().await.last(), Some(&Frame::Close(None)));
        }
        eventually("both are counted", || engines.engine.stats().upgrades_failed == 2).await;
        session.send("4still here").await;
        assert!(session.receive().await.ends_with("4still here"));
    }
}

#[tokio::test]
async fn session_upgrades_only_once() {
    for (_, node) in everywhere(|options| options) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut socket = probed(&session).await;
        assert_turned_away(&session.upgrade_target(), node.addr).await;
        socket.send("5").await;
        socket.send("4upgraded").await;
        assert_eq!(socket.text().await, "4upgraded");
        assert_turned_away(&session.upgrade_target(), node.addr).await;
        socket.send("4unharmed").await;
        assert_eq!(socket.text().await, "4unharmed");
    }
}

#[tokio::test]
async fn websocket_session_refuses_an_upgrade() {
    for (engines, node) in everywhere(|options| options) {
        let (mut socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
        assert_turned_away(&format!("{WEBSOCKET}&sid={sid}"), node.addr).await;
        let poll = sociable_tests::get(node.addr, &format!("/engine.io/?EIO=4&transport=polling&sid={sid}")).await;
        assert_eq!(poll.brief(), (400, r#"{"code":3,"message":"Bad request"}"#));
        socket.send("4unharmed").await;
        assert_eq!(socket.text().await, "4unharmed");
        assert_eq!(engines.engine.session_count(), 1);
    }
}

#[tokio::test]
async fn upgrade_socket_closes_when_its_session_ends() {
    for (engines, node) in everywhere(|options| options) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut socket = probed(&session).await;
        session.send("1").await;
        assert_eq!(socket.rest().await, [Frame::Close(None)]);
        engines.ends(&session.sid, CloseReason::TransportClose).await;
        session.poll().await;
        eventually("the session is gone", || engines.engine.session_count() == 0).await;
    }
}
