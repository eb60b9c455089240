//! The adapter that meets other nodes over NATS.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytestring::ByteString;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::BoxStream;
use sociable_protocol::{Id, NodeTag};
use tokio::sync::{mpsc, oneshot};

use super::bounded_queue::OutboundRecord;
use super::context::NatsContext;
use super::error::NatsError;
use super::jetstream::history::StreamHistory;
use super::jetstream::state::StreamState;
use super::members::{Member, Members};
use super::metrics::samples;
use super::options::NatsOptions;
use super::route::Route;
use super::stats::NatsStats;
use super::thread::{self, Command};
use super::wire;
use crate::{Adapter, AdapterError, Answer, Ask, History, Limits, MemoryHistory, Message, MetricsSnapshot, Node, Operation, Request};

/// The adapter that connects the nodes of a cluster over NATS. Clones are cheap, and are the same member.
///
/// Promises of this adapter, besides those of every [`Adapter`]:
///
/// * Messages of one node arrive at each node in their order. Messages for one socket keep their place among those for
///   all.
/// * Messages that can't be sent in time are dropped and counted. The nodes that miss them count them too.
/// * Delivery is *at most once*: messages that are under way when a link breaks are lost.
///
/// ```no_run
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// use sociable_adapter::{NatsAdapter, NatsOptions};
///
/// let adapter = NatsAdapter::connect(NatsOptions::new("nats://127.0.0.1:4222").cluster("shop")).await?;
/// // sociable::Server::builder().adapter(adapter).build()?
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct NatsAdapter {
    context: Arc<NatsContext>,
    commands: mpsc::UnboundedSender<Command>,
}

impl fmt::Debug for NatsAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsAdapter")
            .field("cluster", &self.context.options.connection.cluster)
            .field("me", &self.context.me)
            .finish_non_exhaustive()
    }
}

impl NatsAdapter {
    /// Connects, and claims a tag that no other node of the cluster has.
    ///
    /// # Errors
    ///
    /// An option is invalid, no server accepts this process, or the thread of the adapter can't be started.
    pub async fn connect(options: NatsOptions) -> Result<Self, NatsError> {
        Self::open(options, false).await
    }

    pub(super) async fn open(options: NatsOptions, emits_only: bool) -> Result<Self, NatsError> {
        options.check()?;
        let runtime = thread::runtime()?;
        let context = Arc::new(NatsContext::new(options, emits_only, runtime.handle().clone()));
        let (commands, received) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        thread::spawn(runtime, Arc::clone(&context), received, ready)?;
        match is_ready.await {
            Ok(Ok(())) => Ok(Self { context, commands }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(NatsError::Start("the adapter's thread has ended".into())),
        }
    }

    /// Returns the counts since the start.
    pub fn stats(&self) -> NatsStats {
        self.context.counters.stats()
    }

    /// Returns the names of the other living nodes.
    pub fn members(&self) -> Vec<String> {
        self.context.members.lock().iter().map(|(_, member)| member.name.to_string()).collect()
    }

    /// Returns the route of a question, and the nodes that have to answer.
    fn receivers(&self, members: &Members, ask: &Ask) -> (Route, Vec<(NodeTag, ByteString)>) {
        let route = match ask {
            Ask::Ack { target, .. } | Ask::Sockets { target } => Route::of(target),
            Ask::ServerEvent { .. } => Route::All,
        };
        let owner = if let Route::Socket(id) = route { members.get(id.tag()).map(|_| id.tag()) } else { None };
        // The node that made the id has the socket. Nodes that adopted ids may have it, or members of a room of that
        // name. Without such a node, any node may have it.
        let is_mine = matches!(route, Route::Socket(id) if self.tag() == Some(id.tag()));
        let is_meant = |(tag, member): &(NodeTag, &Member)| member.adopts || !is_mine && owner.is_none_or(|owner| *tag == owner);
        let nodes: Vec<_> = members.iter().filter(is_meant).map(|(tag, member)| (tag, member.name.clone())).collect();
        let route = match (owner, &nodes[..]) {
            _ if self.context.has_history() => Route::Stream,
            (Some(owner), [_]) => Route::Node(owner),
            _ => Route::All,
        };
        (route, nodes)
    }
}

impl Adapter for NatsAdapter {
    fn tag(&self) -> Option<NodeTag> {
        self.context.me.get().map(|me| me.tag)
    }

