//! A fault ends one part alone, and sockets are usable from every thread.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use actix_web::{App, HttpServer};
use serde_json::json;
use sociable::{Ack, Data, RawArgs, Server, Socket};
use sociable_tests::{Client, Node, ack, connect, connect_error, disconnect, event, eventually, note, patience, within};

/// A server that answers `echo`, with two workers.
fn start() -> (Server, Node) {
    let io = Server::builder().build().unwrap();
    io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
    let node = Node::start(&io);
    (io, node)
}

async fn assert_unharmed(client: &mut Client) {
    assert_eq!(client.ask("echo", 1).await, json!([1]));
}

mod panics {
    use super::*;

    fn broken(how: &str) {
        assert!(how.is_empty(), "broken {how}");
    }

    #[tokio::test]
    async fn panic_of_a_handler_ends_that_handler_alone() {
        let (io, node) = start();
        io.on("at once", || std::future::ready(broken("at once")));
        io.on("begun", async || broken("when begun"));
        io.on("later", async |ack: Ack| {
            tokio::task::yield_now().await;
            ack.send("before")?;
            tokio::task::yield_now().await;
            broken("later");
            Ok::<_, sociable::EmitError>(())
        });
        // A handler among several of an event.
        io.on("several", async || broken("the first of several"));
        io.on("several", async |socket: Socket| socket.emit("second", ()));
        let mut witnesses = Client::connect_many(node.addr, 2).await;
        let mut client = Client::connect(node.addr).await;
        let mut panics = 0;
        for name in ["at once", "begun", "at once"] {
            client.send(event(name, ()).id(1)).await;
            assert_unharmed(&mut client).await;
            panics += 1;
            assert_eq!(io.stats().handler_panics, panics, "{name}");
        }
        assert_eq!(client.ask("later", ()).await, json!(["before"]));
        client.emit("several", ()).await;
        assert_eq!(client.packet().await, event("second", ()));
        eventually("all are counted", || io.stats().handler_panics == 5).await;
        assert_unharmed(&mut client).await;
        for witness in &mut witnesses {
            assert_unharmed(witness).await;
        }
        let stats = io.stats();
        assert_eq!((stats.sessions, stats.actors_died, stats.tasks_panicked), (3, 0, 0));
    }

    #[tokio::test]
    async fn panic_of_a_handler_by_polling_ends_that_handler_alone() {
        let (io, node) = start();
        io.on("panic", async || broken("by polling"));
        let mut client = Client::connect_polling(node.addr).await;
        client.emit("panic", ()).await;
        assert_unharmed(&mut client).await;
        assert_eq!(io.stats().handler_panics, 1);
    }

    #[tokio::test]
    async fn panic_of_a_middleware_refuses_the_connection() {
        let (io, node) = start();
        for (name, waits) in [("/at-once", false), ("/later", true)] {
            io.of(name).middleware(move || async move {
                if waits {
                    tokio::task::yield_now().await;
                }
                broken("in a middleware");
            });
            io.of(name).on_connect(async || broken("since it was let in"));
            let mut client = Client::connect(node.addr).await;
            client.send(connect().of(name)).await;
            assert_eq!(client.packet().await, connect_error("Internal server error").of(name));
            assert_unharmed(&mut client).await;
            eventually("no socket is in middleware", || io.of(name).socket_count() == 0).await;
        }
        assert_eq!((io.stats().handler_panics, io.stats().sockets_opened), (2, 2));
    }

    #[tokio::test]
    async fn panic_of_an_event_middleware_drops_the_event() {
        let (io, node) = start();
        io.event_middleware(async |Data(n): Data<u8>| {
            if n == 7 {
                panic!("broken at once");
            }
            if n == 8 {
                tokio::task::yield_now().await;
                panic!("broken later");
            }
        });
        let mut client = Client::connect(node.addr).await;
        for n in [7, 8, 7] {
            client.send(event("echo", n).id(5)).await;
        }
        assert_unharmed(&mut client).await;
        assert_eq!(io.stats().handler_panics, 3);
    }

