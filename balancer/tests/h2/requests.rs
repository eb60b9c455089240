//! Requests and their answers.

use std::convert::Infallible;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::setup::{SESSION, STRANGER, World, ask, empty, get, text, until, websocket};
use crate::world::PATIENCE;

#[tokio::test]
async fn request_reaches_its_node_as_http_1_1() {
    let world = World::new(|_| {}).await;
    let mut client = world.client().await;
    let request = get("/head?a=b").header("cookie", "a=1").header("cookie", "b=2").header("te", "trailers").header("x-own", "7");
    let (status, fields, head) = ask(&mut client, request.body(empty()).unwrap()).await;
    assert_eq!((status, fields.get("keep-alive"), fields.get("connection")), (StatusCode::OK, None, None));
    for part in [
        "uri: /head?a=b",
        "version: HTTP/1.1",
        r#""host": "localhost""#,
        r#""a=1; b=2""#,
        r#""x-own": "7""#,
        r#""x-forwarded-proto": "https""#,
    ] {
        assert!(head.contains(part), "{part} in {head}");
    }
    assert!(!head.contains("trailers") && !head.contains("transfer-encoding") && !head.contains("content-length"), "{head}");

    let (status, _, body) = ask(&mut client, get("/large").body(empty()).unwrap()).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 1 << 20));
    let (status, fields, body) = ask(&mut client, get("/large").method("HEAD").body(empty()).unwrap()).await;
    assert_eq!((status, fields["content-length"].to_str().unwrap(), &*body), (StatusCode::OK, "1048576", ""));
    let (status, _, _) = ask(&mut client, get("/none").body(empty()).unwrap()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    // Sequential requests share one connection to the node.
    assert_eq!(world.node.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn bodies_arrive_whole_with_and_without_a_length() {
    let world = World::new(|options| options.max_body = 1 << 20).await;
    let mut client = world.client().await;
    let long = "0123456789abcdef".repeat(40_000);
    for body in ["", "short", &*long] {
        let request = get("/echo").method("POST").body(Full::from(body.to_owned())).unwrap();
        assert_eq!(ask(&mut client, request).await.2, body);
    }
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(world.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let pieces = ["one ", "", "two ", &*long].map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece.to_owned()))));
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let request = get("/echo").method("POST").body(body).unwrap();
    let answer = timeout(PATIENCE, client.send_request(request)).await.unwrap().unwrap();
    assert!(answer.headers().get("content-length").is_none());
    assert_eq!(text(answer.into_body()).await, format!("one two {long}"));
}

#[tokio::test]
async fn refused_request_leaves_its_connection_open() {
    let world = World::new(|options| options.max_body = 10).await;
    let mut client = world.client().await;
    for sid in ["nonsense", STRANGER] {
        let request = get(&format!("/socket.io/?EIO=4&transport=polling&sid={sid}")).body(empty()).unwrap();
        let (status, fields, body) = ask(&mut client, request).await;
        assert_eq!((status, fields["content-type"].to_str().unwrap()), (StatusCode::BAD_REQUEST, "application/json"));
        assert_eq!(body, r#"{"code":1,"message":"Session ID unknown"}"#);
    }
    let request = get("/echo").method("POST").body(Full::from("more than ten bytes")).unwrap();
    assert_eq!(ask(&mut client, request).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let request = get("/").header("host", "elsewhere").body(empty()).unwrap();
    assert_eq!(ask(&mut client, request).await.0, StatusCode::BAD_REQUEST);
    let request = get(&format!("/{}", "x".repeat(9_000))).body(empty()).unwrap();
    assert_eq!(ask(&mut client, request).await.0, StatusCode::URI_TOO_LONG);
    let request = get("/").header("x-long", "x".repeat(20_000)).body(empty()).unwrap();
    assert_eq!(ask(&mut client, request).await.0, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(world.asked(), Vec::<String>::new());
    // None of this ends the connection.
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn node_learns_when_a_client_gives_its_poll_up() {
    let world = World::new(|_| {}).await;
    let mut client = world.client().await;
    let request = get(&format!("/socket.io/?EIO=4&transport=polling&sid={SESSION}")).body(empty()).unwrap();
    let poll = tokio::spawn(client.send_request(request));
    until("the node has the poll", || world.node.polls.load(SeqCst) == 1).await;
    poll.abort();
    until("the node knows", || world.node.polls.load(SeqCst) == 0).await;
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn client_gets_504_when_its_node_does_not_answer() {
    let world = World::new(|options| options.answer_timeout = Duration::from_secs(1)).await;
    let mut client = world.client().await;
    let request = get(&format!("/socket.io/?EIO=4&transport=polling&sid={SESSION}")).body(empty()).unwrap();
    assert_eq!(ask(&mut client, request).await.0, StatusCode::GATEWAY_TIMEOUT);
    until("the node knows", || world.node.polls.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn stream_is_reset_when_an_answer_breaks_off() {
    let world = World::new(|_| {}).await;
    let mut client = world.client().await;
    let answer = timeout(PATIENCE, client.send_request(get("/broken").body(empty()).unwrap())).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut body = answer.into_body();
    assert!(timeout(PATIENCE, body.frame()).await.unwrap().unwrap().is_ok());
    world.node.breaks_off.notify_one();
    assert!(timeout(PATIENCE, body.collect()).await.unwrap().is_err());
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn node_is_free_when_a_client_reads_no_answer() {
    let world = World::new(|options| options.write_timeout = Duration::from_secs(1)).await;
    let mut client = world.client().await;
    let answer = timeout(PATIENCE, client.send_request(get("/endless").body(empty()).unwrap())).await.unwrap().unwrap();
    until("the node is free", || world.node.polls.load(SeqCst) == 0).await;
    drop(answer);
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn connection_closes_when_idle_and_not_before() {
    let world = World::new(|options| options.keep_alive = Duration::from_secs(1)).await;
    let mut client = world.client().await;
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
    until("the connection is closed", || client.is_closed()).await;
    // A connection with a stream is not idle.
    let mut client = world.client().await;
    let request = get(&format!("/socket.io/?EIO=4&transport=polling&sid={SESSION}")).body(empty()).unwrap();
    let poll = tokio::spawn(client.send_request(request));
    until("the node has the poll", || world.node.polls.load(SeqCst) == 1).await;
    // If the first connection counted as idle, it would end before the second one.
    for _ in 0..2 {
        let mut idle = world.client().await;
        assert_eq!(ask(&mut idle, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
        until("an idle one is closed", || idle.is_closed()).await;
    }
    assert!(!client.is_closed() && !poll.is_finished());
    poll.abort();
    until("the connection is closed", || client.is_closed()).await;
}

#[tokio::test]
async fn drain_closes_connections_and_websockets() {
    let mut world = World::new(|_| {}).await;
    let (mut idle, mut client) = (world.client().await, world.client().await);
    for client in [&mut idle, &mut client] {
        assert_eq!(ask(client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
    }
    let mut answer = client.send_request(websocket()).await.unwrap();
    let mut socket = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
    // The drain is longer than this test, so a close notice ends the connections, and no deadline.
    world.balancer.drain(Duration::from_secs(600));
    let mut end = vec![];
    let _ = timeout(PATIENCE, socket.read_to_end(&mut end)).await.unwrap();
    until("the connections are closed", || idle.is_closed() && client.is_closed()).await;
    timeout(PATIENCE, world.balancer.ended()).await.unwrap();
}
