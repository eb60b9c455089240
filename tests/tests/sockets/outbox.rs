//! The outbox of a client: nothing is lost for a reader, and a slow client is closed.

use std::future::ready;

use bytes::Bytes;
use serde_json::json;
use sociable::{Server, ServerBuilder, Socket, Value};
use sociable_tests::{Client, Node, attachment, event, eventually, message, note, post, within};

/// Both ways of serving, which have to be the same to clients.
fn both(options: impl Fn(ServerBuilder) -> ServerBuilder) -> [(Server, Node); 2] {
    Node::both(|| options(Server::builder()).build().unwrap())
}

fn text(length: usize) -> String {
    "x".repeat(length)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tight_loop_of_broadcasts_loses_nothing_for_readers() {
    const EVENTS: usize = 1000;
    for (io, node) in both(|options| options) {
        let filler = text(500);
        io.on("go", async move |server: Server| {
            // 512 bytes each, with what is around them.
            let filler = "x".repeat(500);
            for n in 0..EVENTS {
                server.emit("e", (n, &filler)).unwrap();
            }
        });
        let mut clients = Client::connect_many(node.addr, 100).await;
        clients[0].emit("go", ()).await;
        let readers: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let filler = filler.clone();
                tokio::spawn(async move {
                    for n in 0..EVENTS {
                        assert_eq!(client.packet().await, event("e", json!([n, filler])));
                    }
                })
            })
            .collect();
        for reader in readers {
            reader.await.unwrap();
        }
        assert_eq!(io.stats().slow_clients, 0);
    }
}

#[tokio::test]
async fn loop_to_one_socket_loses_nothing_within_the_bound() {
    for (io, node) in both(|options| options) {
        io.on("go", async |socket: Socket| (0..2000).try_for_each(|n| socket.emit("e", (n, "x".repeat(400)))));
        for polling in [false, true] {
            let mut client = Client::connect_by(node.addr, polling).await;
            client.emit("go", ()).await;
            for n in 0..2000 {
                assert_eq!(client.packet().await.args()[0], n);
            }
        }
        assert_eq!((io.stats().slow_clients, io.stats().handler_errors), (0, 0));
    }
}

#[tokio::test]
async fn slow_websocket_client_is_closed_and_others_stay() {
    for (io, node) in both(|options| options.max_outbox(256 * 1024)) {
        let (ends, end) = note();
        io.on_disconnect(move |socket: Socket, reason: sociable::DisconnectReason| {
            ready(end((socket.id().to_string(), reason.to_string())))
        });
        let mut jammed = Client::connect(node.addr).await;
        let mut reader = Client::connect(node.addr).await;
        let filler = text(100_000);
        let mut sent = 0;
        // The reader sets the pace. The kernel's buffers for the slow client come on top of the bound, and are bounded.
        while io.stats().slow_clients == 0 {
            assert!(sent < 1000, "100 MB were sent to a client that does not read");
            io.emit("e", (sent, &filler)).unwrap();
            assert_eq!(reader.packet().await.args()[0], sent);
            sent += 1;
        }
        eventually("the end is reported", || !ends.lock().unwrap().is_empty()).await;
        assert_eq!(*ends.lock().unwrap(), [(jammed.id().to_owned(), "slow client".to_owned())]);
        eventually("its session is gone", || io.session_count() == 1).await;
        io.emit("last", ()).unwrap();
        assert_eq!(reader.packet().await, event("last", ()));
        // The connection is closed, so the slow client only gets the kernel's buffers.
        let rest = within("the end of its connection", jammed.rest()).await;
        assert!(rest.len() < sent);
    }
}

#[tokio::test]
async fn polling_client_that_stays_away_is_closed_at_max_outbox() {
    let [(io, node), _] = both(|options| options.max_outbox(100_000));
    let client = Client::connect_polling(node.addr).await;
    let filler = text(9_000);
    let mut sent = 0;
    while io.stats().slow_clients == 0 {
        io.emit("e", &filler).unwrap();
        io.local_rooms().await;
        sent += 1;
        assert!(sent <= 12, "more than the bound waits for it");
    }
    assert!(sent >= 11, "the slow client was closed too early");
    eventually("its session is gone", || io.session_count() == 0).await;
    drop(client);
}

#[tokio::test]
async fn emit_fails_when_the_client_is_slow() {
    let [(io, node), _] = both(|options| options.max_outbox(10_000));
    let (results, result) = note();
    io.on("go", move |socket: Socket| {
        let results: Vec<_> = (0..4).map(|_| socket.emit("e", "x".repeat(6_000)).map_err(|error| error.to_string())).collect();
        ready(result(results))
    });
    let client = Client::connect_polling(node.addr).await;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.sid);
    post(node.addr, &target, &message(event("go", ()))).await;
    eventually("the result is reported", || !results.lock().unwrap().is_empty()).await;
    let results = results.lock().unwrap().remove(0);
    let slow = Err("slow client: session closed".to_owned());
    assert_eq!(results[..2], [Ok(()), slow]);
    assert!(results[2..].iter().all(Result::is_err));
}

