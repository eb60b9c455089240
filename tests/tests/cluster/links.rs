//! Links to NATS that break, that are flooded, or that refuse something.

use super::*;

#[tokio::test]
async fn message_over_max_payload_is_refused_alone() {
    let nats = Nats::with("max_payload: 4096");
    let [a, b] = start([&nats, &nats]).await;
    let mut near = client(&a, &[]).await;
    let mut far = client(&b, &[]).await;
    let error = a.io.emit("n", "x".repeat(5000)).unwrap_err();
    assert!(matches!(error, EmitError::Adapter(AdapterError::TooLarge { limit, .. }) if limit < 4096), "{error}");
    a.io.emit("n", 2).unwrap();
    assert_eq!(heard(&a.io, &mut far).await, [event("n", 2)]);
    assert_eq!(heard(&a.io, &mut near).await.len(), 2, "this node's own clients got both");
    let too_large = |error: &EmitError| matches!(error, EmitError::Adapter(AdapterError::TooLarge { limit, .. }) if *limit < 4096);
    let error = within("the question fails at once", a.io.to("nobody").emit_with_ack("q", "x".repeat(5000))).await.unwrap_err();
    assert!(matches!(&error.reason, AckError::Emit(error) if too_large(error)), "{error}");
    let error = within("the question fails at once", a.io.server_side_emit_with_ack("q", "x".repeat(5000))).await.unwrap_err();
    assert!(error.error.as_ref().is_some_and(too_large), "{error}");
    assert_eq!(error.missing, ["node-1"]);
    let error = within("the question fails at once", a.io.to("x".repeat(5000)).fetch_sockets()).await.unwrap_err();
    assert!(error.error.as_ref().is_some_and(too_large), "{error}");
    assert_eq!((a.adapter.stats().too_large, a.adapter.stats().disconnected), (4, 0));

    // The answer about many sockets takes several messages.
    let many = Client::connect_many(b.node.addr, 60).await;
    assert_eq!(a.io.fetch_sockets().await.unwrap().len(), 62);
    drop(many);
}

#[tokio::test]
async fn node_serves_its_own_clients_while_nats_is_down() {
    let mut nats = Nats::start();
    let quick = |name| options(&nats, name).queue_bytes(200_000).publish_deadline(Duration::from_millis(200));
    let (a, b) = (start_with(quick("a"), |builder| builder).await, start_with(quick("b"), |builder| builder).await);
    acquainted(&[&a, &b]).await;
    let mut near = client(&a, &[]).await;
    let mut far = client(&b, &[]).await;
    nats.kill();
    eventually("the outage is noticed", || !a.io.is_connected() && !b.io.is_connected()).await;
    a.io.emit("n", 1).unwrap();
    assert_eq!(near.packet().await, event("n", 1));
    // The links are found to be down one after the other.
    eventually("the emit does not wait for the link", || {
        a.io.volatile().emit("n", 0).unwrap();
        a.adapter.stats().volatile_dropped > 0
    })
    .await;
    assert_eq!(near.packet().await, event("n", 0), "this node's own clients get it");
    let error = (0..1000).find_map(|_| a.io.emit("x", "x".repeat(1000)).err()).unwrap();
    assert!(matches!(error, EmitError::Adapter(AdapterError::Full { limit: 200_000 })), "{error}");
    eventually("expired records are dropped", || a.adapter.stats().late > 0).await;
    nats.restart();
    eventually("the links are up again", || a.io.is_connected() && b.io.is_connected()).await;
    let mut n = 1;
    eventually("the nodes reach each other again", || {
        n += 1;
        a.io.emit("n", n).is_ok() && b.adapter.stats().received > 0
    })
    .await;
    let packets = heard(&a.io, &mut far).await;
    assert!(events(&packets, "x") < 1000, "expired events did not come late");
    assert!(events(&packets, "n") > 0);
    eventually("the loss is noticed", || {
        a.io.emit("more", ()).unwrap();
        b.adapter.stats().gaps > 0
    })
    .await;
}

#[tokio::test]
async fn queue_is_bounded_when_a_node_floods_the_bus() {
    let nats = Nats::start();
    let one = start_with(options(&nats, "a").queue_bytes(100_000), |builder| builder).await;
    let refused = (0..100_000).filter(|_| one.io.emit("n", "x".repeat(100)).is_err()).count();
    assert_eq!(one.adapter.stats().refused, refused as u64);
    eventually("the queue drains", || one.io.emit("n", 1).is_ok()).await;
}

/// A node that is held up at the first message, and answers nothing.
struct HeldUp {
    heard: AtomicUsize,
    go_on: parking_lot::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl HeldUp {
    fn start(adapter: &NatsAdapter) -> (Arc<Self>, std::sync::mpsc::Sender<()>) {
        let (go_on, wait) = std::sync::mpsc::channel();
        let node = Arc::new(Self { heard: AtomicUsize::new(0), go_on: parking_lot::Mutex::new(wait) });
        let started: Arc<dyn sociable::adapter::Node> = Arc::<Self>::clone(&node);
        adapter.start(started);
        (node, go_on)
    }
}

impl sociable::adapter::Node for HeldUp {
    fn deliver(&self, _: Message) {
        if self.heard.fetch_add(1, Ordering::Relaxed) == 0 {
            self.go_on.lock().recv().unwrap();
        }
    }

