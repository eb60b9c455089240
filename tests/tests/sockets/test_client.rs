//! The client with which applications test their handlers.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sociable::testing::{TestError, TestServer};
use sociable::{Auth, Failure, MsgPackParser, RawArgs, Recovery, Server, Socket, Value};
use sociable_tests::eventually;

#[tokio::test]
async fn test_client_names_the_missing_event_when_it_times_out() {
    let io = Server::builder().build().unwrap();
    io.on("hello", async |socket: Socket| drop(socket.emit("other", ())));
    let server = TestServer::start(&io).unwrap();
    let client = server.client().patience(Duration::from_millis(100)).connect().await.unwrap();
    client.emit("hello", ()).unwrap();
    client.sync().await.unwrap();
    let error = client.expect("greeting").await.unwrap_err();
    assert_eq!(error.to_string(), r#"timed out waiting for "greeting": received ["other"]"#);
    // Other events stay queued.
    assert_eq!(client.expect("other").await.unwrap().name, "other");
}

#[tokio::test]
async fn namespace_query_header_and_auth_arrive() {
    let io = Server::builder().build().unwrap();
    let rooms = io.of("/rooms");
    rooms.middleware(async |Auth(auth): Auth<Value>| match auth.get("token").and_then(Value::as_str) {
        Some("open") => Ok(()),
        _ => Err(Failure::new("closed").with_data(&json!({ "code": 1 }))),
    });
    rooms.on_connect(async |socket: Socket| {
        let handshake = socket.handshake();
        let seen = (handshake.query_value("a b").map(|value| value.into_owned()), handshake.header("x-test").map(str::to_owned));
        socket.emit("seen", seen).ok();
    });
    let server = TestServer::start(&io).unwrap();
    let visitor = || server.client().namespace("/rooms").query("a b", "c&d").header("x-test", "yes");
    match visitor().connect().await.unwrap_err() {
        TestError::Refused { message, data } => assert_eq!((message.as_str(), data), ("closed", json!({ "code": 1 }))),
        other => panic!("{other}"),
    }
    let client = visitor().auth(&json!({ "token": "open" })).connect().await.unwrap();
    let seen: (String, String) = client.next().await.unwrap().all().unwrap();
    assert_eq!(seen, ("c&d".into(), "yes".into()));
    assert!(matches!(server.client().namespace("/unknown").connect().await, Err(TestError::Refused { .. })));
}

#[tokio::test]
async fn binary_and_messagepack_go_both_ways() {
    for packed in [false, true] {
        let builder = Server::builder();
        let io = if packed { builder.parser(MsgPackParser::default()) } else { builder }.build().unwrap();
        io.on("echo", async |socket: Socket, args: RawArgs| drop(socket.emit("echo", args)));
        let server = TestServer::start(&io).unwrap();
        let client = if packed { server.client().parser(MsgPackParser::default()) } else { server.client() }.connect().await.unwrap();
        client.emit("echo", ("é", Bytes::from_static(&[0, 255]))).unwrap();
        let (text, bytes): (String, Bytes) = client.expect("echo").await.unwrap().all().unwrap();
        assert_eq!((text.as_str(), &bytes[..]), ("é", &[0, 255][..]));
    }
}

#[tokio::test]
async fn test_client_sees_the_disconnect_and_recovers() {
    let io = Server::builder().recovery(Recovery::default()).build().unwrap();
    io.on("out", async |socket: Socket| socket.disconnect());
    let server = TestServer::start(&io).unwrap();
    let client = server.connect().await.unwrap();
    client.emit("out", ()).unwrap();
    assert_eq!(client.disconnected().await.unwrap(), "io server disconnect");
    assert!(matches!(client.next().await, Err(TestError::Disconnected { .. })));

    let client = server.connect().await.unwrap();
    io.emit("n", 1).unwrap();
    client.expect("n").await.unwrap();
    let id = client.id().to_owned();
    let lost = client.drop_connection();
    io.emit("n", 2).unwrap();
    let client = server.client().recover(lost.clone()).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(client.id(), id);
    assert_eq!(client.expect("n").await.unwrap().data::<u32>().unwrap(), 2);
    client.disconnect();
    // Until the server notices the leave, the session is recoverable.
    eventually("the socket has left", || io.socket_count() == 0).await;
    let fresh = server.client().recover(lost).connect().await.unwrap();
    assert!(!fresh.recovered());
}

#[actix_web::test]
async fn test_client_works_on_the_actix_runtime() {
    let io = Server::builder().build().unwrap();
    let server = TestServer::start(&io).unwrap();
    let client = server.connect().await.unwrap();
    io.emit("hello", "all").unwrap();
    assert_eq!(client.expect("hello").await.unwrap().data::<String>().unwrap(), "all");
    drop(server);
    assert_eq!(client.disconnected().await.unwrap(), "transport close");
}
