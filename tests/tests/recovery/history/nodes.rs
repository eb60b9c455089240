//! Nodes that start on a store: what they need of it, and whether they agree on it.

use super::*;

#[tokio::test]
async fn nats_adapter_passes_the_conformance_checks_with_jetstream() {
    let nats = Nats::keeping();
    let connect = async || {
        let adapter = NatsAdapter::connect(options(&nats)).await.unwrap();
        drop(adapter.history(LIMITS));
        Peer::start(adapter)
    };
    within("the checks", check_all(connect)).await;
}

/// Events continue while a joining node reads the earlier ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_node_misses_no_event() {
    let nats = Nats::keeping();
    let [a] = cluster(&nats).await;
    for _ in 0..300 {
        eventually("there is room in the queue", || a.io.to("nobody").emit("fill", "x".repeat(200_000)).is_ok()).await;
    }
    let sent = Arc::new(AtomicU64::new(0));
    let (io, at) = (a.io.clone(), Arc::clone(&sent));
    let sending = tokio::spawn(async move {
        loop {
            io.emit("n", at.fetch_add(1, Ordering::SeqCst) + 1).ok();
            io.flushed().await.ok();
        }
    });
    let b = start(options(&nats)).await;
    let client = b.server.connect().await.unwrap();
    let heard = some(&client, 100).await;
    sending.abort();
    assert!(heard.windows(2).all(|pair| pair[1] == pair[0] + 1), "in a row: {heard:?}");
}

#[tokio::test]
async fn nodes_start_where_there_is_room_for_one_history() {
    let nats = Nats::with(r#"jetstream { store_dir: "STORE", max_file_store: 1700MB }"#);
    let (a, b) = (start(options(&nats)).await, start(options(&nats)).await);
    eventually("the nodes know each other", || [&a, &b].iter().all(|member| member.adapter.members().len() == 1)).await;
    assert_eq!([&a, &b].map(|member| member.adapter.stats().disagreeing), [0, 0], "no node was compared before it had a history");
}

#[tokio::test]
async fn node_works_with_the_permissions_of_the_guide() {
    let nats = Nats::with(
        r#"jetstream { store_dir: "STORE", max_file_store: 64GB }
        authorization { users: [ { user: node, password: p, permissions: {
            publish: ["sociable.sociable.>", "_INBOX.>", "$JS.API.>", "$JS.ACK.>", "$KV.sociable-sociable-sessions.>"]
            subscribe: ["sociable.sociable.>", "_INBOX.>"]
        } } ] }"#,
    );
    let options = || options(&nats).auth(NatsAuth::User("node".into(), "p".into()));
    let (a, b) = (start(options()).await, start(options()).await);
    eventually("the nodes know each other", || [&a, &b].iter().all(|member| member.adapter.members().len() == 1)).await;
    let client = served(&a).await;
    let lost = client.as_lost();
    client.emit_with_ack("tell me", 2).await.unwrap();
    let client = b.server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(numbers(&client, 2).await, [2]);
    assert_eq!((a.adapter.stats().server_errors, b.adapter.stats().server_errors), (0, 0));
}

#[tokio::test]
async fn nodes_that_disagree_on_the_history_are_logged() {
    let nats = Nats::keeping();
    let [a] = cluster(&nats).await;
    let b = start(NatsOptions::new(nats.url())).await;
    eventually("both are told", || [&a, &b].iter().all(|member| member.adapter.stats().disagreeing == 1)).await;
    let emitter = Emitter::connect(NatsOptions::new(nats.url())).await.unwrap();
    emitter.emit("n", &1).unwrap();
    eventually("the foreign event is counted", || a.adapter.stats().not_for_history == 1).await;
}