#[tokio::test]
async fn single_message_may_exceed_max_outbox() {
    for (io, node) in both(|options| options.max_outbox(10_000)) {
        io.on("big", async |socket: Socket| socket.emit("e", "x".repeat(500_000)));
        io.on("bytes", async |socket: Socket| socket.emit("e", Value::from(Bytes::from(vec![7; 500_000]))));
        for polling in [false, true] {
            let mut client = Client::connect_by(node.addr, polling).await;
            client.emit("big", ()).await;
            assert_eq!(client.packet().await, event("e", text(500_000)));
            client.emit("bytes", ()).await;
            assert_eq!(client.packet().await, event("e", attachment(0)).attach(vec![7; 500_000]));
        }
        assert_eq!(io.stats().slow_clients, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emitter_that_awaits_ready_sends_more_than_max_outbox() {
    const EVENTS: usize = 2000;
    for (io, node) in both(|options| options.max_outbox(64 * 1024)) {
        let (done, end) = note();
        let here = end.clone();
        io.on("go", move |socket: Socket| {
            let end = here.clone();
            async move {
                for n in 0..EVENTS {
                    socket.ready().await.unwrap();
                    socket.emit("e", (n, "x".repeat(10_000))).unwrap();
                }
                end("here");
            }
        });
        // The same works from another runtime.
        io.on("go elsewhere", move |socket: Socket| {
            let end = end.clone();
            std::thread::spawn(move || {
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                    for n in 0..EVENTS {
                        socket.ready().await.unwrap();
                        socket.emit("e", (n, "x".repeat(10_000))).unwrap();
                    }
                });
                end("elsewhere");
            });
            ready(())
        });
        for name in ["go", "go elsewhere"] {
            let mut client = Client::connect(node.addr).await;
            client.emit(name, ()).await;
            for n in 0..EVENTS {
                assert_eq!(client.packet().await.args()[0], n);
            }
        }
        eventually("both are done", || done.lock().unwrap().len() == 2).await;
        assert_eq!(io.stats().slow_clients, 0);
    }
}

#[tokio::test]
async fn ready_fails_when_the_client_disconnects() {
    let [(io, node), _] = both(|options| options.max_outbox(10_000));
    let (ends, end) = note();
    io.on("go", move |socket: Socket| {
        let end = end.clone();
        async move {
            socket.emit("e", "x".repeat(9_000)).unwrap();
            end("waits");
            end(if socket.ready().await.is_err() { "closed" } else { "ready" });
        }
    });
    let client = Client::connect_polling(node.addr).await;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.sid);
    post(node.addr, &target, &message(event("go", ()))).await;
    eventually("the wait has started", || ends.lock().unwrap().len() == 1).await;
    post(node.addr, &target, "1").await;
    eventually("the wait has ended", || ends.lock().unwrap().len() == 2).await;
    assert_eq!(*ends.lock().unwrap(), ["waits", "closed"]);
}

#[tokio::test]
async fn volatile_events_are_dropped_and_counted_when_outbox_is_full() {
    let [(io, node), _] = both(|options| options);
    io.on("go", async |socket: Socket, server: Server| {
        socket.volatile().emit("volatile", ())?;
        server.volatile().emit("volatile to all", ())?;
        socket.emit("sure", ())
    });
    // No poll waits.
    let mut client = Client::connect_polling(node.addr).await;
    client.emit("go", ()).await;
    assert_eq!(client.packet().await, event("sure", ()));
    assert_eq!(io.stats().volatile_dropped, 2);
    drop(client);
    io.disconnect_sockets(true).unwrap();

    // An idle WebSocket has an empty outbox.
    let mut client = Client::connect(node.addr).await;
    eventually("the other has left", || io.socket_count() == 1).await;
    let dropped = io.stats().volatile_dropped;
    io.volatile().emit("volatile", ()).unwrap();
    assert_eq!(client.packet().await, event("volatile", ()));
    assert_eq!(io.stats().volatile_dropped, dropped);
}

#[tokio::test]
async fn slow_client_misses_volatile_events_and_stays() {
    for (io, node) in both(|options| options.max_outbox(4 << 20)) {
        let mut client = Client::connect(node.addr).await;
        let filler = text(100_000);
        let mut sent = 0;
        while io.stats().volatile_dropped < 50 {
            assert!(sent < 2000, "200 MB were sent to a client that does not read");
            io.volatile().emit("e", (sent, &filler)).unwrap();
            io.local_rooms().await;
            sent += 1;
        }
        io.emit("last", ()).unwrap();
        let got = client.packets_until(event("last", ())).await.len() as u64;
        let dropped = io.stats().volatile_dropped;
        assert_eq!((got + dropped, io.stats().slow_clients), (sent, 0));
    }
}