    fn start(&self, node: Arc<dyn Node>) {
        // If the thread has ended, the links are down for good: see `is_connected`.
        drop(self.commands.send(Command::Start(node)));
    }

    fn publish(&self, mut message: Message) -> Result<(), AdapterError> {
        if matches!(message.operation, Operation::Emit { volatile: true, .. }) && !self.context.can_send_at_once() {
            self.context.counters.volatile_dropped.increment();
            return Ok(());
        }
        // A server event has no sockets, so its target is ignored.
        let route = match (&message.operation, Route::of(&message.target)) {
            // In order with the events of the stream.
            _ if self.context.has_history() => Route::Stream,
            (Operation::ServerEvent { .. }, _) => Route::All,
            // Rooms may be named like ids. Only an id with the tag of a living node is surely a socket's.
            (_, Route::Socket(id)) if !self.context.is_owned(&id) => Route::All,
            (_, route) => route,
        };
        let trace = message.trace.take();
        self.context.push(route, OutboundRecord { bytes: wire::encode_message(&message), trace })
    }

    fn request(&self, mut request: Request) -> BoxStream<'static, Answer> {
        let context = Arc::clone(&self.context);
        // The members stay locked until the question is open. A later leave then ends the wait for that node.
        let members = context.members.lock();
        let (route, nodes) = self.receivers(&members, &request.ask);
        let nobody = nodes.is_empty();
        let cancelling = Arc::clone(&context);
        // A node that just joined is not waited for, but may have asked its clients. Without a cancel it would wait for
        // them indefinitely.
        let overheard = route == Route::All && !nobody && matches!(request.ask, Ask::Ack { .. });
        let ended = move |id, open| {
            if open || overheard {
                // If the cancel can't be sent, the others stop when their clients have answered or left.
                drop(cancelling.push(route, wire::encode_cancel(id)));
            }
        };
        let (id, answers) = context.questions.open(nodes, ended);
        drop(members);
        if !nobody {
            let trace = request.trace.take();
            let record = OutboundRecord { bytes: wire::encode_request(id, &request), trace };
            if let Err(error) = context.push(route, record) {
                context.questions.withdraw(id, error);
            }
        }
        answers
    }

    fn history(&self, limits: Limits) -> Arc<dyn History> {
        let Some(store) = self.context.store.lock().take() else { return Arc::new(MemoryHistory::new(limits)) };
        let context = &self.context;
        let state = context.history.get_or_init(|| Arc::new(StreamState::new(context.me(), &context.options, store, limits)));
        Arc::new(StreamHistory::new(Arc::clone(state), Arc::downgrade(context)))
    }

    fn adopt(&self, id: Id) {
        self.context.adopted.add(id);
    }

    fn release(&self, id: Id) {
        self.context.adopted.remove(id);
    }

    fn metrics(&self) -> MetricsSnapshot {
        let NatsContext { counters, questions, .. } = &*self.context;
        MetricsSnapshot {
            counters: samples(&self.stats()),
            latencies: vec![
                ("ping", counters.way.times()),
                ("request", questions.answered.times()),
                ("persist", counters.persisted_after.times()),
            ],
        }
    }

    fn announce(&self) {
        self.context.announce.notify_one();
    }

    fn is_connected(&self) -> bool {
        self.context.links.are_up() && self.context.history.get().is_none_or(|history| history.listens())
    }

    fn persists(&self) -> bool {
        self.context.history.get().is_none_or(|history| history.persists())
    }

    fn server_count(&self) -> BoxFuture<'static, usize> {
        ready(self.context.members.lock().len() + 1).boxed()
    }

    fn other_nodes(&self) -> Vec<crate::Member> {
        self.context.members.lock().iter().map(|(tag, member)| crate::Member { tag, name: member.name.clone() }).collect()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let (done, is_done) = oneshot::channel();
        self.context.closed.store(true, Ordering::Relaxed);
        let sent = self.commands.send(Command::Close(done));
        async move {
            if sent.is_ok() {
                // The receiver fails if the thread has ended.
                drop(is_done.await);
            }
        }
        .boxed()
    }
}