    #[tokio::test]
    async fn panic_of_a_connect_handler_leaves_the_connection() {
        let (io, node) = start();
        let (left, leave) = note();
        io.on_connect(async || broken("in connect"));
        io.on_connect(async |socket: Socket| socket.join("room"));
        io.on_disconnecting(async || broken("in disconnecting"));
        io.on_disconnect(async || broken("in disconnect"));
        io.on_disconnect(move || std::future::ready(leave(())));
        for polling in [false, true] {
            let mut client = Client::connect_by(node.addr, polling).await;
            assert_unharmed(&mut client).await;
            client.send(disconnect()).await;
            eventually("the socket has left", || io.socket_count() == 0).await;
            client.join("/").await;
            assert_unharmed(&mut client).await;
            client.send_engine("1").await;
            eventually("the session has ended", || io.session_count() == 0).await;
        }
        assert_eq!((left.lock().unwrap().len(), io.stats().handler_panics), (4, 12));
        assert!(io.local_rooms().await.is_empty());
    }

    #[tokio::test]
    async fn panic_of_a_listener_ends_no_connection() {
        let (io, node) = start();
        io.on_any(|context| assert_ne!(context.name, "in", "broken"));
        io.on_any_outgoing(|context| assert_ne!(context.name, "out", "broken"));
        io.on_error(|_, error| panic!("broken by {error}"));
        io.on_room_event(|event| assert_ne!(*event, sociable::RoomEvent::Create("room".into()), "broken"));
        io.on("in", async || Err::<(), _>("no"));
        io.on("join", async |socket: Socket, ack: Ack| {
            socket.join("room");
            ack.send(())
        });
        let mut clients = Client::connect_many(node.addr, 4).await;
        clients[0].emit("in", ()).await;
        assert_unharmed(&mut clients[0]).await;
        assert_eq!(clients[1].ask("join", ()).await, json!([]));
        io.emit("out", ()).unwrap();
        io.to("room").emit("told", ()).unwrap();
        assert_eq!(clients[1].packets_until(event("told", ())).await, [event("out", ())]);
        for client in &mut clients {
            client.emit("echo", ()).await;
        }
        drop(clients);
        eventually("all sessions have ended", || io.session_count() == 0 && io.socket_count() == 0).await;
        assert_eq!(io.stats().handler_panics, 7, "two at the event, one at the room, four at the broadcast");
    }

    #[tokio::test]
    async fn panic_of_a_hook_loses_one_connection_at_most() {
        let io = Server::builder()
            .allow_request(async |request| if request.query_value("panic").is_some() { panic!("broken") } else { Ok(()) })
            .build()
            .unwrap();
        io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
        let node = Node::raw(&io, 1);
        let mut client = Client::connect(node.addr).await;
        for _ in 0..3 {
            let mut connection = sociable_tests::Connection::open(node.addr).await;
            connection.ask("GET", "/socket.io/?EIO=4&transport=polling&panic", &[], "").await;
            assert!(connection.response().await.is_none_or(|response| response.status == 500));
            let mut connection = sociable_tests::Connection::open(node.addr).await;
            connection.send(sociable_tests::upgrade_request("/socket.io/?EIO=4&transport=websocket&panic", &[])).await;
            assert!(connection.rest().await.is_empty());
        }
        assert_unharmed(&mut client).await;
        assert_unharmed(&mut Client::connect(node.addr).await).await;
        assert_eq!(io.stats().sessions_opened, 2);
    }
}

/// Runs a server as a program with `#[tokio::main]` does.
fn tokio_main<F, Fut>(serve: F) -> SocketAddr
where
    F: FnOnce(mpsc::Sender<SocketAddr>) -> Fut + Send + 'static,
    Fut: Future<Output = std::io::Result<()>>,
{
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(serve(tell)).unwrap());
    told.recv().unwrap()
}

