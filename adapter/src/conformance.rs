//! Checks that every adapter must pass, each on two nodes of one cluster.
//!
//! ```no_run
//! use sociable_adapter::conformance::{Peer, check_all};
//!
//! async fn the_test() {
//!     // Makes an adapter of one cluster at each call.
//!     check_all(async || {
//!         # type MyAdapter = sociable_adapter::SingleNodeAdapter;
//!         # let connect = async || sociable_adapter::SingleNodeAdapter;
//!         Peer::start(connect().await)
//!     })
//!     .await;
//! }
//! ```

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use futures_util::stream::{BoxStream, StreamExt, empty, iter, pending};
use parking_lot::Mutex;
use sociable_protocol::{Args, Encoding, Frames, Id, IdSource, NodeTag, TraceContext, Value};

use crate::{Adapter, Answer, Ask, Entry, Message, Node, Operation, Request, SocketInfo, Target};

/// The longest wait of a check. A failing check reports after this time.
const PATIENCE: Duration = Duration::from_secs(15);

/// A node without sockets, behind an adapter. The node records messages, and answers for two clients.
#[derive(Debug)]
pub struct Peer<A: Adapter> {
    /// The adapter under test.
    pub adapter: A,
    node: Arc<Recorder>,
}

#[derive(Debug)]
struct Recorder {
    heard: Mutex<Vec<Message>>,
    clients: [Id; 2],
}

impl Node for Recorder {
    fn deliver(&self, message: Message) {
        self.heard.lock().push(message);
    }

    fn answer(&self, request: Request) -> BoxStream<'static, Answer> {
        let [first, second] = self.clients;
        match request.ask {
            Ask::Ack { name, args, .. } => {
                let answers = iter([Answer::Clients(vec![first, second]), Answer::Ack(first, args)]);
                // The event `for ever` gets one acknowledgement, and its stream never ends.
                if name == "for ever" { answers.chain(pending()).boxed() } else { answers.chain(iter([Answer::Gone(second)])).boxed() }
            }
            Ask::Sockets { .. } => {
                let socket = |id| SocketInfo {
                    id,
                    rooms: vec!["red".into()],
                    data: Value::Null,
                    auth: Value::Null,
                    url: "/socket.io/".into(),
                    address: "127.0.0.1".into(),
                    issued: 1,
                };
                iter([Answer::Sockets(vec![socket(first), socket(second)])]).boxed()
            }
            Ask::ServerEvent { name, args } if name == "echo" => iter([Answer::ServerAck(args)]).boxed(),
            Ask::ServerEvent { .. } => empty().boxed(),
        }
    }

    fn deliver_persisted(&self, entry: &Arc<Entry>, trace: Option<&TraceContext>) {
        let event = || Operation::Emit { frames: entry.frames.clone(), volatile: false, compress: entry.compress };
        let operation = entry.order.clone().unwrap_or_else(event);
        let trace = trace.cloned().map(Box::new);
        self.deliver(Message { namespace: entry.namespace.clone(), target: entry.target.clone(), operation, trace });
    }

    fn session_count(&self) -> usize {
        2
    }

    fn is_full(&self) -> bool {
        false
    }

    fn is_draining(&self) -> bool {
        false
    }
}

impl<A: Adapter> Peer<A> {
    /// Starts the adapter for a recording node.
    pub fn start(adapter: A) -> Self {
        let mut ids = IdSource::new(adapter.tag().unwrap_or_else(NodeTag::random));
        let node = Arc::new(Recorder { heard: Mutex::default(), clients: [ids.draw(), ids.draw()] });
        let started: Arc<dyn Node> = Arc::<Recorder>::clone(&node);
        adapter.start(started);
        Self { adapter, node }
    }

    fn heard(&self) -> Vec<Message> {
        self.node.heard.lock().clone()
    }

    /// Waits until so many messages have come, and returns them.
    async fn hears(&self, count: usize) -> Vec<Message> {
        eventually("messages come", || self.heard().len() >= count).await;
        self.heard()
    }

    async fn asks(&self, ask: Ask) -> Vec<Answer> {
        let answers = self.adapter.request(Request { namespace: "/".into(), ask, trace: None }).collect::<Vec<_>>();
        within("the answers end", answers).await
    }
}

/// Runs all checks, each on two new nodes. `connect` makes a node of the same cluster at each call.
///
/// # Panics
///
/// The adapter breaks a promise, named in the message.
pub async fn check_all<A: Adapter, F: Future<Output = Peer<A>>>(connect: impl Fn() -> F) {
    let pair = async || {
        let (a, b) = (connect().await, connect().await);
        for peer in [&a, &b] {
            let begun = std::time::Instant::now();
            while peer.adapter.server_count().await != 2 {
                assert!(begun.elapsed() < PATIENCE, "two nodes know of each other");
                tick().await;
            }
        }
        (a, b)
    };
    let close = async |(a, b): (Peer<A>, Peer<A>)| {
        a.adapter.close().await;
        b.adapter.close().await;
    };

    let nodes = pair().await;
    check_delivery_and_order(&nodes.0, &nodes.1).await;
    close(nodes).await;
    let nodes = pair().await;
    check_order_across_targets(&nodes.0, &nodes.1).await;
    close(nodes).await;
    let nodes = pair().await;
    check_questions(&nodes.0, &nodes.1).await;
    close(nodes).await;
    let nodes = pair().await;
    check_adopted_ids(&nodes.0, &nodes.1).await;
    close(nodes).await;
    let nodes = pair().await;
    check_leave_ends_questions(nodes.0, nodes.1).await;
}

