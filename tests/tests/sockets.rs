//! Namespaces, handlers, acknowledgements, and how sockets end.
#![allow(clippy::unwrap_used, clippy::unit_arg, reason = "a helper that fails fails its test, and a handler is often one call")]

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, Ordering::SeqCst};
use std::time::Duration;

use serde_json::json;
use sociable::handler::EventContext;
use sociable::{
    Ack, AckError, Args, Auth, CloseReason, Data, DisconnectReason, EventName, Failure, Handshake, Namespace, RawArgs, Server,
    ServerBuilder, Socket, SocketError, State,
};
use sociable_tests::{Client, Message, Node, eventually, note, patience, within};
use tokio::sync::Semaphore;

fn start(options: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (Server, Node) {
    let io = options(Server::builder()).build().unwrap();
    let node = Node::start(&io);
    (io, node)
}

/// Answers the event `echo` with what came.
fn echoes(io: &Server) {
    io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
}

/// Notes the ends of all sockets, in the form `event reason rooms connected`.
fn note_ends(namespace: &Namespace) -> std::sync::Arc<std::sync::Mutex<Vec<String>>> {
    let (ends, end) = note();
    let leaving = end.clone();
    namespace.on_disconnecting(move |socket: Socket, reason: DisconnectReason| {
        ready(leaving(format!("disconnecting {reason} {} {}", socket.rooms().len(), socket.is_connected())))
    });
    namespace.on_disconnect(move |socket: Socket, reason: DisconnectReason| {
        ready(end(format!("disconnect {reason} {} {}", socket.rooms().len(), socket.is_connected())))
    });
    ends
}

mod namespaces {
    use super::*;

    #[tokio::test]
    async fn a_client_joins_those_that_there_are() {
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
            client.send("0/nowhere,").await;
            assert_eq!(client.packet().await, r#"44/nowhere,{"message":"Invalid namespace"}"#[1..]);
        }
        assert_eq!((io.socket_count(), io.of("/chat").socket_count()), (2, 2));
        assert_eq!(io.stats().connections_refused, 2);
    }

    #[tokio::test]
    async fn patterns_make_namespaces_in_the_order_in_which_they_were_added() {
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
        let mut by = async |name: &str, auth: &str| {
            client.send(&format!("0{name},{auth}")).await;
            client.joined(name).await;
            client.packet().await.strip_prefix(&format!(r#"2{name},["by",""#)).unwrap().trim_end_matches("\"]").to_owned()
        };
        assert_eq!(by("/asked-1", r#"{"word":"please"}"#).await, "function");
        assert_eq!(by("/asked-2", r#"{"word":"now"}"#).await, "first pattern");
        assert_eq!(by("/words", "").await, "second pattern");
        client.send("0/,").await;
        client.send("0/-,").await;
        let (a, b) = (client.packet().await, client.packet().await);
        assert!(a.starts_with("0{") || b.starts_with("0{"), "{a} {b}");
        assert!(a == r#"4/-,{"message":"Invalid namespace"}"# || b == r#"4/-,{"message":"Invalid namespace"}"#, "{a} {b}");
        assert_eq!(news.lock().unwrap().as_slice(), ["/static-1", "/asked-1", "/asked-2", "/words"]);
    }

    #[tokio::test]
    async fn a_namespace_that_was_asked_for_by_name_has_what_its_pattern_has() {
        let (io, node) = start(|options| options);
        io.of_pattern(regex::Regex::new("^/room-").unwrap()).on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
        io.of("/room-7").on("own", async |ack: Ack| ack.send("own"));
        let mut client = Client::session(node.addr).await;
        client.join("/room-7").await;
        client.send(r#"2/room-7,1["echo","x"]"#).await;
        assert_eq!(client.packet().await, r#"3/room-7,1["x"]"#);
        client.send(r#"2/room-7,2["own"]"#).await;
        assert_eq!(client.packet().await, r#"3/room-7,2["own"]"#);
    }

    #[tokio::test]
    async fn empty_children_go_if_that_is_wanted() {
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
            client.send(r#"0/child-3,{"deny":true}"#).await;
            assert_eq!(client.packet().await, r#"4/child-3,{"message":"denied"}"#);
            client.send("1/child-1,").await;
            client.send("1/static,").await;
            eventually("the sockets leave", || io.stats().sockets_closed == 2).await;
            let mut left: Vec<_> = children.children().iter().map(|child| child.name().to_string()).collect();
            left.sort();
            assert_eq!(left, if clean { vec!["/child-2"] } else { vec!["/child-1", "/child-2", "/child-3"] });
            // One that went is made again.
            client.join("/child-1").await;
            client.join("/static").await;
        }
    }

    #[tokio::test]
    async fn what_a_client_sends_to_be_let_in_is_seen() {
        let (io, node) = start(|options| options);
        let (seen, see) = note();
        io.on_connect(move |Auth(auth): Auth<serde_json::Value>, handshake: Handshake, socket: Socket| {
            assert_eq!(socket.auth::<serde_json::Value>().unwrap(), auth);
            ready(see((auth, handshake.url().to_owned(), handshake.query_value("transport").unwrap().into_owned())))
        });
        for auth in ["", r#"{"token":"abc","n":[1,2]}"#] {
            let mut client = Client::session(node.addr).await;
            client.send(&format!("0{auth}")).await;
            client.joined("/").await;
        }
        eventually("both are seen", || seen.lock().unwrap().len() == 2).await;
        let seen = seen.lock().unwrap().clone();
        assert_eq!(seen[0].0, json!({}));
        assert_eq!(seen[1].0, json!({"token": "abc", "n": [1, 2]}));
        assert_eq!((&*seen[0].1, &*seen[0].2), ("/socket.io/?EIO=4&transport=websocket", "websocket"));
    }

    #[tokio::test]
    async fn a_middleware_refuses_with_text_and_data() {
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
            (r#"{"user":"other"}"#, r#"4{"message":"not authorized","data":{"code":"E_AUTH","retry":3}}"#),
            ("", r#"4{"message":"who are you?"}"#),
        ] {
            let mut client = Client::session(node.addr).await;
            client.send(&format!("0{auth}")).await;
            assert_eq!(client.packet().await, answer);
            // It may try again on the same connection.
            client.send(r#"0{"user":"known"}"#).await;
            client.joined("/").await;
        }
        assert_eq!(*asked.lock().unwrap(), ["first", "first", "second", "first", "first", "second"]);
        assert_eq!((io.stats().connections_refused, io.stats().sockets_opened), (2, 2));
    }

    #[tokio::test]
    async fn what_a_middleware_emits_comes_before_the_answer_and_what_a_handler_emits_behind_it() {
        let (io, node) = start(|options| options);
        io.middleware(async |socket: Socket| socket.emit("in middleware", ()));
        io.on_connect(async |socket: Socket| socket.emit("in handler", ()));
        let mut client = Client::session(node.addr).await;
        client.send("0").await;
        assert_eq!(client.packet().await, r#"2["in middleware"]"#);
        client.joined("/").await;
        assert_eq!(client.packet().await, r#"2["in handler"]"#);
    }

    #[tokio::test]
    async fn a_client_that_goes_while_it_is_asked_for_is_never_connected() {
        let (io, node) = start(|options| options);
        static GO_ON: Semaphore = Semaphore::const_new(0);
        let connected = note_ends(&io);
        io.middleware(async || drop(GO_ON.acquire().await));
        let mut client = Client::session(node.addr).await;
        client.send("0").await;
        eventually("it is asked for", || io.socket_count() == 1).await;
        client.tear();
        eventually("the session is gone", || io.session_count() == 0).await;
        GO_ON.add_permits(1);
        eventually("so is the socket", || io.socket_count() == 0).await;
        assert_eq!(io.stats().sockets_opened, 0);
        assert!(connected.lock().unwrap().is_empty());
    }
}

mod events {
    use super::*;

    struct Motto(String);

    #[tokio::test]
    async fn handlers_take_what_they_need() {
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
            (r#"["all","one",7]"#, r#"["all","/n","be plain","\"one\",7"]"#),
            (r#"["point",{"x":1,"y":2}]"#, "[3]"),
            (r#"["point",{"x":1}]"#, "[101]"),
            (r#"["sum",1,2,3,4]"#, "[10]"),
            (r#"["sum"]"#, "[0]"),
            (r#"["maybe"]"#, r#"["none"]"#),
            (r#"["maybe",null]"#, r#"["none"]"#),
            (r#"["maybe","some"]"#, r#"["some"]"#),
        ] {
            client.send(&format!("2/n,5{sent}")).await;
            assert_eq!(client.packet().await, format!("3/n,5{answer}"), "{sent}");
        }
        client.send(r#"2/n,["asked"]"#).await;
        assert_eq!(client.packet().await, r#"2/n,["asked",false]"#);
        client.send(r#"2/n,0["asked"]"#).await;
        assert_eq!(client.packet().await, r#"2/n,["asked",true]"#);
    }

    #[tokio::test]
    async fn bytes_come_and_go_in_their_places() {
        for polling in [false, true] {
            let (io, node) = start(|options| options);
            echoes(&io);
            io.on("flip", async |Args((bytes, more)): Args<(bytes::Bytes, Vec<bytes::Bytes>)>, socket: Socket| {
                assert_eq!(&*bytes, [1, 2, 3]);
                socket.emit("flipped", (&sociable::Value::from(bytes::Bytes::from_static(&[9, 8])), more.len()))
            });
            let mut client = if polling { Client::connect_polling(node.addr).await } else { Client::connect(node.addr).await };
            client.send(r#"52-3["echo",{"_placeholder":true,"num":1},{"a":[{"_placeholder":true,"num":0}]}]"#).await;
            client.send_binary(&[1, 2, 3]).await;
            client.send_binary(&[]).await;
            assert_eq!(client.packet().await, r#"62-3[{"_placeholder":true,"num":1},{"a":[{"_placeholder":true,"num":0}]}]"#);
            assert_eq!((client.binary().await, client.binary().await), (vec![1, 2, 3], vec![]));
            client.send(r#"51-["flip",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":0}]]"#).await;
            client.send_binary(&[1, 2, 3]).await;
            assert_eq!(client.packet().await, r#"51-["flipped",{"_placeholder":true,"num":0},1]"#);
            assert_eq!(client.binary().await, [9, 8]);
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_a_handler_is_told_and_counted() {
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
        for wrong in [r#"["number","text"]"#, r#"["number"]"#, r#"["number",300]"#, r#"["two",1]"#, r#"["stateless"]"#] {
            client.send(&format!("2{wrong}")).await;
        }
        client.send(r#"2["fails"]"#).await;
        client.send(r#"2["fails later"]"#).await;
        client.send(r#"2["nobody handles this"]"#).await;
        assert_eq!(client.ask("number", "7").await, "[7]", "the connection goes on");
        eventually("all are told", || errors.lock().unwrap().len() == 7).await;
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
            client.send(&format!(r#"2["n",{n}]"#)).await;
        }
        eventually("all have begun", || begun.lock().unwrap().len() == 100).await;
        assert!(begun.lock().unwrap().is_sorted());
    }

    #[tokio::test]
    async fn several_handlers_of_an_event_are_all_called_and_those_of_a_socket_can_go() {
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
        client.send("0").await;
        client.joined("/").await;
        for (others, last) in
            [(vec![r#"2["first"]"#, r#"2["second"]"#, r#"2["own"]"#], "30[]"), (vec![r#"2["first"]"#, r#"2["second"]"#], "30[]")]
        {
            client.send(r#"2["e"]"#).await;
            client.send(r#"20["off"]"#).await;
            assert_eq!(client.packets_until(last).await, others);
        }
    }

    #[tokio::test]
    async fn middleware_of_events_lets_pass_or_drops() {
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
        client.send(r#"21["forbidden","x"]"#).await;
        client.send(r#"22["echo","bad"]"#).await;
        client.send(r#"23["echo",5]"#).await;
        assert_eq!(client.ask("echo", r#""good""#).await, r#"["good"]"#, "nothing is told to the client of the others");
        let errors = errors.lock().unwrap();
        assert_eq!(errors[..2], ["not that", "bad word"]);
        assert!(errors[2].contains("echo"), "{errors:?}");
        assert_eq!(io.stats().events_refused, 3);
    }

    #[tokio::test]
    async fn events_behind_one_that_waits_for_its_middleware_wait_too() {
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
            client.send(&format!(r#"2["n",{n}]"#)).await;
        }
        let expected = |last: usize| (1..=last).filter(|n| n % 7 != 0).collect::<Vec<_>>();
        for waits_at in [10, 20, 30, 40] {
            let before = expected(waits_at - 1);
            eventually("all before are handled", || handled.lock().unwrap().len() >= before.len()).await;
            assert_eq!(*handled.lock().unwrap(), before);
            GO_ON.add_permits(1);
        }
        eventually("all are handled", || handled.lock().unwrap().len() == expected(40).len()).await;
        assert_eq!(*handled.lock().unwrap(), expected(40));
    }

    #[tokio::test]
    async fn a_client_is_not_read_while_too_much_of_its_events_waits() {
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
        // One is asked about; six wait until they are more than 1 MiB; the rest is not read.
        let long = "x".repeat(200_000);
        let sending = tokio::spawn(async move {
            for n in 1..=12 {
                client.send(&format!(r#"2/slow,["n",{n},"{long}"]"#)).await;
            }
            client
        });
        eventually("seven are read", || io.stats().messages_in == before + 7).await;
        for n in 1..=10 {
            witness.ask("echo", "1").await;
            assert_eq!(io.stats().messages_in, before + 7 + n, "no more is read of the one that waits, and others are read");
        }
        GO_ON.add_permits(12);
        eventually("all are handled", || handled.lock().unwrap().len() == 12).await;
        assert!(handled.lock().unwrap().is_sorted());
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn no_more_handlers_run_than_may_and_they_can_wait_for_their_client() {
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
                client.send(&format!(r#"2{n}["ask"]"#)).await;
            }
            let mut answered = 0;
            while answered < 40 {
                let packet = client.packet().await;
                match packet.strip_suffix(r#"["question"]"#) {
                    Some(question) => client.send(&format!("3{}[1]", &question[1..])).await,
                    None => answered += 1,
                }
            }
        }
        assert_eq!((running.load(SeqCst), most.load(SeqCst)), (0, 4));
    }

    #[tokio::test]
    async fn catch_all_listeners_see_what_comes_and_what_goes() {
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
        client.send(r#"2["say","x"]"#).await;
        assert_eq!(client.packet().await, r#"2["said",1]"#);
        client.send(r#"2["refused"]"#).await;
        assert_eq!(client.ask("quiet", "").await, "[]");
        assert_eq!(client.ask("quiet", "").await, "[]");
        io.emit("news", ()).unwrap();
        assert_eq!(client.packet().await, r#"2["news"]"#);
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
            assert_eq!(io.emit(name, ()).unwrap_err().to_string(), format!("\"{name}\" is a reserved event name"));
            let mut client = Client::connect(node.addr).await;
            client.send(&format!(r#"2["{name}"]"#)).await;
            assert_eq!(client.next().await, None, "{name}");
        }
        io.emit("error", ()).unwrap();
    }
}

mod acks {
    use super::*;

    #[tokio::test]
    async fn an_answer_goes_once() {
        let (io, node) = start(|options| options);
        io.on("twice", async |ack: Ack| {
            ack.clone().send((1, "two", [3]))?;
            ack.send("again")
        });
        io.on("later", async |ack: Ack| {
            tokio::task::yield_now().await;
            ack.send(())
        });
        let mut client = Client::connect(node.addr).await;
        assert_eq!(client.ask("twice", "").await, r#"[1,"two",[3]]"#);
        assert_eq!(client.ask("later", "").await, "[]");
        // Without being asked for, nothing is sent.
        client.send(r#"2["twice"]"#).await;
        assert_eq!(client.ask("later", "").await, "[]");
    }

    /// A server that asks its client when told to, and notes what came of it.
    async fn asking(timeout: Option<Duration>) -> (Server, Node, std::sync::Arc<std::sync::Mutex<Vec<Result<String, AckError>>>>) {
        let (io, node) = start(|options| options);
        let (answers, answer) = note();
        io.on("ask me", move |socket: Socket| {
            let pending = match timeout {
                Some(timeout) => socket.timeout(timeout).emit_with_ack("question", "how?"),
                None => socket.emit_with_ack("question", "how?"),
            };
            let answer = answer.clone();
            async move { answer(pending.await.map(|args| args.raw_json().unwrap().to_owned())) }
        });
        echoes(&io);
        (io, node, answers)
    }

    #[tokio::test]
    async fn a_client_is_asked_and_answers() {
        let (io, node, answers) = asking(Some(patience())).await;
        let mut client = Client::connect(node.addr).await;
        client.send(r#"2["ask me"]"#).await;
        assert_eq!(client.packet().await, r#"20["question","how?"]"#);
        client.send(r#"30["so",1]"#).await;
        client.send(r#"30["twice"]"#).await;
        client.send(r#"399["unknown"]"#).await;
        client.send(r#"3["no id"]"#).await;
        eventually("the answer comes", || answers.lock().unwrap().len() == 1).await;
        assert_eq!(*answers.lock().unwrap(), [Ok(r#""so",1"#.to_owned())]);
        assert_eq!(client.ask("echo", "1").await, "[1]", "answers that nobody waits for are ignored");
        assert_eq!(io.stats().acks_unexpected, 3);
    }

    #[tokio::test]
    async fn no_answer_in_time_is_an_error_and_a_late_one_is_ignored() {
        let (io, node, answers) = asking(Some(Duration::from_millis(20))).await;
        let mut client = Client::connect(node.addr).await;
        client.send(r#"2["ask me"]"#).await;
        eventually("the time is over", || answers.lock().unwrap().len() == 1).await;
        assert_eq!(*answers.lock().unwrap(), [Err(AckError::Timeout)]);
        assert_eq!(AckError::Timeout.to_string(), "operation has timed out");
        client.packet().await;
        client.send(r#"30["late"]"#).await;
        client.ask("echo", "1").await;
        assert_eq!((io.stats().acks_timed_out, io.stats().acks_unexpected), (1, 1), "nothing is kept of what timed out");
    }

    #[tokio::test]
    async fn a_socket_that_leaves_owes_no_answer() {
        for how in ["1", "tear", "close"] {
            for timeout in [None, Some(patience() * 4)] {
                let (_, node, answers) = asking(timeout).await;
                let mut client = Client::connect(node.addr).await;
                client.send(r#"2["ask me"]"#).await;
                client.packet().await;
                match how {
                    "tear" => client.tear(),
                    "close" => client.send_engine("1").await,
                    leave => client.send(leave).await,
                }
                eventually("it is over", || answers.lock().unwrap().len() == 1).await;
                assert_eq!(*answers.lock().unwrap(), [Err(AckError::Disconnected)]);
            }
        }
    }

    #[tokio::test]
    async fn bytes_come_back_in_an_answer() {
        let (io, node) = start(|options| options);
        let (answers, answer) = note();
        io.on_connect(move |socket: Socket| {
            let (answer, pending) = (answer.clone(), socket.emit_with_ack("q", ()));
            async move { answer(pending.await.unwrap().decode::<bytes::Bytes>(0).unwrap()) }
        });
        let mut client = Client::connect(node.addr).await;
        assert_eq!(client.packet().await, r#"20["q"]"#);
        client.send(r#"61-0[{"_placeholder":true,"num":0}]"#).await;
        client.send_binary(&[5, 6]).await;
        eventually("the answer comes", || answers.lock().unwrap().len() == 1).await;
        assert_eq!(&*answers.lock().unwrap()[0], [5, 6]);
    }
}

mod ends {
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
    async fn by_the_client_leaving_its_namespace() {
        let (io, node, ends) = noting(|options| options);
        let mut client = Client::connect(node.addr).await;
        client.join("/other").await;
        client.send("1").await;
        assert_end(&ends, "client namespace disconnect").await;
        client.send(r#"2/other,0["echo","still here"]"#).await;
        assert_eq!(client.packet().await, r#"3/other,0["still here"]"#);
        assert_eq!((io.socket_count(), io.session_count()), (0, 1));
    }

    #[tokio::test]
    async fn by_the_server_putting_it_out() {
        let (io, node, ends) = noting(|options| options);
        let mut client = Client::connect(node.addr).await;
        client.join("/other").await;
        client.send(r#"2["out"]"#).await;
        assert_eq!(client.packet().await, "1");
        assert_end(&ends, "server namespace disconnect").await;
        client.send(r#"2/other,0["echo","still here"]"#).await;
        assert_eq!(client.packet().await, r#"3/other,0["still here"]"#);
        // It may come back.
        client.join("/").await;
        assert_eq!(io.session_count(), 1);
    }

    #[tokio::test]
    async fn by_the_server_closing_its_connection() {
        for polling in [false, true] {
            let (io, node, ends) = noting(|options| options);
            let mut client = if polling { Client::connect_polling(node.addr).await } else { Client::connect(node.addr).await };
            client.join("/other").await;
            client.send(r#"2["close"]"#).await;
            let mut rest = client.rest().await;
            rest.sort_by_key(|message| format!("{message:?}"));
            assert_eq!(rest, [Message::Text("1".into()), Message::Text("1/other,".into())]);
            assert_end(&ends, "server namespace disconnect").await;
            eventually("the session is gone", || io.session_count() == 0).await;
        }
    }

    #[tokio::test]
    async fn by_the_transport() {
        let (_, node, ends) = noting(|options| options);
        Client::connect(node.addr).await.tear();
        assert_end(&ends, "transport close").await;

        let (_, node, ends) = noting(|options| options);
        Client::connect_polling(node.addr).await.send_engine("1").await;
        assert_end(&ends, "transport close").await;

        let (_, node, ends) = noting(|options| options);
        let mut client = Client::connect(node.addr).await;
        client.send(&"x".repeat(1_000_001)).await;
        assert_end(&ends, "transport error").await;

        let (_, node, ends) = noting(|options| options);
        Client::connect(node.addr).await.send_engine("nonsense").await;
        assert_end(&ends, "parse error").await;
    }

    #[tokio::test]
    async fn by_silence() {
        let (_, node, ends) = noting(|options| options.ping_interval(Duration::from_millis(20)).ping_timeout(Duration::from_millis(50)));
        let _client = Client::connect(node.addr).await;
        assert_end(&ends, "ping timeout").await;
    }

    #[tokio::test]
    async fn by_what_is_no_packet() {
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
                let mut client = if polling { Client::connect_polling(node.addr).await } else { Client::connect(node.addr).await };
                client.send(packet).await;
                if packet.starts_with("51-") {
                    client.send_binary(&[1]).await;
                }
                assert_eq!(client.rest().await, [], "{packet}");
                eventually("both are noted", || ends.lock().unwrap().len() >= 2).await;
                let ends = ends.lock().unwrap();
                // Whether the connection is closed for what it is, or for what it means here, shows in the reason only by polling.
                let expected = [end("forced close"), end("forced server close")];
                assert!(*ends == expected[0] || (polling && *ends == expected[1]), "{packet} {ends:?}");
                assert_eq!(errors.lock().unwrap().is_empty(), packet == "4", "{packet}");
            }
        }
    }

    #[tokio::test]
    async fn by_bytes_or_text_where_the_other_is_due() {
        for (text, bytes, more) in [("", true, ""), (r#"51-["a",{"_placeholder":true,"num":0}]"#, false, r#"2["a"]"#)] {
            let (_, node, ends) = noting(|options| options);
            let mut client = Client::connect(node.addr).await;
            if !text.is_empty() {
                client.send(text).await;
            }
            if bytes {
                client.send_binary(&[1]).await;
            } else {
                client.send(more).await;
            }
            assert_end(&ends, "forced close").await;
        }
    }

    #[tokio::test]
    async fn by_a_second_connect() {
        let (io, node, ends) = noting(|options| options);
        let mut client = Client::connect(node.addr).await;
        client.join("/other").await;
        client.send("0").await;
        assert_eq!(client.rest().await, []);
        assert_end(&ends, "forced close").await;
        eventually("the session is gone", || io.session_count() == 0).await;
        assert_eq!(io.stats().protocol_errors, 1);
    }

    #[tokio::test]
    async fn by_a_second_connect_while_the_first_is_asked_for() {
        static GO_ON: Semaphore = Semaphore::const_new(0);
        let (io, node, _) = noting(|options| options);
        let waits = io.of("/waits");
        waits.middleware(async || GO_ON.acquire().await.unwrap().forget());
        let mut client = Client::connect(node.addr).await;
        client.send("0/waits,").await;
        client.send("0/waits,").await;
        assert_eq!(client.rest().await, []);
        GO_ON.add_permits(2);
        eventually("nobody is in it", || waits.socket_count() == 0).await;
        assert_eq!(io.stats().sockets_opened, 1);
    }

    #[tokio::test]
    async fn by_an_event_to_a_namespace_that_it_is_not_in() {
        for packet in [r#"2/other,["echo"]"#, r#"3/other,1[]"#, r#"2/nowhere,["echo"]"#] {
            let (_, node, ends) = noting(|options| options);
            let mut client = Client::connect(node.addr).await;
            client.send(packet).await;
            assert_eq!(client.rest().await, []);
            assert_end(&ends, "forced close").await;
        }
        let (_, node, ends) = noting(|options| options);
        let mut client = Client::connect(node.addr).await;
        client.join("/other").await;
        client.send("1/other,").await;
        client.send(r#"2/other,["echo"]"#).await;
        assert_eq!(client.rest().await, []);
        assert_end(&ends, "forced close").await;
    }

    #[tokio::test]
    async fn by_an_event_before_it_is_let_in() {
        static NEVER: Semaphore = Semaphore::const_new(0);
        let (io, node, _) = noting(|options| options);
        io.of("/waits").middleware(async || NEVER.acquire().await.unwrap().forget());
        let mut client = Client::session(node.addr).await;
        client.send("0/waits,").await;
        client.send(r#"2/waits,["echo"]"#).await;
        assert_eq!(client.rest().await, []);
    }

    #[tokio::test]
    async fn by_never_joining_a_namespace() {
        let (io, node, _) = noting(|options| options.connect_timeout(Duration::from_millis(50)));
        for polling in [false, true] {
            let mut client = if polling { Client::polling_session(node.addr).await } else { Client::session(node.addr).await };
            client.send("0/nowhere,").await;
            // On a slow machine the time may be over before.
            let refusal = Message::Text(r#"4/nowhere,{"message":"Invalid namespace"}"#.into());
            assert!(client.rest().await.iter().all(|message| *message == refusal));
        }
        eventually("both are gone", || io.session_count() == 0).await;
    }

    #[tokio::test]
    async fn not_by_leaving_all_namespaces() {
        let (io, node, ends) = noting(|options| options.connect_timeout(Duration::from_millis(50)));
        let mut client = Client::connect(node.addr).await;
        client.send("1").await;
        assert_end(&ends, "client namespace disconnect").await;
        // Another that joins none is closed meanwhile.
        assert_eq!(Client::session(node.addr).await.next().await, None);
        assert_eq!(io.session_count(), 1);
        client.join("/").await;
    }

    #[tokio::test]
    async fn by_the_server_stopping() {
        let (io, node, ends) = noting(|options| options);
        let (mut socket, mut polling) = (Client::connect(node.addr).await, Client::connect_polling(node.addr).await);
        let server = io.clone();
        let closing = tokio::spawn(async move { server.close(patience()).await });
        // No packet of Socket.IO: the clients come back by themselves.
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
    async fn each_is_told_once() {
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
        client.send(r#"2["close"]"#).await;
        client.send(r#"2["out"]"#).await;
        client.rest().await;
        eventually("the session is gone", || io.session_count() == 0).await;
        assert_eq!(ENDS.load(Ordering::SeqCst), 1);
        assert!(io.local_rooms().await.is_empty(), "who has left joins nothing");
    }
}

#[tokio::test]
async fn a_packet_of_msgpack_is_spoken_by_its_parser() {
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
