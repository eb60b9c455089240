//! Engine.IO 3, request by request: where it is let in, in what form, and who pings.

use std::time::Duration;

use serde_json::Value;
use sociable::CloseReason;
use sociable_tests::{Connection, Engines, Frame, Node, Polling, Response, WebSocket, eventually, get, post, request};

const POLLING: &str = "/engine.io/?EIO=3&transport=polling";

fn engines() -> Engines {
    Engines::new(|builder| builder.allow_eio3(true))
}

/// Opens a session by polling; gives the path of its requests.
async fn open(node: &Node, query: &str) -> (String, String) {
    let opened = get(node.addr, &format!("{POLLING}{query}")).await;
    let (length, packet) = opened.text().split_once(':').unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), packet.len());
    let handshake: Value = serde_json::from_str(&packet[1..]).unwrap();
    let sid = handshake["sid"].as_str().unwrap().to_owned();
    (format!("{POLLING}{query}&sid={sid}"), sid)
}

async fn post_binary(node: &Node, path: &str, body: &[u8]) -> Response {
    let mut connection = Connection::open(node.addr).await;
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n", body.len());
    connection.send([head.as_bytes(), body].concat()).await;
    connection.response().await.unwrap()
}

#[tokio::test]
async fn eio3_is_refused_unless_allowed() {
    let engines = Engines::new(|builder| builder);
    let node = Node::start(&engines.engine);
    for path in [POLLING, "/engine.io/?transport=polling", "/engine.io/?EIO=abc&transport=polling"] {
        assert_eq!(get(node.addr, path).await.brief(), (400, r#"{"code":5,"message":"Unsupported protocol version"}"#));
    }
    let refused = WebSocket::try_open(node.addr, "/engine.io/?EIO=3&transport=websocket", &[]).await.unwrap_err();
    assert_eq!(refused.brief(), (400, "Unsupported protocol version"));
}

#[tokio::test]
async fn text_payloads_count_lengths_in_utf16_units() {
    let engines = engines();
    let node = Node::start(&engines.engine);
    let (path, _) = open(&node, "").await;
    assert_eq!(post(node.addr, &path, "4:4é🦀6:4hello").await.brief(), (200, "ok"));
    let answer = get(node.addr, &path).await;
    assert_eq!(answer.text(), "4:4é🦀6:4hello");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
}

#[tokio::test]
async fn binary_payload_is_text_when_client_asks_for_base64() {
    let engines = engines();
    let node = Node::start(&engines.engine);
    let body = [&[0, 3, 255][..], b"4hi", &[1, 3, 255, 4, 1, 2]].concat();
    let (path, _) = open(&node, "").await;
    assert_eq!(post_binary(&node, &path, &body).await.brief(), (200, "ok"));
    let answer = get(node.addr, &path).await;
    assert_eq!((answer.header("content-type"), &answer.body), (Some("application/octet-stream"), &body));

    let (path, _) = open(&node, "&b64=1").await;
    assert_eq!(post(node.addr, &path, "6:b4AQI=").await.brief(), (200, "ok"));
    assert_eq!(get(node.addr, &path).await.text(), "6:b4AQI=");
}

#[tokio::test]
async fn request_of_another_revision_is_refused_and_session_stays() {
    let engines = engines();
    let node = Node::start(&engines.engine);
    let (path, _) = open(&node, "").await;
    let other = path.replace("EIO=3", "EIO=4");
    for answer in [get(node.addr, &other).await, post(node.addr, &other, "4a").await, request(node.addr, "PUT", &other, &[], "").await] {
        assert_eq!(answer.brief(), (400, r#"{"code":3,"message":"Bad request"}"#));
    }
    assert_eq!(post(node.addr, &path, "2:4a").await.brief(), (200, "ok"));
    assert_eq!(get(node.addr, &path).await.text(), "2:4a");
    let sid = Polling::open(node.addr, "/engine.io/").await.sid;
    assert_eq!(get(node.addr, &format!("{POLLING}&sid={sid}")).await.status, 400);
}

#[tokio::test]
async fn session_ends_when_a_payload_is_invalid() {
    let engines = engines();
    let node = Node::start(&engines.engine);
    for body in ["", "x", "9:4a", "2:xa", "1:4"] {
        let (path, sid) = open(&node, "").await;
        assert_eq!(post(node.addr, &path, body).await.brief(), (200, "ok"));
        if body != "1:4" {
            eventually("the session ends", || engines.end_of(&sid) == Some(CloseReason::ParseError)).await;
        }
    }
    let (path, sid) = open(&node, "").await;
    post_binary(&node, &path, &[1, 9, 255, 4]).await;
    eventually("the session ends", || engines.end_of(&sid) == Some(CloseReason::ParseError)).await;
}

#[tokio::test]
async fn session_ends_when_an_eio3_client_stops_pinging() {
    let engines =
        Engines::new(|builder| builder.allow_eio3(true).ping_interval(Duration::from_millis(50)).ping_timeout(Duration::from_secs(1)));
    let node = Node::start(&engines.engine);
    let (mut socket, sid) = WebSocket::session(node.addr, "/engine.io/?EIO=3&transport=websocket").await;
    // Pings in shorter intervals than the ping timeout keep the session open.
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        socket.send("2x").await;
        assert_eq!(socket.text().await, "3", "without the data, as from the JavaScript server");
    }
    socket.send_binary(&[4, 1, 2]).await;
    assert_eq!(socket.frame().await, Some(Frame::Binary(vec![4, 1, 2])));
    eventually("the session is closed", || engines.end_of(&sid) == Some(CloseReason::PingTimeout)).await;
    // A pong is for the server to send.
    let (path, sid) = self::open(&node, "").await;
    post(node.addr, &path, "1:3").await;
    eventually("the session ends", || engines.end_of(&sid) == Some(CloseReason::TransportError)).await;
}