    fn answer(&self, _: Request) -> BoxStream<'static, Answer> {
        futures_util::stream::pending().boxed()
    }

    fn session_count(&self) -> usize {
        0
    }

    fn is_full(&self) -> bool {
        false
    }

    fn is_draining(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn burst_arrives_whole_when_a_node_is_busy() {
    let nats = Nats::start();
    let adapter = NatsAdapter::connect(options(&nats, "a")).await.unwrap();
    let (node, go_on) = HeldUp::start(&adapter);
    let mut n = 0_u64;
    // Far shorter than an event: nothing in fewer bytes is more messages.
    let mut envelope = || {
        n += 1;
        let head = [&[1][..], b"abcd", &[0; 8], &n.to_be_bytes(), &n.to_be_bytes()].concat();
        bytes::Bytes::from([&head[..], &[0, 0, 0, 15, 4, 0, 0, 0, 1, b'/'], &[0; 9]].concat())
    };
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let begun = std::time::Instant::now();
    while node.heard.load(Ordering::Relaxed) == 0 {
        assert!(begun.elapsed() < patience(), "the node is subscribed");
        stranger.publish("sociable.sociable.all", envelope()).await.unwrap();
        stranger.flush().await.unwrap();
    }
    let burst = 20_000;
    for _ in 0..burst {
        stranger.publish("sociable.sociable.all", envelope()).await.unwrap();
    }
    stranger.flush().await.unwrap();
    go_on.send(()).unwrap();
    eventually("the whole burst comes", || node.heard.load(Ordering::Relaxed) > burst).await;
    assert_eq!((adapter.stats().slow_consumer, adapter.stats().gaps), (0, 0));
}

#[tokio::test]
async fn node_refuses_questions_when_it_has_too_many() {
    let nats = Nats::start();
    let (a, b) = (NatsAdapter::connect(options(&nats, "a")).await.unwrap(), NatsAdapter::connect(options(&nats, "b")).await.unwrap());
    let _kept = (HeldUp::start(&a), HeldUp::start(&b));
    eventually("the nodes know each other", || a.members().len() == 1 && b.members().len() == 1).await;
    let ask = || a.request(Request { namespace: "/".into(), ask: Ask::Sockets { target: Target::default() }, trace: None });
    let waiting: Vec<_> = (0..10_000).map(|_| ask()).collect();
    let answers = within("the question is refused", ask().collect::<Vec<_>>()).await;
    assert_eq!(answers, [Answer::Asked(vec!["b".into()]), Answer::Lost("b".into())]);
    assert_eq!(b.stats().unanswered, 1);
    drop(waiting);
}

#[tokio::test]
async fn nats_permission_errors_are_counted() {
    let nats = Nats::with(
        "authorization { users: [ { user: node, password: p, permissions: { publish: { deny: \"sociable.sociable.all\" } } } ] }",
    );
    let one = start_with(options(&nats, "a").auth(NatsAuth::User("node".into(), "p".into())), |builder| builder).await;
    assert_eq!(one.adapter.stats().server_errors, 0);
    one.io.emit("n", 1).unwrap();
    eventually("the error is counted", || one.adapter.stats().server_errors == 1).await;
}

#[tokio::test]
async fn lower_max_payload_is_heeded_after_a_reconnect() {
    let mut nats = Nats::start();
    let one = start_with(options(&nats, "a"), |builder| builder).await;
    one.io.emit("n", "x".repeat(5000)).unwrap();
    nats.kill();
    nats.restart_with("max_payload: 4096");
    eventually("its limit is known", || one.io.emit("n", "x".repeat(5000)).is_err()).await;
    assert_eq!(one.adapter.stats().too_large, 1);
}

#[tokio::test]
async fn tag_is_refused_when_another_node_has_it() {
    let nats = Nats::start();
    let member = start_with(options(&nats, "a"), |builder| builder).await;
    // A process that claims the tag gets an objection.
    let client = client(&member, &[]).await;
    let tag = Id::try_from(client.id()).unwrap().tag();
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let mut heard = stranger.subscribe("sociable.sociable.members").await.unwrap();
    stranger.flush().await.unwrap();
    let claim = json!({ "occasion": "claim", "tag": tag, "epoch": 1 });
    stranger.publish("sociable.sociable.members", claim.to_string().into()).await.unwrap();
    loop {
        let message = within("the node objects", heard.next()).await.unwrap();
        let said: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        if said["tag"] == json!(tag) && said["occasion"] == "alive" {
            break;
        }
    }
}
