//! Pings and pongs.

use std::time::Duration;

use sociable::CloseReason;
use sociable::engine::EngineBuilder;
use sociable_tests::{Frame, Polling, WebSocket, eventually, masked, patience};

use super::upgrade::{WEBSOCKET, everywhere, probed};

/// Pings as often as the wheel turns, and all the time in the world to answer.
fn lively(options: EngineBuilder) -> EngineBuilder {
    options.ping_interval(Duration::from_millis(10)).ping_timeout(patience())
}

/// Hardly any time to answer.
fn hasty(options: EngineBuilder) -> EngineBuilder {
    options.ping_interval(Duration::from_millis(10)).ping_timeout(Duration::from_millis(100))
}

#[tokio::test]
async fn session_stays_when_pings_are_answered() {
    for (engines, node) in everywhere(lively) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
        socket.text().await;
        for _ in 0..5 {
            assert_eq!(session.receive().await, "2");
            session.send("3").await;
            assert_eq!(socket.text().await, "2");
            socket.send("3").await;
        }
        assert_eq!(engines.engine.session_count(), 2);
    }
}

#[tokio::test]
async fn session_ends_when_pings_are_not_answered() {
    for (engines, node) in everywhere(hasty) {
        let never_polls = Polling::open(node.addr, "/engine.io/").await;
        let polls = Polling::open(node.addr, "/engine.io/").await;
        let (mut socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
        assert_eq!(socket.rest().await, [Frame::Text("2".into()), Frame::Close(None)]);
        engines.ends(&sid, CloseReason::PingTimeout).await;
        polls.poll().await;
        polls.poll().await;
        engines.ends(&polls.sid, CloseReason::PingTimeout).await;
        engines.ends(&never_polls.sid, CloseReason::PingTimeout).await;
        assert_eq!(engines.engine.stats().ping_timeouts, 3);
    }
}

#[tokio::test]
async fn messages_do_not_replace_pongs() {
    let (engines, node) = everywhere(hasty).swap_remove(1);
    let (mut socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
    // The client sends messages, and never answers a ping.
    while engines.end_of(&sid).is_none() {
        socket.send("4x").await;
        socket.frame().await;
    }
    assert_eq!(engines.end_of(&sid), Some(CloseReason::PingTimeout));
}

#[tokio::test]
async fn ping_before_an_upgrade_needs_a_pong_after_it() {
    for (engines, node) in everywhere(|options| options.ping_interval(Duration::from_millis(200)).ping_timeout(Duration::from_millis(400)))
    {
        let session = Polling::open(node.addr, "/engine.io/").await;
        assert_eq!(session.receive().await, "2");
        let mut socket = probed(&session).await;
        socket.send("5").await;
        eventually("the session is upgraded, or has ended", || {
            engines.engine.stats().upgraded == 1 || engines.end_of(&session.sid).is_some()
        })
        .await;
        engines.ends(&session.sid, CloseReason::PingTimeout).await;
        socket.rest().await;
        eventually("the session is gone", || engines.engine.session_count() == 0).await;
    }
}

#[tokio::test]
async fn pong_after_an_upgrade_answers_the_earlier_ping() {
    let (engines, node) = everywhere(lively).swap_remove(1);
    let session = Polling::open(node.addr, "/engine.io/").await;
    assert_eq!(session.receive().await, "2");
    let mut socket = probed(&session).await;
    socket.send("5").await;
    for _ in 0..3 {
        socket.send("3").await;
        assert_eq!(socket.text().await, "2");
    }
    assert_eq!(engines.engine.session_count(), 1);
}

#[tokio::test]
async fn websocket_ping_frames_are_answered() {
    let (_, node) = everywhere(|options| options).swap_remove(1);
    let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
    socket.text().await;
    socket.send_raw(masked(0x89, "are you there?")).await;
    assert_eq!(socket.frame().await, Some(Frame::Pong(b"are you there?".into())));
}