#[tokio::test]
async fn tokio_main_serves_in_both_ways() {
    for raw in [false, true] {
        let io = Server::builder().build().unwrap();
        io.on("echo", async |args: RawArgs, ack: Ack| {
            // Handlers have the timers of a runtime.
            tokio::time::sleep(Duration::from_millis(1)).await;
            ack.send(args)
        });
        io.on("spawn", async |socket: Socket| drop(tokio::spawn(async move { socket.emit("from a task", ()) })));
        let server = io.clone();
        let addr = tokio_main(move |tell| async move {
            let service = server.service();
            let app = move || App::new().service(service.clone());
            if raw {
                let serve = server.serve(app).workers(2).disable_signals().bind("127.0.0.1:0")?;
                tell.send(serve.addrs()[0]).unwrap();
                serve.run().await
            } else {
                let http = HttpServer::new(app).workers(2).disable_signals().bind("127.0.0.1:0")?;
                tell.send(http.addrs()[0]).unwrap();
                http.run().await
            }
        });
        let mut clients = Client::connect_many(addr, 4).await;
        clients.push(Client::connect_polling(addr).await);
        for client in &mut clients {
            assert_unharmed(client).await;
            client.emit("spawn", ()).await;
            assert_eq!(client.packet().await, event("from a task", ()));
        }
        io.emit("news", ()).unwrap();
        for client in &mut clients {
            assert_eq!(client.packet().await, event("news", ()));
        }
        io.disconnect_sockets(true).unwrap();
        eventually("all sockets have left", || io.socket_count() == 0).await;
    }
}

mod other_threads {
    use super::*;

    /// The sockets of some clients, as a handler gave them away.
    async fn sockets(io: &Server, node: &Node, count: usize) -> (Vec<Client>, Vec<Socket>) {
        let (sockets, keep) = note();
        io.on_connect(move |socket: Socket| std::future::ready(keep(socket)));
        let clients = Client::connect_many(node.addr, count).await;
        eventually("all sockets are connected", || sockets.lock().unwrap().len() == count).await;
        let sockets = sockets.lock().unwrap().clone();
        let order = |socket: &Socket| clients.iter().position(|client| client.id() == socket.id().as_str());
        let mut sockets = sockets;
        sockets.sort_by_key(order);
        (clients, sockets)
    }

    #[tokio::test]
    async fn calls_from_other_threads_keep_their_order() {
        let (io, node) = start();
        let (mut clients, sockets) = sockets(&io, &node, 4).await;
        for (client, socket) in clients.iter_mut().zip(sockets) {
            // A thread without any runtime.
            thread::spawn(move || {
                for n in 0..100 {
                    socket.emit("n", n).unwrap();
                    socket.join("room");
                    socket.namespace().to("room").emit("in", n).unwrap();
                    socket.leave("room");
                    socket.namespace().to("room").emit("out", n).unwrap();
                }
                socket.on("added", async |ack: Ack| ack.send("yes"));
                socket.emit("last", ()).unwrap();
            });
            let expected: Vec<_> = (0..100).flat_map(|n| [event("n", n), event("in", n)]).collect();
            assert_eq!(client.packets_until(event("last", ())).await, expected);
            assert_eq!(client.ask("added", ()).await, json!(["yes"]));
        }
    }