fn message(target: Target, operation: Operation) -> Message {
    Message { namespace: "/odd, name?".into(), target, operation, trace: None }
}

fn emit(n: usize) -> Operation {
    Operation::Emit { frames: Frames::text(&format!("42[\"n\",{n}]")), volatile: n.is_multiple_of(2), compress: true }
}

fn room(name: &str) -> Target {
    Target { rooms: vec![name.into()], except: vec![] }
}

async fn check_delivery_and_order<A: Adapter>(a: &Peer<A>, b: &Peer<A>) {
    let args = Args::encode(Encoding::Json, &Value::Binary(bytes::Bytes::from_static(&[0, 255]))).expect("bytes can be written");
    let mut sent = vec![
        message(Target::default(), Operation::Join(vec!["red".into(), "größe".into()])),
        message(room("red"), Operation::Leave(vec!["blue".into()])),
        message(Target { rooms: vec!["a".into(), "b".into()], except: vec!["c".into()] }, Operation::Disconnect { close: true }),
        message(Target::default(), Operation::ServerEvent { name: "note".into(), args }),
    ];
    let traced = |n| TraceContext::new([7; 16], [1; 8], true).filter(|_| n % 10 == 0).map(Box::new);
    sent.extend((0..500).map(|n| Message { trace: traced(n), ..message(room("red"), emit(n)) }));
    for message in &sent {
        a.adapter.publish(message.clone()).expect("the message is queued");
    }
    assert_eq!(b.hears(sent.len()).await, sent, "published messages arrive once and in order");
    assert!(a.heard().is_empty(), "published messages do not return to their node");
}

async fn check_order_across_targets<A: Adapter>(a: &Peer<A>, b: &Peer<A>) {
    let own = b.node.clients[0].to_string();
    let sent: Vec<_> = (0..300).map(|n| message(if n % 3 == 0 { Target::default() } else { room(&own) }, emit(n))).collect();
    for message in &sent {
        a.adapter.publish(message.clone()).expect("the message is queued");
    }
    assert_eq!(b.hears(sent.len()).await, sent, "messages for all and for one socket keep their order");
}

async fn check_questions<A: Adapter>(a: &Peer<A>, b: &Peer<A>) {
    let args = Args::encode(Encoding::Json, "hello").expect("text can be written");
    let [first, second] = b.node.clients;
    let ack = Ask::Ack { target: Target::default(), name: "q".into(), args: args.clone(), compress: true };
    let answers = a.asks(ack).await;
    for wanted in [Answer::Clients(vec![first, second]), Answer::Ack(first, args.clone()), Answer::Gone(second)] {
        assert!(answers.contains(&wanted), "{wanted:?} is among the answers: {answers:?}");
    }
    let answers = a.asks(Ask::Sockets { target: Target::default() }).await;
    let described = answers.iter().filter_map(|answer| if let Answer::Sockets(sockets) = answer { Some(sockets) } else { None });
    let ids: BTreeSet<Id> = described.flatten().map(|socket| socket.id).collect();
    assert_eq!(ids, BTreeSet::from(b.node.clients), "the sockets of the other node are described");
    let answers = a.asks(Ask::ServerEvent { name: "echo".into(), args: args.clone() }).await;
    assert!(answers.contains(&Answer::ServerAck(args)), "the other server answers");
}

async fn check_adopted_ids<A: Adapter>(a: &Peer<A>, b: &Peer<A>) {
    let stranger = IdSource::new(NodeTag::random()).draw();
    b.adapter.adopt(stranger);
    // Interest may take a moment to be known.
    let mut n = 0;
    eventually("the message for an adopted id comes", || {
        n += 1;
        a.adapter.publish(message(room(stranger.as_str()), emit(n))).expect("the message is queued");
        !b.heard().is_empty()
    })
    .await;
    b.adapter.release(stranger);
}

async fn check_leave_ends_questions<A: Adapter>(a: Peer<A>, b: Peer<A>) {
    let ask = Ask::Ack { target: Target::default(), name: "for ever".into(), args: Args::empty(Encoding::Json), compress: true };
    let mut answers = a.adapter.request(Request { namespace: ByteString::from_static("/"), ask, trace: None });
    let [first, second] = b.node.clients;
    loop {
        match within("an acknowledgement", answers.next()).await {
            Some(Answer::Ack(id, _)) if id == first => break,
            Some(_) => {}
            None => panic!("the question ended before it was answered"),
        }
    }
    b.adapter.close().await;
    let rest = within("the end of the wait", answers.collect::<Vec<_>>()).await;
    assert!(rest.contains(&Answer::Gone(second)), "the client without an answer is gone: {rest:?}");
    let begun = std::time::Instant::now();
    while a.adapter.server_count().await != 1 {
        assert!(begun.elapsed() < PATIENCE, "a node that left is no member");
        tick().await;
    }
    a.adapter.close().await;
}

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for: {what}"),
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until: {what}");
        tick().await;
    }
}

async fn tick() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}
