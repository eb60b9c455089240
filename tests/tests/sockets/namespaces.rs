//! Namespaces: who is let in, by which name, with what auth.

use super::*;

#[tokio::test]
async fn client_joins_existing_namespaces_only() {
    let (io, node) = start(|options| options);
    io.of("/chat");
    io.of("news");
    let mut clients = [Client::session(node.addr).await, Client::polling_session(node.addr).await];
    for client in &mut clients {
        client.join("/chat").await;
        client.join("/news").await;
        client.join("/").await;
        assert_ne!(client.id(), client.sid, "the id of a socket may be shown, that of a session is a secret");
        assert_ne!(client.id(), client.id_in("/chat"));
        client.send(connect().of("/nowhere")).await;
        assert_eq!(client.packet().await, connect_error("Invalid namespace").of("/nowhere"));
    }
    assert_eq!((io.socket_count(), io.of("/chat").socket_count()), (2, 2));
    assert_eq!(io.stats().connections_refused, 2);
}

#[tokio::test]
async fn patterns_are_tried_in_the_order_they_were_added() {
    let (io, node) = start(|options| options);
    let (news, listener) = note();
    io.on_new_namespace(move |namespace| listener(namespace.name().to_string()));
    let tell = |which: &'static str| move |socket: Socket| ready(socket.emit("by", which));
    io.of_dynamic(async |name, auth| {
        tokio::task::yield_now().await;
        name.starts_with("/asked") && auth.decode::<serde_json::Value>(0).is_ok_and(|auth| auth["word"] == "please")
    })
    .on_connect(tell("function"));
    io.of_pattern(regex::Regex::new(r"^/\w+-\d+$").unwrap()).on_connect(tell("first pattern"));
    io.of_pattern(regex::Regex::new(r"^/\w+").unwrap()).on_connect(tell("second pattern"));
    io.of("/static-1").on_connect(tell("itself"));

    let mut client = Client::session(node.addr).await;
    let mut by = async |name: &str, auth: serde_json::Value, which: &str| {
        client.send(connect().of(name).data(auth)).await;
        client.joined(name).await;
        assert_eq!(client.packet().await, event("by", which).of(name));
    };
    by("/asked-1", json!({ "word": "please" }), "function").await;
    by("/asked-2", json!({ "word": "now" }), "first pattern").await;
    by("/words", json!(null), "second pattern").await;
    client.send_text("0/,").await;
    client.send(connect().of("/-")).await;
    let answers = [client.packet().await, client.packet().await];
    assert!(answers.iter().any(|answer| answer.kind == Kind::Connect && answer.namespace == "/"), "{answers:?}");
    assert!(answers.contains(&connect_error("Invalid namespace").of("/-")), "{answers:?}");
    assert_eq!(news.lock().unwrap().as_slice(), ["/static-1", "/asked-1", "/asked-2", "/words"]);
}

/// Both spellings of the guide mean the classes of JavaScript.
#[tokio::test]
async fn pattern_is_ascii_where_it_says_so() {
    let (io, node) = start(|options| options);
    for pattern in ["^/plain-[0-9]+$", r"^/flag-(?-u:\d)+$", r"^/word-(?-u:\w)+$", "^/(?i-u:kilos)$", r"^/wide-\d+$"] {
        io.of_pattern(regex::Regex::new(pattern).unwrap());
    }
    let mut client = Client::session(node.addr).await;
    for (name, matches) in [
        ("/plain-7", true),
        ("/plain-\u{663}", false),
        ("/flag-7", true),
        ("/flag-\u{ff17}", false),
        ("/word-a_7", true),
        ("/word-\u{e9}", false),
        ("/KILOS", true),
        ("/\u{212a}ilos", false),
        ("/kilo\u{17f}", false),
        ("/wide-\u{663}", true),
    ] {
        client.send(connect().of(name)).await;
        let kind = if matches { Kind::Connect } else { Kind::ConnectError };
        assert_eq!(client.packet().await.kind, kind, "{name}");
    }
}

#[tokio::test]
async fn child_namespace_has_the_handlers_of_its_pattern() {
    let (io, node) = start(|options| options);
    io.of_pattern(regex::Regex::new("^/room-").unwrap()).on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
    io.of("/room-7").on("own", async |ack: Ack| ack.send("own"));
    let mut client = Client::session(node.addr).await;
    client.join("/room-7").await;
    client.send(event("echo", "x").of("/room-7").id(1)).await;
    assert_eq!(client.packet().await, ack(1, "x").of("/room-7"));
    client.send(event("own", ()).of("/room-7").id(2)).await;
    assert_eq!(client.packet().await, ack(2, "own").of("/room-7"));
}

