//! Ends of sockets, and the reasons that handlers get.

use super::*;

/// The two lines that are noted of one end, of a socket that was in one room besides its own.
fn end(reason: &str) -> [String; 2] {
    [format!("disconnecting {reason} 2 true"), format!("disconnect {reason} 0 false")]
}

/// A server that notes ends, and does what its clients ask for.
fn noting(options: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (Server, Node, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let (io, node) = start(options);
    let ends = note_ends(&io);
    io.on_connect(async |socket: Socket| socket.join("room"));
    io.on("out", async |socket: Socket| socket.disconnect());
    io.on("close", async |socket: Socket| socket.disconnect_and_close());
    io.of("/other").on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
    echoes(&io);
    (io, node, ends)
}

async fn assert_end(ends: &std::sync::Mutex<Vec<String>>, reason: &str) {
    eventually("both are noted", || ends.lock().unwrap().len() >= 2).await;
    assert_eq!(*ends.lock().unwrap(), end(reason));
}

#[tokio::test]
async fn socket_ends_when_the_client_leaves_its_namespace() {
    let (io, node, ends) = noting(|options| options);
    let mut client = Client::connect(node.addr).await;
    client.join("/other").await;
    client.send(disconnect()).await;
    assert_end(&ends, "client namespace disconnect").await;
    client.send(event("echo", "still here").of("/other").id(0)).await;
    assert_eq!(client.packet().await, ack(0, "still here").of("/other"));
    assert_eq!((io.socket_count(), io.session_count()), (0, 1));
}

#[tokio::test]
async fn socket_ends_when_the_server_disconnects_it() {
    let (io, node, ends) = noting(|options| options);
    let mut client = Client::connect(node.addr).await;
    client.join("/other").await;
    client.emit("out", ()).await;
    assert_eq!(client.packet().await, disconnect());
    assert_end(&ends, "server namespace disconnect").await;
    client.send(event("echo", "still here").of("/other").id(0)).await;
    assert_eq!(client.packet().await, ack(0, "still here").of("/other"));
    // The client may join again.
    client.join("/").await;
    assert_eq!(io.session_count(), 1);
}

#[tokio::test]
async fn sockets_end_when_the_server_closes_the_connection() {
    for polling in [false, true] {
        let (io, node, ends) = noting(|options| options);
        let mut client = Client::connect_by(node.addr, polling).await;
        client.join("/other").await;
        client.emit("close", ()).await;
        let mut rest = client.rest().await;
        rest.sort_by_key(|packet| packet.namespace.clone());
        assert_eq!(rest, [disconnect(), disconnect().of("/other")]);
        assert_end(&ends, "server namespace disconnect").await;
        eventually("the session is gone", || io.session_count() == 0).await;
    }
}

#[tokio::test]
async fn socket_ends_when_the_transport_ends() {
    let (_, node, ends) = noting(|options| options);
    Client::connect(node.addr).await.tear();
    assert_end(&ends, "transport close").await;

    let (_, node, ends) = noting(|options| options);
    Client::connect_polling(node.addr).await.send_engine("1").await;
    assert_end(&ends, "transport close").await;

    let (_, node, ends) = noting(|options| options);
    let mut client = Client::connect(node.addr).await;
    client.send_text(&"x".repeat(1_000_001)).await;
    assert_end(&ends, "transport error").await;

    let (_, node, ends) = noting(|options| options);
    Client::connect(node.addr).await.send_engine("nonsense").await;
    assert_end(&ends, "parse error").await;
}

#[tokio::test]
async fn socket_ends_when_pongs_do_not_come() {
    let (_, node, ends) = noting(|options| options.ping_interval(Duration::from_millis(20)).ping_timeout(Duration::from_millis(50)));
    let _client = Client::connect(node.addr).await;
    assert_end(&ends, "ping timeout").await;
}

#[tokio::test]
async fn socket_ends_when_a_packet_is_invalid() {
    let wrong = [
        "9",
        "x",
        "2{}",
        "2[]",
        "2[null]",
        "2abc[]",
        r#"2["connect"]"#,
        r#"1"x""#,
        "0[]",
        "4",
        r#"5-["a"]"#,
        r#"511-["a"]"#,
        r#"51-["a",{"_placeholder":true,"num":1}]"#,
    ];
    for packet in wrong {
        for polling in [false, true] {
            let (io, node, ends) = noting(|options| options);
            let (errors, error) = note();
            io.on_error(move |_, told| error(matches!(told, SocketError::Decode(_))));
            let mut client = Client::connect_by(node.addr, polling).await;
            client.send_text(packet).await;
            if packet.starts_with("51-") {
                client.send_binary(&[1]).await;
            }
            assert_eq!(client.rest().await, [], "{packet}");
            eventually("both are noted", || ends.lock().unwrap().len() >= 2).await;
            let ends = ends.lock().unwrap();
            // Only polling distinguishes a malformed packet from an unexpected one in the reason.
            let expected = [end("forced close"), end("forced server close")];
            assert!(*ends == expected[0] || (polling && *ends == expected[1]), "{packet} {ends:?}");
            assert_eq!(errors.lock().unwrap().is_empty(), packet == "4", "{packet}");
        }
    }
}

#[tokio::test]
async fn socket_ends_when_bytes_or_text_are_not_due() {
    for (text, bytes, more) in [("", true, ""), (r#"51-["a",{"_placeholder":true,"num":0}]"#, false, r#"2["a"]"#)] {
        let (_, node, ends) = noting(|options| options);
        let mut client = Client::connect(node.addr).await;
        if !text.is_empty() {
            client.send_text(text).await;
        }
        if bytes {
            client.send_binary(&[1]).await;
        } else {
            client.send_text(more).await;
        }
        assert_end(&ends, "forced close").await;
    }
}

#[tokio::test]
async fn socket_ends_when_its_client_connects_twice() {
    let (io, node, ends) = noting(|options| options);
    let mut client = Client::connect(node.addr).await;
    client.join("/other").await;
    client.send(connect()).await;
    assert_eq!(client.rest().await, []);
    assert_end(&ends, "forced close").await;
    eventually("the session is gone", || io.session_count() == 0).await;
    assert_eq!(io.stats().protocol_errors, 1);
}

#[tokio::test]
async fn socket_ends_when_connect_is_repeated_during_middleware() {
    static GO_ON: Semaphore = Semaphore::const_new(0);
    let (io, node, _) = noting(|options| options);
    let waits = io.of("/waits");
    waits.middleware(async || GO_ON.acquire().await.unwrap().forget());
    let mut client = Client::connect(node.addr).await;
    client.send(connect().of("/waits")).await;
    client.send(connect().of("/waits")).await;
    assert_eq!(client.rest().await, []);
    GO_ON.add_permits(2);
    eventually("no socket is in the namespace", || waits.socket_count() == 0).await;
    assert_eq!(io.stats().sockets_opened, 1);
}

#[tokio::test]
async fn socket_ends_when_an_event_is_for_another_namespace() {
    for packet in [event("echo", ()).of("/other"), ack(1, ()).of("/other"), event("echo", ()).of("/nowhere")] {
        let (_, node, ends) = noting(|options| options);
        let mut client = Client::connect(node.addr).await;
        client.send(packet).await;
        assert_eq!(client.rest().await, []);
        assert_end(&ends, "forced close").await;
    }
    let (_, node, ends) = noting(|options| options);
    let mut client = Client::connect(node.addr).await;
    client.join("/other").await;
    client.send(disconnect().of("/other")).await;
    client.send(event("echo", ()).of("/other")).await;
    assert_eq!(client.rest().await, []);
    assert_end(&ends, "forced close").await;
}

#[tokio::test]
async fn socket_ends_when_an_event_comes_before_the_connect() {
    static NEVER: Semaphore = Semaphore::const_new(0);
    let (io, node, _) = noting(|options| options);
    io.of("/waits").middleware(async || NEVER.acquire().await.unwrap().forget());
    let mut client = Client::session(node.addr).await;
    client.send(connect().of("/waits")).await;
    client.send(event("echo", ()).of("/waits")).await;
    assert_eq!(client.rest().await, []);
}

#[tokio::test]
async fn session_ends_when_no_namespace_is_joined_in_time() {
    let (io, node, _) = noting(|options| options.connect_timeout(Duration::from_millis(50)));
    for polling in [false, true] {
        let mut client = if polling { Client::polling_session(node.addr).await } else { Client::session(node.addr).await };
        client.send(connect().of("/nowhere")).await;
        // On a slow machine the time may be over before.
        let refusal = connect_error("Invalid namespace").of("/nowhere");
        assert!(client.rest().await.iter().all(|packet| *packet == refusal));
    }
    eventually("both are gone", || io.session_count() == 0).await;
}

#[tokio::test]
async fn session_stays_when_all_namespaces_are_left() {
    let (io, node, ends) = noting(|options| options.connect_timeout(Duration::from_millis(50)));
    let mut client = Client::connect(node.addr).await;
    client.send(disconnect()).await;
    assert_end(&ends, "client namespace disconnect").await;
    // Another that joins none is closed meanwhile.
    assert_eq!(Client::session(node.addr).await.next().await, None);
    assert_eq!(io.session_count(), 1);
    client.join("/").await;
}

#[tokio::test]
async fn sockets_end_when_the_server_is_closed() {
    let (io, node, ends) = noting(|options| options);
    let (mut socket, mut polling) = (Client::connect(node.addr).await, Client::connect_polling(node.addr).await);
    let server = io.clone();
    let closing = tokio::spawn(async move { server.close(patience()).await });
    // No packet of Socket.IO is sent, so the clients reconnect automatically.
    assert_eq!(socket.rest().await, []);
    drop(socket);
    assert_eq!(polling.rest().await, []);
    within("the end of the close", closing).await.unwrap();
    assert_eq!(io.session_count(), 0);
    let mut ends = ends.lock().unwrap().clone();
    ends.sort();
    assert_eq!(ends, {
        let [leaving, left] = end("server shutting down");
        [left.clone(), left, leaving.clone(), leaving]
    });
    assert_eq!(sociable_tests::get(node.addr, "/socket.io/?EIO=4&transport=polling").await.status, 503);
    io.close(patience()).await;
}

#[tokio::test]
async fn disconnect_handler_runs_once_per_socket() {
    static ENDS: AtomicUsize = AtomicUsize::new(0);
    let (io, node, _) = noting(|options| options);
    io.on_disconnect(async |socket: Socket, reason: DisconnectReason| {
        assert!(matches!(reason, DisconnectReason::ServerNamespaceDisconnect | DisconnectReason::Session(CloseReason::TransportClose)));
        socket.disconnect();
        socket.disconnect_and_close();
        socket.emit("x", ()).unwrap_err();
        socket.join("room");
        ENDS.fetch_add(1, Ordering::SeqCst);
    });
    let mut client = Client::connect(node.addr).await;
    client.emit("close", ()).await;
    client.emit("out", ()).await;
    client.rest().await;
    eventually("the session is gone", || io.session_count() == 0).await;
    assert_eq!(ENDS.load(Ordering::SeqCst), 1);
    assert!(io.local_rooms().await.is_empty(), "a socket that left joins no room");
}