    #[tokio::test]
    async fn acks_reach_tasks_on_other_threads() {
        let (io, node) = start();
        let (mut clients, sockets) = sockets(&io, &node, 2).await;
        let asked: Vec<_> = sockets.iter().map(|socket| tokio::spawn(socket.timeout(patience()).emit_with_ack("q", ()))).collect();
        for client in &mut clients {
            let question = client.packet().await;
            client.send(ack(question.id.unwrap(), "a")).await;
        }
        for asked in asked {
            assert_eq!(within("the answer", asked).await.unwrap().unwrap().raw_json(), Some(r#""a""#));
        }
        // A socket that leaves ends its pending acks, before and after the question.
        let before = sockets[0].emit_with_ack("q", ());
        clients.remove(0).tear();
        assert_eq!(within("the end", before).await.unwrap_err(), sociable::AckError::Disconnected);
        eventually("the socket has left", || !sockets[0].is_connected()).await;
        assert_eq!(within("the end", sockets[0].emit_with_ack("q", ())).await.unwrap_err(), sociable::AckError::Disconnected);
        assert!(within("the end", sockets[0].ready()).await.is_err());
        assert!(sockets[0].rooms().is_empty());
    }

    #[tokio::test]
    async fn socket_is_disconnected_from_another_thread() {
        let (io, node) = start();
        let (mut clients, sockets) = sockets(&io, &node, 2).await;
        sockets[0].emit("before", ()).unwrap();
        sockets[0].disconnect();
        sockets[0].emit("behind", ()).unwrap();
        assert_eq!(clients[0].packets_until(disconnect()).await, [event("before", ())]);
        sockets[1].disconnect_and_close();
        assert_eq!(clients[1].rest().await, [disconnect()]);
        clients[0].join("/").await;
        assert_unharmed(&mut clients[0]).await;
    }
}

mod elsewhere {
    use std::sync::{Arc, OnceLock};

    use futures_util::FutureExt;
    use futures_util::future::{BoxFuture, ready};
    use futures_util::stream::{BoxStream, StreamExt, empty};
    use sociable::adapter::{Adapter, AdapterError, Answer, Message, Operation, Request, Target};
    use sociable::protocol::{Args, Encoding};

    use super::*;

    /// Keeps the node, so that a test can be all others.
    #[derive(Clone, Default)]
    struct Others(Arc<OnceLock<Arc<dyn sociable::adapter::Node>>>);

    impl std::fmt::Debug for Others {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Others")
        }
    }

    impl Adapter for Others {
        fn start(&self, node: Arc<dyn sociable::adapter::Node>) {
            self.0.set(node).ok().unwrap();
        }

        fn publish(&self, _: Message) -> Result<(), AdapterError> {
            Ok(())
        }

        fn request(&self, _: Request) -> BoxStream<'static, Answer> {
            empty().boxed()
        }

        fn server_count(&self) -> BoxFuture<'static, usize> {
            ready(2).boxed()
        }

        fn close(&self) -> BoxFuture<'static, ()> {
            ready(()).boxed()
        }
    }

    #[tokio::test]
    async fn node_joins_the_cluster_when_it_serves_or_publishes() {
        let (serving, telling) = (Others::default(), Others::default());
        let io = Server::builder().adapter(serving.clone()).build().unwrap();
        assert!(serving.0.get().is_none(), "no thread of it would answer");
        let _node = Node::raw(&io, 1);
        eventually("the node is a member", || serving.0.get().is_some()).await;

        let io = Server::builder().adapter(telling.clone()).build().unwrap();
        io.emit("n", 1).unwrap();
        assert!(telling.0.get().is_some());
    }

    #[tokio::test]
    async fn requests_to_a_blocked_thread_are_bounded() {
        let long = "x".repeat(1 << 20);
        let event = Operation::ServerEvent { name: "note".into(), args: Args::encode(Encoding::Json, &long).unwrap() };
        for operation in [event, Operation::Join(vec![long.into()])] {
            let others = Others::default();
            let io = Server::builder().adapter(others.clone()).build().unwrap();
            io.on("echo", async |args: RawArgs, ack: Ack| ack.send(args));
            io.on_server_event("note", || std::future::ready(()));
            let (go_on, wait) = mpsc::channel::<()>();
            let (tell, held) = tokio::sync::oneshot::channel();
            let hold = std::sync::Mutex::new(Some((tell, wait)));
            io.on("hold", move || {
                let (tell, wait) = hold.lock().unwrap().take().unwrap();
                tell.send(()).unwrap();
                wait.recv().unwrap();
                std::future::ready(())
            });
            let node = Node::raw(&io, 1);
            let mut client = Client::connect(node.addr).await;
            client.emit("hold", ()).await;
            within("its thread is held up", held).await.unwrap();
            let inbound = others.0.get().unwrap();
            for _ in 0..100 {
                let (target, operation) = (Target::default(), operation.clone());
                inbound.deliver(Message { namespace: "/".into(), target, operation, trace: None });
            }
            assert!(io.stats().inbox_full > 30);
            go_on.send(()).unwrap();
            assert_unharmed(&mut client).await;
        }
    }
}
