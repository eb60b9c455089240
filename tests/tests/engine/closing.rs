//! Ends of sessions: what ends one, for which reason, and what its client gets.

use std::time::Duration;

use super::*;

/// The answer to a request of a session that has ended.
const UNKNOWN: (u16, &str) = (400, r#"{"code":1,"message":"Session ID unknown"}"#);

#[tokio::test]
async fn session_ends_on_two_concurrent_polls() {
    for (engines, node) in everywhere() {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let (mut first, mut second) = (Connection::open(node.addr).await, Connection::open(node.addr).await);
        // Either poll may come first. One gets the close packet, the other is refused.
        first.ask("GET", &session.target, &[], "").await;
        second.ask("GET", &session.target, &[], "").await;
        let mut answers = [first.response().await.unwrap(), second.response().await.unwrap()];
        answers.sort_by_key(|answer| answer.status);
        assert_eq!(answers.each_ref().map(Response::brief), [(200, "1"), (400, "")]);
        engines.ends(&session.sid, CloseReason::TransportError).await;
        assert_refused(&session.poll().await, 400, 1, "Session ID unknown");
    }
}

#[tokio::test]
async fn session_ends_on_two_concurrent_posts() {
    for (engines, node) in everywhere() {
        let session = Polling::open(node.addr, "/engine.io/").await;
        // They may miss each other: then they are sent once more.
        let answers = loop {
            let mut first = Connection::open(node.addr).await;
            first.send(format!("POST {} HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n4", session.target)).await;
            let second = session.post("4x").await;
            first.send("x").await;
            let first = first.response().await.unwrap();
            if [&first, &second].iter().any(|response| response.status != 200) {
                break [first, second];
            }
            drop(session.receive().await);
        };
        // The later one is refused, and ends the session of the other.
        let mut answers = answers.each_ref().map(Response::brief);
        answers.sort_unstable();
        assert_eq!(answers, [(400, ""), UNKNOWN]);
        engines.ends(&session.sid, CloseReason::TransportError).await;
        assert_eq!(session.poll().await.brief(), UNKNOWN);
        assert_eq!(session.post("4x").await.brief(), UNKNOWN);
    }
}

#[tokio::test]
async fn unfinished_post_is_refused_after_the_end() {
    for (engines, node) in everywhere() {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut post = half_posted(node.addr, &session, "Content-Length: 3", "4x").await;
        // Either of the two polls may come first.
        let (mut first, mut second) = (Connection::open(node.addr).await, Connection::open(node.addr).await);
        first.ask("GET", &session.target, &[], "").await;
        second.ask("GET", &session.target, &[], "").await;
        engines.ends(&session.sid, CloseReason::TransportError).await;
        // Refused already, if it came last.
        post.try_send("y").await.ok();
        assert_eq!(post.response().await.unwrap().brief(), UNKNOWN);
    }
}

#[tokio::test]
async fn session_ends_on_a_post_of_raw_bytes() {
    let (engines, node) = start(|options| options);
    let session = Polling::open(node.addr, "/engine.io/").await;
    let response = request(node.addr, "POST", &session.target, &[("Content-Type", "application/octet-stream")], "4x").await;
    assert_eq!(response.brief(), (400, ""));
    engines.ends(&session.sid, CloseReason::TransportError).await;
    assert_eq!(session.poll().await.brief(), UNKNOWN);
}

#[tokio::test]
async fn waiting_poll_is_the_last_when_a_packet_is_invalid() {
    for (engines, node) in everywhere() {
        for (end, reason) in [("x", CloseReason::ParseError), ("2", CloseReason::TransportError), ("1", CloseReason::TransportClose)] {
            // The packets may overtake the poll, which then comes too late: that is tried again.
            loop {
                let session = Polling::open(node.addr, "/engine.io/").await;
                let mut poll = Connection::open(node.addr).await;
                poll.ask("GET", &session.target, &[], "").await;
                session.send(&format!("4echo\u{1e}{end}")).await;
                engines.ends(&session.sid, reason).await;
                let answer = poll.response().await.unwrap();
                assert_eq!(session.poll().await.brief(), UNKNOWN, "{end}");
                if answer.status == 200 {
                    break;
                }
                assert_eq!(answer.brief(), UNKNOWN, "{end}");
            }
        }
    }
}

/// A request with packets, as far as its first bytes.
async fn half_posted(addr: std::net::SocketAddr, session: &Polling, framing: &str, body: &str) -> Connection {
    let mut connection = Connection::open(addr).await;
    connection.send(format!("POST {} HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n{body}", session.target)).await;
    connection
}

#[tokio::test]
async fn session_ends_when_a_body_is_too_long() {
    for (engines, node) in everywhere() {
        let session = Polling::open(node.addr, "/engine.io/").await;
        session.send(&format!("4{}", "a".repeat(999_999))).await;
        assert_eq!(session.receive().await.len(), 1_000_000);
        let mut poll = Connection::open(node.addr).await;
        poll.ask("GET", &session.target, &[], "").await;
        assert_eq!(session.post(&format!("4{}", "a".repeat(1_000_000))).await.brief(), (413, ""));
        // The poll may have come later than the body.
        assert!([(200, "1"), UNKNOWN].contains(&poll.response().await.unwrap().brief()));
        engines.ends(&session.sid, CloseReason::TransportError).await;
        assert_eq!(session.poll().await.brief(), UNKNOWN);
        assert_eq!(session.post("4x").await.brief(), UNKNOWN);

        // A body without a length is measured while it comes.
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut connection = half_posted(node.addr, &session, "Transfer-Encoding: chunked", "").await;
        for _ in 0..32 {
            connection.send(format!("8000\r\n{}\r\n", "4".repeat(0x8000))).await;
        }
        connection.send("0\r\n\r\n").await;
        assert_eq!(connection.response().await.unwrap().brief(), (413, ""));
        assert_eq!(session.poll().await.brief(), UNKNOWN);
        engines.ends(&session.sid, CloseReason::TransportError).await;
        assert_eq!(engines.engine.stats().bodies_too_large, 2);
    }
}

#[tokio::test]
async fn session_ends_when_a_body_is_too_late() {
    for (engines, node) in both(|options| options.http_request_body_timeout(Duration::from_millis(50))) {
        for (framing, begin) in [("Content-Length: 3", "4x"), ("Content-Length: 3", ""), ("Transfer-Encoding: chunked", "2\r\n4x\r\n")] {
            let session = Polling::open(node.addr, "/engine.io/").await;
            let mut connection = half_posted(node.addr, &session, framing, begin).await;
            let response = connection.response().await.unwrap();
            assert_eq!(response.brief(), (408, ""));
            assert_eq!(response.header("connection"), Some("close"));
            assert_eq!(session.poll().await.brief(), UNKNOWN);
            engines.ends(&session.sid, CloseReason::TransportError).await;
        }
        assert_eq!(engines.engine.stats().bodies_late, 3);
    }
}

#[tokio::test]
async fn session_ends_on_an_oversized_frame() {
    for (engines, node) in everywhere() {
        let (mut socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
        socket.send(&"4".repeat(1_000_000)).await;
        assert_eq!(socket.text().await.len(), 1_000_000);
        socket.send(&"4".repeat(1_000_001)).await;
        assert_eq!(socket.frame().await, Some(sociable_tests::Frame::Close(Some(1009))));
        engines.ends(&sid, CloseReason::TransportError).await;
    }
}

#[tokio::test]
async fn session_ends_when_a_packet_is_invalid() {
    for body in ["", "x", "9", "abc", "4ok\u{1e}x", "\u{1e}"] {
        let (engines, node) = start(|options| options);
        let session = Polling::open(node.addr, "/engine.io/").await;
        assert_eq!(session.post(body).await.brief(), (200, "ok"), "{body:?}");
        engines.ends(&session.sid, CloseReason::ParseError).await;
        if body.is_empty() || body.len() > 4 {
            continue;
        }
        let (mut socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
        socket.send(body).await;
        assert_eq!(socket.rest().await.last(), Some(&sociable_tests::Frame::Close(None)), "{body:?}");
        engines.ends(&sid, CloseReason::ParseError).await;
    }
}

#[tokio::test]
async fn session_ends_on_an_empty_frame() {
    let (engines, node) = start(|options| options);
    let (mut socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
    socket.send("").await;
    engines.ends(&sid, CloseReason::ParseError).await;
}

#[tokio::test]
async fn invalid_utf8_is_replaced_and_is_no_packet_type() {
    let (engines, node) = start(|options| options);
    let session = Polling::open(node.addr, "/engine.io/").await;
    for body in [&[b'4', 0xff, 0xfe], &[0xff, 0xfe, b'4']] {
        let mut connection = Connection::open(node.addr).await;
        connection.send(format!("POST {} HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\n", session.target)).await;
        connection.send(body).await;
        assert_eq!(connection.response().await.unwrap().brief(), (200, "ok"));
        if body[0] == b'4' {
            assert_eq!(session.receive().await, "4\u{fffd}\u{fffd}");
        }
    }
    engines.ends(&session.sid, CloseReason::ParseError).await;
}

#[tokio::test]
async fn session_ends_on_a_ping_of_the_client() {
    let (engines, node) = start(|options| options);
    let session = Polling::open(node.addr, "/engine.io/").await;
    session.send("2").await;
    engines.ends(&session.sid, CloseReason::TransportError).await;
    let (mut socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
    socket.send("2").await;
    engines.ends(&sid, CloseReason::TransportError).await;
}

#[tokio::test]
async fn unexpected_packets_are_ignored() {
    let (engines, node) = start(|options| options);
    let session = Polling::open(node.addr, "/engine.io/").await;
    session.send("0\u{1e}5\u{1e}6\u{1e}3\u{1e}4still here").await;
    assert_eq!(session.receive().await, "4still here");
    assert_eq!(engines.end_of(&session.sid), None);
}

#[tokio::test]
async fn close_packet_of_a_client_answers_its_poll() {
    for (engines, node) in everywhere() {
        // The goodbye may overtake a poll on another connection, which then comes too late: that is tried again.
        let session = loop {
            let session = Polling::open(node.addr, "/engine.io/").await;
            let mut poll = Connection::open(node.addr).await;
            poll.ask("GET", &session.target, &[], "").await;
            session.send("1").await;
            match poll.response().await.unwrap().brief() {
                (200, answer) => {
                    assert_eq!(answer, "6");
                    break session;
                }
                late => assert_eq!(late.0, 400),
            }
        };
        engines.ends(&session.sid, CloseReason::TransportClose).await;
        assert_refused(&session.poll().await, 400, 1, "Session ID unknown");
    }
}

#[tokio::test]
async fn close_packet_over_websocket_closes_at_once() {
    for (engines, node) in everywhere() {
        let (mut socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
        socket.send("1").await;
        assert_eq!(socket.rest().await.last(), Some(&sociable_tests::Frame::Close(None)));
        engines.ends(&sid, CloseReason::TransportClose).await;
    }
}

#[tokio::test]
async fn waiting_poll_gets_close_when_the_server_closes() {
    let (engines, node) = start(|options| options);
    let session = Polling::open(node.addr, "/engine.io/").await;
    let mut poll = Connection::open(node.addr).await;
    poll.ask("GET", &session.target, &[], "").await;
    session.send("4here").await;
    poll.response().await.unwrap();
    poll.ask("GET", &session.target, &[], "").await;
    // Either the poll waits already, or it is the next.
    session.send("4close").await;
    let last = poll.response().await.unwrap();
    assert!(["1", "6\u{1e}1"].contains(&last.text()), "{last:?}");
    sociable_tests::eventually("the session ends", || engines.end_of(&session.sid).is_some()).await;
}

#[tokio::test]
async fn next_poll_gets_close_when_the_server_closes() {
    for (engines, node) in everywhere() {
        let session = Polling::open(node.addr, "/engine.io/").await;
        session.send("4close").await;
        engines.ends(&session.sid, CloseReason::ForcedServerClose).await;
        assert_eq!(session.receive().await, "6\u{1e}1");
        assert_refused(&session.poll().await, 400, 1, "Session ID unknown");

        let (mut socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
        socket.send("4close").await;
        assert_eq!(socket.rest().await.last(), Some(&sociable_tests::Frame::Close(None)));
        engines.ends(&sid, CloseReason::ForcedClose).await;
    }
}

#[tokio::test]
async fn queued_packets_are_delivered_before_the_close() {
    let (_, node) = start(|options| options);
    let session = Polling::open(node.addr, "/engine.io/").await;
    session.send("4one\u{1e}4two\u{1e}4close\u{1e}4never").await;
    assert_eq!(session.receive().await, "4one\u{1e}4two");
    assert_eq!(session.receive().await, "6\u{1e}1");
}

#[tokio::test]
async fn session_ends_when_its_poll_is_aborted() {
    for (engines, node) in everywhere() {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut poll = Connection::open(node.addr).await;
        poll.ask("GET", &session.target, &[], "").await;
        session.send("4here").await;
        poll.response().await.unwrap();
        poll.ask("GET", &session.target, &[], "").await;
        drop(poll);
        engines.ends(&session.sid, CloseReason::TransportError).await;
        sociable_tests::eventually("the session is gone", || engines.engine.session_count() == 0).await;
    }
}

#[tokio::test]
async fn session_ends_when_its_post_is_aborted() {
    for (engines, node) in everywhere() {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut post = Connection::open(node.addr).await;
        post.send(format!("POST {} HTTP/1.1\r\nHost: test\r\nContent-Length: 20\r\n\r\n4half", session.target)).await;
        drop(post);
        engines.ends(&session.sid, CloseReason::TransportError).await;
    }
}

#[tokio::test]
async fn session_ends_when_its_connection_is_lost() {
    for (engines, node) in everywhere() {
        let (socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
        drop(socket);
        engines.ends(&sid, CloseReason::TransportClose).await;
        let (mut socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
        socket.close().await;
        assert_eq!(socket.rest().await, [sociable_tests::Frame::Close(None)]);
        engines.ends(&sid, CloseReason::TransportClose).await;
        sociable_tests::eventually("both are gone", || engines.engine.session_count() == 0).await;
    }
}

#[tokio::test]
async fn closed_engine_has_and_accepts_no_sessions() {
    for (engines, node) in everywhere() {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let (mut socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
        let engine = engines.engine.clone();
        let closing = tokio::spawn(async move { engine.close(sociable_tests::patience()).await });
        assert_eq!(socket.rest().await, [sociable_tests::Frame::Close(None)]);
        drop(socket);
        engines.ends(&session.sid, CloseReason::ServerShuttingDown).await;
        assert_eq!(session.receive().await, "6\u{1e}1");
        sociable_tests::within("the end of the close", closing).await.unwrap();
        engines.ends(&sid, CloseReason::ServerShuttingDown).await;
        assert_eq!(get(node.addr, POLLING).await.status, 503);
        assert_eq!(engines.engine.session_count(), 0);
    }
}

#[tokio::test]
async fn session_ends_alone_when_the_layer_above_panics() {
    for (engines, node) in everywhere() {
        let mut other = Client::session_over(WebSocket::open(node.addr, WEBSOCKET).await).await;
        let mut websocket = Client::session_over(WebSocket::open(node.addr, WEBSOCKET).await).await;
        let mut polling = Client::polling_session_over(Polling::open(node.addr, "/engine.io/").await);
        for client in [&mut websocket, &mut polling] {
            client.send_text("panic").await;
            engines.ends(&client.sid.clone(), CloseReason::SessionFailed).await;
        }
        assert_eq!(websocket.next().await, None, "its connection is closed");
        other.send_text("hello").await;
        assert_eq!(other.text().await, "hello");
        let stats = engines.engine.stats();
        assert_eq!((stats.sessions, stats.sessions_failed, stats.actors_died), (1, 2, 2));
    }
}