#[tokio::test]
async fn empty_child_namespaces_are_removed_when_enabled() {
    let pattern = regex::Regex::new("^/child-").unwrap();
    for clean in [true, false] {
        let (io, node) = start(|options| options.cleanup_empty_child_namespaces(clean));
        io.of("/static");
        let children = io.of_pattern(pattern.clone());
        children.middleware(async |Auth(auth): Auth<serde_json::Value>| if auth["deny"] == true { Err("denied") } else { Ok(()) });
        let mut client = Client::session(node.addr).await;
        for name in ["/static", "/child-1", "/child-2"] {
            client.join(name).await;
        }
        client.send(connect().of("/child-3").data(json!({ "deny": true }))).await;
        assert_eq!(client.packet().await, connect_error("denied").of("/child-3"));
        client.send(disconnect().of("/child-1")).await;
        client.send(disconnect().of("/static")).await;
        eventually("the sockets leave", || io.stats().sockets_closed == 2).await;
        let mut left: Vec<_> = children.children().iter().map(|child| child.name().to_string()).collect();
        left.sort();
        assert_eq!(left, if clean { vec!["/child-2"] } else { vec!["/child-1", "/child-2", "/child-3"] });
        // A removed namespace is created again.
        client.join("/child-1").await;
        client.join("/static").await;
    }
}

#[tokio::test]
async fn connect_handler_sees_auth_and_handshake() {
    let (io, node) = start(|options| options);
    let (seen, see) = note();
    io.on_connect(move |Auth(auth): Auth<serde_json::Value>, handshake: Handshake, socket: Socket| {
        assert_eq!(socket.auth::<serde_json::Value>().unwrap(), auth);
        ready(see((auth, handshake.url().to_owned(), handshake.query_value("transport").unwrap().into_owned())))
    });
    for auth in [json!(null), json!({ "token": "abc", "n": [1, 2] })] {
        let mut client = Client::session(node.addr).await;
        client.send(connect().data(auth)).await;
        client.joined("/").await;
    }
    eventually("both are seen", || seen.lock().unwrap().len() == 2).await;
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen[0].0, json!({}));
    assert_eq!(seen[1].0, json!({"token": "abc", "n": [1, 2]}));
    assert_eq!((&*seen[0].1, &*seen[0].2), ("/socket.io/?EIO=4&transport=websocket", "websocket"));
}

#[tokio::test]
async fn middleware_refuses_with_text_and_data() {
    let (io, node) = start(|options| options);
    let (asked, ask) = note();
    let (first, second) = (ask.clone(), ask);
    io.middleware(move |socket: Socket| {
        first("first");
        async move {
            assert!(!socket.is_connected());
            tokio::task::yield_now().await;
            match socket.auth::<serde_json::Value>().unwrap()["user"].as_str() {
                Some("known") => Ok(()),
                Some(_) => Err(Failure::new("not authorized").with_data(&json!({"code": "E_AUTH", "retry": 3}))),
                None => Err(Failure::new("who are you?")),
            }
        }
    });
    io.middleware(move || ready(second("second")));
    for (auth, answer) in [
        (json!({ "user": "other" }), json!({ "message": "not authorized", "data": { "code": "E_AUTH", "retry": 3 } })),
        (json!(null), json!({ "message": "who are you?" })),
    ] {
        let mut client = Client::session(node.addr).await;
        client.send(connect().data(auth)).await;
        assert_eq!(client.packet().await, connect_error("").data(answer));
        // The client may try again on the same connection.
        client.send(connect().data(json!({ "user": "known" }))).await;
        client.joined("/").await;
    }
    assert_eq!(*asked.lock().unwrap(), ["first", "first", "second", "first", "first", "second"]);
    assert_eq!((io.stats().connections_refused, io.stats().sockets_opened), (2, 2));
}

#[tokio::test]
async fn emits_of_middleware_precede_the_connect_answer() {
    let (io, node) = start(|options| options);
    io.middleware(async |socket: Socket| socket.emit("in middleware", ()));
    io.on_connect(async |socket: Socket| socket.emit("in handler", ()));
    let mut client = Client::session(node.addr).await;
    client.send(connect()).await;
    assert_eq!(client.packet().await, event("in middleware", ()));
    client.joined("/").await;
    assert_eq!(client.packet().await, event("in handler", ()));
}

#[tokio::test]
async fn client_that_leaves_during_middleware_is_not_connected() {
    let (io, node) = start(|options| options);
    static GO_ON: Semaphore = Semaphore::const_new(0);
    let connected = note_ends(&io);
    io.middleware(async || drop(GO_ON.acquire().await));
    let mut client = Client::session(node.addr).await;
    client.send(connect()).await;
    eventually("the middleware runs", || io.socket_count() == 1).await;
    client.tear();
    eventually("the session is gone", || io.session_count() == 0).await;
    GO_ON.add_permits(1);
    eventually("so is the socket", || io.socket_count() == 0).await;
    assert_eq!(io.stats().sockets_opened, 0);
    assert!(connected.lock().unwrap().is_empty());
}
