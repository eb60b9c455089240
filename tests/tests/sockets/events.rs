//! Events and their handlers.

use super::*;

struct Motto(String);

#[tokio::test]
async fn handlers_take_any_extractors() {
    #[derive(serde::Deserialize)]
    struct Point {
        x: i32,
        y: Option<i32>,
    }
    let io = Server::builder().state(Motto("be plain".into())).build().unwrap();
    let node = Node::start(&io);
    io.of("/n").on(
        "all",
        async |socket: Socket,
               Data(first): Data<String>,
               Args((one, two)): Args<(String, u8)>,
               raw: RawArgs,
               name: EventName,
               State(motto): State<Motto>,
               namespace: Namespace,
               ack: Ack| {
            assert_eq!((&*first, two, raw.len(), namespace.name() == socket.namespace().name()), (&*one, 7, 2, true));
            ack.send((&*name.0, &**namespace.name(), &motto.0, raw.raw_json().unwrap()))
        },
    );
    io.of("/n").on("rest", async |server: Server, Auth(auth): Auth<Option<u8>>, handshake: Handshake, ack: Option<Ack>| {
        let told = json!([server.namespaces().len(), auth, handshake.peer_addr().is_some(), handshake.secure()]);
        ack.unwrap().send(told)
    });
    io.of("/n").on("point", async |Data(Point { x, y }): Data<Point>, ack: Ack| ack.send(x + y.unwrap_or(100)));
    io.of("/n").on("sum", async |Args(numbers): Args<Vec<i64>>, ack: Ack| ack.send(numbers.iter().sum::<i64>()));
    io.of("/n").on("maybe", async |Data(text): Data<Option<String>>, ack: Ack| ack.send(text.unwrap_or("none".into())));
    io.of("/n").on("asked", async |ack: Option<Ack>, socket: Socket| socket.emit("asked", ack.is_some()));
    let mut client = Client::session(node.addr).await;
    client.join("/n").await;
    for (sent, answer) in [
        (event("all", json!(["one", 7])), ack(5, ["all", "/n", "be plain", r#""one",7"#])),
        (event("point", json!([{ "x": 1, "y": 2 }])), ack(5, 3)),
        (event("point", json!([{ "x": 1 }])), ack(5, 101)),
        (event("sum", [1, 2, 3, 4]), ack(5, 10)),
        (event("sum", ()), ack(5, 0)),
        (event("maybe", ()), ack(5, "none")),
        (event("maybe", json!([null])), ack(5, "none")),
        (event("maybe", "some"), ack(5, "some")),
    ] {
        client.send(sent.of("/n").id(5)).await;
        assert_eq!(client.packet().await, answer.of("/n"));
    }
    client.send(event("asked", ()).of("/n")).await;
    assert_eq!(client.packet().await, event("asked", false).of("/n"));
    client.send(event("asked", ()).of("/n").id(0)).await;
    assert_eq!(client.packet().await, event("asked", true).of("/n"));
}

#[tokio::test]
async fn bytes_keep_their_places_both_ways() {
    for polling in [false, true] {
        let (io, node) = start(|options| options);
        echoes(&io);
        io.on("flip", async |Args((bytes, more)): Args<(bytes::Bytes, Vec<bytes::Bytes>)>, socket: Socket| {
            assert_eq!(&*bytes, [1, 2, 3]);
            socket.emit("flipped", (&sociable::Value::from(bytes::Bytes::from_static(&[9, 8])), more.len()))
        });
        let mut client = Client::connect_by(node.addr, polling).await;
        let bytes = json!([attachment(1), { "a": [attachment(0)] }]);
        client.send(event("echo", bytes.clone()).id(3).attach([1, 2, 3]).attach([])).await;
        assert_eq!(client.packet().await, ack(3, bytes).attach([1, 2, 3]).attach([]));
        client.send(event("flip", json!([attachment(0), [attachment(0)]])).attach([1, 2, 3])).await;
        assert_eq!(client.packet().await, event("flipped", json!([attachment(0), 1])).attach([9, 8]));
    }
}

#[tokio::test]
async fn eio3_clients_exchange_binary_events() {
    let (io, node) = start(|options| options.allow_eio3(true));
    echoes(&io);
    for mut client in [Client::connect_v3(node.addr).await, Client::connect_polling_v3(node.addr).await] {
        client.send(event("echo", json!([attachment(0), "é🦀"])).id(1).attach([1, 2])).await;
        assert_eq!(client.packet().await, ack(1, json!([attachment(0), "é🦀"])).attach([1, 2]));
    }
}

#[tokio::test]
async fn handler_errors_are_reported_and_counted() {
    let (io, node) = start(|options| options);
    let (errors, error) = note();
    io.on_error(move |_, told| error(told.clone()));
    io.on("number", async |Data(n): Data<u8>, ack: Ack| ack.send(n));
    io.on("two", async |Args((_, _)): Args<(u8, u8)>| {});
    io.on("stateless", async |_: State<String>| {});
    io.on("fails", async || Err::<(), _>("no luck"));
    io.on("fails later", async || {
        tokio::task::yield_now().await;
        "x".parse::<u8>().map(drop)
    });
    let mut client = Client::connect(node.addr).await;
    for wrong in [event("number", "text"), event("number", ()), event("number", 300), event("two", 1), event("stateless", ())] {
        client.send(wrong).await;
    }
    client.emit("fails", ()).await;
    client.emit("fails later", ()).await;
    client.emit("nobody handles this", ()).await;
    assert_eq!(client.ask("number", 7).await, json!([7]), "the connection goes on");
    eventually("all errors are reported", || errors.lock().unwrap().len() == 7).await;
    let errors = errors.lock().unwrap();
    assert!(errors[..5].iter().all(|error| matches!(error, SocketError::Arguments { .. })), "{errors:?}");
    assert!(matches!(&errors[5], SocketError::Handler { event, message } if event == "fails" && message == "no luck"));
    assert!(matches!(&errors[6], SocketError::Handler { event, .. } if event == "fails later"));
    assert_eq!((io.stats().bad_arguments, io.stats().handler_errors), (5, 2));
}

#[tokio::test]
async fn handlers_of_one_socket_begin_in_the_order_of_its_events() {
    let (io, node) = start(|options| options);
    let (begun, begin) = note();
    io.on("n", move |Data(n): Data<usize>| {
        begin(n);
        async move {
            // The first take longest.
            for _ in n..100 {
                tokio::task::yield_now().await;
            }
        }
    });
    let mut client = Client::connect(node.addr).await;
    for n in 0..100 {
        client.emit("n", n).await;
    }
    eventually("all handlers have started", || begun.lock().unwrap().len() == 100).await;
    assert!(begun.lock().unwrap().is_sorted());
}

#[tokio::test]
async fn all_handlers_of_an_event_run_and_off_removes_own() {
    let (io, node) = start(|options| options);
    io.on("e", async |socket: Socket| socket.emit("first", ()));
    io.on("e", async |socket: Socket| socket.emit("second", ()));
    io.on_connect(async |socket: Socket| {
        socket.on("e", async |socket: Socket| socket.emit("own", ()));
        socket.on("off", async |socket: Socket, ack: Ack| {
            socket.off("e");
            ack.send(())
        });
    });
    let mut client = Client::session(node.addr).await;
    client.send(connect()).await;
    client.joined("/").await;
    for heard in [&["first", "second", "own"][..], &["first", "second"]] {
        client.emit("e", ()).await;
        client.send(event("off", ()).id(0)).await;
        let heard: Vec<_> = heard.iter().map(|name| event(name, ())).collect();
        assert_eq!(client.packets_until(ack(0, ())).await, heard);
    }
}

#[tokio::test]
async fn event_middleware_passes_or_drops_events() {
    let (io, node) = start(|options| options);
    let (errors, error) = note();
    echoes(&io);
    io.on_error(move |_, told| error(told.to_string()));
    io.event_middleware(async |EventName(name), args: RawArgs| {
        assert!(name != "echo" || args.len() == 1);
        if name == "forbidden" { Err("not that") } else { Ok(()) }
    });
    io.on_connect(async |socket: Socket| {
        socket.middleware(async |Data(text): Data<String>| if text == "bad" { Err("bad word") } else { Ok(()) });
    });
    let mut client = Client::connect(node.addr).await;
    client.send(event("forbidden", "x").id(1)).await;
    client.send(event("echo", "bad").id(2)).await;
    client.send(event("echo", 5).id(3)).await;
    assert_eq!(client.ask("echo", "good").await, json!(["good"]), "nothing is told to the client of the others");
    let errors = errors.lock().unwrap();
    assert_eq!(errors[..2], ["not that", "bad word"]);
    assert!(errors[2].contains("echo"), "{errors:?}");
    assert_eq!(io.stats().events_refused, 3);
}

#[tokio::test]
async fn events_wait_behind_one_in_middleware() {
    static GO_ON: Semaphore = Semaphore::const_new(0);
    let (io, node) = start(|options| options);
    let (handled, handle) = note();
    io.event_middleware(async |Data(n): Data<usize>| {
        if n % 10 == 0 {
            GO_ON.acquire().await.unwrap().forget();
        }
        if n % 7 == 0 { Err("multiple of seven") } else { Ok(()) }
    });
    io.on("n", move |Data(n): Data<usize>| ready(handle(n)));
    let mut client = Client::connect(node.addr).await;
    for n in 1..=40 {
        client.emit("n", n).await;
    }
    let expected = |last: usize| (1..=last).filter(|n| n % 7 != 0).collect::<Vec<_>>();
    for waits_at in [10, 20, 30, 40] {
        let before = expected(waits_at - 1);
        eventually("all earlier events are handled", || handled.lock().unwrap().len() >= before.len()).await;
        assert_eq!(*handled.lock().unwrap(), before);
        GO_ON.add_permits(1);
    }
    eventually("all events are handled", || handled.lock().unwrap().len() == expected(40).len()).await;
    assert_eq!(*handled.lock().unwrap(), expected(40));
}

#[tokio::test]
async fn client_is_not_read_while_too_many_events_wait() {
    static GO_ON: Semaphore = Semaphore::const_new(0);
    let (io, node) = start(|options| options);
    echoes(&io);
    let (handled, handle) = note();
    io.of("/slow").event_middleware(async || GO_ON.acquire().await.unwrap().forget());
    io.of("/slow").on("n", move |Args((n, _)): Args<(u64, String)>| ready(handle(n)));
    let mut client = Client::session(node.addr).await;
    client.join("/slow").await;
    let mut witness = Client::connect(node.addr).await;
    let before = io.stats().messages_in;
    // One event is in middleware. Six wait, which exceed 1 MiB, and the rest is not read.
    let long = "x".repeat(200_000);
    let sending = tokio::spawn(async move {
        for n in 1..=12 {
            client.send(event("n", json!([n, long])).of("/slow")).await;
        }
        client
    });
    eventually("seven are read", || io.stats().messages_in == before + 7).await;
    for n in 1..=10 {
        witness.ask("echo", 1).await;
        assert_eq!(io.stats().messages_in, before + 7 + n, "no more is read of the one that waits, and others are read");
    }
    GO_ON.add_permits(12);
    eventually("all events are handled", || handled.lock().unwrap().len() == 12).await;
    assert!(handled.lock().unwrap().is_sorted());
    sending.await.unwrap();
}

#[tokio::test]
async fn running_handlers_are_limited_and_may_await_acks() {
    let (io, node) = start(|options| options.max_running_handlers(4));
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
    io.on("ask", move |socket: Socket, ack: Ack| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            let answer = socket.emit_with_ack("question", ()).await.unwrap();
            now.fetch_sub(1, SeqCst);
            ack.send(answer).unwrap();
        }
    });
    for mut client in [Client::connect(node.addr).await, Client::connect_polling(node.addr).await] {
        for n in 0..40 {
            client.send(event("ask", ()).id(n)).await;
        }
        let mut answered = 0;
        while answered < 40 {
            let packet = client.packet().await;
            match packet.kind {
                Kind::Event => client.send(ack(packet.id.unwrap(), 1)).await,
                _ => answered += 1,
            }
        }
    }
    assert_eq!((running.load(SeqCst), most.load(SeqCst)), (0, 4));
}

#[tokio::test]
async fn catch_all_listeners_see_incoming_and_outgoing_events() {
    let (io, node) = start(|options| options);
    let (seen, see) = note();
    let line = |way: &str, context: &EventContext| format!("{way} {} {}", context.name, context.args.raw_json().unwrap());
    let (came, went) = (see.clone(), see.clone());
    io.on_any(move |context| came(line("in", context)));
    io.on_any_outgoing(move |context| went(line("out", context)));
    io.event_middleware(async |EventName(name)| if name == "refused" { Err("no") } else { Ok(()) });
    io.on("say", async |socket: Socket, ack: Ack| {
        socket.emit("said", 1).unwrap();
        ack.send(2)
    });
    io.on_connect(move |socket: Socket| {
        let (own, first) = (see.clone(), see.clone());
        socket.on_any(move |context| own(line("own", context)));
        socket.prepend_any(move |context| first(line("own first", context)));
        socket.on("quiet", async |socket: Socket, ack: Ack| {
            socket.off_any();
            ack.send(())
        });
        ready(())
    });
    let mut client = Client::connect(node.addr).await;
    client.emit("say", "x").await;
    assert_eq!(client.packet().await, event("said", 1));
    client.emit("refused", ()).await;
    assert_eq!(client.ask("quiet", ()).await, json!([]));
    assert_eq!(client.ask("quiet", ()).await, json!([]));
    io.emit("news", ()).unwrap();
    assert_eq!(client.packet().await, event("news", ()));
    let expected = [
        r#"in say "x""#,
        r#"own first say "x""#,
        r#"own say "x""#,
        "out said 1",
        "in refused ",
        "own first refused ",
        "own refused ",
        "in quiet ",
        "own first quiet ",
        "own quiet ",
        "in quiet ",
        "out news ",
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn reserved_names_are_refused_both_ways() {
    let (io, node) = start(|options| options);
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"] {
        assert_eq!(io.emit(name, ()).unwrap_err().to_string(), format!("event name \"{name}\" is reserved: choose another"));
        let mut client = Client::connect(node.addr).await;
        client.emit(name, ()).await;
        assert_eq!(client.next().await, None, "{name}");
    }
    io.emit("error", ()).unwrap();
}

#[tokio::test]
async fn msgpack_parser_reads_and_writes_packets() {
    let (io, node) = start(|options| options.parser(sociable::MsgPackParser::default()));
    io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
    let mut client = Client::session(node.addr).await;
    // {"type":0,"nsp":"/"}
    client.send_binary(b"\x82\xa4type\x00\xa3nsp\xa1/").await;
    let answer = client.binary().await;
    assert!(answer.windows(3).any(|part| part == b"sid"), "{answer:?}");
    // {"type":2,"nsp":"/","id":7,"data":["echo",<01>]}
    client.send_binary(b"\x84\xa4type\x02\xa3nsp\xa1/\xa2id\x07\xa4data\x92\xa4echo\xc4\x01\x01").await;
    let answer = client.binary().await;
    assert!(answer.windows(4).any(|part| part == b"\x91\xc4\x01\x01"), "{answer:?}");
}

#[tokio::test]
async fn fallback_handles_events_without_a_handler() {
    let io = Server::builder().build().unwrap();
    let node = Node::start(&io);
    io.on("known", async |ack: Ack| ack.send("known"));
    io.on_fallback(async |EventName(name): EventName, ack: Ack| ack.send(format!("other: {name}")));
    io.on_connect(async |socket: Socket| socket.on("own", async |ack: Ack| ack.send("own")));
    let parent = io.of_pattern(regex::Regex::new("^/n").unwrap());
    parent.on_fallback(async |ack: Ack| ack.send("pattern"));
    let mut client = Client::session(node.addr).await;
    for namespace in ["/", "/n"] {
        client.join(namespace).await;
    }
    for (namespace, name, answer) in
        [("/", "known", "known"), ("/", "what", "other: what"), ("/", "own", "own"), ("/n", "known", "pattern")]
    {
        client.send(event(name, ()).of(namespace).id(5)).await;
        assert_eq!(client.packet().await, ack(5, answer).of(namespace));
    }
    assert_eq!((io.stats().events_handled, io.stats().events_unheard), (4, 0));
}
